//! The model: a map, and one commit after the other.

use std::collections::BTreeMap;

use super::{History, What};
use crate::storage::{
    Change, Commit, Condition, Entry, Expect, Key, List, Page, Revision, Transaction, Write,
};

/// What is stored at one moment.
pub(super) type State = BTreeMap<Key, Entry>;

/// Every state that a store was in, with the commits between them.
#[derive(Debug)]
pub(super) struct Model {
    states: Vec<State>,
    commits: Vec<Commit>,
}

impl Model {
    /// Does all commits of a history and checks that each does what somebody asked for.
    pub(super) fn of(history: &History) -> Result<Self, String> {
        let asked = asked(history);
        let mut model = Self { states: vec![State::new()], commits: Vec::new() };
        let mut done = BTreeMap::new();
        for commit in &history.commits {
            let at = commit.revision;
            if model.commits.last().is_some_and(|last| last.revision >= at) {
                return Err(format!("clause 6: a watch shows the commit at {at} again, or out of order"));
            }
            let marks: Vec<&[u8]> = commit.changes.iter().filter_map(mark).collect();
            let Some((mark, transaction)) = marks.first().and_then(|mark| asked.get_key_value(*mark)) else {
                return Err(format!("clause 2: nobody asked for what the commit at {at} does: {commit:?}"));
            };
            if let Some(earlier) = done.insert(*mark, at) {
                return Err(format!("clause 2: one transaction was committed at {earlier} and at {at}"));
            }
            model.commit(transaction, commit)?;
        }
        Ok(model)
    }

    fn commit(&mut self, transaction: &Transaction, commit: &Commit) -> Result<(), String> {
        let at = commit.revision;
        let before = self.last();
        if let Some(failed) = transaction.conditions.iter().find(|condition| !holds(condition, before)) {
            let Condition { key, expect } = failed;
            let found = before.get(key);
            return Err(format!(
                "clause 2: an update was lost: {key} had to be {expect} for the commit at {at}, and is {found:?}"
            ));
        }
        let (after, changes) = apply(before, transaction, at);
        if changes != commit.changes {
            return Err(format!(
                "clause 6: the commit at {at} makes {changes:?}, and a watch shows {:?}",
                commit.changes
            ));
        }
        self.states.push(after);
        self.commits.push(commit.clone());
        Ok(())
    }

    /// Returns how many commits there are.
    pub(super) fn len(&self) -> usize {
        self.commits.len()
    }

    /// Returns the state behind so many commits.
    pub(super) fn state(&self, commits: usize) -> &State {
        &self.states[commits]
    }

    fn last(&self) -> &State {
        self.states.last().expect("there is a state before the first commit")
    }

    /// Returns how many commits there are up to a revision.
    pub(super) fn position(&self, revision: Revision) -> usize {
        self.commits.partition_point(|commit| commit.revision <= revision)
    }

    /// Returns the position of the commit at exactly this revision.
    pub(super) fn commit_at(&self, revision: Revision) -> Option<usize> {
        let found = self.commits.binary_search_by_key(&revision, |commit| commit.revision);
        found.ok().map(|index| index + 1)
    }

    /// Returns the commit that did this transaction, if one did, and where it is.
    pub(super) fn commit_of(&self, transaction: &Transaction) -> Option<(usize, Revision)> {
        let wanted = written(transaction)?;
        let does = |commit: &Commit| commit.changes.iter().find_map(mark) == Some(wanted);
        let index = self.commits.iter().position(does)?;
        Some((index + 1, self.commits[index].revision))
    }

    /// Returns what a watch of the prefix has to show after a revision.
    pub(super) fn after(&self, revision: Revision, prefix: &str) -> impl Iterator<Item = Commit> {
        self.commits[self.position(revision)..].iter().filter_map(move |commit| {
            let under = |change: &&Change| change.key().as_str().starts_with(prefix);
            let changes: Vec<Change> = commit.changes.iter().filter(under).cloned().collect();
            (!changes.is_empty()).then_some(Commit { revision: commit.revision, changes })
        })
    }

    /// Returns whether the page is what the list has to show of the state behind so many commits.
    pub(super) fn shows(&self, commits: usize, list: &List, page: &Page) -> bool {
        let behind = |entry: &&Entry| list.after.as_ref().is_none_or(|after| entry.key > *after);
        let under = |entry: &&Entry| entry.key.as_str().starts_with(&list.prefix);
        let all: Vec<&Entry> = self.state(commits).values().filter(under).filter(behind).collect();
        let shown = list.limit.unwrap_or(usize::MAX).min(all.len());
        page.entries.iter().eq(all[..shown].iter().copied()) && page.remaining == all.len() - shown
    }
}

/// Returns all transactions by what is unique about them.
fn asked(history: &History) -> BTreeMap<&[u8], &Transaction> {
    let transactions = history.operations.iter().filter_map(|operation| match &operation.what {
        What::Committed(transaction, _)
        | What::Conflicted { transaction, .. }
        | What::MayHaveCommitted(transaction) => Some(transaction),
        _ => None,
    });
    transactions.filter_map(|transaction| Some((written(transaction)?, transaction))).collect()
}

/// Returns the value that the transaction puts, which no other does.
fn written(transaction: &Transaction) -> Option<&[u8]> {
    transaction.writes.iter().find_map(|write| match write {
        Write::Put(_, value) => Some(&value[..]),
        Write::Delete(_) => None,
    })
}

/// Returns the value that a change puts, which tells whose it is.
fn mark(change: &Change) -> Option<&[u8]> {
    match change {
        Change::Put { entry, .. } => Some(&entry.value),
        Change::Delete { .. } => None,
    }
}

/// Returns whether a condition holds in a state.
pub(super) fn holds(condition: &Condition, state: &State) -> bool {
    is_as_expected(condition.expect, state.get(&condition.key))
}

/// Returns whether what was found is what was expected.
pub(super) fn is_as_expected(expect: Expect, found: Option<&Entry>) -> bool {
    match expect {
        Expect::Absent => found.is_none(),
        Expect::Present => found.is_some(),
        Expect::Modified(revision) => found.is_some_and(|entry| entry.modified == revision),
    }
}

fn apply(before: &State, transaction: &Transaction, at: Revision) -> (State, Vec<Change>) {
    let mut after = before.clone();
    let mut changes = Vec::new();
    for write in &transaction.writes {
        match write {
            Write::Put(key, value) => {
                let previous = before.get(key).cloned();
                let created = previous.as_ref().map_or(at, |entry| entry.created);
                let entry = Entry { key: key.clone(), value: value.clone(), created, modified: at };
                after.insert(key.clone(), entry.clone());
                changes.push(Change::Put { entry, previous });
            }
            Write::Delete(key) => {
                changes.extend(after.remove(key).map(|previous| Change::Delete { previous }));
            }
        }
    }
    (after, changes)
}
