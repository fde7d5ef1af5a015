//! What is told of an agent's certificates, under the kubelet's names.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use quarterdeck_core::clock::Clock;
use quarterdeck_core::metrics::Metrics;

use super::credential::Credential;

/// That there is no certificate.
const NONE: i64 = i64::MAX;

/// What is told of one certificate. Clones are one.
#[derive(Debug, Clone)]
pub(super) struct Figures(Arc<Told>);

#[derive(Debug)]
struct Told {
    /// Until when it is good, in seconds since 1970.
    until: AtomicI64,
    /// How often it could not be renewed.
    errors: AtomicU64,
}

impl Default for Figures {
    fn default() -> Self {
        Self(Arc::new(Told { until: AtomicI64::new(NONE), errors: AtomicU64::new(0) }))
    }
}

impl Figures {
    /// Tells of the certificate by which a node is known.
    pub(super) fn tell_client(&self, metrics: &Metrics, clock: &Clock) {
        self.tell(
            metrics,
            clock,
            (
                "kubelet_certificate_manager_client_ttl_seconds",
                "Gauge of the TTL (time-to-live) of the Kubelet's client certificate: seconds until it expires, negative if it has, +Inf if there is none.",
            ),
            (
                "kubelet_certificate_manager_client_expiration_renew_errors",
                "Number of times that the client certificate could not be renewed.",
            ),
        );
    }

    /// Tells of the certificate that an agent's server shows.
    pub(super) fn tell_serving(&self, metrics: &Metrics, clock: &Clock) {
        self.tell(
            metrics,
            clock,
            (
                "kubelet_certificate_manager_server_ttl_seconds",
                "Gauge of the TTL (time-to-live) of the Kubelet's serving certificate: seconds until it expires, negative if it has, +Inf if there is none.",
            ),
            (
                "kubelet_server_expiration_renew_errors",
                "Number of times that the serving certificate could not be renewed.",
            ),
        );
    }

    fn tell(&self, metrics: &Metrics, clock: &Clock, left: (&str, &str), errors: (&str, &str)) {
        let (told, clock) = (self.0.clone(), clock.clone());
        metrics.sample(left.0, left.1, &[], move |samples| {
            #[expect(clippy::cast_precision_loss, reason = "no certificate is good for that long")]
            let left = match told.until.load(Ordering::Relaxed) {
                NONE => f64::INFINITY,
                until => (until - clock.now().as_second()) as f64,
            };
            samples.push(&[], left);
        });
        let told = self.0.clone();
        metrics.sample(errors.0, errors.1, &[], move |samples| {
            #[expect(clippy::cast_precision_loss, reason = "nobody tries that often")]
            samples.push(&[], told.errors.load(Ordering::Relaxed) as f64);
        });
    }

    /// Says that a certificate is in use.
    pub(super) fn uses(&self, credential: &Credential) {
        self.0.until.store(credential.not_after().as_second(), Ordering::Relaxed);
    }

    /// Counts an attempt to renew it that failed.
    pub(super) fn failed(&self) {
        self.0.errors.fetch_add(1, Ordering::Relaxed);
    }
}
