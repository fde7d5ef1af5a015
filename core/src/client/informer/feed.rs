//! The watch behind an informer, and what happens when it fails.

use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use kube::Api;
use kube::core::DeserializeGuard;
use kube::runtime::watcher;
use tokio::time::Instant;

use super::{Informer, Watched};
use crate::client::Selector;

/// Lists and watches for as long as the informer lives.
///
/// An object that is none of its kind must not keep the others from being seen. To tell which one it is, all have to be read
/// twice, so that is done only once there was one: `guarded` is `api`, read so.
pub(in crate::client) async fn feed<K: Watched>(
    api: Api<K>,
    guarded: Api<DeserializeGuard<K>>,
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
        follow(api, config.clone(), &informer, &path, true, Some).await;
        let read = |DeserializeGuard(object): DeserializeGuard<K>| match object {
            Ok(object) => Some(object),
            Err(invalid) => {
                let (namespace, name) = (&invalid.metadata.namespace, &invalid.metadata.name);
                tracing::warn!(
                    path,
                    ?namespace,
                    ?name,
                    error = invalid.error,
                    "an object cannot be read, it is passed over"
                );
                None
            }
        };
        follow(guarded, config, &informer, &path, false, read).await;
    };
    tokio::select! {
        biased;
        _ = ended.wait_for(|ended| *ended) => {}
        () = work => {}
    }
}

/// Tells the informer of what is listed and of every change that can be read. Returns when an object cannot, if `gives_up`.
async fn follow<T: Watched, K: Watched>(
    api: Api<T>,
    config: watcher::Config,
    informer: &Informer<K>,
    path: &str,
    gives_up: bool,
    read: impl Fn(T) -> Option<K>,
) {
    let mut changes = pin!(watcher(api, config));
    let mut listed = Vec::new();
    let mut health = Health::default();
    while let Some(change) = changes.next().await {
        match change {
            Ok(watcher::Event::Init) => listed = Vec::new(),
            Ok(watcher::Event::InitApply(object)) => listed.extend(read(object)),
            Ok(watcher::Event::InitDone) => {
                informer.replace(std::mem::take(&mut listed));
                health.works(path);
            }
            Ok(watcher::Event::Apply(object)) => {
                if let Some(object) = read(object) {
                    informer.put(object);
                }
                health.works(path);
            }
            Ok(watcher::Event::Delete(object)) => {
                if let Some(object) = read(object) {
                    informer.remove(object);
                }
                health.works(path);
            }
            Err(error) if gives_up && is_unread(&error) => return,
            Err(error) => tokio::time::sleep(health.fails(path, &error)).await,
        }
    }
}

/// Whether an answer came and could not be read.
fn is_unread(error: &watcher::Error) -> bool {
    matches!(
        error,
        watcher::Error::InitialListFailed(kube::Error::SerdeError(_))
            | watcher::Error::WatchFailed(kube::Error::SerdeError(_))
    )
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
