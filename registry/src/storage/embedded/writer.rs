//! The writer: makes batches durable, publishes them, answers their callers, and keeps the disk's use bounded.

use std::io;
use std::mem;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::super::history::Forgotten;
use super::super::published::Published;
use super::super::versions::Versions;
use super::Shared;
use super::ahead::{Ahead, CROWD};
use super::batch::Batch;
use super::disk::DiskFile;
use super::figures::Figures;
use super::log::{AppendError, Log, Preparation, Sealed};
use super::queue::{Nothing, Queue, Taken};
use super::recovery::Recovered;
use super::snapshot::{Job, Written};
use crate::sparing::Sparing;

/// Memory of a batch is used again unless it is larger.
const REUSED: usize = 4 << 20;

/// A caller returns soon if it does so in this time: the writer may have slept meanwhile.
const SOON: Duration = Duration::from_micros(60);

/// For so long the writer stays awake for a caller that returns soon.
const AWAKE: Duration = Duration::from_micros(40);

/// See the module. Only one thread has it.
pub(super) struct Writer {
    queue: Arc<Queue>,
    published: Arc<Published>,
    /// The versions behind all that was taken out of the queue. Only while a batch is written they are ahead of the published ones.
    versions: Versions,
    log: Log,
    /// The last snapshot's name and size.
    snapshot: Option<(String, u64)>,
    /// No snapshot is tried before it would make so many bytes of log superfluous: the last one failed.
    patience: u64,
    spare: Vec<u8>,
    /// History that was forgotten and is to be dropped when nobody waits.
    litter: Vec<Forgotten>,
    figures: Arc<Figures>,
    /// What is logged of a full disk.
    full: Sparing,
    /// Whether this thread applies all batches itself, one after the other.
    is_alone: bool,
    ahead: Option<Ahead>,
    returns: Returns,
}

impl Writer {
    pub(super) fn new(recovered: Recovered, queue: Arc<Queue>, published: Arc<Published>) -> Self {
        let Recovered { versions, log, snapshot, .. } = recovered;
        let figures = Arc::default();
        let (spare, litter) = (Vec::new(), Vec::new());
        let full = Sparing::default();
        let writer = Self {
            queue,
            published,
            versions,
            log,
            snapshot,
            patience: 0,
            spare,
            litter,
            figures,
            full,
            is_alone: true,
            ahead: None,
            returns: Returns::default(),
        };
        writer.tell_sizes();
        writer
    }

    pub(super) fn shared(&self) -> Shared {
        let Self { queue, published, figures, .. } = self;
        Shared { queue: Arc::clone(queue), published: Arc::clone(published), figures: Arc::clone(figures) }
    }

    /// Waits for requests, or for the time to sync, and does it. Returns `false` when there will be none.
    pub(super) fn turn(&mut self) -> bool {
        if self.returns.is_soon {
            self.queue.stay_awake(AWAKE);
        }
        match self.queue.take(self.log.sync_due()) {
            Ok(taken) => {
                self.returns.took(taken.waiting.len());
                self.write(taken);
                self.returns.answered();
            }
            Err(Nothing::Late) => {}
            Err(Nothing::Closing) => return false,
        }
        if self.log.sync_due().is_some_and(|due| due.is_zero()) {
            self.sync();
        }
        true
    }

    /// Makes durable what was acknowledged before, as the policy has it.
    pub(super) fn sync(&mut self) {
        match self.log.sync() {
            Ok(()) => self.tell_sync(),
            Err(error) => {
                tracing::error!(%error, "cannot sync the log: writes are refused until the store is opened again");
                self.queue.fail([], error);
            }
        }
    }

    fn write(&mut self, taken: Taken) {
        let mut next = Some(Batch::apply(taken, &mut self.versions, mem::take(&mut self.spare)));
        while let Some(batch) = next {
            next = self.store(batch);
        }
    }

