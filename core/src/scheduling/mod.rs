//! Choosing a node for a pod: the trait that the scheduler's driver calls, and what a decision is made from.
//!
//! Start at [`Scheduler`]. A decision is made from a [`PodInfo`] and a [`Snapshot`], in which pods and nodes are digested to
//! what a decision needs. Both are plain values and can be built by hand, for a test, a simulation or a "what if".
//! Implement the trait, then prove the implementation with [`scheduling_suite!`](crate::scheduling_suite).
//!
//! Ready-made filters and scores, the default scheduler made of them, the digestion of API objects and the driver (queue,
//! back-off, bind, retry) live in `quarterdeck-scheduler`.

mod affinity;
mod decision;
mod node;
mod pod;
mod resources;
mod snapshot;
mod symbol;

use std::fmt::Debug;

pub use crate::protocol::Protocol;
pub use affinity::{Labels, NodeAffinity, NodeTerm, Taint, TaintEffect, Test, Toleration};
pub use decision::{Decision, Refusal, Refusals};
pub use node::NodeInfo;
pub use pod::{HostPort, PodInfo};
pub use resources::Resources;
pub use snapshot::{Free, Node, NodeId, Snapshot, SnapshotBuilder};
pub use symbol::Symbol;

/// Decides where a pod goes.
///
/// # Contract
///
/// 1. **A decision is a function.** It depends on the pod, the snapshot, and what the scheduler was built with and asked
///    before; not on time, input or output, or chance that was not handed in. Two schedulers built alike and asked alike
///    answer alike.
/// 2. **Only what is there.** `Bind` and `Preempt` name a node of the given snapshot, `Preempt` at least one victim, and
///    only pods on that node that are of lower priority than the pod.
/// 3. **A refusal is complete.** `Unschedulable` names every node of the snapshot, in its order, with at least one reason
///    each, and no other.
/// 4. **A decision is a proposal.** Nothing is placed because a scheduler said so, only because the snapshot shows it. A bind
///    may fail: asked again about the same pod, the scheduler finds the room as free as the snapshot says.
/// 5. **Every snapshot is new.** Nodes and pods may have come, gone or changed in any way between two calls. Ids of an earlier
///    snapshot mean nothing.
/// 6. **It comes back.** `schedule` neither blocks nor panics, whatever the pod asks for and whatever the nodes say of
///    themselves.
/// 7. **A hint leaves nothing out.** If `schedule` would bind the pod to a node, [`might_fit`](Scheduler::might_fit) is true
///    of that node.
///
/// # Examples
///
/// The node with the fewest pods, whether the pod fits there or not (with the filters of `quarterdeck-scheduler`, it takes
/// a line more to get that right):
///
/// ```
/// use quarterdeck_core::scheduling::{Decision, NodeInfo, PodInfo, Refusals, Scheduler, Snapshot};
///
/// #[derive(Debug)]
/// struct FewestPods;
///
/// impl Scheduler for FewestPods {
///     fn schedule(&mut self, _pod: &PodInfo, cluster: &Snapshot) -> Decision {
///         match cluster.nodes().min_by_key(|node| node.pods().len()) {
///             Some(node) => Decision::Bind(node.id()),
///             None => Decision::Unschedulable(Refusals::new()),
///         }
///     }
/// }
///
/// let cluster = Snapshot::builder()
///     .node(NodeInfo::new("a"))
///     .node(NodeInfo::new("b"))
///     .pod("a", PodInfo::new("default", "first"))
///     .build();
///
/// let decision = FewestPods.schedule(&PodInfo::new("default", "second"), &cluster);
///
/// assert_eq!(decision, Decision::Bind(cluster.named("b").unwrap().id()));
/// ```
pub trait Scheduler: Debug + Send + 'static {
    /// Decides where `pod` goes in `cluster`.
    fn schedule(&mut self, pod: &PodInfo, cluster: &Snapshot) -> Decision;

    /// Returns whether `pod`, which could go nowhere, might go to `node`, which has changed since (default: always).
    ///
    /// The driver asks so that a change of one node does not make it decide about every waiting pod again. A cheap check
    /// that is true too often is fine.
    fn might_fit(&self, pod: &PodInfo, node: &Node) -> bool {
        let _ = (pod, node);
        true
    }
}

const _: Option<&dyn Scheduler> = None; // object safety is API: losing it must not compile

impl<S: Scheduler + ?Sized> Scheduler for Box<S> {
    fn schedule(&mut self, pod: &PodInfo, cluster: &Snapshot) -> Decision {
        (**self).schedule(pod, cluster)
    }

    fn might_fit(&self, pod: &PodInfo, node: &Node) -> bool {
        (**self).might_fit(pod, node)
    }
}
