//! Those who use the store in a random history, and note what they are told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt as _;

use super::super::durability::poll_and_drop;
use super::{Followed, Operation, Ticks, What, in_time, soon};
use crate::random::Random;
use crate::storage::{
    Change, Commit, Commits, Entry, Expect, Key, List, Page, Revision, Storage, StorageError, Transaction,
};

const STEPS: usize = 40;
/// Few, so that clients meet.
const KEYS: [&str; 6] = ["/h/a/0", "/h/a/1", "/h/a/2", "/h/b/0", "/h/b/1", "/h/b/2"];
const PREFIXES: [&str; 4] = ["", "/h/", "/h/a/", "/h/b/"];
/// What is written last, one under each prefix.
const ENDS: [&str; 2] = ["/h/a/end", "/h/b/end"];
/// The last commit is tried so often before the store is taken to be gone.
const ATTEMPTS: usize = 1000;

/// Returns whether the change says that the clients are done.
pub(super) fn is_end(change: &Change) -> bool {
    ENDS.contains(&change.key().as_str())
}

/// Waits for a store that cannot be reached.
pub(super) async fn rest() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// Does random things.
pub(super) struct Client<S> {
    store: Arc<S>,
    ticks: Ticks,
    random: Random,
    name: String,
    operations: Vec<Operation>,
    /// How many transactions it made.
    transactions: usize,
    /// The last revision that it was told of.
    told: Revision,
}

impl<S: Storage> Client<S> {
    pub(super) fn new(store: Arc<S>, ticks: Ticks, random: Random, number: usize) -> Self {
        let (name, operations) = (format!("client {number}"), Vec::new());
        Self { store, ticks, random, name, operations, transactions: 0, told: Revision(0) }
    }

    /// Uses the store and returns what it was told. Nothing is compacted that `followed` did not reach.
    pub(super) async fn run(mut self, followed: Arc<AtomicU64>) -> Vec<Operation> {
        for _ in 0..STEPS {
            match self.random.below(20) {
                0..9 => self.update().await,
                9..12 => {
                    let transaction = self.unconditional();
                    self.commit(transaction).await;
                }
                12 => self.check().await,
                13 => drop(self.get(self.key()).await),
                14..17 => self.list().await,
                17 => self.revision().await,
                18 => self.compact(Revision(followed.load(Ordering::SeqCst))).await,
                _ => self.commit_and_leave().await,
            }
            for _ in 0..self.random.below(3) {
                tokio::task::yield_now().await;
            }
        }
        self.operations
    }

    /// Commits what tells the others to end. Returns its revision and what was asked for it.
    pub(super) async fn end(mut self) -> (Revision, Vec<Operation>) {
        for _ in 0..ATTEMPTS {
            let value = self.value();
            let transaction = ENDS.iter().fold(Transaction::new(), |all, key| all.put(*key, value.clone()));
            if let Some(revision) = self.commit(transaction).await {
                return (revision, self.operations);
            }
            rest().await;
        }
        panic!("the store stays unavailable");
    }

