//! Cluster roles that others are collected in.

use kube::api::DeleteParams;
use quarterdeck_controllers::ClusterRoleAggregationController;
use serde_json::{Value, json};

use super::cluster::Cluster;

const ROLE: &str = "rbac.authorization.k8s.io/v1/ClusterRole";

fn rule(resource: &str) -> Value {
    json!({"verbs": ["get"], "apiGroups": [""], "resources": [resource]})
}

fn part(name: &str, resources: &[&str]) -> Value {
    let rules: Vec<_> = resources.iter().map(|resource| rule(resource)).collect();
    json!({"metadata": {"name": name, "labels": {"to": "sum"}}, "rules": rules})
}

#[tokio::test(start_paused = true)]
async fn an_aggregated_role_has_the_rules_of_those_that_it_selects_as_they_come_and_go() {
    let cluster =
        Cluster::start(|context| vec![Box::new(ClusterRoleAggregationController::new(context))]).await;
    cluster.create(ROLE, part("b", &["pods", "nodes"])).await;
    let sum = json!({
        "metadata": {"name": "sum", "labels": {"to": "sum"}}, "rules": [rule("secrets")],
        "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"to": "sum"}}]},
    });
    cluster.create(ROLE, sum).await;
    let until = async |resources: &[&str]| {
        let rules: Vec<_> = resources.iter().map(|resource| rule(resource)).collect();
        // No rules are none at all.
        let wanted = if rules.is_empty() { Value::Null } else { rules.into() };
        cluster.until_at(ROLE, "sum", "/rules", wanted).await;
    };
    // What it had of its own, or from itself, does not stay.
    until(&["pods", "nodes"]).await;
    cluster.create(ROLE, part("a", &["services", "pods"])).await;
    until(&["services", "pods", "nodes"]).await;
    cluster.patch(ROLE, "b", json!({"metadata": {"labels": {"to": "nobody"}}})).await;
    until(&["services", "pods"]).await;
    cluster.delete(ROLE, "a", DeleteParams::default()).await;
    until(&[]).await;
}

#[tokio::test(start_paused = true)]
async fn the_default_roles_are_what_they_were_once_they_are_collected() {
    let cluster = Cluster::start(|_| Vec::new()).await;
    let before = cluster.get(ROLE, "admin").await.unwrap()["rules"].clone();
    let cluster =
        Cluster::start(|context| vec![Box::new(ClusterRoleAggregationController::new(context))]).await;
    cluster
        .create(
            ROLE,
            json!({"metadata": {"name": "late", "labels": {
        "rbac.authorization.k8s.io/aggregate-to-admin": "true",
    }}, "rules": [rule("late")]}),
        )
        .await;
    let late = rule("late");
    let look = async || cluster.get(ROLE, "admin").await.unwrap();
    let has = |role: &Value| role["rules"].as_array().unwrap().contains(&late);
    cluster.until("the late rule", look, has).await;
    let after = cluster.get(ROLE, "admin").await.unwrap()["rules"].clone();
    let (before, after) = (before.as_array().unwrap(), after.as_array().unwrap());
    assert!(before.iter().all(|rule| after.contains(rule)), "{before:#?} {after:#?}");
    assert_eq!(before.len() + 1, after.len());
}
