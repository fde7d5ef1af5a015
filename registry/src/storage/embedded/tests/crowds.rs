//! Many commits at a time: the next batch is applied while the one before it is written.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, JoinAll, join_all};
use quarterdeck_core::storage::{Expect, List, Revision, Storage, StorageError, Transaction};
use tokio::time::timeout;

use super::super::ahead::CROWD;
use super::super::queue::Queue;
use super::super::{EmbeddedOptions, EmbeddedStorage, SyncPolicy};
use super::fake_disk::{FakeDisk, Operation};

type Answer = Result<Revision, StorageError>;
type Crowd = JoinAll<BoxFuture<'static, Answer>>;

/// A store whose disk waits before each write until it is let go on.
struct Held {
    reached: Receiver<()>,
    // Gone before the store, which else waits for ever when it closes.
    go: Sender<()>,
    disk: FakeDisk,
    store: EmbeddedStorage,
}

impl Held {
    fn new(options: EmbeddedOptions) -> Self {
        let disk = FakeDisk::default();
        disk.be_sparse();
        let store = options.open_disk(Arc::new(disk.clone())).unwrap();
        let ((reach, reached), (go, gone)) = (channel(), channel());
        disk.observe(move |_, operation| {
            if operation == Operation::Write {
                // Nobody holds it up any more once the test is over.
                let _ = reach.send(());
                let _ = gone.recv();
            }
        });
        Self { reached, go, disk, store }
    }

    /// Waits until the disk is about to write.
    fn reached(&self) {
        self.reached.recv_timeout(Duration::from_secs(30)).expect("something is written");
    }

    fn go(&self) {
        self.go.send(()).unwrap();
    }

    /// Gets transactions in line.
    fn crowd(&self, transactions: Vec<Transaction>) -> Crowd {
        let store = self.store.clone();
        let commit = |transaction| {
            let store = store.clone();
            async move { store.commit(transaction).await }.boxed()
        };
        let mut crowd = join_all(transactions.into_iter().map(commit));
        assert!((&mut crowd).now_or_never().is_none(), "all wait");
        crowd
    }

