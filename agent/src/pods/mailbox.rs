//! What a pod's worker is told, while it may be busy.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use quarterdeck_core::runtime::Event;
use tokio::sync::Notify;

use super::probes::Verdict;

/// How many events may wait; when there are more, the worker looks at the pod anew.
const EVENTS: usize = 64;

/// News of a pod.
#[derive(Debug, Default)]
pub(super) struct News {
    /// The pod as the API has it now, if that changed.
    pub(super) pod: Option<Arc<Pod>>,
    /// The API does not have it any more.
    pub(super) is_gone: bool,
    /// The agent stops, and its pods are to end within this time.
    pub(super) end_within: Option<Duration>,
    /// What happened to its containers.
    pub(super) events: Vec<Event>,
    /// What probes of its containers found.
    pub(super) verdicts: Vec<Verdict>,
    /// Events were missed: look anew.
    pub(super) refresh: bool,
    /// There is something new.
    is_new: bool,
}

impl News {
    /// Returns whether whatever is being done for the pod should be given up.
    fn is_urgent(&self) -> bool {
        let is_deleted = |pod: &Arc<Pod>| pod.metadata.deletion_timestamp.is_some();
        self.is_gone || self.end_within.is_some() || self.pod.as_ref().is_some_and(is_deleted)
    }
}

/// Where the news of a pod wait for its worker. Clones are the same mailbox.
#[derive(Debug, Clone, Default)]
pub(super) struct Mailbox(Arc<(Mutex<News>, Notify)>);

impl Mailbox {
    /// Adds to the news.
    pub(super) fn put(&self, change: impl FnOnce(&mut News)) {
        {
            let mut news = self.news();
            change(&mut news);
            news.is_new = true;
            if news.events.len() > EVENTS {
                news.events.clear();
                news.refresh = true;
            }
        }
        self.0.1.notify_waiters();
    }

    /// Takes the news.
    pub(super) fn take(&self) -> News {
        let mut news = self.news();
        let taken = std::mem::take(&mut *news);
        // These stay as they are: what is being done next must know too.
        (news.is_gone, news.end_within) = (taken.is_gone, taken.end_within);
        taken
    }

    /// Waits until there are news.
    pub(super) async fn changed(&self) {
        self.wait(|news| news.is_new.then_some(())).await;
    }

    /// Waits until the pod is to end.
    pub(super) async fn urgent(&self) {
        self.wait(|news| news.is_urgent().then_some(())).await;
    }

    /// Waits until `look` finds something in the news.
    pub(super) async fn wait<T>(&self, look: impl Fn(&News) -> Option<T>) -> T {
        loop {
            let mut changed = pin!(self.0.1.notified());
            changed.as_mut().enable();
            if let Some(found) = look(&self.news()) {
                return found;
            }
            changed.await;
        }
    }

    fn news(&self) -> MutexGuard<'_, News> {
        self.0.0.lock().expect("no holder panics")
    }
}
