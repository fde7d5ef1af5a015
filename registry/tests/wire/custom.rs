//! Kinds that definitions make: the words and the forms of their answers.

use std::time::Duration;

use http::StatusCode;
use quarterdeck_registry::ApiServer;
use serde_json::{Value, json};

use crate::support::{Answer, ask, get, post};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const DEFINITION: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/things.example.com";
const THINGS: &str = "/apis/example.com/v1/namespaces/default/things";
const THING: &str = "/apis/example.com/v1/namespaces/default/things/a";
const SCALE: &str = "/apis/example.com/v1/namespaces/default/things/a/scale";
const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";

/// A server with a kind whose objects have a status and a scale, and this schema of their spec.
async fn server(spec: Value) -> ApiServer {
    let server = ApiServer::in_memory().await.unwrap();
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "things", "kind": "Thing", "listKind": "ThingCollection"},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": spec,
                    "status": {"type": "object", "properties": {"n": {"type": "integer"}}},
                }}},
                "subresources": {
                    "status": {}, "scale": {"specReplicasPath": ".spec.n", "statusReplicasPath": ".status.n"},
                },
            }],
        },
    });
    post(&server, DEFINITIONS, &definition).await;
    for _ in 0..100 {
        if get(&server, THINGS, &[]).await.status == StatusCode::OK {
            return server;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the kind is not served");
}

fn count() -> Value {
    json!({"type": "object", "properties": {"n": {"type": "integer"}}})
}

fn thing(spec: &Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "a"}, "spec": spec})
}

async fn send(server: &ApiServer, method: &str, path: &str, media_type: &str, body: &Value) -> Answer {
    ask(server, method, path, &[("content-type", media_type)], body.to_string()).await
}

fn refusal(answer: &Answer) -> (u16, String, Value) {
    let status = answer.json();
    let message = status["message"].as_str().unwrap_or_default().to_owned();
    (answer.status.as_u16(), message, status["details"].clone())
}

#[tokio::test(start_paused = true)]
async fn a_list_has_the_name_of_its_definition_and_an_empty_token_in_one_form_alone() {
    let server = server(count()).await;
    post(&server, THINGS, &thing(&json!({}))).await;
    let form = |kind: &str| format!("application/json;as={kind};v=v1;g=meta.k8s.io");

    let list = get(&server, THINGS, &[]).await.json();
    let table = get(&server, THINGS, &[("accept", &form("Table"))]).await.json();
    let metadata = get(&server, THINGS, &[("accept", &form("PartialObjectMetadataList"))]).await.json();
    let openapi = get(&server, "/openapi/v3/apis/example.com/v1", &[]).await.json();
    let deleted = ask(&server, "DELETE", THINGS, &[], "").await.json();

    assert_eq!((&list["kind"], &list["metadata"]["continue"]), (&json!("ThingCollection"), &json!("")));
    assert_eq!(deleted["kind"], "ThingCollection");
    assert_eq!(deleted["items"], list["items"]);
    for other in [table, metadata] {
        assert_eq!(other["metadata"].get("continue"), None, "{}", other["kind"]);
    }
    let schemas = openapi["components"]["schemas"].as_object().unwrap();
    let kinds = schemas.values().map(|schema| &schema["x-kubernetes-group-version-kind"][0]["kind"]);
    assert!(kinds.into_iter().any(|kind| kind == "ThingCollection"));
}

