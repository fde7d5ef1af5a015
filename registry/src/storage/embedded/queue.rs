//! The line between callers and the writer: what waits together for the next sync.
//!
//! Callers hold it for no longer than it takes to get in. What waits is checked and applied by one thread at a time, the writer's or
//! that beside it: so nobody waits for a lock while the versions change. A writer that has nothing to do may be here too: then a
//! caller who is alone takes it and writes by itself.

use std::future::poll_fn;
use std::io;
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::task::Poll;
use std::time::Duration;

use quarterdeck_core::component::BoxError;
use quarterdeck_core::storage::{Revision, StorageError, Transaction};
use tokio::sync::{Semaphore, oneshot};

use super::super::versions::{size, validate};
use super::batch::Batch;
use super::writer::Writer;

/// So much may wait for a sync, in KiB: larger than any transaction. Beyond it callers wait to get in line.
const IN_FLIGHT: u32 = 32 << 10;

/// The largest request that a caller writes by itself, in KiB: beside it, there is room for any other to get in line.
const LARGEST_IN_PLACE: usize = IN_FLIGHT as usize / 4;

/// The answer to a caller.
pub(super) type Answer = Result<Revision, StorageError>;

/// Who waits for an answer.
pub(super) type Caller = oneshot::Sender<Answer>;

/// What a caller asks for.
#[derive(Debug)]
pub(super) enum Request {
    Commit(Transaction),
    Compact(Revision),
}

/// What waited, in the order in which it came.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) waiting: Vec<(Caller, Request)>,
    /// What it takes of what may wait.
    pub(super) room: usize,
}

/// Why the writer finds nothing.
pub(super) enum Nothing {
    /// Nothing came in the time that it may wait.
    Late,
    /// Nothing will come: the store closes.
    Closing,
}

/// What became of a writer that was lent.
pub(super) enum Lent {
    /// It is back, and there is something to do.
    Back(Box<Writer>),
    /// Whoever had it panicked.
    Lost,
}

/// Where the writer is.
#[derive(Default)]
enum Place {
    /// With its thread.
    #[default]
    Thread,
    /// Here, for the first who comes.
    Here(Box<Writer>),
    /// Here, for its thread, which has something to do.
    Due(Box<Writer>),
    /// With a caller.
    Caller,
    Lost,
}

#[derive(Default)]
struct Line {
    taken: Taken,
    place: Place,
    /// Whether the writer waits to be woken.
    is_awaited: bool,
    /// How many the thread beside the writer waits for, if it does.
    crowd: Option<usize>,
    /// Whether it should not wait any more.
    is_dismissed: bool,
    /// Whether nobody is let in any more because the store closes.
    closing: bool,
    /// Why nothing can be written any more.
    failed: Option<Arc<io::Error>>,
}

/// See the module.
pub(super) struct Queue {
    line: Mutex<Line>,
    work: Condvar,
    crowd: Condvar,
    room: Semaphore,
}

