//! Telling the API how a pod is: only what changed.

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Map, Value, json};

use crate::host::Host;

/// The fields of a status that the agent decides on.
const OWNED: [&str; 11] = [
    "phase",
    "reason",
    "message",
    "hostIP",
    "hostIPs",
    "podIP",
    "podIPs",
    "startTime",
    "containerStatuses",
    "initContainerStatuses",
    "conditions",
];

/// Writes the status of `pod`, unless the API has it. Returns the pod as it is then, if it was written.
///
/// # Errors
///
/// Whatever the API server says; a pod that is gone or is another one is `NotFound` or `Conflict`.
pub(super) async fn report(host: &Host, pod: &Pod, status: &PodStatus) -> kube::Result<Option<Pod>> {
    let changes = changes(&json!(pod.status), &json!(status));
    if changes.is_empty() {
        return Ok(None);
    }
    let meta = &pod.metadata;
    let (name, namespace) =
        (meta.name.as_deref().unwrap_or_default(), meta.namespace.as_deref().unwrap_or_default());
    let pods: Api<Pod> = Api::namespaced(host.context.client.clone(), namespace);
    // The uid keeps a pod that was made later under the same name from getting this status.
    let patch = json!({"metadata": {"uid": meta.uid}, "status": changes});
    pods.patch_status(name, &PatchParams::default(), &Patch::Strategic(patch)).await.map(Some)
}

/// Returns the strategic merge patch that makes `old` say what `new` says.
fn changes(old: &Value, new: &Value) -> Map<String, Value> {
    let mut changes = Map::new();
    for field in OWNED {
        let (old, new) = (&old[field], &new[field]);
        if old == new {
            continue;
        }
        let change = match (field, new) {
            ("conditions", Value::Array(new)) => changed_conditions(old, new),
            // These lists are merged by address: the old ones have to go.
            ("podIPs" | "hostIPs", Value::Array(new)) => replaced(new),
            ("podIPs" | "hostIPs", _) => replaced(&[]),
            (_, new) => new.clone(),
        };
        if change.as_array().is_none_or(|list| !list.is_empty()) {
            changes.insert(field.to_owned(), change);
        }
    }
    changes
}

fn changed_conditions(old: &Value, new: &[Value]) -> Value {
    let known = |condition: &Value| {
        let old = old.as_array().into_iter().flatten();
        old.clone().find(|old| old["type"] == condition["type"]).cloned().unwrap_or_default()
    };
    let changed = new.iter().filter_map(|condition| {
        let old = known(condition);
        let fields = ["status", "reason", "message", "lastTransitionTime"];
        if fields.iter().all(|field| old[field] == condition[field]) {
            return None;
        }
        let mut change = condition.clone();
        for field in fields.iter().filter(|field| condition[**field].is_null() && !old[**field].is_null()) {
            change[*field] = Value::Null;
        }
        Some(change)
    });
    changed.collect()
}

fn replaced(list: &[Value]) -> Value {
    let directive = json!({"$patch": "replace"});
    std::iter::once(directive).chain(list.iter().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changed_is_written() {
        let condition = |kind: &str, status: &str| json!({"type": kind, "status": status});
        let old = json!({
            "phase": "Pending", "message": "m", "podIPs": [{"ip": "10.0.0.1"}], "qosClass": "BestEffort",
            "conditions": [condition("Ready", "False"), condition("Theirs", "True")],
        });
        let new = json!({
            "phase": "Running", "podIPs": [{"ip": "10.0.0.2"}],
            "conditions": [condition("Ready", "True"), condition("Initialized", "True")],
        });

        let changes = changes(&old, &new);

        assert_eq!(
            Value::Object(changes),
            json!({
                "phase": "Running",
                "message": null,
                "podIPs": [{"$patch": "replace"}, {"ip": "10.0.0.2"}],
                "conditions": [condition("Ready", "True"), condition("Initialized", "True")],
            })
        );
    }
}
