//! Damage at every boundary of the log: of files, of frames, of records and of what is in a record. What comes back is a state
//! that there was, or a refusal that names the place.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::join_all;
use quarterdeck_core::storage::{Entry, List, Revision, Storage, Transaction};

use super::super::super::history::Retention;
use super::super::disk::Disk as _;
use super::super::format::{Chain, FILE_HEADER, FRAME_HEADER, Header, Kind, Records, segment_number};
use super::super::frames::{Frames, Next};
use super::super::recovery::{Recovered, recover};
use super::super::{EmbeddedOptions, OpenError};
use super::fake_disk::FakeDisk;

const COMMITS: usize = 90;

fn open(files: BTreeMap<String, Vec<u8>>) -> Result<Recovered, OpenError> {
    recover(Arc::new(FakeDisk::holding(files)), EmbeddedOptions::default())
}

/// A store that was not closed, with its states by revision.
struct Written {
    files: BTreeMap<String, Vec<u8>>,
    states: Vec<Vec<Entry>>,
}

async fn written() -> Written {
    let disk = FakeDisk::default();
    let options = EmbeddedOptions::default().segment_bytes(0);
    let options = options.retention(Retention { commits: COMMITS + 1, bytes: usize::MAX });
    let store = options.open_disk(Arc::new(disk.clone())).unwrap();
    // Some commits share a frame.
    for round in 0..COMMITS / 3 {
        let commits = (0..3).map(|index| {
            let value = "v".repeat((round * 37 + index) % 150);
            let key = format!("/k/{}", (round + index) % 7);
            store.commit(Transaction::new().put(key, value).put("/count", (round * 3 + index).to_string()))
        });
        assert!(join_all(commits).await.iter().all(Result::is_ok));
    }
    let mut states = Vec::new();
    for revision in 0..=COMMITS as u64 {
        states.push(store.list(List::prefix("").at(Revision(revision))).await.unwrap().entries);
    }
    let files = disk.files();
    drop(store);
    Written { files, states }
}

/// Where something begins or ends in a segment.
struct Boundaries {
    /// Fields of headers, frames, records and padding.
    all: Vec<usize>,
    /// Where the last frame begins, and where it ends.
    last: (usize, usize),
}

fn boundaries(disk: &FakeDisk, name: &str) -> Boundaries {
    let file = disk.open(name).unwrap();
    let mut header = [0; FILE_HEADER];
    file.read(0, &mut header).unwrap();
    let header = Header::decode(Kind::Segment, header).unwrap();
    let chain = Chain { store: header.store, sequence: header.first, previous: header.previous };
    let mut frames = Frames::new(&*file, chain).unwrap();
    // The fields of the file's header, too.
    let mut all = vec![0, 8, 12, 16, 24, 32, 40, 44, FILE_HEADER];
    let mut last = (FILE_HEADER, FILE_HEADER);
    loop {
        let start = usize::try_from(frames.offset()).unwrap();
        let Next::Frame(length) = frames.next().unwrap() else { return Boundaries { all, last } };
        all.extend([4, 8, 16, 20, 24, 28, FRAME_HEADER].map(|field| start + field));
        let mut records = Records(frames.records(length));
        while !records.is_empty() {
            records.record().unwrap();
            all.push(start + FRAME_HEADER + length - records.0.len());
        }
        last = (start, usize::try_from(frames.offset()).unwrap());
        all.push(last.1);
    }
}

/// Says what came of damage: how many commits are left, or nothing if it was refused.
fn outcome(written: &Written, files: BTreeMap<String, Vec<u8>>, what: &str) -> Option<usize> {
    match open(files) {
        Ok(recovered) => {
            let revision = recovered.versions.revision();
            let left = usize::try_from(revision.0).unwrap();
            let page = recovered.versions.list(&List::prefix("")).unwrap();
            assert_eq!(page.entries, written.states[left], "{what}: this state there never was");
            Some(left)
        }
        Err(OpenError::Corrupt { file, .. }) => {
            assert!(file.starts_with("/fake"), "{what}: {}", file.display());
            None
        }
        Err(OpenError::FormatVersion { .. }) => None,
        Err(error) => panic!("{what}: {error}"),
    }
}

