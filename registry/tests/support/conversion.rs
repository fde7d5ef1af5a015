//! Custom kinds whose versions a webhook converts: `spec.size` of version 1 is `spec.length` of version 2.

use std::time::Duration;

use futures::StreamExt;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use quarterdeck_registry::{ApiServer, Body, User};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::hook::{Hook, Reply, validating, webhook};
use crate::support::{call, send};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const V1: &str = "/apis/example.com/v1/namespaces/default/rods";
const V2: &str = "/apis/example.com/v2/namespaces/default/rods";

fn field(version: &str) -> &'static str {
    if version.ends_with("v1") { "size" } else { "length" }
}

/// Converts as the versions are meant.
fn convert(asked: &Value) -> Reply {
    review(asked, |_| {})
}

fn review(asked: &Value, spoil: impl Fn(&mut Value)) -> Reply {
    let desired = asked["request"]["desiredAPIVersion"].as_str().unwrap();
    let objects = asked["request"]["objects"].as_array().unwrap().iter().map(|object| {
        let mut object = object.clone();
        let from = field(object["apiVersion"].as_str().unwrap());
        let spec = object["spec"].as_object_mut().unwrap();
        if let Some(size) = spec.remove(from) {
            spec.insert(field(desired).into(), size);
        }
        object["apiVersion"] = desired.into();
        object["metadata"]["labels"]["seen"] = field(desired).into();
        // What is the server's stays as it was.
        object["metadata"]["generation"] = 77.into();
        object
    });
    let mut review = json!({
        "kind": "ConversionReview", "apiVersion": asked["apiVersion"],
        "response": {
            "uid": asked["request"]["uid"], "result": {"status": "Success"},
            "convertedObjects": objects.collect::<Vec<_>>(),
        },
    });
    spoil(&mut review);
    Reply::raw(200, review.to_string())
}

fn version(name: &str, storage: bool) -> Value {
    let field = field(name);
    json!({
        "name": name, "served": true, "storage": storage,
        "subresources": {"status": {}, "scale": {
            "specReplicasPath": format!(".spec.{field}"), "statusReplicasPath": ".status.done",
        }},
        "selectableFields": [{"jsonPath": format!(".spec.{field}")}],
        "additionalPrinterColumns": [{"name": field, "type": "integer", "jsonPath": format!(".spec.{field}")}],
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {
            "spec": {"type": "object", "properties": {field: {"type": "integer"}, "note": {"type": "string"}}},
            "status": {"type": "object", "properties": {"done": {"type": "integer"}}},
        }}},
    })
}

fn definition(client: &Value) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "rods.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "rods", "kind": "Rod"},
            "versions": [version("v1", true), version("v2", false)],
            "conversion": {"strategy": "Webhook", "webhook": {
                "clientConfig": client, "conversionReviewVersions": ["v7", "v1"],
            }},
        },
    })
}

fn rod(version: &str, name: &str, size: u64) -> Value {
    json!({
        "apiVersion": format!("example.com/{version}"), "kind": "Rod", "metadata": {"name": name},
        "spec": {field(version): size},
    })
}

