//! What a budget comes to, given its pods. No I/O.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use quarterdeck_core::clock::later;
use quarterdeck_core::labels::Selector;

use crate::meta;
use crate::pod::Pod;

/// For how long an eviction counts whose pod is not seen to go.
const EVICTION_PATIENCE: SignedDuration = SignedDuration::from_mins(2);

/// Returns whether a budget is about a pod.
pub(super) fn selects(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    let selector = selector.and_then(|selector| serde_json::to_value(selector).ok());
    Selector::from_label_selector(selector.as_ref())
        .is_ok_and(|selector| selector.matches_map(meta::labels(pod)))
}

/// A budget with the pods that it is about.
pub(super) struct Selected<'a> {
    pub(super) budget: &'a PodDisruptionBudget,
    pub(super) pods: &'a [Arc<Pod>],
    pub(super) now: Timestamp,
}

/// How many pods there should be, and how many of them must be healthy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) pods: i32,
    pub(super) healthy: i32,
}

impl Selected<'_> {
    /// Returns the budget's status, and when it is to be looked at again though nothing changes.
    pub(super) fn status(
        &self,
        expected: Result<Expected, String>,
    ) -> (PodDisruptionBudgetStatus, Option<Duration>) {
        let before = self.budget.status.clone().unwrap_or_default();
        let (disrupted, recheck) = self.disrupted(&before);
        let generation = self.budget.metadata.generation;
        let expected = match expected {
            Ok(expected) => expected,
            Err(why) => {
                let mut failed = before;
                failed.disruptions_allowed = Some(0);
                let condition = ("False", "SyncFailed", why.as_str());
                failed.conditions = self.conditions(failed.conditions.take(), condition);
                failed.observed_generation = generation;
                return (failed, recheck);
            }
        };
        let healthy = self.healthy(&disrupted);
        let allowed = if expected.pods <= 0 { 0 } else { (healthy - expected.healthy).max(0) };
        let condition =
            if allowed > 0 { ("True", "SufficientPods", "") } else { ("False", "InsufficientPods", "") };
        let status = PodDisruptionBudgetStatus {
            conditions: self.conditions(before.conditions, condition),
            current_healthy: Some(healthy),
            desired_healthy: Some(expected.healthy),
            disrupted_pods: (!disrupted.is_empty()).then_some(disrupted),
            disruptions_allowed: Some(allowed),
            expected_pods: Some(expected.pods),
            observed_generation: generation,
        };
        (status, recheck)
    }

    /// Returns the evictions of pods that are not seen to go yet, and when the first of them does not count any more.
    fn disrupted(&self, before: &PodDisruptionBudgetStatus) -> (BTreeMap<String, Time>, Option<Duration>) {
        let mut disrupted = BTreeMap::new();
        let mut recheck: Option<Duration> = None;
        for pod in self.pods.iter().filter(|pod| !pod.is_terminating()) {
            let name = meta::name(&**pod);
            let Some(since) = before.disrupted_pods.as_ref().and_then(|pods| pods.get(name)) else {
                continue;
            };
            let left = later(since.0, EVICTION_PATIENCE).duration_since(self.now);
            if left.is_positive() {
                let left = left.unsigned_abs();
                recheck = Some(recheck.map_or(left, |known| known.min(left)));
                disrupted.insert(name.to_owned(), since.clone());
            }
        }
        (disrupted, recheck)
    }

    fn healthy(&self, disrupted: &BTreeMap<String, Time>) -> i32 {
        let counts = |pod: &&Arc<Pod>| {
            !pod.is_terminating() && !disrupted.contains_key(meta::name(&***pod)) && pod.is_ready()
        };
        i32::try_from(self.pods.iter().filter(counts).count()).unwrap_or(i32::MAX)
    }

    fn conditions(
        &self,
        before: Option<Vec<Condition>>,
        (status, reason, message): (&str, &str, &str),
    ) -> Option<Vec<Condition>> {
        const KIND: &str = "DisruptionAllowed";
        let mut all = before.unwrap_or_default();
        let known = all.iter().find(|condition| condition.type_ == KIND && condition.status == status);
        let whole = Timestamp::from_second(self.now.as_second()).unwrap_or(self.now);
        let since = known.map_or(Time(whole), |known| known.last_transition_time.clone());
        let next = Condition {
            type_: KIND.into(),
            status: status.into(),
            reason: reason.into(),
            message: message.into(),
            observed_generation: self.budget.metadata.generation,
            last_transition_time: since,
        };
        match all.iter_mut().find(|condition| condition.type_ == KIND) {
            Some(known) => *known = next,
            None => all.push(next),
        }
        Some(all)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    const NOW: &str = "2026-01-01T00:00:00Z";

    fn pod(name: &str, ready: bool) -> Arc<Pod> {
        let status = if ready { "True" } else { "False" };
        let conditions = json!([{"type": "Ready", "status": status}]);
        Arc::new(
            from_value(json!({"metadata": {"name": name}, "status": {"conditions": conditions}})).unwrap(),
        )
    }

    fn status(
        pods: &[Arc<Pod>],
        before: Value,
        expected: Expected,
    ) -> (PodDisruptionBudgetStatus, Option<Duration>) {
        let budget: PodDisruptionBudget = from_value(json!({
            "metadata": {"name": "b", "generation": 2}, "spec": {}, "status": before,
        }))
        .unwrap();
        Selected { budget: &budget, pods, now: NOW.parse().unwrap() }.status(Ok(expected))
    }

    fn empty() -> Value {
        json!({"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0})
    }

    #[test]
    fn what_is_healthy_beyond_what_must_be_may_go() {
        let pods = [pod("a", true), pod("b", true), pod("c", false)];

        let (status, recheck) = status(&pods, empty(), Expected { pods: 3, healthy: 1 });

        assert_eq!((status.current_healthy, status.disruptions_allowed), (Some(2), Some(1)));
        assert_eq!((status.observed_generation, recheck), (Some(2), None));
        let condition = &status.conditions.unwrap()[0];
        assert_eq!((condition.status.as_str(), condition.reason.as_str()), ("True", "SufficientPods"));
    }

    #[test]
    fn an_evicted_pod_that_is_still_there_counts_as_gone_for_two_minutes() {
        let pods = [pod("a", true), pod("b", true)];
        let evicted = |at: &str| {
            let mut before = empty();
            before["disruptedPods"] = json!({"a": at});
            status(&pods, before, Expected { pods: 2, healthy: 1 })
        };

        let (fresh, recheck) = evicted("2025-12-31T23:59:00Z");
        let (old, never) = evicted("2025-12-31T23:57:00Z");

        assert_eq!((fresh.current_healthy, fresh.disruptions_allowed), (Some(1), Some(0)));
        assert_eq!((recheck, never), (Some(Duration::from_secs(60)), None));
        assert_eq!((old.disrupted_pods, old.disruptions_allowed), (None, Some(1)));
    }

    #[test]
    fn nothing_may_go_while_nobody_knows_how_many_there_should_be() {
        let budget: PodDisruptionBudget =
            from_value(json!({"metadata": {"name": "b"}, "spec": {}, "status": empty()})).unwrap();
        let selected = Selected { budget: &budget, pods: &[pod("a", true)], now: NOW.parse().unwrap() };

        let (status, _) = selected.status(Err("found no controllers for pod \"a\"".into()));

        assert_eq!(status.disruptions_allowed, Some(0));
        assert_eq!(status.conditions.unwrap()[0].reason, "SyncFailed");
    }
}
