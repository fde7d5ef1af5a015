//! Deployments: a replica set per template, and the way from one to the next.
//!
//! For each deployment: [`revisions`] finds the replica set of its present template (and makes it when due) and those of
//! former ones; [`rollout`] moves pods from the old to the new, rolling or all at once; [`scaling`] spreads a changed number
//! over all when nothing is rolled out; [`status`] writes counts and conditions, and says when a rollout is done or stuck.

mod annotations;
mod hash;
mod numbers;
mod revisions;
mod rollout;
mod scaling;
mod status;

use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use kube::Resource;
use kube::api::Api;
use quarterdeck_core::client::{
    Context, Event, EventType, Index, Informer, ObjectKey, Reconcile, Recorder, Requeue, Subscription,
    WorkQueue, work,
};
use quarterdeck_core::component::{BoxError, Component, Stop};
use quarterdeck_core::labels::Selector;

use self::revisions::Sets;
use crate::claim::{Owned, by_controller, claim};
use crate::meta::{self, controller_of, posting};
use crate::pod::Pod;

const COMPONENT: &str = "deployment-controller";

/// How many deployments are worked on at once.
const WORKERS: usize = 5;

/// Keeps the replica sets of `apps/v1` deployments.
#[derive(Debug)]
pub struct DeploymentController(Context);

impl DeploymentController {
    /// Makes the controller. It does nothing until it runs.
    #[must_use]
    pub fn new(context: &Context) -> Self {
        Self(context.account("deployment-controller"))
    }
}

#[async_trait]
impl Component for DeploymentController {
    fn name(&self) -> String {
        COMPONENT.into()
    }

    async fn run(self: Box<Self>, mut stop: Stop) -> Result<(), BoxError> {
        let context = self.0;
        let informers = &context.informers;
        let (deployments, sets, pods) =
            (informers.of::<Deployment>(), informers.of::<ReplicaSet>(), informers.of::<Pod>());
        let queue = WorkQueue::new().measured(&context.metrics, COMPONENT);
        let deployer = Arc::new(Deployer {
            recorder: context.recorder(COMPONENT),
            owned: by_controller(&sets),
            pods: by_controller(&pods),
            deployments: deployments.clone(),
            context: context.clone(),
        });
        let added = queue.clone();
        let _subscriptions = [
            deployments.subscribe(move |event| added.add(ObjectKey::of(&**event.object()))),
            follow_sets(&deployments, &sets, &queue),
            follow_pods(&deployments, &sets, &pods, &queue),
        ];
        let synced = async { tokio::join!(deployments.synced(), sets.synced(), pods.synced()) };
        if stop.or(synced).await.is_some() {
            work(COMPONENT, &queue, WORKERS, deployer, stop).await;
        }
        Ok(())
    }
}

/// Returns the key of the deployment that controls `set`.
fn owner_of(set: &ReplicaSet) -> Option<ObjectKey> {
    let owner = controller_of(&set.metadata)?;
    (owner.kind == Deployment::kind(&())).then(|| ObjectKey::new(meta::namespace(set), &owner.name))
}

fn follow_sets(
    deployments: &Informer<Deployment>,
    sets: &Informer<ReplicaSet>,
    queue: &WorkQueue<ObjectKey>,
) -> Subscription {
    let (deployments, queue) = (deployments.store().clone(), queue.clone());
    sets.subscribe(move |event| {
        let set = event.object();
        if let Event::Updated { old, .. } = event
            && let Some(former) = owner_of(old)
        {
            queue.add(former);
        }
        if let Some(owner) = owner_of(set) {
            queue.add(owner);
        } else if !matches!(event, Event::Deleted(_)) {
            for deployment in deployments.namespace(meta::namespace(&**set)) {
                if selector(&deployment).is_some_and(|selector| selector.matches_map(meta::labels(&**set))) {
                    queue.add(ObjectKey::of(&*deployment));
                }
            }
        }
    })
}

