//! What the store counts: under etcd's name where it does what etcd does.
//!
//! The store is there before any registry of metrics, and may tell several: so it counts by itself, and tells what it counted
//! when somebody collects. Histograms cannot be told later: they count from the moment on at which they are asked for.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quarterdeck_core::metrics::{Histogram, Metrics, exponential};

/// The counts of one store.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) commits: Count,
    pub(super) compactions: Count,
    pub(super) snapshots: Count,
    pub(super) failed_snapshots: Count,
    pub(super) log_bytes: Count,
    pub(super) log_segments: Count,
    pub(super) snapshot_bytes: Count,
    syncs: Mutex<Vec<Histogram>>,
}

/// A number.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(super) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    #[expect(clippy::cast_precision_loss, reason = "collectors have floating point numbers")]
    fn get(&self) -> f64 {
        self.0.load(Ordering::Relaxed) as f64
    }
}

impl Figures {
    /// Counts how long a sync of the log took.
    pub(super) fn synced(&self, took: Duration) {
        for histogram in &*self.syncs.lock().unwrap_or_else(PoisonError::into_inner) {
            histogram.observe_time(took);
        }
    }

    /// Tells a registry, for as long as the store is there.
    pub(super) fn tell(self: &Arc<Self>, metrics: &Metrics) {
        let syncs = metrics.histograms(
            "etcd_disk_wal_fsync_duration_seconds",
            "The latency distributions of fsync called by WAL.",
            &[],
            &exponential(0.001, 2.0, 14),
        );
        self.syncs.lock().unwrap_or_else(PoisonError::into_inner).push(syncs.with(&[]));
        let sample = |name: &str, help: &str, of: fn(&Self) -> &Count| {
            let figures = Arc::downgrade(self);
            metrics.sample(name, help, &[], move |samples| {
                if let Some(figures) = figures.upgrade() {
                    samples.push(&[], of(&figures).get());
                }
            });
        };
        sample("quarterdeck_storage_commits_total", "Commits that are durable.", |all| &all.commits);
        sample("quarterdeck_storage_compactions_total", "Times that history was forgotten.", |all| {
            &all.compactions
        });
        sample("quarterdeck_storage_log_bytes", "Size of the log on the disk in bytes.", |all| {
            &all.log_bytes
        });
        sample("quarterdeck_storage_log_segments", "Number of files of the log.", |all| &all.log_segments);
        sample("quarterdeck_storage_snapshot_bytes", "Size of the last snapshot in bytes.", |all| {
            &all.snapshot_bytes
        });
        let figures = Arc::downgrade(self);
        let help = "Snapshots that were written, or could not be.";
        metrics.sample("quarterdeck_storage_snapshots_total", help, &["result"], move |samples| {
            if let Some(figures) = figures.upgrade() {
                samples.push(&["success"], figures.snapshots.get());
                samples.push(&["error"], figures.failed_snapshots.get());
            }
        });
    }
}
