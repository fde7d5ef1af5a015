//! What a scheduler knows of a pod.

use std::net::IpAddr;

use super::{Labels, NodeAffinity, Resources, Symbol, Toleration};
use crate::protocol::Protocol;

/// A pod, digested to what a decision needs.
///
/// Made from an API object by `quarterdeck-scheduler`, once, when the pod arrives; or by hand:
///
/// ```
/// use quarterdeck_core::scheduling::PodInfo;
///
/// let pod = PodInfo::new("default", "web-1").with_cpu(250).with_memory(64 << 20).with_group("replica set 7");
///
/// assert_eq!(pod.key, "default/web-1");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PodInfo {
    /// Namespace and name with a slash between: what the pod goes by in a snapshot.
    pub key: Symbol,
    /// Its uid, which tells it from an earlier pod of the same name.
    pub uid: Symbol,
    /// The scheduler that is to place it (`spec.schedulerName`).
    pub scheduler: Symbol,
    /// The node that it asks for by name, or is on (`spec.nodeName`).
    pub node: Option<Symbol>,
    /// The node that room is being made on for it (`status.nominatedNodeName`).
    pub nominated: Option<Symbol>,
    /// How important it is: higher goes first.
    pub priority: i32,
    /// What it asks for.
    pub requests: Resources,
    /// The ports of its node that it asks for.
    pub host_ports: Vec<HostPort>,
    /// Its labels.
    pub labels: Labels,
    /// Which nodes it may run on, and which it would rather.
    pub affinity: NodeAffinity,
    /// Which taints it does not mind.
    pub tolerations: Vec<Toleration>,
    /// The pods that it should be spread out with share this: those of one controller (its uid), or those without a
    /// controller that have the same namespace and labels, since these are what a service selects together.
    pub group: Option<Symbol>,
    /// Whether it is being deleted. It still takes its room, but its group need not be spread around it.
    pub terminating: bool,
    /// Fields of requirements that the other fields here do not express, and that a scheduler therefore cannot check.
    pub unchecked: Vec<&'static str>,
}

impl PodInfo {
    /// Makes a pod that asks for nothing, for the scheduler `default-scheduler`. Its uid is its key.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        let key = Symbol::from(format!("{namespace}/{name}"));
        Self {
            uid: key.clone(),
            key,
            scheduler: "default-scheduler".into(),
            node: None,
            nominated: None,
            priority: 0,
            requests: Resources::default(),
            host_ports: Vec::new(),
            labels: Labels::default(),
            affinity: NodeAffinity::default(),
            tolerations: Vec::new(),
            group: None,
            terminating: false,
            unchecked: Vec::new(),
        }
    }

    /// Returns the pod's namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.key.as_str().split_once('/').map_or("", |(namespace, _)| namespace)
    }

    /// Returns the pod's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.key.as_str().split_once('/').map_or(self.key.as_str(), |(_, name)| name)
    }

    /// Sets the CPU that it asks for, in thousandths (default: 0).
    #[must_use]
    pub fn with_cpu(mut self, milli: i64) -> Self {
        self.requests.cpu = milli;
        self
    }

    /// Sets the memory that it asks for, in bytes (default: 0).
    #[must_use]
    pub fn with_memory(mut self, bytes: i64) -> Self {
        self.requests.memory = bytes;
        self
    }

    /// Sets how much of an extended resource it asks for (default: 0).
    #[must_use]
    pub fn with_extended(mut self, resource: impl Into<Symbol>, amount: i64) -> Self {
        self.requests.set_extended(resource.into(), amount);
        self
    }

    /// Adds a port of the node that it asks for.
    #[must_use]
    pub fn with_host_port(mut self, port: HostPort) -> Self {
        self.host_ports.push(port);
        self
    }

    /// Sets a label.
    #[must_use]
    pub fn with_label(mut self, key: impl Into<Symbol>, value: impl Into<Symbol>) -> Self {
        self.labels.insert(key.into(), value.into());
        self
    }

    /// Sets a label that its node must have.
    #[must_use]
    pub fn with_node_label(mut self, key: impl Into<Symbol>, value: impl Into<Symbol>) -> Self {
        self.affinity.selector.insert(key.into(), value.into());
        self
    }

    /// Adds a toleration.
    #[must_use]
    pub fn with_toleration(mut self, toleration: Toleration) -> Self {
        self.tolerations.push(toleration);
        self
    }

    /// Sets the group that it should be spread out with (default: none).
    #[must_use]
    pub fn with_group(mut self, group: impl Into<Symbol>) -> Self {
        self.group = Some(group.into());
        self
    }

    /// Sets how important it is (default: 0).
    #[must_use]
    pub fn with_priority(mut self, priority: i32) -> Self {
        self.priority = priority;
        self
    }

    /// Sets the scheduler that is to place it (default: `default-scheduler`).
    #[must_use]
    pub fn with_scheduler(mut self, name: impl Into<Symbol>) -> Self {
        self.scheduler = name.into();
        self
    }
}

/// A port of a node's own addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort {
    /// Its number.
    pub port: u16,
    /// Its protocol.
    pub protocol: Protocol,
    /// The address; `None` for all of the node's.
    pub address: Option<IpAddr>,
}

impl HostPort {
    /// Makes a TCP port on all addresses.
    #[must_use]
    pub fn tcp(port: u16) -> Self {
        Self { port, protocol: Protocol::Tcp, address: None }
    }

    /// Makes a UDP port on all addresses.
    #[must_use]
    pub fn udp(port: u16) -> Self {
        Self { port, protocol: Protocol::Udp, address: None }
    }

    /// Returns whether one node cannot give out both.
    #[must_use]
    pub fn conflicts_with(&self, other: &Self) -> bool {
        self.port == other.port
            && self.protocol == other.protocol
            && (self.address.is_none() || other.address.is_none() || self.address == other.address)
    }
}
