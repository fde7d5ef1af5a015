//! How a process runtime is set up.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use ipnet::Ipv4Net;
use quarterdeck_core::clock::Clock;

use super::ProcessRuntime;
use crate::runtime::machine;

/// How far pods are kept apart from the host and from each other.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// As far as this process may: namespaces if it is root and the program `ip` is there, none otherwise.
    #[default]
    Auto,
    /// Each pod has a network and a host name, and sees its volumes where they belong. Needs root and the program `ip`.
    Namespaces,
    /// Pods share the host's network and file system.
    None,
}

/// Sets up a [`ProcessRuntime`].
#[derive(Debug, Clone)]
#[must_use]
pub struct ProcessBuilder {
    pub(super) state_dir: PathBuf,
    pub(super) clock: Clock,
    pub(super) isolation: Isolation,
    pub(super) pod_cidr: Ipv4Net,
    pub(super) cluster_cidr: Option<Ipv4Net>,
    pub(super) bridge: String,
    pub(super) max_pods: u64,
    pub(super) max_log: u64,
}

impl ProcessBuilder {
    pub(super) fn new(state_dir: PathBuf) -> Self {
        Self {
            state_dir,
            clock: Clock::system(),
            isolation: Isolation::Auto,
            pod_cidr: Ipv4Net::new(Ipv4Addr::new(10, 244, 0, 0), 24).expect("24 bits are at most 32"),
            cluster_cidr: None,
            bridge: "qd0".to_owned(),
            max_pods: machine::MAX_PODS,
            max_log: 64 << 20,
        }
    }

    /// Reads dates from this clock (default: the system's).
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Keeps pods apart in this way (default: [`Isolation::Auto`]).
    pub fn isolation(mut self, isolation: Isolation) -> Self {
        self.isolation = isolation;
        self
    }

    /// Gives pods addresses of this network (default: 10.244.0.0/24). Each node of a machine needs one of its own.
    pub fn pod_cidr(mut self, network: Ipv4Net) -> Self {
        self.pod_cidr = network;
        self
    }

    /// Says which network has the pods of all nodes (default: the /16 around the pod network). Pods of nodes with the
    /// same bridge reach each other in it.
    pub fn cluster_cidr(mut self, network: Ipv4Net) -> Self {
        self.cluster_cidr = Some(network);
        self
    }

    /// Joins pods by a bridge of this name (default: `qd0`). Several nodes of a machine may share one.
    pub fn bridge(mut self, name: impl Into<String>) -> Self {
        self.bridge = name.into();
        self
    }

    /// Runs at most so many pods (default: 110). The scheduler is told, and keeps to it.
    pub fn max_pods(mut self, pods: u64) -> Self {
        self.max_pods = pods;
        self
    }

    /// Keeps about so many bytes of each container's log (default: 64 MiB); older ones are forgotten.
    pub fn max_log(mut self, bytes: u64) -> Self {
        self.max_log = bytes;
        self
    }

    /// Makes the runtime. Nothing is touched before its first use.
    #[must_use]
    pub fn build(self) -> ProcessRuntime {
        ProcessRuntime::of(self)
    }
}
