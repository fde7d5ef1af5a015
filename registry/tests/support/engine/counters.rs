//! Writers that count up, and what must be there of it when a process was killed.

use std::collections::BTreeMap;

use quarterdeck_core::storage::{Change, Commit, Expect, Key, List, Storage, StorageError, Transaction};

/// How many writers there are.
pub(crate) const WRITERS: usize = 16;
const COUNTERS: &str = "/counter/";
const COPIES: &str = "/copy/";

/// Counts up in a key of the writer's own, with a second key beside it, and says so after each commit. Returns why that ended.
pub(crate) async fn count_up(
    store: &impl Storage,
    writer: usize,
    mut acknowledged: impl FnMut(usize),
) -> StorageError {
    let (counter, copy) = (Key::from(format!("{COUNTERS}{writer}")), Key::from(format!("{COPIES}{writer}")));
    let present = match store.get(&counter).await {
        Ok(present) => present,
        Err(error) => return error,
    };
    let mut expect = present.as_ref().map_or(Expect::Absent, |entry| Expect::Modified(entry.modified));
    let mut count = present.map_or(0, |entry| number(&entry.value));
    loop {
        count += 1;
        let value = format!("{count} {}", "x".repeat(count % 300));
        let transaction = Transaction::new()
            .expect(counter.clone(), expect)
            .put(counter.clone(), value.clone())
            .put(copy.clone(), value);
        match store.commit(transaction).await {
            Ok(revision) => expect = Expect::Modified(revision),
            Err(error) => return error,
        }
        acknowledged(count);
    }
}

fn number(value: &[u8]) -> usize {
    let text = std::str::from_utf8(value).unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

/// How far each writer was told that it is.
#[derive(Debug)]
pub(crate) struct Counts {
    told: BTreeMap<usize, usize>,
    /// How many writes of each writer nobody was told of, at most.
    in_flight: usize,
    kills: usize,
    acknowledged: usize,
    unheard: usize,
}

impl Counts {
    pub(crate) fn new() -> Self {
        let told = (0..WRITERS).map(|writer| (writer, 0)).collect();
        Self { told, in_flight: 0, kills: 0, acknowledged: 0, unheard: 0 }
    }

    /// Notes that a process is about to be killed: each kill may leave one more write of each writer that nobody was told of.
    pub(crate) fn kill(&mut self) {
        self.kills += 1;
        self.in_flight += 1;
    }

    /// Notes that a writer was told that it is so far.
    pub(crate) fn told(&mut self, writer: usize, count: usize) {
        self.told.insert(writer, count);
        self.acknowledged += 1;
    }

    /// Looks whether all that writers were told of is there, and nothing by half.
    pub(crate) async fn check(&mut self, store: &impl Storage) {
        let (kill, in_flight) = (self.kills, self.in_flight);
        for (writer, count) in &mut self.told {
            let entry = store.get(&Key::from(format!("{COUNTERS}{writer}"))).await.unwrap();
            let found = entry.map_or(0, |entry| number(&entry.value));
            assert!(found >= *count, "kill {kill}: writer {writer} was told of {count}, {found} is there");
            assert!(
                found <= *count + in_flight,
                "kill {kill}: writer {writer} was told of {count}, had {in_flight} writes in flight, and {found} is there"
            );
            self.unheard += found - *count;
            *count = found;
        }
        let counters = store.list(List::prefix(COUNTERS)).await.unwrap().entries;
        let copies = store.list(List::prefix(COPIES)).await.unwrap().entries;
        assert_eq!(counters.len(), copies.len(), "kill {kill}: half a write");
        for (counter, copy) in counters.iter().zip(&copies) {
            assert_eq!(
                (&counter.value, counter.modified),
                (&copy.value, copy.modified),
                "kill {kill}: half a write"
            );
        }
        self.in_flight = 0;
    }

    /// Says what happened.
    pub(crate) fn print(&self) {
        let Self { kills, acknowledged, unheard, .. } = self;
        println!(
            "{kills} kills: {acknowledged} writes were acknowledged and are there, and {unheard} that nobody was told of"
        );
    }
}

/// Looks at a commit that a watch shows: each writer counts from 1 on, without a gap.
pub(crate) fn check_commit(commit: &Commit, counts: &mut BTreeMap<String, usize>) {
    let [Change::Put { entry: counter, .. }, Change::Put { entry: copy, .. }] = &commit.changes[..] else {
        panic!("half a write: {commit:?}");
    };
    assert_eq!((&counter.value, counter.modified), (&copy.value, copy.modified), "half a write");
    let count = counts.entry(counter.key.to_string()).or_default();
    *count += 1;
    assert_eq!(number(&counter.value), *count, "{} goes on with {commit:?}", counter.key);
}
