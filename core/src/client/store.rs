use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, RwLock, RwLockReadGuard};

use kube::Resource;

use super::Subscription;

/// Names an object of one kind: its namespace (empty for cluster-scoped kinds) and its name. Ordered by both.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ObjectKey {
    /// The namespace; empty for an object without one.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl ObjectKey {
    /// Makes a key.
    #[must_use]
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// Returns the key of `object`.
    #[must_use]
    pub fn of(object: &impl Resource) -> Self {
        let meta = object.meta();
        Self::new(meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What happened to an object, as its informer saw it.
///
/// An object that was deleted and created again under the same name while nobody looked is told as [`Deleted`], then
/// [`Added`]: an update never changes the uid.
///
/// [`Deleted`]: Event::Deleted
/// [`Added`]: Event::Added
#[derive(Debug)]
pub enum Event<'a, K> {
    /// It appeared, or existed before the handler was added.
    Added(&'a Arc<K>),
    /// It changed.
    Updated {
        /// What was known before.
        old: &'a Arc<K>,
        /// What it is now.
        new: &'a Arc<K>,
    },
    /// It is gone; this is the last known state.
    Deleted(&'a Arc<K>),
}

impl<K> Clone for Event<'_, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for Event<'_, K> {}

impl<'a, K> Event<'a, K> {
    /// Returns the object in its latest known state.
    #[must_use]
    pub fn object(&self) -> &'a Arc<K> {
        match *self {
            Event::Added(object) | Event::Updated { new: object, .. } | Event::Deleted(object) => object,
        }
    }
}

/// The objects that an informer knows, in the order of their keys. Clones show the same objects.
///
/// What is returned is a snapshot: shared, never changed in place.
pub struct Store<K>(Arc<RwLock<BTreeMap<ObjectKey, Arc<K>>>>);

impl<K> Store<K> {
    pub(super) fn new() -> Self {
        Self(Arc::default())
    }

    /// Returns the object at `key`.
    #[must_use]
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<K>> {
        self.read(|objects| objects.get(key).cloned())
    }

    /// Returns all objects.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<K>> {
        self.read(|objects| objects.values().cloned().collect())
    }

    /// Returns the objects of one namespace.
    #[must_use]
    pub fn namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        self.read(|objects| {
            objects
                .range(ObjectKey::new(namespace, "")..)
                .take_while(|(key, _)| key.namespace == namespace)
                .map(|(_, object)| object.clone())
                .collect()
        })
    }

    /// Returns the number of objects.
    #[must_use]
    pub fn len(&self) -> usize {
        self.read(BTreeMap::len)
    }

    /// Returns whether no object is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.read(BTreeMap::is_empty)
    }

    fn read<T>(&self, look: impl FnOnce(&BTreeMap<ObjectKey, Arc<K>>) -> T) -> T {
        look(&self.0.read().expect("no writer panics"))
    }

    pub(super) fn insert(&self, key: ObjectKey, object: Arc<K>) -> Option<Arc<K>> {
        self.0.write().expect("no writer panics").insert(key, object)
    }

    pub(super) fn remove(&self, key: &ObjectKey) -> Option<Arc<K>> {
        self.0.write().expect("no writer panics").remove(key)
    }

    pub(super) fn replace(&self, objects: BTreeMap<ObjectKey, Arc<K>>) -> BTreeMap<ObjectKey, Arc<K>> {
        std::mem::replace(&mut *self.0.write().expect("no writer panics"), objects)
    }
}

impl<K> Clone for Store<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K> fmt::Debug for Store<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.read(|objects| f.debug_set().entries(objects.keys()).finish())
    }
}

/// Objects grouped by a value computed from each (its owner's uid, its node), kept current by an informer.
///
/// Made by [`Informer::index`](super::Informer::index). An object may be found under several values or none.
pub struct Index<I, K>(Arc<Indexed<I, K>>);

struct Indexed<I, K> {
    groups: Groups<I, K>,
    _subscription: Subscription,
}

impl<I: Ord + Clone, K> Index<I, K> {
    pub(super) fn new(subscribe: impl FnOnce(Groups<I, K>) -> Subscription) -> Self {
        let groups = Groups::new();
        Self(Arc::new(Indexed { _subscription: subscribe(groups.clone()), groups }))
    }

    /// Returns the objects found under `value`, in the order of their keys.
    #[must_use]
    pub fn get<Q: Ord + ?Sized>(&self, value: &Q) -> Vec<Arc<K>>
    where
        I: Borrow<Q>,
    {
        let index = self.0.groups.read();
        index.groups.get(value).map(|group| group.values().cloned().collect()).unwrap_or_default()
    }

    /// Returns every value under which there is an object.
    #[must_use]
    pub fn values(&self) -> Vec<I> {
        self.0.groups.read().groups.keys().cloned().collect()
    }
}

impl<I, K> Clone for Index<I, K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<I: fmt::Debug + Ord + Clone, K> fmt::Debug for Index<I, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let index = self.0.groups.read();
        f.debug_map().entries(index.groups.iter().map(|(value, group)| (value, group.len()))).finish()
    }
}

/// What an index and the handler that keeps it current share.
pub(super) struct Groups<I, K>(Arc<RwLock<Places<I, K>>>);

struct Places<I, K> {
    groups: BTreeMap<I, BTreeMap<ObjectKey, Arc<K>>>,
    /// Under which values an object is found: it may leave in another state than the one that was indexed.
    places: BTreeMap<ObjectKey, Vec<I>>,
}

impl<I: Ord + Clone, K> Groups<I, K> {
    fn new() -> Self {
        Self(Arc::new(RwLock::new(Places { groups: BTreeMap::new(), places: BTreeMap::new() })))
    }

    fn read(&self) -> RwLockReadGuard<'_, Places<I, K>> {
        self.0.read().expect("no writer panics")
    }

    pub(super) fn apply(&self, event: Event<'_, K>, values: &impl Fn(&K) -> Vec<I>)
    where
        K: Resource,
    {
        let key = ObjectKey::of(&**event.object());
        let mut index = self.0.write().expect("no writer panics");
        let Places { groups, places } = &mut *index;
        for value in places.remove(&key).unwrap_or_default() {
            if let Some(group) = groups.get_mut(&value) {
                group.remove(&key);
                if group.is_empty() {
                    groups.remove(&value);
                }
            }
        }
        if let Event::Updated { new, .. } | Event::Added(new) = event {
            let values = values(new);
            for value in &values {
                groups.entry(value.clone()).or_default().insert(key.clone(), new.clone());
            }
            if !values.is_empty() {
                places.insert(key, values);
            }
        }
    }
}

impl<I, K> Clone for Groups<I, K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}
