use quarterdeck_controllers::{DeploymentController, ReplicaSetController};
use serde_json::{Value, json};

use super::cluster::{Cluster, template};

const DEPLOYMENT: &str = "apps/v1/Deployment";
const SET: &str = "apps/v1/ReplicaSet";

async fn cluster() -> Cluster {
    Cluster::start(|context| {
        vec![Box::new(DeploymentController::new(context)), Box::new(ReplicaSetController::new(context))]
    })
    .await
}

fn deployment(replicas: i32, more: Value) -> Value {
    let mut deployment = json!({"metadata": {"name": "web"}, "spec": {
        "replicas": replicas, "selector": {"matchLabels": {"a": "b"}}, "template": template("b", "i"),
    }});
    for (field, value) in more.as_object().unwrap() {
        deployment["spec"][field] = value.clone();
    }
    deployment
}

fn image(image: &str) -> Value {
    json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}})
}

/// Makes every pod ready as it comes, until the rollout is done; returns the most pods there were, and the fewest ready.
async fn roll_out(cluster: &Cluster) -> (usize, usize) {
    let (mut most, mut fewest) = (0, usize::MAX);
    for _ in 0..2000 {
        let pods = cluster.list("v1/Pod", "a=b").await;
        most = most.max(pods.len());
        fewest = fewest.min(pods.iter().filter(|pod| pod["status"]["phase"] == "Running").count());
        let deployment = cluster.get(DEPLOYMENT, "web").await.unwrap();
        let status = &deployment["status"];
        let replicas = &deployment["spec"]["replicas"];
        if status["observedGeneration"] == deployment["metadata"]["generation"]
            && status["updatedReplicas"] == *replicas
            && status["replicas"] == *replicas
            && status["availableReplicas"] == *replicas
        {
            return (most, fewest);
        }
        cluster.make_all_ready("a=b").await;
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("the rollout does not end: {:#?}", cluster.get(DEPLOYMENT, "web").await);
}

async fn sets(cluster: &Cluster) -> Vec<Value> {
    cluster.list(SET, "").await
}

#[tokio::test(start_paused = true)]
async fn a_deployment_makes_a_replica_set_named_by_the_template() {
    let cluster = cluster().await;
    cluster.create(DEPLOYMENT, deployment(2, json!({}))).await;
    cluster.until_pods("a=b", 2).await;

    let set = sets(&cluster).await.remove(0);
    let hash = set["metadata"]["labels"]["pod-template-hash"].as_str().unwrap().to_owned();

    assert_eq!(set["metadata"]["name"], format!("web-{hash}"));
    assert_eq!(set["spec"]["selector"]["matchLabels"], json!({"a": "b", "pod-template-hash": hash}));
    assert_eq!(
        set["metadata"]["annotations"],
        json!({
            "deployment.kubernetes.io/desired-replicas": "2",
            "deployment.kubernetes.io/max-replicas": "3",
            "deployment.kubernetes.io/revision": "1",
        })
    );
    cluster.until_at(DEPLOYMENT, "web", "/status/conditions/1/reason", json!("ReplicaSetUpdated")).await;
    let deployment = cluster.get(DEPLOYMENT, "web").await.unwrap();
    assert_eq!(deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "1");
    assert_eq!(deployment["metadata"]["generation"], 1, "noting the revision is no change of the deployment");
    assert_eq!(deployment["status"]["conditions"][0]["reason"], "MinimumReplicasUnavailable");

    roll_out(&cluster).await;
    cluster.until_at(DEPLOYMENT, "web", "/status/conditions/1/reason", json!("NewReplicaSetAvailable")).await;
}

#[tokio::test(start_paused = true)]
async fn a_rollout_stays_within_surge_and_unavailability() {
    let cluster = cluster().await;
    let strategy = json!({"strategy": {"rollingUpdate": {"maxSurge": 2, "maxUnavailable": 1}}});
    cluster.create(DEPLOYMENT, deployment(8, strategy)).await;
    roll_out(&cluster).await;

    cluster.patch(DEPLOYMENT, "web", image("j")).await;
    let (most, fewest) = roll_out(&cluster).await;

    assert!(most <= 10 && fewest >= 7, "{most} pods at most, {fewest} ready at least");
    cluster.until_pods("a=b", 8).await;
    let sizes: Vec<_> = sets(&cluster).await.iter().map(|set| set["spec"]["replicas"].clone()).collect();
    assert!(sizes.contains(&json!(0)) && sizes.contains(&json!(8)), "{sizes:?}");
}

#[tokio::test(start_paused = true)]
async fn going_back_uses_the_old_replica_set_with_a_new_revision() {
    let cluster = cluster().await;
    cluster.create(DEPLOYMENT, deployment(2, json!({}))).await;
    roll_out(&cluster).await;
    cluster.patch(DEPLOYMENT, "web", image("j")).await;
    roll_out(&cluster).await;

    cluster.patch(DEPLOYMENT, "web", image("i")).await;
    roll_out(&cluster).await;

    let sets = sets(&cluster).await;
    assert_eq!(sets.len(), 2);
    let annotation = |set: &Value, name: &str| {
        set["metadata"]["annotations"][format!("deployment.kubernetes.io/{name}")].clone()
    };
    let active = sets.iter().find(|set| set["spec"]["replicas"] == 2).unwrap();
    assert_eq!(
        (annotation(active, "revision"), annotation(active, "revision-history")),
        (json!("3"), json!("1"))
    );
}

#[tokio::test(start_paused = true)]
async fn all_old_pods_go_before_a_recreated_one_comes() {
    let cluster = cluster().await;
    cluster.create(DEPLOYMENT, deployment(3, json!({"strategy": {"type": "Recreate"}}))).await;
    roll_out(&cluster).await;
    let old = cluster.until_pods("a=b", 3).await;
    cluster.patch("v1/Pod", &old[0], json!({"metadata": {"finalizers": ["ex.com/hold"]}})).await;

    cluster.patch(DEPLOYMENT, "web", image("j")).await;
    cluster.until_pods("a=b", 1).await;
    cluster.pass(30).await;
    assert_eq!(cluster.names("v1/Pod", "a=b").await, [old[0].clone()]);
    cluster.patch("v1/Pod", &old[0], json!({"metadata": {"finalizers": null}})).await;

    roll_out(&cluster).await;
}

#[tokio::test(start_paused = true)]
async fn a_paused_deployment_is_scaled_in_proportion_and_rolls_nothing_out() {
    let cluster = cluster().await;
    let strategy = json!({"strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}}});
    cluster.create(DEPLOYMENT, deployment(4, strategy)).await;
    roll_out(&cluster).await;
    cluster.patch(DEPLOYMENT, "web", image("j")).await;
    let sizes = async || {
        let mut sizes: Vec<_> =
            sets(&cluster).await.iter().map(|set| set["spec"]["replicas"].as_i64().unwrap()).collect();
        sizes.sort_unstable();
        sizes
    };
    cluster.until("a second set", sizes, |sizes| *sizes == [2, 3]).await;

    cluster.patch(DEPLOYMENT, "web", json!({"spec": {"paused": true, "replicas": 9}})).await;

    cluster.until("proportional sizes", sizes, |sizes| *sizes == [4, 6]).await;
    cluster.patch(DEPLOYMENT, "web", image("k")).await;
    cluster.pass(10).await;
    assert_eq!(sets(&cluster).await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn history_beyond_its_limit_is_deleted() {
    let cluster = cluster().await;
    cluster.create(DEPLOYMENT, deployment(1, json!({"revisionHistoryLimit": 1}))).await;
    for version in ["j", "k", "l"] {
        roll_out(&cluster).await;
        cluster.patch(DEPLOYMENT, "web", image(version)).await;
    }
    roll_out(&cluster).await;

    let count = async || sets(&cluster).await.len();
    cluster.until("two replica sets", count, |count| *count == 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_rollout_that_stands_still_is_reported_after_its_deadline() {
    let cluster = cluster().await;
    cluster.create(DEPLOYMENT, deployment(1, json!({"progressDeadlineSeconds": 60}))).await;
    cluster.pass(50).await;
    cluster.until_at(DEPLOYMENT, "web", "/status/conditions/1/reason", json!("ReplicaSetUpdated")).await;

    cluster.pass(15).await;

    cluster
        .until_at(DEPLOYMENT, "web", "/status/conditions/1/reason", json!("ProgressDeadlineExceeded"))
        .await;
}

#[tokio::test(start_paused = true)]
async fn scaling_a_finished_deployment_scales_its_replica_set() {
    let cluster = cluster().await;
    cluster.create(DEPLOYMENT, deployment(2, json!({}))).await;
    roll_out(&cluster).await;

    cluster.patch(DEPLOYMENT, "web", json!({"spec": {"replicas": 5}})).await;
    cluster.until_pods("a=b", 5).await;
    cluster.patch(DEPLOYMENT, "web", json!({"spec": {"replicas": 0}})).await;

    cluster.until_pods("a=b", 0).await;
}
