use std::any::Any;
use std::error::Error;
use std::fmt::Debug;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use tokio::task::JoinSet;

use super::{Recorder, WorkQueue};
use crate::component::{BoxError, Stop};

/// Brings what a key names closer to what is wanted.
#[async_trait]
pub trait Reconcile: Send + Sync + 'static {
    /// What names a piece of work, usually an [`ObjectKey`](super::ObjectKey).
    type Key: Ord + Clone + Debug + Send + Sync + 'static;

    /// Looks at the present state and does the next steps.
    ///
    /// # Errors
    ///
    /// Anything; the key is tried again after its back-off.
    async fn reconcile(&self, key: &Self::Key) -> Result<Requeue, BoxError>;

    /// Returns what it reports events to, which [`work`] lets finish before it returns (default: none).
    fn recorder(&self) -> Option<&Recorder> {
        None
    }
}

/// When to look at a key again although nothing changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Requeue {
    /// Only when it is added again.
    #[default]
    No,
    /// After this time.
    After(Duration),
    /// After its back-off, as if it had failed.
    RateLimited,
}

/// How long workers may take to finish what they have in hand.
const GRACE: Duration = Duration::from_secs(5);

/// Runs `workers` over `queue` until `stop` fires; then shuts the queue down and waits for what is in hand.
///
/// What is not finished within 5 seconds is dropped. When this returns, no task is left. A reconciliation that panics has
/// failed, and is tried again: one object must not end the work on all others.
pub async fn work<R: Reconcile>(
    name: &str,
    queue: &WorkQueue<R::Key>,
    workers: usize,
    reconciler: Arc<R>,
    mut stop: Stop,
) {
    let mut tasks = JoinSet::new();
    for _ in 0..workers {
        tasks.spawn(one(name.to_owned(), queue.clone(), reconciler.clone()));
    }
    let panicked = stop.or(tasks.join_next()).await.flatten();
    queue.shut_down();
    let finish = async {
        if let Some(end) = panicked {
            resume(end);
        }
        while let Some(end) = tasks.join_next().await {
            resume(end);
        }
    };
    if tokio::time::timeout(GRACE, finish).await.is_err() {
        tracing::warn!(name, "work in hand was dropped: it did not end in time");
    }
    tasks.shutdown().await;
    if let Some(recorder) = reconciler.recorder() {
        recorder.finish().await;
    }
}

fn resume(end: Result<(), tokio::task::JoinError>) {
    if let Some(panic) = end.err().and_then(|error| error.try_into_panic().ok()) {
        std::panic::resume_unwind(panic);
    }
}

async fn one<R: Reconcile>(name: String, queue: WorkQueue<R::Key>, reconciler: Arc<R>) {
    while let Some(key) = queue.next().await {
        let outcome = AssertUnwindSafe(reconciler.reconcile(&key)).catch_unwind().await;
        let outcome = outcome.unwrap_or_else(|panic| Err(format!("panicked: {}", message(&*panic)).into()));
        match outcome {
            Ok(requeue) => {
                if requeue == Requeue::RateLimited {
                    queue.add_rate_limited(key.clone());
                } else {
                    queue.forget(&key);
                }
                if let Requeue::After(delay) = requeue {
                    queue.add_after(key.clone(), delay);
                }
            }
            Err(error) => {
                log(&name, &key, &error);
                queue.add_rate_limited(key.clone());
            }
        }
        queue.done(&key);
    }
}

/// Returns what a panic says.
fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

/// Conflicts are everyday: the informer is a little behind, and the next try has the new state.
fn log(name: &str, key: &impl Debug, error: &BoxError) {
    let first: &(dyn Error + 'static) = &**error;
    let mut chain = std::iter::successors(Some(first), |cause: &&'_ (dyn Error + 'static)| (*cause).source());
    let status = chain.find_map(refusal);
    let reason = with_causes(&**error);
    if status.is_some_and(|status| status.is_conflict() || status.is_not_found()) {
        tracing::debug!(name, ?key, reason, "trying again");
    } else {
        tracing::warn!(name, ?key, reason, "cannot reconcile, trying again");
    }
}