    /// Makes a batch durable and answers it. Returns the next one if it was applied meanwhile.
    fn store(&mut self, mut batch: Batch) -> Option<Batch> {
        if !batch.has_records() {
            self.answer(batch);
            return None;
        }
        let is_crowd = batch.answers.len() >= CROWD;
        let ahead = if is_crowd { self.ahead() } else { None };
        if let Some(ahead) = &ahead {
            ahead.begin(self.versions.clone(), mem::take(&mut self.spare));
        }
        let refused = match self.log.append(&mut batch.frame, self.versions.revision()) {
            Ok(()) => {
                self.published.publish(self.versions.clone(), &batch.commits);
                self.tell(&batch);
                self.answer(batch);
                None
            }
            Err(error) => Some((batch, error)),
        };
        let mut next = None;
        if let Some(ahead) = ahead {
            (self.versions, next) = ahead.end();
            self.ahead = Some(ahead);
        }
        let Some((batch, error)) = refused else { return next };
        let batches = [batch].into_iter().chain(next);
        match error {
            AppendError::Full(error) => {
                self.full.say(|left_out| {
                    tracing::warn!(%error, left_out, "no room for the log: writes are refused until there is");
                });
                self.versions = self.published.snapshot();
                self.queue.refuse(batches, error);
            }
            AppendError::Failed(error) => {
                tracing::error!(%error, "cannot write the log: writes are refused until the store is opened again");
                self.queue.fail(batches, error);
            }
        }
        None
    }

    /// Takes the thread that applies the next batch while one is written.
    fn ahead(&mut self) -> Option<Ahead> {
        if self.is_alone {
            return None;
        }
        self.ahead.take().or_else(|| {
            let started = Ahead::start(Arc::clone(&self.queue));
            started.inspect_err(|error| tracing::debug!(%error, "no thread to apply commits ahead")).ok()
        })
    }

    /// Answers a batch of which everything is done.
    fn answer(&mut self, mut batch: Batch) {
        self.litter.append(&mut batch.forgotten);
        let frame = self.queue.answer(batch);
        if frame.capacity() <= REUSED {
            self.spare = frame;
        }
    }

    /// Takes note of a batch that is durable.
    fn tell(&mut self, batch: &Batch) {
        self.tell_sync();
        self.figures.commits.add(batch.commits.len() as u64);
        self.figures.compactions.add(batch.forgotten.len() as u64);
        self.tell_sizes();
    }

    fn tell_sync(&mut self) {
        if let Some(took) = self.log.last_sync() {
            self.figures.synced(took);
        }
    }

    fn tell_sizes(&self) {
        let sealed = self.log.sealed();
        let bytes: u64 = sealed.iter().map(|sealed| sealed.bytes).sum();
        self.figures.log_bytes.set(bytes + self.log.offset());
        self.figures.log_segments.set(sealed.len() as u64 + 1);
        self.figures.snapshot_bytes.set(self.snapshot.as_ref().map_or(0, |(_, bytes)| *bytes));
    }

    /// Returns the snapshot that is due: one that replaces more log than it takes to write.
    pub(super) fn due(&self) -> Option<Job> {
        let segments = self.log.sealed();
        if segments.is_empty() {
            return None;
        }
        let compacted = self.published.read(Versions::compacted);
        let covered: Vec<&Sealed> = segments.iter().take_while(|sealed| sealed.last <= compacted).collect();
        let bytes: u64 = covered.iter().map(|sealed| sealed.bytes).sum();
        let written = self.snapshot.as_ref().map_or(0, |(_, bytes)| *bytes);
        if bytes < self.log.segment_bytes().max(written).max(self.patience) {
            return None;
        }
        Some(Job {
            disk: Arc::clone(self.log.disk()),
            store: self.log.store(),
            versions: self.published.snapshot(),
            covered: covered.into_iter().map(|sealed| sealed.name.clone()).collect(),
        })
    }

    /// Takes note of how a snapshot went.
    pub(super) fn snapshotted(&mut self, result: io::Result<Written>) {
        match result {
            Ok(Written { name, bytes, covered }) => {
                self.log.forget(&covered);
                self.snapshot = Some((name, bytes));
                self.patience = 0;
                self.figures.snapshots.add(1);
                self.tell_sizes();
            }
            Err(error) => {
                self.figures.failed_snapshots.add(1);
                tracing::warn!(%error, "cannot write a snapshot: the log grows until one succeeds");
                let held: u64 = self.log.sealed().iter().map(|sealed| sealed.bytes).sum();
                self.patience = held + self.log.segment_bytes();
            }
        }
    }

