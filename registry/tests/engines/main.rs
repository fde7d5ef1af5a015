//! The engines of one process: with faults, below an API server, killed, and written for long. etcd is held to the same in
//! `etcd/main.rs`.
#![cfg(feature = "embedded")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod bounds;
mod crash;
#[path = "../support/engine/mod.rs"]
mod engine;
#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

use quarterdeck_core::testing::storage::{FaultPlan, check_history};
use quarterdeck_registry::MemoryStorage;
use quarterdeck_registry::storage::{EmbeddedOptions, EmbeddedStorage};

use engine::{Kept, Served, hold_to_the_contract};

// What an allocator keeps for later use is no leak; this one gives it back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

hold_to_the_contract!(memory, async || MemoryStorage::new());
hold_to_the_contract!(embedded, async || in_temporary_directory());

/// A store with small files, so that there are several, in a directory that is removed with it.
fn in_temporary_directory() -> Kept<EmbeddedStorage> {
    let directory = tempfile::tempdir().unwrap();
    let storage = EmbeddedOptions::default().segment_bytes(64 << 10).open(directory.path()).unwrap();
    Kept::new(storage, directory)
}

/// What is held to the contract above would be found if it broke it: by what a read returned (clause 3), or by what a
/// conflict named (clause 2), whichever comes first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[should_panic(expected = "seed 1: clause ")]
async fn reads_of_any_age_are_found_to_be_old() {
    let served = Served::over(MemoryStorage::new(), 1).await.of_any_age();
    served.store().set_plan(FaultPlan::calm().delay(50, Duration::from_millis(5)));

    check_history(served, 1).await;
}
