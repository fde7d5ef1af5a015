//! What EndpointSlices, or an Endpoints object, say about the backends of a service port.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Endpoints;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use quarterdeck_core::balancing::{Backend, Backends};

use super::ServicePortConfig;
use super::services::{Policy, port_number, protocol};

/// The nodes of this machine. None named means that all are.
pub(super) type Nodes = BTreeSet<String>;

/// A backend, and whether it serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    backend: Backend,
    ready: bool,
    /// It is about to end, and serves until then.
    last_resort: bool,
    node: Option<String>,
}

/// Returns who may serve a service port: as the slices say, or, if the service has none, as its Endpoints object says.
pub(super) fn candidates(
    config: &ServicePortConfig,
    slices: &[Arc<EndpointSlice>],
    endpoints: Option<&Endpoints>,
) -> Vec<Candidate> {
    let all: Vec<_> = match endpoints {
        Some(endpoints) if slices.is_empty() => of_endpoints(config, endpoints),
        _ => slices.iter().flat_map(|slice| of_slice(config, slice)).collect(),
    };
    // A pod with two addresses is one backend, not two: at the service's own family, if there is any.
    let of_family = |v4| all.iter().filter(|it| it.backend.0.is_ipv4() == v4).cloned().collect::<Vec<_>>();
    let is_ipv4 = config.cluster_ips.first().is_none_or(IpAddr::is_ipv4);
    let own = of_family(is_ipv4);
    if own.is_empty() { of_family(!is_ipv4) } else { own }
}

/// Returns those who serve now: who is ready, or if nobody is, who is about to end and serves still.
pub(super) fn serving(candidates: &[Candidate], policy: Policy, nodes: &Nodes) -> Backends {
    let is_here = |candidate: &&Candidate| {
        policy == Policy::Cluster
            || nodes.is_empty()
            || candidate.node.as_ref().is_some_and(|node| nodes.contains(node))
    };
    let those = |serves: fn(&Candidate) -> bool| {
        let serving = candidates.iter().filter(is_here).filter(|candidate| serves(candidate));
        Backends::new(serving.map(|candidate| candidate.backend))
    };
    let ready = those(|candidate| candidate.ready);
    if ready.as_slice().is_empty() { those(|candidate| candidate.last_resort) } else { ready }
}

fn of_slice(config: &ServicePortConfig, slice: &EndpointSlice) -> Vec<Candidate> {
    let ports = slice.ports.iter().flatten().filter(|port| {
        port.name.as_deref().unwrap_or_default() == &*config.name
            && protocol(port.protocol.as_deref()) == Some(config.protocol)
    });
    let numbers: Vec<u16> = ports.filter_map(|port| port_number(port.port?)).collect();
    let candidates = slice.endpoints.iter().flatten().flat_map(|endpoint| {
        numbers.iter().filter_map(|port| of_endpoint(endpoint, *port)).collect::<Vec<_>>()
    });
    candidates.collect()
}

fn of_endpoint(endpoint: &Endpoint, port: u16) -> Option<Candidate> {
    // Further addresses are the same endpoint again.
    let address: IpAddr = endpoint.addresses.first()?.parse().ok()?;
    let conditions = endpoint.conditions.clone().unwrap_or_default();
    let ready = conditions.ready.unwrap_or(true);
    Some(Candidate {
        backend: Backend(SocketAddr::new(address, port)),
        ready,
        last_resort: conditions.serving.unwrap_or(ready) && conditions.terminating.unwrap_or(false),
        node: endpoint.node_name.clone(),
    })
}

fn of_endpoints(config: &ServicePortConfig, endpoints: &Endpoints) -> Vec<Candidate> {
    let mut candidates = Vec::new();
    for subset in endpoints.subsets.iter().flatten() {
        let ports = subset.ports.iter().flatten().filter(|port| {
            port.name.as_deref().unwrap_or_default() == &*config.name
                && protocol(port.protocol.as_deref()) == Some(config.protocol)
        });
        for port in ports.filter_map(|port| port_number(port.port)) {
            candidates.extend(subset.addresses.iter().flatten().filter_map(|address| {
                let backend = Backend(SocketAddr::new(address.ip.parse().ok()?, port));
                let node = address.node_name.clone();
                Some(Candidate { backend, ready: true, last_resort: false, node })
            }));
        }
    }
    candidates
}
