//! The kinds of a world: what is served, and how what is stored belongs to it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use quarterdeck_core::storage::Key;

use super::Log;
use crate::registry::Resources;
use crate::resource::{Backing, Resource};

/// The kinds that a server knows at one moment. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Catalog {
    /// What is served.
    pub resources: Arc<Resources>,
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
    /// Makes the catalog of these kinds. Kinds of the catalog before keep their logs.
    pub(super) fn new(resources: Resources, before: &Self) -> Self {
        let mut stored: BTreeMap<String, StoredKind> = BTreeMap::new();
        for resource in resources.all().iter().filter(|resource| resource.backing == Backing::Store) {
            let prefix = resource.prefix.to_string();
            let log = || before.stored.get(&prefix).map(|kind| kind.log.clone()).unwrap_or_default();
            stored
                .entry(prefix.clone())
                .or_insert_with(|| StoredKind { resource: resource.clone(), log: log() });
        }
        Self { resources: Arc::new(resources), stored: Arc::new(stored) }
    }

    /// Returns the kind that a key belongs to.
    pub(super) fn kind_of(&self, key: &Key) -> Option<&StoredKind> {
        let text = key.as_str();
        let (prefix, kind) =
            self.stored.range::<str, _>((Bound::Unbounded, Bound::Included(text))).next_back()?;
        text.starts_with(prefix.as_str()).then_some(kind)
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
