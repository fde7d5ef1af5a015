use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use kube::{Api, Client, Resource};
use tokio::task::JoinSet;

use super::informer::{Informer, Watched, feed};
use crate::health::Checked;

/// Which objects of a kind an informer holds. The default is all, of all namespaces.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Selector {
    pub(super) labels: Option<String>,
    pub(super) fields: Option<String>,
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
    informers: BTreeMap<(TypeId, String, Selector), Known>,
    tasks: JoinSet<()>,
    closed: bool,
}

/// An informer of some type.
struct Known {
    informer: Box<dyn Any + Send + Sync>,
    is_synced: Box<dyn Fn() -> bool + Send + Sync>,
}

impl Known {
    fn new<K: Watched>(informer: Informer<K>) -> Self {
        let own = informer.clone();
        Self { informer: Box::new(informer), is_synced: Box::new(move || own.is_synced()) }
    }
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
            return known.informer.downcast_ref::<Informer<K>>().expect("the key holds the type").clone();
        }

        let informer = Informer::new();
        state.informers.insert(key, Known::new(informer.clone()));
        if !state.closed {
            let api = Api::all_with(self.0.client.clone(), kind);
            let guarded = Api::all_with(self.0.client.clone(), kind);
            state.tasks.spawn(feed(api, guarded, selector, informer.clone(), path));
        }
        informer
    }

    /// Ends the informer that [`dynamic`](Informers::dynamic) started for a kind that is served no more.
    ///
    /// Handles that are left keep the objects last seen. Asked for again, the informer starts anew.
    pub fn forget<K: Watched>(&self, kind: &K::DynamicType, selector: Selector) {
        let key = (TypeId::of::<K>(), K::url_path(kind, None), selector);
        let known = self.lock().informers.remove(&key);
        if let Some(informer) = known.and_then(|known| known.informer.downcast::<Informer<K>>().ok()) {
            informer.end();
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

    /// Returns a check that says which informers have not heard from the server yet. It does not keep them.
    pub(super) fn checked(&self) -> impl Fn() -> Checked + Send + Sync + use<> {
        let inner: Weak<Inner> = Arc::downgrade(&self.0);
        move || {
            let Some(inner) = inner.upgrade() else { return Ok(()) };
            let state = Self(inner);
            let state = state.lock();
            let missing = state.informers.iter().filter(|(_, known)| !(known.is_synced)());
            let missing: Vec<&str> = missing.map(|((_, path, _), _)| path.as_str()).collect();
            if missing.is_empty() { Ok(()) } else { Err(format!("not read yet: {}", missing.join(", "))) }
        }
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
