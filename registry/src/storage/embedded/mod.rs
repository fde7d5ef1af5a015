//! A store in a directory: a checksummed, append-only log under the versioned map that the memory store has.
//!
//! Start at [`EmbeddedStorage`]. A commit takes this way: in `queue` it waits with others; `writer`, one thread, takes all that
//! wait at once, checks and applies them as one `batch`, has `log` append it as one frame and sync it, publishes it to readers, and
//! answers the callers. While it writes a large one, the thread of `ahead` applies the next. `snapshot` replaces what of the log nobody
//! can ask for any more, `recovery` reads everything back, with `reader` in a thread of its own, and `backup` makes copies. `chores` are
//! what takes long and can be done beside all that, each `aside`. `format` says what the bytes mean; `disk` is the seam to the operating system.

mod ahead;
mod aside;
mod backup;
mod batch;
mod chores;
mod disk;
mod error;
mod figures;
mod format;
mod frames;
mod log;
mod policy;
mod queue;
mod reader;
mod recovery;
mod snapshot;
mod writer;

#[cfg(test)]
pub(super) mod tests;

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use async_trait::async_trait;
use quarterdeck_core::metrics::Metrics;
use quarterdeck_core::storage::{
    Commits, Entry, Key, List, Page, Revision, Storage, StorageError, Transaction,
};
use tokio::sync::watch;

use super::history::Retention;
use super::published::Published;
use super::versions::Versions;
pub use backup::Copied;
use disk::{Disk, OsDisk};
pub use error::OpenError;
use figures::Figures;
pub use policy::{ParseSyncPolicyError, SyncPolicy};
use queue::{Queue, unavailable};
pub use recovery::Repair;
use recovery::{Recovered, recover};
use writer::Writer;

/// How to open an [`EmbeddedStorage`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmbeddedOptions {
    retention: Retention,
    segment_bytes: u64,
    sync: SyncPolicy,
    in_place: bool,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        Self {
            retention: Retention::default(),
            segment_bytes: 64 << 20,
            sync: SyncPolicy::EveryCommit,
            in_place: false,
        }
    }
}

impl EmbeddedOptions {
    /// Keeps so much history when nobody compacts it (default: [`Retention::default`]).
    #[must_use]
    pub fn retention(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }

    /// Starts a new file of the log after about so many bytes (default: 64 MiB; at least 4 KiB). The directory
    /// takes up to three such files, or twice the size of a snapshot, more than the values and the history in it.
    #[must_use]
    pub fn segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes.max(4 << 10);
        self
    }

    /// Syncs commits to the disk by this policy (default: [`SyncPolicy::EveryCommit`]).
    #[must_use]
    pub fn sync(mut self, policy: SyncPolicy) -> Self {
        self.sync = policy;
        self
    }

    /// Whether a commit that is alone is written by the thread that polls it (default: `false`), and not by the store's own. It
    /// then needs no change of threads: on a fast disk it takes about three quarters of the time. But that thread waits for the
    /// disk, and whatever else it runs waits with it. So this is for a program with one writer, and not for a runtime that serves
    /// others.
    ///
    /// The store's thread still writes what comes together with others, what has 8 MiB or more, and what comes while it
    /// prepares files or drops history, or first after that, or, under [`SyncPolicy::Interval`], before its sync. A commit that was polled once is written when it is
    /// polled again, or dropped, or when the next one comes. Compactions are commits in this.
    #[must_use]
    pub fn in_place(mut self, in_place: bool) -> Self {
        self.in_place = in_place;
        self
    }

    /// Opens the store in a directory, which is made if it is missing. Blocks while it reads what is there.
    ///
    /// # Errors
    ///
    /// [`OpenError`] says what is wrong with the directory; nothing in it was changed then.
    pub fn open(self, directory: impl AsRef<Path>) -> Result<EmbeddedStorage, OpenError> {
        let disk = Arc::new(OsDisk::open(directory.as_ref())?);
        self.open_disk(disk)
    }

    fn open_disk(self, disk: Arc<dyn Disk>) -> Result<EmbeddedStorage, OpenError> {
        let root = disk.path("");
        let mut recovered = recover(disk, self)?;
        let repair = recovered.repair.take();
        if let Some(Repair { file, offset }) = &repair {
            tracing::warn!(
                file = %file.display(), offset,
                "cut off the end of the log: the write of it was interrupted before anybody was told that it is durable"
            );
        }
        let (shared, writer) = Shared::new(recovered);
        let (closed, is_closed) = watch::channel(false);
        let thread = thread::Builder::new()
            .name("storage-writer".to_owned())
            .spawn(move || {
                let _stopped = Stopped { shared: writer.shared(), closed };
                Box::new(writer).run(self.in_place);
            })
            .map_err(|error| OpenError::io(&root, error))?;
        let inner = Inner { shared, thread: Mutex::new(Some(thread)), closed: is_closed, repair };
        Ok(EmbeddedStorage { inner: Arc::new(inner) })
    }
}

