//! Whole clusters in one process: many at once, the same one twice, and one that loses a node; all in virtual time.
#![allow(clippy::unwrap_used, reason = "a test may panic, and so may what it calls")]

#[path = "cluster/metrics.rs"]
mod metrics;
#[path = "cluster/rights.rs"]
mod rights;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Pod, ResourceQuota};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::wait::{await_condition, conditions::is_pod_running};
use quarterdeck::ControlPlaneBuilder;
use quarterdeck::agent::Agent;
use quarterdeck::core::component::{BoxError, StopSignal};
use quarterdeck::core::storage::{Change, Revision};
use quarterdeck::prelude::*;
use quarterdeck::{PlaneError, Problem};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// A node that can be lost: its agent is dropped where it stands, and tells nobody.
struct Mortal {
    agent: Agent,
    death: Stop,
}

#[async_trait]
impl Component for Mortal {
    fn name(&self) -> String {
        self.agent.name()
    }

    async fn run(mut self: Box<Self>, mut stop: Stop) -> Result<(), BoxError> {
        match self.death.or(Box::new(self.agent).run(stop.clone())).await {
            Some(ended) => ended,
            None => {
                stop.wait().await;
                Ok(())
            }
        }
    }
}

/// A cluster with the nodes `node-1` and `node-2`, of which the second is lost when the signal is sent.
fn two_nodes(storage: MemoryStorage, seed: u64) -> (ControlPlaneBuilder, StopSignal) {
    let clock = Clock::following_tokio("2026-01-01T00:00:00Z".parse().unwrap());
    let runtime = |network: &str| {
        let network: ipnet::IpNet = network.parse().unwrap();
        SimulatedRuntime::builder().clock(clock.clone()).pod_cidr(network).build()
    };
    let (first, second) = (runtime("10.244.1.0/24"), runtime("10.244.2.0/24"));
    let (signal, death) = Stop::channel();
    let plane = ControlPlane::builder(storage)
        .random(Random::seeded(seed))
        .node("node-1", first)
        .controller_as(User::node("node-2"), |context| Mortal {
            agent: Agent::new(context, "node-2", second),
            death,
        })
        .clock(clock);
    (plane, signal)
}

fn deployment(replicas: u32) -> Deployment {
    let value = json!({
        "metadata": {"name": "web"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "any"}]},
        }},
    });
    serde_json::from_value(value).unwrap()
}

/// Returns names, nodes and whether they end of pods that are ready, or not ready.
async fn pods(pods: &Api<Pod>) -> Vec<Value> {
    let list = pods.list(&ListParams::default()).await.unwrap();
    list.items.iter().map(|pod| serde_json::to_value(pod).unwrap()).collect()
}

