//! Reading the log while what was read is replayed: a thread reads, checks and decodes segments, ahead of who applies their records.

use std::io;
use std::mem;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, Scope};

use super::disk::{Disk, DiskFile};
use super::error::OpenError;
use super::format::{Chain, FILE_HEADER, Kind, Record, Records, UNREADABLE, segment_name};
use super::frames::{Frames, Next};
use super::snapshot::read_header;

/// Records are handed over when so many bytes of them were read.
const PIECE: u64 = 256 << 10;
/// So many pieces are read ahead at most. A piece is a frame at least, and that may have 32 MiB.
const AHEAD: usize = 2;

/// What comes next in a log.
pub(super) enum Step {
    /// Records of the segment of this number, each with where its frame begins there.
    Records(u64, Vec<(u64, Record)>),
    /// The segment that they were in is over.
    End(Segment),
}

/// A segment that was read to its end.
pub(super) struct Segment {
    pub(super) file: Box<dyn DiskFile>,
    pub(super) number: u64,
    /// Where its frames end.
    pub(super) offset: u64,
    /// How the next frame would go on.
    pub(super) chain: Chain,
    /// Whether something follows that was written when the process or the machine stopped.
    pub(super) is_torn: bool,
}

/// The steps of a log, in order. Nothing follows an error.
pub(super) type Steps = Receiver<Result<Step, OpenError>>;

/// Reads segments.
pub(super) struct Reader {
    pub(super) disk: Arc<dyn Disk>,
    /// The store's number, once a snapshot or a segment told it.
    pub(super) store: Option<u64>,
}

impl Reader {
    /// Reads segments in a thread that ends behind the last, behind an error, or when the steps are dropped.
    ///
    /// # Errors
    ///
    /// The operating system has no thread.
    pub(super) fn start<'scope>(
        self,
        scope: &'scope Scope<'scope, '_>,
        numbers: &'scope [u64],
    ) -> io::Result<Steps> {
        let (to, steps) = sync_channel(AHEAD);
        Builder::new()
            .name("storage-reader".to_owned())
            .spawn_scoped(scope, move || self.run(numbers, &to))?;
        Ok(steps)
    }

    fn run(mut self, numbers: &[u64], to: &SyncSender<Result<Step, OpenError>>) {
        let mut chain = None;
        for (index, &number) in numbers.iter().enumerate() {
            let next = numbers.get(index + 1);
            let read = self.segment(number, chain, next.is_none(), to);
            let Some(step) = read.transpose() else { return };
            chain = step.as_ref().ok().map(|segment| segment.chain);
            if to.send(step.map(Step::End)).is_err() || chain.is_none() {
                return;
            }
            if next.is_some_and(|next| *next != number + 1) {
                // Nobody wants to know if this fails.
                let _ = to.send(Err(missing(&*self.disk, number + 1)));
                return;
            }
        }
    }

    /// Reads a segment that continues the chain. Returns `None` if nobody takes what it holds.
    fn segment(
        &mut self,
        number: u64,
        chain: Option<Chain>,
        is_last: bool,
        to: &SyncSender<Result<Step, OpenError>>,
    ) -> Result<Option<Segment>, OpenError> {
        let name = segment_name(number);
        let path = self.disk.path(&name);
        let failed = |source| OpenError::io(&path, source);
        let corrupt =
            |offset, why: &str| OpenError::Corrupt { file: path.clone(), offset, why: why.to_owned() };
        let file = self.disk.open(&name).map_err(failed)?;
        let header = read_header(&*file, Kind::Segment, path.clone())?;
        let begins = Chain { store: header.store, sequence: header.first, previous: header.previous };
        let store = *self.store.get_or_insert(header.store);
        if header.number != number || header.store != store {
            return Err(corrupt(0, "it belongs elsewhere"));
        }
        if chain.is_some_and(|chain| chain != begins) {
            return Err(corrupt(FILE_HEADER as u64, "the segment before it lost its end"));
        }
        let mut frames = Frames::new(&*file, begins).map_err(failed)?;
        let mut pieces = Pieces { number, to, records: Vec::new(), is_wanted: true };
        let read = pieces.read(&mut frames, &path, is_last);
        // What is before an error comes before it.
        pieces.hand_over();
        let (is_torn, offset, chain) = (read?, frames.offset(), frames.chain());
        Ok(pieces.is_wanted.then_some(Segment { file, number, offset, chain, is_torn }))
    }
}

/// Hands over the records of a segment, many at a time.
struct Pieces<'a> {
    number: u64,
    to: &'a SyncSender<Result<Step, OpenError>>,
    records: Vec<(u64, Record)>,
    is_wanted: bool,
}

impl Pieces<'_> {
    /// Reads frames as long as somebody wants to know. Returns whether the end is torn.
    fn read(&mut self, frames: &mut Frames<'_>, path: &Path, is_last: bool) -> Result<bool, OpenError> {
        let failed = |source| OpenError::io(path, source);
        let mut began = frames.offset();
        while self.is_wanted {
            let offset = frames.offset();
            let corrupt = |why: String| OpenError::Corrupt { file: path.to_owned(), offset, why };
            match frames.next().map_err(failed)? {
                Next::Frame(length) => {
                    let mut records = Records(frames.records(length));
                    while !records.is_empty() {
                        let record = records.record().ok_or_else(|| corrupt(UNREADABLE.to_owned()))?;
                        self.records.push((offset, record));
                    }
                }
                Next::End => return Ok(false),
                Next::Damage if !is_last => return Err(corrupt("a checksum is wrong".to_owned())),
                Next::Damage => {
                    let Some(later) = frames.later_frame().map_err(failed)? else { return Ok(true) };
                    let why =
                        format!("a checksum is wrong, and data that was written later follows at {later}");
                    return Err(corrupt(why));
                }
            }
            if frames.offset() - began >= PIECE {
                began = frames.offset();
                self.hand_over();
            }
        }
        Ok(false)
    }

    fn hand_over(&mut self) {
        if !self.records.is_empty() {
            let step = Step::Records(self.number, mem::take(&mut self.records));
            self.is_wanted = self.to.send(Ok(step)).is_ok();
        }
    }
}

/// What it means that a segment is not there.
pub(super) fn missing(disk: &dyn Disk, number: u64) -> OpenError {
    let why = "it is missing, and there is no snapshot of what it held".to_owned();
    OpenError::Corrupt { file: disk.path(&segment_name(number)), offset: 0, why }
}
