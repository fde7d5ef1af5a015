//! Worlds as fresh as their readers ask for: from the cache, or from the store itself where the cache stands still.
//!
//! The cache follows what is written under [`ROOT`]. A store's revision may grow without that: in an etcd that others use,
//! too. Then no commit brings the cache to the store's revision, and it has to be asked itself whether anything changed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use quarterdeck_core::storage::{Entry, Key, List, Page, Revision, Storage, StorageError};
use tokio::time::Instant;

use super::{Cache, ROOT, World};
use crate::object::Object;
use crate::resource::Resource;
use crate::status::{Result, Status};

/// A cache that shows nothing new for so long stands still.
const STANDS_STILL: Duration = Duration::from_millis(50);
/// How long a reader waits for a revision.
const PATIENCE: Duration = Duration::from_secs(3);

impl Cache {
    /// Returns a world that shows every commit that was acknowledged before the call.
    ///
    /// # Errors
    ///
    /// A Status if the store does not answer, or was rolled back.
    pub async fn latest(&self, storage: &dyn Storage) -> Result<Arc<World>> {
        let revision = self.revision_of(storage).await?;
        match self.wait_for(revision).await {
            Some(world) => Ok(world),
            None => self.read_beside(storage, revision).await,
        }
    }

    /// Returns the object at a key as every commit that was acknowledged before the call left it.
    ///
    /// # Errors
    ///
    /// A Status if the store does not answer, or was rolled back.
    pub async fn latest_at(&self, storage: &dyn Storage, key: &Key) -> Result<Option<Arc<Object>>> {
        let revision = self.revision_of(storage).await?;
        match self.wait_for(revision).await {
            Some(world) => Ok(world.get(key.as_str()).cloned()),
            None => Ok(self.stored_at(storage, key).await?),
        }
    }

    /// Reads the object at a key from the store itself.
    pub(crate) async fn stored_at(
        &self,
        storage: &dyn Storage,
        key: &Key,
    ) -> std::result::Result<Option<Arc<Object>>, StorageError> {
        let Some(entry) = storage.get(key).await? else { return Ok(None) };
        let world = self.world();
        if let Some(known) = world.get(key.as_str()).filter(|known| known.revision == entry.modified) {
            return Ok(Some(known.clone()));
        }
        Ok(world.catalog.kind_of(key).and_then(|kind| load(&kind.resource, &entry)))
    }

    /// Does what [`latest`](Self::latest) does as far as that costs little: returns nothing where the store itself would
    /// have to be read.
    pub(crate) async fn caught_up(&self, storage: &dyn Storage) -> Option<Arc<World>> {
        let revision = self.revision_of(storage).await.ok()?;
        self.wait_for(revision).await
    }

    /// Asks a store for its revision.
    async fn revision_of(&self, storage: &dyn Storage) -> Result<Revision> {
        // In this order: the store cannot be before what it showed earlier, unless somebody put an old one in its place.
        let seen = self.world().revision;
        let revision = storage.revision().await?;
        if revision < seen {
            self.set_rolled_back(revision, seen);
        }
        self.refuse_rolled_back()?;
        Ok(revision)
    }

    /// Refuses to answer from what a store had before it was rolled back: what it has now is another history, even once its
    /// revision is as great again.
    fn refuse_rolled_back(&self) -> Result<()> {
        match self.0.is_rolled_back.load(Ordering::Relaxed) {
            true => Err(Status::unavailable("storage was rolled back: the server has to be started again")),
            false => Ok(()),
        }
    }

    /// Notes that the store is before what it has shown.
    pub(super) fn set_rolled_back(&self, now: Revision, seen: Revision) {
        if !self.0.is_rolled_back.swap(true, Ordering::Relaxed) {
            tracing::error!(
                %now, %seen,
                "the store was rolled back under the server: requests are refused until the server is started again"
            );
        }
    }

