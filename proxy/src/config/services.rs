//! What a Service object says about each of its ports, apart from backends.

use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use quarterdeck_core::runtime::Protocol;

use super::ServicePortConfig;

/// The label of services that another proxy takes care of.
const OTHER_PROXY: &str = "service.kubernetes.io/service-proxy-name";

/// For how long a client keeps its backend if the service does not say.
const AFFINITY: u64 = 10_800;

/// Which backends connections may go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Policy {
    /// All.
    Cluster,
    /// Those of this machine.
    Local,
}

impl Policy {
    fn of(text: Option<&str>) -> Self {
        if text == Some("Local") { Self::Local } else { Self::Cluster }
    }
}

/// A service port without its backends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) config: ServicePortConfig,
    /// For connections to cluster addresses.
    pub(super) internal: Policy,
    /// For connections to external addresses and node ports.
    pub(super) external: Policy,
}

/// Returns the ports of a service that are to be proxied: none of a service without an address, of one that is only a name
/// for something outside, or of one that another proxy takes care of.
pub(super) fn wanted(service: &Service) -> Vec<Wanted> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let labels = service.metadata.labels.as_ref();
    let kind = spec.type_.as_deref().unwrap_or("ClusterIP");
    let cluster_ips = cluster_ips(spec);
    if kind == "ExternalName"
        || cluster_ips.is_empty()
        || labels.is_some_and(|labels| labels.contains_key(OTHER_PROXY))
    {
        return Vec::new();
    }
    let has_node_ports = matches!(kind, "NodePort" | "LoadBalancer");
    let external_ips = external_ips(service, spec);
    let ports = spec.ports.iter().flatten().filter_map(|port| {
        let protocol = protocol(port.protocol.as_deref())?;
        let config = ServicePortConfig {
            name: port.name.as_deref().unwrap_or_default().into(),
            cluster_ips: cluster_ips.clone(),
            external_ips: external_ips.clone(),
            node_port: port.node_port.filter(|_| has_node_ports).and_then(port_number),
            affinity: affinity(spec),
            ..ServicePortConfig::new(protocol, port_number(port.port)?)
        };
        Some(Wanted {
            config,
            internal: Policy::of(spec.internal_traffic_policy.as_deref()),
            external: Policy::of(spec.external_traffic_policy.as_deref()),
        })
    });
    ports.collect()
}

/// Returns a protocol that is proxied.
pub(super) fn protocol(text: Option<&str>) -> Option<Protocol> {
    let protocol = text.map_or(Ok(Protocol::Tcp), str::parse).ok();
    protocol.filter(|protocol| *protocol != Protocol::Sctp)
}

/// Returns a port that exists.
pub(super) fn port_number(port: i32) -> Option<u16> {
    u16::try_from(port).ok().filter(|port| *port != 0)
}

fn cluster_ips(spec: &ServiceSpec) -> Vec<IpAddr> {
    let all = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in all.filter_map(|text| text.parse().ok()) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}

/// Returns the external addresses, and those of a load balancer that leaves the forwarding to us. The latter not if only some
/// clients may use them, which cannot be told here.
fn external_ips(service: &Service, spec: &ServiceSpec) -> Vec<IpAddr> {
    let restricted = spec.load_balancer_source_ranges.as_ref().is_some_and(|ranges| !ranges.is_empty());
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = status.and_then(|balancer| balancer.ingress.as_ref()).into_iter().flatten();
    let balanced = ingress
        .filter(|point| !restricted && point.ip_mode.as_deref() != Some("Proxy"))
        .filter_map(|point| point.ip.as_ref());
    spec.external_ips.iter().flatten().chain(balanced).filter_map(|text| text.parse().ok()).collect()
}

fn affinity(spec: &ServiceSpec) -> Option<Duration> {
    if spec.session_affinity.as_deref() != Some("ClientIP") {
        return None;
    }
    let config = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
    let seconds =
        config.and_then(|client| client.timeout_seconds).and_then(|seconds| seconds.try_into().ok());
    Some(Duration::from_secs(seconds.unwrap_or(AFFINITY)))
}
