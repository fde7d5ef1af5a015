//! How long it takes to open a store that has a long log to read.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use quarterdeck_core::component::BoxError;
use quarterdeck_core::storage::{Revision, Storage as _, Transaction};
use quarterdeck_registry::storage::{EmbeddedOptions, EmbeddedStorage, Retention};
use rustix::fs::{Advice, fadvise};
use tokio::task::JoinSet;

use crate::in_process::runtime;
use crate::report::Report;
use crate::{Plan, VALUE};

/// How many commits make a GB of log.
const COMMITS: usize = 940_000;
const WRITERS: usize = 256;

/// What the commits of a log did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Each made a key: all of the log is still in the store.
    Creates,
    /// They wrote 10,000 keys again and again.
    Updates,
}

/// Stores that were written once, and are opened in each round.
pub(crate) struct OldLogs {
    stores: Vec<(Kind, PathBuf)>,
    commits: usize,
    runtime: tokio::runtime::Runtime,
}

impl OldLogs {
    /// Writes stores into a directory.
    pub(crate) fn write(directory: &Path, plan: &Plan) -> Result<Self, BoxError> {
        let commits = COMMITS / plan.divisor;
        let mut logs = Self { stores: Vec::new(), commits, runtime: runtime()? };
        if !plan.has("recovery") {
            return Ok(logs);
        }
        for (kind, keys) in [(Kind::Creates, commits), (Kind::Updates, 10_000 / plan.divisor)] {
            let store = directory.join(format!("{kind:?}"));
            logs.runtime.block_on(fill(&store, commits, keys))?;
            logs.stores.push((kind, store));
        }
        Ok(logs)
    }

    /// Opens them: once with files that are on the disk alone, and once with files that are in the page cache.
    pub(crate) fn measure(&self, report: &mut Report) -> Result<(), BoxError> {
        for (kind, directory) in &self.stores {
            let mut bytes = 0;
            for file in fs::read_dir(directory)? {
                let file = File::open(file?.path())?;
                fadvise(&file, 0, None, Advice::DontNeed)?;
                bytes += file.metadata()?.len();
            }
            for is_cached in [false, true] {
                let started = Instant::now();
                let store = EmbeddedStorage::open(directory)?;
                report.recovery(*kind, is_cached, bytes, started.elapsed());
                if self.runtime.block_on(store.revision())? != Revision(self.commits as u64) {
                    return Err(format!("{store:?} is not what was written").into());
                }
            }
        }
        Ok(())
    }
}

/// Writes so many commits, and keeps the log of all of them.
async fn fill(directory: &Path, commits: usize, keys: usize) -> Result<(), BoxError> {
    let everything = Retention { commits: usize::MAX, bytes: usize::MAX };
    let store = Arc::new(EmbeddedOptions::default().retention(everything).open(directory)?);
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            let value = Bytes::from(vec![b'v'; VALUE]);
            for commit in (writer..commits).step_by(WRITERS) {
                let key = format!("/registry/pods/default/pod-{:07}", commit % keys);
                store.commit(Transaction::new().put(key, value.clone())).await?;
            }
            Ok::<_, BoxError>(())
        });
    }
    writers.join_all().await.into_iter().collect::<Result<(), _>>()?;
    store.close().await;
    Ok(())
}
