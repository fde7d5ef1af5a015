//! A store in memory.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use quarterdeck_core::storage::{
    Commits, Entry, Key, List, Page, Revision, Storage, StorageError, Transaction,
};

use super::history::Retention;
use super::published::Published;
use super::versions::Versions;

/// A store that lives in memory and is gone with its last clone. Clones are the same store.
///
/// It has no thread and no task, draws nothing at random and wakes watches in a fixed order, so a simulation that uses
/// it repeats exactly.
///
/// # Examples
///
/// ```
/// use quarterdeck_core::storage::{Storage, Transaction};
/// use quarterdeck_registry::storage::MemoryStorage;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), quarterdeck_core::storage::StorageError> {
/// let storage = MemoryStorage::new();
/// storage.commit(Transaction::new().put("/registry/minions/one", "{}")).await?;
///
/// let fork = storage.fork();
/// fork.commit(Transaction::new().delete("/registry/minions/one")).await?;
///
/// assert!(storage.get(&"/registry/minions/one".into()).await?.is_some());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct MemoryStorage {
    published: Arc<Published>,
}

impl MemoryStorage {
    /// Makes an empty store that keeps the default [`Retention`] of history.
    #[must_use]
    pub fn new() -> Self {
        Self::with_retention(Retention::default())
    }

    /// Makes an empty store that keeps so much history when nobody compacts it.
    #[must_use]
    pub fn with_retention(retention: Retention) -> Self {
        Self { published: Arc::new(Published::new(Versions::new(retention))) }
    }

    /// Makes a second store that starts with all that is in this one, history included, and then goes its own way.
    /// Takes the same short time whatever the size. Watches stay with the store on which they were started.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self { published: Arc::new(Published::new(self.published.snapshot())) }
    }
}

impl Default for MemoryStorage {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (revision, entries) = self.published.read(|versions| (versions.revision(), versions.len()));
        f.debug_struct("MemoryStorage").field("revision", &revision.0).field("entries", &entries).finish()
    }
}

#[async_trait]
impl Storage for MemoryStorage {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, StorageError> {
        Ok(self.published.read(|versions| versions.get(key)))
    }

    async fn list(&self, list: List) -> Result<Page, StorageError> {
        self.published.snapshot().list(&list)
    }

    async fn commit(&self, transaction: Transaction) -> Result<Revision, StorageError> {
        self.published.commit(transaction)
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Commits, StorageError> {
        self.published.watch(prefix, after)
    }

    async fn compact(&self, at: Revision) -> Result<(), StorageError> {
        self.published.compact(at)
    }

    async fn revision(&self) -> Result<Revision, StorageError> {
        Ok(self.published.read(Versions::revision))
    }
}
