//! What the levels tell collectors of metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quarterdeck_core::metrics::Metrics;

use super::configuration::{LEVELS, SCHEMAS};
use super::level::Load;
use super::{Fairness, Inner};

/// Why a request was refused.
#[derive(Debug, Clone, Copy)]
pub(super) enum Refused {
    /// There was no room to wait.
    NoRoom,
    /// It waited too long.
    TimeOut,
}

/// How many requests of one schema were refused.
#[derive(Debug, Default)]
pub(super) struct Refusals([AtomicU64; 2]);

impl Refusals {
    pub(super) fn count(&self, why: Refused) {
        self.0[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    fn of(&self, why: Refused) -> u64 {
        self.0[why as usize].load(Ordering::Relaxed)
    }
}

impl Fairness {
    /// Tells how busy the levels are, for as long as somebody has the layer.
    #[expect(clippy::cast_precision_loss, reason = "counts are small")]
    pub(crate) fn tell(&self, metrics: &Metrics) {
        let gauge = |name: &str, help: &str, read: fn(&Load) -> usize| {
            let inner = Arc::downgrade(&self.0);
            metrics.sample(name, help, &["priority_level"], move |samples| {
                let Some(inner) = inner.upgrade() else { return };
                for (spec, level) in LEVELS.iter().zip(&inner.levels) {
                    if let Some(level) = level {
                        samples.push(&[spec.name], read(&level.load()) as f64);
                    }
                }
            });
        };
        gauge(
            "apiserver_flowcontrol_current_inqueue_requests",
            "Number of requests currently pending in queues of the API Priority and Fairness subsystem.",
            |load| load.waiting,
        );
        gauge(
            "apiserver_flowcontrol_current_executing_seats",
            "Concurrency (number of seats) occupied by the currently executing requests.",
            |load| load.in_use,
        );
        gauge(
            "apiserver_flowcontrol_current_limit_seats",
            "Current derived number of execution seats available to each priority level.",
            |load| load.limit,
        );
        let inner = Arc::downgrade(&self.0);
        let help = "Number of requests rejected by API Priority and Fairness subsystem.";
        let labels = &["flow_schema", "priority_level", "reason"];
        metrics.sample("apiserver_flowcontrol_rejected_requests_total", help, labels, move |samples| {
            let Some(inner) = inner.upgrade() else { return };
            for (spec, refusals) in SCHEMAS.iter().zip(&inner.refusals) {
                let room = if has_queues(spec.level) { "queue-full" } else { "concurrency-limit" };
                for (why, reason) in [(Refused::NoRoom, room), (Refused::TimeOut, "time-out")] {
                    let count = refusals.of(why);
                    if count > 0 {
                        samples.push(&[spec.name, spec.level, reason], count as f64);
                    }
                }
            }
        });
    }
}

impl Inner {
    pub(super) fn refuse(&self, schema: usize, why: Refused) {
        self.refusals[schema].count(why);
    }
}

fn has_queues(level: &str) -> bool {
    let level = LEVELS.iter().find(|spec| spec.name == level);
    level.and_then(|spec| spec.limited.as_ref()).is_some_and(|limited| limited.queuing.is_some())
}
