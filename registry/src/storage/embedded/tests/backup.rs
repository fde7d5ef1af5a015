//! Copies: made while the store is written, interrupted, refused, and restored.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use futures::StreamExt as _;
use quarterdeck_core::random::Random;
use quarterdeck_core::storage::{Entry, List, Revision, Storage, StorageError, Transaction};

use super::super::super::history::Retention;
use super::super::super::versions::Versions;
use super::super::backup::fill;
use super::super::recovery::recover;
use super::super::{Copied, EmbeddedOptions, EmbeddedStorage, OpenError};
use super::fake_disk::FakeDisk;

fn pair(index: u64) -> Transaction {
    let value = format!("{index} {}", "x".repeat(300));
    Transaction::new()
        .put(format!("/a/{}", index % 50), value.clone())
        .put(format!("/b/{}", index % 50), value)
}

async fn all(store: &EmbeddedStorage) -> Vec<Entry> {
    store.list(List::prefix("")).await.unwrap().entries
}

async fn filled(directory: &Path, commits: u64) -> EmbeddedStorage {
    let store = EmbeddedStorage::open(directory).unwrap();
    for index in 0..commits {
        store.commit(pair(index)).await.unwrap();
    }
    store
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_made_while_commits_go_on_are_the_store_at_one_moment() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let options = EmbeddedOptions::default().segment_bytes(16 << 10);
    let store = options.retention(Retention { commits: 100_000, bytes: usize::MAX }).open(&data).unwrap();
    let acknowledged = Arc::new(AtomicU64::new(0));
    let writing = tokio::spawn({
        let (store, acknowledged) = (store.clone(), Arc::clone(&acknowledged));
        async move {
            for index in 0.. {
                let revision = store.commit(pair(index)).await.unwrap();
                acknowledged.store(revision.0, Ordering::SeqCst);
                // Old segments go while they are copied.
                if index % 20 == 0 {
                    store.compact(Revision(revision.0.saturating_sub(200))).await.unwrap();
                }
            }
        }
    });
    for round in 0..12 {
        let (to, from, store_) = (directory.path().join(round.to_string()), data.clone(), store.clone());
        let enough = (round + 1) * 40;
        while acknowledged.load(Ordering::SeqCst) < enough {
            tokio::task::yield_now().await;
        }
        let before = acknowledged.load(Ordering::SeqCst);
        let copied = tokio::task::spawn_blocking({
            let to = to.clone();
            move || if round % 2 == 0 { store_.backup(&to) } else { EmbeddedStorage::backup_of(&from, &to) }
        });
        let Copied { revision, keys, bytes, .. } = copied.await.unwrap().unwrap();

        assert!(revision.0 >= before, "round {round}: {before} was acknowledged, the copy has {revision}");
        let copy = EmbeddedStorage::open(&to).unwrap();
        assert_eq!(copy.revision().await.unwrap(), revision, "round {round}");
        let entries = all(&copy).await;
        assert_eq!((entries.len(), bytes > 300 * keys as u64), (keys, true), "round {round}");
        match store.list(List::prefix("").at(revision)).await {
            Ok(then) => {
                assert_eq!(entries, then.entries, "round {round}: the copy is not the store at {revision}")
            }
            Err(StorageError::Compacted(_)) => {}
            Err(error) => panic!("{error:?}"),
        }
        for (a, b) in entries.iter().zip(&entries[keys / 2..]) {
            assert_eq!((&a.value, a.modified), (&b.value, b.modified), "round {round}: half a commit");
        }
        copy.close().await;
    }
    writing.abort();
}

#[tokio::test]
async fn restored_store_has_everything_and_sends_old_readers_back_to_a_list() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let store = filled(&path("data"), 70).await;
    let expected = all(&store).await;
    let copied = store.backup(path("copy")).unwrap();
    let later = store.commit(pair(1)).await.unwrap();

    let restored = EmbeddedStorage::restore(path("copy"), path("restored")).unwrap();

    let store = EmbeddedStorage::open(path("restored")).unwrap();
    assert_eq!(all(&store).await, expected);
    assert!(restored.revision > later && restored.keys == copied.keys, "{restored:?}");
    assert_eq!(store.revision().await.unwrap(), restored.revision);
    assert!(matches!(store.watch("", later).await, Err(StorageError::Compacted(_))), "it is another history");
    let mut commits = store.watch("", restored.revision).await.unwrap();
    let next = store.commit(pair(2)).await.unwrap();
    assert_eq!(commits.next().await.unwrap().unwrap().revision, next);
    store.close().await;
    assert_eq!(EmbeddedStorage::open(path("restored")).unwrap().revision().await.unwrap(), next);
}

#[tokio::test]
async fn each_restore_goes_on_behind_all_before_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let store = filled(&path("data"), 3).await;
    store.backup(path("older")).unwrap();
    store.commit(pair(1)).await.unwrap();
    store.backup(path("newer")).unwrap();

    let mut shown = Revision(0);
    for (index, copy) in ["newer", "older", "older"].into_iter().enumerate() {
        let restored = EmbeddedStorage::restore(path(copy), path(&index.to_string())).unwrap();
        assert!(restored.revision > shown, "{copy}: {restored:?} is not behind {shown}");
        let store = EmbeddedStorage::open(path(&index.to_string())).unwrap();
        shown = store.commit(pair(9)).await.unwrap();
    }
}

