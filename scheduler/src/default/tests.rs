use std::collections::BTreeMap;

use proptest::prelude::*;
use quarterdeck_core::scheduling::{HostPort, NodeInfo, Taint, TaintEffect};

use super::*;

quarterdeck_core::scheduling_suite!(contract, || DefaultScheduler::new(Random::seeded(1)));

fn scheduler() -> DefaultScheduler {
    DefaultScheduler::new(Random::seeded(1))
}

fn pod(name: &str) -> PodInfo {
    PodInfo::new("default", name)
}

fn chosen(decision: &Decision, cluster: &Snapshot) -> String {
    match decision {
        Decision::Bind(node) => cluster.node(*node).unwrap().name().to_string(),
        Decision::Unschedulable(refusals) => refusals.to_string(),
        other => format!("{other:?}"),
    }
}

/// Places pods one after the other and returns where they went.
fn place(cluster: &mut Snapshot, pods: impl IntoIterator<Item = PodInfo>) -> Vec<String> {
    let mut scheduler = scheduler();
    let mut went = Vec::new();
    for pod in pods {
        let decision = scheduler.schedule(&pod, cluster);
        went.push(chosen(&decision, cluster));
        if let Decision::Bind(node) = decision {
            let node = cluster.node(node).unwrap().name().clone();
            cluster.place(pod, node);
        }
    }
    went
}

#[test]
fn two_replicas_that_ask_for_nothing_land_on_two_equal_nodes() {
    let mut cluster = Snapshot::builder().node(NodeInfo::new("node01")).node(NodeInfo::new("node02")).build();

    let mut went = place(&mut cluster, ["1", "2"].map(|name| pod(name).with_group("rc")));

    went.sort();
    assert_eq!(went, ["node01", "node02"]);
}

#[test]
fn of_unequal_nodes_the_less_requested_gets_the_pods() {
    let mut cluster = Snapshot::builder()
        .node(NodeInfo::new("large").with_cpu(8_000).with_memory(8 << 30))
        .node(NodeInfo::new("small").with_cpu(2_000).with_memory(2 << 30))
        .build();

    let went = place(
        &mut cluster,
        ["1", "2", "3", "4", "5"].map(|name| pod(name).with_cpu(500).with_memory(1 << 29)),
    );

    assert_eq!(went.iter().filter(|node| *node == "large").count(), 4, "{went:?}");
}

#[test]
fn a_full_node_gets_a_pod_again_once_another_is_gone() {
    let mut cluster = Snapshot::builder().node(NodeInfo::new("a").with_cpu(1_000)).build();

    let went = place(&mut cluster, ["1", "2"].map(|name| pod(name).with_cpu(1_000)));
    assert_eq!(went, ["a", "0/1 nodes are available: 1 Insufficient cpu."]);
    cluster.remove_pod("default/1");

    assert_eq!(place(&mut cluster, [pod("2").with_cpu(1_000)]), ["a"]);
}

#[test]
fn a_third_replica_with_a_host_port_finds_no_second_port_on_two_nodes() {
    let mut cluster = Snapshot::builder().node(NodeInfo::new("a")).node(NodeInfo::new("b")).build();

    let went = place(&mut cluster, ["1", "2", "3"].map(|name| pod(name).with_host_port(HostPort::tcp(8080))));

    assert_eq!(
        went[2],
        "0/2 nodes are available: 2 node(s) didn't have free ports for the requested pod ports."
    );
}

#[test]
fn each_node_is_refused_for_the_first_rule_that_it_breaks_in_upstreams_words() {
    let cluster = Snapshot::builder()
        .node(NodeInfo::new("a").cordoned())
        .node(NodeInfo::new("b").with_taint(Taint::new("dedicated", "db", TaintEffect::NoSchedule)))
        .node(NodeInfo::new("c").with_label("disk", "ssd").with_cpu(10).with_memory(10).with_pods(0))
        .node(NodeInfo::new("d").with_cpu(10))
        .build();
    let pod = pod("1").with_node_label("disk", "ssd").with_cpu(100).with_memory(100);

    let decision = scheduler().schedule(&pod, &cluster);

    assert_eq!(
        chosen(&decision, &cluster),
        "0/4 nodes are available: 1 Insufficient cpu, 1 Insufficient memory, 1 Too many pods, \
         1 node(s) didn't match Pod's node affinity/selector, 1 node(s) had untolerated taint {dedicated: db}, \
         1 node(s) were unschedulable."
    );
}

#[test]
fn ties_are_broken_by_the_seed() {
    let cluster = ["a", "b", "c", "d"].map(NodeInfo::new).into_iter();
    let cluster = cluster.fold(Snapshot::builder(), |cluster, node| cluster.node(node)).build();
    let run = |seed| {
        let mut scheduler = DefaultScheduler::new(Random::seeded(seed));
        (0..32).map(|_| chosen(&scheduler.schedule(&pod("1"), &cluster), &cluster)).collect::<Vec<_>>()
    };

    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
    let mut shares: BTreeMap<String, u32> = BTreeMap::new();
    for node in run(1) {
        *shares.entry(node).or_default() += 1;
    }
    assert_eq!(shares.len(), 4, "{shares:?}");
}

