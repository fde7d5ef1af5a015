//! The task that keeps a cache up to date with its store.

use std::sync::Arc;

use futures::StreamExt;
use quarterdeck_core::component::Stop;
use quarterdeck_core::storage::{Change, Commit, Entry, List, Revision, Storage, StorageError};

use super::{Cache, Event, EventKind, ROOT, World};
use crate::object::Object;

/// Follows a store and publishes what it sees. Made by [`Feed::start`], driven by [`Feed::run`].
#[derive(Debug)]
pub struct Feed {
    cache: Cache,
    storage: Arc<dyn Storage>,
    world: World,
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
        let mut feed = Self { cache, storage, world: World::default() };
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
                Ok(mut commits) => loop {
                    match stop.or(commits.next()).await {
                        None => return Ok(()),
                        Some(Some(Ok(commit))) => self.apply(commit),
                        Some(Some(Err(error))) => break error,
                        Some(None) => break StorageError::Unavailable("the watch of the store ended".into()),
                    }
                },
                Err(error) => error,
            };
            match error {
                StorageError::Compacted(_) => self.reload().await?,
                other => return Err(other.into()),
            }
        }
    }

    /// Applies a commit to the world and the logs, and publishes it.
    fn apply(&mut self, commit: Commit) {
        for change in &commit.changes {
            self.apply_change(change, commit.revision);
        }
        self.publish(commit.revision);
    }

    fn publish(&mut self, revision: Revision) {
        self.world.revision = revision;
        self.cache.0.world.store(Arc::new(self.world.clone()));
        self.cache.0.published.send_replace(revision);
    }

    fn apply_change(&mut self, change: &Change, revision: Revision) {
        let key = change.key();
        let Some(kind) = self.cache.kind_of(key) else { return };
        let event = match change {
            Change::Put { entry, .. } => {
                let Some(object) = self.load(entry) else { return };
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
    }

    /// Parses a stored entry. What is no object is left out, and said once.
    fn load(&self, entry: &Entry) -> Option<Arc<Object>> {
        let kind = self.cache.kind_of(&entry.key)?;
        match Object::load(&kind.resource, &entry.key, entry.value.clone(), entry.modified) {
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
        self.world.objects =
            page.entries.iter().filter_map(|entry| Some((entry.key.clone(), self.load(entry)?))).collect();
        for kind in self.cache.0.kinds.values() {
            kind.log.reset(page.revision);
        }
        self.publish(page.revision);
        Ok(())
    }
}

impl Cache {
    /// Drops events up to a revision from all logs, as the store's compaction does.
    pub fn forget(&self, revision: Revision) {
        for kind in self.0.kinds.values() {
            kind.log.forget(revision);
        }
    }
}
