//! The contract suite on the embedded store, and what is particular to it: crashes, damage, full and broken disks.

mod backup;
mod boundaries;
mod crash;
mod crowds;
mod fake_disk;
mod files;
mod in_place;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use quarterdeck_core::testing::storage::{self as suite, FaultPlan, FaultyStorage};
use tempfile::TempDir;

use super::super::history::Retention;
use super::disk::{Disk, DiskFile, OsDisk};
use super::{EmbeddedOptions, EmbeddedStorage};
use fake_disk::FakeDisk;

quarterdeck_core::storage_suite!(on_the_hosts_disk, async || in_temporary_directory());
quarterdeck_core::storage_suite!(on_small_files, async || on(&FakeDisk::default()));

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn histories_of_several_threads_are_linearizable_whether_calls_fail_or_not() {
    for seed in 100..115 {
        suite::check_history(on(&FakeDisk::default()), seed).await;
        let store = FaultyStorage::new(on(&FakeDisk::default()), FaultPlan::rough(), seed);
        suite::check_history(store.clone(), seed).await;
        assert!(store.faults() > 20, "only {} faults", store.faults());
    }
}

/// Opens a store with small files, so that there are several.
fn on(disk: &FakeDisk) -> EmbeddedStorage {
    EmbeddedOptions::default().segment_bytes(0).open_disk(Arc::new(disk.clone())).unwrap()
}

/// Opens a store with small files on a disk that is gone with it.
pub(in crate::storage) fn on_a_fake_disk(retention: Retention) -> EmbeddedStorage {
    let options = EmbeddedOptions::default().retention(retention).segment_bytes(0);
    options.open_disk(Arc::new(FakeDisk::default())).unwrap()
}

/// A directory that is removed with the store.
#[derive(Debug)]
struct Temporary(OsDisk, #[allow(dead_code, reason = "removes the directory when it is dropped")] TempDir);

fn in_temporary_directory() -> EmbeddedStorage {
    let directory = tempfile::tempdir().unwrap();
    let disk = Temporary(OsDisk::open(directory.path()).unwrap(), directory);
    EmbeddedOptions::default().segment_bytes(0).open_disk(Arc::new(disk)).unwrap()
}

impl Disk for Temporary {
    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.0.create(name)
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.0.open(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path(name)
    }
}
