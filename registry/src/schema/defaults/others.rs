//! Defaults of the remaining groups.

use serde_json::{Value, json};

use super::{Object, ensure_object, fill, text};

/// Egress only where there are egress rules (`pkg/apis/networking/v1/defaults.go`).
pub(super) fn network_policy(spec: &mut Object) {
    let has_egress = spec.get("egress").and_then(Value::as_array).is_some_and(|rules| !rules.is_empty());
    let types = if has_egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
    fill(spec, "policyTypes", types);
}

/// (`pkg/apis/rbac/v1/defaults.go`)
pub(super) fn subject(subject: &mut Object) {
    if matches!(text(subject, "kind"), "User" | "Group") {
        fill(subject, "apiGroup", "rbac.authorization.k8s.io");
    }
}

/// (`pkg/apis/storage/v1/defaults.go`)
pub(super) fn csi_driver(spec: &mut Object) {
    fill(spec, "volumeLifecycleModes", json!(["Persistent"]));
}

/// (`pkg/apis/flowcontrol/v1/defaults.go`)
pub(super) fn flow_schema(spec: &mut Object) {
    replace_zero(spec, "matchingPrecedence", 1000);
}

pub(super) fn queuing(queuing: &mut Object) {
    replace_zero(queuing, "queues", 64);
    replace_zero(queuing, "handSize", 8);
    replace_zero(queuing, "queueLengthLimit", 50);
}

fn replace_zero(object: &mut Object, name: &str, value: i64) {
    if object.get(name).and_then(Value::as_i64).unwrap_or_default() == 0 {
        object.insert(name.to_owned(), value.into());
    }
}

/// (`apiextensions-apiserver/pkg/apis/apiextensions/v1/defaults.go`)
pub(super) fn custom_resource_definition(spec: &mut Object) {
    if let Some(names) = ensure_object(spec, "names") {
        let kind = text(names, "kind").to_owned();
        if !kind.is_empty() {
            fill(names, "singular", kind.to_lowercase());
            fill(names, "listKind", format!("{kind}List"));
        }
    }
    fill(spec, "conversion", json!({"strategy": "None"}));
}
