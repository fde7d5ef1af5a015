//! Work that takes long, kept away from the tasks that share a thread with whoever asks for it.

use std::panic::resume_unwind;
use std::sync::Arc;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Semaphore;

/// The work of a server that takes long. No more of it goes on at a time than there are processors: other work always gets
/// some of them.
#[derive(Debug)]
pub(crate) struct LongWork(Arc<Semaphore>);

impl Default for LongWork {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self(Arc::new(Semaphore::new(processors)))
    }
}

impl LongWork {
    /// Does work when it is its turn. If the future is dropped before that, the work is not done; after that, the work keeps
    /// its place to its end.
    pub(crate) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let place = self.0.clone().acquire_owned().await.expect("nobody closes it");
        beside(move || {
            let done = work();
            drop(place);
            done
        })
        .await
    }
}

/// Does work that takes longer than a task may hold up others: on a thread of its own if the runtime has several.
///
/// In a runtime of one thread it is done here: there tasks run in one order, which a second thread would make a matter of luck.
/// If the future is dropped, the work goes on to its end, and nobody hears of it.
async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let has_several =
        Handle::try_current().is_ok_and(|runtime| runtime.runtime_flavor() != RuntimeFlavor::CurrentThread);
    if !has_several {
        return work();
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // The runtime is ending, and with it whoever waits.
            Err(_) => std::future::pending().await,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn with_several_threads_other_tasks_go_on_meanwhile() {
        let (started, mut has_started) = tokio::sync::oneshot::channel();
        let (finish, may_finish) = std::sync::mpsc::channel();

        let work = tokio::spawn(beside(move || {
            let _ = started.send(());
            may_finish.recv()
        }));
        let other = tokio::spawn(async move {
            let _ = (&mut has_started).await;
            finish.send(7)
        });

        assert_eq!((other.await.unwrap(), work.await.unwrap()), (Ok(()), Ok(7)));
    }

    #[tokio::test]
    async fn with_one_thread_it_is_done_there() {
        assert_eq!(beside(|| thread::current().id()).await, thread::current().id());
    }
}
