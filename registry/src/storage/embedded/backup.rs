//! Copies of a store: made while it is written, and read back into a new directory.
//!
//! A copy is a directory like any other: a snapshot of everything at one revision, and an empty log behind it. The log
//! comes first and the snapshot's name last, so a copy that was interrupted is refused when it is opened, and never taken
//! for a store with nothing in it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quarterdeck_core::clock::Clock;
use quarterdeck_core::random::Random;
use quarterdeck_core::storage::Revision;

use super::super::entries::Entries;
use super::disk::{Disk, DiskFile, LOCK, LOST_AND_FOUND, OsDisk};
use super::error::OpenError;
use super::format::{Chain, NEW, segment_name, segment_number, snapshot_name, snapshot_revision};
use super::log::make_segment;
use super::recovery::{Recovered, Repair, recover};
use super::{EmbeddedOptions, EmbeddedStorage, snapshot};

/// A restored store goes on so many revisions behind its copy, at least: clients that saw what came after the copy are told
/// that their revision is gone, and list again, instead of mistaking other commits for those that they know.
const GAP: u64 = 1_000_000_000;

/// Returns where a store that was copied at this revision goes on. A later restore of the same copy, or of an older one, has to
/// go on behind this one: so it is at the date in microseconds, which no store outruns.
fn behind(copied: Revision) -> Revision {
    let now = u64::try_from(Clock::system().now().as_microsecond()).unwrap_or(0);
    Revision((copied.0 + GAP).max(now))
}

/// The number of a copy's only segment. Without the one before, a log needs a snapshot.
const SEGMENT: u64 = 2;

/// How often a directory in use is read before what is wrong there is taken for damage, and not for its writer's work.
const ATTEMPTS: usize = 10;

/// What was copied.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Copied {
    /// The revision of the store in the copy.
    pub revision: Revision,
    /// How many keys it has.
    pub keys: usize,
    /// How large it is on the disk.
    pub bytes: u64,
    /// What is not in the copy, because it was not written whole: the end of the log that was read. If the store is open, that
    /// may be a commit under way; if it is not, opening it would cut it off as well.
    pub left_out: Option<Repair>,
}

impl EmbeddedStorage {
    /// Copies what is stored now into a new or empty directory, durably. Commits go on meanwhile; history is not copied. Blocks
    /// while it writes.
    ///
    /// The copy is a data directory. [`EmbeddedStorage::restore`] checks it before it is used.
    ///
    /// # Errors
    ///
    /// [`OpenError::NotEmpty`] if something is there, or what went wrong in that directory.
    pub fn backup(&self, to: impl AsRef<Path>) -> Result<Copied, OpenError> {
        let versions = self.inner.shared.published.snapshot();
        copy(versions.entries(), versions.revision(), to.as_ref())
    }

    /// Copies what is stored in a directory into another one, which is new or empty, whether a process has it open or not.
    /// What that process acknowledged before the call is in the copy. Blocks while it reads and writes.
    ///
    /// # Errors
    ///
    /// [`OpenError::NoStore`] if there is nothing to copy, [`OpenError::NotEmpty`] if something is where the copy should be, or
    /// what is wrong with either directory.
    pub fn backup_of(directory: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<Copied, OpenError> {
        let to = to.as_ref();
        refuse_used(to)?;
        let Recovered { versions, repair, .. } = read(directory.as_ref())?;
        let copied = copy(versions.entries(), versions.revision(), to)?;
        Ok(Copied { left_out: repair, ..copied })
    }

    /// Checks a copy and makes a data directory of it, new or empty. Its revision is greater than any that clients know, also from
    /// an earlier restore, so that all of them list again. Blocks while it reads and writes.
    ///
    /// # Errors
    ///
    /// [`OpenError::NoStore`] if there is no copy, [`OpenError::NotEmpty`] if something is where the store should be, or what is
    /// wrong with either directory.
    pub fn restore(backup: impl AsRef<Path>, directory: impl AsRef<Path>) -> Result<Copied, OpenError> {
        let directory = directory.as_ref();
        refuse_used(directory)?;
        let Recovered { versions, repair, .. } = read(backup.as_ref())?;
        let copied = copy(versions.entries(), behind(versions.revision()), directory)?;
        Ok(Copied { left_out: repair, ..copied })
    }
}

/// Refuses a directory that holds something.
fn refuse_used(directory: &Path) -> Result<(), OpenError> {
    let failed = |error| OpenError::io(directory, error);
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            let (directory, found) = (directory.to_owned(), "it is a file".to_owned());
            return Err(OpenError::NotADataDirectory { directory, found });
        }
        entries => entries.map_err(failed)?,
    };
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        // A lock alone is what an attempt leaves that failed.
        if name != LOCK && name != LOST_AND_FOUND {
            return Err(OpenError::NotEmpty { directory: directory.to_owned() });
        }
    }
    Ok(())
}

