//! Random histories, on the stores and on a model that is too simple to be wrong.

use std::collections::BTreeMap;

use futures::{FutureExt as _, StreamExt as _};
use proptest::prelude::*;
use quarterdeck_core::storage::{
    Change, Commits, Entry, Expect, Key, List, Page, Revision, Storage, StorageError, Transaction, Write,
};

use crate::storage::{MemoryStorage, Retention};

const KEYS: [&str; 8] = ["/a", "/a/", "/a/b", "/a/b/c", "/a0", "/b/a", "/b/b", "/b/ü"];
const PREFIXES: [&str; 6] = ["", "/", "/a", "/a/", "/b/", "/none"];

/// Something to do with a store. Revisions are offsets from the present one, so that most of them make sense.
#[derive(Debug, Clone)]
enum Step {
    Commit { conditions: Vec<(usize, u8)>, writes: Vec<(usize, Option<u8>)> },
    Get(usize),
    List { prefix: usize, after: Option<usize>, limit: Option<usize>, back: Option<u64> },
    Watch { prefix: usize, back: u64 },
    Read { watch: usize, count: usize },
    Compact { back: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..KEYS.len();
    let conditions = prop::collection::vec((key.clone(), 0..4_u8), 0..3);
    let writes = prop::collection::vec((key.clone(), prop::option::weighted(0.7, any::<u8>())), 0..4);
    prop_oneof![
        6 => (conditions, writes).prop_map(|(conditions, writes)| Step::Commit { conditions, writes }),
        1 => key.clone().prop_map(Step::Get),
        3 => (0..PREFIXES.len(), prop::option::of(key), prop::option::of(0..5_usize), prop::option::of(0..12_u64))
            .prop_map(|(prefix, after, limit, back)| Step::List { prefix, after, limit, back }),
        1 => (0..PREFIXES.len(), 0..12_u64).prop_map(|(prefix, back)| Step::Watch { prefix, back }),
        3 => (0..4_usize, 1..9_usize).prop_map(|(watch, count)| Step::Read { watch, count }),
        1 => (0..12_u64).prop_map(|back| Step::Compact { back }),
    ]
}

type State = BTreeMap<Key, Entry>;

/// All states that there ever were, by revision.
struct Model {
    states: Vec<State>,
    compacted: u64,
    retained: u64,
}

impl Model {
    fn now(&self) -> Revision {
        Revision(self.states.len() as u64 - 1)
    }

    fn at(&self, revision: Revision) -> &State {
        &self.states[usize::try_from(revision.0).unwrap()]
    }

    fn holds(&self, key: &Key, expect: Expect) -> bool {
        let found = self.at(self.now()).get(key);
        match expect {
            Expect::Absent => found.is_none(),
            Expect::Present => found.is_some(),
            Expect::Modified(revision) => found.is_some_and(|entry| entry.modified == revision),
        }
    }

    fn write(&mut self, writes: &[Write]) {
        let at = Revision(self.now().0 + 1);
        let mut state = self.at(self.now()).clone();
        let before = state.clone();
        for write in writes {
            match write {
                Write::Put(key, value) => {
                    let created = before.get(key).map_or(at, |entry| entry.created);
                    let entry = Entry { key: key.clone(), value: value.clone(), created, modified: at };
                    state.insert(key.clone(), entry);
                }
                Write::Delete(key) => drop(state.remove(key)),
            }
        }
        if state != before {
            self.states.push(state);
            self.compacted = self.compacted.max(at.0.saturating_sub(self.retained));
        }
    }

    fn page(&self, list: &List, at: Revision) -> Page {
        let under = |entry: &&Entry| {
            let behind = list.after.as_ref().is_none_or(|after| entry.key > *after);
            entry.key.as_str().starts_with(&list.prefix) && behind
        };
        let mut entries: Vec<Entry> = self.at(at).values().filter(under).cloned().collect();
        let shown = list.limit.unwrap_or(usize::MAX).min(entries.len());
        let remaining = entries.len() - shown;
        entries.truncate(shown);
        Page { entries, revision: at, remaining }
    }

