//! The driver against the real API server, in process, with the rights of the scheduler and no more.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, Node, Pod, PodCondition, ServiceAccount};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use quarterdeck_core::client::Context;
use quarterdeck_core::clock::Clock;
use quarterdeck_core::component::{BoxError, Component, Stop, StopSignal};
use quarterdeck_core::random::Random;
use quarterdeck_core::scheduling::{Decision, PodInfo, Scheduler, Snapshot};
use quarterdeck_registry::{ApiServer, MemoryStorage, User};
use quarterdeck_scheduler::{SchedulerDriver, filters};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::sleep;

struct Cluster {
    server: ApiServer,
    client: Client,
    signal: StopSignal,
    driver: JoinSet<Result<(), BoxError>>,
}

impl Cluster {
    async fn start(assemble: impl FnOnce(&Context) -> SchedulerDriver) -> Self {
        let clock = Clock::following_tokio("2026-01-01T00:00:00Z".parse().unwrap());
        let random = Random::seeded(1);
        let server = ApiServer::builder(MemoryStorage::new())
            .clock(clock.clone())
            .random(random.fork("apiserver"))
            .start()
            .await
            .unwrap();
        // Its controller does not run here.
        let account = serde_json::from_value(json!({ "metadata": { "name": "default" } })).unwrap();
        let accounts: Api<ServiceAccount> = Api::namespaced(server.client(), "default");
        accounts.create(&PostParams::default(), &account).await.unwrap();

        let identity = User::new("system:kube-scheduler");
        let context = Context::new(server.client_as(identity), clock, random.fork("scheduler"));
        let (signal, stop) = Stop::channel();
        let mut driver = JoinSet::new();
        driver.spawn(Box::new(assemble(&context)).run(stop));
        Self { client: server.client(), server, signal, driver }
    }

    async fn stop(mut self) {
        self.signal.stop();
        self.driver.join_next().await.unwrap().unwrap().unwrap();
        self.server.shutdown().await;
    }

    async fn node(&self, name: &str, cpu: &str) {
        let node = json!({
            "metadata": { "name": name },
            "status": { "capacity": { "cpu": cpu, "pods": "110" }, "allocatable": { "cpu": cpu, "pods": "110" } },
        });
        let node: Node = serde_json::from_value(node).unwrap();
        let nodes: Api<Node> = Api::all(self.client.clone());
        nodes.create(&PostParams::default(), &node).await.unwrap();
        // A new node is not ready until its controller, which does not run here, says otherwise.
        let ready = Patch::Merge(json!({ "spec": { "taints": null } }));
        nodes.patch(name, &PatchParams::default(), &ready).await.unwrap();
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), "default")
    }

    async fn pod(&self, name: &str, cpu: &str, spec: Value) {
        let mut pod = json!({
            "metadata": { "name": name, "labels": { "app": "web" } },
            "spec": { "containers": [{ "name": "c", "image": "host", "resources": { "requests": { "cpu": cpu } } }] },
        });
        for (field, value) in spec.as_object().unwrap() {
            pod["spec"][field] = value.clone();
        }
        let pod: Pod = serde_json::from_value(pod).unwrap();
        self.pods().create(&PostParams::default(), &pod).await.unwrap();
    }

    async fn node_of(&self, pod: &str) -> Option<String> {
        self.pods().get(pod).await.unwrap().spec.unwrap().node_name
    }

    async fn condition(&self, pod: &str) -> PodCondition {
        let conditions = self.pods().get(pod).await.unwrap().status.unwrap().conditions.unwrap();
        conditions.into_iter().find(|condition| condition.type_ == "PodScheduled").unwrap()
    }

    async fn events(&self) -> Vec<String> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), "default");
        let events = events.list(&ListParams::default()).await.unwrap();
        let mut all: Vec<_> = events
            .iter()
            .map(|event| {
                let object = event.involved_object.name.clone().unwrap_or_default();
                let source = event.source.clone().unwrap_or_default().component.unwrap_or_default();
                let (reason, message) = (event.reason.clone(), event.message.clone());
                format!("{source}: {object} {} {}", reason.unwrap_or_default(), message.unwrap_or_default())
            })
            .collect();
        all.sort();
        all
    }
}

async fn settle() {
    sleep(Duration::from_millis(50)).await;
}

