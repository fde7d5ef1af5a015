//! The end of the log: where frames are appended, and where one segment follows another.

use std::io;
use std::sync::Arc;

use quarterdeck_core::storage::Revision;

use super::disk::{Disk, DiskFile, is_full};
use super::format::{Chain, FILE_HEADER, FRAME_HEADER, Header, Kind, NEW, segment_name, write_closed};

/// Room is taken in steps of so many bytes: a sync of bytes whose room was taken before is faster.
const STEP: u64 = 16 << 20;

/// A segment that is not written any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sealed {
    pub(super) name: String,
    pub(super) bytes: u64,
    /// The revision of the store at the segment's end.
    pub(super) last: Revision,
}

/// Why a frame was not appended.
#[derive(Debug)]
pub(super) enum AppendError {
    /// There is no room. The log is as it was before, on the disk too.
    Full(io::Error),
    /// It is unknown what the disk holds now.
    Failed(io::Error),
}

/// The log, open for appending.
#[derive(Debug)]
pub(super) struct Log {
    disk: Arc<dyn Disk>,
    segment_bytes: u64,
    file: Box<dyn DiskFile>,
    number: u64,
    offset: u64,
    allocated: u64,
    chain: Chain,
    /// The revision of the store at the end.
    last: Revision,
    /// Whether the last frame says that the store was closed.
    closed: bool,
    sealed: Vec<Sealed>,
}

/// Where a log ends that was found on the disk.
pub(super) struct End {
    pub(super) file: Box<dyn DiskFile>,
    pub(super) number: u64,
    pub(super) offset: u64,
    pub(super) chain: Chain,
    pub(super) last: Revision,
    pub(super) closed: bool,
    pub(super) sealed: Vec<Sealed>,
}

impl Log {
    /// Makes the first segment of a new store.
    pub(super) fn create(disk: Arc<dyn Disk>, store: u64, segment_bytes: u64) -> io::Result<Self> {
        let chain = Chain { store, sequence: 1, previous: 0 };
        let file = make_segment(&*disk, 1, chain)?;
        let end = End {
            file,
            number: 1,
            offset: FILE_HEADER as u64,
            chain,
            last: Revision(0),
            closed: false,
            sealed: Vec::new(),
        };
        Self::resume(disk, end, segment_bytes)
    }

    /// Goes on where a log ends.
    pub(super) fn resume(disk: Arc<dyn Disk>, end: End, segment_bytes: u64) -> io::Result<Self> {
        let End { file, number, offset, chain, last, closed, sealed } = end;
        let allocated = file.length()?;
        Ok(Self { disk, segment_bytes, file, number, offset, allocated, chain, last, closed, sealed })
    }

    pub(super) fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    pub(super) fn store(&self) -> u64 {
        self.chain.store
    }

    pub(super) fn segment_bytes(&self) -> u64 {
        self.segment_bytes
    }

    /// Returns the segments that are not written any more, oldest first.
    pub(super) fn sealed(&self) -> &[Sealed] {
        &self.sealed
    }

    /// Forgets segments that were removed.
    pub(super) fn forget(&mut self, names: &[String]) {
        self.sealed.retain(|sealed| !names.contains(&sealed.name));
    }

    /// Appends a frame and syncs it. `frame` begins with room for its header; `last` is the revision behind it.
    pub(super) fn append(&mut self, frame: &mut Vec<u8>, last: Revision) -> Result<(), AppendError> {
        if self.offset >= self.segment_bytes {
            self.roll()?;
        }
        let chain = self.chain.seal(frame);
        let end = self.offset + frame.len() as u64;
        self.reserve(end)?;
        if let Err(error) = self.file.write(self.offset, frame) {
            return Err(self.undo(error));
        }
        self.file.sync().map_err(AppendError::Failed)?;
        self.offset = end;
        self.chain = chain;
        self.last = last;
        self.closed = false;
        Ok(())
    }

    fn reserve(&mut self, end: u64) -> Result<(), AppendError> {
        if end <= self.allocated {
            return Ok(());
        }
        // What is left of the disk may be less than a step, and enough.
        let step = (self.allocated + STEP).min(self.segment_bytes).max(end);
        let taken = match self.file.allocate(step) {
            Err(error) if is_full(&error) && step > end => self.file.allocate(end).map(|()| end),
            result => result.map(|()| step),
        };
        match taken {
            Ok(length) => self.allocated = length,
            Err(error) => return Err(self.undo(error)),
        }
        Ok(())
    }

    /// Takes back a frame that did not fit, durably, so that no crash brings it to light after its refusal.
    fn undo(&mut self, error: io::Error) -> AppendError {
        if !is_full(&error) {
            return AppendError::Failed(error);
        }
        match self.file.truncate(self.offset).and_then(|()| self.file.sync()) {
            Ok(()) => {
                self.allocated = self.offset;
                AppendError::Full(error)
            }
            Err(error) => AppendError::Failed(error),
        }
    }

    /// Starts the next segment.
    fn roll(&mut self) -> Result<(), AppendError> {
        let file = match make_segment(&*self.disk, self.number + 1, self.chain) {
            Ok(file) => file,
            Err(error) if is_full(&error) => return Err(AppendError::Full(error)),
            Err(error) => return Err(AppendError::Failed(error)),
        };
        let sealed = Sealed { name: segment_name(self.number), bytes: self.offset, last: self.last };
        self.sealed.push(sealed);
        self.file = file;
        self.number += 1;
        self.offset = FILE_HEADER as u64;
        self.allocated = self.offset;
        Ok(())
    }

    /// Marks the end of the log as the end of a life in good order and gives back the room that was not used.
    pub(super) fn close(&mut self) -> Result<(), AppendError> {
        if self.closed {
            return Ok(());
        }
        let mut frame = vec![0; FRAME_HEADER];
        write_closed(&mut frame);
        self.append(&mut frame, self.last)?;
        self.closed = true;
        self.file.truncate(self.offset).and_then(|()| self.file.sync()).map_err(AppendError::Failed)
    }
}

/// Makes a segment under a name of its own first, so that one with a segment's name always has its header.
fn make_segment(disk: &dyn Disk, number: u64, chain: Chain) -> io::Result<Box<dyn DiskFile>> {
    let Chain { store, sequence: first, previous } = chain;
    let name = segment_name(number);
    let new = format!("{name}{NEW}");
    let mut file = create_afresh(disk, &new)?;
    file.write(0, &Header { kind: Kind::Segment, store, number, first, previous }.encode())?;
    file.sync()?;
    disk.rename(&new, &name)?;
    disk.sync()?;
    Ok(file)
}

/// Creates a file, in place of what an earlier attempt left.
pub(super) fn create_afresh(disk: &dyn Disk, name: &str) -> io::Result<Box<dyn DiskFile>> {
    match disk.create(name) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            disk.remove(name)?;
            disk.create(name)
        }
        result => result,
    }
}
