//! Making and deleting pods.

use std::sync::Arc;

use futures::future::join_all;
use k8s_openapi::api::core::v1;
use kube::api::{Api, DeleteParams, ObjectMeta, Preconditions};
use quarterdeck_core::client::{EventType, ObjectKey};

use super::Replicator;
use super::kinds::Replicated;
use super::ranking::rank;
use crate::claim::Owned;
use crate::expectations::Expected;
use crate::meta::{self, controller_of, controller_reference, generated, posting};
use crate::pod::Pod;

/// At most so many pods are made or deleted before the owner is looked at again.
const BURST: usize = 500;

/// Why the number of pods could not be changed as wanted.
#[derive(Debug, thiserror::Error)]
pub(super) enum ScaleError {
    #[error("{}", reason(.0))]
    Api(#[from] kube::Error),
}

/// What the server said, without what kube adds.
fn reason(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

impl<K: Replicated> Replicator<K> {
    /// Makes the pods that lack, or deletes those that are too many.
    pub(super) async fn scale(
        &self,
        key: &ObjectKey,
        owner: &K,
        pods: &[Arc<Pod>],
    ) -> Result<(), ScaleError> {
        let wanted = owner.replicas();
        if pods.len() < wanted {
            self.create(key, owner, (wanted - pods.len()).min(BURST)).await
        } else if pods.len() > wanted {
            let surplus = (pods.len() - wanted).min(BURST);
            let mut ranked = pods.to_vec();
            rank(&mut ranked, &self.related(owner, pods), self.context.clock.now());
            self.delete(key, owner, &ranked[..surplus]).await
        } else {
            Ok(())
        }
    }

    /// Makes pods in batches that double in size, so that a template that is refused costs one request and not hundreds.
    async fn create(&self, key: &ObjectKey, owner: &K, count: usize) -> Result<(), ScaleError> {
        let (mut left, mut batch) = (count, 1);
        while left > 0 {
            let size = batch.min(left);
            let results = join_all((0..size).map(|_| self.create_one(key, owner))).await;
            for result in results {
                match result {
                    Err(kube::Error::Api(status)) if is_namespace_terminating(&status) => return Ok(()),
                    result => result?,
                }
            }
            left -= size;
            batch *= 2;
        }
        Ok(())
    }

    async fn create_one(&self, key: &ObjectKey, owner: &K) -> kube::Result<()> {
        let pods: Api<v1::Pod> = Api::namespaced(self.context.client.clone(), &key.namespace);
        let mut pod = new_pod(owner);
        // The name is chosen here and not by the server, for only so is it known what to expect if the answer is lost.
        let name = generated(&key.name, &self.random);
        pod.metadata.name = Some(name.clone());
        let expected = Expected::Created(name.clone());
        self.expectations.expect(key, expected.clone());
        let result = pods.create(&posting(), &pod).await;
        match &result {
            Ok(_) => {
                let message = format!("Created pod: {name}");
                self.recorder.event(owner, EventType::Normal, "SuccessfulCreate", message);
            }
            Err(error) => {
                if let kube::Error::Api(status) = error {
                    self.expectations.settle(key, &expected);
                    if is_namespace_terminating(status) {
                        return result.map(drop);
                    }
                }
                let message = format!("Error creating: {}", reason(error));
                self.recorder.event(owner, EventType::Warning, "FailedCreate", message);
            }
        }
        result.map(drop)
    }

    async fn delete(&self, key: &ObjectKey, owner: &K, surplus: &[Arc<Pod>]) -> Result<(), ScaleError> {
        let results = join_all(surplus.iter().map(|pod| self.delete_one(key, owner, pod))).await;
        for result in results {
            result?;
        }
        Ok(())
    }

    async fn delete_one(&self, key: &ObjectKey, owner: &K, pod: &Pod) -> kube::Result<()> {
        let (name, uid) = (meta::name(pod), meta::uid(pod));
        let pods: Api<v1::Pod> = Api::namespaced(self.context.client.clone(), &key.namespace);
        let expected = Expected::Deleted(name.into(), uid.into());
        self.expectations.expect(key, expected.clone());
        let preconditions = Preconditions { uid: Some(uid.into()), ..Preconditions::default() };
        let params = DeleteParams::default().preconditions(preconditions);
        match pods.delete(name, &params).await {
            Ok(_) => {
                let message = format!("Deleted pod: {name}");
                self.recorder.event(owner, EventType::Normal, "SuccessfulDelete", message);
                Ok(())
            }
            // Somebody else deleted it, which the informer will show soon.
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
            Err(error) => {
                if matches!(error, kube::Error::Api(_)) {
                    self.expectations.settle(key, &expected);
                }
                let message = format!("Error deleting: {}", reason(&error));
                self.recorder.event(owner, EventType::Warning, "FailedDelete", message);
                Err(error)
            }
        }
    }

    /// The pods of all owners that the owner's own controller has: those of a deployment's replica sets.
    fn related(&self, owner: &K, pods: &[Arc<Pod>]) -> Vec<Arc<Pod>> {
        let Some(controller) = controller_of(owner.meta()) else { return pods.to_vec() };
        let siblings = self.siblings.get(&Owned::By(controller.uid.clone()));
        siblings.iter().flat_map(|sibling| self.owned.get(&Owned::By(meta::uid(&**sibling).into()))).collect()
    }
}

fn is_namespace_terminating(status: &kube::core::Status) -> bool {
    let causes = status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
    causes.iter().any(|cause| cause.reason == "NamespaceTerminating")
}

fn new_pod<K: Replicated>(owner: &K) -> v1::Pod {
    let template = owner.template().cloned().unwrap_or_default();
    let metadata = template.metadata.unwrap_or_default();
    v1::Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", meta::name(owner))),
            namespace: owner.meta().namespace.clone(),
            labels: metadata.labels,
            annotations: metadata.annotations,
            finalizers: metadata.finalizers,
            owner_references: Some(vec![controller_reference(owner)]),
            ..ObjectMeta::default()
        },
        spec: template.spec,
        status: None,
    }
}