#[tokio::test(start_paused = true)]
async fn pods_get_nodes_and_what_does_not_fit_waits_and_says_why_until_there_is_room() {
    let cluster = Cluster::start(SchedulerDriver::new).await;
    cluster.node("node01", "1").await;
    cluster.node("node02", "1").await;
    for name in ["a", "b"] {
        cluster.pod(name, "800m", json!({})).await;
    }
    settle().await;
    cluster.pod("c", "500m", json!({})).await;
    settle().await;

    let mut nodes = [cluster.node_of("a").await.unwrap(), cluster.node_of("b").await.unwrap()];
    nodes.sort();
    assert_eq!(nodes, ["node01", "node02"]);
    let waiting = cluster.condition("c").await;
    assert_eq!((waiting.status.as_str(), waiting.reason.as_deref()), ("False", Some("Unschedulable")));
    assert_eq!(waiting.message.as_deref(), Some("0/2 nodes are available: 2 Insufficient cpu."));
    let a = cluster.node_of("a").await.unwrap();
    let b = cluster.node_of("b").await.unwrap();
    assert_eq!(
        cluster.events().await,
        [
            format!("default-scheduler: a Scheduled Successfully assigned default/a to {a}"),
            format!("default-scheduler: b Scheduled Successfully assigned default/b to {b}"),
            "default-scheduler: c FailedScheduling 0/2 nodes are available: 2 Insufficient cpu.".into(),
        ]
    );

    // It runs to its end: its node is free again.
    let done = json!({ "status": { "phase": "Succeeded" } });
    cluster.pods().patch_status("a", &PatchParams::default(), &Patch::Merge(done)).await.unwrap();
    settle().await;

    assert_eq!(cluster.node_of("c").await, Some(a));
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_deleted_pod_a_new_node_and_an_opened_one_make_room_at_once() {
    let cluster = Cluster::start(SchedulerDriver::new).await;
    cluster.node("a", "1").await;
    for name in ["one", "two", "three", "four"] {
        cluster.pod(name, "1", json!({})).await;
        settle().await;
    }
    assert_eq!(cluster.node_of("one").await.as_deref(), Some("a"));

    cluster.pods().delete("one", &DeleteParams::default().grace_period(0)).await.unwrap();
    settle().await;
    assert_eq!(cluster.node_of("two").await.as_deref(), Some("a"));

    cluster.node("b", "1").await;
    settle().await;
    assert_eq!(cluster.node_of("three").await.as_deref(), Some("b"));

    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let cordon = |closed: bool| Patch::Merge(json!({ "spec": { "unschedulable": closed } }));
    let bigger = json!({ "status": { "capacity": { "cpu": "2" }, "allocatable": { "cpu": "2" } } });
    nodes.patch("b", &PatchParams::default(), &cordon(true)).await.unwrap();
    nodes.patch_status("b", &PatchParams::default(), &Patch::Merge(bigger)).await.unwrap();
    settle().await;
    assert_eq!(cluster.node_of("four").await, None);
    nodes.patch("b", &PatchParams::default(), &cordon(false)).await.unwrap();
    settle().await;
    assert_eq!(cluster.node_of("four").await.as_deref(), Some("b"));
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_host_port_is_given_out_once_per_node() {
    let cluster = Cluster::start(SchedulerDriver::new).await;
    cluster.node("a", "4").await;
    cluster.node("b", "4").await;
    let ports =
        json!([{ "name": "c", "image": "host", "ports": [{ "containerPort": 80, "hostPort": 8080 }] }]);
    for name in ["1", "2", "3"] {
        cluster.pod(name, "0", json!({ "containers": ports })).await;
        settle().await;
    }

    assert_eq!(cluster.node_of("3").await, None);
    assert_eq!(
        cluster.condition("3").await.message.as_deref(),
        Some("0/2 nodes are available: 2 node(s) didn't have free ports for the requested pod ports.")
    );
    cluster.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_scheduler_of_ones_own_runs_beside_the_default() {
    #[derive(Debug)]
    struct FewestPods;
    impl Scheduler for FewestPods {
        fn schedule(&mut self, pod: &PodInfo, cluster: &Snapshot) -> Decision {
            match filters::feasible(pod, cluster).into_iter().min_by_key(|node| node.pods().len()) {
                Some(node) => Decision::Bind(node.id()),
                None => Decision::Unschedulable(filters::refusals(pod, cluster)),
            }
        }
    }
    let cluster =
        Cluster::start(|context| SchedulerDriver::new(context).scheduler("fewest-pods", FewestPods)).await;
    cluster.node("a", "8").await;
    cluster.node("b", "8").await;

    for name in ["1", "2", "3", "4"] {
        cluster.pod(name, "1", json!({ "schedulerName": "fewest-pods" })).await;
    }
    cluster.pod("other", "1", json!({})).await;
    settle().await;

    let mut nodes = Vec::new();
    for name in ["1", "2", "3", "4"] {
        nodes.push(cluster.node_of(name).await.unwrap());
    }
    assert_eq!(nodes, ["a", "b", "a", "b"]);
    assert_eq!(cluster.node_of("other").await, None, "nobody here is called default-scheduler");
    assert!(cluster.events().await[0].starts_with("fewest-pods: "));
    cluster.stop().await;
}
