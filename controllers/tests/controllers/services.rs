use kube::api::DeleteParams;
use quarterdeck_controllers::{EndpointSliceController, EndpointsController};
use serde_json::{Value, json};

use super::cluster::Cluster;

const SERVICE: &str = "v1/Service";
const ENDPOINTS: &str = "v1/Endpoints";
const SLICE: &str = "discovery.k8s.io/v1/EndpointSlice";
const POD: &str = "v1/Pod";

async fn cluster() -> Cluster {
    Cluster::start(|context| {
        vec![Box::new(EndpointsController::new(context)), Box::new(EndpointSliceController::new(context))]
    })
    .await
}

async fn pod(cluster: &Cluster, name: &str, ip: &str) {
    let container = json!({"name": "c", "image": "i", "ports": [{"name": "web", "containerPort": 8080}]});
    let spec = json!({"nodeName": "n", "terminationGracePeriodSeconds": 0, "containers": [container]});
    cluster.create(POD, json!({"metadata": {"name": name, "labels": {"a": "b"}}, "spec": spec})).await;
    let status = json!({"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]});
    cluster.patch_status(POD, name, status).await;
}

async fn ready(cluster: &Cluster, name: &str, ready: bool) {
    let status = if ready { "True" } else { "False" };
    let conditions = json!({"conditions": [{"type": "Ready", "status": status}]});
    cluster.patch_status(POD, name, conditions).await;
}

fn service() -> Value {
    json!({
        "metadata": {"name": "s", "labels": {"x": "y"}},
        "spec": {"selector": {"a": "b"}, "ports": [{"name": "http", "port": 80, "targetPort": "web"}]},
    })
}

#[tokio::test(start_paused = true)]
async fn endpoints_follow_the_readiness_of_pods() {
    let cluster = cluster().await;
    cluster.create(SERVICE, service()).await;
    pod(&cluster, "p", "10.1.2.3").await;

    cluster.until_at(ENDPOINTS, "s", "/subsets/0/notReadyAddresses/0/ip", json!("10.1.2.3")).await;
    ready(&cluster, "p", true).await;
    cluster.until_at(ENDPOINTS, "s", "/subsets/0/addresses/0/ip", json!("10.1.2.3")).await;
    let endpoints = cluster.get(ENDPOINTS, "s").await.unwrap();
    assert_eq!(endpoints["subsets"][0]["ports"], json!([{"name": "http", "port": 8080, "protocol": "TCP"}]));
    assert_eq!(endpoints["metadata"]["labels"]["x"], "y");

    cluster.delete(POD, "p", DeleteParams::default()).await;
    cluster.until_at(ENDPOINTS, "s", "/subsets", Value::Null).await;
    cluster.delete(SERVICE, "s", DeleteParams::default()).await;
    cluster.until_gone(ENDPOINTS, "s").await;
}

#[tokio::test(start_paused = true)]
async fn endpoints_of_one_s_own_are_left_alone() {
    let cluster = cluster().await;
    let own = json!({"metadata": {"name": "own"}, "subsets": [{"addresses": [{"ip": "10.1.1.1"}], "ports": [{"port": 1}]}]});
    cluster.create(ENDPOINTS, own.clone()).await;
    cluster.create(SERVICE, json!({"metadata": {"name": "own"}, "spec": {"ports": [{"port": 80}]}})).await;

    cluster.pass(60).await;

    let endpoints = cluster.get(ENDPOINTS, "own").await.unwrap();
    assert_eq!(endpoints["subsets"][0]["addresses"][0]["ip"], "10.1.1.1");
}

#[tokio::test(start_paused = true)]
async fn slices_say_what_is_ready_serving_and_terminating() {
    let cluster = cluster().await;
    cluster.create(SERVICE, service()).await;
    let look = async || cluster.list(SLICE, "kubernetes.io/service-name=s").await;
    let empty = cluster.until("an empty slice", look, |slices| slices.len() == 1).await;
    assert!(empty[0]["endpoints"].as_array().is_none_or(Vec::is_empty), "{empty:?}");
    pod(&cluster, "p", "10.1.2.3").await;
    ready(&cluster, "p", true).await;

    let one_ready =
        |slices: &Vec<Value>| slices.len() == 1 && slices[0]["endpoints"][0]["conditions"]["ready"] == true;
    let slices = cluster.until("a ready endpoint", look, one_ready).await;

    let slice = &slices[0];
    assert_eq!(slice["ports"], json!([{"name": "http", "port": 8080, "protocol": "TCP"}]));
    assert_eq!(slice["addressType"], "IPv4");
    assert_eq!(slice["metadata"]["ownerReferences"][0]["kind"], "Service");
    assert_eq!(
        slice["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"],
        "endpointslice-controller.k8s.io"
    );
    assert_eq!(slice["endpoints"][0]["targetRef"]["name"], "p");

    cluster.patch(POD, "p", json!({"metadata": {"finalizers": ["ex.com/hold"]}})).await;
    cluster.delete(POD, "p", DeleteParams::default()).await;
    let leaving = |slices: &Vec<Value>| slices[0]["endpoints"][0]["conditions"]["terminating"] == true;
    let slices = cluster.until("a leaving endpoint", look, leaving).await;
    assert_eq!(
        slices[0]["endpoints"][0]["conditions"],
        json!({"ready": false, "serving": true, "terminating": true})
    );
}

#[tokio::test(start_paused = true)]
async fn many_pods_fill_several_slices_and_no_slice_is_made_twice() {
    let cluster = cluster().await;
    for index in 0..120 {
        pod(&cluster, &format!("p{index}"), &format!("10.1.0.{index}")).await;
    }
    cluster.create(SERVICE, service()).await;

    cluster.pass(10).await;

    let slices = cluster.list(SLICE, "kubernetes.io/service-name=s").await;
    let mut sizes: Vec<_> = slices.iter().map(|slice| slice["endpoints"].as_array().unwrap().len()).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [20, 100]);
}
