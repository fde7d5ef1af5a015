//! The tasks of a node, which end with it.

use std::sync::Mutex;

use tokio::task::{AbortHandle, JoinSet};

/// Tasks that are ended when this is dropped.
#[derive(Debug, Default)]
pub(super) struct Tasks(Mutex<JoinSet<()>>);

impl Tasks {
    /// Runs a task on this runtime until it ends, is aborted, or all are dropped.
    pub(super) fn spawn(
        &self,
        runtime: &tokio::runtime::Handle,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> AbortHandle {
        let mut tasks = self.0.lock().expect("nothing panics while it holds the lock");
        while tasks.try_join_next().is_some() {}
        tasks.spawn_on(task, runtime)
    }

    /// Ends all tasks and waits until they have ended.
    pub(super) async fn shut_down(&self) {
        let mut tasks = std::mem::take(&mut *self.0.lock().expect("nothing panics while it holds the lock"));
        tasks.shutdown().await;
    }
}

/// A task that ends when this is dropped.
#[derive(Debug)]
pub(super) struct Owned(pub(super) AbortHandle);

impl Drop for Owned {
    fn drop(&mut self) {
        self.0.abort();
    }
}
