//! `FieldsV1`: a set of fields as JSON, `{"f:data":{".":{},"f:k":{}}}`.

use serde_json::{Map, Value};

use super::element::{Element, ElementError};
use super::set::{FieldSet, Node};

/// How many fields one set may have. Sets are smaller than their objects unless somebody hostile wrote them.
const MOST_FIELDS: usize = 100_000;
/// How deep sets may nest.
const MAX_DEPTH: usize = crate::schema::MAX_DEPTH;

/// Why JSON is no set of fields.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum FieldsError {
    /// A name is no path element.
    #[error(transparent)]
    Element(#[from] ElementError),
    /// Below a name stands something that is no object.
    #[error("expect {{ or n, but found {0}")]
    NoObject(String),
    /// It is larger or deeper than any object.
    #[error("the set has more than {MOST_FIELDS} fields or is deeper than {MAX_DEPTH}")]
    TooLarge,
}

/// Writes a set.
pub(super) fn encode(set: &FieldSet) -> Value {
    Value::Object(members(set))
}

fn members(set: &FieldSet) -> Map<String, Value> {
    let mut map = Map::new();
    for (element, node) in set.nodes() {
        let mut below = members(&node.below);
        if node.is_member && !below.is_empty() {
            below.insert(".".into(), Value::Object(Map::new()));
        }
        map.insert(element.encode(), Value::Object(below));
    }
    map
}

/// Reads a set. Elements of a sort that a newer server may know are left out.
///
/// # Errors
///
/// What is wrong with it.
pub(super) fn decode(value: &Value) -> Result<FieldSet, FieldsError> {
    let mut left = MOST_FIELDS;
    read(value, 0, &mut left).map(|node| node.below)
}

/// Reads what stands below one name.
fn read(value: &Value, depth: usize, left: &mut usize) -> Result<Node, FieldsError> {
    let empty = Map::new();
    let map = match value {
        Value::Object(map) => map,
        Value::Null => &empty,
        other => return Err(FieldsError::NoObject(other.to_string().chars().take(16).collect())),
    };
    if depth > MAX_DEPTH || *left < map.len() {
        return Err(FieldsError::TooLarge);
    }
    *left -= map.len();
    let mut node = Node::default();
    for (name, value) in map {
        if name == "." {
            node.is_member = true;
            continue;
        }
        match Element::decode(name) {
            Ok(element) => node.below.insert(element, read(value, depth + 1, left)?),
            Err(ElementError::Unknown) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // What has nothing below it is there for itself.
    node.is_member |= node.below.is_empty();
    Ok(node)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_set_is_written_and_read_back() {
        let fields = json!({
            "f:data": {".": {}, "f:k": {}},
            "f:metadata": {"f:finalizers": {".": {}, "v:\"a\"": {}}},
            "f:spec": {"f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}}}},
        });

        assert_eq!(encode(&decode(&fields).unwrap()), fields);
    }

    #[test]
    fn what_is_no_set_is_refused() {
        assert!(matches!(decode(&json!({"f:a": 1})), Err(FieldsError::NoObject(_))));
        assert!(matches!(decode(&json!({"nonsense": {}})), Err(FieldsError::Element(_))));
        assert!(matches!(decode(&json!([1])), Err(FieldsError::NoObject(_))));
        assert!(decode(&json!({"x:new": {"y": {}}})).unwrap().is_empty());
    }

    #[test]
    fn a_set_deeper_than_any_object_is_refused() {
        let deep = (0..200).fold(json!({}), |below, _| json!({"f:a": below}));

        assert_eq!(decode(&deep), Err(FieldsError::TooLarge));
    }
}
