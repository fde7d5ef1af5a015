//! What needs nodes: pods that run, say something, are evicted, and whose number is scaled.

use futures::{AsyncBufReadExt as _, TryStreamExt as _};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{Api, DeleteParams, EvictParams, ListParams, LogParams, Patch, PatchParams, PostParams};
use kube::runtime::wait::{Condition as _, await_condition, conditions};
use kube::{Client, ResourceExt as _};
use quarterdeck::Cluster;
use quarterdeck::prelude::{Clock, SimulatedRuntime};
use serde_json::json;

use crate::front::{Front, cluster};
use crate::{refusal, soon};

async fn started() -> (Cluster, Front, Client, SimulatedRuntime) {
    let node = SimulatedRuntime::new(Clock::system());
    let (one, two) = (node.clone(), SimulatedRuntime::new(Clock::system()));
    let cluster = cluster(|builder| builder.node("node-1", one).node("node-2", two)).await;
    let front = Front::of(cluster.server()).await;
    let client = front.client().await;
    (cluster, front, client, node)
}

fn deployment(replicas: i32) -> Deployment {
    serde_json::from_value(json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": "web:1"}]},
            },
        },
    }))
    .unwrap()
}

fn has_replicas(number: i32) -> impl Fn(Option<&Deployment>) -> bool {
    move |deployment: Option<&Deployment>| {
        let status = deployment.and_then(|deployment| deployment.status.as_ref());
        status.is_some_and(|status| {
            status.ready_replicas.unwrap_or_default() == number
                && status.replicas.unwrap_or_default() == number
        })
    }
}

#[tokio::test]
async fn a_pod_runs_and_what_it_says_is_read_and_followed() {
    let (cluster, _front, client, node) = started().await;
    let pods: Api<Pod> = Api::default_namespaced(client);
    let pod = json!({
        "metadata": {"name": "one"},
        "spec": {"nodeName": "node-1", "containers": [{"name": "main", "image": "main:1"}]},
    });
    pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();

    let running = await_condition(pods.clone(), "one", conditions::is_pod_running());
    let running = soon("the pod runs", running).await.unwrap().unwrap();
    let uid = node.find("default", "one").unwrap();
    let first = pods.logs("one", &LogParams::default()).await.unwrap();
    let follow = LogParams {
        follow: true,
        tail_lines: Some(0),
        container: Some("main".into()),
        ..LogParams::default()
    };
    let mut lines = pods.log_stream("one", &follow).await.unwrap().lines();
    assert!(node.say(&uid, "main", "something new"));
    let followed = soon("a line", lines.try_next()).await.unwrap();
    let last = pods.logs("one", &LogParams { tail_lines: Some(1), ..LogParams::default() }).await.unwrap();
    let other = pods.logs("one", &LogParams { container: Some("none".into()), ..LogParams::default() }).await;
    pods.delete("one", &DeleteParams::default().grace_period(0)).await.unwrap();

    assert!(running.status.unwrap().pod_ip.is_some());
    assert_eq!(first.lines().count(), 1, "{first}");
    assert_eq!(followed.as_deref(), Some("something new"));
    assert_eq!(last, "something new\n");
    assert_eq!(refusal(other), 400);
    assert_eq!(refusal(pods.logs("one", &LogParams::default()).await), 404);
    cluster.stop().await;
}

#[tokio::test]
async fn a_deployment_is_scaled_through_its_subresource() {
    let (cluster, _front, client, _node) = started().await;
    let deployments: Api<Deployment> = Api::default_namespaced(client);
    deployments.create(&PostParams::default(), &deployment(1)).await.unwrap();
    let complete = conditions::is_deployment_completed().and(has_replicas(1));
    soon("one replica", await_condition(deployments.clone(), "web", complete)).await.unwrap();

    let mut scale = deployments.get_scale("web").await.unwrap();
    let patch = json!({"spec": {"replicas": 3}});
    let patched =
        deployments.patch_scale("web", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    soon("three replicas", await_condition(deployments.clone(), "web", has_replicas(3))).await.unwrap();
    scale.spec.as_mut().unwrap().replicas = Some(2);
    let stale = deployments.replace_scale("web", &PostParams::default(), &scale).await;
    scale.metadata.resource_version = None;
    let replaced = deployments.replace_scale("web", &PostParams::default(), &scale).await.unwrap();
    soon("two replicas", await_condition(deployments.clone(), "web", has_replicas(2))).await.unwrap();

    let status = scale.status.unwrap();
    assert_eq!((status.replicas, status.selector.as_deref()), (1, Some("app=web")));
    assert_eq!(patched.spec.unwrap().replicas, Some(3));
    assert_eq!(refusal(stale), 409);
    assert_eq!(replaced.spec.unwrap().replicas, Some(2));
    cluster.stop().await;
}

#[tokio::test]
async fn a_pod_is_evicted_when_its_budget_allows() {
    let (cluster, _front, client, _node) = started().await;
    let deployments: Api<Deployment> = Api::default_namespaced(client.clone());
    let budgets: Api<PodDisruptionBudget> = Api::default_namespaced(client.clone());
    let pods: Api<Pod> = Api::default_namespaced(client);
    deployments.create(&PostParams::default(), &deployment(2)).await.unwrap();
    soon("two replicas", await_condition(deployments.clone(), "web", has_replicas(2))).await.unwrap();
    let budget = json!({
        "metadata": {"name": "web"}, "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "web"}}},
    });
    budgets.create(&PostParams::default(), &serde_json::from_value(budget).unwrap()).await.unwrap();
    let allows = |number: i32, healthy: i32| {
        move |budget: Option<&PodDisruptionBudget>| {
            let status = budget.and_then(|budget| budget.status.as_ref());
            status.is_some_and(|status| {
                (status.disruptions_allowed, status.current_healthy) == (Some(number), Some(healthy))
            })
        }
    };
    soon("the budget is counted", await_condition(budgets.clone(), "web", allows(0, 2))).await.unwrap();
    let victim = pods.list(&ListParams::default().labels("app=web")).await.unwrap().items.remove(0);
    let (name, uid) = (victim.name_any(), victim.uid().unwrap());

    let refused = pods.evict(&name, &EvictParams::default()).await;
    let patch = Patch::Merge(json!({"spec": {"replicas": 3}}));
    deployments.patch_scale("web", &PatchParams::default(), &patch).await.unwrap();
    soon("there is room", await_condition(budgets, "web", allows(1, 3))).await.unwrap();
    let dry = EvictParams {
        post_options: PostParams { dry_run: true, ..PostParams::default() },
        ..EvictParams::default()
    };
    pods.evict(&name, &dry).await.unwrap();
    let still = pods.get(&name).await.unwrap();
    let evicted = pods.evict(&name, &EvictParams::default()).await.unwrap();

    assert_eq!(refusal(refused), 429);
    assert!(still.metadata.deletion_timestamp.is_none(), "a dry run evicts nobody");
    assert!(evicted.is_success());
    let gone = await_condition(pods, &name, conditions::is_deleted(&uid));
    soon("the pod is gone", gone).await.unwrap();
    soon("another takes its place", await_condition(deployments, "web", has_replicas(3))).await.unwrap();
    cluster.stop().await;
}
