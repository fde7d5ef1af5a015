//! The store of objects: what the server keeps behind its front door.
//!
//! A [`Registry`] knows the kinds, the store, its cache and the rules of admission. Reads are in `verbs`;
//! the ways of writing are in [`write`](crate::write).

use std::collections::BTreeMap;
use std::sync::Arc;

use quarterdeck_core::clock::Clock;
use quarterdeck_core::node::NodeConnector;
use quarterdeck_core::random::Random;
use quarterdeck_core::storage::{Revision, Storage};

use crate::admission::{Admission, WebhookClient};
use crate::beside::LongWork;
use crate::cache::{Cache, World};
use crate::figures::Figures;
use crate::layers::authentication::Authentication;
use crate::layers::authorization::Authorization;
use crate::resource::Resource;
use crate::sparing::Sparing;
use crate::status::Result;
use crate::strategy::StrategyContext;
use crate::tokens::TokenIssuer;
use crate::user::User;
use crate::write::Turns;

/// Numbers and ranges that strategies draw on.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Where service addresses come from.
    pub service_cidr: ipnet::IpNet,
    /// The first and the last node port.
    pub node_ports: (u16, u16),
}

impl Settings {
    /// Returns the first address of the range: that of the service `kubernetes`.
    #[must_use]
    pub fn first_service_address(&self) -> std::net::IpAddr {
        let network = self.service_cidr.network();
        self.service_cidr.hosts().find(|host| *host != network).unwrap_or(network)
    }
}

/// The kinds that a server serves.
#[derive(Debug, Default, Clone)]
pub struct Resources {
    /// Sorted by group, version and plural.
    all: Vec<Arc<Resource>>,
}

impl Resources {
    /// Collects kinds. A later one replaces an earlier one of the same path.
    #[must_use]
    pub fn new(resources: impl IntoIterator<Item = Resource>) -> Self {
        let mut by_path = BTreeMap::new();
        for resource in resources {
            by_path.insert(path_of(&resource), Arc::new(resource));
        }
        Self { all: by_path.into_values().collect() }
    }

    /// Adds kinds. One whose group and plural are taken is left out.
    pub(crate) fn with<'r>(&self, more: impl IntoIterator<Item = &'r Arc<Resource>>) -> Self {
        let mut by_path: BTreeMap<_, _> =
            self.all.iter().map(|resource| (path_of(resource), resource.clone())).collect();
        for resource in more {
            let is_taken =
                self.all.iter().any(|one| one.group == resource.group && one.plural == resource.plural);
            if !is_taken {
                by_path.entry(path_of(resource)).or_insert_with(|| resource.clone());
            }
        }
        Self { all: by_path.into_values().collect() }
    }

    /// Returns the kind behind a path.
    #[must_use]
    pub fn get(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.position(group, version, plural).map(|index| &self.all[index])
    }

    /// Returns the place among [`all`](Self::all) of the kind behind a path.
    pub(crate) fn position(&self, group: &str, version: &str, plural: &str) -> Option<usize> {
        let wanted = (group, version, plural);
        let path = |resource: &Resource| {
            (resource.group.as_ref(), resource.version.as_ref(), resource.plural.as_ref()).cmp(&wanted)
        };
        self.all.binary_search_by(|resource| path(resource)).ok()
    }

    /// Returns the kind of this name, in the version that is stored if that is served.
    #[must_use]
    pub fn by_kind(&self, group: &str, kind: &str) -> Option<&Arc<Resource>> {
        let named = || self.all.iter().filter(|resource| resource.group == group && resource.kind == kind);
        let is_stored = |resource: &&Arc<Resource>| {
            resource.is_stored_form() && resource.version == resource.storage_version()
        };
        named().find(is_stored).or_else(|| named().next())
    }

    /// Returns all kinds, by group, version and plural.
    #[must_use]
    pub fn all(&self) -> &[Arc<Resource>] {
        &self.all
    }
}

fn path_of(resource: &Resource) -> (String, String, String) {
    (resource.group.to_string(), resource.version.to_string(), resource.plural.to_string())
}

/// The kinds, the store and everything that a write needs.
#[derive(Debug)]
pub struct Registry {
    /// The store.
    pub storage: Arc<dyn Storage>,
    /// What is stored, as fresh as the feed has it.
    pub cache: Cache,
    /// The time.
    pub clock: Clock,
    /// Randomness.
    pub random: Random,
    /// What may change or refuse writes, in order.
    pub admission: Vec<Arc<dyn Admission>>,
    /// Ranges.
    pub settings: Settings,
    /// What calls the webhooks that convert.
    pub(crate) webhooks: WebhookClient,
    /// Work that must not hold up other requests.
    pub(crate) long: LongWork,
    /// Writes that wait for each other.
    pub(crate) turns: Turns,
    /// What is logged of a store without room.
    pub(crate) full: Sparing,
    /// The way to the nodes' agents.
    pub connector: Option<Arc<dyn NodeConnector>>,
    /// Who somebody is.
    pub(crate) authentication: Authentication,
    /// Who may do what.
    pub(crate) authorization: Authorization,
    /// What is counted.
    pub(crate) figures: Figures,
    /// Who makes service accounts' tokens.
    pub tokens: Option<Arc<dyn TokenIssuer>>,
}

impl Registry {
    /// Returns the kinds that are served now.
    #[must_use]
    pub fn resources(&self) -> Arc<Resources> {
        self.cache.world().resources().clone()
    }

    /// Returns what a strategy may draw on.
    #[must_use]
    pub fn strategy_context<'a>(
        &'a self,
        user: &'a User,
        world: &'a World,
        attempt: usize,
    ) -> StrategyContext<'a> {
        StrategyContext {
            now: self.clock.now(),
            random: &self.random,
            service_cidr: self.settings.service_cidr,
            node_ports: self.settings.node_ports,
            user,
            world,
            attempt,
        }
    }

    /// Returns a world that shows every commit that was acknowledged before the call.
    ///
    /// # Errors
    ///
    /// A Status if the store does not answer or the feed does not follow.
    pub async fn latest(&self) -> Result<Arc<World>> {
        self.cache.latest(self.storage.as_ref()).await
    }

    /// Returns a world that is not older than `revision`.
    ///
    /// # Errors
    ///
    /// A Status if the store does not answer, or the revision does not come within three seconds.
    pub async fn not_older_than(&self, revision: Revision) -> Result<Arc<World>> {
        self.cache.not_older_than(self.storage.as_ref(), revision).await
    }
}
