//! What the disk does by itself, which bounds every durable commit.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Returns the directory on the disk that is measured: `BENCH_DIRECTORY`, or one below the target directory.
pub(crate) fn parent() -> PathBuf {
    std::env::var_os("BENCH_DIRECTORY")
        .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from)
}

/// Appends to an allocated file and syncs it, so many times. Returns how long each took, sorted.
#[allow(clippy::disallowed_methods, reason = "what is measured here is real time, which no test pauses")]
pub(crate) fn fdatasync(path: &Path, size: usize, count: u64) -> io::Result<Vec<Duration>> {
    let file = File::create(path)?;
    file.write_all_at(&vec![0; size], (count - 1) * size as u64)?;
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, count * size as u64)?;
    file.sync_all()?;
    let bytes = vec![1; size];
    let mut latencies = Vec::new();
    for index in 0..count {
        let start = Instant::now();
        file.write_all_at(&bytes, index * size as u64)?;
        file.sync_data()?;
        latencies.push(start.elapsed());
    }
    latencies.sort_unstable();
    fs::remove_file(path)?;
    Ok(latencies)
}

/// Returns a percentile of sorted times.
pub(crate) fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let index = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(index).copied().unwrap_or_default()
}
