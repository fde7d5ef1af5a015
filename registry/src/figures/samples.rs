//! Figures of a server that are looked at when somebody collects.

use std::sync::Arc;

use quarterdeck_core::metrics::{Counter, Metrics};

use crate::audit::{Audit, AuditSink};
use crate::cache::Cache;
use crate::layers::fairness::Fairness;

/// Tells what a server stores and how busy its levels are. None of it keeps the server.
pub(crate) fn watch_server(metrics: &Metrics, cache: &Cache, fairness: &Fairness) {
    metrics.with_process();
    let census = cache.census();
    let help = "Number of stored objects at the time of last check split by kind.";
    metrics.sample("apiserver_storage_objects", help, &["resource"], move |samples| {
        for (resource, count) in census() {
            #[expect(clippy::cast_precision_loss, reason = "memory ends before")]
            samples.push(&[&resource], count as f64);
        }
    });
    fairness.tell(metrics);
}

/// A sink of the audit log whose events are counted.
#[derive(Debug)]
pub(crate) struct CountedAudit {
    sink: Arc<dyn AuditSink>,
    events: Counter,
}

impl CountedAudit {
    /// Has the events of an audit log counted.
    pub(crate) fn of(audit: Audit, metrics: &Metrics) -> Audit {
        let help = "Counter of audit events generated and sent to the audit backend.";
        let events = metrics.counters("apiserver_audit_event_total", help, &[]).with(&[]);
        let sink = Arc::downgrade(&audit.sink);
        let help = "Counter of audit events that failed to be audited properly.";
        metrics.sample("apiserver_audit_error_total", help, &["plugin"], move |samples| {
            if let Some(sink) = sink.upgrade() {
                #[expect(clippy::cast_precision_loss, reason = "no log drops that many")]
                samples.push(&["log"], sink.dropped() as f64);
            }
        });
        let sink = Arc::downgrade(&audit.sink);
        let (name, help) = (
            "quarterdeck_audit_dropped_events_total",
            "Counter of audit events that were dropped, by the reason.",
        );
        metrics.sample(name, help, &["reason"], move |samples| {
            for (reason, count) in sink.upgrade().map(|sink| sink.dropped_by_reason()).into_iter().flatten() {
                #[expect(clippy::cast_precision_loss, reason = "no log drops that many")]
                samples.push(&[reason], count as f64);
            }
        });
        Audit { policy: audit.policy, sink: Arc::new(Self { sink: audit.sink, events }) }
    }
}

impl AuditSink for CountedAudit {
    fn record(&self, event: Vec<u8>) {
        self.events.inc();
        self.sink.record(event);
    }

    fn record_stranger(&self, event: Vec<u8>) {
        self.events.inc();
        self.sink.record_stranger(event);
    }

    fn dropped(&self) -> u64 {
        self.sink.dropped()
    }

    fn dropped_by_reason(&self) -> Vec<(&'static str, u64)> {
        self.sink.dropped_by_reason()
    }
}
