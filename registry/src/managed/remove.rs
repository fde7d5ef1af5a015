//! Takes fields out of an object.

use serde_json::{Map, Value};

use super::element::Element;
use super::set::FieldSet;
use super::shape::Shape;

/// Takes the fields of a set out of an object. What has nothing left becomes null.
pub(super) fn remove(shape: Shape<'_>, value: &Value, set: &FieldSet) -> Value {
    match value {
        Value::Object(members) if shape.is_object() => filled(members_without(shape, members, set)),
        Value::Array(list) if shape.is_list() => {
            let left = elements_without(shape, list, set);
            if left.is_empty() { Value::Null } else { Value::Array(left) }
        }
        other => other.clone(),
    }
}

fn filled(members: Map<String, Value>) -> Value {
    if members.is_empty() { Value::Null } else { Value::Object(members) }
}

fn members_without(shape: Shape<'_>, members: &Map<String, Value>, set: &FieldSet) -> Map<String, Value> {
    let mut left = Map::new();
    for (name, value) in members {
        let value = match set.member(name) {
            Some(node) if node.is_member => continue,
            Some(node) => remove(shape.member(name).shape, value, &node.below),
            None => value.clone(),
        };
        left.insert(name.clone(), value);
    }
    left
}

fn elements_without(shape: Shape<'_>, list: &[Value], set: &FieldSet) -> Vec<Value> {
    let mut left = Vec::with_capacity(list.len());
    for value in list {
        let node = shape.name(value).ok().as_ref().and_then(|name: &Element| set.get(name));
        match node {
            Some(node) if node.is_member => {}
            Some(node) => left.push(remove(shape.elements(), value, &node.below)),
            None => left.push(value.clone()),
        }
    }
    left
}
