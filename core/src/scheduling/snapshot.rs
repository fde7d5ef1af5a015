//! A cluster as a scheduler sees it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{HostPort, NodeInfo, PodInfo, Resources, Symbol};

/// Names a node within one [`Snapshot`]. It stays the same as long as the node is there; after that it may name another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u32);

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
#[derive(Debug, Clone)]
pub struct Node {
    free: Free,
    id: NodeId,
    info: Arc<NodeInfo>,
    requested: Resources,
    estimated: (i64, i64),
    pods: Vec<Arc<PodInfo>>,
    host_ports: Vec<HostPort>,
}

impl Node {
    /// What a pod that asks for no CPU is assumed to use, in thousandths, where loads are compared.
    pub const ASSUMED_CPU: i64 = 100;
    /// What a pod that asks for no memory is assumed to use, in bytes, where loads are compared.
    pub const ASSUMED_MEMORY: i64 = 200 << 20;

    fn new(id: NodeId, info: Arc<NodeInfo>) -> Self {
        let mut node = Self {
            free: Free { cpu: 0, memory: 0, ephemeral_storage: 0, pods: 0 },
            id,
            info,
            requested: Resources::default(),
            estimated: (0, 0),
            pods: Vec::new(),
            host_ports: Vec::new(),
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
        &self.info.name
    }

    /// Returns what it says of itself.
    #[must_use]
    pub fn info(&self) -> &NodeInfo {
        &self.info
    }

    /// Returns its pods, ordered by key: those that run or are about to, and those on their way out.
    #[must_use]
    pub fn pods(&self) -> &[Arc<PodInfo>] {
        &self.pods
    }

    /// Returns the sum of what its pods ask for.
    #[must_use]
    pub fn requested(&self) -> &Resources {
        &self.requested
    }

    /// Returns what is left of it.
    #[must_use]
    pub fn free(&self) -> &Free {
        &self.free
    }

    /// Returns how much of an extended resource is left.
    #[must_use]
    pub fn free_extended(&self, resource: &Symbol) -> i64 {
        left(self.info.allocatable.extended(resource), self.requested.extended(resource))
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
        &self.host_ports
    }

    fn add(&mut self, pod: Arc<PodInfo>) {
        let at = self.pods.partition_point(|known| known.key < pod.key);
        self.count(&pod);
        self.pods.insert(at, pod);
        self.settle();
    }

    fn remove(&mut self, key: &Symbol) {
        let Ok(at) = self.pods.binary_search_by(|pod| pod.key.cmp(key)) else { return };
        let pod = self.pods.remove(at);
        let (cpu, memory) = self.estimated;
        let exact = self.requested.subtract(&pod.requests) && cpu < i64::MAX && memory < i64::MAX;
        if exact && pod.host_ports.is_empty() {
            let (cpu, memory) = Self::estimate(&pod);
            self.estimated = (self.estimated.0 - cpu, self.estimated.1 - memory);
        } else {
            self.requested = Resources::default();
            self.estimated = (0, 0);
            self.host_ports.clear();
            for pod in std::mem::take(&mut self.pods) {
                self.count(&pod);
                self.pods.push(pod);
            }
        }
        self.settle();
    }

    fn count(&mut self, pod: &PodInfo) {
        let (cpu, memory) = Self::estimate(pod);
        self.estimated = (self.estimated.0.saturating_add(cpu), self.estimated.1.saturating_add(memory));
        self.requested.add(&pod.requests);
        if !pod.host_ports.is_empty() {
            self.host_ports.extend_from_slice(&pod.host_ports);
            self.host_ports.sort_unstable();
        }
    }

    /// Brings what is left into line with what there is and what is taken.
    fn settle(&mut self) {
        let (has, taken) = (&self.info.allocatable, &self.requested);
        let pods = i64::try_from(self.pods.len()).unwrap_or(i64::MAX);
        self.free = Free {
            cpu: left(has.cpu, taken.cpu),
            memory: left(has.memory, taken.memory),
            ephemeral_storage: left(has.ephemeral_storage, taken.ephemeral_storage),
            pods: left(self.info.pods, pods),
        };
    }
}

fn left(has: i64, taken: i64) -> i64 {
    if has == Resources::UNLIMITED { has } else { has.saturating_sub(taken) }
}

/// The nodes of a cluster, in name order, with the pods on each.
///
/// A scheduler reads it. Whoever keeps it (the driver, a simulation) changes it in place: each change costs about as much
/// as the change is large, whatever the size of the cluster. A clone is independent: for asking "what if".
///
/// Equal nodes and pods make equal snapshots for every reader, whatever the order in which they came, but for the values of
/// [`NodeId`]s.
///
/// # Examples
///
/// ```
/// use quarterdeck_core::scheduling::{NodeInfo, PodInfo, Snapshot};
///
/// let cluster = Snapshot::builder()
///     .node(NodeInfo::new("b").with_cpu(1_000))
///     .node(NodeInfo::new("a").with_cpu(4_000))
///     .pod("a", PodInfo::new("default", "web-1").with_cpu(500))
///     .build();
///
/// let free: Vec<_> = cluster.nodes().map(|node| (node.name().as_str(), node.free().cpu)).collect();
/// assert_eq!(free, [("a", 3_500), ("b", 1_000)]);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    slots: Vec<Option<Node>>,
    /// Slots in use, by the names of their nodes.
    order: Vec<u32>,
    vacant: Vec<u32>,
    pods: BTreeMap<Symbol, Placed>,
    /// Keys of pods on nodes that are not there, by the node's name.
    stray: BTreeMap<Symbol, Vec<Symbol>>,
    /// How many pods of a group each slot's node has.
    groups: BTreeMap<Symbol, BTreeMap<u32, u32>>,
}

