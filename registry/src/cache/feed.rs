//! The task that keeps a cache up to date with its store.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use quarterdeck_core::component::Stop;
use quarterdeck_core::storage::{Change, Commit, Entry, Key, List, Revision, Storage, StorageError};

use super::read::load;
use super::{Cache, Event, EventKind, Log, ROOT, World};
use crate::object::Object;
use crate::resource::Resource;
use crate::status::chain;

/// How many commits are published together at most, if they are there already.
const AT_ONCE: usize = 64;

/// How long a store that cannot be reached is left alone at first, and how often that doubles: up to about a second.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const DOUBLINGS: u32 = 7;

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
    /// Whether all has to be read again before the feed can go on.
    behind: bool,
    /// How often in a row the store could not be reached.
    failures: u32,
    /// The logs that changed since the last world was published.
    touched: Vec<Arc<Log>>,
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
        let (unsettled, touched) = (BTreeSet::new(), Vec::new());
        let mut feed =
            Self { cache, storage, world, unsettled, redefined: true, behind: true, failures: 0, touched };
        feed.reload().await?;
        Ok(feed)
    }

    /// Follows the store until it is time to stop. A store that cannot be reached is asked again, less and less often; then
    /// the feed goes on where it was, so that nobody sees a change twice or misses one.
    ///
    /// # Errors
    ///
    /// [`FeedError::Storage`] if what is stored cannot be read, or the store was rolled back. A reader that fell too far behind
    /// starts over by itself.
    pub async fn run(mut self, mut stop: Stop) -> Result<(), FeedError> {
        loop {
            let Some(error) = stop.or(self.follow()).await else { return Ok(()) };
            match error {
                StorageError::Compacted(_) => self.behind = true,
                StorageError::Unavailable(error) => {
                    self.failures += 1;
                    match self.failures {
                        1 => {
                            let error = chain(error.as_ref());
                            tracing::warn!(error, "the store cannot be followed: it is tried again");
                        }
                        // A watch that was cut off is no outage: only one that does not come back is.
                        _ => self.cache.set_fed(false),
                    }
                    let pause = SHORTEST_PAUSE * 2_u32.pow((self.failures - 1).min(DOUBLINGS));
                    if stop.or(tokio::time::sleep(pause)).await.is_none() {
                        return Ok(());
                    }
                }
                other => {
                    if let StorageError::Future(now) = other {
                        self.cache.set_rolled_back(now, self.world.revision);
                    }
                    return Err(other.into());
                }
            }
        }
    }

    /// Follows the store until that fails.
    async fn follow(&mut self) -> StorageError {
        if self.behind
            && let Err(error) = self.reload().await
        {
            return error;
        }
        let mut commits = match self.storage.watch(ROOT, self.world.revision).await {
            Ok(commits) => commits.ready_chunks(AT_ONCE),
            Err(error) => return error,
        };
        self.failures = 0;
        self.cache.set_fed(true);
        loop {
            let applied = match commits.next().await {
                Some(ready) => self.apply(ready).await,
                None => Err(StorageError::Unavailable("the watch of the store ended".into())),
            };
            if let Err(error) = applied {
                return error;
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
                        // A part of the commit is in the world, which is not published.
                        self.behind = true;
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
        if let Some(revision) = seen.filter(|_| !self.behind) {
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
        // Watchers of one kind have nothing to do when another changes.
        self.touched.drain(..).for_each(|log| log.wake());
    }

    /// Has the watchers of a log woken when the next world is published.
    fn touch(&mut self, log: &Arc<Log>) {
        if !self.touched.iter().any(|touched| Arc::ptr_eq(touched, log)) {
            self.touched.push(log.clone());
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
        self.touch(&kind.log);
        if self.world.catalog.defines(key) {
            self.redefine(key);
        }
    }

    /// Lets the kinds follow a definition that changed.
    fn redefine(&mut self, key: &Key) {
        self.redefined = true;
        let definition = self.world.objects.get(key.as_str()).map(|object| object.value());
        if let Some((catalog, prefixes)) = self.world.catalog.redefined(key, definition.as_ref()) {
            let before = std::mem::replace(&mut self.world.catalog, catalog);
            let gone = prefixes.iter().filter(|prefix| self.world.catalog.log(prefix).is_none());
            let gone: Vec<_> = gone.filter_map(|prefix| before.log(prefix)).collect();
            for log in gone {
                log.close();
                self.touch(log);
            }
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
            self.touch(&log);
        }
        Ok(())
    }

    /// Makes the object of a stored entry.
    fn load(&self, resource: &Resource, entry: &Entry) -> Option<Arc<Object>> {
        let draft = self.cache.0.drafts.take(&entry.value).filter(|draft| draft.is_of(resource));
        match draft {
            Some(draft) => Some(Arc::new(draft.committed(entry.modified))),
            None => load(resource, entry),
        }
    }

    /// Reads all that is stored. Watchers that stand before it are cut off.
    async fn reload(&mut self) -> Result<(), StorageError> {
        let page = self.storage.list(List::prefix(ROOT)).await?;
        let world = self.world.rebuilt(&page, |resource, entry| self.load(resource, entry));
        let before = std::mem::replace(&mut self.world, world);
        self.unsettled.clear();
        self.redefined = true;
        self.touched = self.world.catalog.logs().cloned().collect();
        for log in &self.touched {
            log.reset(page.revision);
        }
        // What nobody writes to any more ends.
        for log in before.catalog.logs() {
            if !self.touched.iter().any(|kept| Arc::ptr_eq(kept, log)) {
                log.close();
                log.wake();
            }
        }
        self.behind = false;
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

    /// Wakes all watchers, so that they see that the server stops.
    pub(crate) fn wake(&self) {
        for log in self.world().catalog.logs() {
            log.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::poll;
    use quarterdeck_core::storage::Transaction;
    use serde_json::json;

    use super::super::Read;
    use super::*;
    use crate::custom::lifecycle::PREFIX;
    use crate::registry::Resources;
    use crate::storage::MemoryStorage;

    #[tokio::test]
    async fn a_change_wakes_the_watchers_of_its_kind_and_no_others() {
        let cache = Cache::new(Resources::new(crate::resources::builtin()));
        let storage = Arc::new(MemoryStorage::new());
        let feed = Feed::start(cache.clone(), storage.clone()).await.unwrap();
        let (_signal, stop) = Stop::channel();
        let _running = tokio::spawn(feed.run(stop));
        let world = cache.world();
        let log = |plural: &str| cache.log(world.resources().get("", "v1", plural).unwrap()).unwrap();
        let (maps, secrets) = (log("configmaps"), log("secrets"));
        let (mut map_changed, mut secret_changed) = (pin!(maps.changed()), pin!(secrets.changed()));
        assert!(poll!(map_changed.as_mut()).is_pending() && poll!(secret_changed.as_mut()).is_pending());

        let map = Transaction::new().put("/registry/configmaps/default/a", r#"{"metadata":{"name":"a"}}"#);
        cache.not_older_than(&*storage, storage.commit(map).await.unwrap()).await.unwrap();
        tokio::task::yield_now().await;

        assert!(poll!(map_changed.as_mut()).is_ready());
        assert!(poll!(secret_changed.as_mut()).is_pending());
        cache.wake();
        assert!(poll!(secret_changed.as_mut()).is_ready(), "a server that stops wakes all");
    }

    /// A definition of widgets, established.
    fn definition(note: &str) -> Transaction {
        let names =
            json!({"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"});
        let object = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "widgets.example.com", "labels": {"note": note}},
            "spec": {
                "group": "example.com", "scope": "Cluster", "names": names,
                "versions": [{"name": "v1", "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": {"type": "object"}}}],
            },
            "status": {"acceptedNames": names, "conditions": [{"type": "Established", "status": "True"}]},
        });
        Transaction::new().put(format!("{PREFIX}widgets.example.com"), object.to_string())
    }

    #[tokio::test]
    async fn a_feed_that_starts_over_leaves_no_watcher_of_a_custom_kind_behind() {
        let cache = Cache::new(Resources::new(crate::resources::builtin()));
        let storage = Arc::new(MemoryStorage::new());
        storage.commit(definition("first")).await.unwrap();
        let feed = Feed::start(cache.clone(), storage.clone()).await.unwrap();
        let widgets = || cache.log_of("/registry/example.com/widgets/").unwrap();
        let (log, seen) = (widgets(), cache.world().revision);
        let position = log.after(seen).unwrap();
        let last = storage.commit(definition("second")).await.unwrap();
        storage.compact(last).await.unwrap();
        let (_signal, stop) = Stop::channel();
        let _running = tokio::spawn(feed.run(stop));

        cache.not_older_than(&*storage, last).await.unwrap();

        assert!(cache.world().revision >= last);
        assert!(matches!(log.next(position, 1, 1), Read::Lost), "its watchers list again");
        assert!(widgets().after(last).is_ok());
    }
}
