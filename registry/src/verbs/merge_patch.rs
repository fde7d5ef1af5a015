//! Merge patches (RFC 7396), as upstream's library applies them: what is new loses its nulls, in lists too.

use serde_json::{Map, Value};

/// Lays a patch over an object: null takes a member out.
pub(super) fn merge(object: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (name, value) in patch {
        match (object.get_mut(name), value) {
            (_, Value::Null) => drop(object.remove(name)),
            (Some(Value::Object(present)), Value::Object(patch)) => merge(present, patch),
            (Some(Value::Object(_)), other) => drop(object.insert(name.clone(), other.clone())),
            (_, value) => drop(object.insert(name.clone(), without_nulls(value))),
        }
    }
}

/// A value without the members that are null, at any depth. Elements of lists stay.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let kept = members.iter().filter(|(_, value)| !value.is_null());
            kept.map(|(name, value)| (name.clone(), without_nulls(value))).collect::<Map<_, _>>().into()
        }
        Value::Array(list) => list.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_patch_brings_has_no_nulls_but_as_elements() {
        let mut object = json!({"a": {"b": 1, "c": 2}, "l": [1], "o": {"p": 1}});
        let patch = json!({
            "a": {"b": null, "d": {"e": null, "f": 1}}, "l": [null, {"x": null, "y": 1}], "n": [{"x": null}],
            "o": [{"x": null}],
        });

        merge(object.as_object_mut().unwrap(), patch.as_object().unwrap());

        assert_eq!(
            object,
            json!({
                "a": {"c": 2, "d": {"f": 1}}, "l": [null, {"y": 1}], "n": [{}],
                "o": [{"x": null}],
            })
        );
    }
}
