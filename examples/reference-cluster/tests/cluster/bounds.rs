//! What bounds a namespace and spares its pods: quotas, and budgets against a drain.

use serde_json::json;

use crate::kubectl::Kubectl;
use crate::place::Place;
use crate::running::Running;
use crate::{data, steps, turn};

#[tokio::test]
async fn a_quota_refuses_what_exceeds_it_and_a_drain_waits_for_a_budget() {
    let _turn = turn();
    let Some(place) = Place::apart("the walk along bounds").await else { return };
    let data = data();
    let before = place.traces().await;
    let directory = data.path().to_str().expect("it is text");
    let up = Running::ready(&place, &["up", "--runtime", "process", "--data", directory]).await;
    let kubectl = Kubectl::new(&place, &data.path().join("kubeconfig"));
    steps::nodes(&kubectl).await;

    quota(&kubectl).await;
    drain(&kubectl).await;

    up.stop(&place).await;
    place.is_clean(&before).await;
}

async fn quota(kubectl: &Kubectl<'_>) {
    kubectl.run("create namespace bounded").await;
    let bounded = kubectl.namespace("bounded");
    bounded.run("create quota q --hard=count/secrets=1,pods=0").await;
    bounded.until("describe quota q", &["count/secrets  0     1"]).await;

    bounded.run("create secret generic one").await;
    let second = bounded.attempt("create secret generic two").await;

    assert!(!second.success);
    let why =
        "exceeded quota: q, requested: count/secrets=1, used: count/secrets=1, limited: count/secrets=1";
    assert!(second.stderr.contains(why), "{}", second.stderr);
    bounded.run("delete secret one").await;
    bounded.until("get quota q", &["count/secrets: 0/1"]).await;
    kubectl.run("delete namespace bounded").await;
}

async fn drain(kubectl: &Kubectl<'_>) {
    let pods = steps::create(kubectl, &steps::manifest("process")).await;
    let selector = "app=web";
    // Older releases of `kubectl create pdb` know only a version that is gone.
    let budget = json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "demo"},
        "spec": {"minAvailable": pods.len(), "selector": {"matchLabels": {"app": "web"}}},
    });
    let directory = data();
    let file = directory.path().join("budget.json");
    std::fs::write(&file, budget.to_string()).expect("a test may write into its directory");
    kubectl.run(&format!("create -f {}", file.display())).await;
    kubectl
        .until("get pdb demo -o jsonpath={.status}", &[&format!("\"currentHealthy\":{}", pods.len())])
        .await;
    let node = "node-1";

    let held = kubectl.attempt(&format!("drain {node} --force --delete-emptydir-data --timeout=8s")).await;
    kubectl.run("delete pdb demo").await;
    let drained = kubectl.run(&format!("drain {node} --force --delete-emptydir-data --timeout=50s")).await;

    assert!(!held.success);
    assert!(
        held.stderr.contains("Cannot evict pod as it would violate the pod's disruption budget"),
        "{}",
        held.stderr
    );
    // Older releases say that the node was evicted.
    assert!(
        ["drained", "evicted"].iter().any(|word| drained.contains(&format!("node/{node} {word}"))),
        "{drained}"
    );
    kubectl.run(&format!("uncordon {node}")).await;
    kubectl.pods(selector, pods.len()).await;
    let all = kubectl.run("get all").await;
    assert!(all.contains("replicationcontroller/") && all.contains("service/kubernetes"), "{all}");
}