#[test]
fn a_pod_goes_where_room_was_made_for_it() {
    let cluster = Snapshot::builder()
        .node(NodeInfo::new("empty").with_cpu(10_000))
        .node(NodeInfo::new("made").with_cpu(1_000))
        .build();
    let mut nominee = pod("1").with_cpu(900);
    nominee.nominated = Some("made".into());

    assert_eq!(chosen(&scheduler().schedule(&nominee, &cluster), &cluster), "made");
}

#[test]
fn a_rule_and_a_preference_can_be_added() {
    #[derive(Debug)]
    struct NotA;
    impl Filter for NotA {
        fn name(&self) -> &'static str {
            "NotA"
        }
        fn admits(&self, _pod: &PodInfo, node: &Node) -> bool {
            *node.name() != "a"
        }
        fn reasons(&self, _pod: &PodInfo, _node: &Node) -> Vec<std::borrow::Cow<'static, str>> {
            vec!["node(s) are called a".into()]
        }
    }
    #[derive(Debug)]
    struct Last;
    impl Score for Last {
        fn name(&self) -> &'static str {
            "Last"
        }
        fn add(&self, _: &PodInfo, _: &Snapshot, _: &[&Node], weight: f64, totals: &mut [f64]) {
            if let Some(last) = totals.last_mut() {
                *last += weight * scores::BEST;
            }
        }
    }
    let mut scheduler = scheduler().with_filter(NotA).with_score(10.0, Last);
    let cluster = ["a", "b", "c"].map(NodeInfo::new).into_iter();
    let cluster = cluster.fold(Snapshot::builder(), |cluster, node| cluster.node(node)).build();
    let only_a = Snapshot::builder().node(NodeInfo::new("a")).build();

    assert_eq!(chosen(&scheduler.schedule(&pod("1"), &cluster), &cluster), "c");
    assert_eq!(
        chosen(&scheduler.schedule(&pod("1"), &only_a), &only_a),
        "0/1 nodes are available: 1 node(s) are called a."
    );
}

#[derive(Debug, Clone)]
enum Step {
    Arrive { cpu: i64, memory: i64, gpu: i64, port: u16 },
    Leave(prop::sample::Index),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let arrive = (0..900_i64, 0..900_i64, 0..3_i64, 0..4_u16)
        .prop_map(|(cpu, memory, gpu, port)| Step::Arrive { cpu, memory, gpu, port });
    let leave = any::<prop::sample::Index>().prop_map(Step::Leave);
    prop::collection::vec(prop_oneof![3 => arrive, 1 => leave], 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_comes_and_goes_no_node_holds_more_than_it_has(steps in steps(), seed: u64) {
        let mut scheduler = DefaultScheduler::new(Random::seeded(seed));
        let node = |name| NodeInfo::new(name).with_cpu(2_000).with_memory(1_500).with_pods(6).with_extended("gpu", 4);
        let mut cluster = Snapshot::builder().node(node("a")).node(node("b").with_pods(3)).node(node("c")).build();
        let mut there: Vec<PodInfo> = Vec::new();

        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Arrive { cpu, memory, gpu, port } => {
                    let mut pod = pod(&number.to_string()).with_cpu(cpu).with_memory(memory).with_group("rs");
                    if gpu > 0 {
                        pod = pod.with_extended("gpu", gpu);
                    }
                    if port > 0 {
                        pod = pod.with_host_port(HostPort::tcp(port));
                    }
                    let decision = scheduler.schedule(&pod, &cluster);
                    let room = cluster.nodes().filter(|node| {
                        node.pods().len() < usize::try_from(node.info().pods).unwrap()
                            && node.requested().cpu + cpu <= 2_000
                            && node.requested().memory + memory <= 1_500
                            && node.requested().extended(&"gpu".into()) + gpu <= 4
                            && !node.host_ports().iter().any(|taken| taken.port == port)
                    });
                    let fits = room.map(Node::id).collect::<Vec<_>>();
                    match decision {
                        Decision::Bind(id) => {
                            prop_assert!(fits.contains(&id));
                            let node = cluster.node(id).unwrap().name().clone();
                            there.push(pod.clone());
                            cluster.place(pod, node);
                        }
                        other => prop_assert!(fits.is_empty(), "{:?}", other),
                    }
                }
                Step::Leave(index) if !there.is_empty() => {
                    let gone = there.swap_remove(index.index(there.len()));
                    cluster.remove_pod(gone.key.as_str());
                }
                Step::Leave(_) => {}
            }
            for node in cluster.nodes() {
                let sum: i64 = node.pods().iter().map(|pod| pod.requests.cpu).sum();
                prop_assert_eq!(sum, node.requested().cpu);
                prop_assert!(sum <= node.info().allocatable.cpu);
                prop_assert!(node.requested().memory <= node.info().allocatable.memory);
                prop_assert!(node.requested().extended(&"gpu".into()) <= 4);
                prop_assert!(node.pods().len() <= usize::try_from(node.info().pods).unwrap());
            }
        }
    }
}
