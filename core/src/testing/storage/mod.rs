//! The contract suite of [`Storage`]: one case per sentence of the contract.
//!
//! Run all of it with [`storage_suite!`](crate::storage_suite), or a single case by its name. Each case wants a store that
//! was never written, and panics with the number of the clause that is broken.

mod bounds;
mod durability;
mod faults;
mod history;
mod lists;
mod transactions;
mod watches;

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;

use crate::storage::{
    Change, Commit, Commits, Entry, Key, List, Page, Revision, Storage, StorageError, Transaction,
};

pub use bounds::*;
pub use durability::{
    clause_10_dropped_commit_happens_whole_or_not_at_all, clause_10_dropped_reads_leave_the_store_intact,
    clause_10_dropped_watches_hold_up_nobody,
};
pub use faults::{FaultPlan, FaultyStorage};
pub use history::{check_history, random_histories_are_linearizable};
pub use lists::*;
pub use transactions::*;
pub use watches::*;

/// Generates a module `$name` with one test per case of the contract of [`Storage`](crate::storage::Storage), and one of random
/// concurrent histories ([`check_history`](crate::testing::storage::check_history)).
///
/// `$make` is an async closure that returns a store that was never written, so that one line does:
/// `quarterdeck_core::storage_suite!(memory, async || MemoryStorage::new());`. The crate that uses this needs `tokio` with
/// the features `macros` and `rt`.
#[macro_export]
macro_rules! storage_suite {
    ($name:ident, $make:expr) => {
        mod $name {
            #[allow(unused_imports, reason = "what `$make` names may be a full path")]
            use super::*;
            $crate::storage_suite!(@each $make,
                clause_1_revisions_grow
                clause_1_writes_of_a_commit_share_its_revision
                clause_1_fresh_store_is_at_revision_0
                clause_2_failed_condition_changes_nothing
                clause_2_conditions_say_what_they_mean
                clause_2_conflict_names_the_condition_and_what_was_found
                clause_2_conditions_alone_write_nothing
                clause_2_key_written_twice_is_invalid
                clause_2_transaction_is_seen_whole
                clause_2_contended_counter_loses_no_update
                clause_3_reads_see_what_was_acknowledged
                clause_3_list_shows_what_get_shows
                clause_4_list_is_in_byte_order
                clause_4_list_has_the_prefix_only
                clause_4_pages_make_up_the_list
                clause_4_page_tells_how_many_follow
                clause_4_page_may_start_behind_any_key
                clause_5_list_shows_an_earlier_revision
                clause_5_pages_of_an_earlier_revision_make_up_its_list
                clause_5_compacted_list_is_refused
                clause_5_list_of_the_future_is_refused
                clause_6_watch_yields_each_commit_once_in_order
                clause_6_watch_begins_after_its_revision
                clause_6_watch_has_its_prefix_only
                clause_6_watch_tells_what_was_replaced
                clause_6_watches_have_no_gap_among_writers
                clause_6_compacted_watch_is_refused
                clause_6_watch_of_the_future_is_refused
                clause_7_idle_watch_holds_up_no_writer
                clause_7_watch_that_falls_behind_ends_or_catches_up
                clause_8_compaction_keeps_values
                clause_8_compacted_revision_itself_stays_readable
                clause_8_earlier_compaction_does_nothing
                clause_8_compaction_in_the_future_is_refused
                clause_9_deleted_key_is_absent
                clause_9_deletion_is_a_change
                clause_9_key_written_again_is_created_anew
                clause_9_deleting_what_is_absent_changes_nothing
                clause_10_dropped_commit_happens_whole_or_not_at_all
                clause_10_dropped_reads_leave_the_store_intact
                clause_10_dropped_watches_hold_up_nobody
                clause_11_transaction_within_the_bounds_is_taken
                clause_11_larger_transaction_is_taken_whole_or_is_invalid
                clause_11_forgotten_history_is_the_oldest_and_said_to_be_so
            );

            #[::tokio::test]
            async fn random_histories_are_linearizable() {
                $crate::testing::storage::random_histories_are_linearizable($make).await;
            }
        }
    };
    (@each $make:expr, $($case:ident)+) => {$(
        #[::tokio::test]
        async fn $case() {
            let make = $make;
            $crate::testing::storage::$case(make().await).await;
        }
    )+};
}

/// A store that lets nothing happen for so long is taken to hang.
const PATIENCE: Duration = Duration::from_secs(20);

async fn put(store: &impl Storage, key: &str, value: &'static str) -> Revision {
    commit(store, Transaction::new().put(key, value)).await
}

async fn delete(store: &impl Storage, key: &str) -> Revision {
    commit(store, Transaction::new().delete(key)).await
}

async fn commit(store: &impl Storage, transaction: Transaction) -> Revision {
    in_time(store.commit(transaction)).await.expect("a commit without conditions succeeds")
}

async fn get(store: &impl Storage, key: &str) -> Option<Entry> {
    in_time(store.get(&Key::from(key))).await.expect("get succeeds")
}

async fn list(store: &impl Storage, list: List) -> Page {
    in_time(store.list(list.clone())).await.unwrap_or_else(|error| panic!("{list:?} fails: {error}"))
}

async fn revision(store: &impl Storage) -> Revision {
    in_time(store.revision()).await.expect("revision succeeds")
}

async fn compact(store: &impl Storage, at: Revision) {
    in_time(store.compact(at)).await.expect("a compaction of the past succeeds");
}

async fn watch(store: &impl Storage, prefix: &str, after: Revision) -> Commits {
    in_time(store.watch(prefix, after)).await.expect("a watch of what is not compacted starts")
}

async fn next(commits: &mut Commits) -> Result<Commit, StorageError> {
    in_time(commits.next()).await.expect("a watch ends with an error only")
}

async fn next_commit(commits: &mut Commits) -> Commit {
    next(commits).await.expect("a watch that keeps up goes on")
}

/// Returns the error of a watch, whether it comes at once or as the stream's end.
async fn watch_error(store: &impl Storage, prefix: &str, after: Revision) -> Option<StorageError> {
    match in_time(store.watch(prefix, after)).await {
        Err(error) => Some(error),
        Ok(mut commits) => next(&mut commits).await.err(),
    }
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("the store answers")
}

fn keys(page: &Page) -> Vec<&str> {
    page.entries.iter().map(|entry| entry.key.as_str()).collect()
}

fn values(page: &Page) -> Vec<(&str, Bytes)> {
    page.entries.iter().map(|entry| (entry.key.as_str(), entry.value.clone())).collect()
}

fn changed_keys(commit: &Commit) -> Vec<&str> {
    commit.changes.iter().map(|change| change.key().as_str()).collect()
}

fn put_value(change: &Change) -> Option<&Bytes> {
    match change {
        Change::Put { entry, .. } => Some(&entry.value),
        Change::Delete { .. } => None,
    }
}
