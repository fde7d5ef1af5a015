//! The contract suite of [`Scheduler`]: one case per clause, numbered as in its documentation.
//!
//! Run it with [`scheduling_suite!`](crate::scheduling_suite).

use std::collections::BTreeSet;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use crate::scheduling::{
    Decision, HostPort, NodeInfo, NodeTerm, PodInfo, Scheduler, Snapshot, SnapshotBuilder, Taint,
    TaintEffect, Test,
};

/// Makes one test per clause of the contract of [`Scheduler`].
///
/// `$make` is a closure that returns a fresh scheduler, built alike each time.
///
/// ```
/// # use quarterdeck_core::scheduling::{Decision, PodInfo, Scheduler, Snapshot};
/// #[derive(Debug)]
/// struct Patient;
///
/// impl Scheduler for Patient {
///     fn schedule(&mut self, _pod: &PodInfo, _cluster: &Snapshot) -> Decision {
///         Decision::Wait
///     }
/// }
///
/// quarterdeck_core::scheduling_suite!(patient, || Patient);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! scheduling_suite {
    ($name:ident, $make:expr) => {
        mod $name {
            #[allow(unused_imports, reason = "what `$make` names is in the scope around")]
            use super::*;
            $crate::scheduling_suite!(@each $make,
                clause_1_a_decision_is_a_function
                clause_2_only_what_is_there
                clause_3_a_refusal_is_complete
                clause_4_a_decision_is_a_proposal
                clause_5_every_snapshot_is_new
                clause_6_it_comes_back
                clause_7_a_hint_leaves_nothing_out);
        }
    };
    (@each $make:expr, $($clause:ident)+) => {$(
        #[test]
        fn $clause() {
            $crate::testing::scheduling::$clause($make);
        }
    )+};
}

/// Clause 1: schedulers built alike and asked alike answer alike.
pub fn clause_1_a_decision_is_a_function<S: Scheduler>(make: impl Fn() -> S) {
    let (mut one, mut other) = (make(), make());

    for (name, cluster) in clusters() {
        for pod in pods() {
            let (first, second) = (one.schedule(&pod, &cluster), other.schedule(&pod, &cluster));
            assert_eq!(first, second, "clause 1: {} in the {name} cluster was decided in two ways", pod.key);
        }
    }
}

/// Clause 2: what is bound or preempted is in the snapshot.
pub fn clause_2_only_what_is_there<S: Scheduler>(make: impl Fn() -> S) {
    let mut scheduler = make();

    for (name, cluster) in clusters() {
        for pod in pods() {
            let decision = scheduler.schedule(&pod, &cluster);
            if let Err(problem) = names_only_what_is_there(&decision, &pod, &cluster) {
                panic!("clause 2: {} in the {name} cluster: {problem}", pod.key);
            }
        }
    }
}

/// Clause 3: a refusal gives a reason for every node, in order.
pub fn clause_3_a_refusal_is_complete<S: Scheduler>(make: impl Fn() -> S) {
    let mut scheduler = make();

    for (name, cluster) in clusters() {
        for pod in pods() {
            let decision = scheduler.schedule(&pod, &cluster);
            if let Err(problem) = refuses_each_node(&decision, &cluster) {
                panic!("clause 3: {} in the {name} cluster: {problem}", pod.key);
            }
        }
    }
}

/// Clause 4: a scheduler that said "bind" says so again, as long as the snapshot shows the same room.
pub fn clause_4_a_decision_is_a_proposal<S: Scheduler>(make: impl Fn() -> S) {
    let mut scheduler = make();
    let pod = PodInfo::new("default", "again").with_cpu(900);
    let cluster = Snapshot::builder().node(NodeInfo::new("only").with_cpu(1_000)).build();

    let first = scheduler.schedule(&pod, &cluster);
    for attempt in 2..=4 {
        let next = scheduler.schedule(&pod, &cluster);
        assert!(
            !matches!(first, Decision::Bind(_)) || matches!(next, Decision::Bind(_)),
            "clause 4: attempt 1 was {first:?}, attempt {attempt} in the same cluster {next:?}"
        );
    }
}

