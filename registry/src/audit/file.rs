//! The audit log in a file.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::time::Instant;

use super::AuditSink;
use super::rotation::{LogFile, Rotation};

/// How many events wait to be written at most.
const QUEUE: usize = 10_000;
/// How many bytes of events wait to be written at most.
const QUEUED: usize = 64 << 20;
/// Which part of the queue the events of strangers may take: one of so many.
const STRANGERS: usize = 4;
/// How many bytes are written at a time, but for an event that is longer.
const BATCH: usize = 64 * 1024;
/// How many pieces that were written are kept for what comes next: memory that one thread takes and another gives back costs more
/// than what is written into it.
const SPARE: usize = 8;
/// How long the writer rests between two looks at the queue: events come in crowds, and waking a thread costs more than
/// writing a line.
const PAUSE: Duration = Duration::from_millis(5);
/// How often it is logged that events are dropped, at most.
const COMPLAINT: Duration = Duration::from_secs(60);

/// Writes events to a file, one line each, from a thread of its own. The file is made if it is missing, for its owner alone, and
/// never cut; with a [`Rotation`] it gives way to a new one in time. Events that find the queue full (10,000 events or 64 MiB; a
/// quarter of that for those of strangers), or the disk, are dropped and counted; the log says so once a minute. A file that was
/// deleted is made again.
#[derive(Debug)]
pub struct AuditFile {
    queue: Arc<Queue>,
    writer: Option<JoinHandle<()>>,
}

impl AuditFile {
    /// Opens a file, with room for 10,000 events that wait to be written, that is never rotated.
    ///
    /// # Errors
    ///
    /// Whatever the operating system says.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        AuditFileOptions::default().open(path)
    }
}

/// How an [`AuditFile`] is written.
#[derive(Debug, Clone)]
#[must_use]
pub struct AuditFileOptions {
    queue: usize,
    rotation: Option<Rotation>,
}

impl Default for AuditFileOptions {
    fn default() -> Self {
        Self { queue: QUEUE, rotation: None }
    }
}

impl AuditFileOptions {
    /// Sets how many events wait to be written at most (default: 10,000).
    pub fn queue(mut self, events: usize) -> Self {
        self.queue = events.max(1);
        self
    }

    /// Has the file give way to a new one in time (default: never).
    pub fn rotation(mut self, rotation: Rotation) -> Self {
        self.rotation = Some(rotation);
        self
    }

    /// Opens a file.
    ///
    /// # Errors
    ///
    /// Whatever the operating system says.
    pub fn open(self, path: impl AsRef<Path>) -> io::Result<AuditFile> {
        let path = path.as_ref().to_owned();
        let file = LogFile::open(&path, self.rotation)?;
        let queue = Arc::new(Queue::new(self.queue));
        let writer = Writer::new(file, path, queue.clone());
        let writer = std::thread::Builder::new().name("audit".into()).spawn(move || writer.run())?;
        Ok(AuditFile { queue, writer: Some(writer) })
    }
}

impl AuditSink for AuditFile {
    fn record(&self, event: Vec<u8>) {
        self.queue.push(&event, false);
    }

    fn record_stranger(&self, event: Vec<u8>) {
        self.queue.push(&event, true);
    }

    fn dropped(&self) -> u64 {
        self.queue.dropped()
    }

    fn dropped_by_reason(&self) -> Vec<(&'static str, u64)> {
        let dropped = &self.queue.dropped;
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        vec![
            ("queue_full", count(&dropped.full)),
            ("strangers", count(&dropped.strangers)),
            ("write_failed", count(&dropped.failed)),
        ]
    }
}

impl Drop for AuditFile {
    /// Waits until what was recorded is written.
    fn drop(&mut self) {
        self.queue.close();
        if let Some(writer) = self.writer.take() {
            writer.thread().unpark();
            let _ = writer.join();
        }
    }
}

/// Lines that wait to be written. They lie behind each other in a few large pieces, which are written as they are.
#[derive(Debug)]
struct Queue {
    lines: Mutex<Lines>,
    /// Tells a writer that waits of the first line.
    arrived: Condvar,
    most: usize,
    dropped: Dropped,
}

/// How many events were dropped.
#[derive(Debug, Default)]
struct Dropped {
    /// There was no room.
    full: AtomicU64,
    /// There was no room for more of strangers.
    strangers: AtomicU64,
    /// They could not be written.
    failed: AtomicU64,
}

/// How many events there are, and how many bytes of them.
#[derive(Debug, Default, Clone, Copy)]
struct Load {
    events: usize,
    bytes: usize,
}

impl Load {
    fn add(&mut self, more: Self) {
        self.events += more.events;
        self.bytes += more.bytes;
    }

    fn remove(&mut self, less: Self) {
        self.events -= less.events;
        self.bytes -= less.bytes;
    }
}

#[derive(Debug, Default)]
struct Lines {
    batches: Vec<Batch>,
    /// Empty ones.
    spare: Vec<Batch>,
    /// What is not written yet, and what of it is strangers'.
    all: Load,
    strangers: Load,
    /// Whether the writer waits for a line.
    is_awaited: bool,
    is_closed: bool,
}

