//! Durable, watchable storage: the trait that every backend implements.
//!
//! Start at [`Storage`]. Implement it, then prove the implementation with
//! [`storage_suite!`](crate::storage_suite). The defaults, `MemoryStorage` and `EmbeddedStorage`, live in `registry`.
//!
//! Keys are slash-separated text, values are opaque bytes. Typed resources live one layer up, also in `registry`.

mod types;

use std::fmt::Debug;

use async_trait::async_trait;
use futures::stream::BoxStream;

use crate::component::BoxError;
use crate::metrics::Metrics;
pub use types::{Change, Commit, Condition, Entry, Expect, Key, List, Page, Revision, Transaction, Write};

/// Commits, in order, as [`Storage::watch`] yields them. Ends with an error, or never.
pub type Commits = BoxStream<'static, Result<Commit, StorageError>>;

/// A linearizable, ordered map of keys to values, with one revision for all of it.
///
/// # Contract
///
/// 1. **Revisions grow.** Every successful commit that writes gets a revision greater than all before it, whatever its
///    keys. All its writes carry that one revision.
/// 2. **All or nothing.** A transaction of which a condition fails changes nothing and names a condition that failed and
///    what was found there. One that succeeds is seen whole by every reader, or not yet.
/// 3. **Reads are linearizable.** `get`, `revision` and `list` without a revision see every commit that was acknowledged
///    before they were called, or that a read or a watch had shown to anybody. Commits take effect between their call and
///    their answer, in the order of their revisions.
/// 4. **Lists are ordered.** A list yields the keys under its prefix in byte order. `after` and `limit` cut pages out of it,
///    and a page tells whether more follow, and how many.
/// 5. **The past stays readable.** A list at an earlier revision that is not compacted shows what was there then. A
///    compacted revision is [`StorageError::Compacted`], but for 0, at which there is nothing and which may be listed for ever; one
///    that is still to come is [`StorageError::Future`].
/// 6. **Watches have no gap.** A watch yields each commit after its start that touches its prefix once, in order, with the
///    changes under the prefix only; or it ends with an error. One that starts before the compacted revision is
///    [`StorageError::Compacted`]; one that starts at a revision still to come is [`StorageError::Future`].
/// 7. **A reader never holds up a writer.** A watch whose reader falls behind by more than a bound of the implementation
///    ends with [`StorageError::Compacted`]: list again, and watch from there.
/// 8. **Compaction forgets versions, not values.** After `compact(r)`, what was current at `r` and later is still there;
///    `list` at `r` and a watch after `r` still work. A compaction to an earlier revision than the last is no error and
///    does nothing.
/// 9. **Deleting is a write.** A deleted key is absent, its deletion is a change in watches, and a key written again
///    after it has a new `created` revision. A transaction that would delete what is not there changes nothing for
///    that key.
/// 10. **A dropped future abandons the wait, never half a write.** The commit happens whole, then or later, or not at all.
///     A dropped stream ends its watch, which holds up nobody from then on.
/// 11. **What is bounded says so at the bound.** A transaction of up to [`Transaction::SMALLEST_BOUND`] bytes of keys and
///     values, [`Transaction::FEWEST`] conditions and as many writes is always taken; a larger one is taken whole or is
///     [`StorageError::Invalid`]. History that nobody compacts may be forgotten, the oldest first: asking for it is
///     [`StorageError::Compacted`], and what is later than a revision that can be read can be read. No store collects
///     without a bound: callers beyond what it takes at once wait in line, watches end (7), and where there is no room left
///     commits are [`StorageError::Full`] while reads go on.
///
/// What an error says of a write: [`StorageError::Conflict`], [`StorageError::Invalid`], [`StorageError::Unreadable`] and
/// [`StorageError::Full`] mean that nothing was written; [`StorageError::Unavailable`] leaves it open: the commit happened
/// whole, or will, or never does. It is also how reads and watches say that the backend cannot be reached; a watch that ends
/// so goes on in a new one, after the last revision that it yielded.
#[async_trait]
pub trait Storage: Debug + Send + Sync + 'static {
    /// Returns the entry at `key`, if there is one.
    ///
    /// # Errors
    ///
    /// [`StorageError::Unavailable`].
    async fn get(&self, key: &Key) -> Result<Option<Entry>, StorageError>;

    /// Returns a page of the entries under a prefix, and the revision that it shows.
    ///
    /// # Errors
    ///
    /// [`StorageError::Compacted`] or [`StorageError::Future`] if the list asks for a revision that is gone or to come.
    async fn list(&self, list: List) -> Result<Page, StorageError>;

    /// Checks the transaction's conditions and does its writes, in one step, and returns the new revision; the
    /// present one if it writes nothing.
    ///
    /// When it returns, the writes are as durable as the implementation promises.
    ///
    /// # Errors
    ///
    /// [`StorageError::Conflict`] if a condition fails, [`StorageError::Invalid`] if the transaction names a key
    /// twice in its writes or is larger than the implementation takes, [`StorageError::Full`].
    async fn commit(&self, transaction: Transaction) -> Result<Revision, StorageError>;

    /// Streams the commits after revision `after` that change keys under `prefix`.
    ///
    /// # Errors
    ///
    /// [`StorageError::Compacted`] or [`StorageError::Future`], here or as the stream's last item.
    async fn watch(&self, prefix: &str, after: Revision) -> Result<Commits, StorageError>;

    /// Forgets versions that were replaced at or before revision `at`.
    ///
    /// # Errors
    ///
    /// [`StorageError::Future`] if `at` is still to come.
    async fn compact(&self, at: Revision) -> Result<(), StorageError>;

    /// Returns the revision of the last commit; 0 for a store that was never written.
    ///
    /// # Errors
    ///
    /// [`StorageError::Unavailable`].
    async fn revision(&self) -> Result<Revision, StorageError>;

    /// Returns an error if the store has failed for good: it may still be read, but takes no write until the program makes or
    /// opens it anew, as after a disk that failed (default: it has not). A server on it is not healthy then. It neither waits
    /// nor asks anybody; a store around another passes it on.
    ///
    /// # Errors
    ///
    /// [`StorageError::Unavailable`] with what made it fail.
    fn check(&self) -> Result<(), StorageError> {
        Ok(())
    }

    /// Counts in this registry what the implementation counts (default: nothing). A server calls it once, when it starts; a
    /// store around another passes it on.
    fn tell(&self, metrics: &Metrics) {
        let _ = metrics;
    }
}

