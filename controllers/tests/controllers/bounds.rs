//! Budgets, quotas, claims and token secrets: what bounds and serves others.

use kube::api::{DeleteParams, PostParams};
use quarterdeck_controllers::{
    ClaimProtectionController, DisruptionController, ReplicationController, ResourceQuotaController,
    TokenSecretController, VolumeBinder, VolumeProtectionController,
};
use serde_json::{Value, json};

use super::cluster::{Cluster, template};

const BUDGET: &str = "policy/v1/PodDisruptionBudget";
const QUOTA: &str = "v1/ResourceQuota";
const CLAIM: &str = "v1/PersistentVolumeClaim";
const VOLUME: &str = "v1/PersistentVolume";
const POD: &str = "v1/Pod";

async fn cluster() -> Cluster {
    Cluster::start(|context| {
        vec![
            Box::new(ReplicationController::new(context)),
            Box::new(DisruptionController::new(context)),
            Box::new(ResourceQuotaController::new(context)),
            Box::new(VolumeBinder::new(context)),
            Box::new(ClaimProtectionController::new(context)),
            Box::new(VolumeProtectionController::new(context)),
            Box::new(TokenSecretController::new(context, None)),
        ]
    })
    .await
}

fn controller(replicas: i32) -> Value {
    json!({"metadata": {"name": "web"}, "spec": {"replicas": replicas, "template": template("b", "i")}})
}

async fn evict(cluster: &Cluster, pod: &str) -> u16 {
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}});
    let api = cluster.api(POD);
    let answer: kube::Result<Value> =
        api.create_subresource("eviction", pod, &PostParams::default(), &eviction).await;
    match answer {
        Ok(_) => 201,
        Err(kube::Error::Api(status)) => status.code,
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_budget_lets_as_many_pods_go_as_its_workload_can_spare() {
    let cluster = cluster().await;
    cluster.create("v1/ReplicationController", controller(3)).await;
    let budget = json!({"metadata": {"name": "b"}, "spec": {
        "maxUnavailable": "30%", "selector": {"matchLabels": {"a": "b"}},
    }});
    cluster.create(BUDGET, budget).await;
    let pods = cluster.until_pods("a=b", 3).await;
    cluster.until_at(BUDGET, "b", "/status/expectedPods", json!(3)).await;
    cluster.make_all_ready("a=b").await;
    cluster.until_at(BUDGET, "b", "/status/disruptionsAllowed", json!(1)).await;

    let answers = [evict(&cluster, &pods[0]).await, evict(&cluster, &pods[1]).await];
    // Another takes its place, and when it is ready there is one to spare again.
    cluster.pass(1).await;
    cluster.make_all_ready("a=b").await;
    cluster.until_at(BUDGET, "b", "/status/disruptionsAllowed", json!(1)).await;

    assert_eq!(answers, [201, 429]);
    assert_eq!(evict(&cluster, &pods[1]).await, 201);
}

#[tokio::test(start_paused = true)]
async fn a_budget_of_a_number_holds_without_any_workload() {
    let cluster = cluster().await;
    for name in ["p", "q"] {
        let mut pod = template("b", "i");
        pod["metadata"]["name"] = name.into();
        cluster.create(POD, pod).await;
        cluster.make_ready(name).await;
    }
    let budget = json!({"metadata": {"name": "b"}, "spec": {
        "minAvailable": 2, "selector": {"matchLabels": {"a": "b"}},
    }});

    cluster.create(BUDGET, budget).await;
    cluster.until_at(BUDGET, "b", "/status/currentHealthy", json!(2)).await;

    assert_eq!(evict(&cluster, "p").await, 429);
    cluster.patch(BUDGET, "b", json!({"spec": {"minAvailable": 1}})).await;
    cluster.until_at(BUDGET, "b", "/status/disruptionsAllowed", json!(1)).await;
    assert_eq!(evict(&cluster, "p").await, 201);
}

#[tokio::test(start_paused = true)]
async fn a_quota_counts_what_is_there_and_gets_back_what_goes() {
    let cluster = cluster().await;
    let map = |name: &str| json!({"metadata": {"name": name}});
    cluster.create("v1/ConfigMap", map("before")).await;
    let hard = json!({"count/configmaps": "2", "pods": "1", "requests.memory": "1Gi"});

    cluster.create(QUOTA, json!({"metadata": {"name": "q"}, "spec": {"hard": hard}})).await;
    cluster.until_at(QUOTA, "q", "/status/used/count~1configmaps", json!("1")).await;
    cluster.create("v1/ConfigMap", map("after")).await;
    let full = cluster.get(QUOTA, "q").await.unwrap();
    cluster.delete("v1/ConfigMap", "before", DeleteParams::default()).await;

    cluster.until_at(QUOTA, "q", "/status/used/count~1configmaps", json!("1")).await;
    assert_eq!(full["status"]["used"]["count/configmaps"], "2");
    assert_eq!(full["status"]["hard"], hard);
}

#[tokio::test(start_paused = true)]
async fn a_finished_pod_makes_room_in_a_quota() {
    let cluster = cluster().await;
    let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": {"pods": "1"}}});
    cluster.create(QUOTA, quota).await;
    cluster.until_at(QUOTA, "q", "/status/used/pods", json!("0")).await;
    let mut pod = template("b", "i");
    pod["metadata"]["name"] = "p".into();
    cluster.create(POD, pod).await;
    cluster.until_at(QUOTA, "q", "/status/used/pods", json!("1")).await;

    cluster.patch_status(POD, "p", json!({"phase": "Succeeded"})).await;

    cluster.until_at(QUOTA, "q", "/status/used/pods", json!("0")).await;
}

fn volume(name: &str, class: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {
        "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": class,
        "hostPath": {"path": "/x"},
    }})
}

