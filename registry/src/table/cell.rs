//! Reading objects and writing cells. A field that is missing reads as empty or zero, as it does in Go.

use jiff::Timestamp;
use quarterdeck_core::labels::Selector;
use serde_json::Value;

use super::duration;

/// How many elements of a list a cell shows before it counts the others.
pub(super) const SHOWN: usize = 3;

pub(super) fn name(object: &Value) -> Value {
    string(&object["metadata"]["name"]).into()
}

pub(super) fn age(object: &Value, now: Timestamp) -> Value {
    since(&object["metadata"]["creationTimestamp"], now).into()
}

/// How long ago the time in a field was.
pub(super) fn since(time: &Value, now: Timestamp) -> String {
    duration::age(time.as_str(), now)
}

pub(super) fn string(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

pub(super) fn text(value: &Value) -> Value {
    string(value).into()
}

/// The string, or `missing` where there is none or it is empty.
pub(super) fn or(value: &Value, missing: &str) -> Value {
    value.as_str().filter(|text| !text.is_empty()).unwrap_or(missing).into()
}

pub(super) fn int(value: &Value) -> i64 {
    value.as_i64().unwrap_or_default()
}

pub(super) fn integer(value: &Value) -> Value {
    int(value).into()
}

pub(super) fn is_true(value: &Value) -> bool {
    value.as_bool().unwrap_or_default()
}

pub(super) fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The number of elements of a list or a map.
pub(super) fn count(value: &Value) -> usize {
    value.as_object().map_or(items(value).len(), serde_json::Map::len)
}

/// A quantity, or an integer or a string, in its text form.
pub(super) fn quantity(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "0".to_owned(),
        other => other.to_string(),
    }
}

pub(super) fn is_deleted(object: &Value) -> bool {
    !object["metadata"]["deletionTimestamp"].is_null()
}

/// The condition of this type.
pub(super) fn condition<'a>(conditions: &'a Value, kind: &str) -> Option<&'a Value> {
    items(conditions).iter().find(|condition| condition["type"] == kind)
}

pub(super) fn has_condition(conditions: &Value, kind: &str) -> bool {
    condition(conditions, kind).is_some_and(|condition| condition["status"] == "True")
}

/// The strings of a list that `field` picks of its elements, joined.
pub(super) fn join<'a>(list: &'a Value, separator: &str, field: impl Fn(&'a Value) -> &'a str) -> String {
    items(list).iter().map(field).collect::<Vec<_>>().join(separator)
}

/// The names and the images of a pod's or a template's containers.
pub(super) fn containers(pod_spec: &Value) -> [Value; 2] {
    let list = &pod_spec["containers"];
    ["name", "image"].map(|field| join(list, ",", |container| string(&container[field])).into())
}

/// A map of labels as `a=b,c=d`.
pub(super) fn labels(map: &Value) -> Value {
    let pairs: Vec<String> = map
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", string(value)))
        .collect();
    if pairs.is_empty() { "<none>".into() } else { pairs.join(",").into() }
}

/// A `LabelSelector` in its string form.
pub(super) fn label_selector(selector: &Value) -> Value {
    match Selector::from_label_selector(Some(selector)) {
        Err(_) => "<error>".into(),
        Ok(selector) => match selector.to_string() {
            text if text.is_empty() => "<none>".into(),
            text => text.into(),
        },
    }
}

/// The first elements of a list, and how many more there are.
pub(super) fn shortened(list: Vec<String>) -> String {
    let more = list.len().saturating_sub(SHOWN);
    let shown = list[..list.len() - more].join(",");
    match (more, shown.is_empty()) {
        (0, true) => "<unset>".to_owned(),
        (0, false) => shown,
        _ => format!("{shown} + {more} more..."),
    }
}
