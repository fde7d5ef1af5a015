//! The commits since the compacted revision, which watches and lists of the past read.

use std::ops::ControlFlow;
use std::sync::Arc;

use imbl::Vector;
use quarterdeck_core::storage::{Change, Commit, Entry, Key, Revision};

use super::entries::Entries;

/// A copy of the entries is remembered once in so many commits, so that a list of the past undoes fewer than this.
/// A copy keeps the tree nodes alive that were replaced since: at most about 1 KiB per commit.
const COMMITS_PER_MARK: u64 = 2048;

/// What a change costs beyond its key and the value that it replaced, in bytes: the log's nodes and counters.
const CHANGE_OVERHEAD: usize = 256;

/// How much history a store keeps when nobody compacts it. Beyond either bound the oldest commits are forgotten.
///
/// A watch that is further behind than this ends with
/// [`StorageError::Compacted`](quarterdeck_core::storage::StorageError::Compacted).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// At most so many commits (default: 262,144). The last one is always kept.
    pub commits: usize,
    /// At most so many bytes of keys and replaced values, with what it takes to hold them (default: 64 MiB).
    pub bytes: usize,
}

impl Default for Retention {
    fn default() -> Self {
        Self { commits: 262_144, bytes: 64 << 20 }
    }
}

/// A commit in the history.
#[derive(Debug)]
pub(super) struct Logged {
    pub(super) revision: Revision,
    pub(super) changes: Box<[Changed]>,
    /// What the history costs that ends with it, as if nothing had ever been forgotten. So what is forgotten is known without
    /// looking at each commit.
    total: usize,
}

/// A change of one key: what was there, and what is there now. One of the two is something.
#[derive(Debug)]
pub(super) struct Changed {
    pub(super) previous: Option<Arc<Entry>>,
    pub(super) present: Option<Arc<Entry>>,
}

impl Changed {
    pub(super) fn key(&self) -> &Key {
        let either = self.present.as_ref().or(self.previous.as_ref());
        &either.expect("a change has what was or what is").key
    }

    fn cost(&self) -> usize {
        let replaced = self.previous.as_ref().map_or(0, |entry| entry.value.len());
        self.key().as_str().len() + replaced + CHANGE_OVERHEAD
    }

    fn to_change(&self) -> Change {
        let previous = self.previous.as_deref().cloned();
        match (&self.present, previous) {
            (Some(entry), previous) => Change::Put { entry: Entry::clone(entry), previous },
            (None, Some(previous)) => Change::Delete { previous },
            (None, None) => unreachable!("a change has what was or what is"),
        }
    }
}

impl Logged {
    /// Returns whether the commit changes a key under the prefix.
    pub(super) fn touches(&self, prefix: &str) -> bool {
        self.changes.iter().any(|change| change.key().as_str().starts_with(prefix))
    }

    /// Returns the part of the commit that is under the prefix, if there is any.
    pub(super) fn under(&self, prefix: &str) -> Option<Commit> {
        let under = |change: &&Changed| change.key().as_str().starts_with(prefix);
        let changes: Vec<Change> = self.changes.iter().filter(under).map(Changed::to_change).collect();
        (!changes.is_empty()).then_some(Commit { revision: self.revision, changes })
    }
}

/// The commits after the compacted revision, in order and without a gap: commit `i` has revision `compacted + 1 + i`.
#[derive(Clone)]
pub(super) struct History {
    retention: Retention,
    compacted: Revision,
    log: Vector<Arc<Logged>>,
    marks: Vector<(Revision, Entries)>,
    /// What all commits cost that there ever were, and those of them that are forgotten.
    total: usize,
    forgotten: usize,
}

/// History that was forgotten. Dropping it takes time in proportion to it: do so without holding a lock.
#[must_use]
#[derive(Debug)]
pub(super) struct Forgotten {
    _log: Vector<Arc<Logged>>,
    _marks: Vector<(Revision, Entries)>,
}

