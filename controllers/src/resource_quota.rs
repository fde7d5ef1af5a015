//! Quotas: how much of each is used.
//!
//! The API server charges what is made to the quotas of its namespace in the same commit. This controller adds up what is
//! there: for a new quota, and whenever something went that was charged.

mod usage;

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::ResourceQuota;
use kube::api::Api;
use kube::core::{DynamicObject, PartialObjectMeta};
use quarterdeck_core::client::{
    Context, Event, Informer, ObjectKey, Reconcile, Requeue, Selector, Subscription, WorkQueue, work,
};
use quarterdeck_core::component::{BoxError, Component, Stop};

use crate::discovery::{Kind, discover};
use crate::meta::{self, posting};
use crate::pod::Pod;

const COMPONENT: &str = "resourcequota-controller";

/// How many quotas are worked on at once.
const WORKERS: usize = 2;

/// How often all quotas are counted anew, and how often it is looked for kinds that come and go.
const RESYNC: Duration = Duration::from_secs(300);

/// Keeps in the status of each quota how much of it is used.
#[derive(Debug)]
pub struct ResourceQuotaController(Context);

impl ResourceQuotaController {
    /// Makes the controller. It does nothing until it runs.
    #[must_use]
    pub fn new(context: &Context) -> Self {
        Self(context.account("resourcequota-controller"))
    }
}

#[async_trait]
impl Component for ResourceQuotaController {
    fn name(&self) -> String {
        COMPONENT.into()
    }

    async fn run(self: Box<Self>, mut stop: Stop) -> Result<(), BoxError> {
        let context = self.0;
        let (quotas, pods) = (context.informers.of::<ResourceQuota>(), context.informers.of::<Pod>());
        let queue = WorkQueue::new().measured(&context.metrics, COMPONENT);
        let freed = Freed { quotas: quotas.clone(), queue: queue.clone() };
        let _subscriptions = (follow_quotas(&quotas, &queue), follow_pods(&pods, freed.clone()));
        let keeper = Arc::new(Keeper {
            context: context.clone(),
            quotas: quotas.clone(),
            freed,
            kinds: RwLock::default(),
            monitors: RwLock::default(),
        });
        let synced = async { tokio::join!(quotas.synced(), pods.synced()) };
        if stop.or(synced).await.is_none() {
            return Ok(());
        }
        let looking = keeper.clone();
        let mut ended = stop.clone();
        tokio::join!(work(COMPONENT, &queue, WORKERS, keeper, stop), async move {
            ended.or(looking.keep_up()).await;
        });
        Ok(())
    }
}

fn follow_quotas(quotas: &Informer<ResourceQuota>, queue: &WorkQueue<ObjectKey>) -> Subscription {
    let queue = queue.clone();
    quotas.subscribe(move |event| match event {
        Event::Added(quota) => queue.add(ObjectKey::of(&**quota)),
        // What the API server charges needs no counting.
        Event::Updated { old, new } if old.spec != new.spec || hard(new) != counted(new) => {
            queue.add(ObjectKey::of(&**new));
        }
        _ => {}
    })
}

fn hard(
    quota: &ResourceQuota,
) -> Option<&BTreeMap<String, k8s_openapi::apimachinery::pkg::api::resource::Quantity>> {
    quota.spec.as_ref()?.hard.as_ref()
}

fn counted(
    quota: &ResourceQuota,
) -> Option<&BTreeMap<String, k8s_openapi::apimachinery::pkg::api::resource::Quantity>> {
    quota.status.as_ref()?.hard.as_ref()
}

fn follow_pods(pods: &Informer<Pod>, freed: Freed) -> Subscription {
    pods.subscribe(move |event| match event {
        Event::Deleted(pod) => freed.in_namespace(meta::namespace(&**pod)),
        // A pod that has ended uses nothing any more.
        Event::Updated { old, new } if new.is_finished() && !old.is_finished() => {
            freed.in_namespace(meta::namespace(&**new));
        }
        _ => {}
    })
}

/// Puts quotas into the queue under which something went.
#[derive(Clone)]
struct Freed {
    quotas: Informer<ResourceQuota>,
    queue: WorkQueue<ObjectKey>,
}

impl Freed {
    fn in_namespace(&self, namespace: &str) {
        for quota in self.quotas.store().namespace(namespace) {
            self.queue.add(ObjectKey::of(&*quota));
        }
    }
}

type Object = PartialObjectMeta<DynamicObject>;

