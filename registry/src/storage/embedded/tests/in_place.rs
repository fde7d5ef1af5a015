//! Commits that are written by the thread that asks for them.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};
use std::time::Duration;

use futures::executor::block_on;
use futures::future::join_all;
use futures::{FutureExt as _, join};
use quarterdeck_core::storage::{List, Revision, Storage, StorageError, Transaction};
use quarterdeck_core::testing::storage::{self as suite, FaultPlan, FaultyStorage};
use tokio::time::timeout;

use super::super::{EmbeddedOptions, EmbeddedStorage, SyncPolicy};
use super::fake_disk::{FakeDisk, Operation};

quarterdeck_core::storage_suite!(in_place, async || {
    let store = open(&FakeDisk::default(), options());
    until_lent(&store).await;
    store
});

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

async fn until(mut is_so: impl FnMut() -> bool) {
    soon(async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Waits until the writer is there for the next who comes.
async fn until_lent(store: &EmbeddedStorage) {
    until(|| store.inner.shared.queue.is_lent()).await;
}

/// Returns whether the thread is none of a store's.
fn is_a_callers() -> bool {
    thread::current().name().is_none_or(|name| !name.starts_with("storage-"))
}

/// Counts from now on what is written in place.
fn counted(disk: &FakeDisk) -> Arc<AtomicUsize> {
    let count = Arc::<AtomicUsize>::default();
    let counter = Arc::clone(&count);
    disk.observe(move |_, operation| {
        if operation == Operation::Write && is_a_callers() {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    });
    count
}

/// Notes from now on which threads write frames. Those for which `waits` holds wait before that, and say so, until the gate is
/// dropped.
fn writers(
    disk: &FakeDisk,
    waits: impl Fn() -> bool + Send + 'static,
) -> (Arc<Mutex<Vec<ThreadId>>>, Receiver<()>, Sender<()>) {
    let writers = Arc::<Mutex<Vec<ThreadId>>>::default();
    let ((gate, opened), (reach, reached)) = (channel(), channel());
    let noted = Arc::clone(&writers);
    disk.observe(move |_, operation| {
        if operation != Operation::Write {
            return;
        }
        noted.lock().unwrap().push(thread::current().id());
        if waits() {
            let _ = reach.send(());
            let _ = opened.recv();
        }
    });
    (writers, reached, gate)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn histories_of_several_threads_are_linearizable_whether_calls_fail_or_not() {
    let mut in_place = 0;
    for seed in 200..210 {
        let disk = FakeDisk::default();
        let count = counted(&disk);
        suite::check_history(open(&disk, options()), seed).await;
        let store = FaultyStorage::new(open(&FakeDisk::default(), options()), FaultPlan::rough(), seed);
        suite::check_history(store.clone(), seed).await;
        assert!(store.faults() > 20, "only {} faults", store.faults());
        in_place += count.load(Ordering::Relaxed);
    }
    assert!(in_place > 0, "nobody was alone");
}

#[tokio::test]
async fn commit_that_is_alone_is_written_by_its_thread_and_a_crowd_by_the_stores() {
    let disk = FakeDisk::default();
    let store = open(&disk, EmbeddedOptions::default().in_place(true));
    until_lent(&store).await;
    let (writers, _, gate) = writers(&disk, || !is_a_callers());

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
async fn who_comes_while_a_caller_writes_is_written_behind_it_by_the_stores_thread() {
    let disk = FakeDisk::default();
    let store = open(&disk, EmbeddedOptions::default().in_place(true));
    until_lent(&store).await;
    let (writers, reached, gate) = writers(&disk, is_a_callers);

    let writing = thread::spawn({
        let store = store.clone();
        move || block_on(store.commit(put(1)))
    });
    reached.recv_timeout(Duration::from_secs(30)).unwrap();
    let mut next = pin!(store.commit(put(2)));
    assert!((&mut next).now_or_never().is_none());
    let mut closing = pin!(store.close());
    assert!((&mut closing).now_or_never().is_none(), "somebody writes");
    drop(gate);

    assert_eq!(writing.join().unwrap().unwrap(), Revision(1));
    assert_eq!(soon(next).await.unwrap(), Revision(2));
    soon(closing).await;
    let writers = writers.lock().unwrap();
    assert_ne!(writers[1], writers[0]);
}

#[tokio::test]
async fn another_executor_inside_the_runtimes_thread_gets_its_answer() {
    let disk = FakeDisk::default();
    let store = open(&disk, options());
    until_lent(&store).await;
    let in_place = counted(&disk);

    assert_eq!(block_on(store.commit(put(1))).unwrap(), Revision(1));

    assert_eq!(in_place.load(Ordering::Relaxed), 1);
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
async fn large_commits_wait_for_no_other_to_be_polled() {
    let store = open(&FakeDisk::default(), options());
    let large = |key: &str| Transaction::new().put(key, vec![b'x'; (16 << 20) - 100]);
    until_lent(&store).await;
    let mut held = pin!(store.commit(large("/a")));
    assert!((&mut held).now_or_never().is_none());

    let (next, last) = soon(async { join!(store.commit(large("/b")), store.commit(put(1))) }).await;

    assert!(next.is_ok() && last.is_ok(), "{next:?} {last:?}");
    soon(held).await.unwrap();
}

#[tokio::test]
async fn full_disk_refuses_and_a_broken_one_ends_it() {
    let disk = FakeDisk::default();
    disk.be_sparse();
    let store = open(&disk, options());
    let in_place = counted(&disk);
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
    assert_eq!(in_place.load(Ordering::Relaxed), 3);
    assert!(store.check().is_err());
    assert!(store.get(&"/k/2".into()).await.unwrap().is_none(), "nobody sees what may not be there");
    soon(store.close()).await;
}

#[tokio::test]
async fn panic_ends_the_store_and_nobody_waits() {
    let disk = FakeDisk::default();
    let store = open(&disk, options());
    until_lent(&store).await;
    soon(store.commit(put(1))).await.unwrap();
    until_lent(&store).await;
    let ((reach, reached), (gate, opened)) = (channel(), channel());
    disk.observe(move |_, operation| {
        if operation == Operation::Write {
            let _ = reach.send(());
            let _ = opened.recv();
            panic!("this panic is part of the test");
        }
    });

    let panics = thread::spawn({
        let store = store.clone();
        move || block_on(store.commit(put(2)))
    });
    reached.recv_timeout(Duration::from_secs(30)).unwrap();
    let mut waits = pin!(store.commit(put(3)));
    assert!((&mut waits).now_or_never().is_none());
    drop::<Sender<()>>(gate);

    assert!(panics.join().is_err());
    for refused in [soon(waits).await, soon(store.commit(put(4))).await] {
        assert!(matches!(refused, Err(StorageError::Unavailable(_))), "{refused:?}");
    }
    soon(store.close()).await;
    assert_eq!(open(&disk.copy(), options()).revision().await.unwrap(), Revision(1));
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
    let (syncs, in_place) = (disk.syncs(), counted(&disk));

    soon(store.commit(put(1))).await.unwrap();

    assert_eq!(in_place.load(Ordering::Relaxed), 1);
    until(|| disk.syncs() > syncs).await;
}

#[tokio::test]
async fn writer_with_something_else_to_do_is_not_offered() {
    let disk = FakeDisk::default();
    let store = open(&disk, options());
    until_lent(&store).await;
    let (writers, ..) = writers(&disk, || false);

    // Half a segment, which is 2 KiB, after which a spare one is due.
    let value = vec![b'x'; 500];
    for index in 0..10 {
        soon(store.commit(Transaction::new().put(format!("/k/{index}"), value.clone()))).await.unwrap();
        let writers = writers.lock().unwrap();
        if writers.iter().any(|id| *id != thread::current().id()) {
            return;
        }
    }
    panic!("it was always the caller who wrote, and nobody made a spare segment");
}

#[tokio::test]
async fn disk_is_tidied_while_commits_are_written_in_place() {
    let disk = FakeDisk::default();
    let store = open(&disk, options());
    let in_place = counted(&disk);

    for index in 0..1000 {
        let revision = soon(store.commit(put(index % 10))).await.unwrap();
        if index % 50 == 49 {
            soon(store.compact(revision)).await.unwrap();
        }
    }

    // What is under way ends with the commits behind it.
    until(|| {
        store.commit(put(0)).now_or_never();
        disk.files().values().map(Vec::len).sum::<usize>() < 32 << 10
    })
    .await;
    assert!(in_place.load(Ordering::Relaxed) > 0);
    assert_eq!(store.list(List::prefix("")).await.unwrap().entries.len(), 10);
}