impl Queue {
    pub(super) fn new() -> Self {
        Self {
            line: Mutex::default(),
            work: Condvar::new(),
            crowd: Condvar::new(),
            room: Semaphore::new(IN_FLIGHT as usize),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        self.line.lock().expect("nothing panics while it holds the line")
    }

    /// Gets a transaction in line and waits for its answer.
    pub(super) async fn commit(&self, transaction: Transaction) -> Answer {
        validate(&transaction.writes)?;
        let kibibytes = u32::try_from(size(&transaction.writes) >> 10).unwrap_or(IN_FLIGHT) + 1;
        self.wait(kibibytes, Request::Commit(transaction)).await
    }

    /// Gets a compaction in line and waits for its answer.
    pub(super) async fn compact(&self, at: Revision) -> Answer {
        self.wait(1, Request::Compact(at)).await
    }

    /// There is no wait between getting room and getting in line: a future that is dropped did both, or neither.
    async fn wait(&self, room: u32, request: Request) -> Answer {
        let permit = self.room.acquire_many(room).await.map_err(unavailable)?;
        let (mut receiver, offer) = self.enter(room as usize, request)?;
        permit.forget();
        if let Some(offer) = offer {
            // Others whom the same thread runs get in line, and then the writer's thread takes all at once.
            once_more().await;
            match receiver.try_recv() {
                Ok(answer) => return answer,
                Err(_) => offer.take(),
            }
        }
        receiver.await.unwrap_or_else(|_| Err(unavailable("the writer stopped")))
    }

    /// Gets in line. Whoever is offered the writer wakes its thread, if nobody else does. What is large is no offer: while nobody
    /// polls it, others would wait for room.
    fn enter(
        &self,
        room: usize,
        request: Request,
    ) -> Result<(oneshot::Receiver<Answer>, Option<Offer<'_>>), StorageError> {
        let (caller, receiver) = oneshot::channel();
        let mut line = self.lock();
        if line.closing {
            return Err(unavailable("the store is closed"));
        }
        line.check()?;
        line.taken.waiting.push((caller, request));
        line.taken.room += room;
        let count = line.taken.waiting.len();
        let offer = (count == 1 && room <= LARGEST_IN_PLACE && matches!(line.place, Place::Here(_)))
            .then(|| Offer { queue: self, has_borrowed: false });
        let is_awaited =
            offer.is_none() && !matches!(line.place, Place::Caller) && mem::take(&mut line.is_awaited);
        let is_crowd = line.crowd.take_if(|crowd| count >= *crowd).is_some();
        drop(line);
        if is_awaited {
            self.work.notify_one();
        }
        if is_crowd {
            self.crowd.notify_one();
        }
        Ok((receiver, offer))
    }

    /// Takes what waits, if anything does.
    pub(super) fn take_now(&self) -> Taken {
        mem::take(&mut self.lock().taken)
    }

    /// Takes all that waits. Waits for something, for so long if there is a bound.
    pub(super) fn take(&self, at_most: Option<Duration>) -> Result<Taken, Nothing> {
        let mut line = self.lock();
        while line.taken.waiting.is_empty() {
            if line.closing {
                return Err(Nothing::Closing);
            }
            line.is_awaited = true;
            let Some(at_most) = at_most else {
                line = self.work.wait(line).expect("nothing panics while it holds the line");
                continue;
            };
            let (woken, waited) =
                self.work.wait_timeout(line, at_most).expect("nothing panics while it holds the line");
            line = woken;
            if waited.timed_out() && line.taken.waiting.is_empty() && !line.closing {
                return Err(Nothing::Late);
            }
        }
        Ok(mem::take(&mut line.taken))
    }

    /// Lets callers have the writer until there is something to do for its thread, which waits here.
    pub(super) fn lend(&self, writer: Box<Writer>) -> Lent {
        let mut line = self.lock();
        line.place = Place::Here(writer);
        loop {
            line.place = match mem::take(&mut line.place) {
                Place::Due(writer) => return Lent::Back(writer),
                Place::Here(writer) if line.has_work() => return Lent::Back(writer),
                Place::Lost => return Lent::Lost,
                place => place,
            };
            line.is_awaited = true;
            line = self.work.wait(line).expect("nothing panics while it holds the line");
        }
    }

    /// Lets [`Queue::take_crowd`] wait, from now on until [`Queue::dismiss_crowd`].
    pub(super) fn expect_crowd(&self) {
        self.lock().is_dismissed = false;
    }

    /// Keeps [`Queue::take_crowd`] from taking anything more.
    pub(super) fn dismiss_crowd(&self) {
        self.lock().is_dismissed = true;
        self.crowd.notify_one();
    }

    /// Waits until so many wait, and takes all, unless it is dismissed before that.
    pub(super) fn take_crowd(&self, count: usize) -> Option<Taken> {
        let mut line = self.lock();
        loop {
            if line.is_dismissed {
                line.crowd = None;
                return None;
            }
            if line.taken.waiting.len() >= count {
                return Some(mem::take(&mut line.taken));
            }
            line.crowd = Some(count);
            line = self.crowd.wait(line).expect("nothing panics while it holds the line");
        }
    }

    /// Answers the callers of a batch, each with what was found out for it. Returns the memory of its frame.
    pub(super) fn answer(&self, batch: Batch) -> Vec<u8> {
        for (caller, answer) in batch.answers {
            // A caller that is gone does not want to know.
            let _ = caller.send(answer);
        }
        self.room.add_permits(batch.room);
        batch.frame
    }

    /// Refuses batches: there is no room for them.
    pub(super) fn refuse(&self, batches: impl IntoIterator<Item = Batch>, error: io::Error) {
        let error = Arc::new(error);
        for batch in batches {
            for (caller, _) in batch.answers {
                let _ = caller.send(Err(StorageError::Full(Box::new(Arc::clone(&error)))));
            }
            self.room.add_permits(batch.room);
        }
    }

    /// Refuses everything from now on: what the disk holds is unknown.
    pub(super) fn fail(&self, batches: impl IntoIterator<Item = Batch>, error: io::Error) {
        let error = Arc::new(error);
        let mut line = self.lock();
        let Taken { waiting, room } = mem::take(&mut line.taken);
        line.failed.get_or_insert_with(|| Arc::clone(&error));
        drop(line);
        let refuse = |caller: Caller| drop(caller.send(Err(unavailable(Arc::clone(&error)))));
        for batch in batches {
            batch.answers.into_iter().for_each(|(caller, _)| refuse(caller));
            self.room.add_permits(batch.room);
        }
        waiting.into_iter().for_each(|(caller, _)| refuse(caller));
        self.room.add_permits(room);
    }

    /// Returns why nothing can be written any more, if that is so.
    pub(super) fn check(&self) -> Result<(), StorageError> {
        self.lock().check()
    }

    /// Returns how many wait that nobody took.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.lock().taken.waiting.len()
    }

