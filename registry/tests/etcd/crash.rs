//! `kill -9` of an etcd that is written: what clients were told is durable must be there afterwards.
//!
//! `QUARTERDECK_CRASH_POINTS` says how often it is killed (20 times if it is not set; `make crash-etcd` does it 1,000 times).

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt as _;
use quarterdeck_core::random::Random;
use quarterdeck_core::storage::{Commits, Revision, Storage as _, StorageError, Transaction};
use quarterdeck_registry::storage::{EtcdOptions, EtcdStorage};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::engine::{Counts, WRITERS, check_commit, count_up};
use crate::server::Etcd;
use crate::{connect, soon};

const POINTS: &str = "QUARTERDECK_CRASH_POINTS";
/// As long as an etcd takes to start, at most.
const LONGEST_START: usize = 300;
/// What is written when it is over.
const LAST: &str = "/last";

/// Starts the writers; each tells of what was acknowledged until the store fails.
fn write(storage: &EtcdStorage, writing: &mut JoinSet<()>) -> mpsc::Receiver<(usize, usize)> {
    let (sender, acknowledged) = mpsc::channel(1 << 16);
    for writer in 0..WRITERS {
        let (storage, sender) = (storage.clone(), sender.clone());
        writing.spawn(async move {
            let tell = |count| sender.try_send((writer, count)).expect("there is room for all of them");
            let error = count_up(&storage, writer, tell).await;
            assert!(matches!(error, StorageError::Unavailable(_)), "{error:?}");
        });
    }
    acknowledged
}

/// Follows all commits up to the last. Returns how many there were.
async fn follow(mut commits: Commits) -> usize {
    let (mut counts, mut seen) = (BTreeMap::new(), 0);
    loop {
        let commit =
            commits.next().await.expect("a watch ends with an error").expect("nothing was compacted");
        if commit.changes[0].key().as_str() == LAST {
            return seen;
        }
        check_commit(&commit, &mut counts);
        seen += 1;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_etcd_loses_no_acknowledged_write_and_watches_have_no_gap() {
    let points = std::env::var(POINTS).map_or(20, |points| points.parse().unwrap());
    let random = Random::seeded(7);
    let mut etcd = Etcd::single();
    let storage = connect(&etcd, EtcdOptions::new(etcd.endpoints())).await;
    let following = tokio::spawn(follow(storage.watch("", Revision(0)).await.unwrap()));
    let (mut counts, mut writing) = (Counts::new(), JoinSet::new());

    for _ in 0..points {
        counts.kill();
        let acknowledgements = if random.below(8) == 0 { 0 } else { 1 + random.below(120) };
        if acknowledgements == 0 {
            // It is killed while it starts.
            etcd.kill(0);
            etcd.start(0);
            tokio::time::sleep(Duration::from_millis(random.below(LONGEST_START) as u64)).await;
            etcd.kill(0);
        } else {
            let mut acknowledged = write(&storage, &mut writing);
            let mut seen = 0;
            while let Some((writer, count)) = soon(acknowledged.recv()).await {
                counts.told(writer, count);
                seen += 1;
                if seen == acknowledgements {
                    etcd.kill(0);
                }
            }
            assert!(seen >= acknowledgements, "writers ended after {seen} acknowledgements");
            while let Some(writer) = writing.join_next().await {
                writer.unwrap();
            }
        }
        etcd.start(0);
        etcd.until("a start", async || storage.revision().await.ok()).await;
        counts.check(&storage).await;
    }

    storage.commit(Transaction::new().put(LAST, "")).await.unwrap();
    let seen = soon(following).await.expect("the watch has no gap");
    counts.print();
    println!("a watch showed {seen} commits, each once, over all kills");
}