fn claim(name: &str, class: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {
        "accessModes": ["ReadWriteOnce"], "storageClassName": class, "resources": {"requests": {"storage": "1Gi"}},
    }})
}

#[tokio::test(start_paused = true)]
async fn two_claims_never_get_one_volume_and_the_second_gets_the_next() {
    let cluster = cluster().await;
    cluster.create(CLAIM, claim("one", "c")).await;
    cluster.create(CLAIM, claim("two", "c")).await;
    cluster.create(VOLUME, volume("v", "c")).await;

    cluster.until_at(VOLUME, "v", "/status/phase", json!("Bound")).await;
    cluster.pass(10).await;
    let phases = async || {
        let mut phases = Vec::new();
        for name in ["one", "two"] {
            phases.push(cluster.get(CLAIM, name).await.unwrap()["status"]["phase"].clone());
        }
        phases.sort_by_key(ToString::to_string);
        phases
    };
    assert_eq!(phases().await, ["Bound", "Pending"]);
    cluster.create(VOLUME, volume("w", "c")).await;

    cluster.until("both bound", phases, |phases| *phases == ["Bound", "Bound"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_claim_whose_volume_is_gone_is_lost() {
    let cluster = cluster().await;
    cluster.create(VOLUME, volume("v", "c")).await;
    cluster.create(CLAIM, claim("one", "c")).await;
    cluster.until_at(CLAIM, "one", "/status/phase", json!("Bound")).await;

    // A volume in use stays, unless somebody takes its protection away.
    cluster.delete(VOLUME, "v", DeleteParams::default()).await;
    cluster.pass(5).await;
    assert!(cluster.get(VOLUME, "v").await.is_some());
    cluster.patch(VOLUME, "v", json!({"metadata": {"finalizers": null}})).await;

    cluster.until_at(CLAIM, "one", "/status/phase", json!("Lost")).await;
}

#[tokio::test(start_paused = true)]
async fn a_claim_of_a_class_waits_for_its_provisioner() {
    let cluster = cluster().await;
    let class = json!({"metadata": {"name": "c"}, "provisioner": "example.com/p"});
    cluster.create("storage.k8s.io/v1/StorageClass", class).await;

    cluster.create(CLAIM, claim("one", "c")).await;

    let pointer = "/metadata/annotations/volume.kubernetes.io~1storage-provisioner";
    cluster.until_at(CLAIM, "one", pointer, json!("example.com/p")).await;
    assert_eq!(cluster.get(CLAIM, "one").await.unwrap()["status"]["phase"], "Pending");
}

#[tokio::test(start_paused = true)]
async fn a_token_secret_goes_with_its_account() {
    let cluster = cluster().await;
    let account = json!({"metadata": {"name": "a"}});
    cluster.create("v1/ServiceAccount", account).await;
    cluster.delete("v1/ServiceAccount", "a", DeleteParams::default()).await;
    let secret = json!({"type": "kubernetes.io/service-account-token", "metadata": {
        "name": "t", "annotations": {"kubernetes.io/service-account.name": "a"},
    }});

    cluster.create("v1/Secret", secret).await;

    cluster.until_gone("v1/Secret", "t").await;
}