    /// Returns whether the writer is here.
    #[cfg(test)]
    pub(super) fn is_lent(&self) -> bool {
        matches!(self.lock().place, Place::Here(_))
    }

    /// Lets nobody wait any more: there is nobody who would answer.
    pub(super) fn end(&self) {
        self.fail([], io::Error::other("the store is closed"));
        self.room.close();
    }

    /// Lets nobody in any more. What is in line is still written.
    pub(super) fn close(&self) {
        self.lock().closing = true;
        self.work.notify_one();
    }
}

/// Lets others who are polled by the same thread go first, also where no runtime is that would know how.
async fn once_more() {
    let mut is_polled = false;
    poll_fn(|context| {
        if mem::replace(&mut is_polled, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// The writer, for a caller who was first in line. Once this is dropped, the writer's thread does what is to be done.
struct Offer<'a> {
    queue: &'a Queue,
    has_borrowed: bool,
}

impl Offer<'_> {
    /// Writes what waits, if it still is only one, and nobody has the writer.
    fn take(mut self) {
        let mut line = self.queue.lock();
        if line.taken.waiting.len() != 1 {
            return;
        }
        let mut writer = match mem::replace(&mut line.place, Place::Caller) {
            Place::Here(writer) => writer,
            place => return line.place = place,
        };
        let taken = mem::take(&mut line.taken);
        drop(line);
        self.has_borrowed = true;
        writer.write(taken);
        let is_due = writer.has_chores();
        self.queue.lock().place = if is_due { Place::Due(writer) } else { Place::Here(writer) };
        self.has_borrowed = false;
    }
}

impl Drop for Offer<'_> {
    fn drop(&mut self) {
        let mut line = self.queue.lock();
        if self.has_borrowed {
            line.place = Place::Lost;
        }
        let is_due = match line.place {
            Place::Here(_) => line.has_work(),
            Place::Due(_) | Place::Lost => true,
            Place::Thread | Place::Caller => false,
        };
        let is_awaited = is_due && mem::take(&mut line.is_awaited);
        drop(line);
        if is_awaited {
            self.queue.work.notify_one();
        }
    }
}

impl Line {
    /// Returns whether its thread should have the writer back.
    fn has_work(&self) -> bool {
        !self.taken.waiting.is_empty() || self.closing
    }

    fn check(&self) -> Result<(), StorageError> {
        self.failed.as_ref().map_or(Ok(()), |error| Err(unavailable(Arc::clone(error))))
    }
}

pub(super) fn unavailable(error: impl Into<BoxError>) -> StorageError {
    StorageError::Unavailable(error.into())
}
