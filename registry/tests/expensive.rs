//! Schemas and objects that are made to take long: they are bounded, and hold up nobody.
#![cfg(feature = "cel")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use http::StatusCode;
use quarterdeck_registry::ApiServer;
use serde_json::{Value, json};
use support::call;

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const WIDGETS: &str = "/apis/example.com/v1/widgets";

fn definition(spec: Value) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Cluster", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}}],
        },
    })
}

fn widget(spec: Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": spec})
}

async fn defined(spec: Value) -> ApiServer {
    let server = ApiServer::in_memory().await.unwrap();
    let (code, answer) = call(&server, "POST", DEFINITIONS, definition(spec)).await;
    assert_eq!(code, StatusCode::CREATED, "{answer}");
    for _ in 0..1000 {
        if call(&server, "GET", WIDGETS, Value::Null).await.0 == StatusCode::OK {
            return server;
        }
        tokio::task::yield_now().await;
    }
    panic!("the definition is not established");
}

/// A schema of properties with these patterns.
fn patterns(patterns: impl IntoIterator<Item = String>) -> Value {
    let properties: serde_json::Map<String, Value> = patterns
        .into_iter()
        .enumerate()
        .map(|(at, pattern)| (format!("p{at}"), json!({"type": "string", "pattern": pattern})))
        .collect();
    json!({"type": "object", "properties": properties})
}

#[tokio::test(start_paused = true)]
async fn a_definition_whose_patterns_take_too_much_memory_together_is_refused() {
    let server = ApiServer::in_memory().await.unwrap();
    let large = |at: usize| format!("^[a-z]{{9000}}{at}$");

    let (refused, status) =
        call(&server, "POST", DEFINITIONS, definition(patterns((0..100).map(large)))).await;
    let (taken, answer) =
        call(&server, "POST", DEFINITIONS, definition(patterns((0..100).map(|_| large(0))))).await;

    assert_eq!(refused, StatusCode::UNPROCESSABLE_ENTITY);
    let message = status["message"].as_str().unwrap();
    assert!(
        message.contains("the patterns of all schemas take more than 8388608 bytes together"),
        "{message}"
    );
    assert_eq!(taken, StatusCode::CREATED, "the same pattern is there once: {answer}");
}

#[tokio::test(start_paused = true)]
async fn an_object_with_too_much_text_for_its_patterns_is_refused() {
    let server = defined(patterns(["^([a-z][0-9]){1000}$".to_owned(), "^a*$".to_owned()])).await;

    let long = widget(json!({"p0": "a1".repeat(700_000)}));
    let (refused, status) = call(&server, "POST", WIDGETS, long).await;
    let fits = widget(json!({"p0": "a1".repeat(1000), "p1": "a".repeat(700_000)}));
    let (taken, answer) = call(&server, "POST", WIDGETS, fits).await;

    assert_eq!(refused, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(status["message"].as_str().unwrap().contains("too much text for the patterns"), "{status}");
    assert_eq!(taken, StatusCode::CREATED, "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_object_that_is_checked_for_long_holds_up_no_other_request() {
    let rule = "self.matches('^(?:[-A-Za-z0-9/._~]|[%][0-9a-fA-F]{2})+$')";
    let server = defined(json!({"type": "object", "properties": {"l": {
        "type": "array", "maxItems": 1024, "items": {"type": "string", "maxLength": 1024,
        "x-kubernetes-validations": [{"rule": rule}]}}}}))
    .await;
    let asking = server.clone();
    let object = widget(json!({"l": vec!["/a"; 150]}));
    let slow = tokio::spawn(async move { call(&asking, "POST", WIDGETS, object).await });
    // The one worker has begun with it.
    tokio::task::spawn(async {}).await.unwrap();

    let asking = server.clone();
    let quick = tokio::spawn(async move { call(&asking, "GET", "/livez", Value::Null).await.0 });

    assert_eq!(quick.await.unwrap(), StatusCode::OK);
    assert!(!slow.is_finished(), "who asks for something else does not wait for the check");
    let (code, answer) = slow.await.unwrap();
    assert_eq!(code, StatusCode::CREATED, "{answer}");
}
