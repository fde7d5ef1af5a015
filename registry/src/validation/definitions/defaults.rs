//! Whether a schema's defaults fit the schema.

use serde_json::Value;

use super::super::at::Errors;
use super::super::error::{FieldError, Path};
use crate::custom::check;
use crate::custom::patterns::Effort;
use crate::custom::schema::Schema;
use crate::custom::structure::prune;

/// Returns what is wrong with the defaults of a schema and of its parts.
pub(super) fn check_defaults(schema: &Schema, path: &Path, errors: &mut Errors) {
    part(schema, true, path, &Effort::default(), errors);
}

fn part(schema: &Schema, is_object: bool, path: &Path, effort: &Effort, errors: &mut Errors) {
    if let Some(default) = &schema.default {
        one(schema, default, &path.child("default"), effort, errors);
    }
    if let Some(items) = &schema.items {
        part(items, items.embedded, &path.child("items"), effort, errors);
    }
    for (name, property) in &schema.properties {
        if !(is_object && matches!(name.as_str(), "metadata" | "apiVersion" | "kind")) {
            part(property, property.embedded, &path.child("properties").key(name), effort, errors);
        }
    }
}

fn one(schema: &Schema, default: &Value, path: &Path, effort: &Effort, errors: &mut Errors) {
    if prune(schema, default.clone()) != *default {
        errors.push(FieldError::invalid(path, default, "must not have unknown fields"));
    }
    for mut error in check(schema, default, None, "", effort) {
        error.field = match error.field.as_str() {
            "<nil>" => path.to_string(),
            below if below.starts_with('[') => format!("{path}{below}"),
            below => format!("{path}.{below}"),
        };
        errors.push(error);
    }
}
