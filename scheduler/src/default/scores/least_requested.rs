use quarterdeck_core::scheduling::{Node, PodInfo, Snapshot};

use super::{BEST, Score, shares};

/// Prefers nodes that would have the largest share of CPU and memory left.
///
/// Pods that ask for nothing count as [`Node::ASSUMED_CPU`] and [`Node::ASSUMED_MEMORY`], so that they are shared out too.
#[derive(Debug, Clone, Copy, Default)]
pub struct LeastRequested;

impl Score for LeastRequested {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn add(&self, pod: &PodInfo, _cluster: &Snapshot, nodes: &[&Node], weight: f64, totals: &mut [f64]) {
        for (total, node) in totals.iter_mut().zip(nodes) {
            let (cpu, memory) = shares(pod, node);
            *total += weight * BEST * (1.0 - f64::midpoint(cpu, memory));
        }
    }
}

#[cfg(test)]
mod tests {
    use quarterdeck_core::scheduling::NodeInfo;

    use super::super::testing::scores;
    use super::*;

    #[test]
    fn a_node_with_more_left_is_better() {
        let node = |name| NodeInfo::new(name).with_cpu(1_000).with_memory(1_000);
        let pod = |name| PodInfo::new("default", name).with_cpu(250).with_memory(250);
        let cluster = Snapshot::builder().node(node("a")).node(node("b")).pod("a", pod("1")).build();

        assert_eq!(scores(&LeastRequested, &pod("2"), &cluster), [("a".into(), 50), ("b".into(), 75)]);
    }

    #[test]
    fn pods_that_ask_for_nothing_are_shared_out_too() {
        let pod = |name| PodInfo::new("default", name);
        let cluster =
            Snapshot::builder().node(NodeInfo::new("a")).node(NodeInfo::new("b")).pod("a", pod("1")).build();
        let mut totals = [0.0; 2];

        LeastRequested.add(&pod("2"), &cluster, &cluster.nodes().collect::<Vec<_>>(), 1.0, &mut totals);

        assert!(totals[0] < totals[1], "{totals:?}");
    }

    #[test]
    fn a_node_without_anything_is_worst() {
        let cluster = Snapshot::builder().node(NodeInfo::new("a").with_cpu(0).with_memory(0)).build();

        assert_eq!(scores(&LeastRequested, &PodInfo::new("default", "1"), &cluster), [("a".into(), 0)]);
    }
}
