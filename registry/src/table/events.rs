//! Events, of the core group and of `events.k8s.io`: the same objects under two sets of names.

use jiff::Timestamp;
use serde_json::Value;

use super::Columns;
use super::cell::{self, int, since, string};
use super::definition::{name, text, wide};

pub(super) fn columns(kind: &str) -> Option<Columns> {
    (kind == "Event").then(core_columns)
}

pub(super) fn core_columns() -> Columns {
    let definitions = [
        text("Last Seen", "When it was last observed"),
        text("Type", "Whether it is Normal or a Warning"),
        text("Reason", "Why it happened, in one word"),
        text("Object", "What it is about"),
        wide("Subobject", "Which part of the object it is about"),
        wide("Source", "Who reported it"),
        text("Message", "What happened, for people"),
        wide("First Seen", "When it was first observed"),
        wide("Count", "How often it was observed"),
        name().with_priority(1),
    ];
    Columns::new(definitions, cells)
}

/// The first of the two fields that an event has.
fn either<'a>(event: &'a Value, core: &str, newer: &str) -> &'a Value {
    event.get(core).unwrap_or(&event[newer])
}

fn cells(event: &Value, now: Timestamp) -> Vec<Value> {
    let object = either(event, "involvedObject", "regarding");
    let series = &event["series"];
    let first = match either(event, "firstTimestamp", "deprecatedFirstTimestamp") {
        Value::Null => since(&event["eventTime"], now),
        time => since(time, now),
    };
    let last = match either(event, "lastTimestamp", "deprecatedLastTimestamp") {
        _ if !series.is_null() => since(&series["lastObservedTime"], now),
        Value::Null => first.clone(),
        time => since(time, now),
    };
    let count = match int(either(event, "count", "deprecatedCount")) {
        _ if !series.is_null() => int(&series["count"]),
        0 => 1,
        count => count,
    };
    let kind = string(&object["kind"]).to_lowercase();
    let target = match string(&object["name"]) {
        "" => kind,
        name => format!("{kind}/{name}"),
    };
    vec![
        last.into(),
        cell::text(&event["type"]),
        cell::text(&event["reason"]),
        target.into(),
        cell::text(&object["fieldPath"]),
        source(event).into(),
        string(either(event, "message", "note")).trim().into(),
        first.into(),
        count.into(),
        cell::name(event),
    ]
}

fn source(event: &Value) -> String {
    let source = either(event, "source", "deprecatedSource");
    let pick = |old: &Value, new: &Value| match string(old) {
        "" => string(new).to_owned(),
        text => text.to_owned(),
    };
    let component = pick(&source["component"], either(event, "reportingComponent", "reportingController"));
    let instance = pick(&source["host"], &event["reportingInstance"]);
    if instance.is_empty() { component } else { format!("{component}, {instance}") }
}