#[derive(Debug, Clone)]
struct Placed {
    pod: Arc<PodInfo>,
    node: Symbol,
}

impl Snapshot {
    /// Makes a cluster without nodes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Builds a cluster by hand.
    #[must_use]
    pub fn builder() -> SnapshotBuilder {
        SnapshotBuilder::default()
    }

    /// Yields the nodes in name order.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = &Node> + Clone {
        self.order
            .iter()
            .map(|slot| self.slots[*slot as usize].as_ref().expect("`order` lists slots that are in use"))
    }

    /// Returns how many nodes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Returns whether there are no nodes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Returns a number above the index of every [`NodeId`] here.
    #[must_use]
    pub fn id_bound(&self) -> usize {
        self.slots.len()
    }

    /// Returns the node with this id, if there is one.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.slots.get(id.index())?.as_ref()
    }

    /// Returns the node of this name, if there is one.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Node> {
        let at = self.position(name).ok()?;
        self.node(NodeId(self.order[at]))
    }

    /// Returns the pod with this key (`namespace/name`) and the name of the node that it is on, if it is on one.
    #[must_use]
    pub fn pod(&self, key: &str) -> Option<(&Arc<PodInfo>, &Symbol)> {
        self.pods.get(key).map(|placed| (&placed.pod, &placed.node))
    }

    /// Yields the nodes that have pods of a group, terminating ones aside, and how many; in no meaningful order.
    pub fn group(&self, group: &Symbol) -> impl Iterator<Item = (NodeId, u32)> {
        self.groups.get(group).into_iter().flatten().map(|(slot, count)| (NodeId(*slot), *count))
    }

    /// Adds a node, or replaces what is known of it; its pods stay.
    pub fn set_node(&mut self, info: NodeInfo) -> NodeId {
        match self.position(info.name.as_str()) {
            Ok(at) => {
                let slot = self.order[at];
                let node = self.slots[slot as usize].as_mut().expect("`order` lists slots that are in use");
                node.info = Arc::new(info);
                node.settle();
                NodeId(slot)
            }
            Err(at) => {
                let slot = self.vacant.pop().unwrap_or_else(|| {
                    self.slots.push(None);
                    u32::try_from(self.slots.len() - 1).expect("there are fewer than 2^32 nodes")
                });
                self.order.insert(at, slot);
                let strays = self.stray.remove(&info.name).unwrap_or_default();
                self.slots[slot as usize] = Some(Node::new(NodeId(slot), Arc::new(info)));
                for key in strays {
                    self.attach(&key);
                }
                NodeId(slot)
            }
        }
    }

    /// Removes a node. Its pods are remembered, should it come back, until they are removed themselves.
    pub fn remove_node(&mut self, name: &str) {
        let Ok(at) = self.position(name) else { return };
        let slot = self.order.remove(at);
        let node = self.slots[slot as usize].take().expect("`order` lists slots that are in use");
        self.vacant.push(slot);
        for pod in node.pods {
            self.ungroup(&pod, slot);
            self.stray.entry(node.info.name.clone()).or_default().push(pod.key.clone());
        }
    }

    /// Puts a pod on a node, known or not, and takes it from where it was before.
    pub fn place(&mut self, pod: impl Into<Arc<PodInfo>>, node: impl Into<Symbol>) {
        let pod = pod.into();
        let key = pod.key.clone();
        self.remove_pod(key.as_str());
        self.pods.insert(key.clone(), Placed { pod, node: node.into() });
        self.attach(&key);
    }

    /// Removes the pod with this key (`namespace/name`). Returns it, if it was there.
    pub fn remove_pod(&mut self, key: &str) -> Option<Arc<PodInfo>> {
        let Placed { pod, node } = self.pods.remove(key)?;
        if let Ok(at) = self.position(node.as_str()) {
            let slot = self.order[at];
            if let Some(node) = &mut self.slots[slot as usize] {
                node.remove(&pod.key);
            }
            self.ungroup(&pod, slot);
        } else if let Some(strays) = self.stray.get_mut(&node) {
            strays.retain(|stray| *stray != pod.key);
            if strays.is_empty() {
                self.stray.remove(&node);
            }
        }
        Some(pod)
    }

    fn position(&self, name: &str) -> Result<usize, usize> {
        self.order.binary_search_by(|slot| {
            let node = self.slots[*slot as usize].as_ref().expect("`order` lists slots that are in use");
            node.name().as_str().cmp(name)
        })
    }

    /// Counts a pod of `pods` on its node.
    fn attach(&mut self, key: &Symbol) {
        let Some(Placed { pod, node }) = self.pods.get(key).cloned() else { return };
        let Ok(at) = self.position(node.as_str()) else {
            self.stray.entry(node).or_default().push(pod.key.clone());
            return;
        };
        let slot = self.order[at];
        if let Some(group) = pod.group.as_ref().filter(|_| !pod.terminating) {
            *self.groups.entry(group.clone()).or_default().entry(slot).or_default() += 1;
        }
        if let Some(node) = &mut self.slots[slot as usize] {
            node.add(pod);
        }
    }

    fn ungroup(&mut self, pod: &PodInfo, slot: u32) {
        let Some(group) = pod.group.as_ref().filter(|_| !pod.terminating) else { return };
        let Some(counts) = self.groups.get_mut(group) else { return };
        if let Some(count) = counts.get_mut(&slot) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&slot);
            }
        }
        if counts.is_empty() {
            self.groups.remove(group);
        }
    }
}

