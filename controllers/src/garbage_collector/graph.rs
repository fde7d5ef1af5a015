//! Who owns whom. No I/O.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::ObjectMeta;
use quarterdeck_core::client::ObjectKey;

use crate::discovery::Kind;

/// Holds an object until those that block its deletion are gone.
pub(super) const FOREGROUND: &str = "foregroundDeletion";

/// Holds an object until those that it owns have forgotten it.
pub(super) const ORPHAN: &str = "orphan";

/// An object, as far as collection goes.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) kind: Arc<Kind>,
    pub(super) key: ObjectKey,
    pub(super) owners: Vec<OwnerReference>,
    pub(super) deleting: bool,
    foreground: bool,
    orphan: bool,
}

impl Node {
    fn new(kind: &Arc<Kind>, meta: &ObjectMeta) -> Self {
        let has = |name: &str| meta.finalizers.iter().flatten().any(|finalizer| finalizer == name);
        Self {
            kind: kind.clone(),
            key: ObjectKey::new(
                meta.namespace.clone().unwrap_or_default(),
                meta.name.clone().unwrap_or_default(),
            ),
            owners: meta.owner_references.clone().unwrap_or_default(),
            deleting: meta.deletion_timestamp.is_some(),
            foreground: has(FOREGROUND),
            orphan: has(ORPHAN),
        }
    }

    /// Whether it goes when those that block it are gone.
    pub(super) fn waits_for_deletion(&self) -> bool {
        self.deleting && self.foreground
    }

    /// Whether it goes when those that it owns have forgotten it.
    pub(super) fn waits_for_orphaning(&self) -> bool {
        self.deleting && self.orphan
    }

    pub(super) fn has_foreground(&self) -> bool {
        self.foreground
    }

    pub(super) fn has_orphan(&self) -> bool {
        self.orphan
    }

    /// Whether it cannot own `other`, being in another namespace.
    pub(super) fn is_foreign_to(&self, other: &Node) -> bool {
        self.kind.namespaced && self.key.namespace != other.key.namespace
    }

    /// Whether the owner with this uid has to wait for it.
    pub(super) fn blocks(&self, owner: &str) -> bool {
        self.owners
            .iter()
            .any(|reference| reference.uid == owner && reference.block_owner_deletion == Some(true))
    }
}

/// All objects by uid, and what they own.
#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: BTreeMap<String, Node>,
    dependents: BTreeMap<String, BTreeSet<String>>,
    gone: Gone,
}

impl Graph {
    pub(super) fn get(&self, uid: &str) -> Option<&Node> {
        self.nodes.get(uid)
    }

    /// Returns the uids and nodes of what `owner` owns.
    pub(super) fn dependents(&self, owner: &str) -> Vec<(String, Node)> {
        let uids = self.dependents.get(owner).into_iter().flatten();
        uids.filter_map(|uid| Some((uid.clone(), self.nodes.get(uid)?.clone()))).collect()
    }

    /// Whether it is known for sure that no object has this uid any more.
    pub(super) fn is_gone(&self, uid: &str) -> bool {
        self.gone.has(uid)
    }

    /// Notes that no object has this uid any more.
    pub(super) fn note_gone(&mut self, uid: &str) {
        self.gone.add(uid);
    }

    /// Takes over the state of an object, and returns the uids of those for which something may be to do.
    pub(super) fn observe(&mut self, kind: &Arc<Kind>, meta: &ObjectMeta) -> Vec<String> {
        let Some(uid) = meta.uid.clone() else { return Vec::new() };
        let new = Node::new(kind, meta);
        let old = self.nodes.insert(uid.clone(), new.clone());
        let mut concerned = Vec::new();

        let owners_changed = old.as_ref().is_none_or(|old| old.owners != new.owners);
        if owners_changed {
            for owner in old.iter().flat_map(|old| &old.owners) {
                self.detach(&owner.uid, &uid);
                if self.get(&owner.uid).is_some_and(Node::waits_for_deletion) && !new.blocks(&owner.uid) {
                    concerned.push(owner.uid.clone());
                }
            }
            for owner in &new.owners {
                self.dependents.entry(owner.uid.clone()).or_default().insert(uid.clone());
            }
        }
        let begins_to_wait = |waits: fn(&Node) -> bool| waits(&new) && !old.as_ref().is_some_and(waits);
        let doubtful = |owner: &OwnerReference| {
            let owner = self.get(&owner.uid);
            owner.is_none_or(|owner| owner.waits_for_deletion() || owner.is_foreign_to(&new))
        };
        if begins_to_wait(Node::waits_for_deletion)
            || begins_to_wait(Node::waits_for_orphaning)
            || (owners_changed && !new.deleting && new.owners.iter().any(doubtful))
        {
            concerned.push(uid);
        }
        concerned
    }

