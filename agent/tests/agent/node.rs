//! The node's own objects.

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, DeleteParams};
use serde_json::json;

use crate::SECOND;
use crate::bench::{Bench, NODE, condition};

#[tokio::test(start_paused = true)]
async fn a_node_is_registered_with_what_it_has() {
    let mut bench = Bench::idle(|node| node.capacity(4000, 8 << 30, 50)).await;
    bench.start(|agent| agent.labels([("zone", "a")]).capacity("example.com/dongle", "2".parse().unwrap()));
    tokio::time::sleep(SECOND).await;

    let nodes: Api<Node> = Api::all(bench.client.clone());
    let node = nodes.get(NODE).await.unwrap();

    let labels = node.metadata.labels.clone().unwrap();
    assert_eq!(
        (&*labels["kubernetes.io/hostname"], &*labels["kubernetes.io/arch"], &*labels["zone"]),
        (NODE, "amd64", "a")
    );
    let status = json!(node.status);
    assert_eq!(status["capacity"]["cpu"], "4");
    assert_eq!(status["allocatable"]["memory"], "8Gi");
    assert_eq!(status["capacity"]["pods"], "50");
    assert_eq!(status["capacity"]["example.com/dongle"], "2");
    assert_eq!(status["addresses"][0], json!({"type": "InternalIP", "address": "192.168.1.7"}));
    assert_eq!(status["nodeInfo"]["kubeletVersion"], "v1.33.0-quarterdeck");
    let ready = condition(&status, "Ready");
    assert_eq!((&ready["status"], &ready["reason"]), (&json!("True"), &json!("KubeletReady")));
    assert_eq!(condition(&status, "MemoryPressure")["status"], "False");
}

#[tokio::test(start_paused = true)]
async fn the_lease_is_renewed_and_the_node_written_every_five_minutes() {
    let bench = Bench::new(|node| node).await;
    tokio::time::sleep(SECOND).await;
    let nodes: Api<Node> = Api::all(bench.client.clone());
    let leases: Api<Lease> = Api::namespaced(bench.client.clone(), "kube-node-lease");
    let heartbeat =
        async || json!(nodes.get(NODE).await.unwrap().status)["conditions"][0]["lastHeartbeatTime"].clone();
    let first = leases.get(NODE).await.unwrap();
    let beat = heartbeat().await;

    tokio::time::sleep(200 * SECOND).await;
    let second = leases.get(NODE).await.unwrap();
    assert_eq!(heartbeat().await, beat, "the status is not written while nothing changes");
    tokio::time::sleep(120 * SECOND).await;

    assert_ne!(heartbeat().await, beat);
    let renewed = |lease: &Lease| lease.spec.clone().unwrap().renew_time.unwrap().0;
    let passed = renewed(&second).duration_since(renewed(&first)).as_secs();
    assert!((190..=210).contains(&passed), "{passed}");
    assert_eq!(first.metadata.owner_references.unwrap()[0].kind, "Node");
    assert_eq!(first.spec.unwrap().lease_duration_seconds, Some(40));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_deleted_is_registered_again() {
    let bench = Bench::new(|node| node).await;
    tokio::time::sleep(SECOND).await;
    let nodes: Api<Node> = Api::all(bench.client.clone());
    let before = nodes.get(NODE).await.unwrap().metadata.uid;

    nodes.delete(NODE, &DeleteParams::default()).await.unwrap();
    tokio::time::sleep(SECOND).await;

    assert_ne!(nodes.get(NODE).await.unwrap().metadata.uid, before);
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_runtime_is_down_is_not_ready() {
    let bench = Bench::new(|node| node).await;
    tokio::time::sleep(SECOND).await;
    let nodes: Api<Node> = Api::all(bench.client.clone());

    bench.runtime.set_available(false);
    tokio::time::sleep(11 * SECOND).await;
    let down = json!(nodes.get(NODE).await.unwrap().status);
    bench.runtime.set_available(true);
    tokio::time::sleep(11 * SECOND).await;
    let up = json!(nodes.get(NODE).await.unwrap().status);

    assert_eq!(condition(&down, "Ready")["reason"], "KubeletNotReady");
    assert!(condition(&down, "Ready")["message"].as_str().unwrap().contains("container runtime is down"));
    assert_eq!(condition(&up, "Ready")["status"], "True");
}
