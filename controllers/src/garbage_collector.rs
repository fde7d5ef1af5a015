//! Garbage collection: what an object owns goes after it, before it, or stays without it, as its deletion asked.
//!
//! The collector follows the metadata of every kind that can be listed, watched and deleted, keeps a [`graph`] of who owns
//! whom, and works on the objects for which something is to be done ([`collector`]).

mod collector;
mod graph;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use kube::Resource;
use kube::api::{DynamicObject, PartialObjectMeta};
use quarterdeck_core::client::{Context, Event, Informer, Selector, Subscription, WorkQueue, work};
use quarterdeck_core::component::{BoxError, Component, Stop};
use tokio::sync::Notify;

use self::collector::Collector;
use self::graph::Graph;
use crate::discovery::{Discovered, Kind, discover};
use crate::meta;

const COMPONENT: &str = "garbage-collector-controller";

/// How many objects are worked on at once.
const WORKERS: usize = 10;

/// How often it is looked for new kinds if nobody defines any.
const DISCOVERY: Duration = Duration::from_secs(30);

/// How long after a definition changed it is looked for new kinds: they are served in a moment, and often there are more.
const DEFINITION: Duration = Duration::from_secs(1);

/// How long the first look may take until work begins without the kinds that did not answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Metadata of objects of any kind.
type Object = PartialObjectMeta<DynamicObject>;

/// Collects what is owned by objects that are gone or go.
#[derive(Debug)]
pub struct GarbageCollector(Context);

impl GarbageCollector {
    /// Makes the controller. It does nothing until it runs.
    #[must_use]
    pub fn new(context: &Context) -> Self {
        Self(context.account("generic-garbage-collector"))
    }
}

#[async_trait]
impl Component for GarbageCollector {
    fn name(&self) -> String {
        COMPONENT.into()
    }

    async fn run(self: Box<Self>, mut stop: Stop) -> Result<(), BoxError> {
        let queue = WorkQueue::new().measured(&self.0.metrics, COMPONENT);
        let shared = Arc::new(Shared { graph: Mutex::new(Graph::default()), kinds: RwLock::default() });
        let mut monitors = Monitors {
            context: self.0.clone(),
            shared: shared.clone(),
            queue: queue.clone(),
            known: BTreeMap::new(),
            defined: Arc::default(),
        };
        if stop.or(monitors.begin()).await.is_none() {
            return Ok(());
        }
        let collector = Arc::new(Collector::new(self.0, shared, queue.clone(), COMPONENT));
        let mut discovery_stop = stop.clone();
        let discovery = discovery_stop.or(monitors.keep_up());
        tokio::join!(work(COMPONENT, &queue, WORKERS, collector, stop), discovery);
        Ok(())
    }
}

/// What monitors learn and the collector works with.
struct Shared {
    graph: Mutex<Graph>,
    kinds: RwLock<Vec<Arc<Kind>>>,
}

impl Shared {
    fn graph<T>(&self, work: impl FnOnce(&mut Graph) -> T) -> T {
        work(&mut self.graph.lock().expect("no holder panics"))
    }

    /// Returns the kind of that group and name, in the version that is followed.
    fn kind(&self, api_version: &str, kind: &str) -> Option<Arc<Kind>> {
        let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
        let kinds = self.kinds.read().expect("no holder panics");
        kinds.iter().find(|known| known.resource.group == group && known.resource.kind == kind).cloned()
    }
}

/// The informers of all kinds.
struct Monitors {
    context: Context,
    shared: Arc<Shared>,
    queue: WorkQueue<String>,
    known: BTreeMap<String, Monitor>,
    /// Tells of definitions of kinds that change.
    defined: Arc<Notify>,
}

struct Monitor {
    kind: Arc<Kind>,
    informer: Informer<Object>,
    _subscription: Subscription,
}

impl Monitors {
    /// Finds the kinds, and waits until what there is of them is known.
    async fn begin(&mut self) {
        let mut pause = Duration::from_secs(1);
        while let Err(error) = self.look().await {
            tracing::warn!(%error, "cannot find out which kinds there are, trying again");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(DISCOVERY);
        }
        let synced = join_all(self.known.values().map(|monitor| monitor.informer.synced()));
        if tokio::time::timeout(PATIENCE, synced).await.is_err() {
            let late: Vec<_> = self
                .known
                .iter()
                .filter(|(_, monitor)| !monitor.informer.is_synced())
                .map(|(path, _)| path)
                .collect();
            tracing::warn!(?late, "collecting without kinds that cannot be listed");
        }
    }

    /// Looks for kinds that come and go, for ever.
    async fn keep_up(&mut self) {
        loop {
            tokio::select! {
                biased;
                () = self.defined.notified() => tokio::time::sleep(DEFINITION).await,
                () = tokio::time::sleep(DISCOVERY) => {}
            }
            if let Err(error) = self.look().await {
                tracing::debug!(%error, "cannot find out which kinds there are");
            }
        }
    }

    async fn look(&mut self) -> kube::Result<()> {
        let discovered = discover(&self.context.client).await?;
        let kinds: Vec<_> =
            discovered.kinds.iter().filter(|kind| is_collected(kind)).cloned().map(Arc::new).collect();
        self.end_others(&discovered, &kinds);
        for kind in &kinds {
            let path = Object::url_path(&kind.resource, None);
            if !self.known.contains_key(&path) {
                self.known.insert(path, self.monitor(kind));
            }
        }
        // Owners may be of kinds that are not followed; they are asked for by name.
        let all = discovered.kinds.into_iter().map(Arc::new).collect();
        *self.shared.kinds.write().expect("no holder panics") = all;
        Ok(())
    }

    /// Ends the monitors of kinds that are served no more, unless the list may lack some.
    fn end_others(&mut self, discovered: &Discovered, kinds: &[Arc<Kind>]) {
        if !discovered.failures.is_empty() {
            return;
        }
        let served: Vec<_> = kinds.iter().map(|kind| Object::url_path(&kind.resource, None)).collect();
        let gone: Vec<_> = self.known.keys().filter(|path| !served.contains(path)).cloned().collect();
        for path in gone {
            if let Some(monitor) = self.known.remove(&path) {
                self.context.informers.forget::<Object>(&monitor.kind.resource, Selector::all());
                for object in monitor.informer.store().list() {
                    self.shared.graph(|graph| graph.remove(meta::uid(&*object)));
                }
            }
        }
    }

    fn monitor(&self, kind: &Arc<Kind>) -> Monitor {
        let informer: Informer<Object> = self.context.informers.dynamic(&kind.resource, Selector::all());
        let (shared, queue, of) = (Arc::downgrade(&self.shared), self.queue.clone(), kind.clone());
        let defined = (kind.resource.kind == "CustomResourceDefinition").then(|| self.defined.clone());
        let subscription = informer.subscribe(move |event| {
            let Some(shared) = shared.upgrade() else { return };
            if let Some(defined) = &defined {
                defined.notify_one();
            }
            let concerned = shared.graph(|graph| match event {
                Event::Added(object) | Event::Updated { new: object, .. } => {
                    graph.observe(&of, &object.metadata)
                }
                Event::Deleted(object) => graph.remove(meta::uid(&**object)),
            });
            for uid in concerned {
                queue.add(uid);
            }
        });
        Monitor { kind: kind.clone(), informer, _subscription: subscription }
    }
}

/// Events are many, own nothing and expire.
fn is_collected(kind: &Kind) -> bool {
    kind.resource.kind != "Event" && ["delete", "list", "watch"].iter().all(|verb| kind.has(verb))
}