    /// Returns the next changes after a revision under a prefix, in no particular order.
    fn next(&self, after: Revision, prefix: &str) -> Option<(Revision, BTreeMap<Key, Change>)> {
        (after.0 + 1..=self.now().0).find_map(|revision| {
            let (old, new) = (self.at(Revision(revision - 1)), self.at(Revision(revision)));
            let puts = new.iter().filter(|(key, entry)| old.get(*key) != Some(entry)).map(|(key, entry)| {
                (key.clone(), Change::Put { entry: entry.clone(), previous: old.get(key).cloned() })
            });
            let deletes = old.iter().filter(|(key, _)| !new.contains_key(*key));
            let deletes =
                deletes.map(|(key, entry)| (key.clone(), Change::Delete { previous: entry.clone() }));
            let changes: BTreeMap<Key, Change> =
                puts.chain(deletes).filter(|(key, _)| key.as_str().starts_with(prefix)).collect();
            (!changes.is_empty()).then_some((Revision(revision), changes))
        })
    }
}

struct Watched {
    prefix: &'static str,
    commits: Commits,
    /// What came last, or what it began after.
    position: Revision,
}

/// Does the same on a store and on the model, and compares.
struct Comparison<S> {
    store: S,
    model: Model,
    watches: Vec<Watched>,
}

impl<S: Storage> Comparison<S> {
    async fn step(&mut self, step: Step) {
        match step {
            Step::Commit { conditions, writes } => self.commit(conditions, writes).await,
            Step::Get(key) => {
                let key = Key::from(KEYS[key]);
                let expected = self.model.at(self.model.now()).get(&key);
                assert_eq!(self.store.get(&key).await.unwrap().as_ref(), expected);
            }
            Step::List { prefix, after, limit, back } => {
                let after = after.map(|key| KEYS[key].into());
                let at = back.map(|back| self.back(back));
                self.list(List { prefix: PREFIXES[prefix].to_owned(), after, limit, at }).await;
            }
            Step::Watch { prefix, back } => self.watch(PREFIXES[prefix], self.back(back)).await,
            Step::Read { watch, count } if !self.watches.is_empty() => {
                let index = watch % self.watches.len();
                for _ in 0..count {
                    if !self.read(index) {
                        break;
                    }
                }
            }
            Step::Read { .. } => {}
            Step::Compact { back } => {
                let at = self.back(back);
                let result = self.store.compact(at).await;
                if at > self.model.now() {
                    assert!(
                        matches!(result, Err(StorageError::Future(now)) if now == self.model.now()),
                        "{result:?}"
                    );
                } else {
                    result.unwrap();
                    self.model.compacted = self.model.compacted.max(at.0);
                }
            }
        }
        assert_eq!(self.store.revision().await.unwrap(), self.model.now());
    }

    /// Returns a revision so far behind the present one; 0 is the next.
    fn back(&self, back: u64) -> Revision {
        Revision((self.model.now().0 + 1).saturating_sub(back))
    }

    async fn commit(&mut self, conditions: Vec<(usize, u8)>, writes: Vec<(usize, Option<u8>)>) {
        let mut transaction = Transaction::new();
        for (key, expect) in conditions {
            let present =
                self.model.at(self.model.now()).get(KEYS[key]).map_or(Revision(0), |entry| entry.modified);
            let expect = match expect {
                0 => Expect::Absent,
                1 => Expect::Present,
                2 => Expect::Modified(present),
                _ => Expect::Modified(Revision(present.0 + 1)),
            };
            transaction = transaction.expect(KEYS[key], expect);
        }
        for (key, value) in writes {
            transaction = match value {
                Some(byte) => transaction.put(KEYS[key], vec![byte; usize::from(byte)]),
                None => transaction.delete(KEYS[key]),
            };
        }
        let failing: Vec<&Key> = transaction
            .conditions
            .iter()
            .filter(|condition| !self.model.holds(&condition.key, condition.expect))
            .map(|condition| &condition.key)
            .collect();
        let mut keys: Vec<&Key> = transaction.writes.iter().map(Write::key).collect();
        keys.sort();
        let twice = keys.windows(2).any(|pair| pair[0] == pair[1]);

        match self.store.commit(transaction.clone()).await {
            Err(StorageError::Invalid(_)) => assert!(twice, "{transaction:?} is valid"),
            _ if twice => panic!("{transaction:?} is not valid"),
            Err(StorageError::Conflict { key, found, .. }) => {
                assert!(failing.contains(&&key), "{key} is as expected");
                assert_eq!(found.as_ref(), self.model.at(self.model.now()).get(&key));
            }
            Err(error) => panic!("{error:?}"),
            Ok(_) if !failing.is_empty() => panic!("{failing:?} is not as expected"),
            Ok(revision) => {
                self.model.write(&transaction.writes);
                assert_eq!(revision, self.model.now());
            }
        }
    }

