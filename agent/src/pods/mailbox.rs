//! What a pod's worker is told, while it may be busy.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use quarterdeck_core::runtime::Event;
use tokio::sync::watch;

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
#[derive(Debug, Clone)]
pub(super) struct Mailbox(Arc<watch::Sender<News>>);

impl Default for Mailbox {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(News::default())))
    }
}

impl Mailbox {
    /// Adds to the news.
    pub(super) fn put(&self, change: impl FnOnce(&mut News)) {
        self.0.send_modify(|news| {
            change(news);
            news.is_new = true;
            if news.events.len() > EVENTS {
                news.events.clear();
                news.refresh = true;
            }
        });
    }

    /// Takes the news.
    pub(super) fn take(&self) -> News {
        let mut taken = News::default();
        self.0.send_if_modified(|news| {
            taken = std::mem::take(news);
            // These stay as they are: what is being done next must know too.
            (news.is_gone, news.end_within) = (taken.is_gone, taken.end_within);
            false
        });
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
        let mut changes = self.0.subscribe();
        let mut found = None;
        let seen = changes.wait_for(|news| {
            found = look(news);
            found.is_some()
        });
        seen.await.expect("the sender is in this value");
        found.expect("the wait ends when something was found")
    }
}
