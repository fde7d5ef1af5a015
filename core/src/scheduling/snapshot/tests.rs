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