    /// Returns the segment that should be prepared; the result goes to [`Writer::prepared`].
    pub(super) fn unprepared(&mut self) -> Option<Preparation> {
        self.log.wants_spare()
    }

    /// Takes the segment that was prepared.
    pub(super) fn prepared(&mut self, result: io::Result<Box<dyn DiskFile>>) {
        self.log.equip(result);
    }

    /// Returns what is to be dropped.
    fn litter(&mut self) -> Option<Vec<Forgotten>> {
        (!self.litter.is_empty()).then(|| mem::take(&mut self.litter))
    }

    /// Ends the log in good order, if it is in good order.
    pub(super) fn close(mut self) {
        if self.queue.check().is_err() {
            return;
        }
        match self.log.close() {
            Ok(()) => {}
            Err(AppendError::Full(error) | AppendError::Failed(error)) => {
                tracing::warn!(%error, "cannot mark the end of the log: nothing is lost");
            }
        }
    }

    /// Works until the queue closes. What can be done beside the writing is done by threads of its own.
    pub(super) fn run(mut self) {
        self.is_alone = false;
        let mut snapshot = Aside::new("storage-snapshot");
        let mut spare = Aside::new("storage-spare");
        let mut forget = Aside::new("storage-forget");
        while self.turn() {
            if let Some(result) = snapshot.finished() {
                self.snapshotted(result);
            }
            if snapshot.is_idle()
                && let Some(job) = self.due()
                && let Err(error) = snapshot.start(|| job.run())
            {
                self.snapshotted(Err(error));
            }
            if let Some(result) = spare.finished() {
                self.prepared(result);
            }
            if let Some(preparation) = self.unprepared()
                && let Err(error) = spare.start(|| preparation.run())
            {
                self.prepared(Err(error));
            }
            drop(forget.finished());
            if forget.is_idle()
                && let Some(litter) = self.litter()
                && let Err(error) = forget.start(|| {
                    drop(litter);
                    Ok(())
                })
            {
                tracing::debug!(%error, "history was dropped while commits waited");
            }
        }
        drop(forget.wait());
        if let Some(result) = snapshot.wait() {
            self.snapshotted(result);
        }
        if let Some(result) = spare.wait() {
            self.prepared(result);
        }
        self.close();
    }
}

/// How soon a single caller comes back that was answered. One that does so at once is waited for awake: to sleep and to be woken
/// takes longer than what it does meanwhile.
#[derive(Debug, Default)]
struct Returns {
    is_soon: bool,
    /// How many were answered last, and when.
    answered: Option<(usize, Instant)>,
    taken: usize,
}

impl Returns {
    fn took(&mut self, count: usize) {
        self.taken = count;
        self.is_soon = match self.answered {
            Some((1, when)) if count == 1 => when.elapsed() < SOON,
            _ => false,
        };
    }

    fn answered(&mut self) {
        self.answered = Some((self.taken, Instant::now()));
    }
}

/// A thread for one thing at a time.
struct Aside<T> {
    name: &'static str,
    thread: Option<JoinHandle<io::Result<T>>>,
}

impl<T: Send + 'static> Aside<T> {
    fn new(name: &'static str) -> Self {
        Self { name, thread: None }
    }

    fn is_idle(&self) -> bool {
        self.thread.is_none()
    }

    fn start(&mut self, work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<()> {
        self.thread = Some(thread::Builder::new().name(self.name.to_owned()).spawn(work)?);
        Ok(())
    }

    /// Returns the result if there is one.
    fn finished(&mut self) -> Option<io::Result<T>> {
        self.thread.take_if(|thread| thread.is_finished()).map(join)
    }

    /// Waits for the result, if there will be one.
    fn wait(&mut self) -> Option<io::Result<T>> {
        self.thread.take().map(join)
    }
}

fn join<T>(thread: JoinHandle<io::Result<T>>) -> io::Result<T> {
    thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))
}