/// Builds a [`Snapshot`].
#[derive(Debug, Clone, Default)]
pub struct SnapshotBuilder(Snapshot);

impl SnapshotBuilder {
    /// Adds a node.
    #[must_use]
    pub fn node(mut self, node: NodeInfo) -> Self {
        self.0.set_node(node);
        self
    }

    /// Puts a pod on a node.
    #[must_use]
    pub fn pod(mut self, node: &str, pod: PodInfo) -> Self {
        self.0.place(pod, node);
        self
    }

    /// Returns the snapshot.
    #[must_use]
    pub fn build(self) -> Snapshot {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str) -> PodInfo {
        PodInfo::new("default", name).with_cpu(100).with_group("rs")
    }

    fn counts(snapshot: &Snapshot) -> Vec<(String, u32)> {
        let name = |id| snapshot.node(id).unwrap().name().to_string();
        let mut counts: Vec<_> = snapshot.group(&"rs".into()).map(|(id, count)| (name(id), count)).collect();
        counts.sort();
        counts
    }

    #[test]
    fn sums_follow_what_comes_and_goes() {
        let mut cluster = Snapshot::builder().node(NodeInfo::new("a").with_cpu(1_000).with_pods(3)).build();

        cluster.place(pod("1").with_host_port(HostPort::tcp(80)), "a");
        cluster.place(pod("2").with_memory(7), "a");
        cluster.remove_pod("default/1");
        cluster.place(pod("2").with_memory(5), "a");

        let node = cluster.named("a").unwrap();
        assert_eq!((node.free().cpu, node.free().pods, node.requested().memory), (900, 2, 5));
        assert_eq!(node.host_ports(), []);
        assert_eq!(node.estimated_use(), (100, 5));
    }

    #[test]
    fn pods_that_come_before_their_node_count_once_it_is_there() {
        let mut cluster = Snapshot::new();
        cluster.place(pod("1"), "late");
        cluster.place(pod("2"), "late");
        cluster.remove_pod("default/2");

        cluster.set_node(NodeInfo::new("late").with_cpu(1_000));

        assert_eq!(cluster.named("late").unwrap().free().cpu, 900);
        assert_eq!(counts(&cluster), [("late".to_owned(), 1)]);
    }

    #[test]
    fn a_node_that_comes_back_finds_its_pods_again() {
        let mut cluster = Snapshot::builder()
            .node(NodeInfo::new("a").with_cpu(1_000))
            .node(NodeInfo::new("b"))
            .pod("a", pod("1"))
            .pod("b", pod("2"))
            .build();

        cluster.remove_node("a");
        assert_eq!(counts(&cluster), [("b".to_owned(), 1)]);
        assert_eq!(cluster.len(), 1);
        cluster.set_node(NodeInfo::new("c"));
        cluster.set_node(NodeInfo::new("a").with_cpu(500));

        assert_eq!(cluster.named("a").unwrap().free().cpu, 400);
        assert_eq!(cluster.nodes().map(|node| node.name().as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(counts(&cluster), [("a".to_owned(), 1), ("b".to_owned(), 1)]);
    }

    #[test]
    fn an_id_stays_with_its_node_while_others_come_and_go() {
        let mut cluster = Snapshot::builder().node(NodeInfo::new("m")).node(NodeInfo::new("z")).build();
        let id = cluster.named("m").unwrap().id();

        cluster.set_node(NodeInfo::new("a"));
        cluster.remove_node("z");
        cluster.set_node(NodeInfo::new("m").cordoned());

        assert_eq!(cluster.node(id).unwrap().name(), &"m");
        assert!(id.index() < cluster.id_bound());
    }

    #[test]
    fn a_terminating_pod_takes_room_but_its_group_is_not_spread_around_it() {
        let mut leaving = pod("1");
        leaving.terminating = true;

        let cluster = Snapshot::builder().node(NodeInfo::new("a").with_cpu(1_000)).pod("a", leaving).build();

        assert_eq!(cluster.named("a").unwrap().free().cpu, 900);
        assert_eq!(counts(&cluster), []);
    }
}