fn is_ready(object: &Value) -> bool {
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

fn is_ending(pod: &Value) -> bool {
    pod["metadata"]["deletionTimestamp"].is_string()
}

#[tokio::test(start_paused = true)]
async fn a_hundred_clusters_live_in_one_process_and_know_nothing_of_each_other() {
    let mut clusters = Vec::new();
    for number in 0..100 {
        let clock = Clock::following_tokio("2026-01-01T00:00:00Z".parse().unwrap());
        let node = SimulatedRuntime::new(clock.clone());
        let plane = ControlPlane::builder(MemoryStorage::new())
            .clock(clock)
            .random(Random::seeded(number))
            .node(format!("node-{number}"), node);
        clusters.push(plane.build().unwrap().start().await.unwrap());
    }

    for (number, cluster) in clusters.iter().enumerate() {
        cluster.ready().await.unwrap();
        let pod = json!({
            "metadata": {"name": format!("pod-{number}")},
            "spec": {"containers": [{"name": "main", "image": "any"}]},
        });
        let api: Api<Pod> = Api::default_namespaced(cluster.client());
        api.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    }

    for (number, cluster) in clusters.into_iter().enumerate() {
        let api: Api<Pod> = Api::default_namespaced(cluster.client());
        let running = await_condition(api.clone(), &format!("pod-{number}"), is_pod_running()).await.unwrap();
        assert_eq!(running.unwrap().spec.unwrap().node_name, Some(format!("node-{number}")));
        assert_eq!(pods(&api).await.len(), 1, "nobody else's pods are here");
        cluster.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_pods_of_a_lost_node_are_replaced_elsewhere_after_their_toleration() {
    let (plane, death) = two_nodes(MemoryStorage::new(), 1);
    let cluster = plane.build().unwrap().start().await.unwrap();
    cluster.ready().await.unwrap();
    sleep(Duration::from_secs(5)).await;
    let (api, nodes): (Api<Pod>, Api<Node>) =
        (Api::default_namespaced(cluster.client()), Api::all(cluster.client()));
    let node = async || json!(nodes.get("node-2").await.unwrap());
    Api::default_namespaced(cluster.client()).create(&PostParams::default(), &deployment(4)).await.unwrap();
    sleep(Duration::from_secs(5)).await;
    let before = pods(&api).await;
    assert_eq!(before.iter().filter(|pod| pod["spec"]["nodeName"] == "node-2").count(), 2);
    assert!(before.iter().all(is_ready) && is_ready(&node().await));

    death.stop();
    sleep(Duration::from_secs(30)).await;
    assert!(is_ready(&node().await), "it may be silent for 40 seconds");
    sleep(Duration::from_secs(30)).await;
    assert!(!is_ready(&node().await));
    let now = pods(&api).await;
    assert_eq!(now.len(), 4, "its pods are tolerated there for 300 seconds");
    assert!(now.iter().all(|pod| is_ready(pod) == (pod["spec"]["nodeName"] == "node-1")));

    sleep(Duration::from_secs(300)).await;
    let now = pods(&api).await;
    let (ending, alive): (Vec<_>, Vec<_>) = now.into_iter().partition(is_ending);
    assert_eq!((ending.len(), alive.len()), (2, 4));
    assert!(ending.iter().all(|pod| pod["spec"]["nodeName"] == "node-2"));
    assert!(alive.iter().all(|pod| pod["spec"]["nodeName"] == "node-1" && is_ready(pod)));
    cluster.stop().await;
}

/// A revision, a key, and what was written there; nothing if it was deleted.
type Record = (u64, String, Option<String>);

/// Records all that is committed, from the first revision.
async fn record(storage: MemoryStorage, records: Arc<Mutex<Vec<Record>>>) {
    let mut commits = storage.watch("/registry/", Revision(0)).await.unwrap();
    while let Some(commit) = commits.next().await {
        let commit = commit.unwrap();
        let mut records = records.lock().unwrap();
        for change in commit.changes {
            let value = match &change {
                Change::Put { entry, .. } => Some(String::from_utf8(entry.value.to_vec()).unwrap()),
                Change::Delete { .. } => None,
            };
            records.push((commit.revision.0, change.key().to_string(), value));
        }
    }
}

/// Ten minutes of a cluster: a deployment is created, scaled, loses a node and is deleted.
async fn ten_minutes(seed: u64) -> Vec<Record> {
    let storage = MemoryStorage::new();
    let (mut recorder, records) = (JoinSet::new(), Arc::default());
    recorder.spawn(record(storage.clone(), Arc::clone(&records)));
    let (plane, death) = two_nodes(storage, seed);
    let cluster = plane.build().unwrap().start().await.unwrap();
    cluster.ready().await.unwrap();
    let deployments: Api<Deployment> = Api::default_namespaced(cluster.client());

    deployments.create(&PostParams::default(), &deployment(3)).await.unwrap();
    sleep(Duration::from_secs(60)).await;
    let scale = Patch::Merge(json!({"spec": {"replicas": 5}}));
    deployments.patch("web", &PatchParams::default(), &scale).await.unwrap();
    sleep(Duration::from_secs(30)).await;
    death.stop();
    sleep(Duration::from_secs(400)).await;
    deployments.delete("web", &DeleteParams::background()).await.unwrap();
    sleep(Duration::from_secs(110)).await;

    cluster.stop().await;
    recorder.shutdown().await;
    std::mem::take(&mut *records.lock().unwrap())
}

/// Runs in a tokio runtime of its own, so that nothing is left of one run in the next.
fn in_one_thread<T>(work: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().start_paused(true).build().unwrap().block_on(work)
}

#[test]
#[expect(clippy::disallowed_methods, reason = "how long virtual time takes is a matter of real time")]
fn a_cluster_that_is_run_twice_from_one_seed_commits_the_same_bytes() {
    let begin = std::time::Instant::now();
    let first = in_one_thread(ten_minutes(7));
    println!("10 virtual minutes with {} writes took {:?}", first.len(), begin.elapsed());

    let second = in_one_thread(ten_minutes(7));

    let differs = first.iter().zip(&second).position(|(one, other)| one != other);
    if let Some(at) = differs {
        panic!("write {at} differs:\n{:?}\n{:?}", first[at], second[at]);
    }
    assert_eq!(first.len(), second.len());
    assert!(first.iter().any(|(_, key, value)| key.starts_with("/registry/pods/") && value.is_none()));
    assert_ne!(first, in_one_thread(ten_minutes(8)), "uids come from the seed");
}

#[test]
fn an_assembly_that_does_not_fit_together_names_everything_that_is_wrong() {
    let runtime = || SimulatedRuntime::new(Clock::system());
    let twice = ControlPlane::builder(MemoryStorage::new())
        .node("a", runtime())
        .node("a", runtime())
        .scheduler(DefaultScheduler::new(Random::seeded(1)))
        .without_scheduler()
        .proxy(|proxy| proxy)
        .build();
    let idle = ControlPlane::builder(MemoryStorage::new()).agents(|_, agent| agent).build();

    let wrong = |built: Result<ControlPlane, PlaneError>| match built {
        Err(PlaneError::Assembly(problems)) => problems,
        other => panic!("{other:?}"),
    };
    assert_eq!(wrong(twice), [Problem::TwoNodes("a".into()), Problem::IdleScheduler, Problem::NoProxy]);
    assert_eq!(wrong(idle), [Problem::NoAgents]);
}

/// Nobody means such durations. They must not be added to a time that ends with the year 9999.
#[tokio::test(start_paused = true)]
async fn durations_and_times_that_clients_make_up_end_no_part_of_a_cluster() {
    let clock = Clock::following_tokio("2026-01-01T00:00:00Z".parse().unwrap());
    let plane = ControlPlane::builder(MemoryStorage::new())
        .clock(clock.clone())
        .random(Random::seeded(1))
        .node("node-1", SimulatedRuntime::new(clock))
        .build();
    let mut cluster = plane.unwrap().start().await.unwrap();
    cluster.ready().await.unwrap();
    let (client, params) = (cluster.client(), PostParams::default());
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let make = |name: &str, more: Value| -> Pod {
        let mut pod = json!({"metadata": {"name": name, "labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c", "image": "i"}]}});
        pod["spec"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(pod).unwrap()
    };
    let patient = json!({"terminationGracePeriodSeconds": i64::MAX,
        "tolerations": [{"key": "x", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": i64::MAX}]});
    for (name, more) in [("patient", patient), ("late", json!({"activeDeadlineSeconds": i32::MAX}))] {
        pods.create(&params, &make(name, more)).await.unwrap();
        await_condition(pods.clone(), name, is_pod_running()).await.unwrap();
    }
    let merge = PatchParams::default();
    let last = "9999-12-30T21:59:59Z";
    let started = Patch::Merge(json!({"status": {"startTime": last}}));
    pods.patch_status("late", &merge, &started).await.unwrap();
    let budgets: Api<PodDisruptionBudget> = Api::default_namespaced(client.clone());
    let budget = json!({"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}});
    budgets.create(&params, &serde_json::from_value(budget).unwrap()).await.unwrap();
    let disrupted = Patch::Merge(json!({"status": {"disruptedPods": {"late": last}}}));
    budgets.patch_status("b", &merge, &disrupted).await.unwrap();
    let quotas: Api<ResourceQuota> = Api::default_namespaced(client.clone());
    let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": {"pods": "9"}}});
    quotas.create(&params, &serde_json::from_value(quota).unwrap()).await.unwrap();
    let nodes: Api<Node> = Api::all(client.clone());
    let taint = Patch::Merge(json!({"spec": {"taints": [{"key": "x", "effect": "NoExecute"}]}}));
    nodes.patch("node-1", &merge, &taint).await.unwrap();
    pods.delete("patient", &DeleteParams::default()).await.unwrap();

    let ended = tokio::time::timeout(Duration::from_secs(900), cluster.ended()).await;

    assert!(ended.is_err(), "a part of the cluster ended");
    assert!(quotas.get("q").await.is_ok());
    cluster.stop().await;
}
