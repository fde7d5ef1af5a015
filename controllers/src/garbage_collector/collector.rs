//! What is done about one object.

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::join_all;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, DeleteParams, Patch, Preconditions, PropagationPolicy};
use quarterdeck_core::client::{Context, EventType, Reconcile, Recorder, Requeue, WorkQueue};
use quarterdeck_core::component::BoxError;
use serde_json::{Value, json};

use super::graph::{FOREGROUND, Node, ORPHAN};
use super::{Object, Shared};
use crate::discovery::Kind;
use crate::meta::{self, patching};

pub(super) struct Collector {
    context: Context,
    shared: Arc<Shared>,
    queue: WorkQueue<String>,
    recorder: Recorder,
}

/// What is known about one of an object's owners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// It is there.
    Solid,
    /// It goes when the object is gone.
    Waiting,
    /// It is not there.
    Gone,
}

/// The owner's kind is not served: nobody can say whether it is there.
#[derive(Debug, thiserror::Error)]
#[error("owner {name} is of the unknown kind {kind} of {api_version}")]
struct UnknownKind {
    api_version: String,
    kind: String,
    name: String,
}

#[async_trait]
impl Reconcile for Collector {
    type Key = String;

    fn recorder(&self) -> Option<&Recorder> {
        Some(&self.recorder)
    }

    async fn reconcile(&self, uid: &String) -> Result<Requeue, BoxError> {
        let Some(node) = self.shared.graph(|graph| graph.get(uid).cloned()) else { return Ok(Requeue::No) };
        if node.waits_for_orphaning() {
            self.orphan(uid, &node).await?;
        } else if node.waits_for_deletion() {
            self.delete_dependents(uid, &node).await?;
        } else if !node.deleting && !node.owners.is_empty() {
            self.follow_owners(uid, &node).await?;
        }
        Ok(Requeue::No)
    }
}

impl Collector {
    pub(super) fn new(
        context: Context,
        shared: Arc<Shared>,
        queue: WorkQueue<String>,
        component: &str,
    ) -> Self {
        Self { recorder: context.recorder(component), context, shared, queue }
    }

    /// Makes all dependents forget the object, and lets it go.
    async fn orphan(&self, uid: &str, node: &Node) -> kube::Result<()> {
        let dependents = self.shared.graph(|graph| graph.dependents(uid));
        let forget = dependents.iter().map(async |(dependent, of)| {
            let Some(latest) = self.latest(dependent, of).await? else { return Ok(()) };
            self.forget_owners(of, &latest, |owner| owner.uid == uid).await
        });
        for result in join_all(forget).await {
            result?;
        }
        self.remove_finalizer(uid, node, ORPHAN).await
    }

    /// Has the dependents deleted, and lets the object go when none blocks it.
    async fn delete_dependents(&self, uid: &str, node: &Node) -> kube::Result<()> {
        let dependents = self.shared.graph(|graph| graph.dependents(uid));
        if !dependents.iter().any(|(_, dependent)| dependent.blocks(uid)) {
            return self.remove_finalizer(uid, node, FOREGROUND).await;
        }
        for (dependent, of) in dependents {
            if !of.deleting {
                self.queue.add(dependent);
            }
        }
        Ok(())
    }

    /// Deletes the object if all its owners are gone or wait for that; else makes it forget those.
    async fn follow_owners(&self, uid: &str, node: &Node) -> Result<(), BoxError> {
        let Some(latest) = self.latest(uid, node).await? else { return Ok(()) };
        if latest.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        let mut owners = Vec::new();
        for owner in latest.metadata.owner_references.clone().unwrap_or_default() {
            let Some(state) = self.state_of(node, &owner).await? else { return Ok(()) };
            owners.push((owner, state));
        }
        let any = |state: Owner| owners.iter().any(|(_, of)| *of == state);
        if owners.is_empty() {
            return Ok(());
        }
        if any(Owner::Solid) {
            if any(Owner::Gone) || any(Owner::Waiting) {
                let leaves = |owner: &OwnerReference| {
                    owners.iter().any(|(of, state)| of.uid == owner.uid && *state != Owner::Solid)
                };
                self.forget_owners(node, &latest, leaves).await?;
            }
            return Ok(());
        }
        let dependents = self.shared.graph(|graph| graph.dependents(uid));
        let policy = if any(Owner::Waiting) && !dependents.is_empty() {
            // A ring of owners that wait for each other is broken here.
            if dependents.iter().any(|(_, dependent)| dependent.waits_for_deletion()) {
                self.unblock_owners(node, &latest).await?;
            }
            PropagationPolicy::Foreground
        } else if node.has_orphan() {
            PropagationPolicy::Orphan
        } else if node.has_foreground() {
            PropagationPolicy::Foreground
        } else {
            PropagationPolicy::Background
        };
        Ok(self.delete(uid, node, policy).await?)
    }