/// Clause 5: what an earlier snapshot showed changes nothing about what a decision may name.
pub fn clause_5_every_snapshot_is_new<S: Scheduler>(make: impl Fn() -> S) {
    let pod = PodInfo::new("default", "moving").with_cpu(100);
    let roomy = |names: &[&str]| {
        let nodes = names.iter().map(|name| NodeInfo::new(*name).with_cpu(1_000).with_pods(10));
        nodes.fold(Snapshot::builder(), SnapshotBuilder::node).build()
    };
    let full = |names: &[&str]| {
        let nodes = names.iter().map(|name| NodeInfo::new(*name).with_cpu(0).with_pods(0).cordoned());
        nodes.fold(Snapshot::builder(), SnapshotBuilder::node).build()
    };
    let courses = [
        [roomy(&["a", "b", "c"]), roomy(&[]), roomy(&["d"]), full(&["d", "e"])],
        [full(&["a", "b"]), full(&[]), full(&["b", "c", "d"]), roomy(&["a"])],
    ];

    for course in courses {
        let mut scheduler = make();
        for (step, cluster) in course.iter().enumerate() {
            let decision = scheduler.schedule(&pod, cluster);
            let checked = names_only_what_is_there(&decision, &pod, cluster)
                .and_then(|()| refuses_each_node(&decision, cluster));
            if let Err(problem) = checked {
                panic!("clause 5: snapshot {step} of a changing cluster: {problem}");
            }
        }
    }
}

/// Clause 6: a decision is made within 10 seconds, whatever is asked.
pub fn clause_6_it_comes_back<S: Scheduler>(make: impl Fn() -> S) {
    comes_back_within(Duration::from_secs(10), make());
}

/// Clause 7: what is bound to a node might fit there.
pub fn clause_7_a_hint_leaves_nothing_out<S: Scheduler>(make: impl Fn() -> S) {
    let mut scheduler = make();

    for (name, cluster) in clusters() {
        for pod in pods() {
            let decision = scheduler.schedule(&pod, &cluster);
            let Decision::Bind(node) = decision else { continue };
            let Some(node) = cluster.node(node) else { continue };
            assert!(
                scheduler.might_fit(&pod, node),
                "clause 7: {} in the {name} cluster was bound to {}, where it is said not to fit",
                pod.key,
                node.name()
            );
        }
    }
}

fn comes_back_within(patience: Duration, mut scheduler: impl Scheduler) {
    let (done, result) = mpsc::sync_channel(1);
    let _blocked_for_good_if_it_fails = thread::spawn(move || {
        for (_, cluster) in clusters() {
            for pod in pods() {
                scheduler.schedule(&pod, &cluster);
            }
        }
        // An error means that nobody waits any more.
        let _ = done.send(());
    });
    match result.recv_timeout(patience) {
        Ok(()) => {}
        Err(RecvTimeoutError::Timeout) => panic!("clause 6: not decided within {patience:?}"),
        Err(RecvTimeoutError::Disconnected) => panic!("clause 6: `schedule` panicked"),
    }
}

fn names_only_what_is_there(decision: &Decision, pod: &PodInfo, cluster: &Snapshot) -> Result<(), String> {
    match decision {
        Decision::Bind(node) => {
            cluster.node(*node).map(drop).ok_or(format!("bound to {node:?}, which is not there"))
        }
        Decision::Preempt { node, victims } => {
            let node = cluster.node(*node).ok_or(format!("preempts on {node:?}, which is not there"))?;
            if victims.is_empty() {
                return Err("preempts nobody".into());
            }
            for victim in victims {
                let found = node.pods().iter().find(|known| known.key == *victim);
                let found = found.ok_or(format!("preempts {victim}, which is not on {}", node.name()))?;
                if found.priority >= pod.priority {
                    return Err(format!("preempts {victim}, which is as important"));
                }
            }
            Ok(())
        }
        Decision::Unschedulable(_) | Decision::Wait => Ok(()),
    }
}

