//! The core group.
//!
//! It has no `componentstatuses`: they tell of the health of schedulers, controller managers and stores. The server reaches
//! only the store, and `/readyz` tells of that.

use quarterdeck_core::storage::Key;
use serde_json::Value;

use super::host_ports;
use super::namespace::NamespaceStrategy;
use super::pod::PodStrategy;
use super::secret::SecretStrategy;
use super::service::ServiceStrategy;
use crate::request::Verb;
use crate::resource::{Backing, Resource, Scope, Subresource};
use crate::strategy::{CreateOnUpdate, Strategy, StrategyContext};

use Scope::{Cluster, Namespaced};
use Subresource::{Binding, Eviction, Finalize, Log, Scale, Status, Token};

/// What can be done with namespaces: everything, but only one at a time.
const WITHOUT_COLLECTIONS: [Verb; 7] =
    [Verb::Create, Verb::Delete, Verb::Get, Verb::List, Verb::Patch, Verb::Update, Verb::Watch];

fn kind(kind: &'static str, plural: &'static str, scope: Scope) -> Resource {
    Resource::builtin("", "v1", kind, plural, scope)
}

pub(super) fn resources() -> Vec<Resource> {
    vec![
        kind("Binding", "bindings", Namespaced).verbs(&[Verb::Create]).backing(Backing::Binding),
        kind("ConfigMap", "configmaps", Namespaced).short_names(&["cm"]),
        kind("Endpoints", "endpoints", Namespaced)
            .short_names(&["ep"])
            .prefix("/registry/services/endpoints/")
            .strategy(CreateOnUpdate),
        kind("LimitRange", "limitranges", Namespaced).short_names(&["limits"]).strategy(CreateOnUpdate),
        kind("Namespace", "namespaces", Cluster)
            .short_names(&["ns"])
            .verbs(&WITHOUT_COLLECTIONS)
            .subresources(&[Finalize, Status])
            .strategy(NamespaceStrategy),
        kind("Node", "nodes", Cluster)
            .short_names(&["no"])
            .prefix("/registry/minions/")
            .subresources(&[Status])
            .status_at_creation()
            .strategy(NodeStrategy),
        kind("Pod", "pods", Namespaced)
            .short_names(&["po"])
            .categories(&["all"])
            .subresources(&[Binding, Eviction, Log, Status])
            .strategy(PodStrategy),
        kind("PodTemplate", "podtemplates", Namespaced).counts_generations().answers_with_deleted(),
        kind("ReplicationController", "replicationcontrollers", Namespaced)
            .short_names(&["rc"])
            .categories(&["all"])
            .prefix("/registry/controllers/")
            .subresources(&[Scale, Status])
            .counts_generations()
            .strategy(OrphansByDefault),
        kind("ResourceQuota", "resourcequotas", Namespaced)
            .short_names(&["quota"])
            .subresources(&[Status])
            .answers_with_deleted(),
        kind("Secret", "secrets", Namespaced).strategy(SecretStrategy),
        kind("Service", "services", Namespaced)
            .short_names(&["svc"])
            .categories(&["all"])
            .prefix("/registry/services/specs/")
            .subresources(&[Status])
            .strategy(ServiceStrategy),
        kind("ServiceAccount", "serviceaccounts", Namespaced)
            .short_names(&["sa"])
            .subresources(&[Token])
            .answers_with_deleted()
            .strategy(AccountStrategy),
    ]
}

/// Of the secrets that an account refers to, nothing is kept but the names: they are in its namespace.
#[derive(Debug)]
struct AccountStrategy;

impl Strategy for AccountStrategy {
    fn prepare_for_create(&self, account: &mut Value, _context: &StrategyContext<'_>) {
        keep_names(account);
    }

    fn prepare_for_update(&self, account: &mut Value, _old: &Value, _context: &StrategyContext<'_>) {
        keep_names(account);
    }
}

fn keep_names(account: &mut Value) {
    let references = account
        .get_mut("secrets")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut);
    references.for_each(|reference| reference.retain(|field, _| field == "name"));
}

/// A deletion that says nothing of pods leaves them.
#[derive(Debug)]
struct OrphansByDefault;

impl Strategy for OrphansByDefault {
    fn orphans_by_default(&self) -> bool {
        true
    }
}

/// What else is stored of a node goes with it.
#[derive(Debug)]
struct NodeStrategy;

impl Strategy for NodeStrategy {
    fn release(&self, node: &Value) -> Vec<Key> {
        vec![host_ports::guard(node["metadata"]["name"].as_str().unwrap_or_default())]
    }
}