#[derive(Debug)]
struct Batch {
    lines: Vec<u8>,
    all: Load,
    strangers: Load,
}

impl Queue {
    fn new(most: usize) -> Self {
        Self { lines: Mutex::default(), arrived: Condvar::new(), most, dropped: Dropped::default() }
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().expect("nothing panics while it holds the lines")
    }

    /// Adds an event, or drops it if there is no room.
    fn push(&self, event: &[u8], is_strangers: bool) {
        let mut lines = self.lines();
        let is_full =
            |load: Load, part: usize| load.events >= self.most.div_ceil(part) || load.bytes > QUEUED / part;
        let why = if is_full(lines.all, 1) {
            Some(&self.dropped.full)
        } else if is_strangers && is_full(lines.strangers, STRANGERS) {
            Some(&self.dropped.strangers)
        } else {
            None
        };
        if let Some(why) = why {
            why.fetch_add(1, Ordering::Relaxed);
            return;
        }
        lines.push(event, is_strangers);
        if std::mem::take(&mut lines.is_awaited) {
            drop(lines);
            self.arrived.notify_one();
        }
    }

    fn dropped(&self) -> u64 {
        let Dropped { full, strangers, failed } = &self.dropped;
        [full, strangers, failed].iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Waits for lines and takes all that there are: none if the queue is closed and empty.
    fn take(&self) -> Vec<Batch> {
        let mut lines = self.lines();
        while lines.batches.is_empty() && !lines.is_closed {
            lines.is_awaited = true;
            lines = self.arrived.wait(lines).expect("nothing panics while it holds the lines");
        }
        lines.is_awaited = false;
        std::mem::take(&mut lines.batches)
    }

    /// Makes the room free that a batch took.
    fn release(&self, mut batch: Batch) {
        let mut lines = self.lines();
        lines.all.remove(std::mem::take(&mut batch.all));
        lines.strangers.remove(std::mem::take(&mut batch.strangers));
        if lines.spare.len() < SPARE && batch.lines.capacity() == BATCH {
            batch.lines.clear();
            lines.spare.push(batch);
        }
    }

    fn close(&self) {
        self.lines().is_closed = true;
        self.arrived.notify_one();
    }
}

impl Lines {
    fn push(&mut self, event: &[u8], is_strangers: bool) {
        let length = event.len() + 1;
        let has_room = |batch: &Batch| batch.lines.capacity() - batch.lines.len() >= length;
        if !self.batches.last().is_some_and(has_room) {
            let spare = if length <= BATCH { self.spare.pop() } else { None };
            let new = || Batch::of(Vec::with_capacity(length.max(BATCH)));
            self.batches.push(spare.unwrap_or_else(new));
        }
        if let Some(batch) = self.batches.last_mut() {
            batch.lines.extend_from_slice(event);
            batch.lines.push(b'\n');
            let more = Load { events: 1, bytes: length };
            batch.all.add(more);
            self.all.add(more);
            if is_strangers {
                batch.strangers.add(more);
                self.strangers.add(more);
            }
        }
    }
}

impl Batch {
    fn of(lines: Vec<u8>) -> Self {
        Self { lines, all: Load::default(), strangers: Load::default() }
    }
}

/// What lines are written to.
pub(super) trait Target: Write {
    /// Is told how many bytes of whole lines come next. Returns whether they begin a file.
    fn prepare(&mut self, bytes: usize) -> io::Result<bool>;
}

struct Writer<W> {
    file: W,
    path: PathBuf,
    queue: Arc<Queue>,
    /// Whether the last write may have ended within a line.
    is_torn: bool,
    why: Option<io::Error>,
    /// How many drops were logged, and when last.
    logged: u64,
    complained: Option<Instant>,
}

impl<W: Target> Writer<W> {
    fn new(file: W, path: PathBuf, queue: Arc<Queue>) -> Self {
        Self { file, path, queue, is_torn: false, why: None, logged: 0, complained: None }
    }

    fn run(mut self) {
        loop {
            let batches = self.queue.take();
            if batches.is_empty() {
                // What was lost since the last complaint is told, however short ago that was.
                self.complained = None;
                return self.complain();
            }
            for batch in batches {
                self.write(&batch);
                self.queue.release(batch);
            }
            self.complain();
            // Whoever records an event need not wake a thread that is about to look anyway.
            std::thread::park_timeout(PAUSE);
        }
    }

    fn write(&mut self, batch: &Batch) {
        let written = self.file.prepare(batch.lines.len()).and_then(|is_new| {
            if self.is_torn && !is_new {
                self.file.write_all(b"\n")?;
            }
            self.file.write_all(&batch.lines)
        });
        match written {
            Ok(()) => self.is_torn = false,
            Err(error) => {
                self.is_torn = true;
                self.why = Some(error);
                self.queue.dropped.failed.fetch_add(batch.all.events as u64, Ordering::Relaxed);
            }
        }
    }

