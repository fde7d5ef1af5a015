use std::borrow::Cow;

use quarterdeck_core::scheduling::{Node, PodInfo};

use super::Filter;

/// A pod with a requirement that the default scheduler cannot check is placed nowhere, rather than anywhere.
#[derive(Debug, Clone, Copy, Default)]
pub struct Supported;

impl Filter for Supported {
    fn name(&self) -> &'static str {
        "Supported"
    }

    fn concerns(&self, pod: &PodInfo) -> bool {
        !pod.unchecked.is_empty()
    }

    fn admits(&self, pod: &PodInfo, _node: &Node) -> bool {
        pod.unchecked.is_empty()
    }

    fn reasons(&self, pod: &PodInfo, _node: &Node) -> Vec<Cow<'static, str>> {
        let reason =
            |field| format!("node(s) couldn't be checked against {field}, which is not supported").into();
        pod.unchecked.iter().map(reason).collect()
    }
}

#[cfg(test)]
mod tests {
    use quarterdeck_core::scheduling::{NodeInfo, Snapshot};

    use super::*;

    #[test]
    fn a_requirement_that_cannot_be_checked_is_named() {
        let cluster = Snapshot::builder().node(NodeInfo::new("a")).build();
        let mut pod = PodInfo::new("default", "social");
        pod.unchecked = vec!["spec.affinity.podAffinity"];

        assert!(!Supported.admits(&pod, cluster.named("a").unwrap()));
        assert_eq!(
            Supported.reasons(&pod, cluster.named("a").unwrap()),
            ["node(s) couldn't be checked against spec.affinity.podAffinity, which is not supported"]
        );
    }
}
