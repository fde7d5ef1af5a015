//! The group `certificates.k8s.io`.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::resource::{Resource, Scope, Subresource};
use crate::strategy::{Strategy, StrategyContext};
use crate::write::metadata::seconds;

pub(super) fn resources() -> Vec<Resource> {
    vec![
        Resource::builtin(
            "certificates.k8s.io",
            "v1",
            "CertificateSigningRequest",
            "certificatesigningrequests",
            Scope::Cluster,
        )
        .short_names(&["csr"])
        .subresources(&[Subresource::Approval, Subresource::Status])
        .strategy(SigningRequestStrategy),
    ]
}

/// What may be said of a request once only, and not taken back.
const FINAL: [&str; 2] = ["Approved", "Denied"];

/// A request says who made it, stays as it is, and is approved by other hands than those that sign it.
#[derive(Debug)]
struct SigningRequestStrategy;

impl Strategy for SigningRequestStrategy {
    fn prepare_for_create(&self, request: &mut Value, context: &StrategyContext<'_>) {
        let user = context.user;
        let spec = &mut request["spec"];
        for (field, value) in [
            ("username", json!(user.name)),
            ("uid", json!(user.uid)),
            ("groups", json!(user.groups)),
            ("extra", json!(*user.extra)),
        ] {
            let empty = value.as_str() == Some("")
                || value.as_array().is_some_and(Vec::is_empty)
                || value.as_object().is_some_and(serde_json::Map::is_empty);
            match spec.as_object_mut() {
                Some(spec) if empty || value.is_null() => {
                    spec.remove(field);
                }
                Some(spec) => {
                    spec.insert(field.into(), value);
                }
                None => {}
            }
        }
    }

    fn prepare_for_update(&self, request: &mut Value, old: &Value, _context: &StrategyContext<'_>) {
        request["spec"] = old["spec"].clone();
    }

    fn prepare_for_status_update(&self, request: &mut Value, old: &Value, context: &StrategyContext<'_>) {
        let given = conditions(request);
        let mut kept: Vec<Value> = given.into_iter().filter(|condition| !is_final(condition)).collect();
        // Who signs neither approves nor denies.
        kept.splice(0..0, conditions(old).into_iter().filter(is_final));
        set_conditions(request, kept, old, context.now);
    }

    fn prepare_for_approval(&self, request: &mut Value, old: &Value, context: &StrategyContext<'_>) {
        let given = conditions(request);
        match old["status"].is_null() {
            true => request["status"] = json!({}),
            false => request["status"] = old["status"].clone(),
        }
        set_conditions(request, given, old, context.now);
    }
}

fn conditions(request: &Value) -> Vec<Value> {
    request["status"]["conditions"].as_array().cloned().unwrap_or_default()
}

fn is_final(condition: &Value) -> bool {
    FINAL.iter().any(|kind| condition["type"] == *kind)
}

/// Sets the conditions, each with the times that it lacks.
fn set_conditions(request: &mut Value, mut conditions: Vec<Value>, old: &Value, now: Timestamp) {
    let before = self::conditions(old);
    for condition in &mut conditions {
        let known = before.iter().find(|other| other["type"] == condition["type"]);
        if condition["lastUpdateTime"].is_null() {
            condition["lastUpdateTime"] = seconds(now);
        }
        if condition["lastTransitionTime"].is_null() {
            let unchanged = known.filter(|known| known["status"] == condition["status"]);
            let since = unchanged.map(|known| known["lastTransitionTime"].clone());
            condition["lastTransitionTime"] =
                since.filter(|time| !time.is_null()).unwrap_or_else(|| seconds(now));
        }
    }
    match request["status"].as_object_mut() {
        Some(status) if conditions.is_empty() => {
            status.remove("conditions");
        }
        Some(status) => {
            status.insert("conditions".into(), conditions.into());
        }
        None => {}
    }
}