#[tokio::test]
async fn flipped_bits_at_every_boundary_are_refused_or_cost_the_last_frame_only() {
    let written = written().await;
    let disk = FakeDisk::holding(written.files.clone());
    let names: Vec<&String> = written.files.keys().filter(|name| segment_number(name).is_some()).collect();
    assert!(names.len() > 2, "{names:?}");
    let (mut refused, mut left, mut places) = (0, 0, 0);

    for name in &names {
        let Boundaries { all, last } = boundaries(&disk, name);
        let is_last = name == names.last().unwrap();
        for at in all.iter().flat_map(|at| [at.saturating_sub(1), *at, at + 1]) {
            for bit in [0x01, 0x80] {
                let mut files = written.files.clone();
                let Some(byte) = files.get_mut(*name).unwrap().get_mut(at) else { continue };
                *byte ^= bit;
                places += 1;
                match outcome(&written, files, &format!("{name}, byte {at}")) {
                    None => refused += 1,
                    Some(COMMITS) => left += 1,
                    Some(fewer) => {
                        assert!(
                            is_last && at >= last.0,
                            "{name}, byte {at}: {fewer} commits are left in silence"
                        );
                    }
                }
            }
        }
    }

    // What is left whole was flipped in padding, or in zeros.
    assert!(places > 1500 && refused > places / 2, "{refused} of {places} refused, {left} without loss");
}

#[tokio::test]
async fn torn_ends_at_every_boundary_are_repaired_and_missing_middles_refused() {
    let written = written().await;
    let disk = FakeDisk::holding(written.files.clone());
    let names: Vec<&String> = written.files.keys().filter(|name| segment_number(name).is_some()).collect();
    let mut repaired = 0;

    for name in &names {
        let Boundaries { all, last: (_, end) } = boundaries(&disk, name);
        let is_last = name == names.last().unwrap();
        for at in all.iter().flat_map(|at| [at.saturating_sub(1), *at, at + 1]) {
            let what = format!("{name}, cut at {at}");
            let cut = |bytes: &mut Vec<u8>| bytes.truncate(at);
            let zeroed = |bytes: &mut Vec<u8>| bytes[at..].fill(0);
            for damage in [&cut as &dyn Fn(&mut Vec<u8>), &zeroed] {
                let mut files = written.files.clone();
                let bytes = files.get_mut(*name).unwrap();
                if at >= bytes.len() {
                    continue;
                }
                damage(bytes);
                match outcome(&written, files, &what) {
                    Some(COMMITS) => assert!(at + 8 > end, "{what}: nothing is missing"),
                    Some(_) => {
                        assert!(is_last, "{what}: the middle is missing in silence");
                        repaired += 1;
                    }
                    None => assert!(!is_last || at < FILE_HEADER, "{what}: a torn end is refused"),
                }
            }
        }
    }

    assert!(repaired > 20, "only {repaired} torn ends");
}

#[tokio::test]
async fn half_a_snapshot_is_refused_wherever_it_ends() {
    let disk = FakeDisk::default();
    let options = EmbeddedOptions::default().retention(Retention { commits: 5, bytes: usize::MAX });
    let store = options.segment_bytes(0).open_disk(Arc::new(disk.clone())).unwrap();
    for index in 0..400 {
        store.commit(Transaction::new().put(format!("/k/{}", index % 9), "some value")).await.unwrap();
    }
    store.close().await;
    let files = disk.files();
    let name = files.keys().find(|name| name.starts_with("snapshot")).expect("there is one").clone();

    for length in 0..files[&name].len() - 8 {
        let mut files = files.clone();
        files.get_mut(&name).unwrap().truncate(length);
        let error = open(files).err().expect("half a snapshot is no snapshot");
        assert!(
            matches!(&error, OpenError::Corrupt { file, .. } if file.ends_with(&name)),
            "{length}: {error}"
        );
        assert!(error.to_string().contains("restore the directory from a backup"), "{error}");
    }
}
