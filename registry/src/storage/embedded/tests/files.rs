//! Opening and closing: what is in the directory, what is wrong with it, and what a bad disk does.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use futures::{FutureExt as _, StreamExt as _};
use quarterdeck_core::random::Random;
use quarterdeck_core::storage::{Expect, List, Revision, Storage, StorageError, Transaction};

use super::super::super::history::Retention;
use super::super::format::{FILE_HEADER, segment_name};
use super::super::recovery::recover;
use super::super::snapshot::{Job, Written};
use super::super::writer::Writer;
use super::super::{EmbeddedOptions, EmbeddedStorage, OpenError, Shared, SyncPolicy};
use super::fake_disk::{FakeDisk, Operation};
use super::on;

fn put(key: impl Into<String>, value: &'static str) -> Transaction {
    Transaction::new().put(key.into(), value)
}

fn reopen(files: BTreeMap<String, Vec<u8>>) -> Result<EmbeddedStorage, OpenError> {
    EmbeddedOptions::default().segment_bytes(0).open_disk(Arc::new(FakeDisk::holding(files)))
}

async fn closed_with(commits: usize) -> BTreeMap<String, Vec<u8>> {
    let disk = FakeDisk::default();
    let store = EmbeddedOptions::default().open_disk(Arc::new(disk.clone())).unwrap();
    for index in 0..commits {
        store.commit(put(format!("/k/{index}"), "value")).await.unwrap();
    }
    store.close().await;
    disk.files()
}

#[tokio::test]
async fn everything_is_there_after_closing_and_opening() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("made/for/it");
    let store = EmbeddedStorage::open(&path).unwrap();
    let first = store.commit(put("/a", "1").put("/b", "1")).await.unwrap();
    let second = store.commit(put("/a", "2").delete("/b")).await.unwrap();
    let expected = store.list(List::prefix("")).await.unwrap();
    store.close().await;

    let store = EmbeddedStorage::open(&path).unwrap();

    assert_eq!(store.list(List::prefix("")).await.unwrap(), expected);
    assert_eq!(store.list(List::prefix("").at(first)).await.unwrap().entries.len(), 2);
    let mut commits = store.watch("", first).await.unwrap();
    assert_eq!(commits.next().await.unwrap().unwrap().revision, second);
    assert_eq!(store.commit(put("/c", "1")).await.unwrap(), Revision(second.0 + 1));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
}

#[tokio::test]
async fn commits_in_flight_share_a_sync() {
    let disk = FakeDisk::default();
    let store = on(&disk);
    let before = disk.syncs();

    let all = join_all((0..200).map(|index| store.commit(put(format!("/k/{index}"), "x")))).await;

    assert!(all.iter().all(Result::is_ok));
    let syncs = disk.syncs() - before;
    assert!(syncs < 100, "{syncs} syncs for 200 commits");
}

#[tokio::test]
async fn dropping_the_last_clone_closes_the_store_and_ends_its_watches() {
    let disk = FakeDisk::default();
    let store = on(&disk);
    let mut commits = store.watch("", Revision(0)).await.unwrap();
    let clone = store.clone();
    drop(store);
    clone.commit(put("/a", "1")).await.unwrap();

    drop(clone);

    assert_eq!(commits.next().await.unwrap().unwrap().revision, Revision(1));
    assert!(matches!(commits.next().await, Some(Err(StorageError::Unavailable(_)))));
    assert!(commits.next().await.is_none());
    assert_eq!(on(&disk).revision().await.unwrap(), Revision(1));
}

#[tokio::test]
async fn closed_store_refuses_every_call() {
    let store = on(&FakeDisk::default());
    store.close().await;
    store.close().await;

    assert!(matches!(store.commit(put("/a", "1")).await, Err(StorageError::Unavailable(_))));
    assert!(matches!(store.get(&"/a".into()).await, Err(StorageError::Unavailable(_))));
    assert!(matches!(store.list(List::prefix("")).await, Err(StorageError::Unavailable(_))));
    assert!(matches!(store.revision().await, Err(StorageError::Unavailable(_))));
    assert!(matches!(store.compact(Revision(0)).await, Err(StorageError::Unavailable(_))));
    assert!(store.watch("", Revision(0)).await.is_err());
}