fn refuses_each_node(decision: &Decision, cluster: &Snapshot) -> Result<(), String> {
    let Decision::Unschedulable(refusals) = decision else { return Ok(()) };
    let mut refused: Vec<_> = refusals.iter().map(|(node, _)| node).collect();
    refused.dedup();
    let listed: Vec<_> = cluster.nodes().map(|node| node.id()).collect();
    let missing: BTreeSet<_> = listed.iter().filter(|node| !refused.contains(node)).collect();
    if refused == listed {
        Ok(())
    } else if missing.is_empty() {
        Err(format!("refused {refused:?} of the nodes {listed:?}, in this order"))
    } else {
        Err(format!("gave no reason for {missing:?} of the nodes {listed:?}"))
    }
}

/// Clusters of every kind that a scheduler may meet, by name.
fn clusters() -> Vec<(&'static str, Snapshot)> {
    let filler = |name: &str, cpu| PodInfo::new("kube-system", name).with_cpu(cpu).with_priority(-5);
    let roomy =
        ["a", "b", "c"].map(|name| NodeInfo::new(name).with_cpu(4_000).with_memory(8 << 30).with_pods(110));
    let roomy = roomy.into_iter().fold(Snapshot::builder(), SnapshotBuilder::node);
    let mut holed = roomy.clone().node(NodeInfo::new("d")).node(NodeInfo::new("e")).build();
    holed.remove_node("a");
    holed.remove_node("d");
    vec![
        ("empty", Snapshot::new()),
        ("roomy", roomy.build()),
        ("holed", holed),
        (
            "full",
            Snapshot::builder()
                .node(NodeInfo::new("a").with_cpu(100).with_memory(1 << 20).with_pods(2))
                .node(NodeInfo::new("b").with_cpu(100).with_pods(1))
                .pod("a", filler("one", 60))
                .pod("a", filler("two", 40).with_priority(i32::MAX))
                .pod("b", filler("three", 100).with_group("group").with_host_port(HostPort::tcp(80)))
                .build(),
        ),
        (
            "closed",
            Snapshot::builder()
                .node(NodeInfo::new("a").cordoned())
                .node(NodeInfo::new("b").with_taint(Taint::new("closed", "yes", TaintEffect::NoSchedule)))
                .node(NodeInfo::new("c").with_taint(Taint::new("closed", "", TaintEffect::NoExecute)))
                .node(NodeInfo::new("d").with_pods(0))
                .build(),
        ),
        (
            "odd",
            Snapshot::builder()
                .node(NodeInfo::new("nothing").with_cpu(0).with_memory(0).with_pods(0))
                .node(NodeInfo::new("negative").with_cpu(-1).with_memory(i64::MIN).with_pods(-1))
                .node(NodeInfo::new("unlimited"))
                .node(NodeInfo::new("huge").with_cpu(i64::MAX - 1).with_memory(i64::MAX - 1))
                .node(NodeInfo::new("overfull").with_cpu(1).with_pods(1))
                .node(NodeInfo::new("shy").with_taint(Taint::new("", "", TaintEffect::PreferNoSchedule)))
                .pod("overfull", filler("huge", i64::MAX))
                .pod("overfull", filler("huge-too", i64::MAX).with_memory(i64::MAX))
                .pod("elsewhere", filler("stray", 1))
                .build(),
        ),
    ]
}

/// Pods of every kind that a scheduler may meet.
fn pods() -> Vec<PodInfo> {
    let pod = |name| PodInfo::new("default", name);
    let mut picky = pod("picky").with_node_label("disk", "ssd");
    let weighted = |weight| (weight, NodeTerm { labels: Vec::new(), name: vec![Test::Exists] });
    picky.affinity.preferred = vec![weighted(i32::MAX), weighted(i32::MIN), weighted(0)];
    let mut impossible = pod("impossible").with_priority(i32::MIN);
    impossible.affinity.required = Some(Vec::new());
    let mut named = pod("named");
    named.node = Some("nowhere".into());
    vec![
        pod("plain"),
        pod("usual")
            .with_cpu(250)
            .with_memory(64 << 20)
            .with_group("group")
            .with_host_port(HostPort::tcp(80)),
        pod("important").with_cpu(50).with_priority(1_000_000),
        pod("greedy").with_cpu(i64::MAX).with_memory(i64::MAX).with_extended("example.com/dongle", i64::MAX),
        picky,
        impossible,
        named,
    ]
}

#[cfg(test)]
mod tests;
