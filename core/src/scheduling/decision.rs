//! What a scheduler answers.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use super::{NodeId, Symbol};

/// What to do with a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Put it on this node.
    Bind(NodeId),
    /// Remove these pods, by key (`namespace/name`), from this node; the pod is to go there when they are gone.
    Preempt {
        /// The node.
        node: NodeId,
        /// The pods that have to go, of lower priority than the one that comes.
        victims: Vec<Symbol>,
    },
    /// It can go nowhere; why, for each node. It is tried again when something changes that might help, and from time to
    /// time.
    Unschedulable(Refusals),
    /// Nothing is wrong, but it should not be placed yet: it waits for others. Decided again when the cluster changes.
    Wait,
}

/// Why a node was refused.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refusal {
    /// The rule that refused it: a word for programs, such as `NodeResourcesFit`.
    pub rule: &'static str,
    /// Why, in words that follow a number of nodes: `Insufficient cpu`, `node(s) were unschedulable`.
    pub reason: Cow<'static, str>,
}

/// Why each node of a cluster was refused.
///
/// Equal refusals are held once, so that collecting one per node is cheap. Its text form is kube-scheduler's:
///
/// ```
/// use quarterdeck_core::scheduling::{NodeInfo, Refusal, Refusals, Snapshot};
///
/// let cluster = Snapshot::builder().node(NodeInfo::new("a")).node(NodeInfo::new("b")).build();
/// let refusals: Refusals = cluster
///     .nodes()
///     .map(|node| (node.id(), Refusal { rule: "NodeResourcesFit", reason: "Insufficient cpu".into() }))
///     .collect();
///
/// assert_eq!(refusals.to_string(), "0/2 nodes are available: 2 Insufficient cpu.");
/// ```
#[derive(Debug, Clone, Default)]
pub struct Refusals {
    kinds: Vec<Refusal>,
    index: BTreeMap<Refusal, u32>,
    nodes: Vec<(NodeId, u32)>,
}

impl Refusals {
    /// Makes an empty list.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a reason why a node was refused. All reasons of one node are added one after the other.
    pub fn push(&mut self, node: NodeId, refusal: Refusal) {
        let last = self.nodes.last().map(|(_, kind)| *kind);
        let kind = match last.filter(|kind| self.kinds[*kind as usize] == refusal) {
            Some(kind) => kind,
            None => *self.index.entry(refusal).or_insert_with_key(|refusal| {
                self.kinds.push(refusal.clone());
                u32::try_from(self.kinds.len() - 1).expect("there are fewer than 2^32 reasons")
            }),
        };
        self.nodes.push((node, kind));
    }

    /// Yields nodes and why each was refused, in the order in which they were added; a node several times, if there are
    /// several reasons.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (NodeId, &Refusal)> {
        self.nodes.iter().map(|(node, kind)| (*node, &self.kinds[*kind as usize]))
    }

    /// Returns how many nodes were refused.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.nodes.chunk_by(|(one, _), (next, _)| one == next).count()
    }

    /// Returns how often each reason was given, ordered by rule and reason.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&Refusal, usize> {
        let mut counts = vec![0; self.kinds.len()];
        for (_, kind) in &self.nodes {
            counts[*kind as usize] += 1;
        }
        self.kinds.iter().zip(counts).collect()
    }
}

impl PartialEq for Refusals {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Refusals {}

impl Extend<(NodeId, Refusal)> for Refusals {
    fn extend<T: IntoIterator<Item = (NodeId, Refusal)>>(&mut self, refusals: T) {
        for (node, refusal) in refusals {
            self.push(node, refusal);
        }
    }
}

impl FromIterator<(NodeId, Refusal)> for Refusals {
    fn from_iter<T: IntoIterator<Item = (NodeId, Refusal)>>(refusals: T) -> Self {
        let mut all = Self::new();
        all.extend(refusals);
        all
    }
}

impl fmt::Display for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes = self.nodes();
        if nodes == 0 {
            return f.write_str("no nodes available to schedule pods");
        }
        let mut by_reason: BTreeMap<&str, usize> = BTreeMap::new();
        for (refusal, count) in self.counts() {
            *by_reason.entry(&refusal.reason).or_default() += count;
        }
        let mut parts: Vec<_> = by_reason.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        parts.sort_unstable();
        write!(f, "0/{nodes} nodes are available: {}.", parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{NodeInfo, Snapshot};
    use super::*;

    fn refusal(rule: &'static str, reason: &'static str) -> Refusal {
        Refusal { rule, reason: reason.into() }
    }

    #[test]
    fn a_message_counts_reasons_and_sorts_them_as_kube_scheduler_does_by_the_number_first() {
        let cluster = ["a", "b", "c"].into_iter().map(NodeInfo::new);
        let cluster = cluster.fold(Snapshot::builder(), |cluster, node| cluster.node(node)).build();
        let ids: Vec<_> = cluster.nodes().map(|node| node.id()).collect();
        let mut refusals = Refusals::new();

        refusals.push(ids[0], refusal("NodeResourcesFit", "Insufficient cpu"));
        refusals.push(ids[0], refusal("NodeResourcesFit", "Too many pods"));
        refusals.push(ids[1], refusal("NodeResourcesFit", "Insufficient cpu"));
        refusals.push(ids[2], refusal("NodeUnschedulable", "node(s) were unschedulable"));

        assert_eq!(
            refusals.to_string(),
            "0/3 nodes are available: 1 Too many pods, 1 node(s) were unschedulable, 2 Insufficient cpu."
        );
        assert_eq!(refusals.iter().nth(1), Some((ids[0], &refusal("NodeResourcesFit", "Too many pods"))));
    }

    #[test]
    fn a_cluster_without_nodes_is_said_so() {
        assert_eq!(Refusals::new().to_string(), "no nodes available to schedule pods");
    }
}