#[tokio::test]
async fn second_process_is_told_that_the_directory_is_in_use() {
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStorage::open(directory.path()).unwrap();

    let error = EmbeddedStorage::open(directory.path()).unwrap_err();

    let OpenError::Locked { lock, holder, .. } = &error else { panic!("{error}") };
    assert_eq!((lock, *holder), (&directory.path().join("lock"), Some(std::process::id())), "{error}");
    store.close().await;
    EmbeddedStorage::open(directory.path()).unwrap();
}

#[tokio::test]
async fn directory_with_other_things_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("thesis.tex"), "years of work").unwrap();

    let other = EmbeddedStorage::open(directory.path()).unwrap_err();
    let file = EmbeddedStorage::open(directory.path().join("thesis.tex")).unwrap_err();

    assert!(matches!(other, OpenError::NotADataDirectory { .. }), "{other}");
    assert!(matches!(file, OpenError::NotADataDirectory { .. }), "{file}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing was made there");
}

#[tokio::test]
async fn directory_that_may_not_be_made_is_named() {
    // Nobody may make a directory there, root neither.
    let error = EmbeddedStorage::open("/sys/quarterdeck").unwrap_err();

    assert!(matches!(&error, OpenError::Permission { path, .. } if path.ends_with("quarterdeck")), "{error}");
}

#[test]
fn policies_are_read_as_they_are_written() {
    for text in ["always", "never", "100ms", "2s"] {
        assert_eq!(text.parse::<SyncPolicy>().unwrap().to_string(), text);
    }
    for text in ["", "sometimes", "0s", "-1s", "5"] {
        assert!(text.parse::<SyncPolicy>().unwrap_err().to_string().contains("100ms"), "{text}");
    }
}

#[tokio::test]
async fn store_that_never_syncs_does_when_it_closes_and_one_with_an_interval_in_time() {
    let disk = FakeDisk::default();
    let open = |policy| EmbeddedOptions::default().sync(policy).open_disk(Arc::new(disk.clone())).unwrap();
    let store = open(SyncPolicy::Never);
    let before = disk.syncs();
    for index in 0..50 {
        store.commit(put(format!("/k/{index}"), "x")).await.unwrap();
    }
    assert_eq!((disk.syncs(), disk.is_dirty()), (before, true), "nothing was synced");
    store.close().await;
    assert!(!disk.is_dirty(), "closing syncs");

    let store = open(SyncPolicy::Interval(Duration::from_millis(20)));
    let before = disk.syncs();
    store.commit(put("/last", "x")).await.unwrap();
    let synced = tokio::time::timeout(Duration::from_secs(20), async {
        while disk.is_dirty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });

    synced.await.expect("an interval ends");
    assert_eq!(disk.syncs(), before + 1);
}

#[tokio::test]
async fn sync_that_fails_in_an_interval_refuses_writes_from_then_on() {
    let disk = FakeDisk::default();
    let policy = SyncPolicy::Interval(Duration::from_millis(1));
    let store = EmbeddedOptions::default().sync(policy).open_disk(Arc::new(disk.clone())).unwrap();
    disk.fail_syncs();

    let refused = tokio::time::timeout(Duration::from_secs(20), async {
        while store.commit(put("/a", "1")).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });

    refused.await.expect("the failure is noticed");
    assert_eq!(store.get(&"/a".into()).await.unwrap().unwrap().value, "1", "reads go on");
}

#[tokio::test]
async fn other_format_version_is_refused() {
    let mut files = closed_with(3).await;
    let log = files.get_mut(&segment_name(1)).unwrap();
    log[8] = 9;
    log[12..16].fill(0);
    let checksum = crc32c::crc32c(&log[..FILE_HEADER]);
    log[12..16].copy_from_slice(&checksum.to_le_bytes());

    let error = reopen(files).unwrap_err();

    assert!(matches!(error, OpenError::FormatVersion { found: 9, supported: 1, .. }), "{error}");
}

