//! [`EtcdStorage`] against real etcd servers.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod api;
mod cluster;
mod connections;
mod crash;
#[path = "../support/engine/mod.rs"]
mod engine;
mod server;
mod sizes;
#[path = "../support/mod.rs"]
mod support;
mod v2;
mod watches;

use std::time::Duration;

use quarterdeck_core::testing::storage as suite;
use quarterdeck_registry::storage::{EtcdOptions, EtcdStorage};

use engine::{Kept, hold_to_the_contract};
use server::Etcd;

quarterdeck_core::storage_suite!(bare, alone);
hold_to_the_contract!(etcd, alone);

/// Returns a store that was never written, with a server of its own.
async fn alone() -> Kept<EtcdStorage> {
    let etcd = Etcd::single();
    Kept::new(connect(&etcd, EtcdOptions::new(etcd.endpoints())).await, etcd)
}

#[tokio::test]
async fn a_prefix_changes_nothing_of_the_contract() {
    let etcd = Etcd::single();
    let store = async |prefix: &str| connect(&etcd, EtcdOptions::new(etcd.endpoints()).prefix(prefix)).await;

    suite::clause_2_conflict_names_the_condition_and_what_was_found(store("/one").await).await;
    suite::clause_4_list_has_the_prefix_only(store("/two").await).await;
    suite::clause_4_page_may_start_behind_any_key(store("/three").await).await;
    suite::clause_5_pages_of_an_earlier_revision_make_up_its_list(store("/four").await).await;
    suite::clause_6_watch_has_its_prefix_only(store("/five").await).await;
    suite::clause_6_watch_tells_what_was_replaced(store("/six").await).await;
    suite::clause_9_deletion_is_a_change(store("/seven").await).await;
}

/// Connects as soon as the cluster has a leader.
async fn connect(etcd: &Etcd, options: EtcdOptions) -> EtcdStorage {
    let connect = async || EtcdStorage::connect(options.clone()).await.ok();
    etcd.until("a connection", connect).await
}

/// Waits for what has to happen soon.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("it happens soon")
}
