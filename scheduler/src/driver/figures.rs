//! What the driver counts, under upstream's names.

use std::collections::BTreeMap;
use std::time::Duration;

use quarterdeck_core::metrics::{Counter, Gauge, Histogram, Metrics, exponential};
use quarterdeck_core::scheduling::{PodInfo, Symbol};
use tokio::time::Instant;

use super::queue::Depths;

/// How an attempt to place a pod ended.
#[derive(Debug, Clone, Copy)]
pub(super) enum Outcome {
    Scheduled,
    Unschedulable,
    Error,
}

const OUTCOMES: [&str; 3] = ["scheduled", "unschedulable", "error"];

/// What the driver counts.
pub(super) struct Figures {
    /// Of each scheduler, by outcome.
    attempts: BTreeMap<Symbol, [(Counter, Histogram); OUTCOMES.len()]>,
    active: Gauge,
    backoff: Gauge,
    unschedulable: Gauge,
    /// When the attempts began whose pods are being bound.
    binding: BTreeMap<Symbol, Instant>,
}

impl Figures {
    pub(super) fn new(metrics: &Metrics, schedulers: impl Iterator<Item = Symbol>) -> Self {
        let labels = &["result", "profile"];
        let help = "Number of attempts to schedule pods, by the result.";
        let counters = metrics.counters("scheduler_schedule_attempts_total", help, labels);
        let help = "Scheduling attempt latency in seconds.";
        let bounds = exponential(0.001, 2.0, 15);
        let histograms =
            metrics.histograms("scheduler_scheduling_attempt_duration_seconds", help, labels, &bounds);
        let series = |name: &Symbol| {
            OUTCOMES.map(|outcome| {
                let labels = [outcome, name.as_str()];
                (counters.with(&labels), histograms.with(&labels))
            })
        };
        let help = "Number of pending pods, by the queue type.";
        let pending = metrics.gauges("scheduler_pending_pods", help, &["queue"]);
        Self {
            attempts: schedulers.map(|name| (name.clone(), series(&name))).collect(),
            active: pending.with(&["active"]),
            backoff: pending.with(&["backoff"]),
            unschedulable: pending.with(&["unschedulable"]),
            binding: BTreeMap::new(),
        }
    }

    /// Counts an attempt that ended with its decision.
    pub(super) fn attempted(&self, scheduler: &Symbol, outcome: Outcome, took: Duration) {
        if let Some(series) = self.attempts.get(scheduler) {
            let (count, duration) = &series[outcome as usize];
            count.inc();
            duration.observe_time(took);
        }
    }

    /// Notes that a pod is being bound: its attempt, which began then, ends with that.
    pub(super) fn binds(&mut self, pod: &PodInfo, began: Instant) {
        self.binding.insert(pod.uid.clone(), began);
    }

    /// Counts the attempt of a pod that was, or was not, bound.
    pub(super) fn bound(&mut self, pod: &PodInfo, outcome: Outcome) {
        if let Some(began) = self.binding.remove(&pod.uid) {
            self.attempted(&pod.scheduler, outcome, began.elapsed());
        }
    }

    /// Tells how many pods wait.
    pub(super) fn pending(&self, depths: Depths) {
        self.active.set(depths.active);
        self.backoff.set(depths.backoff);
        self.unschedulable.set(depths.unschedulable);
    }
}
