use std::borrow::Cow;

use quarterdeck_core::scheduling::{Node, PodInfo, Taint, TaintEffect};

use super::Filter;

/// A pod tolerates each of a node's taints that keep pods away.
#[derive(Debug, Clone, Copy, Default)]
pub struct Taints;

impl Filter for Taints {
    fn name(&self) -> &'static str {
        "TaintToleration"
    }

    fn admits(&self, pod: &PodInfo, node: &Node) -> bool {
        node.is_open() || untolerated(pod, node).is_none()
    }

    fn reasons(&self, pod: &PodInfo, node: &Node) -> Vec<Cow<'static, str>> {
        let reason = |taint: &Taint| {
            format!("node(s) had untolerated taint {{{}: {}}}", taint.key, taint.value).into()
        };
        untolerated(pod, node).map(reason).into_iter().collect()
    }
}

fn untolerated<'a>(pod: &PodInfo, node: &'a Node) -> Option<&'a Taint> {
    node.info().taints.iter().find(|taint| {
        taint.effect != TaintEffect::PreferNoSchedule
            && !pod.tolerations.iter().any(|toleration| toleration.tolerates(taint))
    })
}

#[cfg(test)]
mod tests {
    use quarterdeck_core::scheduling::{NodeInfo, Snapshot, Toleration};

    use super::*;

    fn why(pod: &PodInfo, taint: Taint) -> Vec<Cow<'static, str>> {
        let cluster = Snapshot::builder().node(NodeInfo::new("a").with_taint(taint)).build();
        let node = cluster.named("a").unwrap();
        let reasons = Taints.reasons(pod, node);
        assert_eq!(reasons.is_empty(), Taints.admits(pod, node));
        reasons
    }

    #[test]
    fn a_taint_keeps_away_pods_that_do_not_tolerate_it() {
        let pod = PodInfo::new("default", "plain");
        let key = "node.kubernetes.io/unreachable";

        assert_eq!(
            why(&pod, Taint::new("dedicated", "db", TaintEffect::NoSchedule)),
            ["node(s) had untolerated taint {dedicated: db}"]
        );
        assert_eq!(
            why(&pod, Taint::new(key, "", TaintEffect::NoExecute)),
            ["node(s) had untolerated taint {node.kubernetes.io/unreachable: }"]
        );
        assert!(why(&pod, Taint::new("busy", "", TaintEffect::PreferNoSchedule)).is_empty());
    }

    #[test]
    fn a_toleration_lets_in() {
        let pod = PodInfo::new("default", "tough").with_toleration(Toleration {
            key: Some("dedicated".into()),
            value: Some("db".into()),
            effect: None,
        });

        assert!(why(&pod, Taint::new("dedicated", "db", TaintEffect::NoSchedule)).is_empty());
        assert_eq!(why(&pod, Taint::new("dedicated", "web", TaintEffect::NoSchedule)).len(), 1);
    }
}
