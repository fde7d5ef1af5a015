//! Nodes.

use std::borrow::Cow;
use std::sync::Arc;

use k8s_openapi::ClusterResourceScope;
use kube::core::ObjectMeta;
use quarterdeck_core::scheduling::{NodeInfo, Resources, Symbol, Taint, TaintEffect};
use serde::Deserialize;

use super::{Amounts, Metadata, or_default, resources};

/// A node as the driver watches it.
#[derive(Debug, Clone, Deserialize)]
#[serde(from = "Node")]
pub(crate) struct WatchedNode {
    metadata: ObjectMeta,
    pub(crate) info: Arc<NodeInfo>,
}

#[derive(Deserialize)]
struct Node {
    metadata: Metadata,
    #[serde(default, deserialize_with = "or_default")]
    spec: Spec,
    #[serde(default, deserialize_with = "or_default")]
    status: Status,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Spec {
    #[serde(deserialize_with = "or_default")]
    unschedulable: bool,
    #[serde(deserialize_with = "or_default")]
    taints: Vec<SpecTaint>,
}

#[derive(Deserialize)]
struct SpecTaint {
    key: Symbol,
    #[serde(default)]
    value: Option<Symbol>,
    effect: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Status {
    #[serde(deserialize_with = "or_default")]
    capacity: Amounts,
    #[serde(deserialize_with = "or_default")]
    allocatable: Amounts,
}

impl From<Node> for WatchedNode {
    fn from(node: Node) -> Self {
        let metadata = node.metadata.slim();
        let mut info = NodeInfo::new(node.metadata.name);
        let amounts =
            if node.status.allocatable.is_empty() { node.status.capacity } else { node.status.allocatable };
        let (allocatable, pods) = resources(&amounts, info.allocatable, 0);
        info.allocatable = allocatable;
        info.pods = pods.unwrap_or(Resources::UNLIMITED);
        info.labels = node.metadata.labels.into_iter().collect();
        info.unschedulable = node.spec.unschedulable;
        info.taints = node.spec.taints.into_iter().filter_map(taint).collect();
        Self { metadata, info: Arc::new(info) }
    }
}

fn taint(taint: SpecTaint) -> Option<Taint> {
    let effect = effect(&taint.effect)?;
    Some(Taint { key: taint.key, value: taint.value.unwrap_or_else(|| "".into()), effect })
}

/// Returns the effect of this name, if there is one.
pub(super) fn effect(name: &str) -> Option<TaintEffect> {
    match name {
        "NoSchedule" => Some(TaintEffect::NoSchedule),
        "PreferNoSchedule" => Some(TaintEffect::PreferNoSchedule),
        "NoExecute" => Some(TaintEffect::NoExecute),
        _ => None,
    }
}

impl kube::Resource for WatchedNode {
    type DynamicType = ();
    type Scope = ClusterResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Node".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "nodes".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
