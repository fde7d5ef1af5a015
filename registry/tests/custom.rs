//! Kinds that definitions make: how they are served, checked, stored and taken down.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use quarterdeck_core::storage::{List, Storage, Transaction};
use quarterdeck_registry::{ApiServer, Body, MemoryStorage, Resource, User};
use serde_json::{Value, json};
use support::{call, send};
use tower::ServiceExt;

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const WIDGETS: &str = "/apis/example.com/v1/namespaces/default/widgets";

/// A definition of widgets with these versions.
fn definition(versions: Value) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": versions,
        },
    })
}

fn version(name: &str, storage: bool, spec: Value) -> Value {
    json!({
        "name": name, "served": true, "storage": storage,
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}},
    })
}

fn widget(version: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": format!("example.com/{version}"), "kind": "Widget", "metadata": {"name": name}, "spec": spec,
    })
}

async fn server() -> ApiServer {
    ApiServer::in_memory().await.unwrap()
}

/// Makes a definition and waits until it is established.
async fn define(server: &ApiServer, definition: Value) {
    let (code, answer) = call(server, "POST", DEFINITIONS, definition).await;
    assert_eq!(code, StatusCode::CREATED, "{answer}");
    established(server).await;
}

async fn established(server: &ApiServer) {
    eventually(server, "the definition is established", async |server| {
        let (_, answer) =
            call(server, "GET", &format!("{DEFINITIONS}/widgets.example.com"), Value::Null).await;
        answer["status"]["conditions"][1]["status"] == "True"
    })
    .await;
}

