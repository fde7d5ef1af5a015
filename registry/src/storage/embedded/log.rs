//! The end of the log: where frames are appended, and where one segment follows another.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use quarterdeck_core::storage::Revision;
use tokio::time::Instant;

use super::disk::{Disk, DiskFile, is_full};
use super::format::{
    Before, Chain, FILE_HEADER, FRAME_HEADER, Header, Kind, NEW, SPARE, segment_name, write_closed,
};
use super::policy::SyncPolicy;

/// Room is taken in steps of so many bytes: a sync of bytes whose room was taken before is faster.
const STEP: u64 = 16 << 20;

/// A store that wrote so many bytes is busy enough for segments that were filled with zeros beforehand.
const BUSY: u64 = 1 << 20;

/// Segments are filled with zeros in pieces of so many bytes, each synced: so that syncs of the log, which the disk may
/// do in one go with these, wait for little.
const PIECE: u64 = 1 << 20;

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
    /// Whether the segment was filled with zeros before it was used. A sync then changes nothing but bytes in their
    /// place; else the file system has to note which bytes are there now, behind all that others write.
    zeroed: bool,
    spare: Spare,
    policy: SyncPolicy,
    /// Since when something waits for a sync.
    unsynced: Option<Instant>,
    /// Whether a sync failed.
    failed: bool,
    /// How long the last sync took, until somebody wants to know.
    last_sync: Option<Duration>,
}

/// The segment after the present one, filled with zeros.
#[derive(Debug)]
enum Spare {
    None,
    Wanted,
    Ready(Box<dyn DiskFile>),
    Failed,
}

/// The making of a spare segment, which can be done while the log is written.
#[derive(Debug)]
pub(super) struct Preparation {
    disk: Arc<dyn Disk>,
    bytes: u64,
}

impl Preparation {
    /// Makes the file.
    pub(super) fn run(self) -> io::Result<Box<dyn DiskFile>> {
        let made = self.make();
        if made.is_err() {
            // What it took may be what the log needs. If even this fails, the next start tidies up.
            let _ = self.disk.remove(SPARE);
        }
        made
    }

    fn make(&self) -> io::Result<Box<dyn DiskFile>> {
        let mut file = create_afresh(&*self.disk, SPARE)?;
        let zeros = vec![0; usize::try_from(PIECE.min(self.bytes)).unwrap_or(0)];
        let mut offset = 0;
        while offset < self.bytes {
            file.write(offset, &zeros)?;
            file.sync()?;
            offset += zeros.len() as u64;
        }
        Ok(file)
    }
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
    pub(super) fn create(
        disk: Arc<dyn Disk>,
        store: u64,
        segment_bytes: u64,
        policy: SyncPolicy,
    ) -> io::Result<Self> {
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
        Self::resume(disk, end, segment_bytes, policy)
    }

