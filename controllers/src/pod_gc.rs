//! Pods that nobody else clears away: finished ones beyond a number, those of nodes that are gone, and those that were
//! deleted before they had a node.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, DeleteParams, Patch, Preconditions};
use quarterdeck_core::client::{Context, Informer, ObjectKey};
use quarterdeck_core::component::{BoxError, Component, Stop};
use serde_json::json;
use tokio::time::Instant;

use crate::meta::{self, patching};
use crate::pod::Pod;

const COMPONENT: &str = "pod-garbage-collector-controller";

/// How often it is looked for such pods.
const PERIOD: Duration = Duration::from_secs(20);

/// How long a node must be missing before its pods are: it may be about to register.
const QUARANTINE: Duration = Duration::from_secs(40);

/// A node on which pods that are being deleted will never be stopped by it.
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// Clears pods away that nobody else does.
#[derive(Debug)]
pub struct PodGarbageCollector {
    context: Context,
    finished: usize,
}

impl PodGarbageCollector {
    /// Makes the controller. It does nothing until it runs.
    #[must_use]
    pub fn new(context: &Context) -> Self {
        Self { context: context.account("pod-garbage-collector"), finished: 12_500 }
    }

    /// Sets how many finished pods are kept (default: 12,500).
    #[must_use]
    pub fn keep_finished(mut self, count: usize) -> Self {
        self.finished = count;
        self
    }
}

#[async_trait]
impl Component for PodGarbageCollector {
    fn name(&self) -> String {
        COMPONENT.into()
    }

    async fn run(self: Box<Self>, mut stop: Stop) -> Result<(), BoxError> {
        let informers = &self.context.informers;
        let (pods, nodes) = (informers.of::<Pod>(), informers.of::<Node>());
        let mut sweeper =
            Sweeper { pods: pods.clone(), nodes: nodes.clone(), missing: BTreeMap::new(), settings: *self };
        let work = async {
            tokio::join!(pods.synced(), nodes.synced());
            loop {
                sweeper.sweep().await;
                tokio::time::sleep(PERIOD).await;
            }
        };
        stop.or(work).await;
        Ok(())
    }
}

struct Sweeper {
    settings: PodGarbageCollector,
    pods: Informer<Pod>,
    nodes: Informer<Node>,
    /// Since when nodes are missing that pods name.
    missing: BTreeMap<String, Instant>,
}

impl Sweeper {
    async fn sweep(&mut self) {
        let pods = self.pods.store().list();
        let lost = self.lost_nodes(&pods).await;
        let broken: BTreeSet<String> = self
            .nodes
            .store()
            .list()
            .iter()
            .filter(|node| is_out_of_service(node))
            .map(|node| meta::name(&**node).into())
            .collect();
        for pod in &pods {
            let node = pod.spec.node_name.as_str();
            let nobody_stops_it = node.is_empty() || broken.contains(node);
            let result = if lost.contains(node) {
                self.delete_orphan(pod).await
            } else if pod.is_terminating() && nobody_stops_it {
                self.delete(pod).await
            } else {
                Ok(())
            };
            if let Err(error) = result {
                tracing::warn!(pod = %ObjectKey::of(&**pod), %error, "cannot clear the pod away, trying again");
            }
        }
        for pod in surplus(pods, self.settings.finished) {
            if let Err(error) = self.delete(&pod).await {
                tracing::warn!(pod = %ObjectKey::of(&*pod), %error, "cannot clear the pod away, trying again");
            }
        }
    }

    /// Returns the nodes that pods name and that are gone for good.
    async fn lost_nodes(&mut self, pods: &[Arc<Pod>]) -> BTreeSet<String> {
        let known = |name: &str| self.nodes.store().get(&ObjectKey::new("", name)).is_some();
        let missing: BTreeSet<String> = pods
            .iter()
            .map(|pod| pod.spec.node_name.clone())
            .filter(|name| !name.is_empty() && !known(name))
            .collect();
        self.missing.retain(|name, _| missing.contains(name));
        let now = Instant::now();
        let mut lost = BTreeSet::new();
        let nodes: Api<Node> = Api::all(self.settings.context.client.clone());
        for name in missing {
            let since = *self.missing.entry(name.clone()).or_insert(now);
            let is_over = now.duration_since(since) >= QUARANTINE;
            // The informer may be behind: the server has the last word.
            if is_over && nodes.get_opt(&name).await.is_ok_and(|node| node.is_none()) {
                lost.insert(name);
            }
        }
        lost
    }

    /// Notes on the pod of a node that is gone why it ends, and deletes it.
    async fn delete_orphan(&self, pod: &Pod) -> kube::Result<()> {
        if !pod.is_finished() {
            let condition = json!({
                "type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC",
                "message": "PodGC: node no longer exists",
                "lastTransitionTime": Time(self.settings.context.clock.now()),
            });
            let status = json!({"phase": "Failed", "conditions": [condition]});
            let change = json!({"metadata": {"uid": meta::uid(pod)}, "status": status});
            match self.api(pod).patch_status(meta::name(pod), &patching(), &Patch::Strategic(change)).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        self.delete(pod).await
    }

    async fn delete(&self, pod: &Pod) -> kube::Result<()> {
        let uid = Preconditions { uid: pod.metadata.uid.clone(), ..Preconditions::default() };
        let params = DeleteParams::default().grace_period(0).preconditions(uid);
        match self.api(pod).delete(meta::name(pod), &params).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn api(&self, pod: &Pod) -> Api<Pod> {
        Api::namespaced(self.settings.context.client.clone(), meta::namespace(pod))
    }
}

/// Whether somebody said that the node will not come back, and it does not say otherwise.
fn is_out_of_service(node: &Node) -> bool {
    let tainted = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let mut ready = conditions.filter(|condition| condition.type_ == "Ready" && condition.status == "True");
    tainted.into_iter().any(|taint| taint.key == OUT_OF_SERVICE) && ready.next().is_none()
}

/// Returns the oldest finished pods beyond `kept`.
fn surplus(pods: Vec<Arc<Pod>>, kept: usize) -> Vec<Arc<Pod>> {
    let mut finished: Vec<_> =
        pods.into_iter().filter(|pod| pod.is_finished() && !pod.is_terminating()).collect();
    finished.sort_by(|one, other| {
        (meta::created(&**one), ObjectKey::of(&**one))
            .cmp(&(meta::created(&**other), ObjectKey::of(&**other)))
    });
    finished.truncate(finished.len().saturating_sub(kept));
    finished
}

#[cfg(test)]
mod tests {
    use serde_json::from_value;

    use super::*;

    #[test]
    fn the_oldest_finished_pods_are_the_surplus() {
        let pod = |name: &str, phase: &str, created: &str| {
            let metadata = json!({"name": name, "creationTimestamp": created});
            Arc::new(from_value::<Pod>(json!({"metadata": metadata, "status": {"phase": phase}})).unwrap())
        };
        let pods = vec![
            pod("new", "Failed", "2026-01-03T00:00:00Z"),
            pod("old", "Succeeded", "2026-01-01T00:00:00Z"),
            pod("running", "Running", "2025-01-01T00:00:00Z"),
            pod("middle", "Failed", "2026-01-02T00:00:00Z"),
        ];

        let names: Vec<_> = surplus(pods, 1).iter().map(|pod| meta::name(&**pod).to_owned()).collect();

        assert_eq!(names, ["old", "middle"]);
    }
}
