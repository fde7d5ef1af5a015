//! The versioned map under both stores: the present entries and the history that led to them.
//!
//! It is a persistent value: a clone is O(1) and does not see what happens to the original. Nothing here waits, locks
//! or reaches a disk; `published` shares it between readers and a writer.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fmt;
use std::mem;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use bytes::Bytes;
use quarterdeck_core::storage::{
    Condition, Entry, Expect, Key, List, Page, Revision, StorageError, Transaction, Write,
};

use super::entries::Entries;
use super::history::{Changed, Forgotten, History, Logged, Retention};

/// The largest transaction that the stores take: the bytes of its keys and values.
pub(super) const LARGEST_TRANSACTION: usize = 16 << 20;

/// Entries, revision and history of a store at one moment.
#[derive(Clone)]
pub(super) struct Versions {
    entries: Entries,
    revision: Revision,
    history: History,
}

impl fmt::Debug for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Versions").field("revision", &self.revision.0).field("entries", &self.len()).finish()
    }
}

impl Versions {
    /// Makes the versions of a store that was never written.
    pub(super) fn new(retention: Retention) -> Self {
        Self::restored(Entries::new(), Revision(0), retention)
    }

    /// Makes versions that begin at `revision` with these entries and know nothing of what was before.
    pub(super) fn restored(entries: Entries, revision: Revision, retention: Retention) -> Self {
        Self { entries, revision, history: History::new(revision, retention) }
    }

    pub(super) fn revision(&self) -> Revision {
        self.revision
    }

    pub(super) fn compacted(&self) -> Revision {
        self.history.compacted()
    }

