use proptest::prelude::*;

use super::super::HostPort;
use super::*;

fn pod(name: &str) -> PodInfo {
    PodInfo::new("default", name).with_cpu(100).with_group("rs")
}

fn counts(snapshot: &Snapshot) -> Vec<(String, u32)> {
    let name = |id| snapshot.node(id).unwrap().name().to_string();
    let mut counts: Vec<_> = snapshot.group(&"rs".into()).map(|(id, count)| (name(id), count)).collect();
    counts.sort();
    counts
}

#[test]
fn sums_follow_what_comes_and_goes() {
    let mut cluster = Snapshot::builder().node(NodeInfo::new("a").with_cpu(1_000).with_pods(3)).build();

    cluster.place(pod("1").with_host_port(HostPort::tcp(80)), "a");
    cluster.place(pod("2").with_memory(7), "a");
    cluster.remove_pod("default/1");
    cluster.place(pod("2").with_memory(5), "a");

    let node = cluster.named("a").unwrap();
    assert_eq!((node.free().cpu, node.free().pods, node.requested().memory), (900, 2, 5));
    assert_eq!(node.host_ports(), []);
    assert_eq!(node.estimated_use(), (100, 5));
}

#[test]
fn pods_that_come_before_their_node_count_once_it_is_there() {
    let mut cluster = Snapshot::new();
    cluster.place(pod("1"), "late");
    cluster.place(pod("2"), "late");
    cluster.remove_pod("default/2");

    cluster.set_node(NodeInfo::new("late").with_cpu(1_000));

    assert_eq!(cluster.named("late").unwrap().free().cpu, 900);
    assert_eq!(counts(&cluster), [("late".to_owned(), 1)]);
}

#[test]
fn a_node_that_comes_back_finds_its_pods_again() {
    let mut cluster = Snapshot::builder()
        .node(NodeInfo::new("a").with_cpu(1_000))
        .node(NodeInfo::new("b"))
        .pod("a", pod("1"))
        .pod("b", pod("2"))
        .build();

    cluster.remove_node("a");
    assert_eq!(counts(&cluster), [("b".to_owned(), 1)]);
    assert_eq!(cluster.len(), 1);
    cluster.set_node(NodeInfo::new("c"));
    cluster.set_node(NodeInfo::new("a").with_cpu(500));

    assert_eq!(cluster.named("a").unwrap().free().cpu, 400);
    assert_eq!(cluster.nodes().map(|node| node.name().as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(counts(&cluster), [("a".to_owned(), 1), ("b".to_owned(), 1)]);
}

#[test]
fn an_id_stays_with_its_node_while_others_come_and_go() {
    let mut cluster = Snapshot::builder().node(NodeInfo::new("m")).node(NodeInfo::new("z")).build();
    let id = cluster.named("m").unwrap().id();

    cluster.set_node(NodeInfo::new("a"));
    cluster.remove_node("z");
    cluster.set_node(NodeInfo::new("m").cordoned());

    assert_eq!(cluster.node(id).unwrap().name(), &"m");
    assert!(id.index() < cluster.id_bound());
}

#[test]
fn a_terminating_pod_takes_room_but_its_group_is_not_spread_around_it() {
    let mut leaving = pod("1");
    leaving.terminating = true;

    let cluster = Snapshot::builder().node(NodeInfo::new("a").with_cpu(1_000)).pod("a", leaving).build();

    assert_eq!(cluster.named("a").unwrap().free().cpu, 900);
    assert_eq!(counts(&cluster), []);
}

#[derive(Debug, Clone)]
enum Change {
    Node { name: u8, cpu: i64 },
    NodeGone(u8),
    Pod { name: u8, node: u8, cpu: i64, port: u16, group: u8, terminating: bool },
    PodGone(u8),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let cpu = || prop_oneof![4 => 0..1_000_i64, 1 => Just(i64::MAX), 1 => Just(i64::MAX - 1)];
    let node = (0..4_u8, cpu()).prop_map(|(name, cpu)| Change::Node { name, cpu });
    let pod = (0..8_u8, 0..4_u8, cpu(), 0..3_u16, 0..2_u8, any::<bool>()).prop_map(
        |(name, node, cpu, port, group, terminating)| Change::Pod {
            name,
            node,
            cpu,
            port,
            group,
            terminating,
        },
    );
    let change = prop_oneof![
        2 => node,
        1 => (0..4_u8).prop_map(Change::NodeGone),
        4 => pod,
        2 => (0..8_u8).prop_map(Change::PodGone),
    ];
    prop::collection::vec(change, 0..60)
}

/// Returns everything that a reader can see, but for ids.
fn seen(snapshot: &Snapshot) -> Vec<String> {
    let node = |node: &Node| {
        let keys: Vec<_> = node.pods().iter().map(|pod| pod.key.clone()).collect();
        let sums = (node.requested(), node.free(), node.capacity(), node.estimated_use(), node.host_ports());
        format!("{} {} {sums:?} {keys:?}", node.name(), node.is_open())
    };
    let mut all: Vec<_> = snapshot.nodes().map(node).collect();
    for group in ["group-0", "group-1"] {
        let mut counts: Vec<_> = snapshot
            .group(&group.into())
            .map(|(id, count)| format!("{group} {} {count}", snapshot.node(id).unwrap().name()))
            .collect();
        counts.sort();
        all.extend(counts);
    }
    all
}

proptest! {
    #[test]
    fn a_snapshot_kept_up_to_date_looks_like_one_made_at_once(changes in changes()) {
        let mut kept = Snapshot::new();
        let mut nodes = BTreeMap::new();
        let mut pods = BTreeMap::new();

        for change in changes {
            match change {
                Change::Node { name, cpu } => {
                    let info = NodeInfo::new(format!("node-{name}")).with_cpu(cpu);
                    nodes.insert(name, info.clone());
                    kept.set_node(info);
                }
                Change::NodeGone(name) => {
                    nodes.remove(&name);
                    kept.remove_node(&format!("node-{name}"));
                }
                Change::Pod { name, node, cpu, port, group, terminating } => {
                    let mut info = PodInfo::new("default", &name.to_string()).with_cpu(cpu);
                    info = info.with_extended("gpu", cpu % 3).with_group(format!("group-{group}"));
                    info.terminating = terminating;
                    if port > 0 {
                        info = info.with_host_port(HostPort::tcp(port));
                    }
                    pods.insert(name, (info.clone(), format!("node-{node}")));
                    kept.place(info, format!("node-{node}"));
                }
                Change::PodGone(name) => {
                    let gone = kept.remove_pod(&format!("default/{name}"));
                    prop_assert_eq!(gone.is_some(), pods.remove(&name).is_some());
                }
            }
        }

        let fresh = nodes.into_values().fold(Snapshot::builder(), SnapshotBuilder::node);
        let fresh = pods.into_values().fold(fresh, |cluster, (pod, node)| cluster.pod(&node, pod)).build();
        prop_assert_eq!(seen(&kept), seen(&fresh));
    }
}
