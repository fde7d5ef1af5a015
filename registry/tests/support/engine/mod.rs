//! What every engine has to stand: the contract's suite and its random histories, with faults and below an API server.
//!
//! [`hold_to_the_contract!`] makes the tests. Those of the suite on the bare engine are elsewhere.
#![allow(dead_code, unused_imports, reason = "no test uses all of it")]

mod clients;
mod counters;
mod served;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use quarterdeck_core::storage::{
    Commits, Entry, Key, List, Page, Revision, Storage, StorageError, Transaction,
};
use quarterdeck_core::testing::storage::{FaultPlan, FaultyStorage, check_history};

pub(crate) use clients::{addresses_outlive_faults, clients_keep_their_promises, outage_is_outlived};
pub(crate) use counters::{Counts, WRITERS, check_commit, count_up};
pub(crate) use served::Served;

/// How many histories of each sort are checked.
const HISTORIES: u64 = 4;
/// Fewer faults prove nothing.
const FEWEST_FAULTS: u64 = 20;

/// Generates a module `$engine` of tests. `$make` is an async closure that returns a store that was never written, clones of
/// which are one store.
macro_rules! hold_to_the_contract {
    ($engine:ident, $make:expr) => {
        mod $engine {
            use quarterdeck_core::storage::Storage;

            use super::*;
            use crate::engine::{self, Served};

            /// Returns a store that was never written.
            async fn store() -> impl Storage + Clone {
                let make = $make;
                make().await
            }

            quarterdeck_core::storage_suite!(with_delays, async || engine::slow(store().await));
            quarterdeck_core::storage_suite!(behind_the_cache, async || Served::over(store().await, 1).await);

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn histories_are_linearizable_with_faults() {
                engine::histories_with_faults(store).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn histories_are_linearizable_behind_the_cache() {
                engine::histories_behind_the_cache(store).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn histories_are_linearizable_behind_the_cache_with_faults() {
                engine::histories_behind_the_cache_with_faults(store).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn clients_are_told_the_truth_while_the_store_fails_at_times() {
                engine::clients_keep_their_promises(store).await;
            }

            #[tokio::test]
            async fn service_whose_creation_was_answered_with_an_error_has_its_address_or_is_not_there() {
                engine::addresses_outlive_faults(store().await).await;
            }

            #[tokio::test]
            async fn server_outlives_an_outage_of_its_store_and_its_watchers_miss_nothing() {
                engine::outage_is_outlived(store().await).await;
            }
        }
    };
}
pub(crate) use hold_to_the_contract;

/// Lets a store take its time, and not fail.
pub(crate) fn slow<S: Storage>(store: S) -> FaultyStorage<S> {
    FaultyStorage::new(store, FaultPlan::calm().delay(2, Duration::from_millis(1)), 1)
}

pub(crate) async fn histories_with_faults<S: Storage + Clone>(make: impl AsyncFn() -> S) {
    for seed in 0..HISTORIES {
        let store = FaultyStorage::new(make().await, FaultPlan::rough(), seed);
        check_history(store.clone(), seed).await;
        let faults = store.faults();
        assert!(faults > FEWEST_FAULTS, "seed {seed}: only {faults} faults");
    }
}

pub(crate) async fn histories_behind_the_cache<S: Storage + Clone>(make: impl AsyncFn() -> S) {
    for seed in 0..HISTORIES {
        check_history(Served::over(make().await, seed).await, seed).await;
    }
}

pub(crate) async fn histories_behind_the_cache_with_faults<S: Storage + Clone>(make: impl AsyncFn() -> S) {
    for seed in 0..HISTORIES {
        let served = Served::over(make().await, seed).await;
        let store = served.store().clone();
        store.set_plan(FaultPlan::rough());
        check_history(served, seed).await;
        let faults = store.faults();
        assert!(faults > FEWEST_FAULTS, "seed {seed}: only {faults} faults");
    }
}

/// A store, with what has to be there as long as it is.
#[derive(Debug, Clone)]
pub(crate) struct Kept<S> {
    storage: S,
    _kept: Arc<dyn Debug + Send + Sync>,
}

impl<S> Kept<S> {
    pub(crate) fn new(storage: S, kept: impl Debug + Send + Sync + 'static) -> Self {
        Self { storage, _kept: Arc::new(kept) }
    }
}

#[async_trait]
impl<S: Storage> Storage for Kept<S> {
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
