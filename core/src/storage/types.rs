//! The values that [`Storage`](super::Storage) takes and gives.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

/// A point in the history of a store: the number of a commit. 0 is before the first.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A key: slash-separated text such as `/registry/pods/default/web`. Ordered by its bytes; cloning it is cheap.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

impl Key {
    /// Makes a key of this text.
    #[must_use]
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// Returns the key's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Key {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A key with its present value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Key,
    /// The value.
    pub value: Bytes,
    /// The revision at which the key came to be (again).
    pub created: Revision,
    /// The revision at which the value was written.
    pub modified: Revision,
}

/// What a transaction requires of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// There is nothing at the key.
    Absent,
    /// There is something at the key.
    Present,
    /// The value at the key was written at this revision.
    Modified(Revision),
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("nothing"),
            Self::Present => f.write_str("a value"),
            Self::Modified(revision) => write!(f, "revision {revision}"),
        }
    }
}

/// One condition of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// The key that must be so.
    pub key: Key,
    /// How it must be.
    pub expect: Expect,
}

/// One write of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Puts the value at the key, whatever is there.
    Put(Key, Bytes),
    /// Removes the key, if it is there.
    Delete(Key),
}

impl Write {
    /// Returns the key that is written.
    #[must_use]
    pub fn key(&self) -> &Key {
        match self {
            Self::Put(key, _) | Self::Delete(key) => key,
        }
    }
}

/// Conditions and writes that happen together or not at all.
///
/// # Examples
///
/// ```
/// use quarterdeck_core::storage::{Expect, Transaction};
///
/// let create = Transaction::new().expect("/registry/pods/default/web", Expect::Absent)
///     .put("/registry/pods/default/web", "{}");
///
/// assert_eq!(create.writes.len(), 1);
/// ```
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// What must hold for the writes to happen.
    pub conditions: Vec<Condition>,
    /// What is written if all conditions hold. No key twice.
    pub writes: Vec<Write>,
}

impl Transaction {
    /// Every store takes a transaction with up to so many bytes of keys and values: 1 MiB.
    pub const SMALLEST_BOUND: usize = 1 << 20;
    /// Every store takes a transaction with up to so many conditions, and with so many writes.
    pub const FEWEST: usize = 64;

    /// Makes a transaction that does nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a condition.
    #[must_use]
    pub fn expect(mut self, key: impl Into<Key>, expect: Expect) -> Self {
        self.conditions.push(Condition { key: key.into(), expect });
        self
    }

    /// Adds a write of a value.
    #[must_use]
    pub fn put(mut self, key: impl Into<Key>, value: impl Into<Bytes>) -> Self {
        self.writes.push(Write::Put(key.into(), value.into()));
        self
    }

    /// Adds a removal.
    #[must_use]
    pub fn delete(mut self, key: impl Into<Key>) -> Self {
        self.writes.push(Write::Delete(key.into()));
        self
    }
}

/// What to list.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct List {
    /// Only keys that begin with this.
    pub prefix: String,
    /// Only keys behind this one.
    pub after: Option<Key>,
    /// At most so many; no bound if absent.
    pub limit: Option<usize>,
    /// As of this revision; the present one if absent.
    pub at: Option<Revision>,
}

impl List {
    /// Lists everything under `prefix` at the present revision.
    #[must_use]
    pub fn prefix(prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into(), ..Self::default() }
    }

    /// Lists only what is behind `key` (default: from the start).
    #[must_use]
    pub fn after(mut self, key: impl Into<Key>) -> Self {
        self.after = Some(key.into());
        self
    }

    /// Lists at most `limit` entries (default: all).
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Lists what was there at a revision (default: the present one).
    #[must_use]
    pub fn at(mut self, revision: Revision) -> Self {
        self.at = Some(revision);
        self
    }
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The entries, in the order of their keys.
    pub entries: Vec<Entry>,
    /// The revision that the page shows.
    pub revision: Revision,
    /// How many more entries follow the last one of the page.
    pub remaining: usize,
}

/// The changes that one commit made under a watched prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The commit's revision.
    pub revision: Revision,
    /// Its changes, in the order of its writes. Never empty.
    pub changes: Vec<Change>,
}

/// A change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The key has a value now.
    Put {
        /// The entry as it is now.
        entry: Entry,
        /// The entry that it replaced.
        previous: Option<Entry>,
    },
    /// The key is gone.
    Delete {
        /// The entry that was there.
        previous: Entry,
    },
}

impl Change {
    /// Returns the key that changed.
    #[must_use]
    pub fn key(&self) -> &Key {
        match self {
            Self::Put { entry, .. } => &entry.key,
            Self::Delete { previous } => &previous.key,
        }
    }
}