const _: Option<&dyn Storage> = None; // object safety is API: losing it must not compile

/// Why a storage call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// A condition failed and nothing was written. Read again, decide again, commit again.
    #[error("conflict on {key}: expected {expected}, found {}", found.as_ref().map_or("nothing".to_owned(), |entry| format!("revision {}", entry.modified)))]
    Conflict {
        /// The contended key.
        key: Key,
        /// What the transaction expected there.
        expected: Expect,
        /// What was there.
        found: Option<Entry>,
    },
    /// The history asked for is gone. List, then watch from the listed revision.
    #[error("history up to revision {0} was compacted")]
    Compacted(Revision),
    /// The revision asked for is still to come; the store is at this one.
    #[error("the revision is in the future: the store is at {0}")]
    Future(Revision),
    /// The transaction can never succeed; why.
    #[error("invalid transaction: {0}")]
    Invalid(String),
    /// There is no room left. Nothing was written; reads still work.
    #[error("storage is full")]
    Full(#[source] BoxError),
    /// What is stored cannot be made out, as with a key that is missing. Waiting does not help: the source says what does.
    #[error("the value at {key} cannot be read")]
    Unreadable {
        /// Where it is.
        key: Key,
        /// Why it cannot be read, and what to do.
        source: BoxError,
    },
    /// The backend failed in a way that the caller can only wait out. A commit may have happened.
    #[error("storage is unavailable")]
    Unavailable(#[source] BoxError),
}
