//! What a snapshot does to the writes beside it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use quarterdeck_core::component::BoxError;
use quarterdeck_core::storage::{Expect, Storage as _, Transaction};
use quarterdeck_registry::storage::{EmbeddedOptions, EmbeddedStorage};

use crate::in_process::{key, runtime, write_until};
use crate::rate::Rate;
use crate::report::Report;
use crate::{Plan, VALUE};

/// How many keys a snapshot holds: 100 MB.
const KEYS: usize = 100_000;
const KEYS_AT_ONCE: usize = 1000;
const IN_FLIGHT: usize = 64;
/// How long is measured, in times of the other measurements: there are snapshots in less than half of it.
const LONGER: u32 = 5;

/// Writes a store so much that it makes snapshots, and compares the writes beside them with the others.
pub(crate) fn measure(report: &mut Report, directory: &Path, plan: &Plan) -> Result<(), BoxError> {
    if !plan.has("snapshots") {
        return Ok(());
    }
    let directory = directory.join("snapshots");
    let (runtime, keys) = (runtime()?, KEYS / plan.divisor);
    let store = EmbeddedOptions::default().open(&directory)?;
    runtime.block_on(fill(&store, keys))?;
    let watching = Watching::start(directory);
    let written = runtime.block_on(write_until(
        Arc::new(store),
        (keys, Expect::Present),
        IN_FLIGHT,
        Instant::now(),
        plan.time * LONGER,
    ));
    let snapshots = watching.stop()?;
    let is_beside = |begin: Instant, took: Duration| {
        // The first that ended behind the write's begin.
        let snapshot = snapshots.partition_point(|(_, end)| *end < begin);
        snapshots.get(snapshot).is_some_and(|(start, _)| *start <= begin + took)
    };
    let (beside, alone): (Vec<_>, Vec<_>) =
        written.into_iter().partition(|(begin, took)| is_beside(*begin, *took));
    if snapshots.is_empty() && plan.is_real() {
        return Err("the store made no snapshot".into());
    }
    let p99 = |writes: Vec<(Instant, Duration)>| {
        Rate::of(plan.time, writes.into_iter().map(|(_, took)| took).collect(), VALUE).p99
    };
    report.snapshots(snapshots.len(), p99(alone), p99(beside));
    Ok(())
}

async fn fill(store: &EmbeddedStorage, keys: usize) -> Result<(), BoxError> {
    let value = Bytes::from(vec![b'v'; VALUE]);
    for first in (0..keys).step_by(KEYS_AT_ONCE) {
        let several = first..keys.min(first + KEYS_AT_ONCE);
        let put = |transaction: Transaction, index| transaction.put(key(index), value.clone());
        store.commit(several.fold(Transaction::new(), put)).await?;
    }
    Ok(())
}

/// A thread that looks when snapshots are being written.
struct Watching {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Result<Vec<(Instant, Instant)>, BoxError>>,
}

impl Watching {
    fn start(directory: PathBuf) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let thread = thread::spawn(move || {
            let (mut snapshots, mut since) = (Vec::new(), None);
            while !over.load(Ordering::Relaxed) {
                let now = Instant::now();
                match (is_written(&directory)?, since) {
                    (true, None) => since = Some(now),
                    (false, Some(start)) => {
                        snapshots.push((start, now));
                        since = None;
                    }
                    _ => {}
                }
                thread::sleep(Duration::from_millis(1));
            }
            snapshots.extend(since.map(|start| (start, Instant::now())));
            Ok(snapshots)
        });
        Self { is_over, thread }
    }

    /// Returns when there were snapshots, each from its start to its end.
    fn stop(self) -> Result<Vec<(Instant, Instant)>, BoxError> {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| "the thread that looks for snapshots panicked")?
    }
}

/// Whether a snapshot is being written: it gets its name when it is done.
fn is_written(directory: &Path) -> Result<bool, BoxError> {
    for file in fs::read_dir(directory)? {
        let name = file?.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snapshot-") && name.ends_with(".new") {
            return Ok(true);
        }
    }
    Ok(false)
}
