//! Rules that a node must pass, one per file, and ready-made calls of all of them.
//!
//! A scheduler of one's own starts at [`feasible`] and [`refusals`]. A rule of one's own is a [`Filter`], which
//! [`DefaultScheduler::with_filter`](crate::DefaultScheduler::with_filter) adds.

mod host_ports;
mod named_nodes;
mod node_affinity;
mod node_name;
mod resources;
mod supported;
mod taints;
mod unschedulable;

use std::borrow::Cow;
use std::fmt::Debug;

use quarterdeck_core::scheduling::{Node, PodInfo, Refusal, Refusals, Snapshot};

pub use host_ports::HostPorts;
pub use named_nodes::NamedNodes;
pub use node_affinity::NodeAffinity;
pub use node_name::NodeName;
pub use resources::Resources;
pub use supported::Supported;
pub use taints::Taints;
pub use unschedulable::Unschedulable;

/// A rule that a node must pass to get a pod.
///
/// What it says depends on the pod and the node alone, so that it can be asked in any order and as often as one likes.
pub trait Filter: Debug + Send + Sync + 'static {
    /// Returns the rule's name, as in [`Refusal::rule`].
    fn name(&self) -> &'static str;

    /// Returns whether the rule can refuse any node to `pod` (default: yes). If not, it is not asked about nodes.
    fn concerns(&self, pod: &PodInfo) -> bool {
        let _ = pod;
        true
    }

    /// Returns whether `node` may have `pod`.
    fn admits(&self, pod: &PodInfo, node: &Node) -> bool;

    /// Returns why `node` may not have `pod`, as [`Refusal::reason`]: at least one reason if [`admits`](Filter::admits) is
    /// false, which the caller has made sure of.
    fn reasons(&self, pod: &PodInfo, node: &Node) -> Vec<Cow<'static, str>>;

    /// Drops the nodes that may not have `pod`, and keeps the order of the others.
    ///
    /// Provided so that a decision costs one dynamic call per rule, not per rule and node.
    fn retain(&self, pod: &PodInfo, nodes: &mut Vec<&Node>) {
        nodes.retain(|node| self.admits(pod, node));
    }
}

/// The rules of the default scheduler, in the order in which they are asked: the first that refuses a node names the
/// reason, as in kube-scheduler.
pub(crate) const DEFAULT: [&dyn Filter; 8] =
    [&Supported, &NamedNodes, &Unschedulable, &NodeName, &Taints, &NodeAffinity, &HostPorts, &Resources];

/// Returns the nodes that may have `pod`, in name order, by the default scheduler's rules.
#[must_use]
pub fn feasible<'a>(pod: &PodInfo, cluster: &'a Snapshot) -> Vec<&'a Node> {
    admitted(DEFAULT, pod, cluster)
}

/// Returns why each node may not have `pod`, by the default scheduler's rules; nodes that may are left out.
#[must_use]
pub fn refusals(pod: &PodInfo, cluster: &Snapshot) -> Refusals {
    refused(DEFAULT, pod, cluster)
}

pub(crate) fn admitted<'f, 'a>(
    filters: impl IntoIterator<Item = &'f dyn Filter>,
    pod: &PodInfo,
    cluster: &'a Snapshot,
) -> Vec<&'a Node> {
    let mut nodes: Vec<&Node> = cluster.nodes().collect();
    for filter in filters {
        if nodes.is_empty() {
            break;
        }
        if filter.concerns(pod) {
            filter.retain(pod, &mut nodes);
        }
    }
    nodes
}

pub(crate) fn refused<'f>(
    filters: impl IntoIterator<Item = &'f dyn Filter>,
    pod: &PodInfo,
    cluster: &Snapshot,
) -> Refusals {
    let concerned: Vec<_> = filters.into_iter().filter(|filter| filter.concerns(pod)).collect();
    let mut refusals = Refusals::new();
    for node in cluster.nodes() {
        let Some(filter) = concerned.iter().find(|filter| !filter.admits(pod, node)) else { continue };
        for reason in filter.reasons(pod, node) {
            refusals.push(node.id(), Refusal { rule: filter.name(), reason });
        }
    }
    refusals
}
