//! Nodes that answer and nodes that do not, and what becomes of the pods on the latter.
//!
//! A node is heard of through its Lease and its status. After 40 seconds of silence its conditions become unknown, its pods
//! not ready, and it gets the taint `node.kubernetes.io/unreachable`; a node that says itself that it is not ready gets
//! `node.kubernetes.io/not-ready`. Pods that do not tolerate the taint (or no longer: most do for five minutes) are deleted,
//! so that their controllers replace them. When most nodes fall silent at once, the fault is more likely on this side, and
//! pods are left alone: see [`zones`].

mod figures;
mod health;
mod pods;
mod taints;
mod zones;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, Patch};
use quarterdeck_core::client::{
    Context, Event, EventType, Index, Informer, ObjectKey, Reconcile, Recorder, Requeue, Selector,
    Subscription, WorkQueue, work,
};
use quarterdeck_core::component::{BoxError, Component, Stop};
use serde_json::json;
use tokio::time::Instant;

use self::health::{Health, Ready};
use self::zones::Zones;
use crate::meta::{self, patching};
use crate::pod::Pod;

const COMPONENT: &str = "node-lifecycle-controller";
const LEASES: &str = "kube-node-lease";

/// How many nodes and pods are worked on at once.
const WORKERS: usize = 8;

/// How often each node is looked at.
const PERIOD: Duration = Duration::from_secs(5);

/// Watches over nodes, and evicts the pods of those that are lost.
#[derive(Debug)]
pub struct NodeLifecycleController {
    context: Context,
    grace: Duration,
    startup_grace: Duration,
}

impl NodeLifecycleController {
    /// Makes the controller. It does nothing until it runs.
    #[must_use]
    pub fn new(context: &Context) -> Self {
        Self {
            context: context.account("node-controller"),
            grace: Duration::from_secs(40),
            startup_grace: Duration::from_secs(60),
        }
    }

    /// Sets after how much silence a node counts as lost (default: 40 s).
    #[must_use]
    pub fn grace_period(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }
}

#[async_trait]
impl Component for NodeLifecycleController {
    fn name(&self) -> String {
        COMPONENT.into()
    }

    async fn run(self: Box<Self>, mut stop: Stop) -> Result<(), BoxError> {
        let informers = &self.context.informers;
        let (nodes, pods) = (informers.of::<Node>(), informers.of::<Pod>());
        let leases =
            informers.selected::<Lease>(Selector::all().fields(format!("metadata.namespace={LEASES}")));
        let queue = WorkQueue::new().measured(&self.context.metrics, COMPONENT);
        let keeper = Arc::new(Keeper {
            recorder: self.context.recorder(COMPONENT),
            on_node: pods.index(|pod| {
                Some(pod.spec.node_name.clone()).into_iter().filter(|n| !n.is_empty()).collect()
            }),
            nodes: nodes.clone(),
            pods: pods.clone(),
            leases: leases.clone(),
            grace: self.grace,
            startup_grace: self.startup_grace,
            state: Mutex::default(),
            context: self.context,
        });
        figures::tell(&keeper.context.metrics, &keeper);
        let _subscriptions = follow(&nodes, &pods, &keeper.on_node, &queue);
        let synced = async { tokio::join!(nodes.synced(), pods.synced(), leases.synced()) };
        if stop.or(synced).await.is_some() {
            work(COMPONENT, &queue, WORKERS, keeper, stop).await;
        }
        Ok(())
    }
}

/// What there is to look at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Node(String),
    Pod(ObjectKey),
}

fn follow(
    nodes: &Informer<Node>,
    pods: &Informer<Pod>,
    on_node: &Index<String, Pod>,
    queue: &WorkQueue<Key>,
) -> [Subscription; 2] {
    let (of_nodes, of_pods, on_node) = (queue.clone(), queue.clone(), on_node.clone());
    [
        nodes.subscribe(move |event| {
            let name = meta::name(&**event.object()).to_owned();
            if let Event::Updated { old, new } = event
                && taints::of(old) != taints::of(new)
            {
                for pod in on_node.get(&name) {
                    of_nodes.add(Key::Pod(ObjectKey::of(&*pod)));
                }
            }
            of_nodes.add(Key::Node(name));
        }),
        pods.subscribe(move |event| {
            let relevant = match event {
                Event::Added(_) => true,
                Event::Updated { old, new } => {
                    old.spec.node_name != new.spec.node_name || old.spec.tolerations != new.spec.tolerations
                }
                Event::Deleted(_) => false,
            };
            if relevant && !event.object().spec.node_name.is_empty() {
                of_pods.add(Key::Pod(ObjectKey::of(&**event.object())));
            }
        }),
    ]
}

