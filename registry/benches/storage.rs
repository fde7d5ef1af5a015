//! Commits per second and their latency, in memory and on the disk under the target directory (or `BENCH_DIRECTORY`).
//!
//! `cargo bench -p quarterdeck-registry --bench storage`

#[path = "shared/disk.rs"]
mod disk;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quarterdeck_core::storage::{Expect, Key, Storage, Transaction};
use quarterdeck_registry::storage::{EmbeddedStorage, MemoryStorage};
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

const VALUE: usize = 1024;
const KEYS: usize = 10_000;
const WARM_UP: Duration = Duration::from_millis(300);
const MEASURED: Duration = Duration::from_secs(2);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // `cargo test --benches` starts this too, to see that it still runs.
    let measured =
        if std::env::args().any(|argument| argument == "--bench") { MEASURED } else { Duration::ZERO };
    let directory = tempfile::tempdir_in(disk::parent())?;
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_time().build()?;

    println!("fdatasync of an append to an allocated file, at {}:", directory.path().display());
    for size in [VALUE, 128 * VALUE] {
        let count = if measured.is_zero() { 3 } else { 2000 };
        let latencies = disk::fdatasync(&directory.path().join("probe"), size, count)?;
        let microseconds = |percent| disk::percentile(&latencies, percent).as_secs_f64() * 1e6;
        println!(
            "  {:>4} KiB: p50 {:>4.1} µs, p99 {:>4.1} µs",
            size / 1024,
            microseconds(50),
            microseconds(99)
        );
    }
    println!("\nconditional updates of {VALUE} bytes, {KEYS} keys, 2 worker threads:");
    println!("{:<10} {:>9} {:>12} {:>9} {:>9}", "store", "in flight", "commits/s", "p50 µs", "p99 µs");
    for in_flight in [1, 16, 64, 256] {
        report(&runtime, "memory", MemoryStorage::new(), in_flight, measured);
    }
    for in_flight in [1, 16, 64, 256] {
        let store = EmbeddedStorage::open(directory.path().join(in_flight.to_string()))?;
        report(&runtime, "embedded", store, in_flight, measured);
    }
    Ok(())
}

fn report(runtime: &Runtime, name: &str, store: impl Storage, in_flight: usize, measured: Duration) {
    let store = Arc::new(store);
    let (count, mut latencies) = runtime.block_on(async {
        let start = Instant::now() + WARM_UP.min(measured);
        let workers: Vec<_> = (0..in_flight)
            .map(|worker| tokio::spawn(work(Arc::clone(&store), worker, in_flight, start, start + measured)))
            .collect();
        let mut all = Vec::new();
        for worker in workers {
            all.extend(worker.await.expect("a worker does not panic"));
        }
        (all.len(), all)
    });
    latencies.sort_unstable();
    let rate = count as f64 / measured.as_secs_f64().max(0.001);
    let (p50, p99) = (at(&latencies, 50), at(&latencies, 99));
    println!("{name:<10} {in_flight:>9} {rate:>12.0} {p50:>9} {p99:>9}");
}

/// Updates the keys of one worker in turn until the end, and returns the latencies between start and end.
async fn work(store: Arc<impl Storage>, worker: usize, of: usize, start: Instant, end: Instant) -> Vec<u64> {
    let mut keys: Vec<(Key, Expect)> = (worker..KEYS.max(of))
        .step_by(of)
        .map(|key| (Key::from(format!("/registry/pods/default/pod-{key:06}")), Expect::Absent))
        .collect();
    let value = Bytes::from(vec![b'v'; VALUE]);
    let mut latencies = Vec::new();
    for index in 0.. {
        let (key, expect) = &mut keys[index % (KEYS / of).max(1)];
        let transaction = Transaction::new().expect(key.clone(), *expect).put(key.clone(), value.clone());
        let begin = Instant::now();
        *expect = Expect::Modified(store.commit(transaction).await.expect("nobody else writes the key"));
        if begin >= start {
            latencies.push(nanoseconds(begin));
        }
        if begin >= end {
            break;
        }
        // The memory store never waits: without this, some workers would never start.
        tokio::task::consume_budget().await;
    }
    latencies
}

fn nanoseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Returns a percentile of sorted nanoseconds, in microseconds.
fn at(latencies: &[u64], percent: usize) -> String {
    let nanoseconds = latencies.get((latencies.len() * percent / 100).min(latencies.len().saturating_sub(1)));
    format!("{:.1}", *nanoseconds.unwrap_or(&0) as f64 / 1000.0)
}