#[tokio::test]
async fn flipped_bit_anywhere_in_a_closed_log_is_never_silently_wrong() {
    let files = closed_with(4).await;
    let name = segment_name(1);
    let length = files[&name].len();

    for at in (0..length).filter(|at| !(12..16).contains(at)) {
        let mut files = files.clone();
        files.get_mut(&name).unwrap()[at] ^= 0x10;
        match reopen(files) {
            Err(OpenError::Corrupt { file, offset, .. }) => {
                assert!(file.ends_with(&name) && offset <= at as u64, "byte {at}: corrupt at {offset}");
            }
            Err(OpenError::FormatVersion { .. }) => assert!((8..12).contains(&at), "byte {at}"),
            Err(error) => panic!("byte {at}: {error}"),
            // Padding, or the mark of the close itself: all that was committed is there.
            Ok(store) => assert_eq!(store.revision().await.unwrap(), Revision(4), "byte {at}"),
        }
    }
}

#[tokio::test]
async fn missing_file_of_the_log_is_refused() {
    let disk = FakeDisk::default();
    let store = on(&disk);
    for index in 0..300 {
        store.commit(put(format!("/k/{index}"), "some value")).await.unwrap();
    }
    store.close().await;
    let files = disk.files();
    assert!(files.len() > 3, "{files:?}");

    for missing in files.keys().take(files.len() - 1) {
        let mut files = files.clone();
        files.remove(missing);
        let error = reopen(files).unwrap_err();
        assert!(matches!(error, OpenError::Corrupt { .. }), "without {missing}: {error}");
    }
}

#[tokio::test]
async fn file_of_another_store_is_refused() {
    let mut files = closed_with(3).await;
    let other = closed_with(3).await;
    let mut stranger = other[&segment_name(1)].clone();
    stranger[24] = 2;
    files.insert(segment_name(2), stranger);

    let error = reopen(files).unwrap_err();

    assert!(matches!(error, OpenError::Corrupt { .. }), "{error}");
}

#[tokio::test]
async fn torn_end_is_cut_off_and_the_store_goes_on() {
    let disk = FakeDisk::default();
    let store = EmbeddedOptions::default().open_disk(Arc::new(disk.clone())).unwrap();
    for index in 0..3 {
        store.commit(put(format!("/k/{index}"), "value")).await.unwrap();
    }
    let mut files = disk.files();
    drop(store);
    let log = files.get_mut(&segment_name(1)).unwrap();
    let end = log.iter().rposition(|byte| *byte != 0).unwrap();
    log.truncate(end);

    let torn = FakeDisk::holding(files);
    let store = on(&torn);
    assert_eq!(store.revision().await.unwrap(), Revision(2));
    let repair = store.repair().expect("the repair is reported");
    assert!(repair.file.ends_with(segment_name(1)) && repair.offset < end as u64, "{repair:?}");
    store.commit(put("/again", "x")).await.unwrap();
    store.close().await;

    assert_eq!(on(&torn).repair(), None);
    assert_eq!(on(&torn).revision().await.unwrap(), Revision(3));
}

#[tokio::test]
async fn padding_of_the_last_frame_may_be_missing() {
    let disk = FakeDisk::default();
    let store = EmbeddedOptions::default().open_disk(Arc::new(disk.clone())).unwrap();
    store.commit(put("/a", "odd")).await.unwrap();
    let mut files = disk.files();
    drop(store);
    let log = files.get_mut(&segment_name(1)).unwrap();
    let end = log.iter().rposition(|byte| *byte != 0).unwrap();
    log.truncate(end + 1);
    assert_ne!(log.len() % 8, 0);

    let cut = FakeDisk::holding(files);
    let store = on(&cut);
    store.commit(put("/b", "1")).await.unwrap();
    store.close().await;

    assert_eq!(on(&cut).revision().await.unwrap(), Revision(2));
}

