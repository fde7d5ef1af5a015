//! Replication controllers and replica sets: as many pods as wanted, whatever happens to them.
//!
//! Both kinds are one implementation over the trait [`Replicated`]. For each object: [`claim`](crate::claim) its pods, make
//! or delete what differs from the wanted number ([`scaling`]; the surplus in the order of [`ranking`]), and write what is
//! there into its status ([`status`]). Neither looks at a template twice: pods that exist are left as they are.

mod kinds;
mod ranking;
mod scaling;
mod status;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1;
use kube::api::Api;
use quarterdeck_core::client::{
    Context, Event, Index, Informer, ObjectKey, Reconcile, Recorder, Requeue, Subscription, WorkQueue, work,
};
use quarterdeck_core::component::{BoxError, Component, Stop};
use quarterdeck_core::random::Random;

use self::kinds::Replicated;
use crate::claim::{Owned, by_controller, claim};
use crate::expectations::{Expectations, Expected};
use crate::meta::{self, controller_of};
use crate::pod::Pod;

/// How many objects are worked on at once.
const WORKERS: usize = 5;

/// Keeps the pods of `v1` replication controllers.
#[derive(Debug)]
pub struct ReplicationController(Context);

impl ReplicationController {
    /// Makes the controller. It does nothing until it runs.
    #[must_use]
    pub fn new(context: &Context) -> Self {
        Self(context.account("replication-controller"))
    }
}

#[async_trait]
impl Component for ReplicationController {
    fn name(&self) -> String {
        "replication-controller".into()
    }

    async fn run(self: Box<Self>, stop: Stop) -> Result<(), BoxError> {
        replicate::<v1::ReplicationController>(&self.0, stop).await
    }
}

/// Keeps the pods of `apps/v1` replica sets.
#[derive(Debug)]
pub struct ReplicaSetController(Context);

impl ReplicaSetController {
    /// Makes the controller. It does nothing until it runs.
    #[must_use]
    pub fn new(context: &Context) -> Self {
        Self(context.account("replicaset-controller"))
    }
}

#[async_trait]
impl Component for ReplicaSetController {
    fn name(&self) -> String {
        "replicaset-controller".into()
    }

    async fn run(self: Box<Self>, stop: Stop) -> Result<(), BoxError> {
        replicate::<ReplicaSet>(&self.0, stop).await
    }
}

async fn replicate<K: Replicated>(context: &Context, mut stop: Stop) -> Result<(), BoxError> {
    let (owners, pods) = (context.informers.of::<K>(), context.informers.of::<Pod>());
    let queue = WorkQueue::new().measured(&context.metrics, K::COMPONENT);
    let expectations = Arc::new(Expectations::default());
    let replicator = Arc::new(Replicator {
        context: context.clone(),
        random: context.random.fork(K::COMPONENT),
        recorder: context.recorder(K::COMPONENT),
        owned: by_controller(&pods),
        siblings: by_controller(&owners),
        owners: owners.clone(),
        expectations: expectations.clone(),
    });
    let _subscriptions =
        [follow_owners(&owners, &queue, &expectations), follow_pods(&owners, &pods, &queue, &expectations)];

    let synced = async { tokio::join!(owners.synced(), pods.synced()) };
    if stop.or(synced).await.is_some() {
        work(K::COMPONENT, &queue, WORKERS, replicator, stop).await;
    }
    Ok(())
}

fn follow_owners<K: Replicated>(
    owners: &Informer<K>,
    queue: &WorkQueue<ObjectKey>,
    expectations: &Arc<Expectations>,
) -> Subscription {
    let (queue, expectations) = (queue.clone(), expectations.clone());
    owners.subscribe(move |event| {
        let key = ObjectKey::of(&**event.object());
        if matches!(event, Event::Deleted(_)) {
            expectations.forget(&key);
        }
        queue.add(key);
    })
}

