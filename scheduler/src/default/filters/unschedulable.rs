use std::borrow::Cow;

use quarterdeck_core::scheduling::{Node, PodInfo, Taint, TaintEffect};

use super::Filter;

/// A cordoned node gets no pods but those that tolerate the taint `node.kubernetes.io/unschedulable:NoSchedule`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unschedulable;

impl Filter for Unschedulable {
    fn name(&self) -> &'static str {
        "NodeUnschedulable"
    }

    fn admits(&self, pod: &PodInfo, node: &Node) -> bool {
        node.is_open() || !node.info().unschedulable || tolerates(pod)
    }

    fn reasons(&self, _pod: &PodInfo, _node: &Node) -> Vec<Cow<'static, str>> {
        vec!["node(s) were unschedulable".into()]
    }
}

fn tolerates(pod: &PodInfo) -> bool {
    let cordon = Taint::new("node.kubernetes.io/unschedulable", "", TaintEffect::NoSchedule);
    pod.tolerations.iter().any(|toleration| toleration.tolerates(&cordon))
}

#[cfg(test)]
mod tests {
    use quarterdeck_core::scheduling::{NodeInfo, Snapshot, Toleration};

    use super::*;

    #[test]
    fn a_cordoned_node_gets_only_pods_that_tolerate_it() {
        let cluster = Snapshot::builder().node(NodeInfo::new("a").cordoned()).build();
        let node = cluster.named("a").unwrap();
        let plain = PodInfo::new("default", "plain");
        let daemon = PodInfo::new("default", "daemon").with_toleration(Toleration::default());

        assert!(!Unschedulable.admits(&plain, node));
        assert!(Unschedulable.admits(&daemon, node));
    }
}
