//! The tasks of a node, which end with it, and the order in which they work on a pod.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use quarterdeck_core::runtime::PodUid;
use tokio::task::{AbortHandle, JoinSet};

/// Tasks that are ended when this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Tasks(Mutex<JoinSet<()>>);

impl Tasks {
    /// Runs a task on this runtime until it ends, is aborted, or all are dropped.
    pub(crate) fn spawn(
        &self,
        runtime: &tokio::runtime::Handle,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> AbortHandle {
        let mut tasks = self.0.lock().expect("nothing panics while it holds the lock");
        while tasks.try_join_next().is_some() {}
        tasks.spawn_on(task, runtime)
    }

    /// Runs `work` to its end in a task of its own, whether somebody waits for it or not. Waits for ever if all tasks are ended
    /// before.
    #[cfg(feature = "docker")]
    pub(crate) async fn see_through<T: Send + 'static>(
        &self,
        runtime: &tokio::runtime::Handle,
        work: impl Future<Output = T> + Send + 'static,
    ) -> T {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        self.spawn(runtime, async move {
            // Nobody may be waiting any more.
            let _ = sender.send(work.await);
        });
        match receiver.await {
            Ok(output) => output,
            Err(_) => std::future::pending().await,
        }
    }

    /// Ends all tasks and waits until they have ended.
    pub(crate) async fn shut_down(&self) {
        let mut tasks = std::mem::take(&mut *self.0.lock().expect("nothing panics while it holds the lock"));
        tasks.shutdown().await;
    }
}

/// A task that ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Owned(pub(crate) AbortHandle);

impl Drop for Owned {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Who works on which pod: one at a time.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<BTreeMap<PodUid, Arc<tokio::sync::Mutex<()>>>>);

/// The right to work on a pod.
pub(crate) type Turn = tokio::sync::OwnedMutexGuard<()>;

impl Turns {
    /// Waits until nobody else works on a pod.
    pub(crate) async fn take(&self, pod: &PodUid) -> Turn {
        let turn = {
            let mut turns = self.0.lock().expect("nothing panics while it holds the lock");
            // What only this map knows is nobody's turn.
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            turns.entry(pod.clone()).or_default().clone()
        };
        turn.lock_owned().await
    }
}
