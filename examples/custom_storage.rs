//! A store of one's own: around any other, it tells of every commit what it wrote and how long that took.
//! `cargo run --example custom_storage`
//!
//! The test at the end is all that it takes to know that it keeps the contract.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, PostParams};
use quarterdeck::core::metrics::Metrics;
use quarterdeck::core::{component::BoxError, storage::*};
use quarterdeck::prelude::*;
use tokio::time::Instant;

/// A commit, as the log has it.
#[derive(Debug, Clone)]
struct Line {
    outcome: String,
    writes: Vec<String>,
    took: Duration,
}

/// Tells of the commits of another store. Clones share the log.
#[derive(Debug, Clone)]
struct Telling<S> {
    inner: S,
    log: Arc<Mutex<Vec<Line>>>,
}

/// A log that grows for ever would be a leak: it has the last commits.
const LONGEST: usize = 10_000;

impl<S> Telling<S> {
    fn new(inner: S) -> Self {
        Self { inner, log: Arc::default() }
    }

    /// Returns what the log has, and forgets it.
    fn take(&self) -> Vec<Line> {
        std::mem::take(&mut *self.log.lock().expect("nothing panics while it holds the log"))
    }

    fn note(&self, line: Line) {
        let mut log = self.log.lock().expect("nothing panics while it holds the log");
        if log.len() == LONGEST {
            log.remove(0);
        }
        log.push(line);
    }
}

fn describe(write: &Write) -> String {
    match write {
        Write::Put(key, value) => format!("{key} = {} bytes", value.len()),
        Write::Delete(key) => format!("{key} is gone"),
    }
}

#[async_trait]
impl<S: Storage> Storage for Telling<S> {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, StorageError> {
        self.inner.get(key).await
    }

    async fn list(&self, list: List) -> Result<Page, StorageError> {
        self.inner.list(list).await
    }

    // Clause 10: if this future is dropped, the inner commit happens whole or not at all, and the log says nothing of it.
    async fn commit(&self, transaction: Transaction) -> Result<Revision, StorageError> {
        let writes = transaction.writes.iter().map(describe).collect();
        let began = Instant::now();
        let result = self.inner.commit(transaction).await;
        let outcome = match &result {
            Ok(revision) => format!("revision {revision}"),
            Err(error) => error.to_string(),
        };
        self.note(Line { outcome, writes, took: began.elapsed() });
        result
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Commits, StorageError> {
        self.inner.watch(prefix, after).await
    }

    async fn compact(&self, at: Revision) -> Result<(), StorageError> {
        self.inner.compact(at).await
    }

    async fn revision(&self) -> Result<Revision, StorageError> {
        self.inner.revision().await
    }

    fn check(&self) -> Result<(), StorageError> {
        self.inner.check()
    }

    fn tell(&self, metrics: &Metrics) {
        self.inner.tell(metrics);
    }
}

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn main() -> Result<(), BoxError> {
    let storage = Telling::new(MemoryStorage::new());
    let plane = ControlPlane::builder(storage.clone()).without_controllers().without_scheduler().build()?;
    let cluster = plane.start().await?;
    println!("the start took {} commits", storage.take().len());

    let configs: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    let config = serde_json::from_value(serde_json::json!({"metadata": {"name": "app"}}))?;
    configs.create(&PostParams::default(), &config).await?;
    configs.delete("app", &Default::default()).await?;
    configs.create(&PostParams { dry_run: true, ..PostParams::default() }, &config).await?;

    let lines = storage.take();
    for Line { outcome, writes, took } in &lines {
        println!("{outcome}: {} ({took:?})", writes.join(", "));
    }
    assert_eq!(lines.len(), 2, "a dry run writes nothing");
    assert!(lines[0].writes[0].starts_with("/registry/configmaps/default/app = "));
    assert_eq!(lines[1].writes, ["/registry/configmaps/default/app is gone"]);
    cluster.stop().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use quarterdeck::core::testing::storage::{FaultPlan, FaultyStorage, check_history};

    quarterdeck::core::storage_suite!(telling, async || Telling::new(MemoryStorage::new()));

    #[tokio::test(start_paused = true)]
    async fn it_keeps_the_contract_while_the_store_below_fails_at_times() {
        let below = FaultyStorage::new(MemoryStorage::new(), FaultPlan::rough(), 7);
        check_history(Telling::new(below), 7).await;
    }
}
