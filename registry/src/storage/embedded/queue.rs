//! The line between callers and the writer: transactions are checked and applied here, in order, and wait together for
//! the next sync.
//!
//! The queue's versions are ahead of the published ones by what is not durable yet. Nothing that depends on them is told
//! to anybody before it is: a conflict with a commit in flight waits for that commit's sync, too.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use quarterdeck_core::component::BoxError;
use quarterdeck_core::storage::{Revision, StorageError, Transaction};
use tokio::sync::{Semaphore, oneshot};

use super::super::history::{Forgotten, Logged};
use super::super::versions::{Versions, size, validate};
use super::format::{FRAME_HEADER, write_commit, write_compact};

/// So much may wait for a sync, in KiB: larger than any transaction. Beyond it callers wait to get in line.
const IN_FLIGHT: u32 = 32 << 10;

/// The answer to a caller.
pub(super) type Answer = Result<Revision, StorageError>;

/// What waits for the same sync.
#[derive(Debug)]
pub(super) struct Batch {
    /// Room for a frame's header, then the records.
    pub(super) frame: Vec<u8>,
    pub(super) commits: Vec<Arc<Logged>>,
    /// History that is forgotten in it. To drop it takes a while: not what anybody should wait for.
    pub(super) forgotten: Vec<Forgotten>,
    pub(super) replies: Vec<(oneshot::Sender<Answer>, Answer)>,
    /// What the batch takes of what may be in flight.
    room: usize,
}

impl Batch {
    fn new(mut frame: Vec<u8>) -> Self {
        frame.clear();
        frame.resize(FRAME_HEADER, 0);
        Self { frame, commits: Vec::new(), forgotten: Vec::new(), replies: Vec::new(), room: 0 }
    }

    /// Returns whether there is something to write, and not only something to answer.
    pub(super) fn has_records(&self) -> bool {
        self.frame.len() > FRAME_HEADER
    }
}

/// Why the writer finds no batch.
pub(super) enum NoBatch {
    /// None came in the time that it may wait.
    Late,
    /// None will come: the store closes.
    Closing,
}

struct Line {
    versions: Versions,
    batch: Batch,
    /// Whether a batch was taken and is not done.
    busy: bool,
    /// Whether nobody is let in any more because the store closes.
    closing: bool,
    /// Why nothing can be written any more.
    failed: Option<Arc<io::Error>>,
}

/// See the module.
pub(super) struct Queue {
    line: Mutex<Line>,
    work: Condvar,
    room: Semaphore,
}

impl Queue {
    pub(super) fn new(versions: Versions) -> Self {
        let batch = Batch::new(Vec::new());
        let line = Line { versions, batch, busy: false, closing: false, failed: None };
        Self { line: Mutex::new(line), work: Condvar::new(), room: Semaphore::new(IN_FLIGHT as usize) }
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        self.line.lock().expect("nothing panics while it holds the line")
    }

    /// Gets a transaction in line and waits for its answer.
    pub(super) async fn commit(&self, transaction: Transaction) -> Answer {
        validate(&transaction.writes)?;
        let kibibytes = u32::try_from(size(&transaction.writes) >> 10).unwrap_or(IN_FLIGHT) + 1;
        self.wait(kibibytes, |line| line.commit(transaction)).await
    }

    /// Gets a compaction in line and waits for its answer.
    pub(super) async fn compact(&self, at: Revision) -> Answer {
        self.wait(1, |line| line.compact(at)).await
    }

    /// There is no wait between getting room and getting in line: a future that is dropped did both, or neither.
    async fn wait(&self, room: u32, enter: impl FnOnce(&mut Line) -> Answer) -> Answer {
        let permit = self.room.acquire_many(room).await.map_err(unavailable)?;
        let receiver = match self.enter(room as usize, enter) {
            Ok(receiver) => {
                permit.forget();
                receiver
            }
            Err(answer) => return answer,
        };
        receiver.await.unwrap_or_else(|_| Err(unavailable("the writer stopped")))
    }

    /// Enters the line, or returns the answer if it needs no wait.
    fn enter(
        &self,
        room: usize,
        enter: impl FnOnce(&mut Line) -> Answer,
    ) -> Result<oneshot::Receiver<Answer>, Answer> {
        let mut line = self.lock();
        if line.closing {
            return Err(Err(unavailable("the store is closed")));
        }
        line.check().map_err(Err)?;
        let answer = enter(&mut line);
        let pending = line.busy || line.batch.has_records() || !line.batch.replies.is_empty();
        if !pending {
            return Err(answer);
        }
        let (sender, receiver) = oneshot::channel();
        line.batch.replies.push((sender, answer));
        line.batch.room += room;
        drop(line);
        self.work.notify_one();
        Ok(receiver)
    }