    /// Returns a world that is not older than `revision`.
    ///
    /// # Errors
    ///
    /// A Status if the store does not answer or was rolled back, or the revision does not come within three seconds.
    pub async fn not_older_than(&self, storage: &dyn Storage, revision: Revision) -> Result<Arc<World>> {
        self.refuse_rolled_back()?;
        let deadline = Instant::now() + PATIENCE;
        if let Some(world) = self.wait_for(revision).await {
            return Ok(world);
        }
        let mut now = storage.revision().await?;
        if now < revision {
            let mut published = self.published();
            let wait = published.wait_for(|now| *now >= revision);
            let _ = tokio::time::timeout_at(deadline, wait).await;
            let world = self.world();
            if world.revision >= revision {
                return Ok(world);
            }
            now = storage.revision().await?;
        }
        if now < revision {
            return Err(Status::too_large_resource_version(revision.0, now.0));
        }
        self.read_beside(storage, revision).await
    }

    /// Returns the latest world as soon as it has come to a revision; nothing if the cache stands still before.
    async fn wait_for(&self, revision: Revision) -> Option<Arc<World>> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let world = self.world();
            if world.revision >= revision {
                return Some(world);
            }
            let mut published = self.published();
            let wait = published.wait_for(|now| *now >= revision);
            if tokio::time::timeout(STANDS_STILL, wait).await.is_ok() {
                continue;
            }
            let now = self.world().revision;
            if now < revision && (now == world.revision || Instant::now() >= deadline) {
                return None;
            }
        }
    }

    /// Reads the store itself, which has come to a revision. Whoever asks meanwhile waits, and gets the same if it is new
    /// enough.
    async fn read_beside(&self, storage: &dyn Storage, revision: Revision) -> Result<Arc<World>> {
        let mut beside = self.0.beside.lock().await;
        let known = self.world();
        if known.revision >= revision {
            return Ok(known);
        }
        if beside.revision >= revision {
            return Ok(beside.clone());
        }
        let page = storage.list(List::prefix(ROOT)).await?;
        let newest = if beside.revision > known.revision { &*beside } else { &known };
        let world = Arc::new(newest.rebuilt(&page, load));
        *beside = world.clone();
        Ok(world)
    }
}

impl World {
    /// Makes the world that a list of everything shows. What this world holds already is not loaded again.
    pub(super) fn rebuilt(
        &self,
        page: &Page,
        load: impl Fn(&Resource, &Entry) -> Option<Arc<Object>>,
    ) -> Self {
        let plain = self.catalog.without_definitions();
        let definitions = || page.entries.iter().filter(|entry| plain.defines(&entry.key));
        let mut catalog = self.catalog.clone();
        let known = self.objects.iter().filter(|(key, _)| plain.defines(key));
        if !known
            .map(|(key, object)| (key, object.revision))
            .eq(definitions().map(|one| (&one.key, one.modified)))
        {
            // Kinds come before their objects.
            catalog = plain.clone();
            for entry in definitions() {
                let Some(kind) = plain.kind_of(&entry.key) else { continue };
                if let Some(object) = load(&kind.resource, entry)
                    && let Some((with_it, _)) = catalog.redefined(&entry.key, Some(&object.value()))
                {
                    catalog = with_it;
                }
            }
        }
        let object = |entry: &Entry| {
            let kind = catalog.kind_of(&entry.key)?;
            let is_same = |old: &super::catalog::StoredKind| Arc::ptr_eq(&old.resource, &kind.resource);
            let known = self.objects.get(entry.key.as_str()).filter(|known| {
                known.revision == entry.modified && self.catalog.kind_of(&entry.key).is_some_and(is_same)
            });
            let object = known.cloned().or_else(|| load(&kind.resource, entry))?;
            Some((entry.key.clone(), object))
        };
        let objects = page.entries.iter().filter_map(object).collect();
        Self { revision: page.revision, objects, catalog }
    }
}

/// Makes the object of a stored entry. What is no object is left out, and said once.
pub(super) fn load(resource: &Resource, entry: &Entry) -> Option<Arc<Object>> {
    match Object::load(resource, &entry.key, entry.value.clone(), entry.modified) {
        Ok(object) => Some(Arc::new(object)),
        Err(error) => {
            tracing::error!(%error, "the store holds something that is no object: delete or repair it");
            None
        }
    }
}
