//! A thread that checks and applies the next batch while the one before it is written: a disk and a core that take turns
//! are both idle half of the time.

use std::io;
use std::mem;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

use super::super::versions::Versions;
use super::batch::Batch;
use super::queue::Queue;

/// Batches of so many requests are worth a second thread: to hand one over takes as long as to apply a few.
pub(super) const CROWD: usize = 32;

/// The thread. It ends when this is dropped.
pub(super) struct Ahead {
    queue: Arc<Queue>,
    to: Option<SyncSender<(Versions, Vec<u8>)>>,
    from: Receiver<(Versions, Option<Batch>)>,
    thread: Option<JoinHandle<()>>,
}

impl Ahead {
    /// Starts the thread.
    pub(super) fn start(queue: Arc<Queue>) -> io::Result<Self> {
        let (to, work) = sync_channel::<(Versions, Vec<u8>)>(1);
        let (done, from) = sync_channel(1);
        let requests = Arc::clone(&queue);
        let thread = Builder::new().name("storage-apply".to_owned()).spawn(move || {
            for (mut versions, frame) in work {
                let mut batch = Batch::new(frame);
                while let Some(taken) = requests.take_crowd(CROWD) {
                    batch.apply(taken, &mut versions);
                }
                let batch = (!batch.answers.is_empty()).then_some(batch);
                if done.send((versions, batch)).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { queue, to: Some(to), from, thread: Some(thread) })
    }

    /// Has what comes applied to these versions, as often as it is a crowd. `frame` is memory to use.
    pub(super) fn begin(&self, versions: Versions, frame: Vec<u8>) {
        self.queue.expect_crowd();
        let to = self.to.as_ref().expect("it is there until the drop");
        to.send((versions, frame)).expect("the thread lives as long as this");
    }

    /// Returns the versions, and the batch that was applied to them, if there was any.
    pub(super) fn end(&self) -> (Versions, Option<Batch>) {
        self.queue.dismiss_crowd();
        self.from.recv().expect("the thread lives as long as this")
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        // It may wait for a crowd, if the writer panicked.
        self.queue.dismiss_crowd();
        drop(mem::take(&mut self.to));
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that applies commits ahead panicked");
        }
    }
}
