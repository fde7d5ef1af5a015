use std::borrow::Cow;

use quarterdeck_core::scheduling::{Node, PodInfo};

use super::Filter;

/// A pod that names its node gets no other. The driver does not ask about such pods; a "what if" may.
#[derive(Debug, Clone, Copy, Default)]
pub struct NodeName;

impl Filter for NodeName {
    fn name(&self) -> &'static str {
        "NodeName"
    }

    fn concerns(&self, pod: &PodInfo) -> bool {
        pod.node.is_some()
    }

    fn admits(&self, pod: &PodInfo, node: &Node) -> bool {
        pod.node.as_ref().is_none_or(|name| name == node.name())
    }

    fn reasons(&self, _pod: &PodInfo, _node: &Node) -> Vec<Cow<'static, str>> {
        vec!["node(s) didn't match the requested node name".into()]
    }
}

#[cfg(test)]
mod tests {
    use quarterdeck_core::scheduling::{NodeInfo, Snapshot};

    use super::*;

    #[test]
    fn a_pod_that_names_its_node_gets_no_other() {
        let cluster = Snapshot::builder().node(NodeInfo::new("a")).node(NodeInfo::new("b")).build();
        let mut pod = PodInfo::new("default", "set");
        pod.node = Some("b".into());

        assert!(!NodeName.admits(&pod, cluster.named("a").unwrap()));
        assert!(NodeName.admits(&pod, cluster.named("b").unwrap()));
    }
}
