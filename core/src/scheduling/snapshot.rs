//! A cluster as a scheduler sees it.

mod node;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{NodeInfo, PodInfo, Symbol};
pub use node::{Free, Node, NodeId};

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
    pub fn set_node(&mut self, info: impl Into<Arc<NodeInfo>>) -> NodeId {
        let info = info.into();
        match self.position(info.name.as_str()) {
            Ok(at) => {
                let slot = self.order[at];
                let node = self.slots[slot as usize].as_mut().expect("`order` lists slots that are in use");
                node.update(info);
                NodeId(slot)
            }
            Err(at) => {
                let slot = self.vacant.pop().unwrap_or_else(|| {
                    self.slots.push(None);
                    u32::try_from(self.slots.len() - 1).expect("there are fewer than 2^32 nodes")
                });
                self.order.insert(at, slot);
                let strays = self.stray.remove(&info.name).unwrap_or_default();
                self.slots[slot as usize] = Some(Node::new(NodeId(slot), info));
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
        for pod in node.pods() {
            self.ungroup(pod, slot);
            self.stray.entry(node.name().clone()).or_default().push(pod.key.clone());
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
