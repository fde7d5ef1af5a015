//! Those who watch in a random history, and note what they are shown.

use std::sync::Arc;

use futures::StreamExt as _;

use super::clients::{ENDS, PREFIXES, is_end, rest};
use super::{Followed, Operation, Ticks, What, in_time, soon};
use crate::random::Random;
use crate::storage::{Commit, Commits, List, Page, Revision, Storage, StorageError};

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
