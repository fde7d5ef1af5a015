use std::borrow::Cow;

use quarterdeck_core::scheduling::{Node, PodInfo};

use super::Filter;

/// A node has as much left as the pod asks for: of CPU, memory, disk, extended resources, and room for one more pod.
///
/// What a pod does not ask for cannot keep it away, however overfull the node is. A node that declares no CPU, memory, disk
/// or number of pods is unlimited in that.
#[derive(Debug, Clone, Copy, Default)]
pub struct Resources;

impl Filter for Resources {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn admits(&self, pod: &PodInfo, node: &Node) -> bool {
        let (asked, free) = (&pod.requests, node.free());
        free.pods >= 1
            && fits(asked.cpu, free.cpu)
            && fits(asked.memory, free.memory)
            && fits(asked.ephemeral_storage, free.ephemeral_storage)
            && asked.extended.iter().all(|(name, amount)| fits(*amount, node.free_extended(name)))
    }

    fn reasons(&self, pod: &PodInfo, node: &Node) -> Vec<Cow<'static, str>> {
        let (asked, free) = (&pod.requests, node.free());
        let mut reasons: Vec<Cow<'static, str>> = Vec::new();
        if free.pods < 1 {
            reasons.push("Too many pods".into());
        }
        for (asked, free, reason) in [
            (asked.cpu, free.cpu, "Insufficient cpu"),
            (asked.memory, free.memory, "Insufficient memory"),
            (asked.ephemeral_storage, free.ephemeral_storage, "Insufficient ephemeral-storage"),
        ] {
            if !fits(asked, free) {
                reasons.push(reason.into());
            }
        }
        for (name, amount) in &asked.extended {
            if !fits(*amount, node.free_extended(name)) {
                reasons.push(format!("Insufficient {name}").into());
            }
        }
        reasons
    }
}

fn fits(asked: i64, free: i64) -> bool {
    asked <= 0 || asked <= free
}

#[cfg(test)]
mod tests {
    use quarterdeck_core::scheduling::{NodeInfo, Snapshot};

    use super::*;

    fn pod(name: &str) -> PodInfo {
        PodInfo::new("default", name)
    }

    fn why(node: NodeInfo, there: impl IntoIterator<Item = PodInfo>, asked: &PodInfo) -> Vec<String> {
        let cluster =
            there.into_iter().fold(Snapshot::builder().node(node), |cluster, pod| cluster.pod("a", pod));
        let cluster = cluster.build();
        let node = cluster.named("a").unwrap();
        let reasons: Vec<_> = Resources.reasons(asked, node).into_iter().map(Cow::into_owned).collect();
        assert_eq!(reasons.is_empty(), Resources.admits(asked, node), "{reasons:?}");
        reasons
    }

    #[test]
    fn a_pod_fits_up_to_the_last_bit() {
        let node = || NodeInfo::new("a").with_cpu(1_000).with_memory(1_000);

        assert!(why(node(), [pod("1").with_cpu(400)], &pod("2").with_cpu(600)).is_empty());
        assert_eq!(why(node(), [pod("1").with_cpu(400)], &pod("2").with_cpu(601)), ["Insufficient cpu"]);
        assert_eq!(
            why(node(), [], &pod("2").with_cpu(1_001).with_memory(1_001)),
            ["Insufficient cpu", "Insufficient memory"]
        );
    }

    #[test]
    fn a_pod_that_asks_for_nothing_fits_where_there_is_room_for_a_pod() {
        let overfull = NodeInfo::new("a").with_cpu(100).with_pods(2);
        let full = NodeInfo::new("a").with_cpu(100).with_pods(1);

        assert!(why(overfull, [pod("1").with_cpu(900)], &pod("2")).is_empty());
        assert_eq!(why(full, [pod("1")], &pod("2")), ["Too many pods"]);
    }

    #[test]
    fn a_node_that_declares_no_capacity_is_unlimited() {
        let huge = pod("huge").with_cpu(i64::MAX).with_memory(i64::MAX);

        assert!(why(NodeInfo::new("a"), [huge.clone(), pod("1")], &huge).is_empty());
    }

    #[test]
    fn an_extended_resource_that_is_not_there_is_insufficient() {
        let asking = pod("1").with_extended("example.com/gpu", 1);
        let two = || NodeInfo::new("a").with_extended("example.com/gpu", 2);

        assert_eq!(why(NodeInfo::new("a"), [], &asking), ["Insufficient example.com/gpu"]);
        assert!(why(two(), [asking.clone()], &pod("2").with_extended("example.com/gpu", 1)).is_empty());
        assert_eq!(
            why(two(), [asking], &pod("2").with_extended("example.com/gpu", 2)),
            ["Insufficient example.com/gpu"]
        );
    }
}
