//! Events: those of the core group are stored, and those of `events.k8s.io` are made of them.

use serde_json::{Map, Value, json};

use crate::resource::{Resource, Scope};
use crate::stored::Conversion;
use crate::strategy::Strategy;

pub(super) fn resources() -> Vec<Resource> {
    let kind = |group| {
        Resource::builtin(group, "v1", "Event", "events", Scope::Namespaced)
            .short_names(&["ev"])
            .strategy(EventStrategy)
    };
    let stored = kind("");
    let newer = kind("events.k8s.io").stored_as(&stored, Newer);
    vec![stored, newer]
}

/// Events own nothing, and are gone at once whatever is asked for their dependents.
#[derive(Debug)]
struct EventStrategy;

impl Strategy for EventStrategy {
    fn creates_on_update(&self) -> bool {
        true
    }

    fn may_own(&self) -> bool {
        false
    }
}

/// What fields are called in the core group, and in `events.k8s.io`.
const NAMES: [(&str, &str); 7] = [
    ("count", "deprecatedCount"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("involvedObject", "regarding"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
];

/// Fields that the core group always shows, and `events.k8s.io` only if they are not empty.
const ALWAYS: [&str; 2] = ["reportingComponent", "reportingInstance"];

/// Turns events of the core group into those of `events.k8s.io`, and back.
#[derive(Debug)]
struct Newer;

impl Conversion for Newer {
    fn to_served(&self, event: &mut Value) {
        let Some(fields) = event.as_object_mut() else { return };
        for name in ALWAYS {
            if fields.get(name).is_some_and(|value| *value == "") {
                fields.remove(name);
            }
        }
        rename(fields, NAMES);
    }

    fn to_stored(&self, event: &mut Value) {
        let Some(fields) = event.as_object_mut() else { return };
        rename(fields, NAMES.map(|(core, newer)| (newer, core)));
        for name in ALWAYS {
            fields.entry(name).or_insert_with(|| json!(""));
        }
    }
}

fn rename(fields: &mut Map<String, Value>, names: [(&str, &str); 7]) {
    for (from, to) in names {
        if let Some(value) = fields.remove(from) {
            fields.insert(to.into(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_comes_back_from_the_newer_group_as_it_was() {
        let stored = json!({
            "metadata": {"name": "e"}, "involvedObject": {"kind": "Pod"}, "reason": "R", "message": "m", "count": 3,
            "source": {"component": "c"}, "firstTimestamp": null, "lastTimestamp": null, "eventTime": null,
            "reportingComponent": "", "reportingInstance": "i",
        });
        let mut event = stored.clone();

        Newer.to_served(&mut event);
        let served = event.clone();
        Newer.to_stored(&mut event);

        assert_eq!(event, stored);
        assert_eq!((&served["note"], &served["regarding"]["kind"]), (&json!("m"), &json!("Pod")));
        assert_eq!((served.get("message"), served.get("reportingController")), (None, None));
    }
}
