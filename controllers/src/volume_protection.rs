//! Claims and volumes that are deleted while somebody uses them: they go when nobody does.

use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::Resource;
use kube::api::{Api, ListParams};
use quarterdeck_core::client::{
    Context, Informer, ObjectKey, Reconcile, Requeue, Subscription, Watched, WorkQueue, work,
};
use quarterdeck_core::component::{BoxError, Component, Stop};

use crate::meta::{self, is_terminating, posting};
use crate::pod::Pod;

const COMPONENT: &str = "persistentvolume-protection-controller";

/// What holds a claim while a pod uses it.
const CLAIM: &str = "kubernetes.io/pvc-protection";
/// What holds a volume while it is bound.
const VOLUME: &str = "kubernetes.io/pv-protection";

/// Lets deleted claims go when no pod uses them, and deleted volumes when they are not bound.
#[derive(Debug)]
pub struct VolumeProtectionController(Context);

impl VolumeProtectionController {
    /// Makes the controller. It does nothing until it runs.
    #[must_use]
    pub fn new(context: &Context) -> Self {
        Self(context.clone())
    }
}

/// What is looked at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Claim(ObjectKey),
    Volume(String),
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Claim(key) => write!(f, "claim {key}"),
            Self::Volume(name) => write!(f, "volume {name}"),
        }
    }
}

#[async_trait]
impl Component for VolumeProtectionController {
    fn name(&self) -> String {
        COMPONENT.into()
    }

    async fn run(self: Box<Self>, mut stop: Stop) -> Result<(), BoxError> {
        let context = self.0;
        let informers = &context.informers;
        let (claims, volumes, pods) = (
            informers.of::<PersistentVolumeClaim>(),
            informers.of::<PersistentVolume>(),
            informers.of::<Pod>(),
        );
        let queue = WorkQueue::new().measured(&context.metrics, COMPONENT);
        let _subscriptions = follow(&claims, &volumes, &pods, &queue);
        let keeper = Arc::new(Keeper {
            context: context.clone(),
            claims: claims.clone(),
            volumes: volumes.clone(),
            pods: pods.clone(),
        });
        let synced = async { tokio::join!(claims.synced(), volumes.synced(), pods.synced()) };
        if stop.or(synced).await.is_some() {
            work(COMPONENT, &queue, 1, keeper, stop).await;
        }
        Ok(())
    }
}

fn follow(
    claims: &Informer<PersistentVolumeClaim>,
    volumes: &Informer<PersistentVolume>,
    pods: &Informer<Pod>,
    queue: &WorkQueue<Key>,
) -> [Subscription; 3] {
    let (of_claim, of_volume, of_pod) = (queue.clone(), queue.clone(), queue.clone());
    [
        claims.subscribe(move |event| of_claim.add(Key::Claim(ObjectKey::of(&**event.object())))),
        volumes.subscribe(move |event| of_volume.add(Key::Volume(meta::name(&**event.object()).into()))),
        pods.subscribe(move |event| {
            let pod = event.object();
            for name in pod.claims() {
                of_pod.add(Key::Claim(ObjectKey::new(meta::namespace(&**pod), name)));
            }
        }),
    ]
}

struct Keeper {
    context: Context,
    claims: Informer<PersistentVolumeClaim>,
    volumes: Informer<PersistentVolume>,
    pods: Informer<Pod>,
}

#[async_trait]
impl Reconcile for Keeper {
    type Key = Key;

    async fn reconcile(&self, key: &Key) -> Result<Requeue, BoxError> {
        match key {
            Key::Claim(key) => {
                let Some(claim) = self.claims.store().get(key) else { return Ok(Requeue::No) };
                let api = Api::namespaced(self.context.client.clone(), &key.namespace);
                self.keep(&api, &*claim, CLAIM, self.is_used(&claim).await?).await?;
            }
            Key::Volume(name) => {
                let Some(volume) = self.volumes.store().get(&ObjectKey::new("", name)) else {
                    return Ok(Requeue::No);
                };
                let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
                let is_bound = phase == Some("Bound");
                self.keep(&Api::all(self.context.client.clone()), &*volume, VOLUME, is_bound).await?;
            }
        }
        Ok(Requeue::No)
    }
}

impl Keeper {
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
        let api: Api<Pod> = Api::namespaced(self.context.client.clone(), namespace);
        Ok(api.list(&ListParams::default()).await?.items.iter().any(uses))
    }

    /// Puts the finalizer on what has none, and takes it from what is to go and not in use.
    async fn keep<K>(&self, api: &Api<K>, object: &K, finalizer: &str, in_use: bool) -> kube::Result<()>
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
