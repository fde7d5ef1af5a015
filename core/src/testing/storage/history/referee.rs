//! The referee: reads all commits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::StreamExt as _;

use super::clients::{is_end, rest};
use super::{in_time, soon};
use crate::storage::{Commit, Revision, Storage, StorageError};

/// Follows everything from the first commit on.
pub(super) struct Referee<S> {
    store: Arc<S>,
    commits: Vec<Commit>,
    /// The last revision that was read; nobody compacts beyond it.
    position: Arc<AtomicU64>,
}

impl<S: Storage> Referee<S> {
    pub(super) fn new(store: Arc<S>) -> Self {
        Self { store, commits: Vec::new(), position: Arc::default() }
    }

    /// Returns where it will say how far it is.
    pub(super) fn position(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.position)
    }

    /// Reads until the clients are done.
    pub(super) async fn follow(mut self) -> Self {
        self.until(|commit| commit.changes.iter().any(is_end)).await;
        self
    }

    /// Reads up to a revision and returns all commits.
    pub(super) async fn finish(mut self, end: Revision) -> Vec<Commit> {
        if self.commits.last().is_none_or(|last| last.revision < end) {
            self.until(|commit| commit.revision >= end).await;
        }
        self.commits
    }

    async fn until(&mut self, mut is_last: impl FnMut(&Commit) -> bool) {
        loop {
            let position = Revision(self.position.load(Ordering::SeqCst));
            let mut watch = match in_time(self.store.watch("", position)).await {
                Ok(watch) => watch,
                Err(error) => {
                    wait_out(&error).await;
                    continue;
                }
            };
            while let Some(next) = soon(watch.next()).await {
                match next {
                    Ok(commit) => {
                        let ends = is_last(&commit);
                        self.position.fetch_max(commit.revision.0, Ordering::SeqCst);
                        self.commits.push(commit);
                        if ends {
                            return;
                        }
                    }
                    Err(error) => wait_out(&error).await,
                }
            }
        }
    }
}

/// Waits a moment after an error that says no more than this.
async fn wait_out(error: &StorageError) {
    let passes = matches!(error, StorageError::Unavailable(_));
    assert!(passes, "clause 6: a watch of what is not compacted ends with {error:?}");
    rest().await;
}
