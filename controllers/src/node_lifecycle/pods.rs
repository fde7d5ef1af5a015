//! The pods of nodes that are not ready.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, DeleteParams, Patch, Preconditions};
use quarterdeck_core::client::{EventType, ObjectKey, Requeue};
use quarterdeck_core::component::BoxError;
use serde_json::json;

use super::{Keeper, taints, tolerate_absence};
use crate::meta::{self, patching};
use crate::pod::Pod;

impl Keeper {
    /// Says of the node's pods that they are not ready, so that no service leads to them.
    pub(super) async fn mark_pods(&self, node: &str) -> kube::Result<()> {
        for pod in self.on_node.get(node) {
            if !pod.is_ready() {
                continue;
            }
            let condition = json!({
                "type": "Ready", "status": "False", "lastTransitionTime": self.now(), "lastProbeTime": null,
            });
            self.set_condition(&pod, condition).await?;
            self.recorder.event(&*pod, EventType::Warning, "NodeNotReady", "Node is not ready");
        }
        Ok(())
    }

    /// Deletes a pod that its node's taints drive away, or returns when that will be.
    pub(super) async fn pod(&self, key: &ObjectKey) -> Result<Requeue, BoxError> {
        let Some(pod) = self.pods.store().get(key).filter(|pod| !pod.is_terminating()) else {
            return Ok(Requeue::No);
        };
        let Some(node) = self.nodes.store().get(&ObjectKey::new("", pod.spec.node_name.as_str())) else {
            return Ok(Requeue::No);
        };
        let now = self.context.clock.now();
        match taints::eviction(&node, &pod.spec.tolerations, now) {
            None => Ok(Requeue::No),
            Some(at) if at > now => {
                Ok(Requeue::After(Duration::try_from(at.duration_since(now)).unwrap_or_default()))
            }
            Some(_) => {
                self.evict(key, &pod).await?;
                Ok(Requeue::No)
            }
        }
    }

    async fn evict(&self, key: &ObjectKey, pod: &Pod) -> kube::Result<()> {
        let condition = json!({
            "type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager",
            "message": "Taint manager: deleting due to NoExecute taint", "lastTransitionTime": self.now(),
        });
        self.set_condition(pod, condition).await?;
        let message = format!("Marking for deletion Pod {key}");
        self.recorder.event(pod, EventType::Normal, "TaintManagerEviction", message);
        let uid = Preconditions { uid: pod.metadata.uid.clone(), ..Preconditions::default() };
        let pods: Api<Pod> = Api::namespaced(self.context.client.clone(), &key.namespace);
        match pods.delete(&key.name, &DeleteParams::default().preconditions(uid)).await {
            // Another pod has the name now.
            Err(kube::Error::Api(status)) if status.is_conflict() => Ok(()),
            result => tolerate_absence(result),
        }
    }

    async fn set_condition(&self, pod: &Pod, condition: serde_json::Value) -> kube::Result<()> {
        let change = json!({"metadata": {"uid": meta::uid(pod)}, "status": {"conditions": [condition]}});
        let pods: Api<Pod> = Api::namespaced(self.context.client.clone(), meta::namespace(pod));
        let result = pods.patch_status(meta::name(pod), &patching(), &Patch::Strategic(change)).await;
        match result {
            Err(kube::Error::Api(status)) if status.is_conflict() => Ok(()),
            result => tolerate_absence(result),
        }
    }

    /// The date, as objects carry it.
    fn now(&self) -> Time {
        Time(self.context.clock.now())
    }
}