/// Writes a copy into a directory.
fn copy(entries: &Entries, revision: Revision, to: &Path) -> Result<Copied, OpenError> {
    refuse_used(to)?;
    let disk = OsDisk::open(to)?;
    // Somebody may have been faster than the lock.
    refuse_used(to)?;
    let bytes = fill(&disk, entries, revision).map_err(|error| {
        // What is half a copy helps nobody. If this fails too, the directory is refused as it is.
        let new = format!("{}{NEW}", snapshot_name(revision));
        for name in [new, snapshot_name(revision), segment_name(SEGMENT)] {
            let _ = disk.remove(&name);
        }
        OpenError::io(to, error)
    })?;
    Ok(Copied { revision, keys: entries.len(), bytes, left_out: None })
}

pub(super) fn fill(disk: &dyn Disk, entries: &Entries, revision: Revision) -> io::Result<u64> {
    let store = Random::from_os().u64();
    make_segment(disk, SEGMENT, Chain { store, sequence: 1, previous: 0 })?;
    let (name, new) = (snapshot_name(revision), format!("{}{NEW}", snapshot_name(revision)));
    let bytes = snapshot::write(disk, &new, store, revision, entries)?;
    disk.rename(&new, &name)?;
    disk.sync()?;
    Ok(bytes)
}

/// Reads what a directory holds without a lock and without changing anything.
fn read(directory: &Path) -> Result<Recovered, OpenError> {
    let disk = Arc::new(ReadOnly { directory: directory.to_owned() });
    let mut attempts = 1;
    loop {
        let error = match read_once(&disk) {
            Ok(recovered) => return Ok(recovered),
            Err(error) => error,
        };
        let may_be_work = match &error {
            // A snapshot replaced it after the names were read.
            OpenError::Io { source, .. } => source.kind() == io::ErrorKind::NotFound,
            // A frame was read before it was whole, and the next one after.
            OpenError::Corrupt { .. } => true,
            _ => false,
        };
        if !may_be_work || attempts == ATTEMPTS {
            return Err(error);
        }
        attempts += 1;
    }
}

fn read_once(disk: &Arc<ReadOnly>) -> Result<Recovered, OpenError> {
    let no_store = || OpenError::NoStore { directory: disk.directory.clone() };
    let names = match disk.list() {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Err(no_store());
        }
        names => names.map_err(|error| OpenError::io(&disk.directory, error))?,
    };
    if !names.iter().any(|name| segment_number(name).is_some() || snapshot_revision(name).is_some()) {
        return Err(no_store());
    }
    recover(disk.clone(), EmbeddedOptions::default())
}

/// A directory that is only read. What recovery would repair is left as it is: its owner may be about to write it.
#[derive(Debug)]
struct ReadOnly {
    directory: PathBuf,
}

#[derive(Debug)]
struct ReadOnlyFile(File);

fn refused<T>() -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "this directory is only read"))
}

impl Disk for ReadOnly {
    fn list(&self) -> io::Result<Vec<String>> {
        let names = fs::read_dir(&self.directory)?;
        names.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn create(&self, _name: &str) -> io::Result<Box<dyn DiskFile>> {
        refused()
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(ReadOnlyFile(File::open(self.directory.join(name))?)))
    }

    fn rename(&self, _from: &str, _to: &str) -> io::Result<()> {
        refused()
    }

    fn remove(&self, _name: &str) -> io::Result<()> {
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

impl DiskFile for ReadOnlyFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }

    fn write(&mut self, _offset: u64, _bytes: &[u8]) -> io::Result<()> {
        refused()
    }

    fn allocate(&mut self, _length: u64) -> io::Result<()> {
        refused()
    }

    fn truncate(&mut self, _length: u64) -> io::Result<()> {
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}
