//! Strategic merge: a patch laid over an object, with lists merged by key where the tables say so.
//!
//! [`strategic_merge`] is a pure function. Beside values a patch may hold directives: `$patch: replace|delete`,
//! `$retainKeys`, `$setElementOrder/LIST` and `$deleteFromPrimitiveList/LIST`; null deletes. [`lists`] merges lists.
//! What comes out is not checked: decode it again.
mod lists;

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::by_name;
use super::decode::JSON_SCHEMA;
use super::types::{Rules, Structure, Type};

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const SET_ELEMENT_ORDER: &str = "$setElementOrder";
const DELETE_FROM_PRIMITIVE_LIST: &str = "$deleteFromPrimitiveList";

/// Why a strategic merge patch cannot be applied. The variant says with which status Kubernetes answers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StrategicMergeError {
    /// The patch has not the form of one (400).
    #[error("{0}")]
    BadRequest(String),
    /// The patch asks for what strategic merge does not do (422).
    #[error("{0}")]
    Unprocessable(String),
    /// The patch cannot be merged; Kubernetes answers 500 for it, too.
    #[error("{0}")]
    Internal(String),
}

impl StrategicMergeError {
    fn unknown_patch_type(directive: &Value, map: &Object) -> Self {
        Self::Internal(format!("unknown patch type: {} in map: {}", go_value(directive), go_map(map)))
    }

    fn no_merge_key(map: &Object, key: &str) -> Self {
        Self::Internal(format!("map: {} does not contain declared merge key: {key}", go_map(map)))
    }

    fn bad_set_element_order() -> Self {
        Self::BadRequest("invalid patch format of setElementOrder list".into())
    }
}

type Object = Map<String, Value>;
type Outcome<T> = Result<T, StrategicMergeError>;

/// Lays a patch over an object of this structure.
///
/// # Errors
///
/// [`StrategicMergeError`], with Kubernetes' messages.
pub fn strategic_merge(target: Value, patch: Value, structure: &Structure) -> Outcome<Value> {
    let patch = match patch {
        Value::Object(patch) => patch,
        Value::Null => Object::new(),
        other => {
            let word = super::node::Node::from_value(other).word();
            let message =
                format!("json: cannot unmarshal {word} into Go value of type map[string]interface {{}}");
            return Err(StrategicMergeError::BadRequest(message));
        }
    };
    let target = match target {
        Value::Object(target) => target,
        _ => Object::new(),
    };
    merge_map(target, patch, Shape::Structure(structure)).map(Value::Object)
}

