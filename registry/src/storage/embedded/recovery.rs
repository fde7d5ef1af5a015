//! Reading back what a directory holds: the latest snapshot, then the log behind it.
//!
//! Only the end of the log can be torn, by a crash during the last write, of which nobody was told. That is repaired and
//! reported. Any other damage is refused.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use quarterdeck_core::random::Random;
use quarterdeck_core::storage::Revision;

use super::super::versions::Versions;
use super::EmbeddedOptions;
use super::disk::Disk;
use super::error::OpenError;
use super::format::{self, NEW, Record, segment_name, segment_number, snapshot_revision};
use super::log::{End, Log, Sealed};
use super::reader::{self, Reader, Segment, Step, Steps};
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
    /// The store's number, if a snapshot told it.
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
        let Some(&last) = numbers.last() else {
            return Err(reader::missing(&*self.disk, 1));
        };
        if self.snapshot.is_none() && numbers[0] != 1 {
            return Err(reader::missing(&*self.disk, 1));
        }
        let path = self.disk.path(&segment_name(last));
        let reader = Reader { disk: Arc::clone(&self.disk), store: self.store };
        let mut segment = thread::scope(|scope| {
            let steps = reader.start(scope, numbers);
            let steps = steps.map_err(|error| OpenError::io(&self.disk.path(""), error))?;
            self.replay(&steps, last)
        })?;
        // Only now: if anything is wrong with the log, it stays as it is.
        if segment.is_torn {
            let cut = segment.file.truncate(segment.offset).and_then(|()| segment.file.sync());
            cut.map_err(|error| OpenError::io(&path, error))?;
            self.repair = Some(Repair { file: path.clone(), offset: segment.offset });
        }
        let covered: Vec<String> = self
            .sealed
            .iter()
            .filter(|sealed| sealed.last <= self.covered)
            .map(|sealed| sealed.name.clone())
            .collect();
        remove(&*self.disk, &covered)?;
        self.sealed.retain(|sealed| sealed.last > self.covered);
        let end = End {
            file: segment.file,
            number: last,
            offset: segment.offset,
            chain: segment.chain,
            last: self.versions.revision(),
            closed: self.closed,
            sealed: self.sealed,
        };
        let EmbeddedOptions { segment_bytes, sync, .. } = self.options;
        let log = Log::resume(self.disk, end, segment_bytes, sync);
        let log = log.map_err(|error| OpenError::io(&path, error))?;
        Ok(Recovered { versions: self.versions, log, snapshot: self.snapshot, repair: self.repair })
    }

    /// Does again what the log tells, up to the end of its last segment, which is returned.
    fn replay(&mut self, steps: &Steps, last: u64) -> Result<Segment, OpenError> {
        loop {
            match steps.recv().expect("the reader tells of the last segment, or of an error")? {
                Step::Records(number, records) => {
                    for (offset, record) in records {
                        self.redo(record).map_err(|why| {
                            let file = self.disk.path(&segment_name(number));
                            OpenError::Corrupt { file, offset, why: why.to_owned() }
                        })?;
                    }
                }
                Step::End(segment) if segment.number == last => return Ok(segment),
                Step::End(segment) => self.sealed.push(Sealed {
                    name: segment_name(segment.number),
                    bytes: segment.offset,
                    last: self.versions.revision(),
                }),
            }
        }
    }

    fn redo(&mut self, record: Record) -> Result<(), &'static str> {
        self.closed = matches!(record, Record::Closed);
        match record {
            Record::Commit(revision, _) if revision <= self.covered => {}
            Record::Commit(revision, writes) => {
                if revision.0 != self.versions.revision().0 + 1 {
                    return Err("the commits before it are missing");
                }
                self.versions.apply(writes).ok_or("a commit changes nothing")?;
            }
            Record::Compact(at) => drop(self.versions.compact(at).map_err(|_| "a compaction of the future")?),
            Record::Closed => {}
        }
        Ok(())
    }
}
