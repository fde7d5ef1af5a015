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

/// An autoscaler of version 1 with these annotations.
fn noted(notes: Value, cpu: Value) -> Value {
    json!({"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "noted", "annotations": notes},
        "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "web"}, "maxReplicas": 3,
            "targetCPUUtilizationPercentage": cpu},
    })
}

fn metrics(metrics: Value) -> Value {
    json!({"autoscaling.alpha.kubernetes.io/metrics": metrics.to_string()})
}

/// What is wrong with an object, as field and message.
fn causes(status: &Value) -> Vec<String> {
    let causes = status["details"]["causes"].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    causes.map(|cause| format!("{}: {}", text(&cause["field"]), text(&cause["message"]))).collect()
}

#[tokio::test(start_paused = true)]
async fn what_annotations_say_in_version_1_is_checked_as_in_version_2() {
    let server = ApiServer::in_memory().await.unwrap();
    let given = json!([
        {"type": "Pods", "pods": {"metricName": "a/b", "targetAverageValue": "0"}},
        {"type": "Resource", "resource": {"name": "memory"}},
        {"type": "Object", "object": {"target": {"kind": "Service", "name": ""}, "metricName": "m"}},
        {"type": "External", "external": {"metricName": "q", "targetValue": "1", "targetAverageValue": "2"}},
        {"type": "Other"},
    ]);

    let (code, status) = call(&server, "POST", V1, noted(metrics(given), json!(0))).await;

    assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY, "{status}");
    let types = "\"ContainerResource\", \"External\", \"Object\", \"Pods\", \"Resource\"";
    assert_eq!(
        causes(&status),
        [
            "spec.metrics[0].pods.metric.name: Invalid value: \"a/b\": may not contain '/'".to_owned(),
            "spec.metrics[0].pods.target.averageValue: Invalid value: \"0\": must be positive".to_owned(),
            "spec.metrics[0].pods.target.averageValue: Required value: must specify a positive target averageValue"
                .to_owned(),
            "spec.metrics[1].resource.target.averageUtilization: Required value: must set either a target raw value or a \
             target utilization"
                .to_owned(),
            "spec.metrics[2].object.describedObject.name: Required value".to_owned(),
            "spec.metrics[2].object.target.averageValue: Required value: must set either a target value or averageValue"
                .to_owned(),
            "spec.metrics[3].external.target.value: Forbidden: may not set both a target value for metric and a per-pod \
             target"
                .to_owned(),
            format!("spec.metrics[4].type: Unsupported value: \"Other\": supported values: {types}"),
            format!("spec.metrics[4].type: Unsupported value: \"Other\": supported values: {types}"),
            "spec.metrics[5].resource.target.averageUtilization: Invalid value: 0: must be greater than 0".to_owned(),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_behavior_in_an_annotation_is_checked_on_updates_too() {
    let server = ApiServer::in_memory().await.unwrap();
    let (code, made) = call(&server, "POST", V1, noted(json!({}), json!(70))).await;
    assert_eq!(code, StatusCode::CREATED, "{made}");

    let behavior = json!({"ScaleUp": {"StabilizationWindowSeconds": 3601, "Policies": [
        {"Type": "Pods", "Value": 0, "PeriodSeconds": 15}]}});
    let patch = json!({"metadata": {"annotations": {
        "autoscaling.alpha.kubernetes.io/behavior": behavior.to_string()}}});
    let (code, status) = call(&server, "PATCH", &format!("{V1}/noted"), patch).await;

    assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY, "{status}");
    assert_eq!(
        causes(&status),
        [
            "spec.behavior.scaleUp.stabilizationWindowSeconds: Invalid value: 3601: must be less than or equal to 3600",
            "spec.behavior.scaleUp.policies[0].value: Invalid value: 0: must be greater than zero",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn an_annotation_of_the_wrong_types_says_nothing_in_version_2() {
    let server = ApiServer::in_memory().await.unwrap();
    let notes = json!({
        "autoscaling.alpha.kubernetes.io/metrics":
            r#"[{"type":"Pods","pods":{"metricName":"m","targetAverageValue":{"a":1}}}]"#,
        "autoscaling.alpha.kubernetes.io/behavior": r#"{"ScaleUp":{"Policies":"many"}}"#,
        "autoscaling.alpha.kubernetes.io/conditions": r#"[{"type":7}]"#,
    });

    let (code, made) = call(&server, "POST", V1, noted(notes, json!(70))).await;
    let (_, two) = call(&server, "GET", &format!("{V2}/noted"), Value::Null).await;

    assert_eq!(code, StatusCode::CREATED, "{made}");
    assert_eq!(two["spec"]["metrics"].as_array().unwrap().len(), 1, "{two}");
    assert_eq!((&two["spec"]["behavior"], &two["status"]["conditions"]), (&Value::Null, &Value::Null));
}

#[tokio::test(start_paused = true)]
async fn good_annotations_are_fields_in_version_2() {
    let server = ApiServer::in_memory().await.unwrap();
    let given = json!([{"type": "Pods", "pods": {"metricName": "m", "targetAverageValue": "5"}}]);

    let (code, made) = call(&server, "POST", V1, noted(metrics(given), json!(70))).await;
    let (_, two) = call(&server, "GET", &format!("{V2}/noted"), Value::Null).await;

    assert_eq!(code, StatusCode::CREATED, "{made}");
    let target = json!({"type": "AverageValue", "averageValue": "5"});
    assert_eq!(two["spec"]["metrics"][1]["pods"], json!({"metric": {"name": "m"}, "target": target}));
    assert_eq!(two["metadata"]["annotations"], Value::Null);
}
