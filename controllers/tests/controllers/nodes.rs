use std::time::Duration;

use quarterdeck_controllers::{Options, all};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::cluster::{Cluster, template};

const NODE: &str = "v1/Node";
const POD: &str = "v1/Pod";
const LEASE: &str = "coordination.k8s.io/v1/Lease";

async fn cluster() -> Cluster {
    Cluster::start(|context| all(context, Options::default())).await
}

async fn register(cluster: &Cluster, name: &str) {
    cluster.create(NODE, json!({"metadata": {"name": name}})).await;
    let ready =
        json!({"type": "Ready", "status": "True", "lastHeartbeatTime": cluster.clock.now().to_string()});
    cluster.patch_status(NODE, name, json!({"conditions": [ready]})).await;
    cluster.create(LEASE, json!({"metadata": {"name": name}, "spec": {"holderIdentity": name}})).await;
}

/// Renews the node's Lease every ten seconds for as long as the returned value lives.
fn renew(cluster: &Cluster, name: &'static str) -> JoinSet<()> {
    let (leases, clock) = (cluster.api(LEASE), cluster.clock.clone());
    let mut task = JoinSet::new();
    task.spawn(async move {
        loop {
            let now = format!("{:.6}", clock.now());
            let change = kube::api::Patch::Merge(json!({"spec": {"renewTime": now}}));
            leases.patch(name, &kube::api::PatchParams::default(), &change).await.unwrap();
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
    });
    task
}

/// Binds pods without a node to `node`, and says that they are ready.
async fn run_pods(cluster: &Cluster, node: &str) {
    for pod in cluster.list(POD, "a=b").await {
        if pod["spec"]["nodeName"].is_null() {
            let name = pod["metadata"]["name"].as_str().unwrap();
            cluster.bind(name, node).await;
            cluster.make_ready(name).await;
        }
    }
}

fn taints(node: &Value) -> Vec<String> {
    let taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
    let text =
        |taint: &Value| format!("{}:{}", taint["key"].as_str().unwrap(), taint["effect"].as_str().unwrap());
    taints.iter().map(text).collect()
}

#[tokio::test(start_paused = true)]
async fn the_pods_of_a_lost_node_are_replaced_after_their_toleration() {
    let cluster = cluster().await;
    for node in ["lost", "well"] {
        register(&cluster, node).await;
    }
    let _well = renew(&cluster, "well");
    let lost = renew(&cluster, "lost");
    let spec =
        json!({"replicas": 2, "selector": {"matchLabels": {"a": "b"}}, "template": template("b", "i")});
    cluster.create("apps/v1/ReplicaSet", json!({"metadata": {"name": "web"}, "spec": spec})).await;
    let pods = cluster.until_pods("a=b", 2).await;
    run_pods(&cluster, "lost").await;
    cluster.pass(60).await;
    assert!(taints(&cluster.get(NODE, "lost").await.unwrap()).is_empty());

    drop(lost);
    cluster.pass(35).await;
    assert_eq!(cluster.get(NODE, "lost").await.unwrap()["status"]["conditions"][0]["status"], "True");
    cluster.pass(20).await;

    let node = cluster.get(NODE, "lost").await.unwrap();
    assert_eq!(node["status"]["conditions"][0]["reason"], "NodeStatusUnknown");
    assert_eq!(
        taints(&node),
        ["node.kubernetes.io/unreachable:NoSchedule", "node.kubernetes.io/unreachable:NoExecute"]
    );
    cluster.until_at("apps/v1/ReplicaSet", "web", "/status/readyReplicas", Value::Null).await;
    assert_eq!(cluster.names(POD, "a=b").await, pods, "they are tolerated for five minutes");

    cluster.pass(300).await;
    let now = cluster.list(POD, "a=b").await;
    let alive: Vec<_> = now.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).collect();
    assert_eq!(alive.len(), 2);
    assert!(alive.iter().all(|pod| !pods.iter().any(|old| pod["metadata"]["name"] == **old)));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_back_is_free_of_taints() {
    let cluster = cluster().await;
    for node in ["lost", "well"] {
        register(&cluster, node).await;
    }
    let _well = renew(&cluster, "well");
    cluster.pass(60).await;
    assert_eq!(taints(&cluster.get(NODE, "lost").await.unwrap()).len(), 2);

    let ready =
        json!({"type": "Ready", "status": "True", "lastHeartbeatTime": cluster.clock.now().to_string()});
    cluster.patch_status(NODE, "lost", json!({"conditions": [ready]})).await;

    let look = async || taints(&cluster.get(NODE, "lost").await.unwrap());
    cluster.until("a node without taints", look, Vec::is_empty).await;
}

#[tokio::test(start_paused = true)]
async fn when_all_nodes_are_lost_no_pod_is_evicted() {
    let cluster = cluster().await;
    register(&cluster, "only").await;

    cluster.pass(120).await;

    let node = cluster.get(NODE, "only").await.unwrap();
    assert_eq!(taints(&node), ["node.kubernetes.io/unreachable:NoSchedule"]);
}

#[tokio::test(start_paused = true)]
async fn the_pods_of_a_node_that_is_gone_are_cleared_away() {
    let cluster = cluster().await;
    register(&cluster, "gone").await;
    cluster
        .create(
            POD,
            json!({"metadata": {"name": "p", "labels": {"a": "b"}}, "spec": template("b", "i")["spec"]}),
        )
        .await;
    run_pods(&cluster, "gone").await;

    cluster.delete(NODE, "gone", kube::api::DeleteParams::default()).await;

    cluster.until_gone(POD, "p").await;
}