/// What is known of the members of an object.
#[derive(Clone, Copy)]
enum Shape<'s> {
    Structure(&'s Structure),
    Map(&'s Type),
    Unknown,
}

impl<'s> Shape<'s> {
    fn of(ty: &'s Type) -> Self {
        match ty {
            Type::Struct(structure) => Self::Structure(structure),
            Type::Map(element) => Self::Map(element),
            Type::SchemaOrBool | Type::SchemaOrList | Type::SchemaOrStrings => {
                by_name(JSON_SCHEMA).map_or(Self::Unknown, Self::Structure)
            }
            _ => Self::Unknown,
        }
    }

    /// The type and the rules of a member.
    fn member(self, name: &str) -> Outcome<(&'s Type, &'s Rules)> {
        const PLAIN: &Rules = &Rules::PLAIN;
        match self {
            Self::Structure(structure) => {
                structure.field(name).map(|field| (&field.ty, &field.rules)).ok_or_else(|| {
                    StrategicMergeError::Internal(format!(
                        "unable to find api field in struct {} for the json field {name:?}",
                        structure.short_name()
                    ))
                })
            }
            Self::Map(element) => Ok((element, PLAIN)),
            Self::Unknown => Err(StrategicMergeError::Internal(
                "merging an object in json but data type is not struct, instead is: interface".into(),
            )),
        }
    }
}

fn merge_map(mut original: Object, mut patch: Object, shape: Shape<'_>) -> Outcome<Object> {
    if let Some(directive) = patch.remove(PATCH) {
        return match directive.as_str() {
            Some("replace") => Ok(without_directives(patch)),
            Some("delete") => Ok(Object::new()),
            _ => {
                patch.insert(PATCH.into(), directive.clone());
                Err(StrategicMergeError::unknown_patch_type(&directive, &patch))
            }
        };
    }
    retain_keys(&mut original, &mut patch)?;
    merge_ordered_lists(&mut original, &mut patch, shape)?;
    for (name, value) in patch {
        if let Some(list) = directive_target(&name, DELETE_FROM_PRIMITIVE_LIST) {
            let list = list.ok_or_else(|| {
                StrategicMergeError::BadRequest("invalid patch format of primitive list".into())
            })?;
            if let (Some(Value::Array(kept)), Value::Array(deleted)) = (original.get_mut(list), &value) {
                let deleted: BTreeSet<String> = deleted.iter().map(Value::to_string).collect();
                kept.retain(|value| !deleted.contains(&value.to_string()));
            }
            continue;
        }
        merge_member(&mut original, name, value, shape)?;
    }
    Ok(original)
}

fn merge_member(original: &mut Object, name: String, value: Value, shape: Shape<'_>) -> Outcome<()> {
    if value.is_null() {
        original.remove(&name);
        return Ok(());
    }
    let merged = match (original.remove(&name), value) {
        (Some(Value::Object(old)), Value::Object(new)) => {
            let (ty, rules) = shape.member(&name)?;
            Value::Object(if rules.patch_replace { new } else { merge_map(old, new, Shape::of(ty))? })
        }
        (Some(Value::Array(old)), Value::Array(new)) => {
            let (ty, rules) = shape.member(&name)?;
            Value::Array(lists::merge_field(old, new, ty, rules)?)
        }
        (_, value) => cleaned(value),
    };
    original.insert(name, merged);
    Ok(())
}

/// Takes `$retainKeys` out of the patch and everything that it does not name out of the original.
fn retain_keys(original: &mut Object, patch: &mut Object) -> Outcome<()> {
    let Some(directive) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let bad = || StrategicMergeError::BadRequest("invalid patch format of retainKeys".into());
    let names: BTreeSet<&str> =
        directive.as_array().ok_or_else(bad)?.iter().filter_map(Value::as_str).collect();
    let is_directive =
        |name: &str| name.starts_with(DELETE_FROM_PRIMITIVE_LIST) || name.starts_with(SET_ELEMENT_ORDER);
    if patch
        .iter()
        .any(|(name, value)| !value.is_null() && !is_directive(name) && !names.contains(name.as_str()))
    {
        return Err(bad());
    }
    original.retain(|name, _| names.contains(name.as_str()));
    Ok(())
}

/// Merges the lists that the patch says the order of, and takes them out of it.
fn merge_ordered_lists(original: &mut Object, patch: &mut Object, shape: Shape<'_>) -> Outcome<()> {
    let directives: Vec<String> =
        patch.keys().filter(|name| name.starts_with(SET_ELEMENT_ORDER)).cloned().collect();
    for directive in directives {
        let name = directive_target(&directive, SET_ELEMENT_ORDER)
            .flatten()
            .ok_or_else(StrategicMergeError::bad_set_element_order)?;
        let Some(Value::Array(order)) = patch.remove(&directive) else {
            return Err(StrategicMergeError::bad_set_element_order());
        };
        let (old, new) = (list(original, name)?, list(patch, name)?);
        if old.is_none() && new.is_none() {
            continue;
        }
        let (ty, rules) = shape.member(name)?;
        original.insert(name.to_owned(), lists::merge_ordered(old, new, &order, ty, rules)?.into());
    }
    Ok(())
}

/// Takes a list out of an object. Null stays, because it deletes.
fn list(object: &mut Object, name: &str) -> Outcome<Option<Vec<Value>>> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(_)) => match object.remove(name) {
            Some(Value::Array(list)) => Ok(Some(list)),
            _ => Ok(None),
        },
        Some(_) => Err(StrategicMergeError::bad_set_element_order()),
    }
}

/// `Some(Some("ports"))` for `$directive/ports`, `Some(None)` for the directive without a name.
fn directive_target<'n>(name: &'n str, directive: &str) -> Option<Option<&'n str>> {
    name.strip_prefix(directive).map(|rest| rest.strip_prefix('/'))
}

/// A value of the patch that meets nothing: its nulls and directives mean nothing.
fn cleaned(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(without_directives(map)),
        Value::Array(list) => Value::Array(
            list.into_iter()
                .filter(|value| value.as_object().is_none_or(|map| !map.contains_key(PATCH) || map.len() > 1))
                .filter(|value| value.get(PATCH).and_then(Value::as_str) != Some("delete"))
                .map(cleaned)
                .collect(),
        ),
        other => other,
    }
}

fn without_directives(map: Object) -> Object {
    if map.get(PATCH).and_then(Value::as_str) == Some("delete") {
        return Object::new();
    }
    let is_directive = |name: &str| {
        [PATCH, RETAIN_KEYS].contains(&name)
            || directive_target(name, SET_ELEMENT_ORDER).is_some()
            || directive_target(name, DELETE_FROM_PRIMITIVE_LIST).is_some()
    };
    map.into_iter()
        .filter(|(name, value)| !value.is_null() && !is_directive(name))
        .map(|(name, value)| (name, cleaned(value)))
        .collect()
}

/// A value as Go's `%v` prints it.
fn go_value(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".into(),
        Value::String(text) => text.clone(),
        Value::Array(list) => format!("[{}]", list.iter().map(go_value).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => go_map(map),
        other => other.to_string(),
    }
}

fn go_map(map: &Object) -> String {
    let members: Vec<String> =
        map.iter().map(|(name, value)| format!("{name}:{}", go_value(value))).collect();
    format!("map[{}]", members.join(" "))
}

#[cfg(test)]
mod tests;
