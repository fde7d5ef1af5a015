use quarterdeck_core::scheduling::{HostPort, NodeTerm, Protocol, TaintEffect, Test, Toleration};
use serde_json::{Value, json};

use super::*;

fn of(spec: Value) -> PodInfo {
    pod(&json!({ "metadata": { "namespace": "default", "name": "web" }, "spec": spec })).unwrap()
}

fn container(cpu: &str, memory: &str) -> Value {
    json!({ "name": "c", "resources": { "requests": { "cpu": cpu, "memory": memory } } })
}

#[test]
fn requests_of_containers_are_summed_exactly() {
    let pod =
        of(json!({ "containers": [container("0.1", "1Mi"), container("250m", "1k"), { "name": "none" }] }));

    assert_eq!((pod.requests.cpu, pod.requests.memory), (350, (1 << 20) + 1_000));
}

#[test]
fn an_init_container_counts_only_for_what_it_needs_more_than_the_others() {
    let pod = of(json!({
        "containers": [container("100m", "10"), container("100m", "10")],
        "initContainers": [container("150m", "50"), container("50m", "30")],
    }));

    assert_eq!((pod.requests.cpu, pod.requests.memory), (200, 50));
}

#[test]
fn a_sidecar_counts_with_the_containers_and_with_the_init_containers_after_it() {
    let mut sidecar = container("100m", "10");
    sidecar["restartPolicy"] = "Always".into();

    let pod = of(json!({
        "containers": [container("100m", "10")],
        "initContainers": [container("150m", "5"), sidecar, container("250m", "5")],
    }));

    assert_eq!((pod.requests.cpu, pod.requests.memory), (350, 20));
}

#[test]
fn overhead_is_added_and_what_is_asked_for_the_whole_pod_replaces_the_sum() {
    let pod = of(json!({
        "containers": [container("100m", "10")],
        "resources": { "requests": { "cpu": "1" } },
        "overhead": { "cpu": "50m", "memory": "7" },
    }));

    assert_eq!((pod.requests.cpu, pod.requests.memory), (1_050, 17));
}

#[test]
fn an_extended_resource_is_counted_in_units_and_an_unreadable_amount_never_fits() {
    let pod = of(json!({ "containers": [{ "resources": { "requests": {
        "example.com/gpu": "2", "hugepages-2Mi": "4Mi", "memory": "much", "cpu": 2 } } }] }));

    assert_eq!(pod.requests.extended(&"example.com/gpu".into()), 2);
    assert_eq!(pod.requests.extended(&"hugepages-2Mi".into()), 4 << 20);
    assert_eq!((pod.requests.memory, pod.requests.cpu), (Resources::UNLIMITED, 2_000));
}

#[test]
fn host_ports_have_a_protocol_and_an_address() {
    let ports = json!([
        { "containerPort": 80, "hostPort": 8080 },
        { "containerPort": 53, "hostPort": 53, "protocol": "UDP", "hostIP": "127.0.0.1" },
        { "containerPort": 1, "hostPort": 1, "hostIP": "0.0.0.0" },
        { "containerPort": 9 },
    ]);

    let pod = of(json!({ "containers": [{ "ports": ports }] }));
    let on_host = of(json!({ "hostNetwork": true, "containers": [{ "ports": [{ "containerPort": 9 }] }] }));

    let dns = HostPort { port: 53, protocol: Protocol::Udp, address: Some("127.0.0.1".parse().unwrap()) };
    assert_eq!(pod.host_ports, [HostPort::tcp(8080), dns, HostPort::tcp(1)]);
    assert_eq!(on_host.host_ports, [HostPort::tcp(9)]);
}

#[test]
fn node_affinity_keeps_its_terms() {
    let pod = of(json!({
        "nodeSelector": { "disk": "ssd" },
        "affinity": { "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [
                { "matchExpressions": [
                    { "key": "zone", "operator": "In", "values": ["a", "b"] },
                    { "key": "cores", "operator": "Gt", "values": ["8"] },
                    { "key": "cores", "operator": "Lt", "values": ["many"] },
                ] },
                { "matchFields": [{ "key": "metadata.name", "operator": "NotIn", "values": ["n1"] }] },
                {},
            ] },
            "preferredDuringSchedulingIgnoredDuringExecution": [
                { "weight": 7, "preference": { "matchExpressions": [{ "key": "gpu", "operator": "DoesNotExist" }] } },
            ],
        } },
    }));

    let [zones, names, empty] = pod.affinity.required.as_deref().unwrap() else { panic!("three terms") };
    assert_eq!(pod.affinity.selector.get(&"disk".into()), Some(&"ssd".into()));
    assert_eq!(zones.labels[0], ("zone".into(), Test::In(["a".into(), "b".into()].into())));
    assert_eq!(zones.labels[1], ("cores".into(), Test::Gt(8)));
    assert_eq!(zones.labels[2], ("cores".into(), Test::In([].into())));
    assert_eq!(names.name, [Test::NotIn(["n1".into()].into())]);
    assert_eq!(*empty, NodeTerm::default());
    assert_eq!(pod.affinity.preferred[0].0, 7);
    assert_eq!(pod.affinity.preferred[0].1.labels, [("gpu".into(), Test::DoesNotExist)]);
}

