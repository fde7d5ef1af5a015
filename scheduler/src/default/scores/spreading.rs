use quarterdeck_core::scheduling::{Node, PodInfo, Snapshot};

use super::{BEST, Score};

/// Prefers nodes that have the fewest pods of the pod's group: of its controller, or those that look like it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spreading;

impl Score for Spreading {
    fn name(&self) -> &'static str {
        "PodTopologySpread"
    }

    fn concerns(&self, pod: &PodInfo) -> bool {
        pod.group.is_some()
    }

    fn add(&self, pod: &PodInfo, cluster: &Snapshot, nodes: &[&Node], weight: f64, totals: &mut [f64]) {
        let Some(group) = &pod.group else { return };
        let mut counts = vec![0_u32; cluster.id_bound()];
        let mut most = 0;
        for (node, count) in cluster.group(group) {
            counts[node.index()] = count;
            most = most.max(count);
        }
        if most == 0 {
            return;
        }
        for (total, node) in totals.iter_mut().zip(nodes) {
            let fewer = most - counts[node.id().index()];
            *total += weight * BEST * (f64::from(fewer) / f64::from(most));
        }
    }
}

#[cfg(test)]
mod tests {
    use quarterdeck_core::scheduling::NodeInfo;

    use super::super::testing::scores;
    use super::*;

    #[test]
    fn a_node_with_fewer_of_the_group_is_better() {
        let pod = |name| PodInfo::new("default", name).with_group("rs");
        let cluster = Snapshot::builder()
            .node(NodeInfo::new("a"))
            .node(NodeInfo::new("b"))
            .node(NodeInfo::new("c"))
            .pod("a", pod("1"))
            .pod("a", pod("2"))
            .pod("b", pod("3"))
            .pod("c", PodInfo::new("default", "other").with_group("another"))
            .build();

        assert_eq!(
            scores(&Spreading, &pod("4"), &cluster),
            [("a".into(), 0), ("b".into(), 50), ("c".into(), 100)]
        );
    }
}
