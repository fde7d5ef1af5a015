//! Other embedded stores, with what they do best: one thread writes, and takes all that waits into one durable transaction.
//!
//! They do less than ours: no history, no watches, nothing in memory but a cache.

mod redb;
mod sqlite;

use std::mem;
use std::thread::{self, JoinHandle};

use bytes::Bytes;
use quarterdeck_core::component::BoxError;
use quarterdeck_core::storage::{Expect, Key, Revision};
use tokio::sync::{mpsc, oneshot};

pub(crate) use redb::Redb;
pub(crate) use sqlite::Sqlite;

use crate::in_process::Writes;

/// So many writes may wait.
const WAITING: usize = 1024;

/// A store that does one transaction at a time.
pub(crate) trait Peer: Send + 'static {
    /// Does writes in one durable transaction, each with the revision behind the one before, of which the first is `first`.
    ///
    /// # Errors
    ///
    /// A key is not as expected, or the store failed.
    fn commit(&mut self, writes: &[Conditional], first: Revision) -> Result<(), BoxError>;
}

/// A write that waits.
pub(crate) struct Conditional {
    key: Key,
    expect: Expect,
    value: Bytes,
    reply: oneshot::Sender<Revision>,
}

/// A peer with a line in front of it.
pub(crate) struct Grouped {
    line: mpsc::Sender<Conditional>,
    thread: Option<JoinHandle<()>>,
}

impl Grouped {
    pub(crate) fn start(mut peer: impl Peer) -> Self {
        let (line, mut writes) = mpsc::channel(WAITING);
        let thread = thread::spawn(move || {
            let (mut batch, mut last) = (Vec::new(), Revision(0));
            while writes.blocking_recv_many(&mut batch, WAITING) > 0 {
                peer.commit(&batch, Revision(last.0 + 1)).expect("nobody else writes the keys");
                for write in batch.drain(..) {
                    last = Revision(last.0 + 1);
                    // A worker that is gone does not want to know.
                    let _ = write.reply.send(last);
                }
            }
        });
        Self { line, thread: Some(thread) }
    }
}

impl Writes for Grouped {
    async fn write(&self, key: &Key, expect: Expect, value: Bytes) -> Revision {
        let (reply, answer) = oneshot::channel();
        let sent = self.line.send(Conditional { key: key.clone(), expect, value, reply }).await;
        sent.map_err(drop).expect("the store goes on");
        answer.await.expect("the store goes on")
    }
}

impl Drop for Grouped {
    fn drop(&mut self) {
        // Ends the line, and with it the thread.
        drop(mem::replace(&mut self.line, mpsc::channel(1).0));
        if let Some(thread) = self.thread.take() {
            // It said why it panicked.
            let _ = thread.join();
        }
    }
}