impl History {
    /// Starts a history of which everything up to `compacted` is forgotten.
    pub(super) fn new(compacted: Revision, retention: Retention) -> Self {
        Self { retention, compacted, log: Vector::new(), marks: Vector::new(), total: 0, forgotten: 0 }
    }

    pub(super) fn compacted(&self) -> Revision {
        self.compacted
    }

    /// Appends the next commit, after which the store holds `entries`.
    pub(super) fn push(
        &mut self,
        revision: Revision,
        changes: Box<[Changed]>,
        entries: &Entries,
    ) -> Arc<Logged> {
        debug_assert_eq!(revision.0, self.compacted.0 + self.log.len() as u64 + 1);
        self.total += changes.iter().map(Changed::cost).sum::<usize>();
        let logged = Arc::new(Logged { revision, changes, total: self.total });
        if revision.0.is_multiple_of(COMMITS_PER_MARK) {
            self.marks.push_back((revision, entries.clone()));
        }
        self.log.push_back(Arc::clone(&logged));
        while self.log.len() > 1
            && (self.log.len() > self.retention.commits || self.bytes() > self.retention.bytes)
        {
            let oldest = self.log.pop_front().expect("the log holds more than one commit");
            self.forgotten = oldest.total;
            self.compacted = oldest.revision;
        }
        self.drop_marks();
        logged
    }

    fn bytes(&self) -> usize {
        self.total - self.forgotten
    }

    /// Forgets the commits up to `at`, which is not beyond the last one. Takes the same short time however many they are.
    pub(super) fn compact(&mut self, at: Revision) -> Forgotten {
        let count = usize::try_from(at.0.saturating_sub(self.compacted.0)).unwrap_or(usize::MAX);
        let kept = self.log.split_off(count.min(self.log.len()));
        let log = std::mem::replace(&mut self.log, kept);
        self.compacted = self.compacted.max(at);
        self.forgotten = log.last().map_or(self.forgotten, |logged| logged.total);
        let marks = self.marks.clone();
        self.drop_marks();
        Forgotten { _log: log, _marks: marks }
    }

    fn drop_marks(&mut self) {
        while self.marks.front().is_some_and(|(revision, _)| *revision < self.compacted) {
            self.marks.pop_front();
        }
    }

    /// Visits the commits after `after`, which is not compacted, in order, until `visit` breaks.
    pub(super) fn visit_after<B>(
        &self,
        after: Revision,
        mut visit: impl FnMut(&Arc<Logged>) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let start = usize::try_from(after.0 - self.compacted.0).unwrap_or(usize::MAX);
        if start < self.log.len() {
            for logged in self.log.focus().narrow(start..) {
                visit(logged)?;
            }
        }
        ControlFlow::Continue(())
    }

    /// Returns the entries as they were at revision `at`, which is not compacted and before the present one, of which
    /// `present` are the entries. Only those under the prefix are right.
    pub(super) fn entries_at(&self, at: Revision, present: &Entries, prefix: &str) -> Entries {
        let mark = match self.marks.binary_search_by(|(revision, _)| revision.cmp(&at)) {
            Ok(index) | Err(index) => self.marks.get(index),
        };
        let last = Revision(self.compacted.0 + self.log.len() as u64);
        let (from, mut entries) =
            mark.map_or((last, present.clone()), |(at, entries)| (*at, entries.clone()));
        let index = |revision: Revision| {
            usize::try_from(revision.0 - self.compacted.0).expect("a held commit has an index in memory")
        };
        if at < from {
            for logged in self.log.focus().narrow(index(at)..index(from)).into_iter().rev() {
                undo(&mut entries, logged, prefix);
            }
        }
        entries
    }
}

fn undo(entries: &mut Entries, logged: &Logged, prefix: &str) {
    for change in logged.changes.iter().filter(|change| change.key().as_str().starts_with(prefix)) {
        match &change.previous {
            Some(previous) => entries.insert(Arc::clone(previous)),
            None => entries.remove(change.key()),
        };
    }
}
