//! A node with what is on it.

use std::sync::Arc;

use super::super::{HostPort, NodeInfo, PodInfo, Resources, Symbol};
#[cfg(doc)]
use super::Snapshot;

/// Names a node within one [`Snapshot`]. It stays the same as long as the node is there; after that it may name another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub(super) u32);

impl NodeId {
    /// Returns the id as an index, below [`Snapshot::id_bound`]: for tables with a row per node.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What is left of a node. Negative where more is in use than there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Free {
    /// CPU, in thousandths.
    pub cpu: i64,
    /// Memory, in bytes.
    pub memory: i64,
    /// Local disk, in bytes.
    pub ephemeral_storage: i64,
    /// Pods.
    pub pods: i64,
}

/// A node of a snapshot, the pods that are on it, and their sums.
///
/// It holds itself what every decision reads of every node, and the rest elsewhere: so a pass over thousands of nodes
/// stays in the processor's cache.
#[derive(Debug, Clone)]
pub struct Node {
    free: Free,
    capacity: (i64, i64),
    estimated: (i64, i64),
    rest: Box<Rest>,
    id: NodeId,
    open: bool,
}

#[derive(Debug, Clone)]
struct Rest {
    info: Arc<NodeInfo>,
    requested: Resources,
    pods: Vec<Arc<PodInfo>>,
    host_ports: Vec<HostPort>,
}

impl Node {
    /// What a pod that asks for no CPU is assumed to use, in thousandths, where loads are compared.
    pub const ASSUMED_CPU: i64 = 100;
    /// What a pod that asks for no memory is assumed to use, in bytes, where loads are compared.
    pub const ASSUMED_MEMORY: i64 = 200 << 20;

    pub(super) fn new(id: NodeId, info: Arc<NodeInfo>) -> Self {
        let rest = Rest { info, requested: Resources::default(), pods: Vec::new(), host_ports: Vec::new() };
        let mut node = Self {
            free: Free { cpu: 0, memory: 0, ephemeral_storage: 0, pods: 0 },
            capacity: (0, 0),
            estimated: (0, 0),
            rest: Box::new(rest),
            id,
            open: true,
        };
        node.settle();
        node
    }

    /// Returns its id.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// Returns its name.
    #[must_use]
    pub fn name(&self) -> &Symbol {
        &self.rest.info.name
    }

    /// Returns what it says of itself.
    #[must_use]
    pub fn info(&self) -> &NodeInfo {
        &self.rest.info
    }

    /// Returns whether it keeps nobody away: it is neither cordoned nor has taints.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Returns what it has of CPU (in thousandths) and of memory (in bytes), as [`info`](Self::info) says, only quicker.
    #[must_use]
    pub fn capacity(&self) -> (i64, i64) {
        self.capacity
    }

    /// Returns its pods, ordered by key: those that run or are about to, and those on their way out.
    #[must_use]
    pub fn pods(&self) -> &[Arc<PodInfo>] {
        &self.rest.pods
    }

    /// Returns the sum of what its pods ask for.
    #[must_use]
    pub fn requested(&self) -> &Resources {
        &self.rest.requested
    }

    /// Returns what is left of it.
    #[must_use]
    pub fn free(&self) -> &Free {
        &self.free
    }

    /// Returns how much of an extended resource is left.
    #[must_use]
    pub fn free_extended(&self, resource: &Symbol) -> i64 {
        left(self.rest.info.allocatable.extended(resource), self.rest.requested.extended(resource))
    }

    /// Returns what its pods are estimated to use of CPU (in thousandths) and memory (in bytes): what they ask for, and
    /// [`ASSUMED_CPU`](Self::ASSUMED_CPU) and [`ASSUMED_MEMORY`](Self::ASSUMED_MEMORY) for those that ask for none.
    #[must_use]
    pub fn estimated_use(&self) -> (i64, i64) {
        self.estimated
    }

    /// Returns what one pod is estimated to use, in the same way.
    #[must_use]
    pub fn estimate(pod: &PodInfo) -> (i64, i64) {
        let or = |asked, assumed| if asked == 0 { assumed } else { asked };
        (or(pod.requests.cpu, Self::ASSUMED_CPU), or(pod.requests.memory, Self::ASSUMED_MEMORY))
    }

    /// Returns the host ports that are taken, in order.
    #[must_use]
    pub fn host_ports(&self) -> &[HostPort] {
        &self.rest.host_ports
    }

    pub(super) fn add(&mut self, pod: Arc<PodInfo>) {
        let at = self.rest.pods.partition_point(|known| known.key < pod.key);
        self.count(&pod);
        self.rest.pods.insert(at, pod);
        self.settle();
    }

    pub(super) fn remove(&mut self, key: &Symbol) {
        let Ok(at) = self.rest.pods.binary_search_by(|pod| pod.key.cmp(key)) else { return };
        let pod = self.rest.pods.remove(at);
        let (cpu, memory) = self.estimated;
        let exact = self.rest.requested.subtract(&pod.requests) && cpu < i64::MAX && memory < i64::MAX;
        if exact && pod.host_ports.is_empty() {
            let (cpu, memory) = Self::estimate(&pod);
            self.estimated = (self.estimated.0 - cpu, self.estimated.1 - memory);
        } else {
            self.rest.requested = Resources::default();
            self.estimated = (0, 0);
            self.rest.host_ports.clear();
            for pod in std::mem::take(&mut self.rest.pods) {
                self.count(&pod);
                self.rest.pods.push(pod);
            }
        }
        self.settle();
    }

    fn count(&mut self, pod: &PodInfo) {
        let (cpu, memory) = Self::estimate(pod);
        self.estimated = (self.estimated.0.saturating_add(cpu), self.estimated.1.saturating_add(memory));
        self.rest.requested.add(&pod.requests);
        if !pod.host_ports.is_empty() {
            self.rest.host_ports.extend_from_slice(&pod.host_ports);
            self.rest.host_ports.sort_unstable();
        }
    }

    /// Takes over what the node now says of itself.
    pub(super) fn update(&mut self, info: Arc<NodeInfo>) {
        self.rest.info = info;
        self.settle();
    }

    /// Brings what is left into line with what there is and what is taken.
    fn settle(&mut self) {
        self.open = !self.rest.info.unschedulable && self.rest.info.taints.is_empty();
        let (has, taken) = (&self.rest.info.allocatable, &self.rest.requested);
        self.capacity = (has.cpu, has.memory);
        let pods = i64::try_from(self.rest.pods.len()).unwrap_or(i64::MAX);
        self.free = Free {
            cpu: left(has.cpu, taken.cpu),
            memory: left(has.memory, taken.memory),
            ephemeral_storage: left(has.ephemeral_storage, taken.ephemeral_storage),
            pods: left(self.rest.info.pods, pods),
        };
    }
}

fn left(has: i64, taken: i64) -> i64 {
    if has == Resources::UNLIMITED { has } else { has.saturating_sub(taken) }
}
