//! The network of a node's pods: one for each node of a cluster, and none that another cluster of this machine has.

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;

use ipnet::Ipv4Net;

use crate::error::{Failure, Result};

/// The networks `10.N.0.0/14` that clusters take their nodes' networks from, in this order.
const BASES: [u8; 12] = [244, 240, 236, 232, 228, 224, 220, 216, 212, 208, 204, 200];

/// Returns the network of a node in a cluster that is alone.
pub(crate) fn of_node(node: &str) -> Result<Ipv4Net> {
    network(BASES[0], node)
}

/// Returns the network that a node has on this machine: the one that it had before, or the first that no other cluster
/// uses. It is remembered below `data`.
pub(crate) fn claim(node: &str, data: &Path) -> Result<Ipv4Net> {
    let file = data.join(node).join("pod-network");
    if let Some(known) = fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok()) {
        return Ok(known);
    }
    for base in BASES {
        let candidate = network(base, node)?;
        if !is_used(candidate) {
            let written =
                fs::create_dir_all(data.join(node)).and_then(|()| fs::write(&file, candidate.to_string()));
            written.map_err(|error| Failure::because(&format!("cannot write {}", file.display()), &error))?;
            return Ok(candidate);
        }
    }
    Err(Failure::new("every network for pods is used by another cluster of this machine: stop one of them"))
}

/// Whether this machine has the address at which such a network reaches it.
fn is_used(network: Ipv4Net) -> bool {
    let gateway = Ipv4Addr::from_bits(network.network().to_bits() + 1);
    UdpSocket::bind((gateway, 0)).is_ok()
}

/// Returns the network of the node `NAME-N`: the Nth of those of a cluster.
fn network(base: u8, node: &str) -> Result<Ipv4Net> {
    let number = node.rsplit('-').next().and_then(|number| number.parse().ok()).unwrap_or(1_u16);
    let [high, low] = number.to_be_bytes();
    let address = Ipv4Addr::new(10, base + (high & 0b11), low, 0);
    Ipv4Net::new(address, 24).map_err(|error| Failure::because("no network for pods", &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_node_has_a_network_of_its_own() {
        let network = |node| of_node(node).unwrap().to_string();

        assert_eq!(network("node-1"), "10.244.1.0/24");
        assert_eq!(network("node-300"), "10.245.44.0/24");
        assert_eq!(network("lonely"), "10.244.1.0/24");
    }

    #[test]
    fn a_node_keeps_its_network_whoever_has_it_meanwhile() {
        let data = tempfile::tempdir().unwrap();

        let first = claim("node-2", data.path()).unwrap();

        assert_eq!(claim("node-2", data.path()).unwrap(), first);
        fs::write(data.path().join("node-2/pod-network"), "10.200.2.0/24").unwrap();
        assert_eq!(claim("node-2", data.path()).unwrap().to_string(), "10.200.2.0/24");
    }
}