    /// Forgets an object that is gone, and returns the uids of those for which something may be to do.
    pub(super) fn remove(&mut self, uid: &str) -> Vec<String> {
        let Some(node) = self.nodes.remove(uid) else { return Vec::new() };
        self.gone.add(uid);
        let mut concerned: Vec<_> = self.dependents.get(uid).into_iter().flatten().cloned().collect();
        for owner in &node.owners {
            self.detach(&owner.uid, uid);
            if self.get(&owner.uid).is_some_and(Node::waits_for_deletion) {
                concerned.push(owner.uid.clone());
            }
        }
        concerned
    }

    fn detach(&mut self, owner: &str, dependent: &str) {
        if let Some(dependents) = self.dependents.get_mut(owner) {
            dependents.remove(dependent);
            if dependents.is_empty() {
                self.dependents.remove(owner);
            }
        }
    }
}

/// The last uids that are gone for sure: a uid never comes back, so nobody need ask for them again.
#[derive(Debug, Default)]
struct Gone {
    uids: BTreeSet<String>,
    order: VecDeque<String>,
}

impl Gone {
    const REMEMBERED: usize = 2000;

    fn has(&self, uid: &str) -> bool {
        self.uids.contains(uid)
    }

    fn add(&mut self, uid: &str) {
        if self.uids.insert(uid.into()) {
            self.order.push_back(uid.into());
        }
        if self.order.len() > Self::REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.uids.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::api::ApiResource;
    use serde_json::{Value, from_value, json};

    use super::*;

    fn kind() -> Arc<Kind> {
        let resource = ApiResource::erase::<k8s_openapi::api::core::v1::ConfigMap>(&());
        Arc::new(Kind::new(resource, true, ["delete", "list", "watch"]))
    }

    fn object(uid: &str, owners: &[(&str, bool)], more: Value) -> ObjectMeta {
        let owners: Vec<_> = owners
            .iter()
            .map(|(uid, blocks)| json!({"apiVersion": "v1", "kind": "ConfigMap", "name": uid, "uid": uid, "blockOwnerDeletion": blocks}))
            .collect();
        let mut meta = json!({"name": uid, "namespace": "ns", "uid": uid, "ownerReferences": owners});
        for (field, value) in more.as_object().unwrap() {
            meta[field] = value.clone();
        }
        from_value(meta).unwrap()
    }

    fn waiting() -> Value {
        json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [FOREGROUND]})
    }

    #[test]
    fn an_object_is_looked_at_if_its_owner_is_not_known() {
        let mut graph = Graph::default();

        assert!(graph.observe(&kind(), &object("owner", &[], json!({}))).is_empty());
        assert!(graph.observe(&kind(), &object("a", &[("owner", false)], json!({}))).is_empty());
        assert_eq!(graph.observe(&kind(), &object("b", &[("nobody", false)], json!({}))), ["b"]);
    }

    #[test]
    fn what_an_object_owned_is_looked_at_when_it_is_gone() {
        let mut graph = Graph::default();
        graph.observe(&kind(), &object("owner", &[], json!({})));
        graph.observe(&kind(), &object("a", &[("owner", false)], json!({})));

        assert_eq!(graph.remove("owner"), ["a"]);
        assert!(graph.is_gone("owner"));
    }

    #[test]
    fn an_owner_that_waits_is_looked_at_when_a_dependent_goes_or_lets_it_go() {
        let mut graph = Graph::default();
        graph.observe(&kind(), &object("owner", &[], json!({})));
        graph.observe(&kind(), &object("a", &[("owner", true)], json!({})));
        graph.observe(&kind(), &object("b", &[("owner", true)], json!({})));
        assert_eq!(graph.observe(&kind(), &object("owner", &[], waiting())), ["owner"]);
        assert!(graph.observe(&kind(), &object("owner", &[], waiting())).is_empty());

        assert_eq!(graph.remove("a"), ["owner"]);
        assert_eq!(graph.observe(&kind(), &object("b", &[], json!({}))), ["owner"]);
        assert!(graph.dependents("owner").is_empty());
    }

    #[test]
    fn only_so_many_gone_uids_are_remembered() {
        let mut gone = Gone::default();
        for index in 0..=Gone::REMEMBERED {
            gone.add(&index.to_string());
        }

        assert!(!gone.has("0") && gone.has("1"));
    }
}
