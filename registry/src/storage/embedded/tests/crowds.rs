//! Many commits at a time: the next batch is applied while the one before it is written.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use futures::FutureExt as _;
use futures::future::{BoxFuture, JoinAll, join_all};
use quarterdeck_core::storage::{Expect, List, Revision, Storage, StorageError, Transaction};

use super::super::ahead::CROWD;
use super::super::{EmbeddedOptions, EmbeddedStorage};
use super::fake_disk::{FakeDisk, Operation};

type Answer = Result<Revision, StorageError>;
type Answers = Vec<Answer>;

/// A store whose disk waits before each write until it is let go on.
struct Held {
    reached: Receiver<()>,
    // Gone before the store, which else waits for ever when it closes.
    go: Sender<()>,
    disk: FakeDisk,
    store: EmbeddedStorage,
}

impl Held {
    fn new() -> Self {
        let disk = FakeDisk::default();
        disk.be_sparse();
        let store = EmbeddedOptions::default().open_disk(Arc::new(disk.clone())).unwrap();
        let ((reach, reached), (go, gone)) = (channel(), channel());
        disk.observe(move |_, operation| {
            if operation == Operation::Write {
                // Nobody holds it up any more once the test is over.
                let _ = reach.send(());
                let _ = gone.recv();
            }
        });
        Self { disk, store, reached, go }
    }

    /// Gets transactions in line.
    fn crowd(&self, transactions: Vec<Transaction>) -> JoinAll<BoxFuture<'static, Answer>> {
        let store = self.store.clone();
        let commit = |transaction| {
            let store = store.clone();
            async move { store.commit(transaction).await }.boxed()
        };
        let mut crowd = join_all(transactions.into_iter().map(commit));
        assert!((&mut crowd).now_or_never().is_none(), "all wait");
        crowd
    }

    /// Returns the answers of two crowds: the second was applied while the first was about to be written, and what happened to
    /// the disk then.
    async fn two_crowds(&self, happens: impl FnOnce(&FakeDisk)) -> (Answers, Answers) {
        let one = self.crowd(vec![Transaction::new().put("/one", "1")]);
        self.reached.recv().unwrap();
        let first = self.crowd(numbered("/first"));
        self.go.send(()).unwrap();
        self.reached.recv().unwrap();
        let present = Transaction::new().expect("/first/0", Expect::Present).put("/first/0", "2");
        let conflict = Transaction::new().expect("/first/1", Expect::Absent).put("/first/1", "2");
        let second = self.crowd([vec![conflict, present], numbered("/second")].concat());
        while self.store.inner.shared.queue.waiting() >= CROWD {
            thread::yield_now();
        }
        happens(&self.disk);
        // The last of the second crowd may have been too late for its batch.
        for _ in 0..3 {
            self.go.send(()).unwrap();
        }
        assert_eq!(one.await[0].as_ref().unwrap(), &Revision(1));
        (first.await, second.await)
    }

    async fn keys(&self) -> usize {
        self.store.list(List::prefix("")).await.unwrap().entries.len()
    }
}

/// Makes a crowd's transactions.
fn numbered(prefix: &str) -> Vec<Transaction> {
    (0..CROWD).map(|index| Transaction::new().put(format!("{prefix}/{index}"), "1")).collect()
}

#[tokio::test]
async fn batch_applied_ahead_stands_on_the_one_before_it() {
    let held = Held::new();

    let (first, second) = held.two_crowds(|_| ()).await;

    let crowd = CROWD as u64;
    let revisions = |answers: &[Answer]| -> Vec<u64> {
        answers.iter().filter_map(|answer| answer.as_ref().ok()).map(|revision| revision.0).collect()
    };
    assert_eq!(revisions(&first), Vec::from_iter(2..2 + crowd));
    assert_eq!(revisions(&second), Vec::from_iter(2 + crowd..3 + 2 * crowd));
    assert!(matches!(second[0], Err(StorageError::Conflict { .. })), "{:?}", second[0]);
    assert_eq!(held.keys().await, 1 + 2 * CROWD);
    held.go.send(()).unwrap();
    held.store.close().await;
    let again = EmbeddedOptions::default().open_disk(Arc::new(held.disk.copy())).unwrap();
    assert_eq!(again.revision().await.unwrap(), Revision(2 + 2 * crowd));
    assert_eq!(again.list(List::prefix("")).await.unwrap().entries.len(), 1 + 2 * CROWD);
}

#[tokio::test]
async fn what_stands_on_commits_that_found_no_room_is_refused_with_them() {
    let held = Held::new();

    let (first, second) = held.two_crowds(|disk| disk.leave_room(Some(0))).await;

    let is_full = |answer: &Answer| matches!(answer, Err(StorageError::Full(_)));
    assert!(first.iter().all(is_full), "{first:?}");
    assert!(second.iter().all(is_full), "no conflict with what never was: {second:?}");
    assert_eq!(held.keys().await, 1);
    held.disk.leave_room(None);
    let behind =
        held.store.commit(Transaction::new().expect("/first/0", Expect::Absent).put("/first/0", "3"));
    assert_eq!(behind.await.unwrap(), Revision(2));
    held.go.send(()).unwrap();
    held.store.close().await;
    let again = EmbeddedOptions::default().open_disk(Arc::new(held.disk.copy())).unwrap();
    assert_eq!(again.list(List::prefix("")).await.unwrap().entries.len(), 2);
}

#[tokio::test]
async fn what_stands_on_a_failed_sync_is_refused_with_it() {
    let held = Held::new();

    let (first, second) = held.two_crowds(FakeDisk::fail_syncs).await;

    let is_refused = |answer: &Answer| matches!(answer, Err(StorageError::Unavailable(_)));
    assert!(first.iter().all(is_refused), "{first:?}");
    assert!(second.iter().all(is_refused), "{second:?}");
    assert_eq!(held.keys().await, 1, "nobody sees what may not be there");
    assert!(held.store.check().is_err());
}
