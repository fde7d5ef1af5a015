//! [`EtcdStorage`] against real etcd servers.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod api;
mod cluster;
mod connections;
mod server;
mod sizes;
#[path = "../support/mod.rs"]
mod support;
mod v2;
mod watches;

use std::time::Duration;

use async_trait::async_trait;
use quarterdeck_core::storage::{
    Commits, Entry, Key, List, Page, Revision, Storage, StorageError, Transaction,
};
use quarterdeck_core::testing::storage as suite;
use quarterdeck_registry::storage::{EtcdOptions, EtcdStorage};

use server::Etcd;

quarterdeck_core::storage_suite!(etcd, Alone::new);
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

/// A store, with the server that it needs.
#[derive(Debug)]
struct Alone {
    storage: EtcdStorage,
    _etcd: Etcd,
}

impl Alone {
    /// Starts an etcd that was never written.
    async fn new() -> Self {
        let etcd = Etcd::single();
        let storage = connect(&etcd, EtcdOptions::new(etcd.endpoints())).await;
        Self { storage, _etcd: etcd }
    }
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

#[async_trait]
impl Storage for Alone {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, StorageError> {
        self.storage.get(key).await
    }

    async fn list(&self, list: List) -> Result<Page, StorageError> {
        self.storage.list(list).await
    }

    async fn commit(&self, transaction: Transaction) -> Result<Revision, StorageError> {
        self.storage.commit(transaction).await
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Commits, StorageError> {
        self.storage.watch(prefix, after).await
    }

    async fn compact(&self, at: Revision) -> Result<(), StorageError> {
        self.storage.compact(at).await
    }

    async fn revision(&self) -> Result<Revision, StorageError> {
        self.storage.revision().await
    }
}
