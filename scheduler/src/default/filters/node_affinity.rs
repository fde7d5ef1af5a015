use std::borrow::Cow;

use quarterdeck_core::scheduling::{Node, PodInfo};

use super::Filter;

/// A node has the labels that the pod's node selector and required node affinity ask for.
#[derive(Debug, Clone, Copy, Default)]
pub struct NodeAffinity;

impl Filter for NodeAffinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }

    fn concerns(&self, pod: &PodInfo) -> bool {
        pod.affinity.required.is_some() || !pod.affinity.selector.is_empty()
    }

    fn admits(&self, pod: &PodInfo, node: &Node) -> bool {
        pod.affinity.allows(node.info())
    }

    fn reasons(&self, _pod: &PodInfo, _node: &Node) -> Vec<Cow<'static, str>> {
        vec!["node(s) didn't match Pod's node affinity/selector".into()]
    }
}

#[cfg(test)]
mod tests {
    use quarterdeck_core::scheduling::{NodeInfo, NodeTerm, Snapshot, Test};

    use super::*;

    fn admitted(pod: &PodInfo) -> Vec<String> {
        let cluster = Snapshot::builder()
            .node(NodeInfo::new("hdd").with_label("disk", "hdd").with_label("cores", "4"))
            .node(NodeInfo::new("ssd").with_label("disk", "ssd").with_label("cores", "16"))
            .node(NodeInfo::new("bare"))
            .build();
        let admitted = cluster.nodes().filter(|node| NodeAffinity.admits(pod, node));
        admitted.map(|node| node.name().to_string()).collect()
    }

    fn requiring(terms: impl IntoIterator<Item = (&'static str, Test)>) -> PodInfo {
        let mut pod = PodInfo::new("default", "picky");
        let term =
            |(key, test): (&str, Test)| NodeTerm { labels: vec![(key.into(), test)], name: Vec::new() };
        pod.affinity.required = Some(terms.into_iter().map(term).collect());
        pod
    }

    #[test]
    fn a_node_selector_asks_for_each_of_its_labels() {
        let pod = PodInfo::new("default", "picky").with_node_label("disk", "ssd");

        assert_eq!(admitted(&pod), ["ssd"]);
        assert_eq!(admitted(&pod.with_node_label("cores", "4")), [""; 0]);
    }

    #[test]
    fn one_required_term_is_enough() {
        let listed: Box<[_]> = ["hdd".into()].into();

        assert_eq!(
            admitted(&requiring([("disk", Test::In(listed.clone())), ("cores", Test::Gt(8))])),
            ["hdd", "ssd"]
        );
        assert_eq!(admitted(&requiring([("disk", Test::NotIn(listed))])), ["bare", "ssd"]);
        assert_eq!(admitted(&requiring([("disk", Test::DoesNotExist)])), ["bare"]);
        assert_eq!(admitted(&requiring([("cores", Test::Lt(8))])), ["hdd"]);
    }

    #[test]
    fn selector_and_affinity_must_both_agree() {
        let pod = requiring([("disk", Test::Exists)]).with_node_label("cores", "16");

        assert_eq!(admitted(&pod), ["ssd"]);
    }
}
