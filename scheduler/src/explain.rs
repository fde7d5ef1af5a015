//! Why a pod went where it did, or went nowhere: what each rule and each preference says of each node, as data.
//!
//! [`DefaultScheduler::explain`](crate::DefaultScheduler::explain) asks every rule about every node, which a decision does
//! not: it stops at the first rule that refuses. [`Explanation::of`] tells what a decision of any scheduler says.

use quarterdeck_core::scheduling::{Decision, Node, PodInfo, Snapshot};
use serde::Serialize;

use crate::default::filters::Filter;
use crate::default::scores::Score;

/// What was, or would be, decided about a pod.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The pod, as `namespace/name`.
    pub pod: String,
    /// The nodes that it can go to: one if that is decided, several if they are equally good, none if it fits nowhere.
    pub best: Vec<String>,
    /// What was said of each node, in name order.
    pub nodes: Vec<NodeVerdict>,
}

/// What was said of a node.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeVerdict {
    /// Its name.
    pub node: String,
    /// What each rule said that was asked.
    pub rules: Vec<RuleVerdict>,
    /// What each preference said that was asked; none for a node that a rule refuses.
    pub scores: Vec<WeightedScore>,
    /// The sum of the scores, each times its weight.
    pub total: f64,
}

/// What a rule said of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleVerdict {
    /// The rule.
    pub rule: String,
    /// Why it refuses the node; none if it does not.
    pub reasons: Vec<String>,
}

/// What a preference said of a node.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WeightedScore {
    /// The preference.
    pub score: String,
    /// How well the node suits, from 0 to 100.
    pub value: f64,
    /// How much that counts.
    pub weight: f64,
}

impl Explanation {
    /// Tells what `decision` about `pod`, made from `cluster`, says of each node.
    #[must_use]
    pub fn of(pod: &PodInfo, decision: &Decision, cluster: &Snapshot) -> Self {
        let verdict = |node: &Node| {
            let mut rules: Vec<RuleVerdict> = Vec::new();
            if let Decision::Unschedulable(refusals) = decision {
                for (_, refusal) in refusals.iter().filter(|(refused, _)| *refused == node.id()) {
                    let reason = refusal.reason.to_string();
                    match rules.iter_mut().find(|verdict| verdict.rule == refusal.rule) {
                        Some(verdict) => verdict.reasons.push(reason),
                        None => rules.push(RuleVerdict { rule: refusal.rule.into(), reasons: vec![reason] }),
                    }
                }
            }
            NodeVerdict { node: node.name().to_string(), rules, scores: Vec::new(), total: 0.0 }
        };
        let chosen = match decision {
            Decision::Bind(node) | Decision::Preempt { node, .. } => cluster.node(*node),
            Decision::Unschedulable(_) | Decision::Wait => None,
        };
        Self {
            pod: pod.key.to_string(),
            best: chosen.map(|node| node.name().to_string()).into_iter().collect(),
            nodes: cluster.nodes().map(verdict).collect(),
        }
    }

    pub(crate) fn of_rules(
        pod: &PodInfo,
        cluster: &Snapshot,
        filters: &[&dyn Filter],
        scores: &[(f64, &dyn Score)],
    ) -> Self {
        let mut nodes: Vec<_> = cluster.nodes().map(|node| ask_rules(pod, node, filters)).collect();
        let passed: Vec<&Node> = cluster
            .nodes()
            .zip(&nodes)
            .filter(|(_, verdict)| verdict.rules.iter().all(|rule| rule.reasons.is_empty()))
            .map(|(node, _)| node)
            .collect();
        for (weight, score) in scores.iter().filter(|(_, score)| score.concerns(pod)) {
            let mut values = vec![0.0; passed.len()];
            score.add(pod, cluster, &passed, 1.0, &mut values);
            for (node, value) in passed.iter().zip(values) {
                if let Some(verdict) = nodes.iter_mut().find(|verdict| *node.name() == *verdict.node) {
                    verdict.scores.push(WeightedScore { score: score.name().into(), value, weight: *weight });
                    verdict.total += weight * value;
                }
            }
        }
        let named = |name: &str| nodes.iter().find(|verdict| verdict.node == name);
        let fitting: Vec<_> = passed.iter().filter_map(|node| named(node.name().as_str())).collect();
        let most = fitting.iter().map(|verdict| verdict.total).fold(f64::NEG_INFINITY, f64::max);
        let best = fitting.iter().filter(|verdict| verdict.total >= most);
        Self { pod: pod.key.to_string(), best: best.map(|verdict| verdict.node.clone()).collect(), nodes }
    }
}

fn ask_rules(pod: &PodInfo, node: &Node, filters: &[&dyn Filter]) -> NodeVerdict {
    let ask = |filter: &&dyn Filter| RuleVerdict {
        rule: filter.name().into(),
        reasons: if filter.admits(pod, node) {
            Vec::new()
        } else {
            filter.reasons(pod, node).into_iter().map(Into::into).collect()
        },
    };
    NodeVerdict {
        node: node.name().to_string(),
        rules: filters.iter().filter(|filter| filter.concerns(pod)).map(ask).collect(),
        scores: Vec::new(),
        total: 0.0,
    }
}

#[cfg(test)]
mod tests {
    use quarterdeck_core::random::Random;
    use quarterdeck_core::scheduling::{NodeInfo, Scheduler};

    use super::*;
    use crate::DefaultScheduler;

    #[test]
    fn every_rule_is_asked_about_every_node() {
        let cluster = Snapshot::builder()
            .node(NodeInfo::new("a").cordoned().with_cpu(10))
            .node(NodeInfo::new("b").with_cpu(1_000))
            .node(NodeInfo::new("c").with_cpu(4_000))
            .build();
        let pod = PodInfo::new("default", "web").with_cpu(100);

        let explanation = DefaultScheduler::new(Random::seeded(1)).explain(&pod, &cluster);

        let refused: Vec<_> =
            explanation.nodes[0].rules.iter().filter(|rule| !rule.reasons.is_empty()).collect();
        assert_eq!(refused[0].reasons, ["node(s) were unschedulable"]);
        assert_eq!(refused[1].reasons, ["Insufficient cpu"]);
        assert!(explanation.nodes[0].scores.is_empty());
        assert!(explanation.nodes[1].total < explanation.nodes[2].total);
        assert_eq!(explanation.best, ["c"]);
    }

    #[test]
    fn a_decision_says_which_rule_refused_each_node() {
        let cluster = Snapshot::builder()
            .node(NodeInfo::new("a").with_cpu(10).with_memory(10))
            .node(NodeInfo::new("b"))
            .build();
        let mut scheduler = DefaultScheduler::new(Random::seeded(1));
        let fits = PodInfo::new("default", "fits").with_cpu(100);
        let mut not = fits.clone().with_memory(100);
        not.node = Some("a".into());

        let placed = Explanation::of(&fits, &scheduler.schedule(&fits, &cluster), &cluster);
        let refused = Explanation::of(&not, &scheduler.schedule(&not, &cluster), &cluster);

        assert_eq!(placed.best, ["b"]);
        assert_eq!(refused.best, [""; 0]);
        assert_eq!(
            refused.nodes[0].rules,
            [RuleVerdict {
                rule: "NodeResourcesFit".into(),
                reasons: vec!["Insufficient cpu".into(), "Insufficient memory".into()]
            }]
        );
        assert_eq!(refused.nodes[1].rules[0].rule, "NodeName");
    }
}
