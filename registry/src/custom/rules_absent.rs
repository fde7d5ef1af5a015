//! Rules in the Common Expression Language, for servers built without it: no definition may have any.

use serde_json::Value;

use crate::validation::FieldError;

/// The rules of a schema: none.
#[derive(Debug)]
pub(crate) struct Rules;

impl Rules {
    /// Compiles the rules of a schema.
    pub(crate) fn new(_schema: &Value) -> Self {
        Self
    }

    /// Returns that there are none.
    pub(super) fn is_empty(&self) -> bool {
        true
    }

    /// Returns that nothing has to be compiled.
    pub(super) fn are_ready(&self) -> bool {
        true
    }

    /// Returns what is wrong with an object.
    pub(super) fn check(&self, _object: &Value, _old: Option<&Value>, _errors: &mut Vec<FieldError>) {}
}

/// Returns what is wrong with the rules of a schema.
pub(crate) fn validate(schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if super::schema::has_rules(schema) {
        errors.push(FieldError::forbidden(
            path,
            "x-kubernetes-validations are not supported: the server is built without CEL",
        ));
    }
}
