//! Reading back what a directory holds: the latest snapshot, then the log behind it.
//!
//! Only the end of the log can be torn, by a crash during the last write, of which nobody was told. That is repaired and
//! reported. Any other damage is refused.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use quarterdeck_core::random::Random;
use quarterdeck_core::storage::Revision;

use super::super::versions::Versions;
use super::EmbeddedOptions;
use super::disk::{Disk, DiskFile};
use super::error::OpenError;
use super::format::{
    self, Chain, FILE_HEADER, Kind, NEW, Record, Records, UNREADABLE, segment_name, segment_number,
    snapshot_revision,
};
use super::frames::{Frames, Next};
use super::log::{End, Log, Sealed};
use super::snapshot::{self, Snapshot};

/// What was read back.
pub(super) struct Recovered {
    pub(super) versions: Versions,
    pub(super) log: Log,
    /// The name and size of the snapshot that the log goes on from.
    pub(super) snapshot: Option<(String, u64)>,
    /// What was cut off, if the last write was interrupted.
    pub(super) repair: Option<Repair>,
}

/// What opening a store repaired: the end of its log was written when the process or the machine stopped, so that nobody was
/// told that it is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Repair {
    /// The file of the log that was cut off.
    pub file: PathBuf,
    /// How many bytes of it were kept.
    pub offset: u64,
}

/// Reads back a store, or makes one in an empty directory.
pub(super) fn recover(disk: Arc<dyn Disk>, options: EmbeddedOptions) -> Result<Recovered, OpenError> {
    let root = disk.path("");
    let names = disk.list().map_err(|error| OpenError::io(&root, error))?;
    let mut segments: Vec<u64> = names.iter().filter_map(|name| segment_number(name)).collect();
    let mut snapshots: Vec<Revision> = names.iter().filter_map(|name| snapshot_revision(name)).collect();
    segments.sort_unstable();
    snapshots.sort_unstable();
    let latest = snapshots.pop();
    let mut superfluous: Vec<String> =
        names.into_iter().filter(|name| name.ends_with(NEW) && format::is_ours(name)).collect();
    superfluous.extend(snapshots.into_iter().map(format::snapshot_name));
    let recovered = if segments.is_empty() && latest.is_none() {
        create(disk, options)?
    } else {
        let snapshot = latest.map(|revision| snapshot::read(&*disk, revision)).transpose()?;
        Replay::new(disk, snapshot, options)?.run(&segments)?
    };
    // Last, so that an error on the way leaves everything as it was.
    remove(&*recovered.log.disk().clone(), &superfluous)?;
    Ok(recovered)
}

fn create(disk: Arc<dyn Disk>, options: EmbeddedOptions) -> Result<Recovered, OpenError> {
    let path = disk.path(&segment_name(1));
    let log = Log::create(disk, Random::from_os().u64(), options.segment_bytes, options.sync)
        .map_err(|error| OpenError::io(&path, error))?;
    Ok(Recovered { versions: Versions::new(options.retention), log, snapshot: None, repair: None })
}

fn remove(disk: &dyn Disk, names: &[String]) -> Result<(), OpenError> {
    for name in names {
        match disk.remove(name).and_then(|()| disk.sync()) {
            // It got its final name meanwhile, as the first file of a new log.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => result.map_err(|error| OpenError::io(&disk.path(name), error))?,
        }
    }
    Ok(())
}

/// The reading of one log.
struct Replay {
    disk: Arc<dyn Disk>,
    versions: Versions,
    /// The store's number, once a file told it.
    store: Option<u64>,
    snapshot: Option<(String, u64)>,
    /// What is in the log up to here is in the snapshot.
    covered: Revision,
    sealed: Vec<Sealed>,
    closed: bool,
    repair: Option<Repair>,
    options: EmbeddedOptions,
}

impl Replay {
    fn new(
        disk: Arc<dyn Disk>,
        snapshot: Option<Snapshot>,
        options: EmbeddedOptions,
    ) -> Result<Self, OpenError> {
        let retention = options.retention;
        let mut replay = Self {
            disk,
            versions: Versions::new(retention),
            store: None,
            snapshot: None,
            covered: Revision(0),
            sealed: Vec::new(),
            closed: false,
            repair: None,
            options,
        };
        if let Some(Snapshot { store, revision, entries, name, bytes }) = snapshot {
            replay.versions = Versions::restored(entries, revision, retention);
            replay.store = Some(store);
            replay.snapshot = Some((name, bytes));
            replay.covered = revision;
        }
        Ok(replay)
    }