#[tokio::test]
async fn full_disk_refuses_writes_until_there_is_room() {
    let disk = FakeDisk::default();
    let store = on(&disk);
    store.commit(put("/a", "1")).await.unwrap();
    disk.leave_room(Some(0));
    let large = || Transaction::new().put("/large", vec![b'x'; 20 << 10]);

    let refused = store.commit(large()).await;
    let behind = store.commit(large().expect("/a", Expect::Present)).await;

    assert!(matches!(refused, Err(StorageError::Full(_))), "{refused:?}");
    assert!(matches!(behind, Err(StorageError::Full(_))), "{behind:?}");
    assert_eq!(store.list(List::prefix("")).await.unwrap().entries.len(), 1, "reads go on");
    disk.leave_room(None);
    assert_eq!(store.commit(large()).await.unwrap(), Revision(2), "writes go on");
    store.close().await;
    assert_eq!(on(&disk).list(List::prefix("")).await.unwrap().entries.len(), 2);
}

#[tokio::test]
async fn failed_sync_refuses_writes_until_the_store_is_opened_again() {
    let disk = FakeDisk::default();
    let store = on(&disk);
    store.commit(put("/a", "1")).await.unwrap();
    assert!(store.check().is_ok());
    disk.fail_syncs();

    let failed = store.commit(put("/a", "2")).await;
    let writes = disk.writes();
    let behind = store.commit(put("/a", "3")).await;

    assert!(matches!(failed, Err(StorageError::Unavailable(_))), "{failed:?}");
    assert!(matches!(behind, Err(StorageError::Unavailable(_))), "{behind:?}");
    assert_eq!(store.get(&"/a".into()).await.unwrap().unwrap().value, "1", "reads go on");
    let check = store.check();
    assert!(matches!(check, Err(StorageError::Unavailable(_))), "{check:?}");
    store.close().await;
    assert_eq!(disk.writes(), writes, "nothing more was written");
}

/// Commits, in this thread.
fn commit(shared: &Shared, writer: &mut Writer, transaction: Transaction) -> Result<Revision, StorageError> {
    let mut commit = pin!(shared.queue.commit(transaction));
    match commit.as_mut().now_or_never() {
        Some(answer) => answer,
        None => {
            assert!(writer.turn());
            commit.now_or_never().unwrap()
        }
    }
}

/// Commits 4000 times, each snapshot made by `snapshot`, and returns how many bytes the disk held at most.
fn fill(disk: &FakeDisk, mut snapshot: impl FnMut(Job) -> io::Result<Written>) -> usize {
    let retention = Retention { commits: 50, bytes: usize::MAX };
    let options = EmbeddedOptions::default().retention(retention).segment_bytes(8 << 10);
    let open = || recover(Arc::new(disk.clone()), options).unwrap();
    let (shared, mut writer) = Shared::new(open());
    let mut most = 0;

    for index in 0..4000_usize {
        let put = Transaction::new().put(format!("/k/{}", index % 20), vec![b'v'; 200]);
        commit(&shared, &mut writer, put).unwrap();
        if let Some(job) = writer.due() {
            writer.snapshotted(snapshot(job));
        }
        if let Some(preparation) = writer.unprepared() {
            writer.prepared(preparation.run());
        }
        most = most.max(disk.files().values().map(Vec::len).sum());
    }

    let versions = open().versions;
    assert_eq!(versions.revision(), Revision(4000));
    assert_eq!(versions.list(&List::prefix("").at(Revision(3950))).unwrap().entries.len(), 20);
    most
}

#[test]
fn disk_use_stays_bounded() {
    let most = fill(&FakeDisk::default(), Job::run);

    // 20 values and 50 commits of 200 bytes, with a snapshot and three segments too many: 1 MB was written.
    assert!(most < 60 << 10, "{most} bytes");
}