struct Keeper {
    context: Context,
    recorder: Recorder,
    nodes: Informer<Node>,
    pods: Informer<Pod>,
    leases: Informer<Lease>,
    on_node: Index<String, Pod>,
    grace: Duration,
    startup_grace: Duration,
    state: Mutex<State>,
}

/// What was found out about nodes.
#[derive(Debug, Default)]
struct State {
    health: BTreeMap<String, Health>,
    zones: Zones,
}

#[async_trait]
impl Reconcile for Keeper {
    type Key = Key;

    fn recorder(&self) -> Option<&Recorder> {
        Some(&self.recorder)
    }

    async fn reconcile(&self, key: &Key) -> Result<Requeue, BoxError> {
        match key {
            Key::Node(name) => self.node(name).await,
            Key::Pod(key) => self.pod(key).await,
        }
    }
}

impl Keeper {
    async fn node(&self, name: &str) -> Result<Requeue, BoxError> {
        let Some(node) = self.nodes.store().get(&ObjectKey::new("", name)) else {
            self.state(|state| {
                state.health.remove(name);
                state.zones.remove(name);
            });
            return Ok(Requeue::No);
        };
        let lease = self.leases.store().get(&ObjectKey::new(LEASES, name));
        let now = Instant::now();
        let (before, silent) = self.state(|state| {
            let health = state.health.entry(name.into()).or_insert_with(|| Health::new(now));
            let before = health.ready;
            health.hear(&node, lease.as_deref(), now);
            (before, health.is_silent(&node, now, self.grace, self.startup_grace))
        });
        let node = if silent { self.mark_unknown(node).await? } else { node };
        let ready = Ready::of(&node);
        let evicts = self.state(|state| {
            if let Some(health) = state.health.get_mut(name) {
                health.ready = Some(ready);
            }
            state.zones.set(name, zones::of(&node), ready);
            state.zones.may_evict(name, taints::evicts(&node), now)
        });
        if before == Some(Ready::True) && ready != Ready::True {
            let message = format!("Node {name} status is now: NodeNotReady");
            self.recorder.event(&*node, EventType::Normal, "NodeNotReady", message);
        }
        if ready == Ready::Unknown || (before == Some(Ready::True) && ready == Ready::False) {
            self.mark_pods(name).await?;
        }
        self.write_taints(&node, ready, evicts).await?;
        Ok(Requeue::After(PERIOD))
    }

    /// Says of a silent node that nobody knows how it is.
    async fn mark_unknown(&self, node: Arc<Node>) -> kube::Result<Arc<Node>> {
        let conditions = health::unknown(&node, self.context.clock.now());
        if conditions.is_empty() {
            return Ok(node);
        }
        let change = Patch::Strategic(json!({"status": {"conditions": conditions}}));
        let nodes: Api<Node> = Api::all(self.context.client.clone());
        nodes.patch_status(meta::name(&*node), &patching(), &change).await.map(Arc::new)
    }

    async fn write_taints(&self, node: &Node, ready: Ready, evicts: bool) -> kube::Result<()> {
        let Some(taints) = taints::wanted(node, ready, evicts, self.context.clock.now()) else {
            return Ok(());
        };
        let change = Patch::Merge(json!({
            "metadata": {"resourceVersion": node.metadata.resource_version},
            "spec": {"taints": taints},
        }));
        let nodes: Api<Node> = Api::all(self.context.client.clone());
        match nodes.patch(meta::name(node), &patching(), &change).await {
            // The informer is behind: what it will show brings the node back here.
            Err(kube::Error::Api(status)) if status.is_conflict() => Ok(()),
            result => tolerate_absence(result),
        }
    }

    fn state<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().expect("no holder panics"))
    }
}

fn tolerate_absence<T>(result: kube::Result<T>) -> kube::Result<()> {
    match result {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => Err(error),
    }
}
