//! Connections that send much give way to those that send little.
//!
//! A connection whose client takes what it is sent could keep a thread of the runtime for as long as its answer lasts, and with
//! a few dozen of them nobody else is served for that long: the runtime asks for what has arrived after so many turns, not after
//! so much time. So a connection that has sent [`ALLOWANCE`] in one turn stands in line for its next one behind all that is ready,
//! and no more of those run at a time than leave a thread of the runtime to the others.

use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many bytes a connection may send in one turn, about: what a processor encrypts and copies in a tenth of a millisecond.
pub(super) const ALLOWANCE: usize = 128 * 1024;

/// The line of the connections that send much. Clones are one.
#[derive(Debug, Clone)]
pub(super) struct Bulk(Arc<Semaphore>);

impl Bulk {
    /// Makes a line for the connections of the present runtime.
    ///
    /// # Panics
    ///
    /// Outside a runtime.
    pub(super) fn new() -> Self {
        let threads = Handle::current().metrics().num_workers();
        Self(Arc::new(Semaphore::new(threads.saturating_sub(1).max(1))))
    }

    /// Waits until it is the connection's turn, which lasts until what is returned is dropped.
    pub(super) fn turn(&self) -> BoxFuture<'static, Option<OwnedSemaphorePermit>> {
        let line = self.0.clone();
        Box::pin(async move {
            let turn = line.acquire_owned().await.ok();
            // Whoever yields comes behind all that is ready, and behind what has arrived meanwhile.
            tokio::task::yield_now().await;
            turn
        })
    }
}