    fn run(mut self, numbers: &[u64]) -> Result<Recovered, OpenError> {
        let Some((&last, earlier)) = numbers.split_last() else {
            return Err(self.missing(1));
        };
        if self.snapshot.is_none() && numbers[0] != 1 {
            return Err(self.missing(1));
        }
        let mut chain = None;
        for (index, &number) in earlier.iter().enumerate() {
            let (_, frames_end, end) = self.segment(number, chain, false)?;
            self.sealed.push(Sealed {
                name: segment_name(number),
                bytes: frames_end,
                last: self.versions.revision(),
            });
            chain = Some(end);
            if numbers[index + 1] != number + 1 {
                return Err(self.missing(number + 1));
            }
        }
        let (file, offset, chain) = self.segment(last, chain, true)?;
        let covered: Vec<String> = self
            .sealed
            .iter()
            .filter(|sealed| sealed.last <= self.covered)
            .map(|sealed| sealed.name.clone())
            .collect();
        remove(&*self.disk, &covered)?;
        self.sealed.retain(|sealed| sealed.last > self.covered);
        let end = End {
            file,
            number: last,
            offset,
            chain,
            last: self.versions.revision(),
            closed: self.closed,
            sealed: self.sealed,
        };
        let path = self.disk.path(&segment_name(last));
        let EmbeddedOptions { segment_bytes, sync, .. } = self.options;
        let log = Log::resume(self.disk, end, segment_bytes, sync);
        let log = log.map_err(|error| OpenError::io(&path, error))?;
        Ok(Recovered { versions: self.versions, log, snapshot: self.snapshot, repair: self.repair })
    }

    fn missing(&self, number: u64) -> OpenError {
        let why = "it is missing, and there is no snapshot of what it held".to_owned();
        OpenError::Corrupt { file: self.disk.path(&segment_name(number)), offset: 0, why }
    }

    /// Reads a segment that continues the chain. Returns it with where its frames end and how the next would go on.
    fn segment(
        &mut self,
        number: u64,
        chain: Option<Chain>,
        is_last: bool,
    ) -> Result<(Box<dyn DiskFile>, u64, Chain), OpenError> {
        let name = segment_name(number);
        let path = self.disk.path(&name);
        let failed = |source| OpenError::io(&path, source);
        let corrupt =
            |offset, why: &str| OpenError::Corrupt { file: path.clone(), offset, why: why.to_owned() };
        let mut file = self.disk.open(&name).map_err(failed)?;
        let header = snapshot::read_header(&*file, Kind::Segment, path.clone())?;
        let begins = Chain { store: header.store, sequence: header.first, previous: header.previous };
        let store = *self.store.get_or_insert(header.store);
        if header.number != number || header.store != store {
            return Err(corrupt(0, "it belongs elsewhere"));
        }
        if chain.is_some_and(|chain| chain != begins) {
            return Err(corrupt(FILE_HEADER as u64, "the segment before it lost its end"));
        }
        let mut frames = Frames::new(&*file, begins).map_err(failed)?;
        let torn = loop {
            let offset = frames.offset();
            match frames.next().map_err(failed)? {
                Next::Frame(length) => {
                    self.replay(Records(frames.records(length))).map_err(|why| corrupt(offset, why))?
                }
                Next::End => break false,
                Next::Damage if !is_last => return Err(corrupt(offset, "a checksum is wrong")),
                Next::Damage => match frames.later_frame().map_err(failed)? {
                    Some(later) => {
                        let why = format!(
                            "a checksum is wrong, and data that was written later follows at {later}"
                        );
                        return Err(corrupt(offset, &why));
                    }
                    None => break true,
                },
            }
        };
        let (offset, chain) = (frames.offset(), frames.chain());
        if torn {
            file.truncate(offset).and_then(|()| file.sync()).map_err(failed)?;
            self.repair = Some(Repair { file: path, offset });
        }
        Ok((file, offset, chain))
    }

    fn replay(&mut self, mut records: Records<'_>) -> Result<(), &'static str> {
        while !records.is_empty() {
            self.closed = false;
            match records.record().ok_or(UNREADABLE)? {
                Record::Commit(revision, _) if revision <= self.covered => {}
                Record::Commit(revision, writes) => {
                    if revision.0 != self.versions.revision().0 + 1 {
                        return Err("the commits before it are missing");
                    }
                    self.versions.apply(writes).ok_or("a commit changes nothing")?;
                }
                Record::Compact(at) => {
                    drop(self.versions.compact(at).map_err(|_| "a compaction of the future")?)
                }
                Record::Closed => self.closed = true,
            }
        }
        Ok(())
    }
}
