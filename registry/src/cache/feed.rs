//! The task that keeps a cache up to date with its store.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::StreamExt;
use imbl::OrdMap;
use quarterdeck_core::component::Stop;
use quarterdeck_core::storage::{Change, Commit, Entry, Key, List, Revision, Storage, StorageError};

use super::{Cache, Event, EventKind, ROOT, World};
use crate::object::Object;
use crate::resource::Resource;

/// How many commits are published together at most, if they are there already.
const AT_ONCE: usize = 64;

/// Follows a store and publishes what it sees. Made by [`Feed::start`], driven by [`Feed::run`].
#[derive(Debug)]
pub struct Feed {
    cache: Cache,
    storage: Arc<dyn Storage>,
    world: World,
    /// The prefixes of keys that have to be read again, because their kind changed.
    unsettled: BTreeSet<String>,
    /// Whether a definition changed since the last world was published.
    redefined: bool,
}

/// Why a feed ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FeedError {
    /// The store does not answer.
    #[error("cannot read the store")]
    Storage(#[from] StorageError),
}

impl Feed {
    /// Reads all that is stored and publishes the first world.
    ///
    /// # Errors
    ///
    /// [`FeedError::Storage`] if the store does not answer.
    pub async fn start(cache: Cache, storage: Arc<dyn Storage>) -> Result<Self, FeedError> {
        let world = World::clone(&cache.world());
        let mut feed = Self { cache, storage, world, unsettled: BTreeSet::new(), redefined: true };
        feed.reload().await?;
        Ok(feed)
    }

    /// Follows the store until it is time to stop.
    ///
    /// # Errors
    ///
    /// [`FeedError::Storage`] if the store does not answer. A reader that fell too far behind starts over by itself.
    pub async fn run(mut self, mut stop: Stop) -> Result<(), FeedError> {
        loop {
            let watch = self.storage.watch(ROOT, self.world.revision).await;
            let error = match watch {
                Ok(commits) => {
                    let mut commits = commits.ready_chunks(AT_ONCE);
                    loop {
                        let applied = match stop.or(commits.next()).await {
                            None => return Ok(()),
                            Some(Some(ready)) => self.apply(ready).await,
                            Some(None) => {
                                Err(StorageError::Unavailable("the watch of the store ended".into()))
                            }
                        };
                        if let Err(error) = applied {
                            break error;
                        }
                    }
                }
                Err(error) => error,
            };
            match error {
                StorageError::Compacted(_) => self.reload().await?,
                other => return Err(other.into()),
            }
        }
    }

