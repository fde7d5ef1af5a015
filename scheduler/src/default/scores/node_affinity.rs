use quarterdeck_core::scheduling::{Node, PodInfo, Snapshot};

use super::{Score, add_in_proportion};

/// Prefers nodes that the pod's preferred node affinity selects, by the sum of its weights.
#[derive(Debug, Clone, Copy, Default)]
pub struct PreferredNodes;

impl Score for PreferredNodes {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }

    fn concerns(&self, pod: &PodInfo) -> bool {
        !pod.affinity.preferred.is_empty()
    }

    #[expect(clippy::cast_precision_loss, reason = "weights are small")]
    fn add(&self, pod: &PodInfo, _cluster: &Snapshot, nodes: &[&Node], weight: f64, totals: &mut [f64]) {
        let sums: Vec<_> = nodes.iter().map(|node| pod.affinity.preference(node.info()) as f64).collect();
        add_in_proportion(&sums, weight, totals);
    }
}

#[cfg(test)]
mod tests {
    use quarterdeck_core::scheduling::{NodeInfo, NodeTerm, Test};

    use super::super::testing::scores;
    use super::*;

    #[test]
    fn the_heaviest_preferences_win() {
        let cluster = Snapshot::builder()
            .node(NodeInfo::new("both").with_label("disk", "ssd").with_label("zone", "a"))
            .node(NodeInfo::new("none"))
            .node(NodeInfo::new("ssd").with_label("disk", "ssd"))
            .build();
        let prefers = |weight, key: &str| {
            (weight, NodeTerm { labels: vec![(key.into(), Test::Exists)], name: Vec::new() })
        };
        let mut pod = PodInfo::new("default", "1");
        pod.affinity.preferred = vec![prefers(30, "disk"), prefers(10, "zone")];

        assert_eq!(
            scores(&PreferredNodes, &pod, &cluster),
            [("both".into(), 100), ("none".into(), 0), ("ssd".into(), 75)]
        );
    }
}
