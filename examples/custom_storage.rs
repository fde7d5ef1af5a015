//! A store of one's own: another store, and a count of the commits that it took: `cargo run --example custom_storage`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, PostParams};
use quarterdeck::core::{component::BoxError, storage::*};
use quarterdeck::prelude::*;

#[derive(Debug, Clone, Default)]
struct Counting<S> {
    inner: S,
    commits: Arc<AtomicU64>,
}

#[async_trait]
impl<S: Storage> Storage for Counting<S> {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, StorageError> {
        self.inner.get(key).await
    }
    async fn list(&self, list: List) -> Result<Page, StorageError> {
        self.inner.list(list).await
    }
    async fn commit(&self, transaction: Transaction) -> Result<Revision, StorageError> {
        let revision = self.inner.commit(transaction).await?;
        self.commits.fetch_add(1, Ordering::Relaxed);
        Ok(revision)
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
}

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn main() -> Result<(), BoxError> {
    let storage = Counting::<MemoryStorage>::default();
    let plane = ControlPlane::builder(storage.clone()).without_controllers().without_scheduler().build()?;
    let cluster = plane.start().await?;
    let configs: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    let before = storage.commits.load(Ordering::Relaxed);

    let config = serde_json::from_value(serde_json::json!({"metadata": {"generateName": "c-"}}))?;
    configs.create(&PostParams::default(), &config).await?;
    configs.create(&PostParams { dry_run: true, ..PostParams::default() }, &config).await?;

    let commits = storage.commits.load(Ordering::Relaxed) - before;
    println!("a config map and a dry run took {commits} commit, after {before} of the start");
    assert_eq!((commits, configs.list(&Default::default()).await?.items.len()), (1, 1));
    cluster.stop().await;
    Ok(())
}
