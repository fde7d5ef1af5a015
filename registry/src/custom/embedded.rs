//! Objects within objects: they say what they are, as any other.

use serde_json::Value;

use super::check::shown;
use super::schema::{Additional, Schema};
use crate::validation::{FieldError, dns1035_label, embedded_metadata};

/// Returns what is wrong with the objects that are embedded in a value.
pub(super) fn check(schema: &Schema, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    match value {
        Value::Object(members) => {
            if schema.embedded {
                object(value, path, errors);
            }
            for (name, value) in members {
                if let Some(schema) = schema.properties.get(name) {
                    let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    check(schema, value, &path, errors);
                } else if let Additional::Of(schema) = &schema.additional {
                    check(schema, value, &format!("{path}[{name}]"), errors);
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = &schema.items {
                for (index, item) in items.iter().enumerate() {
                    check(schema, item, &format!("{path}[{index}]"), errors);
                }
            }
        }
        _ => {}
    }
}

fn object(value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    const EMPTY: &str = "must not be empty";
    for name in ["apiVersion", "kind"] {
        let field = format!("{path}.{name}");
        match value.get(name) {
            None => errors.push(FieldError::required(field, EMPTY)),
            Some(Value::String(text)) if text.is_empty() => {
                errors.push(FieldError::invalid(field, text, EMPTY));
            }
            Some(Value::String(text)) if name == "apiVersion" => {
                if text.matches('/').count() > 1 {
                    let detail = format!("unexpected GroupVersion string: {text}");
                    errors.push(FieldError::invalid(field, text, &detail));
                }
            }
            Some(Value::String(text)) => {
                let problems = dns1035_label(&text.to_lowercase());
                if !problems.is_empty() {
                    let detail =
                        format!("may have mixed case, but should otherwise match: {}", problems.join(","));
                    errors.push(FieldError::invalid(field, text, &detail));
                }
            }
            Some(other) => errors.push(FieldError::invalid(field, shown(other), "must be a string")),
        }
    }
    if let Some(metadata) = value.get("metadata").filter(|metadata| metadata.is_object()) {
        errors.extend(embedded_metadata(metadata, &format!("{path}.metadata")));
    }
}
