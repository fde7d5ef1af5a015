//! The audit log in a file.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::time::Instant;

use super::AuditSink;

/// How many events wait to be written at most.
const QUEUE: usize = 10_000;
/// How many bytes of events wait to be written at most.
const QUEUED: usize = 64 << 20;
/// About how many bytes are written at a time.
const BATCH: usize = 64 * 1024;
/// How long the writer rests between two writes: events come in crowds, and waking a thread costs more than writing a line.
const PAUSE: Duration = Duration::from_millis(5);
/// How often it is logged that events are dropped, at most.
const COMPLAINT: Duration = Duration::from_secs(60);

/// Writes events to a file, one line each, from a thread of its own. The file is made if it is missing, for its owner alone, and
/// never cut. Events that find the queue full (10,000 events or 64 MiB), or the disk, are dropped and counted; the log says so once a minute.
#[derive(Debug)]
pub struct AuditFile {
    events: Option<SyncSender<Vec<u8>>>,
    /// How many bytes wait.
    waiting: Arc<AtomicUsize>,
    dropped: Arc<AtomicU64>,
    writer: Option<JoinHandle<()>>,
}

impl AuditFile {
    /// Opens a file, with room for 10,000 events that wait to be written.
    ///
    /// # Errors
    ///
    /// Whatever the operating system says.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::with_queue(path, QUEUE)
    }

    /// Does what [`open`](Self::open) does, with room for so many events that wait to be written.
    ///
    /// # Errors
    ///
    /// Whatever the operating system says.
    pub fn with_queue(path: impl AsRef<Path>, events: usize) -> io::Result<Self> {
        let path = path.as_ref().to_owned();
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?;
        let (sender, receiver) = sync_channel(events.max(1));
        let dropped = Arc::new(AtomicU64::new(0));
        let writer = Writer::new(file, path, dropped.clone());
        let thread = std::thread::Builder::new().name("audit".into());
        let waiting = Arc::new(AtomicUsize::new(0));
        let written = waiting.clone();
        let writer = thread.spawn(move || writer.run(&receiver, &written))?;
        Ok(Self { events: Some(sender), waiting, dropped, writer: Some(writer) })
    }
}

impl AuditSink for AuditFile {
    fn record(&self, event: Vec<u8>) {
        let bytes = event.len();
        let has_room = self.waiting.fetch_add(bytes, Ordering::Relaxed) <= QUEUED;
        let is_taken = has_room && self.events.as_ref().is_some_and(|events| events.try_send(event).is_ok());
        if !is_taken {
            self.waiting.fetch_sub(bytes, Ordering::Relaxed);
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl Drop for AuditFile {
    /// Waits until what was recorded is written.
    fn drop(&mut self) {
        drop(self.events.take());
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

struct Writer<W> {
    file: W,
    path: PathBuf,
    dropped: Arc<AtomicU64>,
    /// Whether the last write may have ended within a line.
    is_torn: bool,
    why: Option<io::Error>,
    /// How many drops were logged, and when last.
    logged: u64,
    complained: Option<Instant>,
}

impl Writer<File> {
    fn new(file: File, path: PathBuf, dropped: Arc<AtomicU64>) -> Self {
        Self { file, path, dropped, is_torn: false, why: None, logged: 0, complained: None }
    }
}

impl<W: Write> Writer<W> {
    fn run(mut self, events: &Receiver<Vec<u8>>, waiting: &AtomicUsize) {
        while let Ok(first) = events.recv() {
            let mut batch = Vec::with_capacity(first.len() + 1);
            let mut count = 0;
            let mut next = Some(first);
            while let Some(event) = next {
                batch.extend_from_slice(&event);
                batch.push(b'\n');
                count += 1;
                next = if batch.len() < BATCH { events.try_recv().ok() } else { None };
            }
            self.write(&batch, count);
            waiting.fetch_sub(batch.len() - usize::try_from(count).unwrap_or_default(), Ordering::Relaxed);
            self.complain();
            // Whoever records an event need not wake a thread that is about to look anyway.
            std::thread::park_timeout(PAUSE);
        }
    }

    fn write(&mut self, batch: &[u8], events: u64) {
        let begun = if self.is_torn { self.file.write_all(b"\n") } else { Ok(()) };
        match begun.and_then(|()| self.file.write_all(batch)) {
            Ok(()) => self.is_torn = false,
            Err(error) => {
                self.is_torn = true;
                self.why = Some(error);
                self.dropped.fetch_add(events, Ordering::Relaxed);
            }
        }
    }

    /// Logs that events were dropped, unless that was done a moment ago.
    fn complain(&mut self) {
        let dropped = self.dropped.load(Ordering::Relaxed);
        let is_time = self.complained.is_none_or(|last| last.elapsed() >= COMPLAINT);
        if dropped == self.logged || !is_time {
            return;
        }
        (self.logged, self.complained) = (dropped, Some(Instant::now()));
        let path = self.path.display();
        match self.why.take() {
            Some(error) => {
                tracing::error!(%error, %path, dropped, "audit events are lost: make room on the disk")
            }
            None => {
                tracing::error!(%path, dropped, "audit events are lost: the disk is slower than the requests come")
            }
        }
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
        let dropped = sink.dropped.clone();
        for _ in 0..3 {
            sink.record(b"event".to_vec());
        }
        drop(sink);
        assert_eq!(dropped.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn what_waits_is_bounded_in_bytes_too() {
        let (sender, receiver) = sync_channel(QUEUE);
        let (waiting, dropped) = (Arc::default(), Arc::default());
        // Nobody writes.
        let sink = AuditFile { events: Some(sender), waiting, dropped, writer: None };
        let large = vec![b'x'; QUEUED / 8];

        for _ in 0..100 {
            sink.record(large.clone());
        }

        // What finds no more than the bound there is taken.
        assert_eq!((receiver.try_iter().count(), sink.dropped()), (9, 91));
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

    #[test]
    fn after_a_full_disk_events_begin_on_a_line_of_their_own() {
        let dropped = Arc::new(AtomicU64::new(0));
        let file = Disk(Vec::new(), 7);
        let mut writer = Writer {
            file,
            path: "x".into(),
            dropped,
            is_torn: false,
            why: None,
            logged: 0,
            complained: None,
        };

        writer.write(b"first\n", 1);
        writer.write(b"second\n", 1);
        writer.file.1 = 100;
        writer.write(b"third\n", 1);

        assert_eq!(writer.file.0, b"first\ns\nthird\n");
        assert_eq!(writer.dropped.load(Ordering::Relaxed), 1);
    }
}
