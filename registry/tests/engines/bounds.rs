//! A store that is written for long, with compaction: its directory and its memory stay as they are.
//!
//! `QUARTERDECK_SOAK_SECONDS` says for how long (60 if it is not set; `make soak` takes 10 minutes). The store is in a process of its
//! own, this test again, so that only its memory is looked at. It is the first test of its binary by name: the others go on
//! beside it.

use std::collections::VecDeque;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use quarterdeck_core::random::Random;
use quarterdeck_core::storage::{List, Storage, Transaction, Write};
use quarterdeck_registry::storage::{EmbeddedOptions, EmbeddedStorage, Retention};
use tokio::task::JoinSet;
use tokio::time::Instant;

const SECONDS: &str = "QUARTERDECK_SOAK_SECONDS";
/// Says that this is the process with the store, and for how long it is.
const WRITES_FOR: &str = "QUARTERDECK_SOAK_WRITES_FOR";
const CHILD: &str = "bounds::child_writes_and_looks_at_itself";
const SEGMENT: u64 = 1 << 20;
const KEYS: usize = 2000;
const VALUE: usize = 1000;
/// More than it takes for the next batch to be applied while one is written.
const WRITERS: usize = 96;
/// The largest that a snapshot can be: every key there, with what it takes to hold it.
const SNAPSHOT: u64 = KEYS as u64 * (VALUE as u64 + 64);
/// How many commits of history are kept, and what they take.
const HISTORY: usize = 1000;
const HISTORY_BYTES: u64 = HISTORY as u64 * KEYS_AT_ONCE as u64 * (VALUE as u64 + 64);
const KEYS_AT_ONCE: usize = 4;
/// What the directory may take: two snapshots, as much log as one before the next is due, the history behind it, the segments at
/// both ends of the log and the spare one, and what is written while a snapshot is made.
const DISK: u64 = 3 * SNAPSHOT + HISTORY_BYTES + 4 * SEGMENT + 8 * SEGMENT;
/// By how much the process may grow once it is warm.
const GROWTH: u64 = 32 << 20;
const COMPACTION: Duration = Duration::from_millis(250);

/// Creates, updates and deletes keys, some at once.
async fn write(store: EmbeddedStorage, random: Random, end: Instant, written: Arc<AtomicU64>) {
    while Instant::now() < end {
        let first = random.below(KEYS);
        let mut transaction = Transaction::new();
        for key in first..first + KEYS_AT_ONCE {
            let key = format!("/k/{:05}", key % KEYS);
            transaction = match random.below(4) {
                0 => transaction.delete(key),
                _ => transaction.put(key, vec![b'a' + random.below(26) as u8; VALUE]),
            };
        }
        let puts = transaction.writes.iter().filter(|write| matches!(write, Write::Put(..))).count();
        store.commit(transaction).await.unwrap();
        written.fetch_add((puts * VALUE) as u64, Ordering::Relaxed);
    }
}

/// Watches everything, and starts again where it fell behind.
async fn follow(store: EmbeddedStorage) {
    loop {
        let page = store.list(List::prefix("/k/").limit(0)).await.unwrap();
        let mut commits = store.watch("/k/", page.revision).await.unwrap();
        while let Some(Ok(_)) = commits.next().await {}
    }
}

/// Returns how much room the files of a directory take.
fn taken(directory: &Path) -> u64 {
    let lengths = fs::read_dir(directory).unwrap().filter_map(|file| Some(file.ok()?.metadata().ok()?.len()));
    lengths.sum()
}

/// Returns how much memory the process has, in bytes.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    let kibibytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kibibytes << 10
}

#[test]
fn disk_and_memory_stay_flat() {
    let seconds = std::env::var(SECONDS).unwrap_or_else(|_| "60".to_owned());

    let mut child = Command::new(std::env::current_exe().unwrap());
    let outcome = child.args([CHILD, "--exact", "--nocapture"]).env(WRITES_FOR, seconds).output().unwrap();

    let said = String::from_utf8_lossy(&outcome.stdout);
    print!("{said}");
    assert!(outcome.status.success(), "{said}{}", String::from_utf8_lossy(&outcome.stderr));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_writes_and_looks_at_itself() {
    let Ok(seconds) = std::env::var(WRITES_FOR) else { return };
    let seconds = seconds.parse().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let options = EmbeddedOptions::default().segment_bytes(SEGMENT);
    let store = options.retention(Retention { commits: HISTORY, bytes: usize::MAX });
    let store = store.open(directory.path()).unwrap();
    let (begin, written) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let end = begin + Duration::from_secs(seconds);
    let random = Random::seeded(1);
    let mut tasks = JoinSet::new();
    for _ in 0..WRITERS {
        tasks.spawn(write(store.clone(), random.fork("writer"), end, Arc::clone(&written)));
    }
    let following = tokio::spawn(follow(store.clone()));

    let warm = begin + Duration::from_secs(seconds) / 3;
    let (mut first, mut most_memory, mut most_disk, mut samples) = (None, 0, 0, 0);
    let mut past = VecDeque::new();
    while Instant::now() < end {
        tokio::time::sleep(COMPACTION).await;
        past.push_back(store.revision().await.unwrap());
        if past.len() > 4 {
            store.compact(past.pop_front().unwrap()).await.unwrap();
        }
        most_disk = most_disk.max(taken(directory.path()));
        if Instant::now() >= warm {
            let memory = resident();
            first.get_or_insert(memory);
            most_memory = most_memory.max(memory);
            samples += 1;
        }
    }
    while let Some(result) = tasks.join_next().await {
        result.unwrap();
    }
    following.abort();
    let (last, keys) =
        (store.revision().await.unwrap(), store.list(List::prefix("")).await.unwrap().entries.len());
    store.close().await;

    let (first, written) = (first.unwrap(), written.load(Ordering::Relaxed));
    println!(
        "{written} bytes written by {last} commits: at most {most_disk} bytes on the disk (bound: {DISK}), {first} bytes \
         of memory when warm, at most {most_memory} then"
    );
    assert!(samples > 10 && last.0 > HISTORY as u64, "it was not busy: {samples} samples, {last} commits");
    assert!(most_disk < DISK, "{most_disk} bytes on the disk; {DISK} are the bound");
    assert!(most_memory < first + GROWTH, "memory grew from {first} to {most_memory} bytes");
    let again = EmbeddedStorage::open(directory.path()).unwrap();
    assert_eq!(again.revision().await.unwrap(), last);
    assert_eq!(again.list(List::prefix("")).await.unwrap().entries.len(), keys);
}
