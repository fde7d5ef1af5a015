use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures::StreamExt;
use kube::runtime::watcher;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Event, Index, ObjectKey, Store};
use crate::latest;

/// What an informer can hold: a type of k8s-openapi, a narrow struct with only the fields that its reader needs (which
/// then implements [`kube::Resource`] like the full type), or a kind known only at run time.
pub trait Watched: Resource + DeserializeOwned + Clone + Debug + Send + Sync + 'static {}

impl<K: Resource + DeserializeOwned + Clone + Debug + Send + Sync + 'static> Watched for K {}

/// Which objects of a kind an informer holds. The default is all, of all namespaces.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Selector {
    labels: Option<String>,
    fields: Option<String>,
}

impl Selector {
    /// Selects every object.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Narrows to objects whose labels match, in the syntax of the API's `labelSelector`.
    #[must_use]
    pub fn labels(mut self, selector: impl Into<String>) -> Self {
        self.labels = Some(selector.into());
        self
    }

    /// Narrows to objects whose fields match, in the syntax of the API's `fieldSelector`.
    #[must_use]
    pub fn fields(mut self, selector: impl Into<String>) -> Self {
        self.fields = Some(selector.into());
        self
    }
}

/// The informers of one client: one per type and selector, started on first use. Clones share them.
///
/// Their tasks belong to this value: they end on [`shutdown`](Informers::shutdown), or at once when the last clone is
/// dropped. A handler must therefore not hold a clone (nor a [`Context`](super::Context)); it holds a queue.
#[derive(Clone)]
pub struct Informers(Arc<Inner>);

struct Inner {
    client: Client,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    informers: BTreeMap<(TypeId, String, Selector), Arc<dyn Any + Send + Sync>>,
    tasks: JoinSet<()>,
    closed: bool,
}

impl Informers {
    /// Makes an empty set of informers that read through `client`.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self(Arc::new(Inner { client, state: Mutex::default() }))
    }

    /// Returns the informer of all objects of type `K`.
    ///
    /// # Panics
    ///
    /// Panics outside of a tokio runtime.
    #[must_use]
    pub fn of<K: Watched + Resource<DynamicType = ()>>(&self) -> Informer<K> {
        self.dynamic(&(), Selector::all())
    }

    /// Returns the informer of the objects of type `K` that match `selector`.
    ///
    /// # Panics
    ///
    /// Panics outside of a tokio runtime.
    #[must_use]
    pub fn selected<K: Watched + Resource<DynamicType = ()>>(&self, selector: Selector) -> Informer<K> {
        self.dynamic(&(), selector)
    }

    /// Returns the informer of the objects of a kind that `kind` names at run time.
    ///
    /// Of `kube::core::PartialObjectMeta` the server sends metadata only.
    ///
    /// # Panics
    ///
    /// Panics outside of a tokio runtime.
    #[must_use]
    pub fn dynamic<K: Watched>(&self, kind: &K::DynamicType, selector: Selector) -> Informer<K> {
        let path = K::url_path(kind, None);
        let mut state = self.lock();
        let key = (TypeId::of::<K>(), path.clone(), selector.clone());
        if let Some(known) = state.informers.get(&key) {
            let shared = known.clone().downcast().expect("the key holds the type");
            return Informer(shared);
        }

        let informer = Informer::new();
        state.informers.insert(key, informer.0.clone());
        if !state.closed {
            let api = Api::all_with(self.0.client.clone(), kind);
            state.tasks.spawn(feed(api, selector, informer.clone(), path));
        }
        informer
    }

    /// Ends the informer that [`dynamic`](Informers::dynamic) started for a kind that is served no more.
    ///
    /// Handles that are left keep the objects last seen. Asked for again, the informer starts anew.
    pub fn forget<K: Watched>(&self, kind: &K::DynamicType, selector: Selector) {
        let key = (TypeId::of::<K>(), K::url_path(kind, None), selector);
        let known = self.lock().informers.remove(&key);
        if let Some(shared) = known.and_then(|known| known.downcast::<Shared<K>>().ok()) {
            shared.ended.send_replace(true);
        }
    }

    /// Ends all informers and waits until their tasks are gone. Stores keep what they had; no handler runs any more.
    pub async fn shutdown(&self) {
        let (mut tasks, informers) = {
            let mut state = self.lock();
            state.closed = true;
            (std::mem::take(&mut state.tasks), std::mem::take(&mut state.informers))
        };
        tasks.shutdown().await;
        drop(informers);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("no holder panics")
    }
}

