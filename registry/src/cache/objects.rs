//! The objects of a world: an ordered, persistent map, which knows without a look whether there are any of the kinds that every write
//! has to ask for.

use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdMap;
use quarterdeck_core::storage::Key;

use crate::object::Object;

/// What the keys of those kinds begin with. Most clusters have none of them, and to find that out in a large map takes longer than
/// most of what else is done for a write.
const COUNTED: [&str; 4] = [
    "/registry/mutatingwebhookconfigurations/",
    "/registry/resourcequotas/",
    "/registry/validatingadmissionpolicybindings/",
    "/registry/validatingwebhookconfigurations/",
];

/// See the module.
#[derive(Debug, Default, Clone)]
pub(super) struct Objects {
    map: OrdMap<Key, Arc<Object>>,
    /// How many there are of each of the counted kinds.
    counts: [usize; COUNTED.len()],
}

impl Objects {
    pub(super) fn get(&self, key: &str) -> Option<&Arc<Object>> {
        self.map.get(key)
    }

    /// Puts an object at a key, and returns the one that was there.
    pub(super) fn insert(&mut self, key: Key, object: Arc<Object>) -> Option<Arc<Object>> {
        let counted = counted(key.as_str());
        let previous = self.map.insert(key, object);
        if let Some(kind) = counted.filter(|_| previous.is_none()) {
            self.counts[kind] += 1;
        }
        previous
    }

    /// Removes the object at a key, and returns it.
    pub(super) fn remove(&mut self, key: &Key) -> Option<Arc<Object>> {
        let removed = self.map.remove(key)?;
        if let Some(kind) = counted(key.as_str()) {
            self.counts[kind] -= 1;
        }
        Some(removed)
    }

    /// Returns the objects from a key on, in the order of their keys.
    pub(super) fn from<'a>(
        &'a self,
        start: Bound<&str>,
    ) -> impl Iterator<Item = (&'a Key, &'a Arc<Object>)> + use<'a> {
        self.map.range::<_, str>((start, Bound::Unbounded))
    }

    /// Returns all objects in the order of their keys.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Key, &Arc<Object>)> {
        self.map.iter()
    }

    /// Returns whether there is an object whose key begins with `prefix`.
    pub(super) fn has(&self, prefix: &str) -> bool {
        if let Some(kind) = counted(prefix)
            && (self.counts[kind] == 0 || prefix == COUNTED[kind])
        {
            return self.counts[kind] > 0;
        }
        let first = self.from(Bound::Included(prefix)).next();
        first.is_some_and(|(key, _)| key.as_str().starts_with(prefix))
    }
}

impl FromIterator<(Key, Arc<Object>)> for Objects {
    fn from_iter<I: IntoIterator<Item = (Key, Arc<Object>)>>(objects: I) -> Self {
        let mut all = Self::default();
        for (key, object) in objects {
            all.insert(key, object);
        }
        all
    }
}

/// Returns which of the counted kinds a key, or the beginning of one, is of.
fn counted(key: &str) -> Option<usize> {
    COUNTED.iter().position(|prefix| key.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use quarterdeck_core::storage::Revision;

    use super::*;
    use crate::resources;

    fn object(key: &Key) -> Arc<Object> {
        let pods = resources::builtin().into_iter().find(|kind| &*kind.plural == "pods").unwrap();
        let text = Bytes::from_static(br#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a"}}"#);
        Arc::new(Object::load(&pods, key, text, Revision(1)).unwrap())
    }

    #[test]
    fn whether_there_are_objects_is_what_a_look_would_find() {
        let mut objects = Objects::default();
        let keys = [
            "/registry/resourcequotas/one/a",
            "/registry/resourcequotas/one/b",
            "/registry/resourcequotas/two/a",
            "/registry/validatingwebhookconfigurations/a",
            "/registry/configmaps/one/a",
        ]
        .map(Key::from);
        let prefixes = COUNTED.into_iter().chain([
            "/registry/resourcequotas/one/",
            "/registry/resourcequotas/two/",
            "/registry/resourcequotas/three/",
            "/registry/configmaps/",
            "/registry/",
        ]);
        let check = |objects: &Objects| {
            for prefix in prefixes.clone() {
                let found = objects.iter().any(|(key, _)| key.as_str().starts_with(prefix));
                assert_eq!(objects.has(prefix), found, "{prefix} in {objects:?}");
            }
            let again: Objects = objects.iter().map(|(key, object)| (key.clone(), object.clone())).collect();
            assert_eq!(again.counts, objects.counts);
        };

        check(&objects);
        for key in keys.iter().chain(&keys) {
            objects.insert(key.clone(), object(key));
            check(&objects);
        }
        for key in keys.iter().chain(&keys) {
            objects.remove(key);
            check(&objects);
        }
        assert_eq!(objects.iter().count(), 0);
    }
}
