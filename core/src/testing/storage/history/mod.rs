//! Random concurrent histories, and whether a simple model explains them.
//!
//! [`check_history`] lets several tasks use a store at once (`clients`), each of which notes what it asked, when, and what it
//! was told. A `referee` reads all commits by a watch of everything. As revisions give commits an order, no search is
//! needed: `model` does the commits one after the other and keeps every state that there ever was, and `judge` compares
//! each answer with these states, and the order of the states with the order of time.

mod clients;
mod judge;
mod model;
mod referee;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::task::JoinSet;

use super::{PATIENCE, in_time};
use crate::random::Random;
use crate::storage::{Commit, Entry, Expect, Key, List, Page, Revision, Storage, Transaction};
use clients::{Client, Follower};
use referee::Referee;

/// How many histories the suite checks of each store.
const HISTORIES: u64 = 3;
const CLIENTS: usize = 5;
const FOLLOWERS: usize = 3;

/// Clauses 1 to 10, all at once: random concurrent histories are linearizable, and a simple model explains every answer.
pub async fn random_histories_are_linearizable<S: Storage>(make: impl AsyncFn() -> S) {
    for seed in 0..HISTORIES {
        check_history(make().await, seed).await;
    }
}

/// Checks one random history of a store that was never written. What is asked follows from `seed`; the order in which it
/// happens does so only if the store and the runtime are deterministic.
///
/// The store may answer [`StorageError::Unavailable`](crate::storage::StorageError::Unavailable) to anything, and end any
/// watch with it, if it does what it is asked most of the time: a commit that was answered so may have happened.
/// It has to keep the history of 500 commits. A runtime of several threads finds more than one of one thread.
///
/// # Panics
///
/// Panics with the seed, the number of the clause, and what contradicts it.
pub async fn check_history(store: impl Storage, seed: u64) {
    let history = record(Arc::new(store), seed).await;
    if let Err(why) = judge::judge(&history) {
        panic!("seed {seed}: {why}");
    }
}

/// What happened to a store.
#[derive(Debug)]
struct History {
    /// All commits, as a watch of everything tells them.
    commits: Vec<Commit>,
    operations: Vec<Operation>,
    followed: Vec<Followed>,
}

/// What somebody asked, and was told.
#[derive(Debug)]
struct Operation {
    who: String,
    /// When it was asked.
    begin: u64,
    /// When it was answered; never, if nothing is known of it.
    end: u64,
    what: What,
}

#[derive(Debug)]
enum What {
    Committed(Transaction, Revision),
    Conflicted {
        transaction: Transaction,
        key: Key,
        expected: Expect,
        found: Option<Entry>,
    },
    MayHaveCommitted(Transaction),
    Got(Key, Option<Entry>),
    Listed(List, Page),
    IsAt(Revision),
    Compacted(Revision),
    /// What is before `to` was refused.
    WasCompacted {
        asked: Revision,
        to: Revision,
    },
    /// What is after `now` was refused.
    IsFuture {
        asked: Revision,
        now: Revision,
    },
}

/// What one watch yielded, with the time of each commit.
#[derive(Debug)]
struct Followed {
    who: String,
    prefix: &'static str,
    after: Revision,
    begin: u64,
    commits: Vec<(u64, Commit)>,
}

/// Tells who asked before whom was answered: every question and answer has a number of its own.
#[derive(Debug, Clone, Default)]
struct Ticks(Arc<AtomicU64>);

impl Ticks {
    fn tick(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst)
    }
}

async fn record<S: Storage>(store: Arc<S>, seed: u64) -> History {
    let (random, ticks) = (Random::seeded(seed), Ticks::default());
    let referee = Referee::new(Arc::clone(&store));
    let followed_to = referee.position();
    let mut watching = JoinSet::new();
    for number in 0..FOLLOWERS {
        let random = random.fork("follower");
        watching.spawn(Follower::new(Arc::clone(&store), ticks.clone(), random, number).run());
    }
    let mut refereeing = JoinSet::new();
    refereeing.spawn(referee.follow());
    let mut asking = JoinSet::new();
    for number in 0..CLIENTS {
        let random = random.fork("client");
        let client = Client::new(Arc::clone(&store), ticks.clone(), random, number);
        asking.spawn(client.run(Arc::clone(&followed_to)));
    }

    let mut operations: Vec<Operation> = joined(asking).await.into_iter().flatten().collect();
    let last = Client::new(Arc::clone(&store), ticks.clone(), random.fork("last"), CLIENTS);
    let (end, attempts) = last.end().await;
    operations.extend(attempts);
    let mut followed = Vec::new();
    for (watches, lists) in joined(watching).await {
        followed.extend(watches);
        operations.extend(lists);
    }
    let referee = joined(refereeing).await.pop().expect("there is one referee");
    History { commits: referee.finish(end).await, operations, followed }
}

/// Waits for all tasks, and panics as the first one that does.
async fn joined<T: 'static>(mut tasks: JoinSet<T>) -> Vec<T> {
    let mut results = Vec::new();
    while let Some(result) = tasks.join_next().await {
        match result {
            Ok(result) => results.push(result),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
    results
}

/// Waits for a watch that has something to show.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(PATIENCE, future).await;
    waited.expect("clause 6: a watch does not show a commit that was acknowledged")
}
