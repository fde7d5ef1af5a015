//! The tasks of the WebSockets that are open.

use std::future::Future;
use std::sync::{Mutex, MutexGuard};

use tokio::task::JoinSet;

/// The WebSockets of a server. Each is a task, because what was its connection's has ended; all end with the value.
#[derive(Debug, Default)]
pub(crate) struct Sockets(Mutex<JoinSet<()>>);

impl Sockets {
    /// Runs a WebSocket to its end.
    pub(crate) fn run(&self, socket: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(socket);
    }

    /// Waits until those that are open have ended.
    pub(crate) async fn ended(&self) {
        let mut tasks = std::mem::take(&mut *self.tasks());
        while tasks.join_next().await.is_some() {}
    }

    fn tasks(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.0.lock().expect("nothing panics while it holds the tasks")
    }
}
