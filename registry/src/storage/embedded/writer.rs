//! The writer: makes batches durable, publishes them, answers their callers, and keeps the disk's use bounded.

use std::io;
use std::mem;
use std::sync::Arc;

use super::super::history::Forgotten;
use super::super::published::Published;
use super::super::versions::Versions;
use super::Shared;
use super::ahead::{Ahead, CROWD};
use super::batch::Batch;
use super::chores::Chores;
use super::disk::DiskFile;
use super::figures::Figures;
use super::log::{AppendError, Log, Preparation, Sealed};
use super::queue::{Lent, Nothing, Queue, Taken};
use super::recovery::Recovered;
use super::snapshot::{Job, Written};
use crate::sparing::Sparing;

/// Memory of a batch is used again unless it is larger.
const REUSED: usize = 4 << 20;

/// See the module. Only one thread has it at a time.
pub(super) struct Writer {
    queue: Arc<Queue>,
    published: Arc<Published>,
    /// The versions behind the batch that is written, or behind the next if there is one: ahead of the published ones.
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
    /// The batch that was applied while the last one was written.
    next: Option<Batch>,
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
            next: None,
        };
        writer.tell_sizes();
        writer
    }

    pub(super) fn shared(&self) -> Shared {
        let Self { queue, published, figures, .. } = self;
        Shared { queue: Arc::clone(queue), published: Arc::clone(published), figures: Arc::clone(figures) }
    }

    /// Makes one batch durable: the one that was applied already, or what it waits for. Or waits for the time to sync, and does
    /// that. Returns `false` when there will be nothing more.
    pub(super) fn turn(&mut self) -> bool {
        let batch = if let Some(mut batch) = self.next.take() {
            // Who came before it is written need not wait for another sync.
            batch.apply(self.queue.take_now(), &mut self.versions);
            Some(batch)
        } else {
            match self.queue.take(self.log.sync_due()) {
                Ok(taken) => Some(self.applied(taken)),
                Err(Nothing::Late) => None,
                Err(Nothing::Closing) => return false,
            }
        };
        if let Some(batch) = batch {
            self.store(batch);
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
                self.queue.fail(self.next.take(), error);
            }
        }
    }

    /// Makes durable what was taken, for a caller that borrowed the writer.
    pub(super) fn write(&mut self, taken: Taken) {
        let batch = self.applied(taken);
        self.store(batch);
    }

    fn applied(&mut self, taken: Taken) -> Batch {
        let mut batch = Batch::new(mem::take(&mut self.spare));
        batch.apply(taken, &mut self.versions);
        batch
    }

    /// Makes a batch durable and answers it, while the next one is applied if there are enough for that.
    fn store(&mut self, mut batch: Batch) {
        if !batch.has_records() {
            return self.answer(batch);
        }
        let ahead = if batch.answers.len() >= CROWD { self.ahead() } else { None };
        if let Some(ahead) = &ahead {
            ahead.begin(self.versions.clone(), mem::take(&mut self.spare));
        }
        let appended = self.log.append(&mut batch.frame, self.versions.revision());
        let versions = match ahead {
            None => self.versions.clone(),
            // Before this batch is answered: to wait until its callers' next commits are applied too would leave the disk idle.
            Some(ahead) => {
                let (versions, next) = ahead.end();
                self.next = next;
                self.ahead = Some(ahead);
                mem::replace(&mut self.versions, versions)
            }
        };
        match appended {
            Ok(()) => {
                let replaced = self.published.publish(versions, &batch.commits);
                self.tell(&batch);
                self.answer(batch);
                drop(replaced);
            }
            Err(error) => self.refuse(batch, error),
        }
    }

    /// Refuses a batch that was not written, and the one that was applied to what it would have made.
    fn refuse(&mut self, batch: Batch, error: AppendError) {
        let batches = [batch].into_iter().chain(self.next.take());
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

    /// Returns the segments that a snapshot would make superfluous, if they are more log than it takes to write it.
    fn superfluous(&self) -> Option<Vec<&Sealed>> {
        let segments = self.log.sealed();
        if segments.is_empty() {
            return None;
        }
        let compacted = self.published.read(Versions::compacted);
        let covered: Vec<&Sealed> = segments.iter().take_while(|sealed| sealed.last <= compacted).collect();
        let bytes: u64 = covered.iter().map(|sealed| sealed.bytes).sum();
        let written = self.snapshot.as_ref().map_or(0, |(_, bytes)| *bytes);
        (bytes >= self.log.segment_bytes().max(written).max(self.patience)).then_some(covered)
    }

    /// Returns the snapshot that is due.
    pub(super) fn due(&self) -> Option<Job> {
        let covered = self.superfluous()?;
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
    pub(super) fn litter(&mut self) -> Option<Vec<Forgotten>> {
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

    /// Returns whether something is to be done that only the writer's own thread does.
    pub(super) fn has_chores(&self) -> bool {
        self.next.is_some()
            || !self.litter.is_empty()
            || self.log.sync_due().is_some()
            || self.log.is_spare_due()
            || self.superfluous().is_some()
    }

    /// Works until the queue closes. With `in_place`, callers may borrow the writer when it has nothing to do.
    pub(super) fn run(mut self: Box<Self>, in_place: bool) {
        self.is_alone = false;
        let mut chores = Chores::new();
        loop {
            if in_place && chores.are_idle() && !self.has_chores() {
                let queue = Arc::clone(&self.queue);
                match queue.lend(self) {
                    Lent::Back(writer) => self = writer,
                    Lent::Lost => {
                        tracing::error!(
                            "a thread that wrote a commit of its own panicked: the store is closed"
                        );
                        return;
                    }
                }
                if self.has_chores() {
                    chores.tend(&mut self);
                    continue;
                }
            }
            if !self.turn() {
                break;
            }
            chores.tend(&mut self);
        }
        chores.end(&mut self);
        (*self).close();
    }
}