impl Debug for Informers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_list().entries(state.informers.keys().map(|(_, path, selector)| (path, selector))).finish()
    }
}

/// Names a handler of an informer, to remove it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandlerId(u64);

/// A handler that is removed when this is dropped. Made by [`Informer::subscribe`].
pub struct Subscription(Option<Box<dyn FnOnce() + Send + Sync>>);

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(remove) = self.0.take() {
            remove();
        }
    }
}

impl Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Subscription")
    }
}

/// Keeps a [`Store`] equal to what the API server has, and tells handlers about every change. Clones are the same informer.
pub struct Informer<K>(Arc<Shared<K>>);

type Handler<K> = Box<dyn FnMut(Event<'_, K>) + Send>;

struct Shared<K> {
    store: Store<K>,
    handlers: Mutex<Handlers<K>>,
    synced: latest::Sender<bool>,
    ended: latest::Sender<bool>,
}

struct Handlers<K> {
    next: u64,
    list: Vec<(HandlerId, Handler<K>)>,
}

impl<K> Handlers<K> {
    fn tell(&mut self, event: Event<'_, K>) {
        for (_, handler) in &mut self.list {
            handler(event);
        }
    }
}

impl<K: Watched> Informer<K> {
    fn new() -> Self {
        Self(Arc::new(Shared {
            store: Store::new(),
            handlers: Mutex::new(Handlers { next: 0, list: Vec::new() }),
            synced: latest::Sender::new(false),
            ended: latest::Sender::new(false),
        }))
    }

    /// Returns the objects known now.
    #[must_use]
    pub fn store(&self) -> &Store<K> {
        &self.0.store
    }

    /// Calls `handler` for every change, after the store has it; first, here, for every object that exists already.
    ///
    /// Handlers run one after the other, in the order in which they were added, on the informer's task: they put a key into
    /// a queue and return. They may read stores, and must not add handlers to this informer.
    pub fn add_event_handler(&self, mut handler: impl FnMut(Event<'_, K>) + Send + 'static) -> HandlerId {
        let mut handlers = self.handlers();
        for object in self.store().list() {
            handler(Event::Added(&object));
        }
        let id = HandlerId(handlers.next);
        handlers.next += 1;
        handlers.list.push((id, Box::new(handler)));
        id
    }

    /// Removes a handler. It is not called any more after this.
    pub fn remove_event_handler(&self, id: HandlerId) {
        self.handlers().list.retain(|(known, _)| *known != id);
    }

    /// Like [`add_event_handler`](Informer::add_event_handler), for as long as the returned value lives.
    ///
    /// It must not be dropped within a handler of this informer.
    #[must_use = "the handler is removed when this is dropped"]
    pub fn subscribe(&self, handler: impl FnMut(Event<'_, K>) + Send + 'static) -> Subscription {
        let id = self.add_event_handler(handler);
        let shared = Arc::downgrade(&self.0);
        Subscription(Some(Box::new(move || {
            if let Some(shared) = shared.upgrade() {
                Informer(shared).remove_event_handler(id);
            }
        })))
    }

    /// Groups the objects by `values`, from now on and for as long as the index lives.
    ///
    /// Make an index before adding handlers whose work looks into it: then it is never behind what they were told.
    pub fn index<I>(&self, values: impl Fn(&K) -> Vec<I> + Send + 'static) -> Index<I, K>
    where
        I: Ord + Clone + Send + Sync + 'static,
    {
        Index::new(|groups| self.subscribe(move |event| groups.apply(event, &values)))
    }

    /// Waits until the store holds what the server had when first asked, and handlers were told.
    ///
    /// This never ends if the informers were shut down before.
    pub async fn synced(&self) {
        // The sender lives in `self`, so that this cannot fail.
        let _ = self.0.synced.subscribe().wait_for(|synced| *synced).await;
    }

    /// Returns whether [`synced`](Informer::synced) would return at once.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        *self.0.synced.borrow()
    }

    fn handlers(&self) -> MutexGuard<'_, Handlers<K>> {
        self.0.handlers.lock().expect("no handler panics")
    }

    fn put(&self, object: K) {
        let new = Arc::new(object);
        let mut handlers = self.handlers();
        let old = self.store().insert(ObjectKey::of(&*new), new.clone());
        tell_change(&mut handlers, old.as_ref(), &new);
    }

    fn remove(&self, object: K) {
        let mut handlers = self.handlers();
        if self.store().remove(&ObjectKey::of(&object)).is_some() {
            handlers.tell(Event::Deleted(&Arc::new(object)));
        }
    }

    fn replace(&self, objects: Vec<K>) {
        let new: BTreeMap<ObjectKey, Arc<K>> =
            objects.into_iter().map(|object| (ObjectKey::of(&object), Arc::new(object))).collect();
        let mut handlers = self.handlers();
        let mut old = self.store().replace(new.clone());
        for (key, object) in &new {
            let before = old.remove(key);
            if before.as_ref().is_none_or(|before| {
                before.meta().resource_version != object.meta().resource_version
                    || before.meta().uid != object.meta().uid
            }) {
                tell_change(&mut handlers, before.as_ref(), object);
            }
        }
        for vanished in old.values() {
            handlers.tell(Event::Deleted(vanished));
        }
        drop(handlers);
        self.0.synced.send_replace(true);
    }
}

fn tell_change<K: Watched>(handlers: &mut Handlers<K>, old: Option<&Arc<K>>, new: &Arc<K>) {
    match old {
        Some(old) if old.meta().uid == new.meta().uid => handlers.tell(Event::Updated { old, new }),
        Some(old) => {
            handlers.tell(Event::Deleted(old));
            handlers.tell(Event::Added(new));
        }
        None => handlers.tell(Event::Added(new)),
    }
}

impl<K> Clone for Informer<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K> Debug for Informer<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Informer")
            .field("store", &self.0.store)
            .field("synced", &*self.0.synced.borrow())
            .finish_non_exhaustive()
    }
}

