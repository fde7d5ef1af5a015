use quarterdeck_core::scheduling::{Node, PodInfo, Snapshot};

use super::{BEST, Score, shares};

/// Prefers nodes of which CPU and memory would be used to the same share, so that neither is left over.
#[derive(Debug, Clone, Copy, Default)]
pub struct BalancedUse;

impl Score for BalancedUse {
    fn name(&self) -> &'static str {
        "NodeResourcesBalancedAllocation"
    }

    fn concerns(&self, pod: &PodInfo) -> bool {
        pod.requests.cpu > 0 || pod.requests.memory > 0
    }

    fn add(&self, pod: &PodInfo, _cluster: &Snapshot, nodes: &[&Node], weight: f64, totals: &mut [f64]) {
        for (total, node) in totals.iter_mut().zip(nodes) {
            let (cpu, memory) = shares(pod, node);
            *total += weight * BEST * (1.0 - (cpu - memory).abs() / 2.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use quarterdeck_core::scheduling::NodeInfo;

    use super::super::testing::scores;
    use super::*;

    #[test]
    fn a_node_whose_cpu_and_memory_go_together_is_better() {
        let cluster = Snapshot::builder()
            .node(NodeInfo::new("even").with_cpu(1_000).with_memory(1_000))
            .node(NodeInfo::new("lean").with_cpu(1_000).with_memory(10_000))
            .build();
        let pod = PodInfo::new("default", "p").with_cpu(500).with_memory(500);

        assert_eq!(scores(&BalancedUse, &pod, &cluster), [("even".into(), 100), ("lean".into(), 78)]);
    }
}
