use quarterdeck_core::scheduling::{Node, PodInfo, Snapshot, TaintEffect};

use super::{BEST, Score};

/// Prefers nodes with the fewest `PreferNoSchedule` taints that the pod does not tolerate.
#[derive(Debug, Clone, Copy, Default)]
pub struct FewestTaints;

impl Score for FewestTaints {
    fn name(&self) -> &'static str {
        "TaintToleration"
    }

    fn add(&self, pod: &PodInfo, _cluster: &Snapshot, nodes: &[&Node], weight: f64, totals: &mut [f64]) {
        let most = nodes.iter().map(|node| untolerated(pod, node)).max().unwrap_or_default();
        if most == 0 {
            return;
        }
        for (total, node) in totals.iter_mut().zip(nodes) {
            *total += weight * BEST * (f64::from(most - untolerated(pod, node)) / f64::from(most));
        }
    }
}

fn untolerated(pod: &PodInfo, node: &Node) -> u32 {
    if node.is_open() {
        return 0;
    }
    let taints = node.info().taints.iter().filter(|taint| {
        taint.effect == TaintEffect::PreferNoSchedule
            && !pod.tolerations.iter().any(|toleration| toleration.tolerates(taint))
    });
    taints.map(|_| 1).sum()
}

#[cfg(test)]
mod tests {
    use quarterdeck_core::scheduling::{NodeInfo, Taint, Toleration};

    use super::super::testing::scores;
    use super::*;

    #[test]
    fn a_node_with_a_taint_that_is_not_tolerated_is_worse() {
        let cluster = Snapshot::builder()
            .node(NodeInfo::new("busy").with_taint(Taint::new("busy", "", TaintEffect::PreferNoSchedule)))
            .node(NodeInfo::new("free"))
            .build();
        let pod = PodInfo::new("default", "1");

        assert_eq!(scores(&FewestTaints, &pod, &cluster), [("busy".into(), 0), ("free".into(), 100)]);
        let tough = pod.with_toleration(Toleration::default());
        assert_eq!(scores(&FewestTaints, &tough, &cluster), [("busy".into(), 0), ("free".into(), 0)]);
    }
}
