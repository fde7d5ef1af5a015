//! Connections that send much give way to those that send little.
//!
//! A connection whose client takes what it is sent could keep a thread of the runtime for as long as its answer lasts, and with
//! a few dozen of them nobody else is served for that long: the runtime asks for what has arrived after so many turns, not after
//! so much time. So a connection that has sent [`ALLOWANCE`] in one turn goes on with threads of its kind, one less than the
//! runtime has, in turn with the others there.
//!
//! These threads yield to the operating system after each turn. A thread that only now and then has something to do waits for
//! one that always has until that one's slice is over, which is several milliseconds: it would be what others notice most.

use std::panic::resume_unwind;
use std::sync::{Arc, OnceLock};

use tokio::runtime::{Builder, Handle, Runtime, RuntimeFlavor};
use tokio_util::context::TokioContext;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

/// How many bytes a connection may send in one turn, about: what a processor encrypts and copies in a tenth of a millisecond.
pub(super) const ALLOWANCE: usize = 128 * 1024;
/// The threads of the connections that send much. Clones share them, and they begin with the first of these connections.
#[derive(Debug, Clone)]
pub(super) struct Bulk(Arc<Threads>);

#[derive(Debug)]
struct Threads {
    /// The runtime of the connections.
    home: Handle,
    own: OnceLock<Runtime>,
    /// What runs there.
    running: TaskTracker,
}

impl Bulk {
    /// Makes threads for the connections of the present runtime.
    ///
    /// # Panics
    ///
    /// Outside a runtime.
    pub(super) fn new() -> Self {
        Self(Arc::new(Threads { home: Handle::current(), own: OnceLock::new(), running: TaskTracker::new() }))
    }

    /// Runs a future there, in the context of the runtime of the connections. It ends when what is returned is dropped, soon after.
    ///
    /// A runtime of one thread has no others: what it does is in order, and time that is paused waits for it.
    ///
    /// # Panics
    ///
    /// If the future does, or if there can be no thread.
    pub(super) async fn run<F>(&self, future: F) -> F::Output
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let Threads { home, own, running } = &*self.0;
        if home.runtime_flavor() == RuntimeFlavor::CurrentThread {
            return future.await;
        }
        let own = own.get_or_init(|| threads(home.metrics().num_workers().saturating_sub(1).max(1)));
        let task = running.spawn_on(TokioContext::new(future, home.clone()), own.handle());
        match AbortOnDropHandle::new(task).await {
            Ok(output) => output,
            Err(error) => resume_unwind(error.into_panic()),
        }
    }

    /// Waits until nothing runs there any more.
    pub(super) async fn ended(&self) {
        self.0.running.close();
        self.0.running.wait().await;
    }
}

fn threads(count: usize) -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(count)
        .thread_name("bulk")
        // Who comes has its turn soon, however many are there.
        .global_queue_interval(2)
        .build()
        .expect("there can be threads")
}

/// Lets all others come first that are ready: the connections that send much, and the threads of the machine.
pub(super) async fn give_way() {
    std::thread::yield_now();
    tokio::task::yield_now().await;
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(own) = self.own.take() {
            // Whoever drops this may be a task, which must not wait.
            own.shutdown_background();
        }
    }
}
