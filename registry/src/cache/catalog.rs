//! The kinds of a world: what is served, and how what is stored belongs to it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use quarterdeck_core::storage::Key;

use serde_json::Value;

use super::Log;
use crate::custom::definition::Definition;
use crate::custom::lifecycle::PREFIX;
use crate::registry::Resources;
use crate::resource::{Backing, Resource};

/// The kinds that a server knows at one moment. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Catalog {
    /// What is served.
    pub resources: Arc<Resources>,
    /// What is served whatever the store holds.
    fixed: Arc<Resources>,
    /// What else is served, by the keys of the definitions.
    defined: Arc<BTreeMap<Key, Definition>>,
    /// By key prefix. The versions of a kind share one.
    stored: Arc<BTreeMap<String, StoredKind>>,
}

/// What stands behind a key prefix.
#[derive(Debug, Clone)]
pub(super) struct StoredKind {
    /// One of the versions; they all say the same about what is stored.
    pub resource: Arc<Resource>,
    pub log: Arc<Log>,
}

impl Catalog {
    /// Makes the catalog of these kinds.
    pub(super) fn new(resources: Resources) -> Self {
        let fixed = Arc::new(resources);
        Self::of(&fixed, Arc::default(), &Self::default())
    }

    /// Returns whether a key is that of a definition of kinds.
    pub(super) fn defines(&self, key: &Key) -> bool {
        key.as_str().starts_with(PREFIX) && self.stored.contains_key(PREFIX)
    }

    /// Returns the catalog with no definitions.
    pub(super) fn without_definitions(&self) -> Self {
        Self::of(&self.fixed, Arc::default(), self)
    }

    /// Returns the catalog after a definition changed, and the prefixes of keys that have to be read again: their objects are
    /// other than before, or there are none any more. Absent if nothing follows from the change.
    pub(super) fn redefined(
        &self,
        key: &Key,
        definition: Option<&Value>,
    ) -> Option<(Self, BTreeSet<String>)> {
        let before = self.defined.get(key);
        let new = match (before, definition) {
            (Some(before), Some(definition)) if before.is_of(definition) => return None,
            (_, definition) => definition.and_then(Definition::new),
        };
        if before.is_none() && new.is_none() {
            return None;
        }
        let keeps = matches!((before, &new), (Some(before), Some(new)) if before.stores_as(new));
        let both = before.iter().copied().chain(&new);
        let prefixes = both.filter(|_| !keeps).filter_map(|definition| definition.stored.as_ref());
        let prefixes = prefixes.map(|resource| resource.prefix.to_string()).collect();
        let mut defined = BTreeMap::clone(&self.defined);
        match new {
            Some(new) => defined.insert(key.clone(), new),
            None => defined.remove(key),
        };
        Some((Self::of(&self.fixed, Arc::new(defined), self), prefixes))
    }

    /// Kinds of the catalog before keep their logs.
    fn of(fixed: &Arc<Resources>, defined: Arc<BTreeMap<Key, Definition>>, before: &Self) -> Self {
        let resources = match defined.is_empty() {
            true => fixed.clone(),
            false => Arc::new(fixed.with(defined.values().flat_map(|definition| &definition.resources))),
        };
        let mut stored: BTreeMap<String, StoredKind> = BTreeMap::new();
        let served = resources.all().iter().filter(|resource| resource.backing == Backing::Store);
        // What lies in the store is known even if no version of its kind is served.
        for resource in served.chain(defined.values().filter_map(|definition| definition.stored.as_ref())) {
            let prefix = resource.prefix.to_string();
            let log = || before.stored.get(&prefix).map(|kind| kind.log.clone()).unwrap_or_default();
            stored
                .entry(prefix.clone())
                .or_insert_with(|| StoredKind { resource: resource.clone(), log: log() });
        }
        Self { resources, fixed: fixed.clone(), defined, stored: Arc::new(stored) }
    }

    /// Returns the kind that a key belongs to.
    pub(super) fn kind_of(&self, key: &Key) -> Option<&StoredKind> {
        let text = key.as_str();
        let (prefix, kind) =
            self.stored.range::<str, _>((Bound::Unbounded, Bound::Included(text))).next_back()?;
        text.starts_with(prefix.as_str()).then_some(kind)
    }

    /// Returns the kind that a definition makes, in the version that is stored; absent if it makes none, or the kind is
    /// served whatever the store holds.
    pub(super) fn defined(&self, key: &str) -> Option<&Arc<Resource>> {
        let resource = self.defined.get(key)?.stored.as_ref()?;
        let is_resource = |one: &Arc<Resource>| one.group == resource.group && one.plural == resource.plural;
        (!self.fixed.all().iter().any(is_resource)).then_some(resource)
    }

    /// Returns the log behind a prefix.
    pub(super) fn log(&self, prefix: &str) -> Option<&Arc<Log>> {
        self.stored.get(prefix).map(|kind| &kind.log)
    }

    /// Returns all logs.
    pub(super) fn logs(&self) -> impl Iterator<Item = &Arc<Log>> {
        self.stored.values().map(|kind| &kind.log)
    }
}
