//! What the driver counts, under upstream's names.

use std::collections::BTreeMap;
use std::time::Duration;

use quarterdeck_core::metrics::{Counter, Gauge, Histogram, Histograms, Metrics, exponential};
use quarterdeck_core::scheduling::{PodInfo, Symbol};
use tokio::time::Instant;

use super::queue::{Depths, Waiting};

/// How an attempt to place a pod ended.
#[derive(Debug, Clone, Copy)]
pub(super) enum Outcome {
    Scheduled,
    Unschedulable,
    Error,
}

const OUTCOMES: [&str; 3] = ["scheduled", "unschedulable", "error"];

/// From here on, numbers of attempts are counted together.
const MANY_ATTEMPTS: u32 = 15;

/// What the driver counts.
pub(super) struct Figures {
    /// Of each scheduler, by outcome.
    attempts: BTreeMap<Symbol, [(Counter, Histogram); OUTCOMES.len()]>,
    active: Gauge,
    backoff: Gauge,
    unschedulable: Gauge,
    /// How long decisions take.
    decisions: Histogram,
    /// How long pods waited that were placed, by the number of attempts.
    waits: Histograms,
    /// How many attempts it took to place pods.
    tries: Histogram,
    preemptions: Counter,
    victims: Histogram,
    /// The pods that are being bound.
    binding: BTreeMap<Symbol, Binding>,
}

/// A pod that is being bound.
struct Binding {
    /// When the attempt began.
    began: Instant,
    /// When the pod came.
    since: Instant,
    /// The attempt's number.
    attempt: u32,
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
            decisions: metrics
                .histograms(
                    "scheduler_scheduling_algorithm_duration_seconds",
                    "Scheduling algorithm latency in seconds.",
                    &[],
                    &bounds,
                )
                .with(&[]),
            waits: metrics.histograms(
                "scheduler_pod_scheduling_sli_duration_seconds",
                "E2e latency for a pod being scheduled, from the time the pod enters the scheduling queue and might involve multiple scheduling attempts.",
                &["attempts"],
                &exponential(0.01, 2.0, 20),
            ),
            tries: metrics
                .histograms(
                    "scheduler_pod_scheduling_attempts",
                    "Number of attempts to successfully schedule a pod.",
                    &[],
                    &exponential(1.0, 2.0, 5),
                )
                .with(&[]),
            preemptions: metrics
                .counters(
                    "scheduler_preemption_attempts_total",
                    "Total preemption attempts in the cluster till now.",
                    &[],
                )
                .with(&[]),
            victims: metrics
                .histograms(
                    "scheduler_preemption_victims",
                    "Number of selected preemption victims.",
                    &[],
                    &exponential(1.0, 2.0, 7),
                )
                .with(&[]),
            binding: BTreeMap::new(),
        }
    }

    /// Counts how long a decision took.
    pub(super) fn decided(&self, took: Duration) {
        self.decisions.observe_time(took);
    }

    /// Counts that pods have to leave for another.
    pub(super) fn preempted(&self, victims: usize) {
        self.preemptions.inc();
        #[expect(clippy::cast_precision_loss, reason = "no node has that many pods")]
        self.victims.observe(victims as f64);
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
    pub(super) fn binds(&mut self, waiting: &Waiting, began: Instant) {
        let binding = Binding { began, since: waiting.since, attempt: waiting.attempts.saturating_add(1) };
        self.binding.insert(waiting.pod.uid.clone(), binding);
    }

    /// Counts the attempt of a pod that was, or was not, bound.
    pub(super) fn bound(&mut self, pod: &PodInfo, outcome: Outcome) {
        let Some(Binding { began, since, attempt }) = self.binding.remove(&pod.uid) else { return };
        self.attempted(&pod.scheduler, outcome, began.elapsed());
        if let Outcome::Scheduled = outcome {
            self.tries.observe(f64::from(attempt));
            let attempts =
                if attempt < MANY_ATTEMPTS { attempt.to_string() } else { format!("{MANY_ATTEMPTS}+") };
            self.waits.with(&[&attempts]).observe_time(since.elapsed());
        }
    }

    /// Tells how many pods wait.
    pub(super) fn pending(&self, depths: Depths) {
        self.active.set(depths.active);
        self.backoff.set(depths.backoff);
        self.unschedulable.set(depths.unschedulable);
    }
}
