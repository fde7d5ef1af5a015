//! Pods and nodes of the API, digested to what a decision needs.
//!
//! [`pod`] and [`node`] take any form of them: `k8s-openapi`'s types, or JSON. The driver decodes watched objects straight
//! into the digested form, without the full types in between.

mod node;
mod pod;
mod spec;

use std::collections::BTreeMap;

use quarterdeck_core::quantity::Quantity;
use quarterdeck_core::scheduling::{NodeInfo, PodInfo, Resources, Symbol};
use serde::de::{Deserialize, Deserializer, IgnoredAny};
use serde::{Deserialize as FromJson, Serialize};

pub(crate) use node::WatchedNode;
pub(crate) use pod::{Unscheduled, WatchedPod};

/// Digests a pod.
///
/// # Errors
///
/// If `object` does not have the form of a pod, or cannot be serialized.
///
/// # Examples
///
/// ```
/// use k8s_openapi::api::core::v1::Pod;
/// use quarterdeck_scheduler::digest;
///
/// let pod: Pod = serde_json::from_value(serde_json::json!({
///     "metadata": { "namespace": "default", "name": "web" },
///     "spec": { "containers": [{ "name": "web", "resources": { "requests": { "cpu": "250m" } } }] },
/// }))?;
///
/// assert_eq!(digest::pod(&pod)?.requests.cpu, 250);
/// # Ok::<(), serde_json::Error>(())
/// ```
pub fn pod(object: &impl Serialize) -> Result<PodInfo, serde_json::Error> {
    let watched = WatchedPod::deserialize(serde_json::to_value(object)?)?;
    Ok(watched.info.as_ref().clone())
}

/// Digests a node. What it does not declare, it has without limit; but of extended resources, it has none.
///
/// # Errors
///
/// If `object` does not have the form of a node, or cannot be serialized.
pub fn node(object: &impl Serialize) -> Result<NodeInfo, serde_json::Error> {
    let watched = WatchedNode::deserialize(serde_json::to_value(object)?)?;
    Ok(watched.info.as_ref().clone())
}

/// What the metadata of all objects has.
#[derive(FromJson, Default)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    name: String,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    deletion_timestamp: Option<IgnoredAny>,
    #[serde(deserialize_with = "or_default")]
    labels: BTreeMap<Symbol, Symbol>,
    #[serde(deserialize_with = "or_default")]
    owner_references: Vec<OwnerReference>,
}

#[derive(FromJson)]
struct OwnerReference {
    uid: Symbol,
    controller: Option<bool>,
}

impl Metadata {
    /// Returns the part that an informer needs.
    fn slim(&self) -> kube::core::ObjectMeta {
        kube::core::ObjectMeta {
            name: Some(self.name.clone()),
            namespace: self.namespace.clone(),
            uid: self.uid.clone(),
            resource_version: self.resource_version.clone(),
            ..Default::default()
        }
    }
}

/// Amounts of resources by name.
type Amounts = BTreeMap<Symbol, Amount>;

/// An amount; `Unreadable` if it is no quantity. An API server stores no such thing; but if one does, it must not keep
/// everything else from being read.
#[derive(FromJson)]
#[serde(untagged)]
enum Amount {
    Readable(Quantity),
    Unreadable(IgnoredAny),
}

/// Digests amounts; `unreadable` stands for those that are no quantities. Returns the resources and the number of pods.
fn resources(amounts: &Amounts, mut total: Resources, unreadable: i64) -> (Resources, Option<i64>) {
    let mut pods = None;
    for (name, amount) in amounts {
        let units = match amount {
            Amount::Readable(quantity) => quantity.value().max(0),
            Amount::Unreadable(_) => unreadable,
        };
        match name.as_str() {
            "cpu" => {
                total.cpu = match amount {
                    Amount::Readable(quantity) => quantity.milli_value().max(0),
                    Amount::Unreadable(_) => unreadable,
                }
            }
            "memory" => total.memory = units,
            "ephemeral-storage" => total.ephemeral_storage = units,
            "pods" => pods = Some(units),
            _ => total.set_extended(name.clone(), units),
        }
    }
    (total, pods)
}

/// Takes `null` for a value that is not there.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests;