    fn key(&self) -> &'static str {
        KEYS[self.random.below(KEYS.len())]
    }

    /// Returns a value that nobody else writes.
    fn value(&mut self) -> String {
        self.transactions += 1;
        format!("{} {} {}", self.name, self.transactions, "x".repeat(self.random.below(10)))
    }

    fn note(&mut self, begin: u64, what: What) {
        let (end, who) = (self.ticks.tick(), self.name.clone());
        self.operations.push(Operation { who, begin, end, what });
    }

    /// Writes what nobody has to wait for.
    fn unconditional(&mut self) -> Transaction {
        let value = self.value();
        let first = self.random.below(KEYS.len());
        let mut transaction = Transaction::new().put(KEYS[first], value.clone());
        for more in 1..=self.random.below(3) {
            let key = KEYS[(first + more) % KEYS.len()];
            transaction = match self.random.below(3) {
                0 => transaction.delete(key),
                _ => transaction.put(key, value.clone()),
            };
        }
        transaction
    }

    /// Reads some keys and changes some if they are as they were.
    async fn update(&mut self) {
        let mut read = BTreeMap::new();
        for _ in 0..=self.random.below(3) {
            let key = self.key();
            let Some(found) = self.get(key).await else { return };
            read.insert(key, found);
        }
        tokio::task::yield_now().await;
        let mut transaction = self.unconditional();
        for (key, found) in read {
            let expect = found.map_or(Expect::Absent, |entry| Expect::Modified(entry.modified));
            transaction = transaction.expect(key, expect);
        }
        self.commit(transaction).await;
    }

    /// Asks whether some keys are as they were, and writes nothing.
    async fn check(&mut self) {
        let mut transaction = Transaction::new();
        for key in [self.key(), self.key()] {
            let Some(found) = self.get(key).await else { return };
            let expect = found.map_or(Expect::Absent, |entry| Expect::Modified(entry.modified));
            transaction = transaction.expect(key, expect);
        }
        self.commit(transaction).await;
    }

    async fn commit(&mut self, transaction: Transaction) -> Option<Revision> {
        let begin = self.ticks.tick();
        let answer = in_time(self.store.commit(transaction.clone())).await;
        self.answered(begin, transaction, Some(answer))
    }

    /// Commits, and does not wait for the answer.
    async fn commit_and_leave(&mut self) {
        let (transaction, polls) = (self.unconditional(), self.random.below(4));
        let begin = self.ticks.tick();
        let answer = poll_and_drop(self.store.commit(transaction.clone()), polls).await;
        self.answered(begin, transaction, answer);
    }

    fn answered(
        &mut self,
        begin: u64,
        transaction: Transaction,
        answer: Option<Result<Revision, StorageError>>,
    ) -> Option<Revision> {
        match answer {
            Some(Ok(revision)) => {
                self.told = self.told.max(revision);
                self.note(begin, What::Committed(transaction, revision));
                return Some(revision);
            }
            Some(Err(StorageError::Conflict { key, expected, found })) => {
                self.note(begin, What::Conflicted { transaction, key, expected, found });
            }
            None | Some(Err(StorageError::Unavailable(_))) => {
                let (who, what) = (self.name.clone(), What::MayHaveCommitted(transaction));
                self.operations.push(Operation { who, begin, end: u64::MAX, what });
            }
            Some(Err(error)) => panic!("clause 2: {error:?} instead of a conflict"),
        }
        None
    }

    async fn get(&mut self, key: &'static str) -> Option<Option<Entry>> {
        let begin = self.ticks.tick();
        match in_time(self.store.get(&Key::from(key))).await {
            Ok(found) => {
                self.note(begin, What::Got(Key::from(key), found.clone()));
                Some(found)
            }
            Err(StorageError::Unavailable(_)) => None,
            Err(error) => panic!("clause 3: get fails with {error:?}"),
        }
    }

    async fn list(&mut self) {
        let mut list = List::prefix(PREFIXES[self.random.below(PREFIXES.len())]);
        if self.random.below(3) == 0 {
            list = list.after(self.key());
        }
        if self.random.below(3) == 0 {
            list = list.limit(self.random.below(4));
        }
        if self.random.below(2) == 0 {
            list = list.at(Revision((self.told.0 + 1).saturating_sub(self.random.below(12) as u64)));
        }
        let begin = self.ticks.tick();
        let answer = in_time(self.store.list(list.clone())).await;
        if let Some(what) = answer_to_list(list, answer) {
            self.note(begin, what);
        }
    }

    async fn revision(&mut self) {
        let begin = self.ticks.tick();
        match in_time(self.store.revision()).await {
            Ok(revision) => {
                self.told = self.told.max(revision);
                self.note(begin, What::IsAt(revision));
            }
            Err(StorageError::Unavailable(_)) => {}
            Err(error) => panic!("clause 3: revision fails with {error:?}"),
        }
    }

    /// Compacts some of what the referee has seen.
    async fn compact(&mut self, followed: Revision) {
        let at = Revision(followed.0.saturating_sub(self.random.below(20) as u64));
        let begin = self.ticks.tick();
        match in_time(self.store.compact(at)).await {
            Ok(()) => self.note(begin, What::Compacted(at)),
            Err(StorageError::Unavailable(_)) => {}
            Err(error) => panic!("clause 8: a compaction of the past fails with {error:?}"),
        }
    }
}

