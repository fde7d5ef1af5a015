use kube::api::DeleteParams;
use quarterdeck_controllers::{DeploymentController, GarbageCollector, ReplicaSetController};
use serde_json::{Value, json};

use super::cluster::{Cluster, template};

const MAP: &str = "v1/ConfigMap";

async fn cluster() -> Cluster {
    let cluster = Cluster::start(|context| vec![Box::new(GarbageCollector::new(context))]).await;
    cluster.pass(1).await;
    cluster
}

/// Makes a config map, and returns a reference to it.
async fn map(cluster: &Cluster, name: &str, owners: &[Value], finalizers: &[&str]) -> Value {
    let metadata = json!({"name": name, "ownerReferences": owners, "finalizers": finalizers});
    let map = cluster.create(MAP, json!({"metadata": metadata})).await;
    json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": map["metadata"]["uid"]})
}

fn blocking(mut owner: Value) -> Value {
    owner["blockOwnerDeletion"] = true.into();
    owner
}

#[tokio::test(start_paused = true)]
async fn in_the_background_dependents_go_after_their_owner() {
    let cluster = cluster().await;
    let owner = map(&cluster, "owner", &[], &[]).await;
    let child = map(&cluster, "child", &[owner], &[]).await;
    map(&cluster, "grandchild", &[child], &[]).await;

    cluster.delete(MAP, "owner", DeleteParams::background()).await;

    cluster.until_gone(MAP, "child").await;
    cluster.until_gone(MAP, "grandchild").await;
}

#[tokio::test(start_paused = true)]
async fn in_the_foreground_the_owner_waits_for_those_that_block_it() {
    let cluster = cluster().await;
    let owner = map(&cluster, "owner", &[], &[]).await;
    map(&cluster, "child", &[blocking(owner)], &["ex.com/hold"]).await;
    cluster.pass(1).await;

    cluster.delete(MAP, "owner", DeleteParams::foreground()).await;

    let look = async || cluster.get(MAP, "child").await.unwrap();
    cluster
        .until("the child's deletion", look, |child| !child["metadata"]["deletionTimestamp"].is_null())
        .await;
    cluster.pass(30).await;
    assert_eq!(
        cluster.get(MAP, "owner").await.unwrap()["metadata"]["finalizers"],
        json!(["foregroundDeletion"])
    );
    cluster.patch(MAP, "child", json!({"metadata": {"finalizers": null}})).await;
    cluster.until_gone(MAP, "owner").await;
}

#[tokio::test(start_paused = true)]
async fn orphaned_dependents_stay_and_forget_their_owner() {
    let cluster = cluster().await;
    let owner = map(&cluster, "owner", &[], &[]).await;
    map(&cluster, "child", &[owner], &[]).await;
    cluster.pass(1).await;

    cluster.delete(MAP, "owner", DeleteParams::orphan()).await;

    cluster.until_gone(MAP, "owner").await;
    let child = cluster.get(MAP, "child").await.unwrap();
    assert_eq!(child["metadata"]["ownerReferences"], Value::Null);
}

#[tokio::test(start_paused = true)]
async fn an_object_whose_owner_never_was_goes() {
    let cluster = cluster().await;
    let nobody = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "nobody", "uid": "1"});

    map(&cluster, "child", &[nobody], &[]).await;

    cluster.until_gone(MAP, "child").await;
}

#[tokio::test(start_paused = true)]
async fn an_object_with_an_owner_left_stays_and_forgets_the_other() {
    let cluster = cluster().await;
    let (one, two) = (map(&cluster, "one", &[], &[]).await, map(&cluster, "two", &[], &[]).await);
    map(&cluster, "child", &[one, two.clone()], &[]).await;
    cluster.pass(1).await;

    cluster.delete(MAP, "one", DeleteParams::background()).await;

    cluster.until_at(MAP, "child", "/metadata/ownerReferences", json!([two])).await;
}

#[tokio::test(start_paused = true)]
async fn an_owner_in_another_namespace_is_none() {
    let cluster = cluster().await;
    cluster.create("v1/Namespace", json!({"metadata": {"name": "n"}})).await;
    let secret = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}});
    let uid = cluster.get("v1/Namespace", "n").await.unwrap()["metadata"]["uid"].clone();
    map(
        &cluster,
        "owned-by-cluster",
        &[json!({"apiVersion": "v1", "kind": "Namespace", "name": "n", "uid": uid})],
        &[],
    )
    .await;
    let lease = cluster.create("coordination.k8s.io/v1/Lease", secret).await;
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "name": "n", "uid": lease["metadata"]["uid"]});
    cluster.pass(1).await;

    map(&cluster, "foreign", &[lease], &[]).await;

    cluster.until_gone(MAP, "foreign").await;
    assert!(cluster.get(MAP, "owned-by-cluster").await.is_some());
    let events = cluster.list("v1/Event", "").await;
    assert!(events.iter().any(|event| event["reason"] == "OwnerRefInvalidNamespace"), "{events:#?}");
}

#[tokio::test(start_paused = true)]
async fn owners_in_a_ring_that_wait_for_each_other_all_go() {
    let cluster = cluster().await;
    let one = map(&cluster, "one", &[], &[]).await;
    let two = map(&cluster, "two", &[blocking(one)], &[]).await;
    cluster.patch(MAP, "one", json!({"metadata": {"ownerReferences": [blocking(two)]}})).await;
    cluster.pass(1).await;

    cluster.delete(MAP, "one", DeleteParams::foreground()).await;

    cluster.until_gone(MAP, "one").await;
    cluster.until_gone(MAP, "two").await;
}

#[tokio::test(start_paused = true)]
async fn a_deleted_deployment_takes_its_replica_sets_and_pods_with_it() {
    let cluster = Cluster::start(|context| {
        vec![
            Box::new(GarbageCollector::new(context)),
            Box::new(DeploymentController::new(context)),
            Box::new(ReplicaSetController::new(context)),
        ]
    })
    .await;
    let spec =
        json!({"replicas": 3, "selector": {"matchLabels": {"a": "b"}}, "template": template("b", "i")});
    cluster.create("apps/v1/Deployment", json!({"metadata": {"name": "web"}, "spec": spec})).await;
    cluster.until_pods("a=b", 3).await;

    cluster.delete("apps/v1/Deployment", "web", DeleteParams::background()).await;

    cluster.until_pods("a=b", 0).await;
    assert!(cluster.names("apps/v1/ReplicaSet", "").await.is_empty());
}