#[test]
fn tolerations_follow_their_operator() {
    let pod = of(json!({ "tolerations": [
        { "key": "dedicated", "operator": "Equal", "value": "db", "effect": "NoSchedule" },
        { "key": "gone", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300 },
        { "operator": "Exists" },
        { "key": "empty" },
        { "key": "load", "operator": "Gt", "value": "3" },
    ] }));

    let toleration = |key: Option<&str>, value: Option<&str>, effect| Toleration {
        key: key.map(Symbol::from),
        value: value.map(Symbol::from),
        effect,
    };
    assert_eq!(
        pod.tolerations,
        [
            toleration(Some("dedicated"), Some("db"), Some(TaintEffect::NoSchedule)),
            toleration(Some("gone"), None, Some(TaintEffect::NoExecute)),
            toleration(None, None, None),
            toleration(Some("empty"), Some(""), None),
        ]
    );
}

#[test]
fn pods_of_one_controller_are_one_group_and_so_are_those_that_look_alike() {
    let of = |metadata: Value| pod(&json!({ "metadata": metadata })).unwrap().group;
    let owner = json!([{ "uid": "u0", "controller": false }, { "uid": "u1", "controller": true }]);

    assert_eq!(
        of(json!({ "name": "a", "labels": { "app": "web" }, "ownerReferences": owner })),
        Some("u1".into())
    );
    assert_eq!(
        of(json!({ "name": "a", "namespace": "x", "labels": { "b": "2", "a": "1" } })),
        of(json!({ "name": "b", "namespace": "x", "labels": { "a": "1", "b": "2" } })),
    );
    assert_eq!(of(json!({ "name": "a" })), None);
}

#[test]
fn what_cannot_be_checked_is_named() {
    let pod = of(json!({
        "affinity": {
            "podAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": [{}] },
            "podAntiAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [{}] },
        },
        "topologySpreadConstraints": [{ "whenUnsatisfiable": "ScheduleAnyway" }],
    }));

    assert_eq!(pod.unchecked, ["spec.affinity.podAntiAffinity"]);
}

#[test]
fn a_watched_pod_tells_whether_it_waits() {
    let watched: WatchedPod = serde_json::from_value(json!({
        "metadata": { "namespace": "default", "name": "web", "uid": "u", "resourceVersion": "7",
                      "deletionTimestamp": "2026-01-01T00:00:00Z", "labels": null },
        "spec": { "nodeName": "", "priority": 5, "schedulingGates": [{ "name": "later" }], "schedulerName": "other" },
        "status": { "phase": "Failed", "nominatedNodeName": "n1", "conditions": [
            { "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no room" }] },
    }))
    .unwrap();

    assert!(watched.finished && watched.gated && watched.info.terminating);
    assert_eq!((watched.info.node.clone(), watched.info.priority), (None, 5));
    assert_eq!(
        (&watched.info.scheduler, watched.info.nominated.clone()),
        (&"other".into(), Some("n1".into()))
    );
    assert_eq!(kube::Resource::meta(&watched).resource_version.as_deref(), Some("7"));
    assert_eq!(watched.unscheduled.unwrap().message, "no room");
}

#[test]
fn a_node_has_what_it_declares_and_no_limit_otherwise() {
    let declared = node(&json!({
        "metadata": { "name": "n1", "labels": { "zone": "a" } },
        "spec": { "unschedulable": true, "taints": [
            { "key": "dedicated", "value": "db", "effect": "NoSchedule" },
            { "key": "odd", "effect": "Sometimes" }] },
        "status": { "capacity": { "cpu": "8" }, "allocatable": { "cpu": "7500m", "pods": "110", "example.com/gpu": "1" } },
    }))
    .unwrap();
    let capacity =
        node(&json!({ "metadata": { "name": "n2" }, "status": { "capacity": { "cpu": "8" } } })).unwrap();
    let bare = node(&json!({ "metadata": { "name": "n3" } })).unwrap();

    assert_eq!((declared.allocatable.cpu, declared.pods), (7_500, 110));
    assert_eq!(declared.allocatable.memory, Resources::UNLIMITED);
    assert_eq!(declared.allocatable.extended(&"example.com/gpu".into()), 1);
    assert_eq!(declared.taints.len(), 1);
    assert!(declared.unschedulable);
    assert_eq!(capacity.allocatable.cpu, 8_000);
    assert_eq!(bare, NodeInfo::new("n3"));
}
