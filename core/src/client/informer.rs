mod feed;

use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::sync::{Arc, Mutex, MutexGuard};

use kube::Resource;
use serde::de::DeserializeOwned;

pub(super) use self::feed::feed;
use super::{Event, Index, ObjectKey, Store};
use crate::latest;

/// What an informer can hold: a type of k8s-openapi, a narrow struct with only the fields that its reader needs (which
/// then implements [`kube::Resource`] like the full type), or a kind known only at run time.
pub trait Watched: Resource + DeserializeOwned + Clone + Debug + Send + Sync + 'static {}

impl<K: Resource + DeserializeOwned + Clone + Debug + Send + Sync + 'static> Watched for K {}

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
    pub(super) fn new() -> Self {
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

    /// Ends the watch; the store keeps what it has.
    pub(super) fn end(&self) {
        self.0.ended.send_replace(true);
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

#[cfg(test)]
mod tests;
