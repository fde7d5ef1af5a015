//! Commits that are written by the thread that asks for them.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::join_all;
use quarterdeck_core::storage::{List, Revision, Storage, StorageError, Transaction};
use quarterdeck_core::testing::storage::{self as suite, FaultPlan, FaultyStorage};
use tokio::time::timeout;

use super::super::{EmbeddedOptions, EmbeddedStorage, SyncPolicy};
use super::fake_disk::{FakeDisk, Operation};

quarterdeck_core::storage_suite!(in_place, async || open(&FakeDisk::default(), options()));

fn options() -> EmbeddedOptions {
    EmbeddedOptions::default().segment_bytes(0).in_place(true)
}

fn open(disk: &FakeDisk, options: EmbeddedOptions) -> EmbeddedStorage {
    options.open_disk(Arc::new(disk.clone())).unwrap()
}

fn put(index: usize) -> Transaction {
    Transaction::new().put(format!("/k/{index}"), "value")
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(30), future).await.expect("it happens soon")
}

/// Waits until the writer is there for the next who comes.
async fn until_lent(store: &EmbeddedStorage) {
    soon(async {
        while !store.inner.shared.queue.is_lent() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Notes from now on which threads write frames. The store's waits until `gate` is dropped before it does.
fn writers(disk: &FakeDisk) -> (Arc<Mutex<Vec<ThreadId>>>, Sender<()>) {
    let writers = Arc::<Mutex<Vec<ThreadId>>>::default();
    let (gate, opened) = channel();
    let (noted, me) = (Arc::clone(&writers), thread::current().id());
    disk.observe(move |_, operation| {
        if operation == Operation::Write {
            let id = thread::current().id();
            noted.lock().unwrap().push(id);
            let _ = (id != me).then(|| opened.recv());
        }
    });
    (writers, gate)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn histories_of_several_threads_are_linearizable_whether_calls_fail_or_not() {
    for seed in 200..210 {
        suite::check_history(open(&FakeDisk::default(), options()), seed).await;
        let store = FaultyStorage::new(open(&FakeDisk::default(), options()), FaultPlan::rough(), seed);
        suite::check_history(store.clone(), seed).await;
        assert!(store.faults() > 20, "only {} faults", store.faults());
    }
}

#[tokio::test]
async fn commit_that_is_alone_is_written_by_its_thread_and_a_crowd_by_the_stores() {
    let disk = FakeDisk::default();
    let store = open(&disk, EmbeddedOptions::default().in_place(true));
    until_lent(&store).await;
    let (writers, gate) = writers(&disk);

    for index in 0..20 {
        soon(store.commit(put(index))).await.unwrap();
    }
    let alone = writers.lock().unwrap().clone();
    let mut crowd = join_all((0..100).map(|index| store.commit(put(index))));
    assert!((&mut crowd).now_or_never().is_none());
    drop(gate);
    let crowd = soon(crowd).await;

    let me = thread::current().id();
    assert_eq!(alone, [me; 20]);
    assert!(crowd.iter().all(Result::is_ok), "{crowd:?}");
    assert_eq!(store.revision().await.unwrap(), Revision(120));
    let writers = writers.lock().unwrap().split_off(20);
    assert!(writers.len() <= 2, "who comes while one is written waits for the next: {writers:?}");
    assert!(!writers.contains(&me));
}

#[tokio::test]
async fn commit_that_is_dropped_or_not_polled_any_more_keeps_nobody_waiting() {
    let store = open(&FakeDisk::default(), options());
    until_lent(&store).await;

    assert!(store.commit(put(1)).now_or_never().is_none(), "others get in line first");
    soon(async {
        while store.revision().await.unwrap() != Revision(1) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    until_lent(&store).await;
    let mut held = pin!(store.commit(put(2)));
    assert!((&mut held).now_or_never().is_none());
    let next = soon(store.commit(put(3))).await.unwrap();

    assert_eq!(next, Revision(3));
    assert_eq!(soon(held).await.unwrap(), Revision(2));
}

#[tokio::test]
async fn full_disk_refuses_and_a_broken_one_ends_it() {
    let disk = FakeDisk::default();
    disk.be_sparse();
    let store = open(&disk, options());
    until_lent(&store).await;

    disk.leave_room(Some(0));
    let full = soon(store.commit(put(1))).await;
    assert!(matches!(full, Err(StorageError::Full(_))), "{full:?}");
    disk.leave_room(None);
    until_lent(&store).await;
    assert_eq!(soon(store.commit(put(1))).await.unwrap(), Revision(1));
    until_lent(&store).await;
    disk.fail_syncs();
    let failed = soon(store.commit(put(2))).await;

    assert!(matches!(failed, Err(StorageError::Unavailable(_))), "{failed:?}");
    assert!(store.check().is_err());
    assert!(store.get(&"/k/2".into()).await.unwrap().is_none(), "nobody sees what may not be there");
    soon(store.close()).await;
}

#[tokio::test]
async fn panic_ends_the_store_and_nobody_waits() {
    let disk = FakeDisk::default();
    let store = open(&disk, options());
    until_lent(&store).await;
    disk.observe(|_, operation| assert!(operation != Operation::Write, "this panic is part of the test"));

    let commit = tokio::spawn({
        let store = store.clone();
        async move { store.commit(put(1)).await }
    });
    assert!(commit.await.unwrap_err().is_panic());

    let refused = soon(store.commit(put(2))).await;
    assert!(matches!(refused, Err(StorageError::Unavailable(_))), "{refused:?}");
    soon(store.close()).await;
}

#[tokio::test]
async fn closing_writes_what_waits_to_be_polled() {
    let disk = FakeDisk::default();
    let store = open(&disk, options());
    until_lent(&store).await;
    let mut held = pin!(store.commit(put(1)));
    assert!((&mut held).now_or_never().is_none());

    soon(store.close()).await;

    assert_eq!(soon(held).await.unwrap(), Revision(1));
    let again = open(&disk.copy(), options());
    assert_eq!(again.revision().await.unwrap(), Revision(1));
}

#[tokio::test]
async fn interval_is_kept_by_the_stores_thread() {
    let disk = FakeDisk::default();
    let store = open(&disk, options().sync(SyncPolicy::Interval(Duration::from_millis(1))));
    until_lent(&store).await;
    let syncs = disk.syncs();

    soon(store.commit(put(1))).await.unwrap();

    soon(async {
        while disk.syncs() == syncs {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn disk_is_tidied_while_commits_are_written_in_place() {
    let disk = FakeDisk::default();
    let store = open(&disk, options());
    let in_place = Arc::new(AtomicUsize::new(0));
    let (counted, me) = (Arc::clone(&in_place), thread::current().id());
    disk.observe(move |_, operation| {
        if operation == Operation::Write && thread::current().id() == me {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });

    let mut most = 0;
    for index in 0..2000 {
        let revision = soon(store.commit(put(index % 10))).await.unwrap();
        if index % 50 == 49 {
            store.compact(revision).await.unwrap();
            most = most.max(disk.files().values().map(Vec::len).sum());
        }
    }

    assert!(most < 64 << 10, "{most} bytes are on the disk for ten keys");
    assert!(in_place.load(Ordering::Relaxed) > 20, "{in_place:?} of 2,000 were written in place");
    assert_eq!(store.list(List::prefix("")).await.unwrap().entries.len(), 10);
}
