//! A node's ports, checked where a pod is assigned: of two pods that ask for the same one, only one gets the node,
//! however many schedulers there are.

use quarterdeck_core::storage::Key;
use serde_json::Value;

use crate::cache::World;
use crate::resource::Resource;

/// A port of a node that a pod asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostPort {
    /// The node's port.
    pub(crate) port: i64,
    /// TCP, UDP or SCTP.
    pub(crate) protocol: String,
    /// The one address of the node; empty for all of them.
    address: String,
}

impl HostPort {
    fn conflicts_with(&self, other: &Self) -> bool {
        self.port == other.port
            && self.protocol == other.protocol
            && (self.address == other.address || self.address.is_empty() || other.address.is_empty())
    }
}

/// Returns the key that every assignment of a pod with host ports to this node writes, so that no two of them are
/// decided on the same state.
pub(crate) fn guard(node: &str) -> Key {
    Key::new(format!("/registry/ranges/hostports/{node}"))
}

/// Returns the ports of its node that a pod asks for.
pub(crate) fn of(pod: &Value) -> Vec<HostPort> {
    let list = |name: &str| pod["spec"][name].as_array().into_iter().flatten();
    // Other init containers are over before a container's port could be in their way.
    let sidecars = list("initContainers").filter(|init| init["restartPolicy"] == "Always");
    let ports =
        list("containers").chain(sidecars).filter_map(|container| container["ports"].as_array()).flatten();
    ports
        .filter_map(|port| {
            let number = port["hostPort"].as_i64().filter(|number| *number > 0)?;
            let address = port["hostIP"].as_str().unwrap_or_default();
            Some(HostPort {
                port: number,
                protocol: port["protocol"].as_str().unwrap_or("TCP").to_owned(),
                address: if matches!(address, "0.0.0.0" | "::") { String::new() } else { address.to_owned() },
            })
        })
        .collect()
}

/// Returns the first of a pod's ports that another pod on the node has, with that pod's namespace and name.
pub(crate) fn taken(pod: &Value, node: &str, pods: &Resource, world: &World) -> Option<(HostPort, String)> {
    let wanted = of(pod);
    let uid = pod["metadata"]["uid"].as_str().unwrap_or_default();
    for (_, other) in world.range(&pods.key_prefix(None), None) {
        let header = &other.header;
        let is_over = matches!(header.field("status.phase"), "Succeeded" | "Failed");
        if header.field("spec.nodeName") != node || is_over || &*header.uid == uid {
            continue;
        }
        let theirs = of(&other.value());
        if let Some(port) = wanted.iter().find(|port| theirs.iter().any(|other| other.conflicts_with(port))) {
            return Some((port.clone(), format!("{}/{}", header.namespace, header.name)));
        }
    }
    None
}