fn follow_pods<K: Replicated>(
    owners: &Informer<K>,
    pods: &Informer<Pod>,
    queue: &WorkQueue<ObjectKey>,
    expectations: &Arc<Expectations>,
) -> Subscription {
    let (owners, queue, expectations) = (owners.store().clone(), queue.clone(), expectations.clone());
    pods.subscribe(move |event| {
        let pod = event.object();
        let alive = !matches!(event, Event::Deleted(_)) && !pod.is_terminating();
        if let Event::Updated { old, .. } = event
            && let Some(former) = owner_of::<K>(old)
            && owner_of::<K>(pod).as_ref() != Some(&former)
        {
            queue.add(former);
        }
        if let Some(key) = owner_of::<K>(pod) {
            expectations.saw(&key, meta::name(&**pod), meta::uid(&**pod), alive);
            if let Some(owner) = owners.get(&key) {
                wake_when_available(&queue, &key, event, owner.min_ready());
                queue.add(key);
            }
        } else if alive && controller_of(&pod.metadata).is_none() && may_be_adopted(event) {
            for owner in owners.namespace(meta::namespace(&**pod)) {
                if owner.selector().is_ok_and(|selector| selector.matches_map(meta::labels(&**pod))) {
                    queue.add(ObjectKey::of(&*owner));
                }
            }
        }
    })
}

/// Returns the key of the pod's controller if it is of kind `K`.
fn owner_of<K: Replicated>(pod: &Pod) -> Option<ObjectKey> {
    let owner = controller_of(&pod.metadata)?;
    let same = owner.kind == K::kind(&()) && owner.api_version == K::api_version(&());
    same.then(|| ObjectKey::new(meta::namespace(pod), &owner.name))
}

/// An orphan's status changes often; only its labels and its owners say who may have it.
fn may_be_adopted(event: Event<'_, Pod>) -> bool {
    match event {
        Event::Added(_) => true,
        Event::Updated { old, new } => {
            old.metadata.labels != new.metadata.labels
                || old.metadata.owner_references != new.metadata.owner_references
        }
        Event::Deleted(_) => false,
    }
}

/// A pod that just became ready becomes available without any further event.
fn wake_when_available(
    queue: &WorkQueue<ObjectKey>,
    key: &ObjectKey,
    event: Event<'_, Pod>,
    minimum: Duration,
) {
    let Event::Updated { old, new } = event else { return };
    if !minimum.is_zero() && !old.is_ready() && new.is_ready() {
        queue.add_after(key.clone(), minimum + Duration::from_secs(1));
    }
}

struct Replicator<K> {
    context: Context,
    random: Random,
    recorder: Recorder,
    owners: Informer<K>,
    owned: Index<Owned, Pod>,
    /// Owners by their own controller: the replica sets of one deployment are siblings.
    siblings: Index<Owned, K>,
    expectations: Arc<Expectations>,
}

#[async_trait]
impl<K: Replicated> Reconcile for Replicator<K> {
    type Key = ObjectKey;

    fn recorder(&self) -> Option<&Recorder> {
        Some(&self.recorder)
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, BoxError> {
        let Some(owner) = self.owners.store().get(key) else {
            self.expectations.forget(key);
            return Ok(Requeue::No);
        };
        let selector = match owner.selector() {
            Ok(selector) => selector,
            Err(error) => {
                tracing::warn!(%key, %error, "a selector that cannot be used");
                return Ok(Requeue::No);
            }
        };
        self.settle_overdue(key).await?;
        let settled = self.expectations.are_met(key);
        let mut pods = claim(&self.context.client, &*owner, &selector, &self.owned).await?;
        pods.retain(|pod| pod.is_active());

        let scaled = if settled && !meta::is_terminating(&*owner) {
            self.scale(key, &owner, &pods).await
        } else {
            Ok(())
        };
        let now = self.context.clock.now();
        let status = status::compute(&*owner, &pods, scaled.as_ref().err(), now);
        let waits = status.available_replicas < status.ready_replicas;
        status::write(&self.context.client, &*owner, status).await?;
        scaled?;

        Ok(if !self.expectations.are_met(key) {
            Requeue::After(Expectations::PATIENCE)
        } else if waits {
            Requeue::After(owner.min_ready())
        } else {
            Requeue::No
        })
    }
}

impl<K: Replicated> Replicator<K> {
    /// Asks the server about what should have shown long ago.
    async fn settle_overdue(&self, key: &ObjectKey) -> kube::Result<()> {
        let pods: Api<Pod> = Api::namespaced(self.context.client.clone(), &key.namespace);
        // Upstream's roles let these controllers list pods, and not get one.
        for expected in self.expectations.overdue(key) {
            let never = match &expected {
                Expected::Created(name) => meta::listed(&pods, name).await?.is_none(),
                Expected::Deleted(name, uid) => meta::listed(&pods, name)
                    .await?
                    .is_some_and(|pod| meta::uid(&pod) == uid && !pod.is_terminating()),
            };
            if never {
                self.expectations.settle(key, &expected);
            }
        }
        Ok(())
    }
}