    async fn list(&self, list: List) {
        let at = list.at.unwrap_or(self.model.now());
        match self.store.list(list.clone()).await {
            Err(StorageError::Future(now)) => assert!(at > now && now == self.model.now()),
            Err(StorageError::Compacted(to)) => assert!(at < to && to.0 == self.model.compacted),
            Err(error) => panic!("{error:?}"),
            Ok(page) => {
                assert!(at.0 >= self.model.compacted, "{at} is compacted");
                assert_eq!(page, self.model.page(&list, at));
            }
        }
    }

    async fn watch(&mut self, prefix: &'static str, after: Revision) {
        match self.store.watch(prefix, after).await {
            Err(StorageError::Future(now)) => assert!(after > now && now == self.model.now()),
            Err(StorageError::Compacted(to)) => assert!(after < to && to.0 == self.model.compacted),
            Err(error) => panic!("{error:?}"),
            Ok(commits) => {
                assert!(after.0 >= self.model.compacted, "{after} is compacted");
                self.watches.push(Watched { prefix, commits, position: after });
                if self.watches.len() > 4 {
                    self.watches.remove(0);
                }
            }
        }
    }

    /// Reads the next item of a watch, and returns whether there may be more.
    fn read(&mut self, index: usize) -> bool {
        let watched = &mut self.watches[index];
        let expected = self.model.next(watched.position, watched.prefix);
        match watched.commits.next().now_or_never() {
            None => {
                assert_eq!(expected, None, "a watch is behind");
                false
            }
            Some(Some(Ok(commit))) => {
                let count = commit.changes.len();
                let changes: BTreeMap<Key, Change> =
                    commit.changes.into_iter().map(|change| (change.key().clone(), change)).collect();
                assert_eq!(changes.len(), count);
                assert_eq!(expected, Some((commit.revision, changes)));
                watched.position = commit.revision;
                true
            }
            Some(Some(Err(StorageError::Compacted(_)))) => {
                assert!(watched.position.0 < self.model.compacted, "{} is not compacted", watched.position);
                assert!(watched.commits.next().now_or_never().expect("it ended").is_none());
                self.watches.remove(index);
                false
            }
            Some(other) => panic!("{other:?}"),
        }
    }
}

fn compare<S: Storage>(store: S, retained: usize, steps: Vec<Step>) {
    let model = Model { states: vec![State::new()], compacted: 0, retained: retained as u64 };
    let mut comparison = Comparison { store, model, watches: Vec::new() };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        for step in steps {
            comparison.step(step).await;
        }
    });
}

fn retention(commits: usize) -> Retention {
    Retention { commits, bytes: usize::MAX }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn memory_store_does_what_the_model_does(retained in 1..30_usize, steps in prop::collection::vec(step(), 0..80)) {
        compare(MemoryStorage::with_retention(retention(retained)), retained, steps);
    }

    #[cfg(feature = "embedded")]
    #[test]
    fn embedded_store_does_what_the_model_does(retained in 1..30_usize, steps in prop::collection::vec(step(), 0..80)) {
        compare(crate::storage::embedded::tests::on_a_fake_disk(retention(retained)), retained, steps);
    }
}