    /// Logs that events were dropped, unless that was done a moment ago.
    fn complain(&mut self) {
        let dropped = self.queue.dropped();
        let is_time = self.complained.is_none_or(|last| last.elapsed() >= COMPLAINT);
        if dropped == self.logged || !is_time {
            return;
        }
        (self.logged, self.complained) = (dropped, Some(Instant::now()));
        let path = self.path.display();
        let strangers = self.queue.dropped.strangers.load(Ordering::Relaxed);
        match self.why.take() {
            Some(error) => {
                let what = remedy(&error);
                tracing::error!(%error, %path, dropped, strangers, "audit events are lost: {what}")
            }
            None => {
                tracing::error!(%path, dropped, strangers, "audit events are lost: the disk is slower than the requests come")
            }
        }
    }
}

/// Says what to do about an error.
fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "make the file's directory again",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => "the file has to be writable",
        _ => "make room on the disk",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recorded_is_in_the_file_when_the_sink_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.log");
        for round in ["one", "two"] {
            let sink = AuditFile::open(&path).unwrap();
            sink.record(round.into());
            sink.record(b"more".to_vec());
            drop(sink);
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), "one\nmore\ntwo\nmore\n");
    }

    #[test]
    fn a_full_disk_drops_and_counts() {
        let sink = AuditFile::open("/dev/full").unwrap();
        let queue = sink.queue.clone();
        for _ in 0..3 {
            sink.record(b"event".to_vec());
        }
        drop(sink);
        assert_eq!(queue.dropped(), 3);
    }

    #[test]
    fn a_crowd_that_fits_the_queue_is_written_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.log");
        let sink = AuditFile::open(&path).unwrap();
        for _ in 0..QUEUE {
            sink.record(vec![b'x'; 999]);
        }
        let queue = sink.queue.clone();
        drop(sink);
        assert_eq!(queue.dropped(), 0);
        assert_eq!(std::fs::metadata(path).unwrap().len(), 1000 * QUEUE as u64);
    }

    #[test]
    fn what_waits_is_bounded_in_events_and_in_bytes() {
        // Nobody writes.
        let sink = |most| AuditFile { queue: Arc::new(Queue::new(most)), writer: None };

        let (few, large) = (sink(3), sink(QUEUE));
        for _ in 0..100 {
            few.record(b"event".to_vec());
            large.record(vec![b'x'; QUEUED / 8]);
        }

        assert_eq!(few.dropped(), 97);
        // What finds no more than the bound there is taken.
        assert_eq!(large.dropped(), 92);
        // What is written makes room.
        let batch = few.queue.take().remove(0);
        assert_eq!(batch.all.events, 3);
        few.queue.release(batch);
        few.record(b"event".to_vec());
        assert_eq!((few.queue.take()[0].all.events, few.dropped()), (1, 97));
    }

    #[test]
    fn strangers_leave_room_for_the_events_of_others() {
        let sink = |most| AuditFile { queue: Arc::new(Queue::new(most)), writer: None };

        let (few, large) = (sink(8), sink(QUEUE));
        for _ in 0..100 {
            few.record_stranger(b"flood".to_vec());
            large.record_stranger(vec![b'x'; QUEUED / 8]);
        }
        for _ in 0..4 {
            few.record(b"event".to_vec());
            large.record(vec![b'x'; QUEUED / 8]);
        }

        let of_strangers = |sink: &AuditFile, count| {
            let reasons = [("queue_full", 0), ("strangers", count), ("write_failed", 0)];
            assert_eq!(sink.dropped_by_reason(), reasons);
            assert_eq!(sink.dropped(), count);
        };
        of_strangers(&few, 98);
        // What finds no more than the bound there is taken.
        of_strangers(&large, 98);
        let batch = few.queue.take().remove(0);
        few.queue.release(batch);
        few.record_stranger(b"event".to_vec());
        of_strangers(&few, 98);
    }

    /// A disk that is full for a while, after so many bytes.
    struct Disk(Vec<u8>, usize);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let room = self.1.min(bytes.len());
            if room == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.1 -= room;
            self.0.extend_from_slice(&bytes[..room]);
            Ok(room)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Target for Disk {
        fn prepare(&mut self, _: usize) -> io::Result<bool> {
            Ok(false)
        }
    }

    #[test]
    fn after_a_full_disk_events_begin_on_a_line_of_their_own() {
        let queue = Arc::new(Queue::new(QUEUE));
        let mut writer = Writer::new(Disk(Vec::new(), 7), "x".into(), queue.clone());
        let line =
            |text: &str| Batch { all: Load { events: 1, bytes: text.len() }, ..Batch::of(text.into()) };

        writer.write(&line("first\n"));
        writer.write(&line("second\n"));
        writer.file.1 = 100;
        writer.write(&line("third\n"));

        assert_eq!(writer.file.0, b"first\ns\nthird\n");
        assert_eq!(queue.dropped(), 1);
    }
}
