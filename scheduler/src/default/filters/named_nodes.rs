use std::borrow::Cow;

use quarterdeck_core::scheduling::{Node, PodInfo, Test};

use super::Filter;

/// A pod all of whose required terms ask for nodes by name, as a daemon set's do, gets none but these.
///
/// kube-scheduler rules the others out before it asks any other rule, and says so in other words than
/// [`NodeAffinity`](super::NodeAffinity) does.
#[derive(Debug, Clone, Copy, Default)]
pub struct NamedNodes;

impl Filter for NamedNodes {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }

    fn concerns(&self, pod: &PodInfo) -> bool {
        let names = |test: &Test| matches!(test, Test::In(_));
        pod.affinity
            .required
            .as_ref()
            .is_some_and(|terms| !terms.is_empty() && terms.iter().all(|term| term.name.iter().any(names)))
    }

    fn admits(&self, pod: &PodInfo, node: &Node) -> bool {
        let among = |test: &Test| !matches!(test, Test::In(_)) || test.passes(Some(node.name()));
        pod.affinity.required.iter().flatten().any(|term| term.name.iter().all(among))
    }

    fn reasons(&self, _pod: &PodInfo, _node: &Node) -> Vec<Cow<'static, str>> {
        vec!["node(s) didn't satisfy plugin(s) [NodeAffinity]".into()]
    }
}

#[cfg(test)]
mod tests {
    use quarterdeck_core::scheduling::{NodeInfo, NodeTerm, Snapshot};

    use super::*;

    #[test]
    fn only_a_pod_that_names_its_nodes_is_concerned() {
        let cluster = Snapshot::builder().node(NodeInfo::new("a")).node(NodeInfo::new("b")).build();
        let mut pod = PodInfo::new("default", "daemon");
        assert!(!NamedNodes.concerns(&pod));

        let named = NodeTerm { name: vec![Test::In(["b".into()].into())], ..NodeTerm::default() };
        pod.affinity.required = Some(vec![named.clone()]);
        assert!(NamedNodes.concerns(&pod));
        assert!(!NamedNodes.admits(&pod, cluster.named("a").unwrap()));
        assert!(NamedNodes.admits(&pod, cluster.named("b").unwrap()));

        let labelled = NodeTerm { labels: vec![("disk".into(), Test::Exists)], ..NodeTerm::default() };
        pod.affinity.required = Some(vec![named, labelled]);
        assert!(!NamedNodes.concerns(&pod));
    }
}
