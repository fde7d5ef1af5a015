//! Claims and volumes that are deleted while somebody uses them: they go when nobody does.

use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::api::{Api, ListParams};
use kube::{Client, Resource};
use quarterdeck_core::client::{
    Context, Informer, ObjectKey, Reconcile, Requeue, Subscription, Watched, WorkQueue, work,
};
use quarterdeck_core::component::{BoxError, Component, Stop};

use crate::meta::{self, is_terminating, posting};
use crate::pod::Pod;

const CLAIMS: &str = "persistentvolumeclaim-protection-controller";
const VOLUMES: &str = "persistentvolume-protection-controller";

/// What holds a claim while a pod uses it.
const CLAIM: &str = "kubernetes.io/pvc-protection";
/// What holds a volume while it is bound.
const VOLUME: &str = "kubernetes.io/pv-protection";

/// Lets deleted claims go when no pod uses them.
#[derive(Debug)]
pub struct ClaimProtectionController(Context);

impl ClaimProtectionController {
    /// Makes the controller. It does nothing until it runs.
    #[must_use]
    pub fn new(context: &Context) -> Self {
        Self(context.account("pvc-protection-controller"))
    }
}

#[async_trait]
impl Component for ClaimProtectionController {
    fn name(&self) -> String {
        CLAIMS.into()
    }

    async fn run(self: Box<Self>, mut stop: Stop) -> Result<(), BoxError> {
        let context = self.0;
        let informers = &context.informers;
        let (claims, pods) = (informers.of::<PersistentVolumeClaim>(), informers.of::<Pod>());
        let queue = WorkQueue::new().measured(&context.metrics, CLAIMS);
        let _subscriptions = follow_claims(&claims, &pods, &queue);
        let synced = async { tokio::join!(claims.synced(), pods.synced()) };
        if stop.or(synced).await.is_some() {
            let keeper =
                Claims { client: context.client.clone(), claims: claims.clone(), pods: pods.clone() };
            work(CLAIMS, &queue, 1, Arc::new(keeper), stop).await;
        }
        Ok(())
    }
}

fn follow_claims(
    claims: &Informer<PersistentVolumeClaim>,
    pods: &Informer<Pod>,
    queue: &WorkQueue<ObjectKey>,
) -> [Subscription; 2] {
    let (of_claim, of_pod) = (queue.clone(), queue.clone());
    [
        claims.subscribe(move |event| of_claim.add(ObjectKey::of(&**event.object()))),
        pods.subscribe(move |event| {
            let pod = event.object();
            for name in pod.claims() {
                of_pod.add(ObjectKey::new(meta::namespace(&**pod), name));
            }
        }),
    ]
}

struct Claims {
    client: Client,
    claims: Informer<PersistentVolumeClaim>,
    pods: Informer<Pod>,
}

#[async_trait]
impl Reconcile for Claims {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, BoxError> {
        if let Some(claim) = self.claims.store().get(key) {
            let api = Api::namespaced(self.client.clone(), &key.namespace);
            keep(&api, &*claim, CLAIM, self.is_used(&claim).await?).await?;
        }
        Ok(Requeue::No)
    }
}

impl Claims {
    /// Whether a pod uses a claim that is to go. The store is asked first, and the server has the last word: a pod that was
    /// made just now may not be in the store.
    async fn is_used(&self, claim: &PersistentVolumeClaim) -> kube::Result<bool> {
        if !is_terminating(claim) {
            return Ok(true);
        }
        let namespace = meta::namespace(claim);
        let uses = |pod: &Pod| is_user(pod, meta::name(claim));
        if self.pods.store().namespace(namespace).iter().any(|pod| uses(pod)) {
            return Ok(true);
        }
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        Ok(api.list(&ListParams::default()).await?.items.iter().any(uses))
    }
}

/// Lets deleted volumes go when they are not bound.
#[derive(Debug)]
pub struct VolumeProtectionController(Context);

impl VolumeProtectionController {
    /// Makes the controller. It does nothing until it runs.
    #[must_use]
    pub fn new(context: &Context) -> Self {
        Self(context.account("pv-protection-controller"))
    }
}

#[async_trait]
impl Component for VolumeProtectionController {
    fn name(&self) -> String {
        VOLUMES.into()
    }

    async fn run(self: Box<Self>, mut stop: Stop) -> Result<(), BoxError> {
        let context = self.0;
        let volumes = context.informers.of::<PersistentVolume>();
        let queue = WorkQueue::new().measured(&context.metrics, VOLUMES);
        let added = queue.clone();
        let _subscription = volumes.subscribe(move |event| added.add(ObjectKey::of(&**event.object())));
        if stop.or(volumes.synced()).await.is_some() {
            let keeper = Volumes { client: context.client.clone(), volumes: volumes.clone() };
            work(VOLUMES, &queue, 1, Arc::new(keeper), stop).await;
        }
        Ok(())
    }
}

struct Volumes {
    client: Client,
    volumes: Informer<PersistentVolume>,
}

#[async_trait]
impl Reconcile for Volumes {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, BoxError> {
        if let Some(volume) = self.volumes.store().get(key) {
            let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
            keep(&Api::all(self.client.clone()), &*volume, VOLUME, phase == Some("Bound")).await?;
        }
        Ok(Requeue::No)
    }
}

/// Puts the finalizer on what has none, and takes it from what is to go and not in use.
async fn keep<K>(api: &Api<K>, object: &K, finalizer: &str, in_use: bool) -> kube::Result<()>
where
    K: Watched + Resource<DynamicType = ()> + serde::Serialize,
{
    let has = object.meta().finalizers.iter().flatten().any(|known| known == finalizer);
    let mut changed = object.clone();
    let finalizers = changed.meta_mut().finalizers.get_or_insert_default();
    match (is_terminating(object), has) {
        (true, true) if !in_use => finalizers.retain(|known| known != finalizer),
        (false, false) => finalizers.push(finalizer.into()),
        _ => return Ok(()),
    }
    match api.replace(meta::name(object), &posting(), &changed).await {
        Ok(_) => Ok(()),
        // It changed, and comes again, or it is gone.
        Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Whether a pod uses a claim: one without a node will find the claim gone before it starts.
fn is_user(pod: &Pod, claim: &str) -> bool {
    !pod.spec.node_name.is_empty() && !pod.is_finished() && pod.claims().any(|name| name == claim)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    fn pod(spec: Value) -> Pod {
        from_value(json!({"metadata": {"name": "p"}, "spec": spec})).unwrap()
    }

    #[test]
    fn a_claim_is_used_by_pods_on_nodes_that_mount_it() {
        let mounts = json!([{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]);
        let own = json!([{"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}}]);

        assert!(is_user(&pod(json!({"nodeName": "n", "volumes": mounts})), "c"));
        assert!(!is_user(&pod(json!({"volumes": mounts})), "c"));
        assert!(!is_user(&pod(json!({"nodeName": "n", "volumes": mounts})), "d"));
        assert!(is_user(&pod(json!({"nodeName": "n", "volumes": own})), "p-v"));
    }
}
