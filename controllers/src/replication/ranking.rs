//! Which pods of a surplus go first.

use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::meta;
use crate::pod::Pod;

const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// Orders `pods` so that those to delete first come first.
///
/// Pods without a node come before those with one, pending before unknown before running, not ready before ready, cheap
/// before costly, pods on nodes that hold many of `related` before those that stand alone; then those ready for a shorter
/// time, with more restarts, and younger ones. Times count in powers of two, and the uid decides among equals: so the
/// choice is spread, and not always the same node's pods.
pub(super) fn rank(pods: &mut [Arc<Pod>], related: &[Arc<Pod>], now: Timestamp) {
    let mut on_node: BTreeMap<&str, usize> = BTreeMap::new();
    for pod in related.iter().filter(|pod| pod.is_active()) {
        *on_node.entry(pod.spec.node_name.as_str()).or_default() += 1;
    }
    let neighbours = |pod: &Pod| on_node.get(pod.spec.node_name.as_str()).copied().unwrap_or_default();
    pods.sort_by(|one, other| {
        usefulness(one)
            .cmp(&usefulness(other))
            .then_with(|| neighbours(other).cmp(&neighbours(one)))
            .then_with(|| by_time(one, other, Pod::ready_since, now))
            .then_with(|| Reverse(one.restarts()).cmp(&Reverse(other.restarts())))
            .then_with(|| by_time(one, other, meta::created, now))
    });
}

fn usefulness(pod: &Pod) -> (bool, u8, bool, i32) {
    let phase = match pod.status.phase.as_str() {
        "Running" => 2,
        "Unknown" => 1,
        _ => 0,
    };
    let cost = meta::annotation(pod, DELETION_COST).and_then(|cost| cost.parse().ok()).unwrap_or_default();
    (!pod.spec.node_name.is_empty(), phase, pod.is_ready(), cost)
}

/// Younger first, in powers of two; those of about one age by uid.
fn by_time(one: &Pod, other: &Pod, time: impl Fn(&Pod) -> Option<Timestamp>, now: Timestamp) -> Ordering {
    let (first, second) = (time(one), time(other));
    if first == second {
        return Ordering::Equal;
    }
    magnitude(first, now).cmp(&magnitude(second, now)).then_with(|| meta::uid(one).cmp(meta::uid(other)))
}

/// The binary logarithm of an age in nanoseconds: -1 for none or less, the greatest for an unknown time.
fn magnitude(time: Option<Timestamp>, now: Timestamp) -> i64 {
    let Some(time) = time else { return i64::from(i64::MAX.ilog2()) };
    let age = now.duration_since(time).as_nanos();
    u128::try_from(age).ok().and_then(u128::checked_ilog2).map_or(-1, i64::from)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    fn pod(name: &str, more: Value) -> Arc<Pod> {
        let mut pod = json!({
            "metadata": {"name": name, "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"nodeName": "n"},
            "status": {
                "phase": "Running",
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
            },
        });
        for (part, fields) in more.as_object().unwrap() {
            for (field, value) in fields.as_object().unwrap() {
                pod[part][field] = value.clone();
            }
        }
        Arc::new(from_value(pod).unwrap())
    }

    fn ranked(pods: Vec<Arc<Pod>>, related: &[Arc<Pod>]) -> Vec<String> {
        let mut pods = pods;
        rank(&mut pods, related, "2026-01-02T00:00:00Z".parse().unwrap());
        pods.iter().map(|pod| meta::name(&**pod).to_owned()).collect()
    }

    #[test]
    fn the_least_useful_pods_go_first() {
        let ready_at = |time: &str| json!([{"type": "Ready", "status": "True", "lastTransitionTime": time}]);
        let pods = vec![
            pod("h-oldest", json!({})),
            pod("g-younger", json!({"metadata": {"creationTimestamp": "2026-01-01T23:00:00Z"}})),
            pod("f-restarted", json!({"status": {"containerStatuses": [{"restartCount": 3}]}})),
            pod("e-ready-later", json!({"status": {"conditions": ready_at("2026-01-01T23:59:00Z")}})),
            pod("d-cheap", json!({"metadata": {"annotations": {DELETION_COST: "-1"}}})),
            pod("c-not-ready", json!({"status": {"conditions": []}})),
            pod("b-pending", json!({"status": {"phase": "Pending", "conditions": []}})),
            pod("a-unassigned", json!({"spec": {"nodeName": ""}})),
        ];

        let names = ranked(pods, &[]);

        let letters: String = names.iter().map(|name| &name[..1]).collect();
        assert_eq!(letters, "abcdefgh");
    }

    #[test]
    fn pods_that_share_their_node_go_before_those_that_stand_alone() {
        let pods = vec![
            pod("alone", json!({"spec": {"nodeName": "m"}})),
            pod("one", json!({})),
            pod("two", json!({})),
        ];

        let names = ranked(pods.clone(), &pods);

        assert_eq!(names, ["one", "two", "alone"]);
    }

    #[test]
    fn among_pods_of_about_one_age_the_uid_decides() {
        let pods = vec![
            pod("b", json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:01Z"}})),
            pod("a", json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}})),
        ];

        assert_eq!(ranked(pods, &[]), ["a", "b"]);
    }
}
