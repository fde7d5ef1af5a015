//! The contract suite on the memory store, and what is particular to it.

mod broken;
mod model;

use futures::{FutureExt as _, StreamExt as _};
use quarterdeck_core::storage::{Key, List, Revision, Storage, StorageError, Transaction};
use quarterdeck_core::testing::storage::{self as suite, FaultPlan, FaultyStorage};

use super::{MemoryStorage, Retention};

quarterdeck_core::storage_suite!(memory, async || MemoryStorage::new());

#[tokio::test(start_paused = true)]
async fn histories_of_a_store_that_fails_at_times_are_linearizable() {
    for seed in 0..20 {
        let store = FaultyStorage::new(MemoryStorage::new(), FaultPlan::rough(), seed);
        suite::check_history(store.clone(), seed).await;
        assert!(store.faults() > 20, "only {} faults", store.faults());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn more_histories_of_several_threads_are_linearizable() {
    for seed in 100..130 {
        suite::check_history(MemoryStorage::new(), seed).await;
    }
}

fn put(key: impl Into<String>, value: impl Into<String>) -> Transaction {
    Transaction::new().put(key.into(), value.into())
}

#[tokio::test]
async fn fork_and_source_go_their_own_ways() {
    let source = MemoryStorage::new();
    let first = source.commit(put("/a", "1")).await.unwrap();
    let last = source.commit(put("/a", "2")).await.unwrap();
    let mut watch = source.watch("", last).await.unwrap();

    let fork = source.fork();
    fork.commit(put("/a", "fork")).await.unwrap();
    fork.commit(put("/b", "fork")).await.unwrap();
    source.commit(put("/a", "source")).await.unwrap();

    let key = Key::from("/a");
    assert_eq!(source.get(&key).await.unwrap().unwrap().value, "source");
    assert_eq!(fork.get(&key).await.unwrap().unwrap().value, "fork");
    assert_eq!(source.revision().await.unwrap(), Revision(3));
    assert_eq!(fork.revision().await.unwrap(), Revision(4));
    assert_eq!(fork.list(List::prefix("").at(first)).await.unwrap().entries[0].value, "1");
    assert_eq!(watch.next().await.unwrap().unwrap().revision, Revision(3));
    assert!(watch.next().now_or_never().is_none(), "a watch stays with its store");
}

#[tokio::test]
async fn forks_take_no_time_and_no_room_of_what_they_share() {
    let store = MemoryStorage::new();
    for index in 0..20_000 {
        store.commit(put(format!("/k/{index}"), "x")).await.unwrap();
    }

    // Copied entry by entry, these would be a hundred million entries.
    let mut forks = Vec::new();
    for index in 0..5000 {
        let fork = forks.last().unwrap_or(&store).fork();
        fork.commit(put(format!("/k/{index}"), "fork")).await.unwrap();
        forks.push(fork);
    }

    for (index, fork) in forks.iter().enumerate().step_by(1000) {
        let own = fork.get(&Key::from(format!("/k/{index}"))).await.unwrap().unwrap();
        let next = fork.get(&Key::from(format!("/k/{}", index + 1))).await.unwrap().unwrap();
        assert_eq!((own.value, next.value), ("fork".into(), "x".into()));
        assert_eq!(fork.revision().await.unwrap().0, 20_001 + index as u64);
    }
    assert_eq!(store.revision().await.unwrap(), Revision(20_000));
}

#[tokio::test]
async fn fork_forgets_by_its_own_bound_and_its_source_keeps_what_it_has() {
    let source = MemoryStorage::with_retention(Retention { commits: 10, bytes: usize::MAX });
    for index in 0..10 {
        source.commit(put("/a", index.to_string())).await.unwrap();
    }

    let fork = source.fork();
    for index in 0..10 {
        fork.commit(put("/a", index.to_string())).await.unwrap();
    }
    fork.compact(Revision(15)).await.unwrap();

    assert!(matches!(fork.list(List::prefix("").at(Revision(14))).await, Err(StorageError::Compacted(_))));
    assert!(fork.list(List::prefix("").at(Revision(15))).await.is_ok());
    assert!(source.list(List::prefix("").at(Revision(1))).await.is_ok());
}

#[tokio::test]
async fn what_is_compacted_gives_its_room_to_later_history() {
    let store = MemoryStorage::with_retention(Retention { commits: usize::MAX, bytes: 64 << 10 });
    let value = "x".repeat(1 << 10);
    for _ in 0..40 {
        store.commit(put("/a", value.clone())).await.unwrap();
    }
    store.compact(Revision(40)).await.unwrap();
    for _ in 0..40 {
        store.commit(put("/a", value.clone())).await.unwrap();
    }

    assert!(store.list(List::prefix("").at(Revision(41))).await.is_ok(), "40 commits are within the bound");
    for _ in 0..40 {
        store.commit(put("/a", value.clone())).await.unwrap();
    }
    assert!(matches!(store.list(List::prefix("").at(Revision(41))).await, Err(StorageError::Compacted(_))));
}

#[tokio::test]
async fn watch_ends_as_soon_as_it_is_behind_what_is_kept() {
    let store = MemoryStorage::with_retention(Retention { commits: 10, bytes: usize::MAX });
    let mut on_the_edge = store.watch("", Revision(0)).await.unwrap();
    for index in 0..10 {
        store.commit(put("/a", index.to_string())).await.unwrap();
    }
    let mut behind = store.watch("", Revision(0)).await.unwrap();

    assert_eq!(on_the_edge.next().await.unwrap().unwrap().revision, Revision(1));
    store.commit(put("/a", "one too many")).await.unwrap();

    assert_eq!(on_the_edge.next().await.unwrap().unwrap().revision, Revision(2));
    assert!(matches!(behind.next().await, Some(Err(StorageError::Compacted(Revision(1))))));
    assert!(behind.next().await.is_none());
}

#[tokio::test]
async fn history_is_bounded_by_its_bytes_but_keeps_the_last_commit() {
    let store = MemoryStorage::with_retention(Retention { commits: usize::MAX, bytes: 100 << 10 });
    let large = "x".repeat(50 << 10);
    for _ in 0..10 {
        store.commit(put("/a", large.clone())).await.unwrap();
    }

    assert!(store.list(List::prefix("").at(Revision(9))).await.is_ok());
    assert!(matches!(store.list(List::prefix("").at(Revision(5))).await, Err(StorageError::Compacted(_))));
    store.commit(put("/a", "x".repeat(1 << 20))).await.unwrap();
    store.commit(put("/a", "small")).await.unwrap();
    assert_eq!(store.watch("", Revision(11)).await.unwrap().next().await.unwrap().unwrap().changes.len(), 1);
}

#[tokio::test]
async fn watch_of_a_quiet_prefix_survives_compaction_of_what_it_has_seen() {
    let store = MemoryStorage::new();
    let mut quiet = store.watch("/quiet/", Revision(0)).await.unwrap();
    assert!(quiet.next().now_or_never().is_none());
    for index in 0..100 {
        store.commit(put("/busy/a", index.to_string())).await.unwrap();
    }
    store.compact(Revision(100)).await.unwrap();

    let last = store.commit(put("/quiet/a", "1")).await.unwrap();
    store.commit(put("/busy/a", "x")).await.unwrap();
    store.compact(last).await.unwrap();

    // It was awake before the last compaction: what it has to show was compacted before it looked.
    assert!(matches!(quiet.next().await, Some(Err(StorageError::Compacted(_)))));
    let mut quiet = store.watch("/quiet/", last).await.unwrap();
    assert!(quiet.next().now_or_never().is_none());
    store.commit(put("/busy/a", "y")).await.unwrap();
    store.compact(Revision(last.0 + 2)).await.unwrap();
    let next = store.commit(put("/quiet/a", "2")).await.unwrap();
    assert_eq!(quiet.next().await.unwrap().unwrap().revision, next);
}

#[tokio::test]
async fn list_of_the_past_crosses_marks() {
    let store = MemoryStorage::new();
    for index in 0..5000 {
        store.commit(put(format!("/k/{}", index % 7), index.to_string())).await.unwrap();
    }

    for at in [1, 3, 7, 2047, 2048, 2049, 4095, 4096, 4097, 4999, 5000] {
        let page = store.list(List::prefix("/k/").at(Revision(at))).await.unwrap();
        let newest = page.entries.iter().map(|entry| entry.modified.0).max();
        assert_eq!(newest, Some(at));
        assert!(page.entries.iter().all(|entry| entry.value == (entry.modified.0 - 1).to_string()));
    }
}

#[tokio::test]
async fn transaction_that_is_too_large_is_invalid() {
    let store = MemoryStorage::new();

    let result = store.commit(Transaction::new().put("/a", vec![0; 20 << 20])).await;

    assert!(matches!(result, Err(StorageError::Invalid(_))), "{result:?}");
}
