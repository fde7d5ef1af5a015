//! What becomes of members that are absent or empty: Go's writer leaves some out and invents others.

use serde_json::{Map, Value};

use super::types::{Presence, Structure, Type};

/// The value that Go writes for an absent member of this type.
pub(super) fn zero(ty: &Type) -> Value {
    match ty {
        Type::Bool => false.into(),
        Type::Int32 | Type::Int64 | Type::Double | Type::IntOrString => 0.into(),
        Type::String => "".into(),
        Type::Quantity => "0".into(),
        Type::Struct(structure) => Value::Object(empty(structure)),
        _ => Value::Null,
    }
}

/// An object of this structure with none of its members given.
pub(super) fn empty(structure: &Structure) -> Map<String, Value> {
    let mut map = Map::new();
    complete(structure, &mut map);
    map
}

/// Adds what Go writes for absent members, and takes away what it does not write.
pub(super) fn complete(structure: &Structure, map: &mut Map<String, Value>) {
    for field in structure.fields.iter() {
        let name = field.name.as_ref();
        match field.presence {
            Presence::Given => {}
            Presence::Disabled => {
                map.remove(name);
            }
            Presence::NonZero => {
                if map.get(name).is_some_and(is_zero) {
                    map.remove(name);
                }
            }
            Presence::Always if !map.contains_key(name) => {
                map.insert(name.to_owned(), zero(&field.ty));
            }
            Presence::Nullable if !map.contains_key(name) => {
                map.insert(name.to_owned(), Value::Null);
            }
            Presence::Always | Presence::Nullable => {
                // Kubernetes stores the objects of its own groups as protobuf, which has no empty list. Lists of objects
                // are not stored.
                if structure.name.starts_with("io.k8s.api.")
                    && name != "items"
                    && map.get(name).is_some_and(|value| value.as_array().is_some_and(Vec::is_empty))
                {
                    map.insert(name.to_owned(), Value::Null);
                }
            }
        }
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}