/// Lists and watches for as long as the informer lives.
async fn feed<K: Watched>(api: Api<K>, selector: Selector, informer: Informer<K>, path: String) {
    let config = watcher::Config {
        label_selector: selector.labels,
        field_selector: selector.fields,
        ..watcher::Config::default()
    };
    let mut ended = informer.0.ended.subscribe();
    let work = async {
        let mut changes = pin!(watcher(api, config));
        let mut listed = Vec::new();
        let mut health = Health::default();
        while let Some(change) = changes.next().await {
            match change {
                Ok(watcher::Event::Init) => listed = Vec::new(),
                Ok(watcher::Event::InitApply(object)) => listed.push(object),
                Ok(watcher::Event::InitDone) => {
                    informer.replace(std::mem::take(&mut listed));
                    health.works(&path);
                }
                Ok(watcher::Event::Apply(object)) => {
                    informer.put(object);
                    health.works(&path);
                }
                Ok(watcher::Event::Delete(object)) => {
                    informer.remove(object);
                    health.works(&path);
                }
                Err(error) => tokio::time::sleep(health.fails(&path, &error)).await,
            }
        }
    };
    tokio::select! {
        biased;
        _ = ended.wait_for(|ended| *ended) => {}
        () = work => {}
    }
}

/// How long to wait after a failure, and which failures to log.
#[derive(Debug, Default)]
struct Health {
    delay: Duration,
    last: Option<(Instant, String)>,
}

impl Health {
    const FIRST: Duration = Duration::from_secs(1);
    const LONGEST: Duration = Duration::from_secs(30);

    fn works(&mut self, path: &str) {
        self.delay = Duration::ZERO;
        if self.last.take().is_some() {
            tracing::info!(path, "watching again");
        }
    }

    fn fails(&mut self, path: &str, error: &watcher::Error) -> Duration {
        // History that was compacted is no trouble: one list brings it up to date.
        if matches!(error, watcher::Error::WatchError(status) if status.code == 410) && self.last.is_none() {
            return Duration::ZERO;
        }
        let reason = error.to_string();
        let quiet = self.last.as_ref().is_some_and(|(_, last)| *last == reason);
        let stale = self.last.as_ref().is_some_and(|(at, _)| at.elapsed() > Self::LONGEST * 2);
        if !quiet {
            tracing::warn!(path, reason, "cannot watch, trying again");
        }
        self.last = Some((Instant::now(), reason));
        self.delay = if stale { Self::FIRST } else { (self.delay * 2).clamp(Self::FIRST, Self::LONGEST) };
        self.delay
    }
}

#[cfg(test)]
mod tests;