/// Returns what the API server refused with, if that is what an error is.
fn refusal<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e kube::core::Status> {
    match error.downcast_ref::<kube::Error>() {
        Some(kube::Error::Api(status)) => Some(status),
        _ => None,
    }
}

/// Returns what an error says, with all that caused it, each thing once; of a refusal its message.
fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let refusal = refusal(error);
        let says = refusal.map_or_else(|| error.to_string(), |status| status.message.clone());
        if !text.contains(&says) {
            text = if text.is_empty() { says } else { format!("{text}: {says}") };
        }
        // Behind a refusal there is the whole Status once more.
        next = error.source().filter(|_| refusal.is_none());
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use k8s_openapi::api::core::v1::ConfigMap;
    use serde_json::json;

    use super::*;
    use crate::client::EventType;
    use crate::client::fake::FakeApi;

    #[derive(Default)]
    struct Second(Mutex<Vec<u8>>);

    #[async_trait]
    impl Reconcile for Second {
        type Key = u8;

        async fn reconcile(&self, key: &u8) -> Result<Requeue, BoxError> {
            let times = {
                let mut seen = self.0.lock().unwrap();
                seen.push(*key);
                seen.iter().filter(|seen| *seen == key).count()
            };
            match times {
                1 => Err("not yet".into()),
                2 if *key == 3 => panic!("the third key is a bad one"),
                2 => Ok(Requeue::After(Duration::from_secs(60))),
                _ => Ok(Requeue::No),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_failed_or_panicked_is_tried_again_and_a_delayed_one_comes_back() {
        let (queue, reconciler) = (WorkQueue::new(), Arc::new(Second::default()));
        let (signal, stop) = Stop::channel();
        queue.add(1);
        queue.add(2);
        queue.add(3);

        tokio::join!(work("test", &queue, 1, reconciler.clone(), stop), async {
            tokio::time::sleep(Duration::from_secs(30)).await;
            assert_eq!(*reconciler.0.lock().unwrap(), [1, 2, 3, 1, 2, 3, 3]);
            tokio::time::sleep(Duration::from_secs(31)).await;
            signal.stop();
        });

        assert_eq!(*reconciler.0.lock().unwrap(), [1, 2, 3, 1, 2, 3, 3, 1, 2]);
    }

    struct Reporter(Recorder);

    #[async_trait]
    impl Reconcile for Reporter {
        type Key = u8;

        fn recorder(&self) -> Option<&Recorder> {
            Some(&self.0)
        }

        async fn reconcile(&self, _: &u8) -> Result<Requeue, BoxError> {
            let map: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "m"}})).unwrap();
            self.0.event(&map, EventType::Normal, "Seen", "it was seen");
            Ok(Requeue::No)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_reported_is_sent_before_work_ends_if_the_api_server_answers_within_two_seconds() {
        for (down, sent) in [(false, 1), (true, 0)] {
            let (api, queue) = (FakeApi::default(), WorkQueue::new());
            let reporter = Arc::new(Reporter(api.context().recorder("tester")));
            let (signal, stop) = Stop::channel();
            api.down(down);
            queue.add(1);
            let began = tokio::time::Instant::now();

            tokio::join!(work("test", &queue, 1, reporter, stop), async {
                while !queue.is_empty() {
                    tokio::task::yield_now().await;
                }
                signal.stop();
            });

            assert_eq!(api.list("events").len(), sent);
            assert!(began.elapsed() <= Duration::from_secs(3), "{:?}", began.elapsed());
        }
    }

    #[derive(Debug, thiserror::Error)]
    #[error("cannot make the pod")]
    struct Wrapped(#[source] kube::Error);

    #[test]
    fn a_refusal_is_told_in_one_short_line() {
        let status = json!({"kind": "Status", "status": "Failure", "code": 403, "reason": "Forbidden", "message": "quota"});
        let status: kube::core::Status = serde_json::from_value(status).unwrap();
        let refusal = || kube::Error::Api(Box::new(status.clone()));

        assert_eq!(with_causes(&refusal()), "quota");
        assert_eq!(with_causes(&Wrapped(refusal())), "cannot make the pod: quota");
    }
}