/// A deployment that replaces all pods at once waits for the last old one to be gone.
fn follow_pods(
    deployments: &Informer<Deployment>,
    sets: &Informer<ReplicaSet>,
    pods: &Informer<Pod>,
    queue: &WorkQueue<ObjectKey>,
) -> Subscription {
    let (deployments, sets, queue) = (deployments.store().clone(), sets.store().clone(), queue.clone());
    pods.subscribe(move |event| {
        let Event::Deleted(pod) = event else { return };
        let Some(owner) = controller_of(&pod.metadata).filter(|owner| owner.kind == "ReplicaSet") else {
            return;
        };
        let set = sets.get(&ObjectKey::new(meta::namespace(&**pod), &owner.name));
        if let Some(key) = set.and_then(|set| owner_of(&set))
            && deployments.get(&key).is_some_and(|deployment| numbers::recreates(&deployment))
        {
            queue.add(key);
        }
    })
}

/// Returns the deployment's selector, unless it cannot be used or selects everything.
fn selector(deployment: &Deployment) -> Option<Selector> {
    let selector = Selector::try_from(&deployment.spec.selector).ok()?;
    (!selector.is_everything()).then_some(selector)
}

struct Deployer {
    context: Context,
    recorder: Recorder,
    deployments: Informer<Deployment>,
    owned: Index<Owned, ReplicaSet>,
    pods: Index<Owned, Pod>,
}

#[async_trait]
impl Reconcile for Deployer {
    type Key = ObjectKey;

    fn recorder(&self) -> Option<&Recorder> {
        Some(&self.recorder)
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, BoxError> {
        let Some(known) = self.deployments.store().get(key) else { return Ok(Requeue::No) };
        let mut deployment = Deployment::clone(&known);
        let Some(selector) = selector(&deployment) else {
            let message = "This deployment is selecting all pods. A non-empty selector is required.";
            self.recorder.event(&deployment, EventType::Warning, "SelectingAll", message);
            self.observe(&mut deployment).await?;
            return Ok(Requeue::No);
        };
        let claimed = claim(&self.context.client, &deployment, &selector, &self.owned).await?;
        let sets = claimed.iter().map(|set| ReplicaSet::clone(set)).collect();
        self.work(&mut deployment, sets).await
    }
}

impl Deployer {
    async fn work(&self, deployment: &mut Deployment, sets: Vec<ReplicaSet>) -> Result<Requeue, BoxError> {
        if meta::is_terminating(deployment) {
            let sets = self.find_sets(deployment, sets).await?;
            self.write_counts(deployment, &sets).await?;
            return Ok(Requeue::No);
        }
        self.note_pause(deployment).await?;
        if numbers::is_paused(deployment) || numbers::is_resized(deployment, &sets) {
            let mut sets = self.find_sets(deployment, sets).await?;
            self.scale_all(deployment, &mut sets).await?;
            if numbers::is_paused(deployment) {
                self.clean_up(deployment, &mut sets).await?;
            }
            self.write_counts(deployment, &sets).await?;
            return Ok(Requeue::No);
        }
        if numbers::recreates(deployment) {
            self.recreate(deployment, sets).await
        } else {
            self.roll(deployment, sets).await
        }
    }

    /// Whether pods of old replica sets still run, or may run.
    fn old_pods_run(&self, sets: &Sets) -> bool {
        sets.old.iter().any(|set| {
            set.status.as_ref().is_some_and(|status| status.replicas > 0)
                || self.pods.get(&Owned::By(meta::uid(set).into())).iter().any(|pod| !pod.is_finished())
        })
    }

    async fn observe(&self, deployment: &mut Deployment) -> kube::Result<()> {
        let generation = deployment.metadata.generation;
        let status = deployment.status.get_or_insert_default();
        if status.observed_generation < generation {
            status.observed_generation = generation;
            self.write_status(deployment).await?;
        }
        Ok(())
    }

    /// Writes the deployment's status (and its annotations, which a write of the status may change), and takes over what the
    /// server made of it.
    async fn write_status(&self, deployment: &mut Deployment) -> kube::Result<()> {
        let deployments: Api<Deployment> =
            Api::namespaced(self.context.client.clone(), meta::namespace(deployment));
        *deployment = deployments.replace_status(meta::name(deployment), &posting(), deployment).await?;
        Ok(())
    }

    async fn write_set(&self, set: &mut ReplicaSet) -> kube::Result<()> {
        let sets: Api<ReplicaSet> = Api::namespaced(self.context.client.clone(), meta::namespace(set));
        *set = sets.replace(meta::name(set), &posting(), set).await?;
        Ok(())
    }
}
