use quarterdeck_controllers::{ReplicaSetController, ReplicationController};
use serde_json::{Value, json};

use super::cluster::{Cluster, template};

const SET: &str = "apps/v1/ReplicaSet";
const POD: &str = "v1/Pod";

async fn cluster() -> Cluster {
    Cluster::start(|context| {
        vec![Box::new(ReplicationController::new(context)), Box::new(ReplicaSetController::new(context))]
    })
    .await
}

fn set(replicas: i32) -> Value {
    json!({"metadata": {"name": "web"}, "spec": {
        "replicas": replicas, "selector": {"matchLabels": {"a": "b"}}, "template": template("b", "i"),
    }})
}

#[tokio::test(start_paused = true)]
async fn a_replica_set_makes_its_pods_and_counts_them() {
    let cluster = cluster().await;
    cluster.create(SET, set(12)).await;

    let pods = cluster.until_pods("a=b", 12).await;
    cluster.make_ready(&pods[0]).await;

    cluster.until_at(SET, "web", "/status/readyReplicas", json!(1)).await;
    let set = cluster.get(SET, "web").await.unwrap();
    assert_eq!(
        set["status"],
        json!({"replicas": 12, "fullyLabeledReplicas": 12, "readyReplicas": 1, "availableReplicas": 1, "observedGeneration": 1})
    );
    let pod = cluster.get(POD, &pods[0]).await.unwrap();
    assert_eq!(pod["metadata"]["generateName"], "web-");
    assert_eq!(pod["metadata"]["ownerReferences"][0]["controller"], true);
    let events = cluster.list("v1/Event", "").await;
    assert!(events.iter().any(|event| event["reason"] == "SuccessfulCreate"), "{events:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_replication_controller_makes_its_pods() {
    let cluster = cluster().await;
    let controller =
        json!({"metadata": {"name": "web"}, "spec": {"replicas": 3, "template": template("b", "i")}});
    cluster.create("v1/ReplicationController", controller).await;

    cluster.until_pods("a=b", 3).await;

    cluster.until_at("v1/ReplicationController", "web", "/status/replicas", json!(3)).await;
}

#[tokio::test(start_paused = true)]
async fn an_orphan_that_matches_is_adopted_and_counted() {
    let cluster = cluster().await;
    cluster
        .create(
            POD,
            json!({"metadata": {"name": "orphan", "labels": {"a": "b"}}, "spec": template("b", "x")["spec"]}),
        )
        .await;

    cluster.create(SET, set(2)).await;

    cluster.until_at(POD, "orphan", "/metadata/ownerReferences/0/name", json!("web")).await;
    cluster.pass(5).await;
    assert_eq!(cluster.names(POD, "a=b").await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_relabelled_pod_is_released_and_replaced() {
    let cluster = cluster().await;
    cluster.create(SET, set(1)).await;
    let pod = cluster.until_pods("a=b", 1).await.remove(0);

    cluster.patch(POD, &pod, json!({"metadata": {"labels": {"a": "other"}}})).await;

    cluster.until_at(POD, &pod, "/metadata/ownerReferences", Value::Null).await;
    cluster.until_pods("a=b", 1).await;
}

#[tokio::test(start_paused = true)]
async fn scaling_down_takes_pods_that_are_not_ready_first() {
    let cluster = cluster().await;
    cluster.create(SET, set(3)).await;
    let pods = cluster.until_pods("a=b", 3).await;
    cluster.make_ready(&pods[1]).await;
    cluster.until_at(SET, "web", "/status/readyReplicas", json!(1)).await;

    cluster.patch(SET, "web", json!({"spec": {"replicas": 1}})).await;

    assert_eq!(cluster.until_pods("a=b", 1).await, [pods[1].clone()]);
}

#[tokio::test(start_paused = true)]
async fn a_failed_pod_is_replaced_and_not_counted() {
    let cluster = cluster().await;
    cluster.create(SET, set(1)).await;
    let pod = cluster.until_pods("a=b", 1).await.remove(0);

    cluster.patch_status(POD, &pod, json!({"phase": "Failed"})).await;

    cluster.until_pods("a=b", 2).await;
    cluster.pass(5).await;
    cluster.until_at(SET, "web", "/status/replicas", json!(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_template_that_is_refused_is_reported() {
    let cluster = cluster().await;
    let mut broken = set(3);
    broken["spec"]["template"]["spec"]["priorityClassName"] = json!("none");
    cluster.create(SET, broken).await;

    cluster.until_at(SET, "web", "/status/conditions/0/reason", json!("FailedCreate")).await;

    let events = cluster.list("v1/Event", "").await;
    assert!(
        events.iter().any(|event| event["reason"] == "FailedCreate" && event["type"] == "Warning"),
        "{events:#?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_pod_counts_as_available_when_it_was_ready_long_enough() {
    let cluster = cluster().await;
    let mut patient = set(1);
    patient["spec"]["minReadySeconds"] = json!(30);
    cluster.create(SET, patient).await;
    let pod = cluster.until_pods("a=b", 1).await.remove(0);

    cluster.make_ready(&pod).await;
    cluster.until_at(SET, "web", "/status/readyReplicas", json!(1)).await;
    cluster.pass(20).await;
    assert_eq!(cluster.get(SET, "web").await.unwrap()["status"]["availableReplicas"], Value::Null);

    cluster.pass(12).await;
    assert_eq!(cluster.get(SET, "web").await.unwrap()["status"]["availableReplicas"], 1);
}
