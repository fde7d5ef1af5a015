//! The end of a pod: its containers, its sandbox, its volumes, and its object.

use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, Preconditions};
use quarterdeck_core::client::EventType::Normal;
use quarterdeck_core::runtime::{ContainerKey, ContainerState, Exit, ExitReason};

use super::container::field;
use super::plan::{init_containers, is_sidecar};
use super::worker::Worker;
use crate::host::chain;

/// How long to wait before a step is tried again that failed.
const RETRY: Duration = Duration::from_secs(2);
/// How long containers may go on whose pod was taken from the API by force.
const FORCED: Duration = Duration::from_secs(1);

impl Worker {
    /// Ends the pod: when this returns, nothing of it is left here, and the API does not have it unless the agent stops.
    pub(super) async fn terminate(&mut self) {
        self.is_ending = true;
        self.probes.stop();
        // A start that was given up may have gone through.
        if self.view.is_held {
            self.refresh().await;
        }
        let grace = self.grace();
        self.stop_containers(grace).await;
        self.is_finished = true;
        let is_stopping = self.mailbox.take().end_within.is_some();
        if !is_stopping {
            self.tell(None).await;
        }
        while let Err(error) = self.host.runtime.remove_pod(&self.uid).await {
            tracing::warn!(pod = %self.uid, error = chain(&error), "cannot remove a pod");
            tokio::time::sleep(RETRY).await;
        }
        self.volumes.tear_down();
        if !is_stopping {
            self.delete().await;
        }
    }

    /// Returns how long the pod's containers may go on.
    fn grace(&self) -> Duration {
        let seconds = |value: i64| Duration::from_secs(u64::try_from(value).unwrap_or_default());
        let meta = &self.pod.metadata;
        let own = self.pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds).unwrap_or(30);
        let news = self.mailbox.take();
        let given = match (&meta.deletion_timestamp, meta.deletion_grace_period_seconds) {
            (Some(at), Some(given)) => {
                // After a restart of the agent a part of the time is over.
                let left = at.0.duration_since(self.host.context.clock.now());
                seconds(given).min(left.try_into().unwrap_or(Duration::ZERO))
            }
            _ if news.is_gone => FORCED.min(seconds(own)),
            _ => seconds(own),
        };
        given.min(news.end_within.unwrap_or(Duration::MAX))
    }

    /// Ends all containers: the main ones first, then those beside them, the last one first.
    pub(super) async fn stop_containers(&mut self, grace: Duration) {
        let begun = tokio::time::Instant::now();
        let sidecars: Vec<String> = init_containers(&self.pod)
            .iter()
            .filter(|init| is_sidecar(init))
            .map(|init| init.name.clone())
            .collect();
        let alive: Vec<ContainerKey> = self
            .view
            .alive()
            .map(|status| ContainerKey::new(self.uid.clone(), status.name.clone(), status.attempt))
            .collect();
        for key in &alive {
            let message = format!("Stopping container {}", key.name);
            self.host.tell_of_container(
                &self.pod,
                &field(&self.pod, &key.name),
                (Normal, "Killing"),
                message,
            );
        }
        let (beside, main): (Vec<_>, Vec<_>) =
            alive.into_iter().partition(|key| sidecars.iter().any(|name| *name == *key.name));
        join_all(main.iter().map(|key| self.stop(key, grace, begun))).await;
        for name in sidecars.iter().rev() {
            for key in beside.iter().filter(|key| *key.name == **name) {
                self.stop(key, grace, begun).await;
            }
        }
        self.settle(main.iter().chain(&beside)).await;
    }

    /// Ends a container within what is left of its time; sooner when the pod's time is cut.
    async fn stop(&self, key: &ContainerKey, grace: Duration, begun: tokio::time::Instant) {
        let mut grace = grace;
        loop {
            let left = grace.saturating_sub(begun.elapsed());
            let stopped = tokio::select! {
                biased;
                stopped = self.host.runtime.stop_container(key, left) => stopped,
                shorter = self.cut(grace) => {
                    grace = shorter;
                    continue;
                }
            };
            match stopped {
                Ok(()) => return,
                Err(error) => {
                    tracing::warn!(container = %key, error = chain(&error), "cannot stop a container");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    /// Waits until the pod may go on for less than `grace`, and returns for how long.
    async fn cut(&self, grace: Duration) -> Duration {
        self.mailbox
            .wait(|news| {
                let asked = news.pod.as_ref().and_then(|pod| pod.metadata.deletion_grace_period_seconds);
                let asked =
                    asked.map(|seconds| Duration::from_secs(u64::try_from(seconds).unwrap_or_default()));
                let gone = news.is_gone.then_some(FORCED);
                [asked, gone, news.end_within].into_iter().flatten().min().filter(|asked| *asked < grace)
            })
            .await
    }

    /// Sees to it that the view knows how the containers ended.
    async fn settle<'a>(&mut self, stopped: impl Iterator<Item = &'a ContainerKey>) {
        let Ok(pods) = self.host.runtime.pods().await else { return };
        self.view.refresh(pods.into_iter().find(|pod| pod.uid == self.uid));
        let now = self.host.context.clock.now();
        for key in stopped {
            let Some(newest) = self.view.newest(&key.name).filter(|newest| newest.exit().is_none()) else {
                continue;
            };
            let mut ended = newest.clone();
            ended.state = ContainerState::Exited(Exit {
                exit_code: None,
                signal: None,
                started_at: None,
                finished_at: now,
                reason: ExitReason::Unknown,
                message: String::new(),
            });
            self.view.put(ended);
        }
    }

    /// Takes the pod's object from the API, if it is the one that was being deleted.
    async fn delete(&self) {
        let meta = &self.pod.metadata;
        let (name, namespace) =
            (meta.name.as_deref().unwrap_or_default(), meta.namespace.as_deref().unwrap_or_default());
        let pods: Api<Pod> = Api::namespaced(self.host.context.client.clone(), namespace);
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions { uid: meta.uid.clone(), resource_version: None }),
            ..DeleteParams::default()
        };
        while let Err(error) = pods.delete(name, &params).await {
            if self.is_of_the_past(&error) {
                return;
            }
            tracing::warn!(pod = %self.uid, error = chain(&error), "cannot delete a pod");
            tokio::time::sleep(RETRY).await;
        }
    }
}