struct Keeper {
    context: Context,
    quotas: Informer<ResourceQuota>,
    freed: Freed,
    /// The kinds that objects in namespaces may be of.
    kinds: RwLock<Vec<Arc<Kind>>>,
    /// Who tells of the deletion of objects, by path: of those kinds alone that some quota counts.
    monitors: RwLock<BTreeMap<String, (Informer<Object>, Subscription)>>,
}

#[async_trait]
impl Reconcile for Keeper {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, BoxError> {
        if self.quotas.store().get(key).is_none() {
            return Ok(Requeue::No);
        }
        let api: Api<ResourceQuota> = Api::namespaced(self.context.client.clone(), &key.namespace);
        // The quota first, the objects after it: whatever is made meanwhile changes the quota, so that what was counted is
        // refused and counted again. Upstream's role lets this controller list quotas, and not get one.
        let Some(mut quota) = meta::listed(&api, &key.name).await? else { return Ok(Requeue::No) };
        let kinds = self.kinds_of(&quota).await?;
        kinds.iter().for_each(|kind| self.monitor(kind));
        let used = usage::count(&self.context, &quota, &kinds).await?;
        let mut status = quota.status.clone().unwrap_or_default();
        status.hard = quota.spec.as_ref().and_then(|spec| spec.hard.clone());
        status.used = Some(used);
        if quota.status.as_ref() == Some(&status) {
            return Ok(Requeue::No);
        }
        quota.status = Some(status);
        match api.replace_status(&key.name, &posting(), &quota).await {
            Ok(_) => Ok(Requeue::No),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(Requeue::No),
            Err(kube::Error::Api(status)) if status.is_conflict() => Ok(Requeue::RateLimited),
            Err(error) => Err(error.into()),
        }
    }
}

impl Keeper {
    /// Returns the kinds whose objects a quota counts. Looks for kinds anew if the quota names one that is not known.
    async fn kinds_of(&self, quota: &ResourceQuota) -> kube::Result<Vec<Arc<Kind>>> {
        let resources: Vec<&String> = hard(quota).into_iter().flat_map(BTreeMap::keys).collect();
        let counted = |kinds: &[Arc<Kind>]| -> Vec<Arc<Kind>> {
            let uses = |kind: &&Arc<Kind>| resources.iter().any(|resource| usage::uses(kind, resource));
            kinds.iter().filter(uses).cloned().collect()
        };
        let known = counted(&self.kinds.read().expect("no holder panics"));
        if resources.iter().all(|resource| known.iter().any(|kind| usage::uses(kind, resource))) {
            return Ok(known);
        }
        self.look().await?;
        Ok(counted(&self.kinds.read().expect("no holder panics")))
    }

    async fn look(&self) -> kube::Result<()> {
        let found = discover(&self.context.client).await?.kinds;
        let counted =
            found.into_iter().filter(|kind| kind.namespaced && kind.has("create") && kind.has("list"));
        *self.kinds.write().expect("no holder panics") = counted.map(Arc::new).collect();
        Ok(())
    }

    /// Learns of deletions of a kind. Pods are followed anyway, for more than that.
    fn monitor(&self, kind: &Arc<Kind>) {
        let path = format!("{}/{}", kind.resource.api_version, kind.resource.plural);
        let mut monitors = self.monitors.write().expect("no holder panics");
        if path == "v1/pods" || !kind.has("watch") || monitors.contains_key(&path) {
            return;
        }
        let informer: Informer<Object> = self.context.informers.dynamic(&kind.resource, Selector::all());
        let freed = self.freed.clone();
        let is_service = path == "v1/services";
        let subscription = informer.subscribe(move |event| match event {
            Event::Deleted(object) => freed.in_namespace(meta::namespace(&**object)),
            // It may have given up its node ports.
            Event::Updated { new, .. } if is_service => freed.in_namespace(meta::namespace(&**new)),
            _ => {}
        });
        monitors.insert(path, (informer, subscription));
    }

    /// Counts everything anew now and then: a pod that is never seen to end after its time uses nothing either.
    async fn keep_up(&self) {
        loop {
            tokio::time::sleep(RESYNC).await;
            if let Err(error) = self.look().await {
                tracing::debug!(%error, "cannot find out which kinds there are");
            }
            for quota in self.quotas.store().list() {
                self.freed.queue.add(ObjectKey::of(&*quota));
            }
        }
    }
}
