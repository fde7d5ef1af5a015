use std::fmt;

use kube::Client;

use super::{Informers, Recorder};
use crate::clock::Clock;
use crate::health::Health;
use crate::metrics::Metrics;
use crate::random::Random;

/// What a part that talks to the API gets at assembly. Clones share everything.
///
/// Each component has a context of its own if it has an identity of its own; components with the same client share one, and
/// with it their informers.
#[derive(Clone)]
#[non_exhaustive]
pub struct Context {
    /// Talks to the API server.
    pub client: Client,
    /// What is read through `client`, shared by type and selector.
    pub informers: Informers,
    /// Tells the date.
    pub clock: Clock,
    /// Names things and breaks ties.
    pub random: Random,
    /// Where what a part counts is collected.
    pub metrics: Metrics,
    /// Where parts say whether they are well.
    pub health: Health,
}

impl Context {
    /// Makes a context with informers of its own. Its health knows the check `informer-sync`: whether all of them have heard
    /// from the server.
    #[must_use]
    pub fn new(client: Client, clock: Clock, random: Random) -> Self {
        let (metrics, health) = (Metrics::new(), Health::new());
        let informers = Informers::new(client.clone());
        health.ready("informer-sync", informers.checked());
        Self { informers, client, clock, random, metrics, health }
    }

    /// Collects what parts count in this registry (default: one of the context's own).
    #[must_use]
    pub fn with_metrics(mut self, metrics: Metrics) -> Self {
        self.metrics = metrics;
        self
    }

    /// Starts a recorder of events that `component` reports.
    ///
    /// # Panics
    ///
    /// Panics outside of a tokio runtime.
    #[must_use]
    pub fn recorder(&self, component: &str) -> Recorder {
        Recorder::new(self, component)
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("informers", &self.informers).finish_non_exhaustive()
    }
}
