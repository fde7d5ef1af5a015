use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::scheduling::{Decision, Node, NodeId, PodInfo, Refusal, Refusals, Scheduler, Snapshot, Symbol};

fn refuse(nodes: impl IntoIterator<Item = NodeId>) -> Decision {
    let refusal = || Refusal { rule: "Test", reason: "node(s) were refused".into() };
    Decision::Unschedulable(nodes.into_iter().map(|node| (node, refusal())).collect())
}

struct By<F>(F);

/// Makes a scheduler of a closure.
fn by<F: FnMut(&PodInfo, &Snapshot) -> Decision + Send + 'static>(schedule: F) -> By<F> {
    By(schedule)
}

impl<F> std::fmt::Debug for By<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("By")
    }
}

impl<F: FnMut(&PodInfo, &Snapshot) -> Decision + Send + 'static> Scheduler for By<F> {
    fn schedule(&mut self, pod: &PodInfo, cluster: &Snapshot) -> Decision {
        (self.0)(pod, cluster)
    }
}

fn fewest_pods(_: &PodInfo, cluster: &Snapshot) -> Decision {
    match cluster.nodes().min_by_key(|node| node.pods().len()) {
        Some(node) => Decision::Bind(node.id()),
        None => Decision::Unschedulable(Refusals::new()),
    }
}

fn evicts_the_least_important(pod: &PodInfo, cluster: &Snapshot) -> Decision {
    for node in cluster.nodes() {
        if let Some(victim) = node.pods().iter().find(|victim| victim.priority < pod.priority) {
            return Decision::Preempt { node: node.id(), victims: vec![victim.key.clone()] };
        }
    }
    refuse(cluster.nodes().map(|node| node.id()))
}

crate::scheduling_suite!(binds, || by(fewest_pods));
crate::scheduling_suite!(preempts, || by(evicts_the_least_important));
crate::scheduling_suite!(refuses, || by(|_, cluster| refuse(cluster.nodes().map(|node| node.id()))));
crate::scheduling_suite!(waits, || by(|_, _| Decision::Wait));

#[test]
#[should_panic(expected = "clause 1")]
fn a_scheduler_that_depends_on_something_outside_breaks_clause_1() {
    let asked = Arc::new(AtomicUsize::new(0));

    clause_1_a_decision_is_a_function(|| {
        let asked = asked.clone();
        by(move |_, cluster| {
            let whim = asked.fetch_add(1, Ordering::Relaxed);
            match cluster.nodes().nth(whim % cluster.len().max(1)) {
                Some(node) => Decision::Bind(node.id()),
                None => Decision::Wait,
            }
        })
    });
}

fn outsider() -> NodeId {
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let cluster =
        names.map(NodeInfo::new).into_iter().fold(Snapshot::builder(), SnapshotBuilder::node).build();
    cluster.named("h").unwrap().id()
}

#[test]
#[should_panic(expected = "clause 2")]
fn a_bind_to_a_node_that_is_not_listed_breaks_clause_2() {
    clause_2_only_what_is_there(|| by(|_, _| Decision::Bind(outsider())));
}

#[test]
#[should_panic(expected = "clause 2")]
fn a_preemption_without_a_victim_breaks_clause_2() {
    clause_2_only_what_is_there(|| {
        by(|_, cluster| match cluster.nodes().next() {
            Some(node) => Decision::Preempt { node: node.id(), victims: Vec::new() },
            None => Decision::Wait,
        })
    });
}

#[test]
#[should_panic(expected = "clause 2")]
fn a_preemption_of_somebody_as_important_breaks_clause_2() {
    clause_2_only_what_is_there(|| {
        by(|_, cluster| match cluster.nodes().find(|node| node.pods().len() == 2) {
            Some(node) => Decision::Preempt {
                node: node.id(),
                victims: node.pods().iter().map(|pod| pod.key.clone()).collect::<Vec<Symbol>>(),
            },
            None => Decision::Wait,
        })
    });
}

#[test]
#[should_panic(expected = "clause 3")]
fn a_refusal_that_leaves_a_node_out_breaks_clause_3() {
    clause_3_a_refusal_is_complete(|| by(|_, cluster| refuse(cluster.nodes().take(1).map(|node| node.id()))));
}

#[test]
#[should_panic(expected = "clause 3")]
fn a_refusal_out_of_order_breaks_clause_3() {
    clause_3_a_refusal_is_complete(|| {
        by(|_, cluster| {
            let mut nodes: Vec<_> = cluster.nodes().map(|node| node.id()).collect();
            nodes.reverse();
            refuse(nodes)
        })
    });
}

#[test]
#[should_panic(expected = "clause 4")]
fn a_scheduler_that_counts_what_it_proposed_as_placed_breaks_clause_4() {
    clause_4_a_decision_is_a_proposal(|| {
        let mut handed_out = 0;
        by(move |pod, cluster| {
            match cluster.nodes().find(|node| node.free().cpu >= handed_out + pod.requests.cpu) {
                Some(node) => {
                    handed_out += pod.requests.cpu;
                    Decision::Bind(node.id())
                }
                None => refuse(cluster.nodes().map(|node| node.id())),
            }
        })
    });
}

#[test]
#[should_panic(expected = "clause 5")]
fn a_bind_to_a_node_of_an_earlier_snapshot_breaks_clause_5() {
    clause_5_every_snapshot_is_new(|| {
        let mut favourite = None;
        by(move |_, cluster| {
            favourite = favourite.or_else(|| cluster.nodes().next().map(|node| node.id()));
            favourite.map_or(Decision::Wait, Decision::Bind)
        })
    });
}

#[test]
#[should_panic(expected = "clause 5")]
fn a_refusal_of_the_nodes_of_an_earlier_snapshot_breaks_clause_5() {
    clause_5_every_snapshot_is_new(|| {
        let mut nodes = None;
        by(move |_, cluster| {
            let ids = || cluster.nodes().map(|node| node.id()).collect::<Vec<_>>();
            refuse(nodes.get_or_insert_with(ids).clone())
        })
    });
}

#[test]
#[should_panic(expected = "clause 6: not decided")]
fn a_scheduler_that_blocks_breaks_clause_6() {
    let blocks = by(|_: &PodInfo, _: &Snapshot| {
        loop {
            thread::park();
        }
    });

    comes_back_within(Duration::from_millis(50), blocks);
}

#[test]
#[should_panic(expected = "clause 6: `schedule` panicked")]
fn a_scheduler_that_panics_breaks_clause_6() {
    clause_6_it_comes_back(|| {
        by(|_, cluster| {
            let fullest =
                cluster.nodes().max_by_key(|node| node.requested().cpu / node.info().allocatable.cpu);
            fullest.map_or(Decision::Wait, |node| Decision::Bind(node.id()))
        })
    });
}

#[derive(Debug)]
struct Pessimist;

impl Scheduler for Pessimist {
    fn schedule(&mut self, pod: &PodInfo, cluster: &Snapshot) -> Decision {
        fewest_pods(pod, cluster)
    }

    fn might_fit(&self, _pod: &PodInfo, node: &Node) -> bool {
        !node.pods().is_empty()
    }
}

#[test]
#[should_panic(expected = "clause 7")]
fn a_hint_that_denies_what_is_decided_breaks_clause_7() {
    clause_7_a_hint_leaves_nothing_out(|| Pessimist);
}