#[test]
fn removal_that_failed_half_way_holds_up_no_later_snapshot() {
    let disk = FakeDisk::default();
    let mut jobs = 0;

    let most = fill(&disk, |job| {
        jobs += 1;
        if jobs == 3 {
            // A file is gone, and the disk does not say for how long.
            disk.observe(|disk, operation| {
                if operation == Operation::Remove {
                    disk.fail_syncs();
                }
            });
            let failed = job.run();
            disk.observe(|_, _| {});
            disk.work_again();
            assert!(failed.is_err());
            return failed;
        }
        job.run()
    });

    assert!(jobs > 10, "{jobs} snapshots");
    assert!(most < 100 << 10, "{most} bytes");
    let snapshots = disk.files().keys().filter(|name| name.starts_with("snapshot-")).count();
    assert_eq!(snapshots, 1, "{disk:?}");
}

#[test]
fn segment_whose_name_may_be_lost_is_no_full_disk() {
    let disk = FakeDisk::default();
    let options = EmbeddedOptions::default().segment_bytes(8 << 10);
    let (shared, mut writer) = Shared::new(recover(Arc::new(disk.clone()), options).unwrap());
    let put = || Transaction::new().put("/k", vec![b'v'; 3 << 10]);
    commit(&shared, &mut writer, put()).unwrap();
    commit(&shared, &mut writer, put()).unwrap();
    let spare = writer.unprepared().expect("enough is written for a spare segment").run();
    writer.prepared(spare);

    // The segment gets its name, and there is no room to keep that.
    disk.fill_names(true);
    let refused = commit(&shared, &mut writer, put());
    disk.fill_names(false);
    let behind = commit(&shared, &mut writer, put());

    assert!(matches!(refused, Err(StorageError::Unavailable(_))), "{refused:?}");
    assert!(matches!(behind, Err(StorageError::Unavailable(_))), "{behind:?}");
    for seed in 0..50 {
        let found = recover(Arc::new(disk.crash(&Random::seeded(seed))), options).unwrap();
        assert_eq!(found.versions.revision(), Revision(2), "seed {seed}: what was acknowledged is there");
    }
}

#[tokio::test]
async fn damaged_snapshot_is_refused() {
    let disk = FakeDisk::default();
    let options = EmbeddedOptions::default().retention(Retention { commits: 5, bytes: usize::MAX });
    let store = options.segment_bytes(0).open_disk(Arc::new(disk.clone())).unwrap();
    for index in 0..400 {
        store.commit(put(format!("/k/{}", index % 9), "some value")).await.unwrap();
    }
    store.close().await;
    let files = disk.files();
    let name =
        files.keys().find(|name| name.starts_with("snapshot")).expect("a snapshot was written").clone();

    for at in FILE_HEADER + 8..files[&name].len() - 8 {
        let mut files = files.clone();
        files.get_mut(&name).unwrap()[at] ^= 1;
        match reopen(files) {
            Err(OpenError::Corrupt { file, .. }) => assert!(file.ends_with(&name)),
            Err(error) => panic!("byte {at}: {error}"),
            Ok(store) => assert_eq!(store.revision().await.unwrap(), Revision(400), "byte {at}"),
        }
    }
}

#[tokio::test]
async fn store_that_is_only_read_writes_nothing() {
    let options = EmbeddedOptions::default().segment_bytes(4 << 10);
    // Segments of all lengths, also those that are long enough for a spare one.
    for commits in 1..40 {
        let disk = FakeDisk::default();
        let store = options.open_disk(Arc::new(disk.clone())).unwrap();
        for index in 0..commits {
            store.commit(Transaction::new().put(format!("/k/{index}"), vec![b'x'; 100])).await.unwrap();
        }
        store.close().await;
        let left = disk.copy();

        let store = options.open_disk(Arc::new(left.clone())).unwrap();
        let writes = left.writes();
        assert_eq!(store.list(List::prefix("")).await.unwrap().entries.len(), commits);
        store.close().await;

        assert_eq!(left.writes(), writes, "after {commits} commits");
    }
}
