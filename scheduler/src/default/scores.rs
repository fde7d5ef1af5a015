//! Preferences among the nodes that pass all rules, one per file.
//!
//! A preference of one's own is a [`Score`], which [`DefaultScheduler::with_score`](crate::DefaultScheduler::with_score)
//! adds.

mod balanced;
mod least_requested;
mod node_affinity;
mod spreading;
mod taints;

use std::fmt::Debug;

use quarterdeck_core::scheduling::{Node, PodInfo, Snapshot};

pub use balanced::BalancedUse;
pub use least_requested::LeastRequested;
pub use node_affinity::PreferredNodes;
pub use spreading::Spreading;
pub use taints::FewestTaints;

/// A preference: says how well nodes suit a pod, from 0 to [`BEST`].
///
/// What it says depends on its arguments alone.
pub trait Score: Debug + Send + Sync + 'static {
    /// Returns the preference's name, for explanations.
    fn name(&self) -> &'static str;

    /// Returns whether it can tell nodes apart for `pod` (default: yes). If not, it is not asked.
    fn concerns(&self, pod: &PodInfo) -> bool {
        let _ = pod;
        true
    }

    /// Adds `weight` times each node's score to its place in `totals`, which are in the order of `nodes`.
    ///
    /// `nodes` are those of `cluster` that the pod may go to, in name order.
    fn add(&self, pod: &PodInfo, cluster: &Snapshot, nodes: &[&Node], weight: f64, totals: &mut [f64]);
}

/// The greatest score. All of one preference counts as much as all of another of the same weight.
pub const BEST: f64 = 100.0;

/// The preferences of the default scheduler and their weights, as in kube-scheduler where it has the same.
pub(crate) const DEFAULT: [(f64, &dyn Score); 5] = [
    (3.0, &FewestTaints),
    (2.0, &PreferredNodes),
    (2.0, &Spreading),
    (1.0, &LeastRequested),
    (1.0, &BalancedUse),
];

/// Adds scores that are the better the greater `amounts` are, [`BEST`] for the greatest.
fn add_in_proportion(amounts: &[f64], weight: f64, totals: &mut [f64]) {
    let most = amounts.iter().copied().fold(0.0, f64::max);
    if most > 0.0 {
        for (total, amount) in totals.iter_mut().zip(amounts) {
            *total += weight * BEST * (amount.max(0.0) / most);
        }
    }
}

/// Returns the share of CPU and of memory that a node's pods and `pod` use together: 1 if all. Of a node that is unlimited,
/// the share of a large node, which approaches 1 but never gets there.
fn shares(pod: &PodInfo, node: &Node) -> (f64, f64) {
    let (cpu, memory) = node.estimated_use();
    let (more_cpu, more_memory) = Node::estimate(pod);
    let (has_cpu, has_memory) = node.capacity();
    (
        share(cpu.saturating_add(more_cpu), has_cpu, 64_000.0),
        share(memory.saturating_add(more_memory), has_memory, 256.0 * f64::from(1 << 30)),
    )
}

#[expect(clippy::cast_precision_loss, reason = "a share needs no more than 53 bits")]
fn share(used: i64, has: i64, large: f64) -> f64 {
    let used = used as f64;
    if has == i64::MAX { used / (used + large) } else { (used / (has as f64).max(1.0)).min(1.0) }
}

#[cfg(test)]
mod testing {
    use super::*;

    /// Returns the scores of all nodes by name, rounded.
    pub(super) fn scores(score: &dyn Score, pod: &PodInfo, cluster: &Snapshot) -> Vec<(String, i64)> {
        let nodes: Vec<_> = cluster.nodes().collect();
        let mut totals = vec![0.0; nodes.len()];
        score.add(pod, cluster, &nodes, 1.0, &mut totals);
        let rounded = totals.iter().map(|total| format!("{total:.0}").parse().unwrap());
        nodes.iter().map(|node| node.name().to_string()).zip(rounded).collect()
    }
}
