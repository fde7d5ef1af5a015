//! Removing pods that run here and that the API does not want here.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use quarterdeck_core::runtime::{ContainerKey, PodStatus, PodUid};

use super::mailbox::Mailbox;
use super::sandbox::GRACE_LABEL;
use crate::host::{Host, chain};
use crate::volumes::Volumes;

/// How long to wait before a step is tried again that failed.
const RETRY: Duration = Duration::from_secs(2);
/// For how many seconds containers may go on of which nobody knows it.
const GRACE: u64 = 30;

/// Ends a pod within the time that it was started with, or that the agent has left, and removes it.
pub(super) async fn remove(host: Arc<Host>, pod: PodStatus, mailbox: Mailbox) -> PodUid {
    let grace = pod.labels.get(GRACE_LABEL).and_then(|text| text.parse().ok()).unwrap_or(GRACE);
    let grace = Duration::from_secs(grace);
    let shorter = mailbox.wait(|news| news.end_within.map(|within| within.min(grace)));
    tokio::select! {
        biased;
        within = shorter => stop(&host, &pod, within).await,
        () = stop(&host, &pod, grace) => {}
    }
    while let Err(error) = host.runtime.remove_pod(&pod.uid).await {
        tracing::warn!(pod = %pod.uid, error = chain(&error), "cannot remove a pod");
        tokio::time::sleep(RETRY).await;
    }
    Volumes::remove(&host, &pod.uid);
    pod.uid
}

/// Stops all containers of a pod.
async fn stop(host: &Host, pod: &PodStatus, grace: Duration) {
    let alive = pod.containers.iter().filter(|container| container.exit().is_none());
    let stops = alive.map(async |container| {
        let key = ContainerKey::new(pod.uid.clone(), container.name.clone(), container.attempt);
        host.runtime.stop_container(&key, grace).await
    });
    for error in join_all(stops).await.into_iter().filter_map(Result::err) {
        tracing::warn!(pod = %pod.uid, error = chain(&error), "cannot stop a container");
    }
}
