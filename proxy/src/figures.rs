//! What a proxy counts: under kube-proxy's names where it does what kube-proxy does.

use std::time::Duration;

use quarterdeck_core::clock::Clock;
use quarterdeck_core::metrics::{Counter, Gauge, Histogram, Metrics, exponential};

/// What a proxy counts about keeping up with services.
pub(crate) struct Figures {
    clock: Clock,
    syncs: Histogram,
    last: Gauge,
    failures: Counter,
}

impl Figures {
    pub(crate) fn new(metrics: &Metrics, clock: Clock) -> Self {
        Self {
            clock,
            syncs: metrics
                .histograms(
                    "kubeproxy_sync_proxy_rules_duration_seconds",
                    "SyncProxyRules latency in seconds.",
                    &[],
                    &exponential(0.001, 2.0, 15),
                )
                .with(&[]),
            last: metrics
                .gauges(
                    "kubeproxy_sync_proxy_rules_last_timestamp_seconds",
                    "The last time proxy rules were successfully synced.",
                    &[],
                )
                .with(&[]),
            failures: metrics
                .counters(
                    "kubeproxy_sync_proxy_rules_nftables_sync_failures_total",
                    "Cumulative proxy nftables sync failures.",
                    &[],
                )
                .with(&[]),
        }
    }

    /// Counts how long it took to make everything as services want it, whether or not that worked.
    pub(crate) fn synced(&self, took: Duration) {
        self.syncs.observe_time(took);
    }

    /// Notes that everything is as services want it.
    pub(crate) fn is_good(&self) {
        self.last.set(usize::try_from(self.clock.now().as_second()).unwrap_or_default());
    }

    /// Counts that rules could not be written.
    pub(crate) fn failed(&self) {
        self.failures.inc();
    }
}
