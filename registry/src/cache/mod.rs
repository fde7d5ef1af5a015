//! The watch cache: the present state of everything stored, and the recent past of every kind.
//!
//! One task ([`Feed`]) follows the store and publishes [`World`]s: ordered, persistent maps that readers take
//! without a lock and in O(1). Each kind has a [`Log`] of recent events that its watchers read at their own pace. Readers
//! never hold up the feed, and the feed never holds up a writer.

mod catalog;
mod drafts;
mod feed;
mod log;
mod objects;
mod read;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use quarterdeck_core::latest;
use quarterdeck_core::storage::{Key, Revision};

use catalog::Catalog;
use drafts::Drafts;
pub use feed::{Feed, FeedError};
pub use log::{Event, EventKind, Log, Position, Read, line};
use objects::Objects;

use crate::figures::group_resource;
use crate::object::{Draft, Object};
use crate::registry::Resources;
use crate::resource::{Backing, Resource};

/// What every key of the API server begins with.
pub const ROOT: &str = "/registry/";

/// Everything stored, as of one revision. Cloning it is O(1).
#[derive(Debug, Default, Clone)]
pub struct World {
    /// The revision that the world shows.
    pub revision: Revision,
    objects: Objects,
    catalog: Catalog,
}

impl World {
    /// Returns the kinds that are served at this revision.
    #[must_use]
    pub fn resources(&self) -> &Arc<Resources> {
        &self.catalog.resources
    }

    /// Returns the kind that the definition at a key makes, in the version that is stored, even if none is served.
    pub(crate) fn defined(&self, key: &str) -> Option<&Arc<Resource>> {
        self.catalog.defined(key)
    }

    /// Returns the object at a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Arc<Object>> {
        self.objects.get(key)
    }

    /// Returns the objects whose keys begin with `prefix` and lie behind `after`, in the order of their keys.
    pub fn range<'a>(
        &'a self,
        prefix: &str,
        after: Option<&str>,
    ) -> impl Iterator<Item = (&'a Key, &'a Arc<Object>)> {
        let start = match after {
            Some(after) if after > prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        self.objects.from(start).take_while(move |(key, _)| key.as_str().starts_with(prefix))
    }

    /// Returns whether there are objects whose keys begin with `prefix`.
    pub(crate) fn has(&self, prefix: &str) -> bool {
        self.objects.has(prefix)
    }
}

/// The state and the recent past of a store, as one task keeps them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Cache(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    world: ArcSwap<World>,
    /// Tells of each published world, after all logs hold its events.
    published: latest::Sender<Revision>,
    /// Tells of each published world in which a definition of kinds changed.
    defined: latest::Sender<Revision>,
    drafts: Drafts,
    /// The last world that was read from the store itself, because the cache stood still.
    beside: tokio::sync::Mutex<Arc<World>>,
    /// Whether nobody follows the store.
    is_orphaned: AtomicBool,
    /// Whether the store went back behind what is in here.
    is_rolled_back: AtomicBool,
}

impl Cache {
    /// Makes an empty cache for these kinds.
    #[must_use]
    pub fn new(resources: Resources) -> Self {
        let catalog = Catalog::new(resources);
        let world = World { catalog, ..World::default() };
        Self(Arc::new(Shared {
            world: ArcSwap::from_pointee(world),
            published: latest::Sender::new(Revision(0)),
            defined: latest::Sender::new(Revision(0)),
            drafts: Drafts::default(),
            beside: Default::default(),
            is_orphaned: AtomicBool::new(false),
            is_rolled_back: AtomicBool::new(false),
        }))
    }

    /// Returns whether the store is followed: if it is not, what the cache holds grows old, or is of another history.
    #[must_use]
    pub fn is_fed(&self) -> bool {
        !self.0.is_orphaned.load(Ordering::Relaxed) && !self.0.is_rolled_back.load(Ordering::Relaxed)
    }

    /// Notes whether the store is followed.
    pub(crate) fn set_fed(&self, is_fed: bool) {
        self.0.is_orphaned.store(!is_fed, Ordering::Relaxed);
    }

    /// Returns the latest world.
    #[must_use]
    pub fn world(&self) -> Arc<World> {
        self.0.world.load_full()
    }

    /// Returns what counts the stored objects of each kind, without keeping the cache.
    pub(crate) fn census(&self) -> impl Fn() -> BTreeMap<String, usize> + Send + Sync + 'static {
        let shared = Arc::downgrade(&self.0);
        move || {
            let Some(world) = shared.upgrade().map(|shared| shared.world.load_full()) else {
                return BTreeMap::new();
            };
            let stored = |kind: &&Arc<Resource>| kind.backing == Backing::Store && kind.is_stored_form();
            let kinds = world.resources().all().iter().filter(stored);
            kinds.map(|kind| (group_resource(kind), world.range(&kind.prefix, None).count())).collect()
        }
    }

    /// Returns a kind's log; absent if the kind is not served any more.
    #[must_use]
    pub fn log(&self, resource: &Resource) -> Option<Arc<Log>> {
        self.log_of(&resource.prefix)
    }

    /// Returns the log of the kind whose keys begin with a prefix; absent if no such kind is served.
    pub(crate) fn log_of(&self, prefix: &str) -> Option<Arc<Log>> {
        self.0.world.load().catalog.log(prefix).cloned()
    }

    /// Returns a receiver of the revisions of published worlds.
    #[must_use]
    pub fn published(&self) -> latest::Receiver<Revision> {
        self.0.published.subscribe()
    }

    /// Returns a receiver of the revisions at which definitions of kinds changed.
    pub(crate) fn defined(&self) -> latest::Receiver<Revision> {
        self.0.defined.subscribe()
    }

    /// Announces an object that is about to be committed, so that the feed need not parse it.
    pub(crate) fn announce(&self, draft: &Draft) {
        self.0.drafts.add(draft);
    }

    /// Says that an announced object was not committed.
    pub(crate) fn withdraw(&self, draft: &Draft) {
        self.0.drafts.take(draft.bytes());
    }
}