    /// Finds out about an owner; `None` if it cannot be one, so that nothing is to be done about the object.
    async fn state_of(&self, node: &Node, owner: &OwnerReference) -> Result<Option<Owner>, BoxError> {
        let known = self.shared.graph(|graph| graph.get(&owner.uid).cloned());
        if known.as_ref().is_some_and(|known| known.is_foreign_to(node)) {
            self.refuse(node, owner);
            return Ok((!node.key.namespace.is_empty()).then_some(Owner::Gone));
        }
        if let Some(known) = known {
            return Ok(Some(if known.waits_for_deletion() { Owner::Waiting } else { Owner::Solid }));
        }
        if self.shared.graph(|graph| graph.is_gone(&owner.uid)) {
            return Ok(Some(Owner::Gone));
        }
        let Some(kind) = self.shared.kind(&owner.api_version, &owner.kind) else {
            let OwnerReference { api_version, kind, name, .. } = owner.clone();
            return Err(UnknownKind { api_version, kind, name }.into());
        };
        if kind.namespaced && node.key.namespace.is_empty() {
            self.refuse(node, owner);
            return Ok(None);
        }
        let found = self.api(&kind, &node.key.namespace).get_opt(&owner.name).await?;
        Ok(Some(match found.filter(|found| meta::uid(found) == owner.uid) {
            None => {
                self.shared.graph(|graph| graph.note_gone(&owner.uid));
                Owner::Gone
            }
            Some(found) => {
                let waits =
                    found.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FOREGROUND);
                let waits = waits && found.metadata.deletion_timestamp.is_some();
                if waits { Owner::Waiting } else { Owner::Solid }
            }
        }))
    }

    /// Tells users that an object cannot be owned from another namespace.
    fn refuse(&self, node: &Node, owner: &OwnerReference) {
        let OwnerReference { api_version, kind, name, uid, .. } = owner;
        let namespace = &node.key.namespace;
        let message = format!(
            "ownerRef [{api_version}/{kind}, namespace: {namespace}, name: {name}, uid: {uid}] does not exist in \
             namespace {namespace:?}"
        );
        let about = ObjectReference {
            api_version: Some(node.kind.resource.api_version.clone()),
            kind: Some(node.kind.resource.kind.clone()),
            namespace: Some(namespace.clone()).filter(|namespace| !namespace.is_empty()),
            name: Some(node.key.name.clone()),
            ..ObjectReference::default()
        };
        self.recorder.event_about(about, EventType::Warning, "OwnerRefInvalidNamespace", message);
    }

    /// Asks for the object's present metadata. If it is gone, the graph learns it.
    async fn latest(&self, uid: &str, node: &Node) -> kube::Result<Option<Object>> {
        let latest = self.api(&node.kind, &node.key.namespace).get_opt(&node.key.name).await?;
        let latest = latest.filter(|latest| meta::uid(latest) == uid);
        if latest.is_none() {
            for concerned in self.shared.graph(|graph| graph.remove(uid)) {
                self.queue.add(concerned);
            }
        }
        Ok(latest)
    }

    async fn forget_owners(
        &self,
        node: &Node,
        latest: &Object,
        leaves: impl Fn(&OwnerReference) -> bool,
    ) -> kube::Result<()> {
        let owners = latest.metadata.owner_references.clone().unwrap_or_default();
        let kept: Vec<_> = owners.iter().filter(|owner| !leaves(owner)).cloned().collect();
        if kept.len() == owners.len() {
            return Ok(());
        }
        let kept = if kept.is_empty() { Value::Null } else { json!(kept) };
        self.change(node, latest, json!({"ownerReferences": kept})).await
    }

    async fn unblock_owners(&self, node: &Node, latest: &Object) -> kube::Result<()> {
        let mut owners = latest.metadata.owner_references.clone().unwrap_or_default();
        if !owners.iter().any(|owner| owner.block_owner_deletion == Some(true)) {
            return Ok(());
        }
        for owner in &mut owners {
            owner.block_owner_deletion = Some(false);
        }
        self.change(node, latest, json!({"ownerReferences": owners})).await
    }

    async fn remove_finalizer(&self, uid: &str, node: &Node, finalizer: &str) -> kube::Result<()> {
        let Some(latest) = self.latest(uid, node).await? else { return Ok(()) };
        let finalizers = latest.metadata.finalizers.clone().unwrap_or_default();
        let kept: Vec<_> = finalizers.iter().filter(|known| *known != finalizer).collect();
        if kept.len() == finalizers.len() {
            return Ok(());
        }
        let kept = if kept.is_empty() { Value::Null } else { json!(kept) };
        self.change(node, &latest, json!({"finalizers": kept})).await
    }

    /// Changes the metadata of the object exactly as `latest` showed it.
    async fn change(&self, node: &Node, latest: &Object, mut metadata: Value) -> kube::Result<()> {
        metadata["uid"] = meta::uid(latest).into();
        metadata["resourceVersion"] = json!(latest.metadata.resource_version);
        let change = Patch::Merge(json!({"metadata": metadata}));
        match self.api(&node.kind, &node.key.namespace).patch(&node.key.name, &patching(), &change).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn delete(&self, uid: &str, node: &Node, policy: PropagationPolicy) -> kube::Result<()> {
        let preconditions = Preconditions { uid: Some(uid.into()), ..Preconditions::default() };
        let params = DeleteParams {
            propagation_policy: Some(policy),
            preconditions: Some(preconditions),
            ..DeleteParams::default()
        };
        match self.api(&node.kind, &node.key.namespace).delete(&node.key.name, &params).await {
            Ok(_) => Ok(()),
            // It is gone, or another one has its name.
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn api(&self, kind: &Kind, namespace: &str) -> Api<Object> {
        let client = self.context.client.clone();
        if kind.namespaced {
            Api::namespaced_with(client, namespace, &kind.resource)
        } else {
            Api::all_with(client, &kind.resource)
        }
    }
}
