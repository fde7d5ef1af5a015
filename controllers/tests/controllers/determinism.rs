use kube::api::DeleteParams;
use quarterdeck_controllers::{Options, all};
use serde_json::json;

use super::cluster::{Cluster, template};

const DEPLOYMENT: &str = "apps/v1/Deployment";

/// Every write of a small story, as the store saw it.
async fn story() -> Vec<String> {
    let cluster = Cluster::start(|context| all(context, Options::default().root_ca("PEM"))).await;
    let spec =
        json!({"replicas": 5, "selector": {"matchLabels": {"a": "b"}}, "template": template("b", "i")});
    cluster.create(DEPLOYMENT, json!({"metadata": {"name": "web"}, "spec": spec})).await;
    let service = json!({"selector": {"a": "b"}, "ports": [{"port": 80}]});
    cluster.create("v1/Service", json!({"metadata": {"name": "web"}, "spec": service})).await;
    cluster.create("v1/Namespace", json!({"metadata": {"name": "n"}})).await;
    cluster.until_pods("a=b", 5).await;
    cluster.make_all_ready("a=b").await;
    cluster.pass(1).await;
    let change = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "j"}]}}}});
    cluster.patch(DEPLOYMENT, "web", change).await;
    for _ in 0..20 {
        cluster.pass(1).await;
        cluster.make_all_ready("a=b").await;
    }
    cluster.delete("v1/Namespace", "n", DeleteParams::default()).await;
    cluster.delete(DEPLOYMENT, "web", DeleteParams::foreground()).await;
    cluster.pass(60).await;
    cluster.commits().await
}

#[test]
fn the_same_seed_gives_the_same_writes() {
    let told = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.unwrap().block_on(story())
    };

    let (first, second) = (told(), told());

    for (one, other) in first.iter().zip(&second) {
        assert_eq!(one, other);
    }
    assert_eq!(first.len(), second.len());
    assert!(first.len() > 100, "{}", first.len());
}