#[tokio::test(start_paused = true)]
async fn a_patch_of_a_type_that_is_none_is_refused_with_those_there_are() {
    let server = server(count()).await;
    post(&server, THINGS, &thing(&json!({}))).await;
    let why = "the body of the request was in an unknown format - accepted media types include: \
               application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";

    for media_type in ["text/plain", JSON, "application/strategic-merge-patch+json"] {
        let refused = send(&server, "PATCH", THING, media_type, &json!({})).await;

        assert_eq!(refusal(&refused), (415, why.into(), Value::Null), "{media_type}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_scale_without_replicas_is_not_read_and_not_left_so() {
    let server = server(count()).await;
    post(&server, THINGS, &thing(&json!({}))).await;

    let read = get(&server, SCALE, &[]).await;
    let left = send(&server, "PATCH", SCALE, MERGE, &json!({})).await;
    let set = send(&server, "PATCH", SCALE, MERGE, &json!({"spec": {"replicas": 2}})).await;

    let (code, why, _) = refusal(&read);
    let missing = "Internal error occurred: the spec replicas field \".spec.n\" does not exist";
    assert_eq!((code, why.as_str()), (500, missing));
    let empty = "the spec replicas field \".spec.n\" cannot be empty";
    assert_eq!(refusal(&left), (400, empty.into(), Value::Null));
    assert_eq!(set.json()["spec"], json!({"replicas": 2}));
}

#[tokio::test(start_paused = true)]
async fn the_scale_of_nothing_is_said_of_the_kind() {
    let server = server(count()).await;
    let scale = json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "a"}});
    let details = json!({"name": "a", "group": "example.com", "kind": "things"});

    let read = get(&server, SCALE, &[]).await;
    let put = send(&server, "PUT", SCALE, JSON, &scale).await;
    let patched = send(&server, "PATCH", SCALE, MERGE, &json!({})).await;

    for answer in [read, put, patched] {
        assert_eq!(refusal(&answer), (404, "things.example.com \"a\" not found".into(), details.clone()));
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_kind_that_ends_nothing_is_made_and_discovery_says_what_is_left() {
    let server = server(count()).await;
    let mut held = thing(&json!({}));
    held["metadata"]["finalizers"] = json!(["example.com/f"]);
    post(&server, THINGS, &held).await;
    let verbs = async |path: &str, accept: &str| get(&server, path, &[("accept", accept)]).await.json();
    let all = verbs("/apis/example.com/v1", JSON).await;
    let names: Vec<&Value> =
        all["resources"].as_array().unwrap().iter().map(|resource| &resource["name"]).collect();
    assert_eq!(names, ["things", "things/status", "things/scale"]);

    ask(&server, "DELETE", DEFINITION, &[], "").await;
    let mut other = thing(&json!({}));
    other["metadata"]["name"] = "b".into();
    let made = send(&server, "POST", THINGS, JSON, &other).await;
    let apply = format!("{THINGS}/b?fieldManager=m");
    let applied = send(&server, "PATCH", &apply, "application/apply-patch+yaml", &other).await;
    let plain = verbs("/apis/example.com/v1", JSON).await;
    let aggregated =
        verbs("/apis", "application/json;as=APIGroupDiscoveryList;v=v2;g=apidiscovery.k8s.io").await;

    let why = "create not allowed while custom resource definition is terminating";
    assert_eq!(refusal(&made), (405, why.into(), json!({"group": "example.com", "kind": "things"})));
    let (code, message, _) = refusal(&applied);
    assert_eq!((code, message), (403, format!("things.example.com \"b\" is forbidden: {why}")));
    let left = json!(["delete", "deletecollection", "get", "list", "watch"]);
    assert_eq!(plain["resources"][0]["verbs"], left);
    let group = aggregated["items"].as_array().unwrap().iter();
    let group = group.clone().find(|group| group["metadata"]["name"] == "example.com").unwrap();
    let kind = &group["versions"][0]["resources"][0];
    assert_eq!(kind["verbs"], left);
    assert_eq!(kind["subresources"][0]["subresource"], "status");
    assert_eq!(kind["subresources"][1]["subresource"], "scale");
}

#[cfg(feature = "cel")]
#[tokio::test(start_paused = true)]
async fn rules_are_checked_unless_the_object_has_not_their_form() {
    let spec = json!({"type": "object", "required": ["n"], "properties": {
        "n": {"type": "integer", "minimum": 5}, "name": {"type": "string", "maxLength": 3},
    }, "x-kubernetes-validations": [{"rule": "self.n > 3", "message": "too few"}]});
    let server = server(spec).await;
    let causes = |answer: &Answer| -> Vec<String> {
        let status = answer.json();
        let causes = status["details"]["causes"].as_array().unwrap().iter();
        causes
            .map(|cause| {
                format!("{}: {}", cause["field"].as_str().unwrap(), cause["message"].as_str().unwrap())
            })
            .collect()
    };

    let small = send(&server, "POST", THINGS, JSON, &thing(&json!({"n": 1}))).await;
    let missing = send(&server, "POST", THINGS, JSON, &thing(&json!({}))).await;

    let minimum = "spec.n: Invalid value: 1: spec.n in body should be greater than or equal to 5";
    assert_eq!(causes(&small), [minimum, "spec: Invalid value: \"object\": too few"]);
    let unchecked = "<nil>: Invalid value: \"null\": some validation rules were not checked because the object was \
                     invalid; correct the existing errors to complete validation";
    assert_eq!(causes(&missing), ["spec.n: Required value", unchecked]);
}

#[cfg(feature = "cel")]
#[tokio::test(start_paused = true)]
async fn what_is_wrong_with_the_form_of_a_rule_is_told_once() {
    let server = ApiServer::in_memory().await.unwrap();
    let rules = json!([
        {"rule": "true", "message": " ", "fieldPath": ".none"},
        {"rule": "true", "message": "a\nb", "fieldPath": " "},
        {"rule": " ", "message": " "},
    ]);
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"}, "versions": [{
            "name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "x-kubernetes-validations": rules,
            }},
        }]},
    });

    let refused = send(&server, "POST", DEFINITIONS, JSON, &definition).await;

    let status = refused.json();
    let causes: Vec<(String, &Value)> = status["details"]["causes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|cause| {
            (
                cause["field"]
                    .as_str()
                    .unwrap()
                    .rsplit_once("x-kubernetes-validations")
                    .unwrap()
                    .1
                    .to_owned(),
                &cause["message"],
            )
        })
        .collect();
    assert_eq!(
        causes,
        [
            (
                "[0].message".to_owned(),
                &json!("Invalid value: \" \": message must be non-empty if specified")
            ),
            ("[0].fieldPath".to_owned(), &json!("Invalid value: \".none\": fieldPath must be a valid path")),
            (
                "[1].message".to_owned(),
                &json!("Invalid value: \"a\\nb\": message must not contain line breaks")
            ),
            (
                "[1].fieldPath".to_owned(),
                &json!("Invalid value: \" \": fieldPath must be non-empty if specified")
            ),
            ("[1].fieldPath".to_owned(), &json!("Invalid value: \" \": fieldPath must be a valid path")),
            ("[2].rule".to_owned(), &json!("Required value: rule is not specified")),
        ]
    );
}