#[tokio::test]
async fn what_a_copy_leaves_out_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    filled(&path("data"), 3).await.close().await;
    let whole = EmbeddedStorage::backup_of(path("data"), path("whole")).unwrap();
    let store = EmbeddedStorage::open(path("data")).unwrap();
    store.commit(pair(3)).await.unwrap();
    let log = path("data").join("log-00000000000000000001");
    let mut bytes = fs::read(&log).unwrap();
    let last = bytes.iter().rposition(|byte| *byte == b'x').unwrap();
    bytes[last] ^= 1;
    fs::write(&log, &bytes).unwrap();

    let damaged = EmbeddedStorage::backup_of(path("data"), path("damaged")).unwrap();

    assert_eq!((whole.left_out, whole.revision), (None, Revision(3)));
    assert_eq!(damaged.left_out.unwrap().file, log);
    assert_eq!(damaged.revision, Revision(3));
}

#[tokio::test]
async fn nothing_is_overwritten_by_a_copy_or_a_restore() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let store = filled(&path("data"), 3).await;
    store.backup(path("copy")).unwrap();
    fs::create_dir(path("thesis")).unwrap();
    fs::write(path("thesis").join("thesis.tex"), "years of work").unwrap();

    for used in ["data", "copy", "thesis"] {
        let before = fs::read_dir(path(used)).unwrap().count();
        for error in [
            store.backup(path(used)).unwrap_err(),
            EmbeddedStorage::backup_of(path("data"), path(used)).unwrap_err(),
            EmbeddedStorage::restore(path("copy"), path(used)).unwrap_err(),
        ] {
            assert!(matches!(error, OpenError::NotEmpty { .. }), "{used}: {error}");
        }
        assert_eq!(fs::read_dir(path(used)).unwrap().count(), before, "{used}: something was made");
    }
    let file = EmbeddedStorage::restore(path("copy"), path("thesis").join("thesis.tex")).unwrap_err();
    assert!(matches!(file, OpenError::NotADataDirectory { .. }), "{file}");
}

#[tokio::test]
async fn what_is_no_copy_or_a_damaged_one_is_refused_and_makes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::create_dir(path("empty")).unwrap();
    filled(&path("data"), 40).await.backup(path("copy")).unwrap();
    let names = fs::read_dir(path("copy")).unwrap().map(|entry| entry.unwrap().path());
    let snapshot = names.into_iter().find(|path| path.to_string_lossy().contains("snapshot")).unwrap();
    let mut bytes = fs::read(&snapshot).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&snapshot, &bytes).unwrap();

    for nothing in ["nowhere", "empty"] {
        let error = EmbeddedStorage::restore(path(nothing), path("restored")).unwrap_err();
        assert!(matches!(error, OpenError::NoStore { .. }), "{nothing}: {error}");
    }
    let flipped = EmbeddedStorage::restore(path("copy"), path("restored")).unwrap_err();
    fs::write(&snapshot, &bytes[..middle]).unwrap();
    let half = EmbeddedStorage::restore(path("copy"), path("restored")).unwrap_err();

    for error in [flipped, half] {
        assert!(matches!(&error, OpenError::Corrupt { file, .. } if *file == snapshot), "{error}");
    }
    assert!(!path("restored").exists(), "nothing was made");
}

#[test]
fn interrupted_copy_is_refused_or_whole() {
    let mut versions = Versions::new(Retention::default());
    for index in 0..30 {
        versions.apply(pair(index).writes);
    }
    let (random, disk) = (Random::seeded(3), FakeDisk::default());
    let found: Arc<Mutex<BTreeMap<&str, usize>>> = Arc::default();
    let check = {
        let (versions, found) = (versions.clone(), Arc::clone(&found));
        move |disk: &FakeDisk| {
            let names = disk.files();
            let is_empty = names.keys().all(|name| name.ends_with(".new"));
            let what = match recover(Arc::new(disk.copy()), EmbeddedOptions::default()) {
                Ok(recovered) if is_empty => {
                    assert_eq!(recovered.versions.len(), 0);
                    "nothing"
                }
                Ok(recovered) => {
                    assert!(recovered.versions.entries().values().eq(versions.entries().values()));
                    "all"
                }
                Err(OpenError::Corrupt { .. }) => "refused",
                Err(error) => panic!("{error}"),
            };
            *found.lock().unwrap().entry(what).or_default() += 1;
        }
    };
    disk.observe({
        let check = check.clone();
        move |disk, _| {
            // Killed here, or the machine crashed.
            check(disk);
            (0..50).for_each(|_| check(&disk.crash(&random)));
        }
    });

    fill(&disk, versions.entries(), versions.revision()).unwrap();

    check(&disk.crash(&Random::seeded(4)));
    let found = found.lock().unwrap();
    assert!(found["refused"] > 50 && found["all"] >= 1, "{found:?}");
}

#[test]
fn copy_that_finds_no_room_says_so() {
    let mut versions = Versions::new(Retention::default());
    versions.apply(pair(1).writes);
    let disk = FakeDisk::default();
    disk.leave_room(Some(100));

    let error = fill(&disk, versions.entries(), versions.revision()).unwrap_err();

    assert!(matches!(OpenError::io(Path::new("/backup"), error), OpenError::Full { .. }));
}