async fn eventually(server: &ApiServer, what: &str, holds: impl AsyncFn(&ApiServer) -> bool) {
    for _ in 0..100 {
        if holds(server).await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited in vain: {what}");
}

fn string() -> Value {
    json!({"type": "object", "properties": {"color": {"type": "string"}}})
}

#[tokio::test(start_paused = true)]
async fn a_kind_is_served_from_its_definition_on_and_in_both_documents() {
    let server = server().await;
    let (before, _) = call(&server, "GET", WIDGETS, Value::Null).await;

    define(&server, definition(json!([version("v1", true, string())]))).await;
    let (code, made) =
        call(&server, "POST", WIDGETS, widget("v1", "a", json!({"color": "red", "x": 1}))).await;
    let (_, discovery) = call(&server, "GET", "/apis/example.com/v1", Value::Null).await;
    let (_, openapi) = call(&server, "GET", "/openapi/v3/apis/example.com/v1", Value::Null).await;

    assert_eq!((before, code), (StatusCode::NOT_FOUND, StatusCode::CREATED));
    assert_eq!(made["spec"], json!({"color": "red"}), "what the schema does not have is dropped");
    assert_eq!(discovery["resources"][0]["name"], "widgets");
    let schema = &openapi["components"]["schemas"]["com.example.v1.Widget"];
    assert_eq!(schema["properties"]["spec"]["properties"]["color"]["type"], "string");
    assert!(openapi["components"]["schemas"]["io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"].is_object());
    let patch = &openapi["paths"]["/apis/example.com/v1/namespaces/{namespace}/widgets/{name}"]["patch"];
    let types: Vec<&String> = patch["requestBody"]["content"].as_object().unwrap().keys().collect();
    assert!(
        types.iter().all(|media_type| !media_type.contains("strategic")),
        "kubectl apply goes by it: {types:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn versions_share_objects_and_each_shows_what_it_knows() {
    let server = server().await;
    let size = json!({"type": "object", "properties": {"size": {"type": "integer"}}});
    define(&server, definition(json!([version("v1", true, string()), version("v2", false, size)]))).await;
    let v2 = "/apis/example.com/v2/namespaces/default/widgets";

    call(&server, "POST", v2, widget("v2", "a", json!({"size": 3, "color": "red"}))).await;
    let (_, first) = call(&server, "GET", &format!("{WIDGETS}/a"), Value::Null).await;
    let (_, second) = call(&server, "GET", &format!("{v2}/a"), Value::Null).await;
    let (_, list) = call(&server, "GET", v2, Value::Null).await;

    assert_eq!((&first["apiVersion"], &first["spec"]), (&json!("example.com/v1"), &json!({})));
    assert_eq!((&second["apiVersion"], &second["spec"]), (&json!("example.com/v2"), &json!({"size": 3})));
    assert_eq!(list["items"][0], second);
}

#[tokio::test(start_paused = true)]
async fn another_server_of_the_same_store_serves_the_kind_and_so_does_the_next_one() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let first = ApiServer::builder_shared(storage.clone()).start().await.unwrap();
    let second = ApiServer::builder_shared(storage.clone()).start().await.unwrap();

    define(&first, definition(json!([version("v1", true, string())]))).await;
    let (code, _) = call(&second, "POST", WIDGETS, widget("v1", "a", json!({"color": "red"}))).await;
    let third = ApiServer::builder_shared(storage).start().await.unwrap();
    let (_, read) = call(&third, "GET", &format!("{WIDGETS}/a"), Value::Null).await;

    assert_eq!(code, StatusCode::CREATED);
    assert_eq!(read["spec"], json!({"color": "red"}));
}

/// A conversion by a webhook whose authorities are these bytes.
#[cfg(feature = "tls")]
fn converting(bundle: &[u8]) -> Value {
    use base64::Engine as _;
    let bundle = base64::engine::general_purpose::STANDARD.encode(bundle);
    json!({"strategy": "Webhook", "webhook": {
        "conversionReviewVersions": ["v1"],
        "clientConfig": {"url": "https://127.0.0.1:1/convert", "caBundle": bundle},
    }})
}

#[cfg(feature = "tls")]
#[tokio::test(start_paused = true)]
async fn authorities_of_a_webhook_that_are_none_keep_a_kind_from_being_served_and_are_refused_later() {
    let server = server().await;
    let good = quarterdeck_registry::tls::Authority::new("2026-01-01T00:00:00Z".parse().unwrap()).unwrap();
    let path = format!("{DEFINITIONS}/widgets.example.com");
    let mut wrong = definition(json!([version("v1", true, string())]));
    wrong["spec"]["conversion"] = converting(b"\n");

    let (code, answer) = call(&server, "POST", DEFINITIONS, wrong).await;
    assert_eq!(code, StatusCode::CREATED, "{answer}");
    eventually(&server, "the condition", async |server| {
        let (_, found) = call(server, "GET", &path, Value::Null).await;
        found["status"]["conditions"][1]["reason"] == "Installing"
    })
    .await;
    assert_eq!(call(&server, "GET", WIDGETS, Value::Null).await.0, StatusCode::NOT_FOUND);
    let right = json!({"spec": {"conversion": converting(good.certificate().as_bytes())}});
    let (code, answer) = call(&server, "PATCH", &path, right).await;
    assert_eq!(code, StatusCode::OK, "{answer}");
    established(&server).await;
    let (code, answer) =
        call(&server, "PATCH", &path, json!({"spec": {"conversion": converting(b"\n")}})).await;

    assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY, "{answer}");
    let cause = &answer["details"]["causes"][0];
    assert_eq!(cause["field"], "spec.conversion.webhookClientConfig.caBundle");
    assert_eq!(
        cause["message"],
        "Invalid value: []byte{0xa}: unable to load root certificates: unable to parse bytes as PEM block"
    );
}

