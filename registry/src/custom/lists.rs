//! Lists whose elements have to differ.

use std::collections::BTreeMap;

use serde_json::Value;

use super::check::shown;
use super::schema::{Additional, List, Schema};
use crate::validation::FieldError;

/// Returns the first element that stands a second time, and where.
pub(super) fn first_duplicate<'v>(items: impl Iterator<Item = &'v Value>) -> Option<(usize, &'v Value)> {
    let mut seen = std::collections::BTreeSet::new();
    items.enumerate().find(|(_, item)| !seen.insert(item.to_string()))
}

/// Returns what an element was before, in a list whose elements have keys.
pub(super) fn counterpart<'v>(list: &List, item: &Value, old: &'v Value) -> Option<&'v Value> {
    let List::Map(keys) = list else { return None };
    let same = |other: &&Value| keys.iter().all(|key| other[key.as_str()] == item[key.as_str()]);
    old.as_array()?.iter().find(same)
}

/// Returns the elements of sets and maps that stand twice.
pub(super) fn check(schema: &Schema, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    match value {
        Value::Array(items) => {
            duplicates(schema, items, path, errors);
            if let Some(schema) = &schema.items {
                for (index, item) in items.iter().enumerate() {
                    check(schema, item, &format!("{path}[{index}]"), errors);
                }
            }
        }
        Value::Object(members) => {
            for (name, value) in members {
                if let Some(schema) = schema.properties.get(name) {
                    let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    check(schema, value, &path, errors);
                } else if let Additional::Of(schema) = &schema.additional {
                    check(schema, value, &format!("{path}[{name}]"), errors);
                }
            }
        }
        _ => {}
    }
}

fn duplicates(schema: &Schema, items: &[Value], path: &str, errors: &mut Vec<FieldError>) {
    let keys = match &schema.list {
        List::Atomic => return,
        List::Set => None,
        List::Map(keys) => Some(keys),
    };
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for (index, item) in items.iter().enumerate() {
        let key = match keys {
            None => item.clone(),
            Some(keys) if item.is_object() => keys
                .iter()
                .filter(|key| !item[key.as_str()].is_null())
                .map(|key| (key.clone(), item[key.as_str()].clone()))
                .collect(),
            Some(_) => continue,
        };
        let times = seen.entry(key.to_string()).or_default();
        *times += 1;
        if *times == 2 {
            errors.push(FieldError::duplicate(format!("{path}[{index}]"), shown(&key)));
        }
    }
}
