//! What a custom kind is besides its row of facts.

use quarterdeck_core::storage::Key;
use serde_json::Value;

use super::patterns::Effort;
use super::rules::Rules;
use super::scale::ScalePaths;
use super::schema::Schema;
use super::{check, embedded, lists};
use crate::validation::{Cause, FieldError};

/// What a version of a custom kind is besides what every [`Resource`](crate::resource::Resource) says.
#[derive(Debug)]
pub struct CustomKind {
    pub(crate) schema: Schema,
    pub(crate) rules: Rules,
    pub(crate) scale: Option<ScalePaths>,
    /// The key of the definition; absent for kinds that a program compiled in.
    pub(crate) definition: Option<Key>,
    /// The kind of a list of objects; empty if the definition does not name it.
    pub(crate) list_kind: String,
    /// What clients of the version are warned of.
    pub(crate) deprecation: Option<String>,
    /// Whether the definition is being deleted: nothing is made any more.
    pub(crate) is_ending: bool,
    /// About how much work each byte of an object is.
    pub(crate) weight: usize,
}

/// How much work may hold up other tasks: a millisecond or so.
const BRIEF: usize = 512 * 1024;

impl CustomKind {
    /// Returns whether checking an object may take so long that it has to be done away from other tasks.
    pub(crate) fn takes_long(&self, object: &Value) -> bool {
        if self.weight == 0 {
            return false;
        }
        let brief = BRIEF / self.weight;
        !self.rules.are_ready() || size(object, brief) > brief
    }

    /// Returns what is wrong with an object. What is as it was in `old` may stay so, even if its schema has become
    /// stricter since.
    pub(crate) fn check(&self, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = check::check(&self.schema, object, old, "", &Effort::default());
        embedded::check(&self.schema, object, "", &mut errors);
        if let Some(scale) = &self.scale {
            scale.check(object, &mut errors);
        }
        let duplicates = |object: &Value| {
            let mut found = Vec::new();
            lists::check(&self.schema, object, "", &mut found);
            found
        };
        let found = duplicates(object);
        if !found.is_empty() && old.is_none_or(|old| duplicates(old).is_empty()) {
            errors.extend(found);
        }
        if self.rules.is_empty() {
            return errors;
        }
        // Rules are written for objects of the right form.
        if errors.iter().any(hinders_rules) {
            errors.push(FieldError::invalid("<nil>", &Value::Null, UNCHECKED));
        } else {
            self.rules.check(object, old, &mut errors);
        }
        errors
    }
}

const UNCHECKED: &str = "some validation rules were not checked because the object was invalid; correct the existing \
                         errors to complete validation";

/// Whether an object with this mistake has not the form that rules are written for.
fn hinders_rules(error: &FieldError) -> bool {
    use Cause::{NotSupported, Required, TooLong, TooMany, TypeInvalid};
    matches!(error.reason, Required | NotSupported | TooLong | TooMany | TypeInvalid)
}

/// About how much there is to check in a value, in bytes, counted no further than to a limit. Each part counts, however short.
fn size(value: &Value, limit: usize) -> usize {
    const PART: usize = 64;
    let mut total = 0;
    let mut waiting = vec![value];
    while let Some(value) = waiting.pop() {
        total += PART;
        total += match value {
            Value::String(text) => text.len(),
            Value::Array(items) => {
                waiting.extend(items);
                items.len()
            }
            Value::Object(members) => {
                waiting.extend(members.values());
                members.keys().map(String::len).sum()
            }
            _ => 1,
        };
        if total > limit {
            break;
        }
    }
    total
}
