//! Watches over what happens to their servers.

use futures::StreamExt as _;
use quarterdeck_core::storage::{Commits, Revision, Storage, StorageError, Transaction};
use quarterdeck_registry::storage::{EtcdOptions, EtcdStorage};

use crate::server::Etcd;
use crate::{connect, soon};

async fn put(storage: &EtcdStorage, value: &str) -> Revision {
    storage.commit(Transaction::new().put("/registry/a", value.to_owned())).await.unwrap()
}

async fn next(commits: &mut Commits) -> Revision {
    soon(commits.next()).await.unwrap().unwrap().revision
}

#[tokio::test]
async fn a_watch_goes_on_without_a_gap_after_its_server_was_killed() {
    let mut etcd = Etcd::single();
    let storage = connect(&etcd, EtcdOptions::new(etcd.endpoints())).await;
    let mut commits = storage.watch("/registry/", Revision(0)).await.unwrap();
    let first = put(&storage, "1").await;
    assert_eq!(next(&mut commits).await, first);
    let unseen = put(&storage, "2").await;

    etcd.kill(0);
    let down = storage.revision().await;
    assert!(matches!(down, Err(StorageError::Unavailable(_))), "{down:?}");
    etcd.start(0);
    let after = connect(&etcd, EtcdOptions::new(etcd.endpoints())).await;
    let last = put(&after, "3").await;

    assert_eq!([next(&mut commits).await, next(&mut commits).await], [unseen, last]);
    assert_eq!(storage.revision().await.unwrap(), last, "a store goes on, too");
}

#[tokio::test]
async fn a_watch_ends_if_what_it_has_not_seen_was_compacted_while_its_server_was_away() {
    let mut etcd = Etcd::single();
    let storage = connect(&etcd, EtcdOptions::new(etcd.endpoints())).await;
    let mut behind = storage.watch("/registry/", Revision(0)).await.unwrap();
    let first = put(&storage, "1").await;
    assert_eq!(next(&mut behind).await, first);
    let mut level = storage.watch("/registry/", first).await.unwrap();
    etcd.kill(0);
    etcd.start(0);
    let after = connect(&etcd, EtcdOptions::new(etcd.endpoints())).await;
    let unseen = put(&after, "2").await;
    assert_eq!(next(&mut level).await, unseen);
    etcd.kill(0);
    etcd.start(0);
    let after = connect(&etcd, EtcdOptions::new(etcd.endpoints())).await;
    let last = put(&after, "3").await;

    after.compact(unseen).await.unwrap();

    assert_eq!(next(&mut level).await, last, "what is compacted was seen");
    let ended = soon(behind.next()).await;
    assert!(matches!(ended, Some(Err(StorageError::Compacted(_)))), "{ended:?}");
    assert!(soon(behind.next()).await.is_none());
}

#[tokio::test]
async fn a_watch_of_a_quiet_prefix_outlives_compaction_by_what_etcd_says_of_its_progress() {
    let mut etcd = Etcd::cluster(1, "http", &["--experimental-watch-progress-notify-interval", "100ms"]);
    let storage = connect(&etcd, EtcdOptions::new(etcd.endpoints())).await;
    let mut quiet = storage.watch("/quiet/", Revision(0)).await.unwrap();
    let mut last = put(&storage, "0").await;
    let told = tokio::time::timeout(std::time::Duration::from_secs(2), quiet.next());
    assert!(told.await.is_err(), "nothing happens there");
    etcd.kill(0);
    etcd.start(0);
    let after = connect(&etcd, EtcdOptions::new(etcd.endpoints())).await;

    after.compact(last).await.unwrap();

    last = after.commit(Transaction::new().put("/quiet/a", "1")).await.unwrap();
    assert_eq!(next(&mut quiet).await, last);
}

#[tokio::test]
async fn a_deletion_in_the_compacted_commit_is_not_overlooked() {
    let etcd = Etcd::single();
    let storage = connect(&etcd, EtcdOptions::new(etcd.endpoints())).await;
    let before = put(&storage, "1").await;
    let deleted = storage.commit(Transaction::new().delete("/registry/a")).await.unwrap();
    put(&storage, "2").await;
    storage.compact(deleted).await.unwrap();

    let ended = match storage.watch("/registry/", before).await {
        Ok(mut commits) => soon(commits.next()).await.unwrap().err(),
        Err(error) => Some(error),
    };

    assert!(matches!(ended, Some(StorageError::Compacted(at)) if at == deleted), "{ended:?}");
}