    /// Goes on where a log ends.
    pub(super) fn resume(
        disk: Arc<dyn Disk>,
        end: End,
        segment_bytes: u64,
        policy: SyncPolicy,
    ) -> io::Result<Self> {
        let End { mut file, number, offset, chain, last, closed, sealed } = end;
        // A process that was killed may have left what is not synced, and from now on it is shown.
        file.sync()?;
        let allocated = file.length()?;
        Ok(Self {
            disk,
            segment_bytes,
            file,
            number,
            offset,
            allocated,
            chain,
            last,
            closed,
            sealed,
            zeroed: false,
            spare: Spare::None,
            policy,
            unsynced: None,
            failed: false,
            last_sync: None,
        })
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

    /// Returns how much of the present segment is written, in bytes.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns how long the last sync took, once.
    pub(super) fn last_sync(&mut self) -> Option<Duration> {
        self.last_sync.take()
    }

    /// Returns in what time a sync is due; `None` if nothing waits for one, or none can be done.
    pub(super) fn sync_due(&self) -> Option<Duration> {
        match self.policy {
            SyncPolicy::Interval(interval) if !self.failed => {
                self.unsynced.map(|since| interval.saturating_sub(since.elapsed()))
            }
            _ => None,
        }
    }

    /// Makes all durable that was appended.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if self.unsynced.is_some() {
            let began = Instant::now();
            self.file.sync().inspect_err(|_| self.failed = true)?;
            self.last_sync = Some(began.elapsed());
            self.unsynced = None;
        }
        Ok(())
    }

    /// Forgets segments that were removed.
    pub(super) fn forget(&mut self, names: &[String]) {
        self.sealed.retain(|sealed| !names.contains(&sealed.name));
    }

    /// Returns whether it is time for a spare segment.
    pub(super) fn is_spare_due(&self) -> bool {
        let busy = if self.zeroed { self.segment_bytes / 2 } else { BUSY.min(self.segment_bytes / 2) };
        matches!(self.spare, Spare::None) && self.offset >= busy
    }

    /// Returns the spare segment to be made, if it is time for one; the result goes to [`Log::equip`].
    pub(super) fn wants_spare(&mut self) -> Option<Preparation> {
        if !self.is_spare_due() {
            return None;
        }
        self.spare = Spare::Wanted;
        Some(Preparation { disk: Arc::clone(&self.disk), bytes: self.segment_bytes })
    }

    /// Takes the spare segment that was wanted. Without it the log goes on a bit slower.
    pub(super) fn equip(&mut self, spare: io::Result<Box<dyn DiskFile>>) {
        self.spare = match spare {
            Ok(file) => Spare::Ready(file),
            Err(error) => {
                tracing::debug!(%error, "cannot prepare a segment of the log");
                Spare::Failed
            }
        };
    }

    /// Appends a frame, and syncs it if that is the policy. `frame` begins with room for its header; `last` is the revision behind it.
    pub(super) fn append(&mut self, frame: &mut Vec<u8>, last: Revision) -> Result<(), AppendError> {
        let better = !self.zeroed && matches!(self.spare, Spare::Ready(_));
        if self.offset >= self.segment_bytes || better {
            self.roll()?;
        }
        let before = if self.unsynced.is_some() { Before::Loose } else { Before::Synced };
        let chain = self.chain.seal(frame, before);
        let end = self.offset + frame.len() as u64;
        self.reserve(end)?;
        if let Err(error) = self.file.write(self.offset, frame) {
            return Err(self.undo(error));
        }
        self.unsynced.get_or_insert_with(Instant::now);
        if self.policy == SyncPolicy::EveryCommit {
            self.sync().map_err(AppendError::Failed)?;
        }
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
                self.unsynced = None;
                AppendError::Full(error)
            }
            Err(error) => AppendError::Failed(error),
        }
    }

    /// Starts the next segment.
    fn roll(&mut self) -> Result<(), AppendError> {
        // Only the last segment may be torn.
        self.sync().map_err(AppendError::Failed)?;
        let number = self.number + 1;
        let (made, zeroed) = match std::mem::replace(&mut self.spare, Spare::None) {
            Spare::Ready(file) => (finish_segment(&*self.disk, file, SPARE, number, self.chain), true),
            other => {
                if let Spare::Wanted = other {
                    self.spare = other;
                }
                (make_segment(&*self.disk, number, self.chain), false)
            }
        };
        let file = match made {
            Ok(file) => file,
            Err(error) if is_full(&error) => return Err(AppendError::Full(error)),
            Err(error) => return Err(AppendError::Failed(error)),
        };
        let sealed = Sealed { name: segment_name(self.number), bytes: self.offset, last: self.last };
        self.sealed.push(sealed);
        self.file = file;
        self.number = number;
        self.offset = FILE_HEADER as u64;
        self.allocated = if zeroed { self.segment_bytes } else { self.offset };
        self.zeroed = zeroed;
        Ok(())
    }

    /// Marks the end of the log as the end of a life in good order and gives back the room that was not used.
    pub(super) fn close(&mut self) -> Result<(), AppendError> {
        if let Spare::Ready(_) = std::mem::replace(&mut self.spare, Spare::Failed) {
            self.disk.remove(SPARE).map_err(AppendError::Failed)?;
        }
        if self.closed {
            return Ok(());
        }
        let mut frame = vec![0; FRAME_HEADER];
        write_closed(&mut frame);
        self.append(&mut frame, self.last)?;
        self.closed = true;
        self.file.truncate(self.offset).and_then(|()| self.file.sync()).map_err(AppendError::Failed)?;
        self.unsynced = None;
        Ok(())
    }
}

/// Makes an empty segment that goes on after `chain`.
pub(super) fn make_segment(disk: &dyn Disk, number: u64, chain: Chain) -> io::Result<Box<dyn DiskFile>> {
    let new = format!("{}{NEW}", segment_name(number));
    let file = create_afresh(disk, &new)?;
    finish_segment(disk, file, &new, number, chain)
}

/// Gives a file its header, and only then a segment's name: so one with such a name always has its header.
fn finish_segment(
    disk: &dyn Disk,
    mut file: Box<dyn DiskFile>,
    new: &str,
    number: u64,
    chain: Chain,
) -> io::Result<Box<dyn DiskFile>> {
    let Chain { store, sequence: first, previous } = chain;
    file.write(0, &Header { kind: Kind::Segment, store, number, first, previous }.encode())?;
    file.sync()?;
    disk.rename(new, &segment_name(number))?;
    // The segment is there. Whoever took this for "no room, and nothing happened" would go on in the one before.
    disk.sync().map_err(io::Error::other)?;
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
