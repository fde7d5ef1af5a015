//! The watch behind an informer, and what happens when it fails.

use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use kube::Api;
use kube::runtime::watcher;
use tokio::time::Instant;

use super::{Informer, Watched};
use crate::client::Selector;

/// Lists and watches for as long as the informer lives.
pub(in crate::client) async fn feed<K: Watched>(
    api: Api<K>,
    selector: Selector,
    informer: Informer<K>,
    path: String,
) {
    let config = watcher::Config {
        label_selector: selector.labels,
        field_selector: selector.fields,
        ..watcher::Config::default()
    };
    let mut ended = informer.0.ended.subscribe();
    let work = async {
        let mut changes = pin!(watcher(api, config));
        let mut listed = Vec::new();
        let mut health = Health::default();
        while let Some(change) = changes.next().await {
            match change {
                Ok(watcher::Event::Init) => listed = Vec::new(),
                Ok(watcher::Event::InitApply(object)) => listed.push(object),
                Ok(watcher::Event::InitDone) => {
                    informer.replace(std::mem::take(&mut listed));
                    health.works(&path);
                }
                Ok(watcher::Event::Apply(object)) => {
                    informer.put(object);
                    health.works(&path);
                }
                Ok(watcher::Event::Delete(object)) => {
                    informer.remove(object);
                    health.works(&path);
                }
                Err(error) => tokio::time::sleep(health.fails(&path, &error)).await,
            }
        }
    };
    tokio::select! {
        biased;
        _ = ended.wait_for(|ended| *ended) => {}
        () = work => {}
    }
}

/// How long to wait after a failure, and which failures to log.
#[derive(Debug, Default)]
struct Health {
    delay: Duration,
    last: Option<(Instant, String)>,
}

impl Health {
    const FIRST: Duration = Duration::from_secs(1);
    const LONGEST: Duration = Duration::from_secs(30);

    fn works(&mut self, path: &str) {
        self.delay = Duration::ZERO;
        if self.last.take().is_some() {
            tracing::info!(path, "watching again");
        }
    }

    fn fails(&mut self, path: &str, error: &watcher::Error) -> Duration {
        // History that was compacted is no trouble: one list brings it up to date.
        if matches!(error, watcher::Error::WatchError(status) if status.code == 410) && self.last.is_none() {
            return Duration::ZERO;
        }
        let reason = reason(error);
        let quiet = self.last.as_ref().is_some_and(|(_, last)| *last == reason);
        let stale = self.last.as_ref().is_some_and(|(at, _)| at.elapsed() > Self::LONGEST * 2);
        if !quiet {
            tracing::warn!(path, reason, "cannot watch, trying again");
        }
        self.last = Some((Instant::now(), reason));
        self.delay = if stale { Self::FIRST } else { (self.delay * 2).clamp(Self::FIRST, Self::LONGEST) };
        self.delay
    }
}

/// Returns what went wrong, with all that caused it.
fn reason(error: &watcher::Error) -> String {
    // A Status says it in a sentence, its other fields say it again.
    let status = match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status)) => Some(status),
        watcher::Error::WatchError(status) => Some(status),
        _ => None,
    };
    if let Some(status) = status {
        return status.message.clone();
    }
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    causes.fold(error.to_string(), |reason, cause| {
        let cause = cause.to_string();
        if reason.ends_with(&cause) { reason } else { format!("{reason}: {cause}") }
    })
}
