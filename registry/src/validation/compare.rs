//! Whether a change is one.

use serde_json::Value;

/// Returns whether two values mean the same: what is missing is the same as an empty list or map.
pub(super) fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Array(items), Value::Null) | (Value::Null, Value::Array(items)) => items.is_empty(),
        (Value::Object(fields), Value::Null) | (Value::Null, Value::Object(fields)) => {
            fields.values().all(|value| same(value, &Value::Null))
        }
        (Value::Array(items), Value::Array(others)) => {
            items.len() == others.len() && items.iter().zip(others).all(|(item, other)| same(item, other))
        }
        (Value::Object(fields), Value::Object(others)) => {
            let missing = |name: &String| !fields.contains_key(name);
            fields.iter().all(|(name, value)| same(value, others.get(name).unwrap_or(&Value::Null)))
                && others.iter().all(|(name, value)| !missing(name) || same(&Value::Null, value))
        }
        _ => one == other,
    }
}
