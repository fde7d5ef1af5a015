use std::borrow::Cow;

use quarterdeck_core::scheduling::{Node, PodInfo};

use super::Filter;

/// Two pods that ask for the same port and protocol of a node, on one address or on all, do not share it.
#[derive(Debug, Clone, Copy, Default)]
pub struct HostPorts;

impl Filter for HostPorts {
    fn name(&self) -> &'static str {
        "NodePorts"
    }

    fn concerns(&self, pod: &PodInfo) -> bool {
        !pod.host_ports.is_empty()
    }

    fn admits(&self, pod: &PodInfo, node: &Node) -> bool {
        let taken = node.host_ports();
        !pod.host_ports.iter().any(|port| taken.iter().any(|taken| taken.conflicts_with(port)))
    }

    fn reasons(&self, _pod: &PodInfo, _node: &Node) -> Vec<Cow<'static, str>> {
        vec!["node(s) didn't have free ports for the requested pod ports".into()]
    }
}

#[cfg(test)]
mod tests {
    use quarterdeck_core::scheduling::{HostPort, NodeInfo, Protocol, Snapshot};

    use super::*;

    fn fits(taken: HostPort, asked: HostPort) -> bool {
        let cluster = Snapshot::builder()
            .node(NodeInfo::new("a"))
            .pod("a", PodInfo::new("default", "first").with_host_port(taken))
            .build();
        let pod = PodInfo::new("default", "second").with_host_port(asked);
        HostPorts.admits(&pod, cluster.named("a").unwrap())
    }

    fn on(address: &str, port: HostPort) -> HostPort {
        HostPort { address: Some(address.parse().unwrap()), ..port }
    }

    #[test]
    fn a_port_is_given_out_once_per_protocol() {
        assert!(!fits(HostPort::tcp(80), HostPort::tcp(80)));
        assert!(fits(HostPort::tcp(80), HostPort::tcp(81)));
        assert!(fits(HostPort::tcp(80), HostPort::udp(80)));
        assert!(fits(HostPort::udp(80), HostPort { protocol: Protocol::Sctp, ..HostPort::udp(80) }));
    }

    #[test]
    fn all_addresses_include_each() {
        assert!(!fits(HostPort::tcp(80), on("127.0.0.1", HostPort::tcp(80))));
        assert!(!fits(on("127.0.0.1", HostPort::tcp(80)), HostPort::tcp(80)));
        assert!(!fits(on("127.0.0.1", HostPort::tcp(80)), on("127.0.0.1", HostPort::tcp(80))));
        assert!(fits(on("127.0.0.1", HostPort::tcp(80)), on("127.0.0.2", HostPort::tcp(80))));
    }
}
