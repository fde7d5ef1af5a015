//! Snapshots: the entries at the compacted revision in one file, in place of the log before it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use quarterdeck_core::storage::Revision;

use super::super::entries::Entries;
use super::super::versions::Versions;
use super::disk::{Disk, DiskFile};
use super::error::OpenError;
use super::format::{
    Before, Chain, FILE_HEADER, FRAME_HEADER, Header, Kind, NEW, Records, UNREADABLE, snapshot_name,
    snapshot_revision, write_entry,
};
use super::frames::{Frames, Next};
use super::log::create_afresh;

/// Entries are written in frames of about so many bytes, and synced one by one: so the log's syncs, which the disk may
/// do in one go with these, wait for little.
const FRAME: usize = 1 << 20;

/// A snapshot to be written, and what it makes superfluous.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) store: u64,
    pub(super) versions: Versions,
    /// The segments to remove once the snapshot is durable, oldest first.
    pub(super) covered: Vec<String>,
}

/// A snapshot that is durable.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) name: String,
    pub(super) bytes: u64,
    pub(super) covered: Vec<String>,
}

impl Job {
    /// Writes the snapshot and removes what it replaces: segments, and every older snapshot.
    pub(super) fn run(self) -> io::Result<Written> {
        let revision = self.versions.compacted();
        let entries = self.versions.earliest();
        let name = snapshot_name(revision);
        let new = format!("{name}{NEW}");
        let written = write(&*self.disk, &new, self.store, revision, &entries);
        if written.is_err() {
            // What it took may be what the log needs. If even this fails, the next start tidies up.
            let _ = self.disk.remove(&new);
        }
        let bytes = written?;
        self.disk.rename(&new, &name)?;
        self.disk.sync()?;
        for name in &self.covered {
            remove(&*self.disk, name)?;
        }
        for name in self.disk.list()? {
            if snapshot_revision(&name).is_some_and(|older| older < revision) {
                remove(&*self.disk, &name)?;
            }
        }
        Ok(Written { name, bytes, covered: self.covered })
    }
}

/// Removes a file, durably. In order, one by one: a crash must leave no hole in the log.
fn remove(disk: &dyn Disk, name: &str) -> io::Result<()> {
    match disk.remove(name) {
        // An earlier job came so far, and failed behind.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        result => result?,
    }
    disk.sync()
}

/// Writes the entries of a store at a revision to a file and syncs it.
pub(super) fn write(
    disk: &dyn Disk,
    name: &str,
    store: u64,
    revision: Revision,
    entries: &Entries,
) -> io::Result<u64> {
    let mut file = create_afresh(disk, name)?;
    let (number, first) = (revision.0, entries.len() as u64);
    let header = Header { kind: Kind::Snapshot, store, number, first, previous: 0 };
    file.write(0, &header.encode())?;
    let mut chain = Chain { store, sequence: 0, previous: 0 };
    let mut offset = FILE_HEADER as u64;
    let mut frame = vec![0; FRAME_HEADER];
    let mut entries = entries.values().peekable();
    while let Some(entry) = entries.next() {
        write_entry(&mut frame, entry);
        if frame.len() >= FRAME || entries.peek().is_none() {
            chain = chain.seal(&mut frame, Before::Synced);
            file.write(offset, &frame)?;
            file.sync()?;
            offset += frame.len() as u64;
            frame.truncate(FRAME_HEADER);
        }
    }
    file.sync()?;
    Ok(offset)
}

/// What a snapshot file holds.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) store: u64,
    pub(super) revision: Revision,
    pub(super) entries: Entries,
    pub(super) name: String,
    pub(super) bytes: u64,
}

/// Reads the snapshot at a revision. Unlike the log, it was whole and synced before it got its name.
pub(super) fn read(disk: &dyn Disk, revision: Revision) -> Result<Snapshot, OpenError> {
    let name = snapshot_name(revision);
    let path = disk.path(&name);
    let failed = |source| OpenError::io(&path, source);
    let file = disk.open(&name).map_err(failed)?;
    let header = read_header(&*file, Kind::Snapshot, path.clone())?;
    let corrupt = |offset, why: &str| OpenError::Corrupt { file: path.clone(), offset, why: why.to_owned() };
    if header.number != revision.0 {
        return Err(corrupt(0, "its header is that of another snapshot"));
    }
    let chain = Chain { store: header.store, sequence: 0, previous: 0 };
    let mut frames = Frames::new(&*file, chain).map_err(failed)?;
    let mut entries = Entries::new();
    loop {
        let offset = frames.offset();
        match frames.next().map_err(failed)? {
            Next::Frame(length) => {
                let mut records = Records(frames.records(length));
                while !records.is_empty() {
                    let entry = records.entry().ok_or_else(|| corrupt(offset, UNREADABLE))?;
                    entries.insert(Arc::new(entry));
                }
            }
            Next::End if entries.len() as u64 == header.first => break,
            Next::End => return Err(corrupt(offset, "entries are missing")),
            Next::Damage => return Err(corrupt(offset, "a checksum is wrong")),
        }
    }
    let bytes = frames.offset();
    Ok(Snapshot { store: header.store, revision, entries, name, bytes })
}

/// Reads the header of a file of this kind.
pub(super) fn read_header(file: &dyn DiskFile, kind: Kind, path: PathBuf) -> Result<Header, OpenError> {
    let mut bytes = [0; FILE_HEADER];
    match file.read(0, &mut bytes) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(OpenError::Corrupt {
                file: path,
                offset: 0,
                why: "its header is missing".to_owned(),
            });
        }
        Err(error) => return Err(OpenError::io(&path, error)),
    }
    Header::decode(kind, bytes).map_err(|bad| bad.at(path))
}
