use std::fmt;
use std::sync::Arc;

use kube::Client;

use super::{Informers, Recorder};
use crate::clock::Clock;
use crate::health::Health;
use crate::metrics::Metrics;
use crate::random::Random;

/// Makes a client that acts as the service account of a name in `kube-system`.
type Accounts = Arc<dyn Fn(&str) -> Client + Send + Sync>;

/// What a part that talks to the API gets at assembly. Clones share everything.
///
/// Components with the same client share a context, and with it their informers. Those of one process may share informers and
/// still have identities of their own: see [`account`](Self::account).
#[derive(Clone)]
#[non_exhaustive]
pub struct Context {
    /// Talks to the API server.
    pub client: Client,
    /// What is read through `client` (of an [`account`](Self::account), through the client of the context that it is of), shared
    /// by type and selector.
    pub informers: Informers,
    /// Tells the date.
    pub clock: Clock,
    /// Names things and breaks ties.
    pub random: Random,
    /// Where what a part counts is collected.
    pub metrics: Metrics,
    /// Where parts say whether they are well.
    pub health: Health,
    /// Absent if all parts act as `client` does.
    accounts: Option<Accounts>,
}

impl Context {
    /// Makes a context with informers of its own. Its health knows the check `informer-sync`: whether all of them have heard
    /// from the server.
    #[must_use]
    pub fn new(client: Client, clock: Clock, random: Random) -> Self {
        let (metrics, health) = (Metrics::new(), Health::new());
        let informers = Informers::new(client.clone());
        health.ready("informer-sync", informers.checked());
        Self { informers, client, clock, random, metrics, health, accounts: None }
    }

    /// Lets parts act as service accounts of their own: `client` makes one that acts as the account of a name in `kube-system`
    /// (default: all act as the context's client does). For accounts of a server that is reached over a network it is
    /// [`TokenAccounts::client`](super::TokenAccounts::client).
    #[must_use]
    pub fn with_accounts(mut self, client: impl Fn(&str) -> Client + Send + Sync + 'static) -> Self {
        self.accounts = Some(Arc::new(client));
        self
    }

    /// Returns the context of a part that has the service account of a name in `kube-system`: it acts as the account, and reads
    /// through the informers that all share. Where the context knows no accounts, it is the same context.
    ///
    /// # Panics
    ///
    /// Panics outside of a tokio runtime where the context knows accounts: clients need one.
    #[must_use]
    pub fn account(&self, name: &str) -> Self {
        let mut own = self.clone();
        if let Some(accounts) = &self.accounts {
            own.client = accounts(name);
        }
        own
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
