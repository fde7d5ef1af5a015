//! What a node's taints should be, and which pods bear them for how long.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Taint, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use quarterdeck_core::clock::later;

use super::health::{Ready, conditions};

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// Conditions of which each keeps new pods away, when true.
const PRESSURES: [(&str, &str); 4] = [
    ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "node.kubernetes.io/network-unavailable"),
];

const NO_SCHEDULE: &str = "NoSchedule";
const NO_EXECUTE: &str = "NoExecute";

pub(super) fn of(node: &Node) -> &[Taint] {
    node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default()
}

/// Whether the node's pods are being evicted for its silence.
pub(super) fn evicts(node: &Node) -> bool {
    of(node).iter().any(|taint| taint.effect == NO_EXECUTE && is_about_health(taint))
}

fn is_about_health(taint: &Taint) -> bool {
    taint.key == NOT_READY || taint.key == UNREACHABLE
}

/// Whether this controller decides about the taint.
fn is_ours(taint: &Taint) -> bool {
    let effect = taint.effect.as_str();
    let key = taint.key.as_str();
    (effect == NO_EXECUTE && is_about_health(taint))
        || (effect == NO_SCHEDULE
            && (is_about_health(taint) || key == UNSCHEDULABLE || PRESSURES.iter().any(|(_, of)| *of == key)))
}

/// Returns what the node's taints should be, if that differs from what they are. `evicts` allows to evict pods.
pub(super) fn wanted(node: &Node, ready: Ready, evicts: bool, now: Timestamp) -> Option<Vec<Taint>> {
    let mut keys: Vec<(&str, &str)> = Vec::new();
    let health = match ready {
        Ready::True => None,
        Ready::False => Some(NOT_READY),
        Ready::Unknown => Some(UNREACHABLE),
    };
    keys.extend(health.map(|key| (key, NO_SCHEDULE)));
    for (kind, key) in PRESSURES {
        if conditions(node).any(|condition| condition.type_ == kind && condition.status == "True") {
            keys.push((key, NO_SCHEDULE));
        }
    }
    if node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true) {
        keys.push((UNSCHEDULABLE, NO_SCHEDULE));
    }
    keys.extend(health.filter(|_| evicts).map(|key| (key, NO_EXECUTE)));

    let same = |taint: &Taint, (key, effect): (&str, &str)| taint.key == key && taint.effect == effect;
    let mut taints: Vec<Taint> = of(node)
        .iter()
        .filter(|taint| !is_ours(taint) || keys.iter().any(|key| same(taint, *key)))
        .cloned()
        .collect();
    let kept = taints.len();
    for key in keys {
        if !taints.iter().any(|taint| same(taint, key)) {
            taints.push(Taint {
                key: key.0.into(),
                effect: key.1.into(),
                value: None,
                time_added: Some(Time(now)),
            });
        }
    }
    (taints.len() != kept || kept != of(node).len()).then_some(taints)
}

/// Returns when a pod with these tolerations has to leave the node: `None` if it may stay.
pub(super) fn eviction(node: &Node, tolerations: &[Toleration], now: Timestamp) -> Option<Timestamp> {
    let mut earliest = None;
    for taint in of(node).iter().filter(|taint| taint.effect == NO_EXECUTE) {
        let added = taint.time_added.as_ref().map_or(now, |time| time.0);
        let bearing: Vec<_> = tolerations.iter().filter(|toleration| bears(toleration, taint)).collect();
        let until = if bearing.is_empty() {
            Some(now)
        } else {
            let seconds = bearing.iter().filter_map(|toleration| toleration.toleration_seconds).min();
            seconds.map(|seconds| later(added, SignedDuration::from_secs(seconds.max(0))))
        };
        earliest = earliest.into_iter().chain(until).min();
    }
    earliest
}

fn bears(toleration: &Toleration, taint: &Taint) -> bool {
    let is = |field: &Option<String>, of: &str| {
        field.as_deref().is_none_or(|field| field.is_empty() || field == of)
    };
    let value = toleration.value.as_deref().unwrap_or_default();
    is(&toleration.effect, &taint.effect)
        && is(&toleration.key, &taint.key)
        && match toleration.operator.as_deref() {
            Some("Exists") => true,
            _ => toleration.key.is_some() && value == taint.value.as_deref().unwrap_or_default(),
        }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    fn now() -> Timestamp {
        "2026-01-01T00:10:00Z".parse().unwrap()
    }

    fn node(taints: Value, more: Value) -> Node {
        from_value(json!({"spec": {"taints": taints, "unschedulable": more["unschedulable"]}, "status": more["status"]}))
            .unwrap()
    }

    fn keys(taints: Option<Vec<Taint>>) -> Vec<String> {
        taints.unwrap().iter().map(|taint| format!("{}:{}", taint.key, taint.effect)).collect()
    }

    #[test]
    fn a_lost_node_keeps_new_pods_away_and_evicts_when_it_may() {
        let foreign = json!([{"key": "a", "effect": "NoExecute"}]);
        let lost = node(foreign, json!({}));

        assert_eq!(
            keys(wanted(&lost, Ready::Unknown, false, now())),
            ["a:NoExecute", "node.kubernetes.io/unreachable:NoSchedule"]
        );
        assert_eq!(keys(wanted(&lost, Ready::Unknown, true, now())).len(), 3);
    }

    #[test]
    fn a_node_that_is_back_loses_its_taints_and_no_others() {
        let taints = json!([
            {"key": UNREACHABLE, "effect": "NoSchedule"}, {"key": UNREACHABLE, "effect": "NoExecute"},
            {"key": "a", "effect": "NoSchedule"},
        ]);

        assert_eq!(keys(wanted(&node(taints, json!({})), Ready::True, true, now())), ["a:NoSchedule"]);
    }

    #[test]
    fn pressure_and_cordons_are_taints_too() {
        let status = json!({"conditions": [{"type": "DiskPressure", "status": "True"}]});
        let node = node(json!([]), json!({"unschedulable": true, "status": status}));

        let taints = wanted(&node, Ready::True, true, now());

        assert_eq!(
            keys(taints),
            ["node.kubernetes.io/disk-pressure:NoSchedule", "node.kubernetes.io/unschedulable:NoSchedule"]
        );
    }

    #[test]
    fn right_taints_are_not_written_again() {
        let taints = json!([{"key": NOT_READY, "effect": "NoSchedule"}]);

        assert_eq!(wanted(&node(taints, json!({})), Ready::False, false, now()), None);
    }

    #[test]
    fn a_pod_leaves_when_its_toleration_ends() {
        let taint = json!([{"key": UNREACHABLE, "effect": "NoExecute", "timeAdded": "2026-01-01T00:00:00Z"}]);
        let lost = node(taint, json!({}));
        let until = |tolerations: Value| {
            let tolerations: Vec<Toleration> = from_value(tolerations).unwrap();
            eviction(&lost, &tolerations, now()).map(|time| time.to_string())
        };

        assert_eq!(until(json!([])).as_deref(), Some("2026-01-01T00:10:00Z"));
        let five = json!({"key": UNREACHABLE, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300});
        assert_eq!(until(json!([five])).as_deref(), Some("2026-01-01T00:05:00Z"));
        assert_eq!(until(json!([{"operator": "Exists"}])), None);
        assert_eq!(
            until(json!([{"key": "other", "operator": "Exists"}])).as_deref(),
            Some("2026-01-01T00:10:00Z")
        );
        assert_eq!(eviction(&node(json!([]), json!({})), &[], now()), None);
    }
}
