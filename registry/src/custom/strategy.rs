//! The rules of all custom kinds.

use std::sync::Arc;

use serde_json::Value;

use super::kind::CustomKind;
use crate::strategy::Strategy;
use crate::validation::FieldError;

/// The strategy of a version of a custom kind.
#[derive(Debug)]
pub(super) struct CustomStrategy(pub(super) Arc<CustomKind>);

impl Strategy for CustomStrategy {
    fn allows_unconditional_update(&self) -> bool {
        false
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        self.0.check(object, None)
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        self.0.check(object, Some(old))
    }

    fn validate_status_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        self.0.check(object, Some(old))
    }
}
