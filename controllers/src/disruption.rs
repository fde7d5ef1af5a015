//! Disruption budgets: how many pods of each may go now.

mod budget;
mod expected;

use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::Api;
use quarterdeck_core::client::{
    Context, Event, EventType, Informer, ObjectKey, Reconcile, Recorder, Requeue, Subscription, WorkQueue,
    work,
};
use quarterdeck_core::component::{BoxError, Component, Stop};

use self::budget::Selected;
use self::expected::Scales;
use crate::meta::{self, posting};
use crate::pod::Pod;

const COMPONENT: &str = "disruption-controller";

/// How many budgets are worked on at once.
const WORKERS: usize = 1;

/// Keeps in the status of each disruption budget how many of its pods may be disrupted.
#[derive(Debug)]
pub struct DisruptionController(Context);

impl DisruptionController {
    /// Makes the controller. It does nothing until it runs.
    #[must_use]
    pub fn new(context: &Context) -> Self {
        Self(context.account("disruption-controller"))
    }
}

#[async_trait]
impl Component for DisruptionController {
    fn name(&self) -> String {
        COMPONENT.into()
    }

    async fn run(self: Box<Self>, mut stop: Stop) -> Result<(), BoxError> {
        let context = self.0;
        let (budgets, pods) = (context.informers.of::<PodDisruptionBudget>(), context.informers.of::<Pod>());
        let queue = WorkQueue::new().measured(&context.metrics, COMPONENT);
        let _subscriptions = follow(&budgets, &pods, &queue);
        let scales = Scales::new(&context);
        let concerned = (budgets.clone(), queue.clone());
        // A workload of another size is another number of pods that there should be.
        let _scaled = scales.subscribe(move |namespace| {
            for budget in concerned.0.store().namespace(namespace) {
                concerned.1.add(ObjectKey::of(&*budget));
            }
        });
        let synced = async { tokio::join!(budgets.synced(), pods.synced(), scales.synced()) };
        let recorder = context.recorder(COMPONENT);
        let keeper = Arc::new(Keeper {
            budgets: budgets.clone(),
            pods: pods.clone(),
            scales: scales.clone(),
            recorder,
            context,
        });
        if stop.or(synced).await.is_some() {
            work(COMPONENT, &queue, WORKERS, keeper, stop).await;
        }
        Ok(())
    }
}

fn follow(
    budgets: &Informer<PodDisruptionBudget>,
    pods: &Informer<Pod>,
    queue: &WorkQueue<ObjectKey>,
) -> [Subscription; 2] {
    let (of_budget, of_pod, known) = (queue.clone(), queue.clone(), budgets.clone());
    [
        budgets.subscribe(move |event| {
            if !matches!(event, Event::Deleted(_)) {
                of_budget.add(ObjectKey::of(&**event.object()));
            }
        }),
        pods.subscribe(move |event| {
            let pod = event.object();
            let before = match event {
                Event::Updated { old, .. } => Some(old.clone()),
                _ => None,
            };
            for budget in known.store().namespace(meta::namespace(&**pod)) {
                let concerns = |pod: &Pod| budget::selects(&budget, pod);
                if concerns(pod) || before.as_deref().is_some_and(concerns) {
                    of_pod.add(ObjectKey::of(&*budget));
                }
            }
        }),
    ]
}

struct Keeper {
    context: Context,
    budgets: Informer<PodDisruptionBudget>,
    pods: Informer<Pod>,
    scales: Scales,
    recorder: Recorder,
}

#[async_trait]
impl Reconcile for Keeper {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, BoxError> {
        let Some(budget) = self.budgets.store().get(key) else { return Ok(Requeue::No) };
        let pods = self.pods.store().namespace(&key.namespace);
        let pods: Vec<Arc<Pod>> = pods.into_iter().filter(|pod| budget::selects(&budget, pod)).collect();
        let selected = Selected { budget: &budget, pods: &pods, now: self.context.clock.now() };
        let expected = self.scales.expected(&budget, &pods);
        if let Err(why) = &expected {
            self.recorder.event(&*budget, EventType::Warning, "CalculateExpectedPodCountFailed", why.clone());
        }
        let (status, recheck) = selected.status(expected);
        if budget.status.as_ref() != Some(&status) {
            let mut next = PodDisruptionBudget::clone(&budget);
            next.status = Some(status);
            let api: Api<PodDisruptionBudget> = Api::namespaced(self.context.client.clone(), &key.namespace);
            match api.replace_status(&key.name, &posting(), &next).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(Requeue::No),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(recheck.map_or(Requeue::No, Requeue::After))
    }
}