/// Returns what an answer to a list says, if it says anything.
fn answer_to_list(list: List, answer: Result<Page, StorageError>) -> Option<What> {
    let asked = list.at;
    match (answer, asked) {
        (Ok(page), _) => Some(What::Listed(list, page)),
        (Err(StorageError::Unavailable(_)), _) => None,
        (Err(StorageError::Compacted(to)), Some(asked)) => Some(What::WasCompacted { asked, to }),
        (Err(StorageError::Future(now)), Some(asked)) => Some(What::IsFuture { asked, now }),
        (Err(error), _) => panic!("clause 5: {list:?} fails with {error:?}"),
    }
}

/// Lists and watches a prefix, again and again.
pub(super) struct Follower<S> {
    store: Arc<S>,
    ticks: Ticks,
    random: Random,
    name: String,
    prefix: &'static str,
    watches: Vec<Followed>,
    operations: Vec<Operation>,
}

/// How a watch came to its end.
enum Ended {
    /// It showed that the clients are done.
    Finally,
    /// It goes on in another, after this revision.
    At(Revision),
    /// What follows was compacted.
    Behind,
}

impl<S: Storage> Follower<S> {
    pub(super) fn new(store: Arc<S>, ticks: Ticks, random: Random, number: usize) -> Self {
        let (name, prefix) = (format!("follower {number}"), PREFIXES[random.below(PREFIXES.len())]);
        Self { store, ticks, random, name, prefix, watches: Vec::new(), operations: Vec::new() }
    }

    /// Follows until the clients are done. Returns what its watches yielded and what it listed.
    pub(super) async fn run(mut self) -> (Vec<Followed>, Vec<Operation>) {
        let mut next = Ended::Behind;
        loop {
            next = match next {
                Ended::Finally => return (self.watches, self.operations),
                Ended::At(after) => self.watch(after).await,
                Ended::Behind => match self.list().await {
                    Some(page) if page.entries.iter().any(|entry| ENDS.contains(&entry.key.as_str())) => {
                        Ended::Finally
                    }
                    Some(page) => Ended::At(page.revision),
                    None => Ended::Behind,
                },
            };
        }
    }

    async fn list(&mut self) -> Option<Page> {
        let (list, begin) = (List::prefix(self.prefix), self.ticks.tick());
        match in_time(self.store.list(list.clone())).await {
            Ok(page) => {
                let (end, what) = (self.ticks.tick(), What::Listed(list, page.clone()));
                self.operations.push(Operation { who: self.name.clone(), begin, end, what });
                Some(page)
            }
            Err(StorageError::Unavailable(_)) => {
                rest().await;
                None
            }
            Err(error) => panic!("clause 3: list fails with {error:?}"),
        }
    }

    async fn watch(&mut self, after: Revision) -> Ended {
        let begin = self.ticks.tick();
        let watch = in_time(self.store.watch(self.prefix, after)).await;
        let mut commits = Vec::new();
        let ended = match watch {
            Ok(watch) => self.read(watch, after, &mut commits).await,
            Err(error) => ended(after, &error).await,
        };
        let (who, prefix) = (self.name.clone(), self.prefix);
        self.watches.push(Followed { who, prefix, after, begin, commits });
        ended
    }

    /// Reads a watch for a while.
    async fn read(&self, mut watch: Commits, after: Revision, commits: &mut Vec<(u64, Commit)>) -> Ended {
        let mut last = after;
        for _ in 0..1 + self.random.below(40) {
            match soon(watch.next()).await {
                Some(Ok(commit)) => {
                    last = commit.revision;
                    let ends = commit.changes.iter().any(is_end);
                    commits.push((self.ticks.tick(), commit));
                    if ends {
                        return Ended::Finally;
                    }
                }
                Some(Err(error)) => return ended(last, &error).await,
                None => panic!("clause 6: a watch ends without an error"),
            }
            for _ in 0..self.random.below(4) {
                tokio::task::yield_now().await;
            }
        }
        Ended::At(last)
    }
}

async fn ended(after: Revision, error: &StorageError) -> Ended {
    match error {
        StorageError::Compacted(_) => Ended::Behind,
        StorageError::Unavailable(_) => {
            rest().await;
            Ended::At(after)
        }
        error => panic!("clause 6: a watch after a known revision fails with {error:?}"),
    }
}
