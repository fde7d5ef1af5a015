//! When a node was heard of last.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, NodeCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use tokio::time::Instant;

/// The conditions that become unknown with the node.
const CONDITIONS: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// Whether a node can run pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ready {
    True,
    False,
    Unknown,
}

impl Ready {
    /// What the node's condition says; a node that never said anything is not ready.
    pub(super) fn of(node: &Node) -> Self {
        match condition(node, "Ready").map(|condition| condition.status.as_str()) {
            Some("True") => Ready::True,
            Some("Unknown") => Ready::Unknown,
            _ => Ready::False,
        }
    }
}

fn condition<'a>(node: &'a Node, kind: &str) -> Option<&'a NodeCondition> {
    conditions(node).find(|condition| condition.type_ == kind)
}

pub(super) fn conditions(node: &Node) -> impl Iterator<Item = &NodeCondition> {
    node.status.iter().flat_map(|status| status.conditions.iter().flatten())
}

/// The signs of life of one node, timed as they came in here: clocks of different hosts are not compared.
#[derive(Debug)]
pub(super) struct Health {
    heard: Instant,
    renewed: Option<MicroTime>,
    reported: Option<(String, Option<Time>)>,
    pub(super) ready: Option<Ready>,
}

impl Health {
    pub(super) fn new(now: Instant) -> Self {
        Self { heard: now, renewed: None, reported: None, ready: None }
    }

    /// Takes note of the Lease and the status, if either is new.
    pub(super) fn hear(&mut self, node: &Node, lease: Option<&Lease>, now: Instant) {
        let renewed = lease.and_then(|lease| lease.spec.as_ref()?.renew_time.clone());
        // What this controller itself wrote, that the node is unknown, is no sign of life.
        let reported = condition(node, "Ready")
            .filter(|ready| ready.status != "Unknown")
            .map(|ready| (ready.status.clone(), ready.last_heartbeat_time.clone()));
        let renews = renewed.is_some() && renewed != self.renewed;
        let reports = reported.is_some() && reported != self.reported;
        if renews {
            self.renewed = renewed;
        }
        if reports {
            self.reported = reported;
        }
        if renews || reports {
            self.heard = now;
        }
    }

    pub(super) fn is_silent(
        &self,
        node: &Node,
        now: Instant,
        grace: Duration,
        startup_grace: Duration,
    ) -> bool {
        let grace = if condition(node, "Ready").is_some() { grace } else { startup_grace };
        now.duration_since(self.heard) > grace
    }
}

/// Returns the conditions of a silent node that are to change.
pub(super) fn unknown(node: &Node, now: Timestamp) -> Vec<NodeCondition> {
    let changed = CONDITIONS.iter().filter_map(|kind| {
        let known = condition(node, kind);
        let (reason, message) = match known {
            Some(known) if known.status == "Unknown" => return None,
            Some(_) => ("NodeStatusUnknown", "Kubelet stopped posting node status."),
            None => ("NodeStatusNeverUpdated", "Kubelet never posted node status."),
        };
        Some(NodeCondition {
            type_: (*kind).into(),
            status: "Unknown".into(),
            reason: Some(reason.into()),
            message: Some(message.into()),
            last_heartbeat_time: known.map_or_else(
                || node.metadata.creation_timestamp.clone(),
                |known| known.last_heartbeat_time.clone(),
            ),
            last_transition_time: Some(Time(now)),
        })
    });
    changed.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    const GRACE: Duration = Duration::from_secs(40);

    fn node(ready: &str, heartbeat: &str) -> Node {
        from_value(json!({"status": {"conditions": [
            {"type": "Ready", "status": ready, "lastHeartbeatTime": heartbeat},
        ]}}))
        .unwrap()
    }

    fn lease(renewed: &str) -> Lease {
        from_value(json!({"spec": {"renewTime": renewed}})).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_is_silent_when_neither_its_lease_nor_its_status_changed() {
        let mut health = Health::new(Instant::now());
        let known = node("True", "2026-01-01T00:00:00Z");
        health.hear(&known, Some(&lease("2026-01-01T00:00:00.000000Z")), Instant::now());
        tokio::time::advance(Duration::from_secs(39)).await;
        health.hear(&known, Some(&lease("1999-01-01T00:00:00.000000Z")), Instant::now());
        tokio::time::advance(Duration::from_secs(39)).await;
        assert!(!health.is_silent(&known, Instant::now(), GRACE, GRACE), "its clock is wrong, but it lives");

        health.hear(&known, Some(&lease("1999-01-01T00:00:00.000000Z")), Instant::now());
        tokio::time::advance(Duration::from_secs(2)).await;

        assert!(health.is_silent(&known, Instant::now(), GRACE, GRACE));
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_controller_wrote_is_no_sign_of_life() {
        let mut health = Health::new(Instant::now());
        health.hear(&node("True", "2026-01-01T00:00:00Z"), None, Instant::now());
        tokio::time::advance(GRACE + Duration::from_secs(1)).await;

        health.hear(&node("Unknown", "2026-01-01T00:00:00Z"), None, Instant::now());

        assert!(health.is_silent(&node("Unknown", "2026-01-01T00:00:00Z"), Instant::now(), GRACE, GRACE));
    }

    #[test]
    fn conditions_that_are_missing_are_unknown_too() {
        let changed = unknown(&node("True", "2026-01-01T00:00:00Z"), Timestamp::from_second(9).unwrap());

        assert_eq!(changed.len(), 4);
        assert_eq!(changed[0].reason.as_deref(), Some("NodeStatusUnknown"));
        assert_eq!(changed[1].reason.as_deref(), Some("NodeStatusNeverUpdated"));
        assert!(unknown(&node("Unknown", "2026-01-01T00:00:00Z"), Timestamp::UNIX_EPOCH).len() == 3);
    }
}
