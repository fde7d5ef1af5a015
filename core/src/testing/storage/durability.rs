//! Clause 10: what a dropped future leaves behind.

use std::pin::pin;
use std::task::Poll;

use futures::poll;

use super::{commit, get, in_time, keys, list, next_commit, watch};
use crate::storage::{Expect, Key, List, Revision, Storage, Transaction};

/// A future is polled up to so many times before it is dropped.
const POLLS: usize = 6;

/// Clause 10: a commit whose future is dropped happens whole, or not at all, and the store goes on.
pub async fn clause_10_dropped_commit_happens_whole_or_not_at_all(store: impl Storage) {
    let mut commits = watch(&store, "/w/", Revision(0)).await;
    for polls in 0..POLLS {
        let written = [format!("/w/{polls}/a"), format!("/w/{polls}/b"), format!("/w/{polls}/c")];
        let mut transaction = Transaction::new().expect(written[0].as_str(), Expect::Absent);
        for key in &written {
            transaction = transaction.put(key.as_str(), "x");
        }

        poll_and_drop(store.commit(transaction), polls).await;

        let fence = commit(&store, Transaction::new().put("/w/fence", polls.to_string())).await;
        let page = list(&store, List::prefix(format!("/w/{polls}/"))).await;
        assert!(
            page.entries.is_empty() || keys(&page) == written,
            "clause 10: a commit dropped after {polls} polls left {:?}",
            keys(&page)
        );
        loop {
            let seen = next_commit(&mut commits).await;
            if seen.revision == fence {
                break;
            }
            assert_eq!(seen.changes.len(), 3, "clause 10: a watch shows half of a dropped commit");
        }
    }
}

/// Clause 10: reads, watches and compactions whose futures are dropped leave the store as it is.
pub async fn clause_10_dropped_reads_leave_the_store_intact(store: impl Storage) {
    let at = commit(&store, Transaction::new().put("/w/a", "1")).await;
    let key = Key::from("/w/a");

    for polls in 0..POLLS {
        poll_and_drop(store.get(&key), polls).await;
        poll_and_drop(store.list(List::prefix("")), polls).await;
        poll_and_drop(store.watch("/w/", at), polls).await;
        poll_and_drop(store.revision(), polls).await;
        poll_and_drop(store.compact(Revision(0)), polls).await;
    }

    let mut commits = watch(&store, "/w/", at).await;
    let next = commit(&store, Transaction::new().put("/w/a", "2")).await;
    assert_eq!(next_commit(&mut commits).await.revision, next, "clause 10: watches go on");
    assert_eq!(get(&store, "/w/a").await.expect("the key exists").value, "2", "clause 10: reads go on");
}

/// Clause 10: watches whose streams are dropped, read or not, hold up no writer and no other watch.
pub async fn clause_10_dropped_watches_hold_up_nobody(store: impl Storage) {
    const WRITES: usize = 300;
    let mut kept = watch(&store, "/w/", Revision(0)).await;
    let mut read = watch(&store, "/w/", Revision(0)).await;
    let unread = watch(&store, "/w/", Revision(0)).await;
    let first = commit(&store, Transaction::new().put("/w/a", "first")).await;
    assert_eq!(next_commit(&mut read).await.revision, first, "clause 6: a watch yields the first commit");
    assert_eq!(next_commit(&mut kept).await.revision, first, "clause 6: a watch yields the first commit");

    drop((read, unread));

    for index in 0..WRITES {
        let at = commit(&store, Transaction::new().put("/w/a", index.to_string())).await;
        assert_eq!(next_commit(&mut kept).await.revision, at, "clause 10: a watch that is kept goes on");
    }
}

/// Polls a future so many times and returns what came of it; drops it if nothing did.
pub(super) async fn poll_and_drop<T>(future: impl Future<Output = T>, polls: usize) -> Option<T> {
    let mut future = pin!(future);
    for _ in 0..polls {
        if let Poll::Ready(output) = poll!(future.as_mut()) {
            return Some(output);
        }
        in_time(tokio::task::yield_now()).await;
    }
    None
}