/// What the store's handles and its writer share.
#[derive(Clone)]
struct Shared {
    queue: Arc<Queue>,
    published: Arc<Published>,
    figures: Arc<Figures>,
}

impl Shared {
    fn new(recovered: Recovered) -> (Self, Writer) {
        let queue = Arc::new(Queue::new());
        let published = Arc::new(Published::new(recovered.versions.clone()));
        let writer = Writer::new(recovered, queue, published);
        (writer.shared(), writer)
    }
}

/// Tells everybody when the writer stops, even if it panics.
struct Stopped {
    shared: Shared,
    closed: watch::Sender<bool>,
}

impl Drop for Stopped {
    fn drop(&mut self) {
        self.shared.queue.end();
        self.shared.published.close();
        self.closed.send_replace(true);
    }
}

/// A store that lives in a directory and survives its process. Clones are the same store; dropping the last one closes it.
///
/// A commit returns once it is on the disk (`fdatasync`), together with all that were made meanwhile; another [`SyncPolicy`]
/// is faster and loses something when the machine crashes. Readers see it
/// from that moment on, not before. All that is stored is held in memory too; reads never touch the disk.
///
/// When the disk is full, commits fail with [`StorageError::Full`] until there is room. When it fails to write or sync,
/// what it holds is unknown, so commits fail with [`StorageError::Unavailable`] until the store is opened again; reads
/// go on, and [`Storage::check`] says so.
///
/// # Examples
///
/// ```
/// use quarterdeck_core::storage::{Storage, Transaction};
/// use quarterdeck_registry::storage::EmbeddedStorage;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let directory = directory.path().join("data");
/// let storage = EmbeddedStorage::open(&directory)?;
/// storage.commit(Transaction::new().put("/registry/minions/one", "{}")).await?;
/// storage.close().await;
///
/// let storage = EmbeddedStorage::open(&directory)?;
///
/// assert!(storage.get(&"/registry/minions/one".into()).await?.is_some());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct EmbeddedStorage {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Shared,
    thread: Mutex<Option<JoinHandle<()>>>,
    closed: watch::Receiver<bool>,
    repair: Option<Repair>,
}

impl Inner {
    fn join(&self) {
        let thread = self.thread.lock().expect("nothing panics while it holds the thread").take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the storage writer panicked");
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.queue.close();
        self.join();
    }
}

impl EmbeddedStorage {
    /// Opens the store in a directory with the default [`EmbeddedOptions`], and makes it if it is missing. Blocks while it
    /// reads what is there.
    ///
    /// # Errors
    ///
    /// [`OpenError`] says what is wrong with the directory; nothing in it was changed then.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, OpenError> {
        EmbeddedOptions::default().open(directory)
    }

    /// Returns what was repaired when the store was opened, if anything was.
    #[must_use]
    pub fn repair(&self) -> Option<&Repair> {
        self.inner.repair.as_ref()
    }

    /// Closes the store, whatever clones there are, and returns when all commits in flight were answered and the directory
    /// is free for the next to open it. From then on every call fails with [`StorageError::Unavailable`], and watches
    /// end with it.
    pub async fn close(&self) {
        self.inner.shared.queue.close();
        let mut closed = self.inner.closed.clone();
        // An error means that the writer is gone, which says the same.
        let _ = closed.wait_for(|closed| *closed).await;
        self.inner.join();
    }

    fn read<T>(&self, read: impl FnOnce(&Published) -> T) -> Result<T, StorageError> {
        if self.inner.shared.published.is_closed() {
            return Err(unavailable("the store is closed"));
        }
        Ok(read(&self.inner.shared.published))
    }
}

impl fmt::Debug for EmbeddedStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let published = &self.inner.shared.published;
        let (revision, entries) = published.read(|versions| (versions.revision(), versions.len()));
        f.debug_struct("EmbeddedStorage").field("revision", &revision.0).field("entries", &entries).finish()
    }
}

#[async_trait]
impl Storage for EmbeddedStorage {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, StorageError> {
        self.read(|published| published.read(|versions| versions.get(key)))
    }

    async fn list(&self, list: List) -> Result<Page, StorageError> {
        self.read(Published::snapshot)?.list(&list)
    }

    async fn commit(&self, transaction: Transaction) -> Result<Revision, StorageError> {
        self.inner.shared.queue.commit(transaction).await
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Commits, StorageError> {
        self.read(|_| ())?;
        self.inner.shared.published.watch(prefix, after)
    }

    async fn compact(&self, at: Revision) -> Result<(), StorageError> {
        self.inner.shared.queue.compact(at).await.map(|_| ())
    }

    async fn revision(&self) -> Result<Revision, StorageError> {
        self.read(|published| published.read(Versions::revision))
    }

    fn check(&self) -> Result<(), StorageError> {
        self.inner.shared.queue.check()
    }

    fn tell(&self, metrics: &Metrics) {
        self.inner.shared.figures.tell(metrics);
    }
}