    /// Applies commits to the world and the logs, and publishes them together, up to the first error.
    async fn apply(&mut self, commits: Vec<Result<Commit, StorageError>>) -> Result<(), StorageError> {
        let mut outcome = Ok(());
        let mut seen = None;
        for commit in commits {
            match commit {
                Ok(commit) => {
                    for change in &commit.changes {
                        self.apply_change(change, commit.revision);
                    }
                    if let Err(error) = self.settle(commit.revision).await {
                        outcome = Err(error);
                        break;
                    }
                    seen = Some(commit.revision);
                }
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        if let Some(revision) = seen {
            self.publish(revision);
        }
        outcome
    }

    fn publish(&mut self, revision: Revision) {
        self.world.revision = revision;
        self.cache.0.world.store(Arc::new(self.world.clone()));
        self.cache.0.published.send_replace(revision);
        if std::mem::take(&mut self.redefined) {
            self.cache.0.defined.send_replace(revision);
        }
    }

    fn apply_change(&mut self, change: &Change, revision: Revision) {
        let key = change.key();
        let Some(kind) = self.world.catalog.kind_of(key).cloned() else { return };
        let event = match change {
            Change::Put { entry, .. } => {
                let Some(object) = self.load(&kind.resource, entry) else { return };
                let previous = self.world.objects.insert(key.clone(), object.clone());
                let what = if previous.is_some() { EventKind::Modified } else { EventKind::Added };
                Event::new(what, object, previous)
            }
            Change::Delete { .. } => {
                let Some(previous) = self.world.objects.remove(key) else { return };
                Event::new(EventKind::Deleted, Arc::new(previous.at(revision)), Some(previous))
            }
        };
        kind.log.push(event);
        if self.world.catalog.defines(key) {
            self.redefine(key);
        }
    }

    /// Lets the kinds follow a definition that changed.
    fn redefine(&mut self, key: &Key) {
        self.redefined = true;
        let definition = self.world.objects.get(key).map(|object| object.value());
        if let Some((catalog, prefixes)) = self.world.catalog.redefined(key, definition.as_ref()) {
            let gone = prefixes.iter().filter(|prefix| catalog.log(prefix).is_none());
            gone.filter_map(|prefix| self.world.catalog.log(prefix)).for_each(|log| log.close());
            self.world.catalog = catalog;
            self.unsettled.extend(prefixes);
        }
    }

    /// Reads the objects of kinds that changed, as they are at this revision. Their watchers are cut off, and list again.
    async fn settle(&mut self, revision: Revision) -> Result<(), StorageError> {
        for prefix in std::mem::take(&mut self.unsettled) {
            let known: Vec<Key> = self.world.range(&prefix, None).map(|(key, _)| key.clone()).collect();
            for key in known {
                self.world.objects.remove(&key);
            }
            let Some(log) = self.world.catalog.log(&prefix).cloned() else { continue };
            let page = self.storage.list(List::prefix(prefix.as_str()).at(revision)).await?;
            for entry in &page.entries {
                let Some(kind) = self.world.catalog.kind_of(&entry.key).cloned() else { continue };
                if let Some(object) = self.load(&kind.resource, entry) {
                    self.world.objects.insert(entry.key.clone(), object);
                }
            }
            log.reset(revision);
        }
        Ok(())
    }

    /// Makes the object of a stored entry. What is no object is left out, and said once.
    fn load(&self, resource: &Resource, entry: &Entry) -> Option<Arc<Object>> {
        let (bytes, revision) = (entry.value.clone(), entry.modified);
        if let Some(draft) = self.cache.0.drafts.take(&bytes).filter(|draft| draft.is_of(resource)) {
            return Some(Arc::new(draft.committed(revision)));
        }
        match Object::load(resource, &entry.key, bytes, revision) {
            Ok(object) => Some(Arc::new(object)),
            Err(error) => {
                tracing::error!(%error, "the store holds something that is no object: delete or repair it");
                None
            }
        }
    }

    /// Reads all that is stored. Watchers that stand before it are cut off.
    async fn reload(&mut self) -> Result<(), FeedError> {
        let page = self.storage.list(List::prefix(ROOT)).await?;
        self.world.objects = OrdMap::new();
        self.unsettled.clear();
        self.redefined = true;
        self.world.catalog = self.world.catalog.without_definitions();
        // Kinds come before their objects.
        let plain = self.world.catalog.clone();
        for entry in page.entries.iter().filter(|entry| plain.defines(&entry.key)) {
            let Some(kind) = self.world.catalog.kind_of(&entry.key).cloned() else { continue };
            if let Some(object) = self.load(&kind.resource, entry)
                && let Some((catalog, _)) = self.world.catalog.redefined(&entry.key, Some(&object.value()))
            {
                self.world.catalog = catalog;
            }
        }
        let load = |entry: &Entry| {
            let kind = self.world.catalog.kind_of(&entry.key)?;
            Some((entry.key.clone(), self.load(&kind.resource, entry)?))
        };
        self.world.objects = page.entries.iter().filter_map(load).collect();
        for log in self.world.catalog.logs() {
            log.reset(page.revision);
        }
        self.publish(page.revision);
        Ok(())
    }
}

impl Cache {
    /// Drops events up to a revision from all logs, as the store's compaction does.
    pub fn forget(&self, revision: Revision) {
        for log in self.world().catalog.logs() {
            log.forget(revision);
        }
    }
}