    /// Returns two crowds. The first is about to be written, and the second was applied meanwhile.
    async fn two_crowds(&self) -> (Crowd, Crowd) {
        let one = self.crowd(vec![Transaction::new().put("/one", "1")]);
        self.reached();
        let first = self.crowd(numbered("/first"));
        self.go();
        self.reached();
        let conflict = Transaction::new().expect("/first/1", Expect::Absent).put("/first/1", "2");
        let present = Transaction::new().expect("/first/0", Expect::Present).put("/first/0", "2");
        let second = self.crowd([vec![conflict, present], numbered("/second")].concat());
        // The last of them may be too late for the batch: they are in its end, then.
        let taken = async {
            while self.store.inner.shared.queue.waiting() >= CROWD {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(30), taken).await.expect("what waits is applied");
        assert_eq!(one.await[0].as_ref().unwrap(), &Revision(1));
        (first, second)
    }

    async fn keys(&self) -> usize {
        self.store.list(List::prefix("")).await.unwrap().entries.len()
    }

    /// Closes the store, and returns what is found on the disk then.
    async fn again(&self) -> EmbeddedStorage {
        self.go();
        self.store.close().await;
        EmbeddedOptions::default().open_disk(Arc::new(self.disk.copy())).unwrap()
    }
}

/// Makes a crowd's transactions.
fn numbered(prefix: &str) -> Vec<Transaction> {
    (0..CROWD).map(|index| Transaction::new().put(format!("{prefix}/{index}"), "1")).collect()
}

#[tokio::test]
async fn batch_applied_ahead_stands_on_the_one_before_it_and_is_answered_behind_it() {
    let held = Held::new(EmbeddedOptions::default());
    let crowd = CROWD as u64;
    let revisions = |answers: &[Answer]| -> Vec<u64> {
        answers.iter().filter_map(|answer| answer.as_ref().ok()).map(|revision| revision.0).collect()
    };
    let (first, mut second) = held.two_crowds().await;

    held.go();
    assert_eq!(revisions(&first.await), Vec::from_iter(2..2 + crowd));
    held.reached();
    assert!((&mut second).now_or_never().is_none(), "nothing of it is on the disk, not even its conflict");
    assert_eq!(held.keys().await, 1 + CROWD, "and nobody sees it");
    held.go();
    let second = second.await;

    assert_eq!(revisions(&second), Vec::from_iter(2 + crowd..3 + 2 * crowd));
    assert!(matches!(second[0], Err(StorageError::Conflict { .. })), "{:?}", second[0]);
    assert_eq!(held.keys().await, 1 + 2 * CROWD);
    let again = held.again().await;
    assert_eq!(again.revision().await.unwrap(), Revision(2 + 2 * crowd));
    assert_eq!(again.list(List::prefix("")).await.unwrap().entries.len(), 1 + 2 * CROWD);
}

#[tokio::test]
async fn what_stands_on_commits_that_found_no_room_is_refused_with_them() {
    let held = Held::new(EmbeddedOptions::default());
    let (first, second) = held.two_crowds().await;

    held.disk.leave_room(Some(0));
    // The last ones of the second crowd may be in a batch of their own.
    held.go();
    held.go();
    let (first, second) = (first.await, second.await);

    let is_full = |answer: &Answer| matches!(answer, Err(StorageError::Full(_)));
    assert!(first.iter().all(is_full), "{first:?}");
    assert!(second.iter().all(is_full), "no conflict with what never was: {second:?}");
    assert_eq!(held.keys().await, 1);
    held.disk.leave_room(None);
    held.go();
    let behind = Transaction::new().expect("/first/0", Expect::Absent).put("/first/0", "3");
    assert_eq!(held.store.commit(behind).await.unwrap(), Revision(2));
    assert_eq!(held.again().await.list(List::prefix("")).await.unwrap().entries.len(), 2);
}

#[tokio::test]
async fn what_stands_on_a_failed_sync_is_refused_with_it() {
    let held = Held::new(EmbeddedOptions::default());
    let (first, second) = held.two_crowds().await;

    held.disk.fail_syncs();
    held.go();
    let (first, second) = (first.await, second.await);

    let is_refused = |answer: &Answer| matches!(answer, Err(StorageError::Unavailable(_)));
    assert!(first.iter().all(is_refused), "{first:?}");
    assert!(second.iter().all(is_refused), "{second:?}");
    assert_eq!(held.keys().await, 1, "nobody sees what may not be there");
    assert!(held.store.check().is_err());
}

#[tokio::test]
async fn crowd_that_is_dismissed_is_left_to_the_writer() {
    let queue = Queue::new();
    let mut crowd = join_all(numbered("/k").into_iter().map(|transaction| queue.commit(transaction)));
    assert!((&mut crowd).now_or_never().is_none());

    queue.dismiss_crowd();
    assert!(queue.take_crowd(CROWD).is_none());
    queue.expect_crowd();

    assert_eq!(queue.take_crowd(CROWD).unwrap().waiting.len(), CROWD);
}

#[tokio::test]
async fn crowds_without_end_are_synced_when_it_is_time() {
    let held = Held::new(EmbeddedOptions::default().sync(SyncPolicy::Interval(Duration::ZERO)));
    let (_, _second) = held.two_crowds().await;
    let syncs = held.disk.syncs();

    held.go();
    held.reached();

    assert_eq!(held.disk.syncs(), syncs + 1, "the first crowd, before the second is written");
}

#[tokio::test]
async fn panic_of_the_writer_ends_the_thread_beside_it_and_all_waits() {
    let disk = FakeDisk::default();
    let store = EmbeddedOptions::default().open_disk(Arc::new(disk.clone())).unwrap();
    let mut writes = 0;
    disk.observe(move |_, operation| {
        writes += usize::from(operation == Operation::Write);
        assert!(writes < 2, "this panic is part of the test");
    });
    store.commit(Transaction::new().put("/one", "1")).await.unwrap();

    let commits = numbered("/k").into_iter().map(|transaction| store.commit(transaction));
    let answers = join_all(commits).await;

    assert!(answers.iter().all(|answer| matches!(answer, Err(StorageError::Unavailable(_)))), "{answers:?}");
    let large = Transaction::new().put("/large", vec![b'x'; 15 << 20]);
    assert!(
        matches!(store.commit(large).await, Err(StorageError::Unavailable(_))),
        "and nobody waits for room"
    );
    store.close().await;
}
