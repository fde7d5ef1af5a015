//! One kind served in several versions over one store.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use futures::StreamExt;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use quarterdeck_core::storage::Storage;
use quarterdeck_registry::resource::{Resource, Scope};
use quarterdeck_registry::stored::Conversion;
use quarterdeck_registry::{ApiServer, Body, MemoryStorage, User};
use serde_json::{Value, json};
use std::sync::Arc;
use support::call;
use tower::ServiceExt;

/// Of `autoscaling/v1` what the tests need: the goal for the processor stands elsewhere.
#[derive(Debug)]
struct Cpu;

impl Conversion for Cpu {
    fn to_served(&self, object: &mut Value) {
        let goal = object["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"].take();
        if let Some(spec) = object["spec"].as_object_mut() {
            spec.remove("metrics");
            spec.insert("targetCPUUtilizationPercentage".into(), goal);
        }
    }

    fn to_stored(&self, object: &mut Value) {
        let goal = object["spec"]["targetCPUUtilizationPercentage"].take();
        if let Some(spec) = object["spec"].as_object_mut() {
            spec.remove("targetCPUUtilizationPercentage");
            let target = json!({"type": "Utilization", "averageUtilization": goal});
            let metrics = json!([{"type": "Resource", "resource": {"name": "cpu", "target": target}}]);
            spec.insert("metrics".into(), metrics);
        }
    }
}

fn scaler(version: &'static str) -> Resource {
    Resource::builtin(
        "autoscaling",
        version,
        "HorizontalPodAutoscaler",
        "horizontalpodautoscalers",
        Scope::Namespaced,
    )
}

async fn server(storage: Arc<dyn Storage>) -> ApiServer {
    let stored = scaler("v2");
    let served = scaler("v1").stored_as(&stored, Cpu);
    ApiServer::builder_shared(storage).resource(stored).resource(served).start().await.unwrap()
}

const V1: &str = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers";
const V2: &str = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";

fn old(goal: i64) -> Value {
    json!({"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"}, "spec": {
        "scaleTargetRef": {"kind": "Deployment", "name": "web"}, "maxReplicas": 3, "targetCPUUtilizationPercentage": goal,
    }})
}

#[tokio::test(start_paused = true)]
async fn what_is_written_in_one_version_is_read_in_the_other_at_the_same_revision() {
    let server = server(Arc::new(MemoryStorage::new())).await;

    let (code, created) = call(&server, "POST", V1, old(70)).await;
    let (_, one) = call(&server, "GET", &format!("{V1}/web"), Value::Null).await;
    let (_, two) = call(&server, "GET", &format!("{V2}/web"), Value::Null).await;

    assert_eq!(code, StatusCode::CREATED, "{created}");
    assert_eq!(one, created);
    assert_eq!(one["spec"]["targetCPUUtilizationPercentage"], 70);
    assert_eq!(two["apiVersion"], "autoscaling/v2");
    assert_eq!(two["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 70);
    assert_eq!(two["metadata"]["resourceVersion"], one["metadata"]["resourceVersion"]);
}

#[tokio::test(start_paused = true)]
async fn lists_patches_and_deletions_work_in_each_version() {
    let server = server(Arc::new(MemoryStorage::new())).await;
    call(&server, "POST", V1, old(70)).await;

    let patch = json!({"spec": {"targetCPUUtilizationPercentage": 55}});
    let (code, patched) = call(&server, "PATCH", &format!("{V1}/web"), patch).await;
    let (_, one) = call(&server, "GET", V1, Value::Null).await;
    let (_, two) = call(&server, "GET", V2, Value::Null).await;
    let (deleted, _) = call(&server, "DELETE", &format!("{V2}/web"), Value::Null).await;
    let (gone, _) = call(&server, "GET", &format!("{V1}/web"), Value::Null).await;

    assert_eq!((code, &patched["apiVersion"]), (StatusCode::OK, &json!("autoscaling/v1")));
    assert_eq!(one["items"][0]["spec"]["targetCPUUtilizationPercentage"], 55);
    assert!(one["items"][0].get("apiVersion").is_none());
    assert_eq!(two["items"][0]["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 55);
    assert_eq!((deleted, gone), (StatusCode::OK, StatusCode::NOT_FOUND));
}

#[tokio::test(start_paused = true)]
async fn a_watch_shows_its_own_version_and_another_server_reads_the_stored_one() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let first = server(storage.clone()).await;
    let watch = Request::get(format!("{V1}?watch=true")).body(Body::empty()).unwrap();
    let watch = first.as_user(User::admin()).oneshot(watch).await.unwrap();
    let mut lines = watch.into_body().into_data_stream();

    call(&first, "POST", V1, old(70)).await;
    let line: Value = serde_json::from_slice(&lines.next().await.unwrap().unwrap()).unwrap();
    let second = server(storage.clone()).await;
    let (_, read) = call(&second, "GET", &format!("{V1}/web"), Value::Null).await;
    let key = "/registry/horizontalpodautoscalers/default/web".into();
    let stored = storage.get(&key).await.unwrap().unwrap();

    assert_eq!((&line["type"], &line["object"]), (&json!("ADDED"), &read));
    assert!(stored.value.starts_with(br#"{"kind":"HorizontalPodAutoscaler","apiVersion":"autoscaling/v2","#));
}

#[tokio::test(start_paused = true)]
async fn discovery_prefers_the_higher_version_and_lists_both() {
    let server = server(Arc::new(MemoryStorage::new())).await;

    let (_, group) = call(&server, "GET", "/apis/autoscaling", Value::Null).await;
    let (_, one) = call(&server, "GET", "/apis/autoscaling/v1", Value::Null).await;

    assert_eq!(group["preferredVersion"]["version"], "v2");
    assert_eq!(one["resources"][0]["name"], "horizontalpodautoscalers");
}