#[tokio::test(start_paused = true)]
async fn a_stricter_schema_lets_what_was_there_be_and_refuses_what_changes() {
    let server = server().await;
    define(&server, definition(json!([version("v1", true, string())]))).await;
    call(&server, "POST", WIDGETS, widget("v1", "a", json!({"color": "red"}))).await;
    let strict = json!({"type": "object", "properties": {
        "color": {"type": "string", "maxLength": 2}, "size": {"type": "integer", "default": 7, "maximum": 9},
    }});
    let patch = json!({"spec": {"versions": [version("v1", true, strict)]}});
    call(&server, "PATCH", &format!("{DEFINITIONS}/widgets.example.com"), patch).await;

    let path = format!("{WIDGETS}/a");
    let (_, read) = call(&server, "GET", &path, Value::Null).await;
    let (kept, _) = call(&server, "PATCH", &path, json!({"spec": {"size": 8}})).await;
    let (refused, why) = call(&server, "PATCH", &path, json!({"spec": {"color": "blue", "size": 10}})).await;

    assert_eq!(read["spec"], json!({"color": "red", "size": 7}), "stored objects get new defaults");
    assert_eq!((kept, refused), (StatusCode::OK, StatusCode::UNPROCESSABLE_ENTITY));
    let fields: Vec<&str> = why["details"]["causes"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|cause| cause["field"].as_str())
        .collect();
    assert_eq!(fields, ["spec.color", "spec.size"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_is_cut_off_when_its_objects_become_others_and_goes_on_otherwise() {
    let server = server().await;
    define(&server, definition(json!([version("v1", true, string())]))).await;
    let watch = Request::get(format!("{WIDGETS}?watch=true")).body(Body::empty()).unwrap();
    let answer = server.as_user(User::admin()).oneshot(watch).await.unwrap();
    let mut lines = answer.into_body().into_data_stream();
    let path = format!("{DEFINITIONS}/widgets.example.com");

    call(&server, "PATCH", &path, json!({"spec": {"names": {"shortNames": ["w"]}}})).await;
    call(&server, "POST", WIDGETS, widget("v1", "a", json!({}))).await;
    let added: Value = serde_json::from_slice(&lines.next().await.unwrap().unwrap()).unwrap();
    let patch = json!({"spec": {"versions": [version("v1", true, json!({"type": "object"}))]}});
    call(&server, "PATCH", &path, patch).await;
    let ended: Value = serde_json::from_slice(&lines.next().await.unwrap().unwrap()).unwrap();

    assert_eq!(added["type"], "ADDED");
    assert_eq!((&ended["type"], &ended["object"]["code"]), (&json!("ERROR"), &json!(410)));
}

#[tokio::test(start_paused = true)]
async fn objects_are_selected_by_the_fields_of_the_definition_and_by_no_others() {
    let server = server().await;
    let mut versions = json!([version("v1", true, string())]);
    versions[0]["selectableFields"] = json!([{"jsonPath": ".spec.color"}]);
    define(&server, definition(versions)).await;
    for (name, color) in [("a", "red"), ("b", "green")] {
        call(&server, "POST", WIDGETS, widget("v1", name, json!({"color": color}))).await;
    }

    let (_, red) =
        call(&server, "GET", &format!("{WIDGETS}?fieldSelector=spec.color%3Dred"), Value::Null).await;
    let (code, why) =
        call(&server, "GET", &format!("{WIDGETS}?fieldSelector=spec.size%3D1"), Value::Null).await;

    assert_eq!(red["items"].as_array().unwrap().len(), 1);
    assert_eq!(red["items"][0]["metadata"]["name"], "a");
    assert_eq!(
        (code, &why["message"]),
        (StatusCode::BAD_REQUEST, &json!("field label not supported: spec.size"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_deleted_definition_waits_for_its_objects_and_takes_no_new_ones() {
    let server = server().await;
    define(&server, definition(json!([version("v1", true, string())]))).await;
    let mut held = widget("v1", "held", json!({}));
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    call(&server, "POST", WIDGETS, held).await;
    call(&server, "POST", WIDGETS, widget("v1", "free", json!({}))).await;
    let path = format!("{DEFINITIONS}/widgets.example.com");

    call(&server, "DELETE", &path, Value::Null).await;
    eventually(&server, "what is not held goes", async |server| {
        call(server, "GET", &format!("{WIDGETS}/free"), Value::Null).await.0 == StatusCode::NOT_FOUND
    })
    .await;
    let (refused, why) = call(&server, "POST", WIDGETS, widget("v1", "new", json!({}))).await;
    let (still, ending) = call(&server, "GET", &path, Value::Null).await;
    let none = json!({"metadata": {"finalizers": null}});
    call(&server, "PATCH", &format!("{WIDGETS}/held"), none).await;
    eventually(&server, "the definition goes", async |server| {
        call(server, "GET", &path, Value::Null).await.0 == StatusCode::NOT_FOUND
    })
    .await;
    let (gone, _) = call(&server, "GET", WIDGETS, Value::Null).await;

    assert_eq!(
        (refused, still, gone),
        (StatusCode::METHOD_NOT_ALLOWED, StatusCode::OK, StatusCode::NOT_FOUND)
    );
    assert_eq!(why["message"], "create not allowed while custom resource definition is terminating");
    let conditions = ending["status"]["conditions"].as_array().unwrap();
    let terminating = conditions.iter().find(|condition| condition["type"] == "Terminating").unwrap();
    assert_eq!(terminating["reason"], "InstanceDeletionInProgress");
    assert_eq!(terminating["message"], "CustomResource deletion is in progress");
}

/// Stops serving widgets.
async fn unserve(server: &ApiServer) {
    let mut unserved = version("v1", true, string());
    unserved["served"] = false.into();
    let patch = json!({"spec": {"versions": [unserved]}});
    let (code, answer) = call(server, "PATCH", &format!("{DEFINITIONS}/widgets.example.com"), patch).await;
    assert_eq!(code, StatusCode::OK, "{answer}");
    eventually(server, "no version is served", async |server| {
        call(server, "GET", WIDGETS, Value::Null).await.0 == StatusCode::NOT_FOUND
    })
    .await;
}

async fn goes(server: &ApiServer) {
    eventually(server, "the definition goes", async |server| {
        let path = format!("{DEFINITIONS}/widgets.example.com");
        call(server, "GET", &path, Value::Null).await.0 == StatusCode::NOT_FOUND
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_definition_that_serves_no_version_waits_for_its_objects_too() {
    let server = server().await;
    define(&server, definition(json!([version("v1", true, string())]))).await;
    let mut held = widget("v1", "held", json!({}));
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    call(&server, "POST", WIDGETS, held).await;
    unserve(&server).await;
    let path = format!("{DEFINITIONS}/widgets.example.com");

    let (_, discovery) = call(&server, "GET", "/apis/example.com/v1", Value::Null).await;
    call(&server, "DELETE", &path, Value::Null).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (still, _) = call(&server, "GET", &path, Value::Null).await;
    let served = json!({"spec": {"versions": [version("v1", true, string())]}});
    call(&server, "PATCH", &path, served).await;
    let (_, left) = call(&server, "GET", &format!("{WIDGETS}/held"), Value::Null).await;
    let none = json!({"metadata": {"finalizers": null}});
    call(&server, "PATCH", &format!("{WIDGETS}/held"), none).await;

    assert_eq!(still, StatusCode::OK);
    assert!(discovery["resources"].is_null(), "{discovery}");
    assert!(left["metadata"]["deletionTimestamp"].is_string(), "{left}");
    goes(&server).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_definition_left_unserved_does_not_come_back_with_the_next_one() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let server = ApiServer::builder_shared(storage.clone()).start().await.unwrap();
    define(&server, definition(json!([version("v1", true, string())]))).await;
    for name in ["a", "b"] {
        call(&server, "POST", WIDGETS, widget("v1", name, json!({}))).await;
    }
    unserve(&server).await;

    call(&server, "DELETE", &format!("{DEFINITIONS}/widgets.example.com"), Value::Null).await;
    goes(&server).await;
    let left = storage.list(List::prefix("/registry/example.com/widgets/")).await.unwrap();
    let mut of_cluster = definition(json!([version("v1", true, string())]));
    of_cluster["spec"]["scope"] = "Cluster".into();
    define(&server, of_cluster).await;
    let (code, list) = call(&server, "GET", "/apis/example.com/v1/widgets", Value::Null).await;

    assert_eq!((code, &list["items"]), (StatusCode::OK, &json!([])));
    assert_eq!(left.entries, []);
}

#[tokio::test(start_paused = true)]
async fn what_no_request_reaches_does_not_hold_a_definition() {
    for (scope, unreached) in [("Cluster", "default/a"), ("Namespaced", "a")] {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        let server = ApiServer::builder_shared(storage.clone()).start().await.unwrap();
        let mut scoped = definition(json!([version("v1", true, string())]));
        scoped["spec"]["scope"] = scope.into();
        define(&server, scoped).await;
        let prefix = "/registry/example.com/widgets/";
        let mut old = widget("v1", "a", json!({}));
        old["metadata"]["finalizers"] = json!(["example.com/hold"]);
        if scope == "Cluster" {
            old["metadata"]["namespace"] = "default".into();
        }
        let broken = Transaction::new().put(format!("{prefix}broken"), "no object");
        storage.commit(broken.put(format!("{prefix}{unreached}"), old.to_string())).await.unwrap();

        call(&server, "DELETE", &format!("{DEFINITIONS}/widgets.example.com"), Value::Null).await;

        goes(&server).await;
        assert_eq!(storage.list(List::prefix(prefix)).await.unwrap().entries, []);
    }
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_a_program_compiled_in_outlives_a_definition_of_the_same_name() {
    let own = definition(json!([version("v1", true, string())]));
    let mut builder = ApiServer::builder(MemoryStorage::new());
    for resource in Resource::from_definition(&own).unwrap() {
        builder = builder.resource(resource);
    }
    let server = builder.start().await.unwrap();
    call(&server, "POST", WIDGETS, widget("v1", "a", json!({}))).await;
    define(&server, own).await;

    call(&server, "DELETE", &format!("{DEFINITIONS}/widgets.example.com"), Value::Null).await;
    goes(&server).await;
    let (code, _) = call(&server, "GET", &format!("{WIDGETS}/a"), Value::Null).await;

    assert_eq!(code, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn whole_floats_are_integers_but_where_a_scale_looks_for_them() {
    let server = server().await;
    let number = |kind: &str| json!({"type": kind});
    let spec = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {
        "size": number("integer"), "part": number("number"), "replicas": number("integer"),
    }});
    let mut scaled = version("v1", true, spec);
    scaled["subresources"] =
        json!({"scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}});
    define(&server, definition(json!([scaled]))).await;
    let floats = json!({"size": 2.0, "part": 2.0, "free": [1e3, 2.5]});
    let path = format!("{WIDGETS}/a");

    let (_, made) = call(&server, "POST", WIDGETS, widget("v1", "a", floats.clone())).await;
    let (_, same) = call(&server, "PATCH", &path, json!({"spec": floats})).await;
    let applied = send(
        &server,
        "PATCH",
        &format!("{path}?fieldManager=other"),
        &[("content-type", "application/apply-patch+yaml")],
        widget("v1", "a", floats),
    )
    .await;
    let (refused, _) = call(&server, "PATCH", &path, json!({"spec": {"replicas": 2.0}})).await;

    let integers = json!({"size": 2, "part": 2, "free": [1000, 2.5]});
    assert_eq!(made["spec"], integers);
    assert_eq!(same, made, "nothing changed");
    assert_eq!((applied.code, &applied.body["spec"]), (StatusCode::OK, &integers), "{}", applied.body);
    assert_eq!(applied.body["metadata"]["generation"], made["metadata"]["generation"]);
    assert_eq!(refused, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test(start_paused = true)]
async fn forms_that_custom_kinds_do_not_have_are_refused() {
    let server = server().await;
    define(&server, definition(json!([version("v1", true, string())]))).await;
    call(&server, "POST", WIDGETS, widget("v1", "a", json!({}))).await;
    let path = format!("{WIDGETS}/a");
    let protobuf = "application/vnd.kubernetes.protobuf";

    let strategic = [("content-type", "application/strategic-merge-patch+json")];
    let patched = send(&server, "PATCH", &path, &strategic, json!({"spec": {}})).await;
    let written = send(&server, "PUT", &path, &[("content-type", protobuf)], json!({})).await;
    let read = send(&server, "GET", &path, &[("accept", protobuf)], Value::Null).await;
    let both = format!("{protobuf},application/json");
    let fallback = send(&server, "GET", &path, &[("accept", &both)], Value::Null).await;

    assert_eq!(patched.code, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(written.code, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(read.code, StatusCode::NOT_ACCEPTABLE);
    assert_eq!((fallback.code, &fallback.body["kind"]), (StatusCode::OK, &json!("Widget")));
}

#[tokio::test(start_paused = true)]
async fn unknown_fields_are_told_and_strictly_refused_and_old_versions_warn() {
    let server = server().await;
    let mut versions = json!([version("v1", true, string())]);
    versions[0]["deprecated"] = true.into();
    define(&server, definition(versions)).await;
    let odd = widget("v1", "a", json!({"colour": "red"}));

    let json_type = [("content-type", "application/json")];
    let warned = send(&server, "POST", WIDGETS, &json_type, odd.clone()).await;
    let strict = format!("{WIDGETS}?fieldValidation=Strict");
    let refused = send(&server, "POST", &strict, &json_type, odd).await;

    let warnings: Vec<_> =
        warned.headers.get_all("warning").iter().map(|value| value.to_str().unwrap()).collect();
    assert_eq!(
        warnings,
        ["299 - \"unknown field \\\"spec.colour\\\"\"", "299 - \"example.com/v1 Widget is deprecated\""]
    );
    assert_eq!(refused.code, StatusCode::BAD_REQUEST);
    assert!(refused.body["message"].as_str().unwrap().contains("unknown field \"spec.colour\""));
}

#[tokio::test(start_paused = true)]
async fn alternatives_formats_and_bounds_are_told_as_upstream_does() {
    let server = server().await;
    let spec = json!({"type": "object", "minProperties": 1, "required": ["a"], "properties": {
        "a": {"type": "integer", "multipleOf": 2, "minimum": 0, "exclusiveMinimum": true},
        "when": {"type": "string", "format": "date-time"},
        "tags": {"type": "array", "x-kubernetes-list-type": "set", "maxItems": 3, "items": {"type": "string"}},
        "one": {"type": "object", "properties": {"x": {"type": "string"}, "y": {"type": "string"}},
                "oneOf": [{"required": ["x"]}, {"required": ["y"]}]},
        "names": {"type": "array", "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}},
    }});
    define(&server, definition(json!([version("v1", true, spec)]))).await;
    let wrong = json!({
        "a": -1, "when": "noon", "tags": ["a", "b", "a"], "one": {"x": "1", "y": "2"}, "names": [{}],
    });

    let (code, why) = call(&server, "POST", WIDGETS, widget("v1", "a", wrong)).await;

    assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY);
    let causes: Vec<String> = why["details"]["causes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|cause| format!("{}: {}", cause["field"].as_str().unwrap(), cause["message"].as_str().unwrap()))
        .collect();
    assert_eq!(
        causes,
        [
            "spec.a: Invalid value: -1: spec.a in body should be a multiple of 2",
            "spec.a: Invalid value: -1: spec.a in body should be greater than 0",
            "spec.names[0].name: Required value",
            "<nil>: Invalid value: \"\": \"spec.one\" must validate one and only one schema (oneOf). Found 2 valid alternatives",
            "spec.when: Invalid value: \"noon\": spec.when in body must be of type date-time: \"noon\"",
            "spec.tags[2]: Duplicate value: \"a\"",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_kind_compiled_in_from_a_definition_needs_none_in_the_cluster() {
    let resources = Resource::from_definition(&definition(json!([version("v1", true, string())]))).unwrap();
    let mut builder = ApiServer::builder(MemoryStorage::new());
    for resource in resources {
        builder = builder.resource(resource);
    }
    let server = builder.start().await.unwrap();

    let (code, _) = call(&server, "POST", WIDGETS, widget("v1", "a", json!({"color": 7}))).await;
    let (made, _) = call(&server, "POST", WIDGETS, widget("v1", "a", json!({"color": "red"}))).await;
    let broken = Resource::from_definition(&definition(json!([])));

    assert_eq!((code, made), (StatusCode::UNPROCESSABLE_ENTITY, StatusCode::CREATED));
    assert!(
        broken.unwrap_err().to_string().contains("must have exactly one version marked as storage version")
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_of_three_kinds_serves_these_and_what_is_defined() {
    let kinds = ["namespaces", "configmaps", "customresourcedefinitions.apiextensions.k8s.io"];
    let server = ApiServer::builder(MemoryStorage::new()).only(kinds).start().await.unwrap();

    define(&server, definition(json!([version("v1", true, string())]))).await;
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
    let (map, _) = call(&server, "POST", "/api/v1/namespaces/default/configmaps", map).await;
    let (made, _) = call(&server, "POST", WIDGETS, widget("v1", "a", json!({}))).await;
    let (none, _) = call(&server, "GET", "/api/v1/pods", Value::Null).await;
    let (_, core) = call(&server, "GET", "/api/v1", Value::Null).await;
    let unknown = ApiServer::builder(MemoryStorage::new()).only(["pots"]).start().await;

    assert_eq!((map, made, none), (StatusCode::CREATED, StatusCode::CREATED, StatusCode::NOT_FOUND));
    assert_eq!(core["resources"].as_array().unwrap().len(), 4, "two kinds and what is below namespaces");
    assert!(unknown.unwrap_err().to_string().contains("there is no kind \"pots\""));
}

#[tokio::test(start_paused = true)]
async fn a_server_without_namespaces_takes_their_names() {
    let server = ApiServer::builder(MemoryStorage::new()).only(["configmaps"]).start().await.unwrap();

    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
    let (made, _) = call(&server, "POST", "/api/v1/namespaces/any/configmaps", map).await;

    assert_eq!(made, StatusCode::CREATED);
}

#[cfg(feature = "cel")]
mod rules {
    use super::*;

    async fn with_rules(spec: Value) -> (ApiServer, StatusCode, Value) {
        let server = server().await;
        let (code, answer) =
            call(&server, "POST", DEFINITIONS, definition(json!([version("v1", true, spec)]))).await;
        if code == StatusCode::CREATED {
            established(&server).await;
        }
        (server, code, answer)
    }

    #[tokio::test(start_paused = true)]
    async fn a_rule_is_checked_with_its_message_reason_and_place() {
        let (server, code, answer) = with_rules(json!({
            "type": "object",
            "properties": {"min": {"type": "integer"}, "max": {"type": "integer"}, "name": {"type": "string"}},
            "x-kubernetes-validations": [
                {"rule": "self.min <= self.max", "messageExpression": "'min ' + string(self.min) + ' is too large'"},
                {"rule": "!has(self.name) || self.name != 'bad'", "message": "a bad name", "fieldPath": ".name", "reason": "FieldValueForbidden"},
            ],
        }))
        .await;
        assert_eq!(code, StatusCode::CREATED, "{answer}");

        let spec = json!({"min": 3, "max": 2, "name": "bad"});
        let (refused, why) = call(&server, "POST", WIDGETS, widget("v1", "a", spec)).await;
        let (made, _) = call(&server, "POST", WIDGETS, widget("v1", "a", json!({"min": 1, "max": 2}))).await;

        assert_eq!((refused, made), (StatusCode::UNPROCESSABLE_ENTITY, StatusCode::CREATED));
        assert_eq!(
            why["details"]["causes"],
            json!([
                {"field": "spec", "reason": "FieldValueInvalid", "message": "Invalid value: \"object\": min 3 is too large"},
                {"field": "spec.name", "reason": "FieldValueForbidden", "message": "Forbidden: a bad name"},
            ])
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_rule_on_changes_holds_for_changes_and_finds_elements_by_their_keys() {
        let rule = json!([{"rule": "self == oldSelf", "message": "is immutable"}]);
        let (server, code, answer) = with_rules(json!({"type": "object", "properties": {
            "class": {"type": "string", "x-kubernetes-validations": rule},
            "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"], "items": {
                "type": "object", "required": ["name"], "properties": {
                    "name": {"type": "string"}, "number": {"type": "integer", "x-kubernetes-validations": rule},
                },
            }},
        }}))
        .await;
        assert_eq!(code, StatusCode::CREATED, "{answer}");
        let ports = json!([{"name": "a", "number": 1}, {"name": "b", "number": 2}]);
        call(&server, "POST", WIDGETS, widget("v1", "a", json!({"class": "x", "ports": ports}))).await;

        let path = format!("{WIDGETS}/a");
        let turned = json!({"spec": {"ports": [{"name": "b", "number": 2}, {"name": "a", "number": 1}]}});
        let (kept, _) = call(&server, "PATCH", &path, turned).await;
        let changed = json!({"spec": {"class": "y", "ports": [{"name": "b", "number": 3}]}});
        let (refused, why) = call(&server, "PATCH", &path, changed).await;

        assert_eq!((kept, refused), (StatusCode::OK, StatusCode::UNPROCESSABLE_ENTITY));
        assert_eq!(why["details"]["causes"][0]["field"], "spec.class");
        assert_eq!(why["details"]["causes"][1]["field"], "spec.ports[0].number");
    }

    #[tokio::test(start_paused = true)]
    async fn a_rule_that_cannot_be_evaluated_or_costs_too_much_is_refused_with_its_definition() {
        let nested = json!({"type": "object",
            "properties": {"list": {"type": "array", "items": {"type": "string"}}},
            "x-kubernetes-validations": [{"rule": "self.list.all(x, self.list.all(y, x == y))"}],
        });
        let bounded = json!({"type": "object",
            "properties": {"list": {"type": "array", "maxItems": 10, "items": {"type": "string", "maxLength": 20}}},
            "x-kubernetes-validations": [{"rule": "self.list.all(x, self.list.all(y, x == y))"}],
        });
        let unknown = json!({"type": "object", "properties": {"a": {"type": "integer"}},
            "x-kubernetes-validations": [{"rule": "self.b > 0"}, {"rule": "self.a >"}, {"rule": "other.a > 0"}]});
        let atomic = json!({"type": "object", "properties": {"l": {"type": "array", "maxItems": 3, "items": {
            "type": "integer", "x-kubernetes-validations": [{"rule": "self == oldSelf"}]}}}});

        let (_, costly, why) = with_rules(nested).await;
        let (_, cheap, answer) = with_rules(bounded).await;
        let (_, undefined, problems) = with_rules(unknown).await;
        let (_, uncorrelated, place) = with_rules(atomic).await;

        assert_eq!((costly, cheap), (StatusCode::UNPROCESSABLE_ENTITY, StatusCode::CREATED), "{answer}");
        let text = why["message"].as_str().unwrap();
        assert!(text.contains("estimated rule cost exceeds budget by factor of more than 100x"), "{text}");
        assert_eq!(undefined, StatusCode::UNPROCESSABLE_ENTITY);
        let text = problems["message"].as_str().unwrap();
        for part in ["undefined field 'b'", "compilation failed", "undeclared reference to 'other'"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert_eq!(uncorrelated, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(
            place["message"]
                .as_str()
                .unwrap()
                .contains("oldSelf cannot be used on the uncorrelatable portion")
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_that_makes_rules_run_too_long_is_refused_at_once() {
        let (server, code, answer) = with_rules(json!({"type": "object",
            "properties": {"list": {"type": "array", "maxItems": 2000, "items": {"type": "integer"}}},
            "x-kubernetes-validations": [{"rule": "self.list.all(x, self.list.exists(y, x == y + 1))"}],
        }))
        .await;
        assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY, "{answer}");
        drop(server);
        let (server, code, answer) = with_rules(json!({"type": "object",
            "properties": {"list": {"type": "array", "maxItems": 1000, "items": {"type": "integer"}}},
            "x-kubernetes-validations": [{"rule": "self.list.all(x, self.list.exists(y, x == y + 1))"}],
        }))
        .await;
        assert_eq!(code, StatusCode::CREATED, "{answer}");

        let long: Vec<i64> = (0..1000).collect();
        let (refused, why) = call(&server, "POST", WIDGETS, widget("v1", "a", json!({"list": long}))).await;

        assert_eq!(refused, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(why["message"].as_str().unwrap().contains("running out of cost budget"), "{why}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_custom_kind_does_not_do_is_told_in_the_words_of_its_own_handler() {
    let server = server().await;
    let mut with_status = version("v1", true, string());
    with_status["subresources"] = json!({"status": {}});
    define(&server, definition(json!([with_status]))).await;
    call(&server, "POST", WIDGETS, widget("v1", "a", json!({}))).await;
    let across = "/apis/example.com/v1/widgets";

    let posted = call(&server, "POST", &format!("{WIDGETS}/a/status"), widget("v1", "a", json!({}))).await;
    let unknown = call(&server, "FOO", WIDGETS, Value::Null).await;
    let nameless = call(&server, "PUT", WIDGETS, widget("v1", "a", json!({}))).await;
    let all = call(&server, "GET", across, Value::Null).await;
    let without_namespace = call(&server, "POST", across, widget("v1", "b", json!({}))).await;

    let says = |answer: &(StatusCode, Value)| (answer.0.as_u16(), answer.1["message"].clone());
    let unsupported =
        |verb: &str| json!(format!("{verb} is not supported on resources of kind \"widgets.example.com\""));
    assert_eq!(says(&posted), (405, unsupported("create")));
    assert_eq!(posted.1["details"], json!({"group": "example.com", "kind": "widgets"}));
    assert_eq!(says(&unknown), (405, unsupported("")));
    assert_eq!(says(&nameless), (400, json!("name must be provided")));
    assert_eq!(all.1["items"].as_array().unwrap().len(), 1);
    assert_eq!(without_namespace, (StatusCode::NOT_FOUND, Value::Null), "that is text");
}