    /// Returns the entries as they are now.
    #[cfg(feature = "embedded")]
    pub(super) fn entries(&self) -> &Entries {
        &self.entries
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn get(&self, key: &Key) -> Option<Entry> {
        self.entries.get(key).map(|entry| Entry::clone(entry))
    }

    /// Checks a transaction whose writes were validated, and does them as one commit. Returns `None` if they change nothing.
    pub(super) fn commit(&mut self, transaction: Transaction) -> Result<Option<Arc<Logged>>, StorageError> {
        let Transaction { conditions, mut writes } = transaction;
        if let ([Condition { key: of, expect }], [Write::Put(key, _)]) = (&*conditions, &*writes)
            && of == key
            && let Some(Write::Put(key, value)) = writes.pop()
        {
            // Most transactions are like this, and do with one look, or two if the key is new.
            let change = match expect {
                Expect::Absent => {
                    holds(&key, *expect, self.entries.get(&key).map(|entry| &**entry))?;
                    self.create(key, value)
                }
                Expect::Present | Expect::Modified(_) => {
                    self.put(key, value, |key, found| holds(key, *expect, found))?
                }
            };
            return Ok(Some(self.push(vec![change])));
        }
        conditions.iter().try_for_each(|Condition { key, expect }| {
            holds(key, *expect, self.entries.get(key).map(|entry| &**entry))
        })?;
        Ok(self.apply(writes))
    }

    /// Does writes that were validated, as one commit. Returns `None` if they change nothing.
    pub(super) fn apply(&mut self, writes: Vec<Write>) -> Option<Arc<Logged>> {
        let mut changes = Vec::with_capacity(writes.len());
        for write in writes {
            match write {
                Write::Put(key, value) => {
                    let Ok(change) = self.put(key, value, |_, _| Ok::<_, Infallible>(()));
                    changes.push(change);
                }
                Write::Delete(key) => {
                    let removed = self.entries.remove(&key);
                    changes.extend(removed.map(|entry| Changed { previous: Some(entry), present: None }));
                }
            }
        }
        (!changes.is_empty()).then(|| self.push(changes))
    }

    fn next(&self) -> Revision {
        Revision(self.revision.0 + 1)
    }

    /// Makes changes of the entries the next commit.
    fn push(&mut self, changes: Vec<Changed>) -> Arc<Logged> {
        self.revision = self.next();
        self.history.push(self.revision, changes.into_boxed_slice(), &self.entries)
    }

    /// Writes a value at a key that there is nothing at.
    fn create(&mut self, key: Key, value: Bytes) -> Changed {
        let revision = self.next();
        let entry = Arc::new(Entry { key, value, created: revision, modified: revision });
        Changed { previous: self.entries.insert(Arc::clone(&entry)), present: Some(entry) }
    }

    /// Writes a value, unless `check` refuses that because of what is there.
    fn put<E>(
        &mut self,
        key: Key,
        value: Bytes,
        check: impl FnOnce(&Key, Option<&Entry>) -> Result<(), E>,
    ) -> Result<Changed, E> {
        let revision = self.next();
        let Some(there) = self.entries.get_mut(&key) else {
            check(&key, None)?;
            return Ok(self.create(key, value));
        };
        check(&key, Some(there))?;
        // All versions of a key share the text that came first, however many copies of it callers bring.
        let (key, created) = (there.key.clone(), there.created);
        let entry = Arc::new(Entry { key, value, created, modified: revision });
        Ok(Changed { previous: Some(mem::replace(there, Arc::clone(&entry))), present: Some(entry) })
    }

    pub(super) fn list(&self, list: &List) -> Result<Page, StorageError> {
        let revision = list.at.unwrap_or(self.revision);
        self.within(revision)?;
        let past = (revision < self.revision)
            .then(|| self.history.entries_at(revision, &self.entries, &list.prefix));
        let entries = past.as_ref().unwrap_or(&self.entries);
        let end = successor(&list.prefix);
        let end = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let start = match &list.after {
            Some(after) if after.as_str() >= list.prefix.as_str() => Bound::Excluded(after.as_str()),
            _ => Bound::Included(list.prefix.as_str()),
        };
        let limit = list.limit.unwrap_or(usize::MAX);
        let shown: Vec<Entry> =
            entries.range(start, end).take(limit).map(|entry| Entry::clone(entry)).collect();
        let remaining = match shown.last() {
            _ if shown.len() < limit => 0,
            Some(last) => entries.count(Bound::Excluded(last.key.as_str()), end),
            None => entries.count(start, end),
        };
        Ok(Page { entries: shown, revision, remaining })
    }

    /// Returns why the revision cannot be read, if it cannot.
    pub(super) fn within(&self, revision: Revision) -> Result<(), StorageError> {
        if revision > self.revision {
            return Err(StorageError::Future(self.revision));
        }
        if revision < self.compacted() {
            return Err(StorageError::Compacted(self.compacted()));
        }
        Ok(())
    }

    /// Returns the entries as they were at the compacted revision, the earliest that is known.
    #[cfg(feature = "embedded")]
    pub(super) fn earliest(&self) -> Entries {
        self.history.entries_at(self.compacted(), &self.entries, "")
    }

    pub(super) fn visit_after<B>(
        &self,
        after: Revision,
        visit: impl FnMut(&Arc<Logged>) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        self.history.visit_after(after, visit)
    }

    /// Forgets what was replaced at or before `at`.
    pub(super) fn compact(&mut self, at: Revision) -> Result<Forgotten, StorageError> {
        if at > self.revision {
            return Err(StorageError::Future(self.revision));
        }
        Ok(self.history.compact(at))
    }
}

/// Returns the conflict that it is if what was found at a key is not as expected.
fn holds(key: &Key, expect: Expect, found: Option<&Entry>) -> Result<(), StorageError> {
    let holds = match expect {
        Expect::Absent => found.is_none(),
        Expect::Present => found.is_some(),
        Expect::Modified(revision) => found.is_some_and(|entry| entry.modified == revision),
    };
    if holds {
        return Ok(());
    }
    Err(StorageError::Conflict { key: key.clone(), expected: expect, found: found.cloned() })
}

/// Returns why these writes can never be a transaction, if they cannot.
pub(super) fn validate(writes: &[Write]) -> Result<(), StorageError> {
    let twice = match writes {
        [] | [_] => None,
        [first, second] => (first.key() == second.key()).then(|| first.key()),
        _ => {
            let mut keys = BTreeSet::new();
            writes.iter().map(Write::key).find(|key| !keys.insert(*key))
        }
    };
    if let Some(key) = twice {
        return Err(StorageError::Invalid(format!("{key} is written twice")));
    }
    let size = size(writes);
    if size > LARGEST_TRANSACTION {
        let why = format!("{size} bytes are more than the largest transaction of {LARGEST_TRANSACTION}");
        return Err(StorageError::Invalid(why));
    }
    Ok(())
}

/// Returns how many bytes of keys and values the writes hold.
pub(super) fn size(writes: &[Write]) -> usize {
    let bytes = |write: &Write| match write {
        Write::Put(key, value) => key.as_str().len() + value.len(),
        Write::Delete(key) => key.as_str().len(),
    };
    writes.iter().map(bytes).sum()
}

/// Returns the least text that is greater than all texts with this prefix; `None` if there is none.
fn successor(prefix: &str) -> Option<String> {
    // UTF-8 sorts by bytes as its characters sort by number, so the next character does.
    let mut text = prefix.to_owned();
    while let Some(last) = text.pop() {
        if let Some(next) = (last..=char::MAX).nth(1) {
            text.push(next);
            return Some(text);
        }
    }
    None
}