    /// Takes the batch that waits, with the versions behind it. Waits for one, for so long if there is a bound. `frame` is
    /// memory to use for the next.
    pub(super) fn take(
        &self,
        frame: Vec<u8>,
        at_most: Option<Duration>,
    ) -> Result<(Batch, Versions), NoBatch> {
        let mut line = self.lock();
        while line.batch.replies.is_empty() {
            if line.closing {
                return Err(NoBatch::Closing);
            }
            let Some(at_most) = at_most else {
                line = self.work.wait(line).expect("nothing panics while it holds the line");
                continue;
            };
            let (woken, waited) =
                self.work.wait_timeout(line, at_most).expect("nothing panics while it holds the line");
            line = woken;
            if waited.timed_out() && line.batch.replies.is_empty() && !line.closing {
                return Err(NoBatch::Late);
            }
        }
        line.busy = true;
        let batch = std::mem::replace(&mut line.batch, Batch::new(frame));
        Ok((batch, line.versions.clone()))
    }

    /// Says that the batch that was taken is durable and published.
    pub(super) fn done(&self) {
        self.lock().busy = false;
    }

    /// Answers the callers of a batch, each with what was found out for it.
    pub(super) fn answer(&self, batch: Batch) -> Vec<u8> {
        for (sender, answer) in batch.replies {
            // A caller that is gone does not want to know.
            let _ = sender.send(answer);
        }
        self.room.add_permits(batch.room);
        batch.frame
    }

    /// Refuses the batch that was taken, and what came in line behind it: the versions are `durable` again.
    pub(super) fn roll_back(&self, taken: Batch, durable: Versions, error: io::Error) {
        let mut line = self.lock();
        let behind = std::mem::replace(&mut line.batch, Batch::new(Vec::new()));
        let undone = std::mem::replace(&mut line.versions, durable);
        line.busy = false;
        drop(line);
        drop(undone);
        let error = Arc::new(error);
        for batch in [taken, behind] {
            self.refuse(batch, || StorageError::Full(Box::new(Arc::clone(&error))));
        }
    }

    /// Refuses everything from now on: what the disk holds is unknown.
    pub(super) fn fail(&self, taken: Option<Batch>, error: io::Error) {
        let error = Arc::new(error);
        let mut line = self.lock();
        let behind = std::mem::replace(&mut line.batch, Batch::new(Vec::new()));
        line.busy = false;
        line.failed.get_or_insert_with(|| Arc::clone(&error));
        drop(line);
        for batch in taken.into_iter().chain([behind]) {
            self.refuse(batch, || unavailable(Arc::clone(&error)));
        }
    }

    /// Returns why nothing can be written any more, if that is so.
    pub(super) fn check(&self) -> Result<(), StorageError> {
        self.lock().check()
    }

    fn refuse(&self, mut batch: Batch, error: impl Fn() -> StorageError) {
        for (_, answer) in &mut batch.replies {
            *answer = Err(error());
        }
        drop(self.answer(batch));
    }

    /// Lets nobody in any more. What is in line is still written.
    pub(super) fn close(&self) {
        self.lock().closing = true;
        self.work.notify_one();
    }
}

impl Line {
    fn check(&self) -> Result<(), StorageError> {
        self.failed.as_ref().map_or(Ok(()), |error| Err(unavailable(Arc::clone(error))))
    }

    fn commit(&mut self, transaction: Transaction) -> Answer {
        self.versions.check(&transaction.conditions)?;
        if let Some(logged) = self.versions.apply(transaction.writes) {
            write_commit(&mut self.batch.frame, &logged);
            self.batch.commits.push(logged);
        }
        Ok(self.versions.revision())
    }

    fn compact(&mut self, at: Revision) -> Answer {
        let before = self.versions.compacted();
        let forgotten = self.versions.compact(at)?;
        if self.versions.compacted() > before {
            write_compact(&mut self.batch.frame, at);
            self.batch.forgotten.push(forgotten);
        }
        Ok(self.versions.revision())
    }
}

pub(super) fn unavailable(error: impl Into<BoxError>) -> StorageError {
    StorageError::Unavailable(error.into())
}