/// A server with the definition, converted by this webhook.
async fn serve(answer: impl Fn(&Value) -> Reply + Send + Sync + 'static) -> (ApiServer, Hook) {
    let (server, hook) = (ApiServer::in_memory().await.unwrap(), Hook::start(answer).await);
    let (code, answer) = call(&server, "POST", DEFINITIONS, definition(&hook.at("/convert"))).await;
    assert_eq!(code, StatusCode::CREATED, "{answer}");
    for _ in 0..500 {
        if call(&server, "GET", V2, Value::Null).await.0 == StatusCode::OK {
            return (server, hook);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the kind is not served");
}

/// The lines of a watch until it has this many.
async fn watched(server: &ApiServer, path: &str, count: usize) -> Vec<Value> {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let answer = server.as_user(User::admin()).oneshot(request).await.unwrap();
    let mut pieces = answer.into_body().into_data_stream();
    let mut text = Vec::new();
    let lines = |text: &[u8]| text.iter().filter(|byte| **byte == b'\n').count();
    while lines(&text) < count {
        match pieces.next().await {
            Some(piece) => text.extend_from_slice(&piece.unwrap()),
            None => break,
        }
    }
    let text = String::from_utf8(text).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn objects_are_written_and_read_in_both_versions() {
    let (server, hook) = serve(convert).await;

    let (code, made) = call(&server, "POST", V2, rod("v2", "a", 3)).await;
    assert_eq!(code, StatusCode::CREATED, "{made}");
    assert_eq!((&made["apiVersion"], &made["spec"]), (&json!("example.com/v2"), &json!({"length": 3})));
    assert_eq!(
        (&made["metadata"]["generation"], &made["metadata"]["labels"]["seen"]),
        (&json!(1), &json!("length"))
    );
    let asked = hook.take();
    assert_eq!(asked[0]["apiVersion"], "apiextensions.k8s.io/v1", "the first version that both know");
    let desired: Vec<_> = asked.iter().map(|asked| &asked["request"]["desiredAPIVersion"]).collect();
    assert_eq!(desired, ["example.com/v1", "example.com/v2"], "there and back");

    let (_, first) = call(&server, "GET", &format!("{V1}/a"), Value::Null).await;
    let (_, second) = call(&server, "GET", &format!("{V2}/a"), Value::Null).await;
    assert_eq!((&first["spec"], &second), (&json!({"size": 3}), &made));
    assert_eq!(first["metadata"]["uid"], made["metadata"]["uid"]);
    assert!(hook.take().is_empty(), "what was written is known");

    let (code, patched) = call(&server, "PATCH", &format!("{V2}/a"), json!({"spec": {"length": 4}})).await;
    assert_eq!((code, &patched["spec"]), (StatusCode::OK, &json!({"length": 4})), "{patched}");
    let mut whole = patched.clone();
    whole["spec"]["length"] = 5.into();
    let (code, updated) = call(&server, "PUT", &format!("{V2}/a"), whole).await;
    assert_eq!((code, &updated["spec"]["length"]), (StatusCode::OK, &json!(5)), "{updated}");
    let (code, answer) =
        call(&server, "PATCH", &format!("{V2}/a/status"), json!({"status": {"done": 2}})).await;
    assert_eq!((code, &answer["status"]["done"]), (StatusCode::OK, &json!(2)), "{answer}");
    let (code, scale) =
        call(&server, "PATCH", &format!("{V2}/a/scale"), json!({"spec": {"replicas": 6}})).await;
    assert_eq!((code, &scale["spec"]["replicas"]), (StatusCode::OK, &json!(6)), "{scale}");
    let (_, scale) = call(&server, "GET", &format!("{V2}/a/scale"), Value::Null).await;
    assert_eq!((&scale["spec"]["replicas"], &scale["status"]["replicas"]), (&json!(6), &json!(2)));
    let apply = [("content-type", "application/apply-patch+yaml")];
    let wanted = json!({"apiVersion": "example.com/v2", "kind": "Rod", "spec": {"note": "n"}});
    let applied = send(&server, "PATCH", &format!("{V2}/a?fieldManager=m"), &apply, wanted).await;
    assert_eq!((applied.code, &applied.body["spec"]), (StatusCode::OK, &json!({"length": 6, "note": "n"})));

    let (_, first) = call(&server, "GET", &format!("{V1}/a"), Value::Null).await;
    assert_eq!((&first["spec"], &first["status"]), (&json!({"size": 6, "note": "n"}), &json!({"done": 2})));
    let (code, _) = call(&server, "DELETE", &format!("{V2}/a"), Value::Null).await;
    assert_eq!(code, StatusCode::OK);
    assert_eq!(call(&server, "GET", &format!("{V1}/a"), Value::Null).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn lists_pages_tables_and_selectors_show_the_version_that_is_asked_for() {
    let (server, hook) = serve(convert).await;
    for (name, size) in [("a", 1), ("b", 2), ("c", 3)] {
        call(&server, "POST", V1, rod("v1", name, size)).await;
    }

    let (_, list) = call(&server, "GET", V2, Value::Null).await;
    assert_eq!(list["items"].as_array().unwrap().len(), 3, "{list}");
    assert_eq!(
        (&list["items"][2]["spec"], &list["apiVersion"]),
        (&json!({"length": 3}), &json!("example.com/v2"))
    );
    let asked = hook.take();
    assert_eq!(asked.len(), 1, "all of them in one call");
    assert_eq!(asked[0]["request"]["objects"].as_array().unwrap().len(), 3);

    let (_, page) = call(&server, "GET", &format!("{V2}?limit=2"), Value::Null).await;
    let token = page["metadata"]["continue"].as_str().unwrap();
    let (_, rest) = call(&server, "GET", &format!("{V2}?limit=2&continue={token}"), Value::Null).await;
    assert_eq!(
        (&page["items"][1]["spec"], &rest["items"][0]["spec"]),
        (&json!({"length": 2}), &json!({"length": 3}))
    );
    let (_, chosen) = call(&server, "GET", &format!("{V2}?fieldSelector=spec.length%3D2"), Value::Null).await;
    assert_eq!(
        (chosen["items"].as_array().unwrap().len(), &chosen["items"][0]["metadata"]["name"]),
        (1, &json!("b"))
    );
    let (_, chosen) = call(&server, "GET", &format!("{V2}?labelSelector=seen%3Dlength"), Value::Null).await;
    assert_eq!(chosen["items"].as_array().unwrap().len(), 3, "labels are those of the version");
    let (_, chosen) = call(&server, "GET", &format!("{V1}?labelSelector=seen"), Value::Null).await;
    assert_eq!(chosen["items"], json!([]));
    let table = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let table = send(&server, "GET", V2, &table, Value::Null).await;
    assert_eq!(table.body["rows"][1]["cells"], json!(["b", 2]), "{}", table.body);
    assert!(hook.take().is_empty(), "what was converted once is kept");
}

#[tokio::test]
async fn many_watches_are_told_in_order_and_cost_one_call_for_a_change() {
    let (server, hook) = serve(convert).await;
    let (_, made) = call(&server, "POST", V1, rod("v1", "a", 1)).await;
    let since = made["metadata"]["resourceVersion"].as_str().unwrap();
    for size in 2..5 {
        call(&server, "PATCH", &format!("{V1}/a"), json!({"spec": {"size": size}})).await;
    }
    call(&server, "DELETE", &format!("{V1}/a"), Value::Null).await;
    assert!(hook.take().is_empty(), "who writes what is stored needs no webhook");

    let path = format!("{V2}?watch=true&resourceVersion={since}");
    let all = futures::future::join_all((0..20).map(|_| watched(&server, &path, 4))).await;

    for lines in all {
        let told: Vec<_> =
            lines.iter().map(|line| (&line["type"], &line["object"]["spec"]["length"])).collect();
        let (modified, deleted) = (json!("MODIFIED"), json!("DELETED"));
        let sizes: Vec<Value> = (2..5).map(Value::from).collect();
        assert_eq!(
            told,
            [(&modified, &sizes[0]), (&modified, &sizes[1]), (&modified, &sizes[2]), (&deleted, &sizes[2])]
        );
    }
    assert_eq!(hook.take().len(), 1);
}

#[tokio::test]
async fn what_was_stored_in_another_version_is_converted_from_that_one() {
    let (server, hook) = serve(convert).await;
    call(&server, "POST", V1, rod("v1", "old", 1)).await;
    let (_, mut changed) =
        call(&server, "GET", &format!("{DEFINITIONS}/rods.example.com"), Value::Null).await;
    changed["spec"]["versions"] = json!([version("v1", false), version("v2", true)]);
    let (code, answer) = call(&server, "PUT", &format!("{DEFINITIONS}/rods.example.com"), changed).await;
    assert_eq!(code, StatusCode::OK, "{answer}");
    call(&server, "POST", V2, rod("v2", "new", 2)).await;
    hook.take();

    let (_, list) = call(&server, "GET", V2, Value::Null).await;
    assert_eq!(
        (&list["items"][0]["spec"], &list["items"][1]["spec"]),
        (&json!({"length": 2}), &json!({"length": 1}))
    );
    let asked = hook.take();
    assert_eq!(asked[0]["request"]["objects"][0]["metadata"]["name"], "old", "the new one is not sent");
    assert_eq!(asked[0]["request"]["objects"].as_array().unwrap().len(), 1);
    let (_, list) = call(&server, "GET", V1, Value::Null).await;
    assert_eq!(
        (&list["items"][0]["spec"], &list["items"][1]["spec"]),
        (&json!({"size": 2}), &json!({"size": 1}))
    );
    // A write moves it to the version that is stored now.
    let (code, _) = call(&server, "PATCH", &format!("{V1}/old"), json!({"spec": {"size": 9}})).await;
    assert_eq!(code, StatusCode::OK);
    let (_, list) = call(&server, "GET", V2, Value::Null).await;
    assert_eq!(list["items"][1]["spec"], json!({"length": 9}));
    // A definition goes with all its objects, whatever has become of the webhook.
    drop(hook);
    call(&server, "POST", V2, rod("v2", "last", 2)).await;
    call(&server, "DELETE", &format!("{DEFINITIONS}/rods.example.com"), Value::Null).await;
    for _ in 0..500 {
        let (code, _) = call(&server, "GET", &format!("{DEFINITIONS}/rods.example.com"), Value::Null).await;
        if code == StatusCode::NOT_FOUND {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the definition stays");
}

/// What a client is told of an object when the webhook answers so.
async fn refused(answer: impl Fn(&Value) -> Reply + Send + Sync + 'static) -> String {
    let (server, _hook) = serve(answer).await;
    call(&server, "POST", V1, rod("v1", "a", 1)).await;
    let (code, answer) = call(&server, "GET", &format!("{V2}/a"), Value::Null).await;
    let (listed, _) = call(&server, "GET", V2, Value::Null).await;
    assert_eq!((code, listed), (StatusCode::INTERNAL_SERVER_ERROR, StatusCode::INTERNAL_SERVER_ERROR));
    let lines = watched(&server, &format!("{V2}?watch=true"), 2).await;
    assert_eq!((lines.len(), &lines[0]["type"]), (1, &json!("ERROR")), "{lines:?}");
    assert_eq!(call(&server, "POST", V2, rod("v2", "z", 1)).await.0, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(call(&server, "GET", &format!("{V1}/z"), Value::Null).await.0, StatusCode::NOT_FOUND);
    let message = answer["message"].as_str().unwrap();
    let told = lines[0]["object"]["message"].as_str().unwrap();
    assert!(told.starts_with("conversion webhook for example.com/v1, Kind=Rod "), "{told}");
    message
        .strip_prefix("conversion webhook for example.com/v1, Kind=Rod ")
        .unwrap_or_else(|| panic!("{message}"))
        .to_owned()
}

#[tokio::test]
async fn each_bad_answer_is_told_apart() {
    let spoilt = |at: &'static str, value: Value| {
        refused(move |asked| review(asked, |review| *review.pointer_mut(at).unwrap() = value.clone()))
    };
    const OBJECT: &str = "returned invalid converted object at index 0: ";
    for (at, value, expected) in [
        ("/response", Value::Null, "failed: no response provided".to_owned()),
        ("/response/convertedObjects", json!([]), "returned 0 objects, expected 1".to_owned()),
        ("/response/result", json!({"status": "Failure", "message": "no way"}), "failed: no way".to_owned()),
        ("/response/result", json!({"status": "Odd"}), "failed: response.result.status was 'Odd', not 'Success'".to_owned()),
        ("/response/convertedObjects/0/apiVersion", json!("example.com/v3"), format!("{OBJECT}invalid groupVersion (expected example.com/v2, received example.com/v3)")),
        ("/response/convertedObjects/0/kind", json!("Bar"), format!("{OBJECT}invalid kind (expected Rod, received Bar)")),
        ("/response/convertedObjects/0/metadata/name", json!("b"), format!("{OBJECT}must have the same name: a != b")),
        ("/response/convertedObjects/0/metadata/namespace", json!("b"), format!("{OBJECT}must have the same namespace: default != b")),
        ("/response/convertedObjects/0/metadata/labels", json!("x"), "returned invalid metadata in object at index 0: invalid metadata.labels of type string in converted object".to_owned()),
        ("/apiVersion", json!("v1"), "failed: expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got v1, Kind=ConversionReview".to_owned()),
    ] {
        assert_eq!(spoilt(at, value).await, expected);
    }
    let why = spoilt("/response/uid", json!("other")).await;
    assert!(
        why.starts_with("failed: expected response.uid=\"") && why.ends_with("\", got \"other\""),
        "{why}"
    );
    let why = spoilt("/response/convertedObjects/0/metadata/uid", json!("x")).await;
    assert!(why.starts_with(OBJECT) && why.ends_with(" != x"), "{why}");
}

#[tokio::test]
async fn rubbish_refusals_and_redirects_are_failures() {
    let why = refused(|_| Reply::raw(500, "broken")).await;
    assert!(
        why.ends_with("an error on the server (\"unknown\") has prevented the request from succeeding"),
        "{why}"
    );
    let why = refused(|_| Reply::raw(200, "<html>")).await;
    assert!(why.contains("json parse error"), "{why}");
    let elsewhere = Hook::start(convert).await;
    let location = format!("https://{}/convert", elsewhere.address);
    let why = refused(move |_| Reply { location: Some(location.clone()), ..Reply::raw(307, "") }).await;
    assert!(why.contains("status code 307"), "{why}");
    assert!(elsewhere.take().is_empty());
}

#[tokio::test]
async fn a_webhook_that_does_not_answer_fails_in_its_time() {
    let (server, _hook) = serve(|asked| Reply { delay: Duration::from_secs(3600), ..convert(asked) }).await;
    call(&server, "POST", V1, rod("v1", "a", 1)).await;
    tokio::time::pause();

    let (code, answer) = call(&server, "GET", &format!("{V2}/a"), Value::Null).await;

    assert_eq!(code, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(answer["message"].as_str().unwrap().ends_with("context deadline exceeded"), "{answer}");
    assert_eq!(call(&server, "GET", &format!("{V1}/a"), Value::Null).await.0, StatusCode::OK);
}

#[tokio::test]
async fn admission_that_wants_another_version_is_not_passed_over() {
    let (server, hook) = serve(convert).await;
    let rules = json!({"rules": [{
        "operations": ["*"], "apiGroups": ["example.com"], "apiVersions": ["v1"], "resources": ["rods"],
    }]});
    validating(&server, &[webhook("a.example.com", &hook.at("/check"), &rules)]).await;

    let (code, answer) = call(&server, "POST", V2, rod("v2", "a", 1)).await;

    assert_eq!(code, StatusCode::INTERNAL_SERVER_ERROR, "{answer}");
    assert!(answer["message"].as_str().unwrap().contains("name all versions in its rules"), "{answer}");
    assert!(hook.take().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_conversion_says_where_its_webhook_is_and_which_reviews_it_knows() {
    let server = ApiServer::in_memory().await.unwrap();
    let client = json!({"url": "https://hook.example.com/convert"});
    let set = |at: &'static str, value: Value| {
        let mut definition = definition(&client);
        *definition.pointer_mut(at).unwrap() = value;
        definition
    };
    for (definition, expected) in [
        (
            set("/spec/conversion/webhook", Value::Null),
            "spec.conversion.webhookClientConfig: Required value: required when strategy is set to Webhook",
        ),
        (
            set("/spec/conversion/webhook/clientConfig", json!({})),
            "spec.conversion.webhookClientConfig: Required value: exactly one of url or service is required",
        ),
        (
            set("/spec/conversion/webhook/clientConfig/url", json!("http://a.example.com")),
            "'https' is the only allowed URL scheme",
        ),
        (
            set("/spec/conversion/webhook/conversionReviewVersions", json!([])),
            "spec.conversion.conversionReviewVersions: Required value",
        ),
        (
            set("/spec/conversion/webhook/conversionReviewVersions", json!(["v9"])),
            "must include at least one of v1, v1beta1",
        ),
        (
            set("/spec/conversion/strategy", json!("None")),
            "spec.conversion.webhookClientConfig: Forbidden: should not be set when strategy is not set to Webhook",
        ),
    ] {
        let (code, answer) = call(&server, "POST", DEFINITIONS, definition).await;
        assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY, "{answer}");
        assert!(answer["message"].as_str().unwrap().contains(expected), "{answer}");
    }
}
