//! The audit log: who asked for what, when, and what became of it.
//!
//! An [`Audit`] is a [`Policy`], which says of which requests how much is told, and an [`AuditSink`], which takes the events,
//! each as a line of JSON in upstream's form (`audit.k8s.io/v1`). [`AuditFile`] writes them to a file. No request ever waits
//! for the log: what a sink cannot take is dropped and counted.

mod body;
mod event;
mod fields;
mod file;
mod layer;
mod policy;
mod record;
mod refusals;
mod rotation;

use std::fmt::Debug;
use std::sync::Arc;

pub use event::{Level, Stage};
pub use file::{AuditFile, AuditFileOptions};
pub(crate) use layer::{AuditLayer, Audited};
pub use policy::{Policy, PolicyError};
pub(crate) use record::AuditId;
pub(crate) use refusals::KnownOnly;
pub use rotation::Rotation;

/// Takes the events of the audit log.
///
/// # Contract
///
/// 1. [`record`](Self::record) returns at once: it is called while a request is served. What cannot be kept is dropped.
/// 2. What is dropped is counted.
/// 3. Strangers can send as many requests as they like: their events do not crowd out those of users who are known.
pub trait AuditSink: Debug + Send + Sync + 'static {
    /// Takes an event: an object of the kind `Event` as JSON, without a line's end.
    fn record(&self, event: Vec<u8>);

    /// Takes an event of a request that came from nobody known (default: like any other).
    fn record_stranger(&self, event: Vec<u8>) {
        self.record(event);
    }

    /// Returns how many events were dropped so far.
    fn dropped(&self) -> u64;

    /// Returns how many events were dropped so far, for each reason that there is (default: all of them, for none that is told).
    fn dropped_by_reason(&self) -> Vec<(&'static str, u64)> {
        vec![("unknown", self.dropped())]
    }
}

const _: Option<&dyn AuditSink> = None; // object safety is API: losing it must not compile

/// What is told of requests, and to whom. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Audit {
    pub(crate) policy: Arc<Policy>,
    pub(crate) sink: Arc<dyn AuditSink>,
}

impl Audit {
    /// Tells a sink what a policy says.
    pub fn new(policy: Policy, sink: impl AuditSink) -> Self {
        Self::shared(policy, Arc::new(sink))
    }

    /// Does what [`new`](Self::new) does, with a sink that others hold too.
    #[must_use]
    pub fn shared(policy: Policy, sink: Arc<dyn AuditSink>) -> Self {
        Self { policy: Arc::new(policy), sink }
    }
}
