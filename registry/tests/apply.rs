//! Server-side apply and managed fields, as clients see them, in process.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Node};
use kube::api::{Api, Patch, PatchParams, PostParams};
use quarterdeck_registry::layers::authorization::{Attributes, Authorizer, Decision};
use quarterdeck_registry::{ApiServer, MemoryStorage, User};
use serde_json::{Value, json};
use tower::ServiceExt;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

/// Sends a request and returns the code and the answer.
async fn send(
    server: &ApiServer,
    method: &str,
    path: &str,
    media_type: &str,
    body: &str,
) -> (StatusCode, Value) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", media_type)
        .header("user-agent", "tester/1.0 (x)")
        .body(kube::client::Body::from(body.as_bytes().to_vec()))
        .unwrap();
    let response: Response<_> = server.as_user(User::admin()).oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap_or_else(|_| panic!("a body")).to_bytes();
    (parts.status, serde_json::from_slice(&bytes).unwrap_or_default())
}

async fn apply(server: &ApiServer, path: &str, object: Value) -> (StatusCode, Value) {
    send(server, "PATCH", path, "application/apply-patch+yaml", &object.to_string()).await
}

async fn merge(server: &ApiServer, path: &str, patch: Value) -> (StatusCode, Value) {
    send(server, "PATCH", path, "application/merge-patch+json", &patch.to_string()).await
}

fn map(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data})
}

fn deployment(spec: Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"}, "spec": spec})
}

fn whole_deployment() -> Value {
    deployment(json!({
        "replicas": 1, "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
    }))
}

/// Who owns what: manager, operation and subresource, each with its fields.
fn owners(object: &Value) -> Vec<(String, Value)> {
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let name = |entry: &Value| {
        let text = |field: &str| entry[field].as_str().unwrap_or_default();
        format!("{} {} {}", text("manager"), text("operation"), text("subresource")).trim_end().to_owned()
    };
    entries.iter().map(|entry| (name(entry), entry["fieldsV1"].clone())).collect()
}

fn owner(object: &Value, name: &str) -> Value {
    let found = owners(object).into_iter().find(|(known, _)| known == name);
    found.unwrap_or_else(|| panic!("{name} is no owner: {:?}", owners(object))).1
}

#[tokio::test]
async fn kube_rs_applies_conflicts_and_forces() {
    let server = ApiServer::in_memory().await.unwrap();
    let maps: Api<ConfigMap> = Api::default_namespaced(server.client());
    let apply = async |manager: &str, force: bool, data: Value| {
        let params = if force { PatchParams::apply(manager).force() } else { PatchParams::apply(manager) };
        maps.patch("a", &params, &Patch::Apply(&map(data))).await
    };

    let made = apply("one", false, json!({"k": "v", "l": "w"})).await.unwrap();
    let refused = apply("two", false, json!({"k": "other"})).await.unwrap_err();
    let forced = apply("two", true, json!({"k": "other"})).await.unwrap();
    let left = apply("one", false, json!({})).await.unwrap();

    assert_eq!(made.data.unwrap().len(), 2);
    let kube::Error::Api(status) = refused else { panic!("the API refuses: {refused}") };
    assert_eq!((status.code, status.reason.as_str()), (409, "Conflict"));
    assert_eq!(status.message, "Apply failed with 1 conflict: conflict with \"one\": .data.k");
    assert_eq!(forced.data.unwrap()["k"], "other");
    assert_eq!(
        left.data.unwrap().into_keys().collect::<Vec<_>>(),
        ["k"],
        "what one left out and nobody owns is gone"
    );
}

#[tokio::test]
async fn conflicts_with_several_managers_are_told_manager_by_manager() {
    let server = ApiServer::in_memory().await.unwrap();
    let path = format!("{MAPS}/a");
    apply(&server, &format!("{path}?fieldManager=b"), map(json!({"k": "1", "l": "1"}))).await;
    merge(&server, &format!("{path}?fieldManager=a"), json!({"data": {"m": "1"}})).await;

    let (code, refusal) =
        apply(&server, &format!("{path}?fieldManager=c"), map(json!({"k": "2", "l": "2", "m": "2"}))).await;

    assert_eq!(code, 409);
    assert_eq!(
        refusal["message"],
        "Apply failed with 3 conflicts: conflicts with \"a\" using v1:\n- .data.m\nconflicts with \"b\":\n- .data.k\n- .data.l"
    );
    assert_eq!(refusal["details"]["causes"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn a_writer_without_a_manager_is_called_as_its_agent_calls_itself() {
    let server = ApiServer::in_memory().await.unwrap();

    let (_, made) =
        send(&server, "POST", MAPS, "application/json", &map(json!({"k": "v"})).to_string()).await;

    assert_eq!(owners(&made), [("tester Update".into(), json!({"f:data": {".": {}, "f:k": {}}}))]);
}

#[tokio::test]
async fn status_and_scale_are_owned_apart() {
    let server = ApiServer::in_memory().await.unwrap();
    let path = format!("{DEPLOYMENTS}/a");
    apply(&server, &format!("{path}?fieldManager=m"), whole_deployment()).await;

    let status = json!({"status": {"observedGeneration": 1}});
    merge(&server, &format!("{path}/status?fieldManager=s"), status).await;
    let (code, scaled) =
        merge(&server, &format!("{path}/scale?fieldManager=k"), json!({"spec": {"replicas": 3}})).await;
    let (_, now) = send(&server, "GET", &path, "application/json", "").await;
    let (conflict, refusal) = apply(&server, &format!("{path}?fieldManager=m"), whole_deployment()).await;

    assert_eq!((code, &scaled["spec"]["replicas"]), (StatusCode::OK, &json!(3)));
    assert_eq!(owner(&now, "s Update status"), json!({"f:status": {"f:observedGeneration": {}}}));
    assert_eq!(owner(&now, "k Update scale"), json!({"f:spec": {"f:replicas": {}}}));
    assert!(owner(&now, "m Apply")["f:spec"].get("f:replicas").is_none(), "who scales takes the replicas");
    assert_eq!(conflict, 409);
    assert_eq!(
        refusal["message"],
        "Apply failed with 1 conflict: conflict with \"k\" with subresource \"scale\" using apps/v1: .spec.replicas"
    );
}

#[tokio::test]
async fn a_scale_is_applied_and_conflicts_with_who_owns_the_replicas() {
    let server = ApiServer::in_memory().await.unwrap();
    let path = format!("{DEPLOYMENTS}/a");
    apply(&server, &format!("{path}?fieldManager=m"), whole_deployment()).await;
    let scale = json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "a"}, "spec": {"replicas": 5}});

    let (conflict, _) = apply(&server, &format!("{path}/scale?fieldManager=n"), scale.clone()).await;
    let (forced, scaled) = apply(&server, &format!("{path}/scale?fieldManager=n&force=true"), scale).await;
    let (_, now) = send(&server, "GET", &path, "application/json", "").await;

    assert_eq!((conflict, forced), (StatusCode::CONFLICT, StatusCode::OK));
    assert_eq!(scaled["spec"]["replicas"], 5);
    assert_eq!(now["spec"]["replicas"], 5);
    assert_eq!(owner(&now, "n Apply scale"), json!({"f:spec": {"f:replicas": {}}}));
}

#[tokio::test]
async fn owners_are_reset_by_an_empty_entry_or_an_empty_list_and_come_back_with_the_first_apply() {
    let server = ApiServer::in_memory().await.unwrap();
    let path = format!("{MAPS}/a");
    for reset in [json!([{}]), json!([])] {
        for by_put in [true, false] {
            apply(&server, &format!("{path}?fieldManager=m"), map(json!({"k": "v"}))).await;
            let (_, cleared) = if by_put {
                let mut put = map(json!({"k": "v"}));
                put["metadata"]["managedFields"] = reset.clone();
                send(&server, "PUT", &path, "application/json", &put.to_string()).await
            } else {
                merge(&server, &path, json!({"metadata": {"managedFields": reset}})).await
            };
            assert_eq!(owners(&cleared), [], "{reset} {by_put}");

            let (_, patched) = merge(&server, &path, json!({"data": {"l": "w"}})).await;
            assert_eq!(
                owners(&patched),
                [],
                "an object without owners stays without until somebody applies it"
            );

            let (_, applied) =
                apply(&server, &format!("{path}?fieldManager=n"), map(json!({"k": "v"}))).await;
            assert_eq!(owner(&applied, "n Apply"), json!({"f:data": {"f:k": {}}}));
            let before = json!({"f:data": {".": {}, "f:k": {}, "f:l": {}}});
            assert_eq!(owner(&applied, "before-first-apply Update"), before);
            send(&server, "DELETE", &path, "application/json", "").await;
        }
    }
}

#[tokio::test]
async fn owners_that_cannot_be_read_and_those_that_a_status_write_brings_change_nothing() {
    let server = ApiServer::in_memory().await.unwrap();
    let path = format!("{DEPLOYMENTS}/a");
    let (_, made) = apply(&server, &format!("{path}?fieldManager=m"), whole_deployment()).await;

    let broken = json!({"metadata": {"managedFields": [{"manager": "x", "operation": "Nonsense"}]}});
    let (_, after_broken) = merge(&server, &path, broken).await;
    let reset = json!({"metadata": {"managedFields": [{}]}});
    let (_, after_status) = merge(&server, &format!("{path}/status"), reset).await;

    assert_eq!(owners(&after_broken), owners(&made));
    assert_eq!(owners(&after_status), owners(&made));
}

#[tokio::test]
async fn what_does_not_fit_its_kind_is_refused_in_upstreams_words_and_changes_nothing() {
    let server = ApiServer::in_memory().await.unwrap();
    let path = format!("{DEPLOYMENTS}/a?fieldManager=m");
    let mut twice = whole_deployment();
    twice["spec"]["template"]["spec"]["containers"] =
        json!([{"name": "c", "image": "i"}, {"name": "c", "image": "j"}]);
    let cases = [
        (
            deployment(json!({"nope": 1})),
            500,
            "failed to create typed patch object (/a; apps/v1, Kind=Deployment): .spec.nope: field not declared in schema",
        ),
        (
            twice,
            500,
            "failed to create typed patch object (/a; apps/v1, Kind=Deployment): .spec.template.spec.containers: duplicate entries for key [name=\"c\"]",
        ),
        (map(json!({})), 400, "invalid object type: /v1, Kind=ConfigMap"),
        (
            json!({"kind": "Deployment", "metadata": {"name": "a"}}),
            400,
            "invalid object type: /, Kind=Deployment",
        ),
    ];

    for (object, code, message) in cases {
        let (found, refusal) = apply(&server, &path, object).await;
        assert_eq!((found.as_u16(), refusal["message"].as_str().unwrap()), (code, message));
    }
    for (text, message) in [
        ("", "invalid object type: /, Kind="),
        (
            "[1]",
            "error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal array into Go \
             value of type map[string]interface {}",
        ),
    ] {
        let (code, refusal) = send(&server, "PATCH", &path, "application/apply-patch+yaml", text).await;
        assert_eq!((code.as_u16(), refusal["message"].as_str().unwrap()), (400, message));
    }
    let (missing, _) = send(&server, "GET", &format!("{DEPLOYMENTS}/a"), "application/json", "").await;
    assert_eq!(missing, 404);
}

#[tokio::test]
async fn members_that_stand_twice_are_judged_as_the_client_asks() {
    let server = ApiServer::in_memory().await.unwrap();
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  k: v\n  k: w\n";
    let send = async |validation: &str| {
        let path = format!("{MAPS}/a?fieldManager=m&fieldValidation={validation}");
        send(&server, "PATCH", &path, "application/apply-patch+yaml", yaml).await
    };

    let (strict, refusal) = send("Strict").await;
    let (ignored, made) = send("Ignore").await;

    assert_eq!(strict, 400);
    assert_eq!(
        refusal["message"],
        "error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n  line 7: key \"k\" already set in map"
    );
    assert_eq!((ignored, &made["data"]["k"]), (StatusCode::CREATED, &json!("w")));
}

#[tokio::test]
async fn options_of_patches_are_checked() {
    let server = ApiServer::in_memory().await.unwrap();
    apply(&server, &format!("{MAPS}/a?fieldManager=m"), map(json!({"k": "v"}))).await;

    let (code, force) = merge(&server, &format!("{MAPS}/a?force=true"), json!({})).await;
    let (long_code, long) =
        merge(&server, &format!("{MAPS}/a?fieldManager={}", "x".repeat(129)), json!({})).await;
    let (cbor, _) =
        send(&server, "PATCH", &format!("{MAPS}/a?fieldManager=m"), "application/apply-patch+cbor", "").await;

    assert_eq!(code, 422);
    assert_eq!(
        force["message"],
        "PatchOptions.meta.k8s.io \"\" is invalid: force: Forbidden: may not be specified for non-apply patch"
    );
    assert_eq!(
        (long_code, long["details"]["causes"][0]["reason"].as_str()),
        (StatusCode::UNPROCESSABLE_ENTITY, Some("FieldValueTooLong"))
    );
    assert_eq!(cbor, 415);
}

#[tokio::test]
async fn kubectl_takes_over_what_client_side_apply_wrote_and_keeps_the_way_back_open() {
    let server = ApiServer::in_memory().await.unwrap();
    let path = format!("{MAPS}/a");
    let annotation = "kubectl.kubernetes.io/last-applied-configuration";
    let mut object = map(json!({"k": "v", "l": "w"}));
    object["metadata"]["annotations"] = json!({annotation: object.to_string()});
    send(
        &server,
        "POST",
        &format!("{MAPS}?fieldManager=kubectl-client-side-apply"),
        "application/json",
        &object.to_string(),
    )
    .await;
    merge(&server, &format!("{path}?fieldManager=other"), json!({"data": {"l": "changed"}})).await;

    let (conflict, refusal) =
        apply(&server, &format!("{path}?fieldManager=kubectl"), map(json!({"k": "new", "l": "w"}))).await;
    let (done, applied) =
        apply(&server, &format!("{path}?fieldManager=kubectl"), map(json!({"k": "new"}))).await;

    assert_eq!(conflict, 409);
    assert_eq!(refusal["message"], "Apply failed with 1 conflict: conflict with \"other\" using v1: .data.l");
    assert_eq!((done, &applied["data"]), (StatusCode::OK, &json!({"k": "new", "l": "changed"})));
    let last: Value =
        serde_json::from_str(applied["metadata"]["annotations"][annotation].as_str().unwrap()).unwrap();
    assert_eq!(last, map(json!({"k": "new"})));
}

#[tokio::test]
async fn only_so_many_updaters_are_kept_apart() {
    let server = ApiServer::in_memory().await.unwrap();
    send(&server, "POST", MAPS, "application/json", &map(json!({"k": "v"})).to_string()).await;
    for at in 0..14 {
        let patch = json!({"data": {format!("k{at}"): "v"}});
        merge(&server, &format!("{MAPS}/a?fieldManager=m{at:02}"), patch).await;
    }

    let (_, now) = send(&server, "GET", &format!("{MAPS}/a"), "application/json", "").await;

    let owners = owners(&now);
    assert_eq!(owners.len(), 10);
    assert!(owners.iter().any(|(name, _)| name == "ancient-changes Update"));
}

#[tokio::test]
async fn owners_of_parts_of_what_is_a_whole_now_own_the_whole() {
    let server = ApiServer::in_memory().await.unwrap();
    let path = format!("{DEPLOYMENTS}/a");
    let (_, made) = apply(&server, &format!("{path}?fieldManager=m"), whole_deployment()).await;
    let mut entries = made["metadata"]["managedFields"].clone();
    entries[0]["fieldsV1"]["f:spec"]["f:selector"] = json!({"f:matchLabels": {"f:a": {}}});

    let patch = json!({"metadata": {"managedFields": entries, "labels": {"x": "y"}}});
    let (_, patched) = merge(&server, &format!("{path}?fieldManager=n"), patch).await;

    assert_eq!(owner(&patched, "m Apply")["f:spec"]["f:selector"], json!({}));
    assert_eq!(owner(&patched, "n Update"), json!({"f:metadata": {"f:labels": {".": {}, "f:x": {}}}}));
}

#[tokio::test]
async fn a_write_that_changes_nothing_changes_no_owner_and_no_revision() {
    let server = ApiServer::in_memory().await.unwrap();
    let deployments: Api<Deployment> = Api::default_namespaced(server.client());
    let params = PatchParams::apply("m");
    let made = deployments.patch("a", &params, &Patch::Apply(&whole_deployment())).await.unwrap();

    let again = deployments.patch("a", &params, &Patch::Apply(&whole_deployment())).await.unwrap();
    let replaced = deployments.replace("a", &PostParams::default(), &again).await.unwrap();

    assert_eq!(again, made);
    assert_eq!(replaced, made);
}

/// Lets everybody do everything but create.
#[derive(Debug)]
struct NoCreation;

#[async_trait::async_trait]
impl Authorizer for NoCreation {
    async fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        match attributes.verb {
            "create" => Decision::NoOpinion("".into()),
            _ => Decision::Allow("".into()),
        }
    }
}

#[tokio::test]
async fn who_may_patch_and_not_create_creates_nothing_by_apply() {
    let server = ApiServer::builder(MemoryStorage::new()).authorizer(NoCreation).start().await.unwrap();

    let (code, refusal) = apply(&server, &format!("{MAPS}/a?fieldManager=m"), map(json!({"k": "v"}))).await;

    assert_eq!(code, 403);
    assert!(
        refusal["message"].as_str().unwrap().contains("cannot create resource \"configmaps\""),
        "{refusal}"
    );
}

#[tokio::test]
async fn a_component_whose_agent_says_nothing_owns_by_its_own_name() {
    let server = ApiServer::in_memory().await.unwrap();
    let nodes: Api<Node> = Api::all(server.client_as(User::node("n")));
    let node = serde_json::from_value(json!({"metadata": {"name": "n", "labels": {"a": "b"}}})).unwrap();

    let made = nodes.create(&PostParams::default(), &node).await.unwrap();

    assert_eq!(made.metadata.managed_fields.unwrap()[0].manager.as_deref(), Some("kubelet"));
}

/// A kind that keeps its replicas elsewhere, may have nulls, and keeps what its schema does not name.
fn definition() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "subresources": {
                    "status": {}, "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"},
                },
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {
                        "size": {"type": "integer"},
                        "maybe": {"type": "object", "nullable": true, "properties": {"a": {"type": "string"}}},
                    }},
                    "status": {"type": "object", "properties": {"size": {"type": "integer"}}},
                }}},
            }],
        },
    })
}

#[tokio::test(start_paused = true)]
async fn a_custom_kinds_status_scale_nulls_and_unknown_members_have_owners() {
    let server = ApiServer::in_memory().await.unwrap();
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    send(&server, "POST", definitions, "application/json", &definition().to_string()).await;
    let things = "/apis/example.com/v1/namespaces/default/things";
    let path = format!("{things}/t");
    let thing = |part: &str, value: Value| json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "t"}, part: value});
    let spec = json!({"size": 1, "maybe": {"a": "b"}, "free": {"x": {"y": 1}, "list": [1]}});
    let made = async || apply(&server, &format!("{path}?fieldManager=m"), thing("spec", spec.clone())).await;
    while made().await.0 != StatusCode::CREATED {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }

    let status = thing("status", json!({"size": 1}));
    let (status_code, _) = apply(&server, &format!("{path}/status?fieldManager=s"), status).await;
    let (scale_code, _) =
        merge(&server, &format!("{path}/scale?fieldManager=k"), json!({"spec": {"replicas": 3}})).await;
    let (_, now) = send(&server, "GET", &path, "application/json", "").await;

    assert_eq!((status_code, scale_code), (StatusCode::OK, StatusCode::OK));
    assert_eq!(now["spec"]["size"], 3);
    assert_eq!(owner(&now, "s Apply status"), json!({"f:status": {"f:size": {}}}));
    assert_eq!(owner(&now, "k Update scale"), json!({"f:spec": {"f:size": {}}}));
    assert_eq!(
        owner(&now, "m Apply"),
        json!({"f:spec": {
            "f:free": {".": {}, "f:list": {}, "f:x": {".": {}, "f:y": {}}},
            "f:maybe": {"f:a": {}},
        }})
    );
}

#[tokio::test(start_paused = true)]
async fn an_applier_by_a_version_that_is_gone_conflicts_with_nobody() {
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let things = |version: &str| {
        format!("/apis/example.com/{version}/namespaces/default/things/t?fieldManager=gitops")
    };
    let thing = |version: &str, size: i64| {
        let api_version = format!("example.com/{version}");
        json!({"apiVersion": api_version, "kind": "Thing", "metadata": {"name": "t"}, "spec": {"size": size}})
    };
    let mut both = definition();
    let old = both["spec"]["versions"][0].clone();
    let mut new = old.clone();
    (new["name"], both["spec"]["versions"][0]["storage"]) = ("v2".into(), false.into());
    both["spec"]["versions"].as_array_mut().unwrap().push(new.clone());
    let mut unserved = both["spec"]["versions"][0].clone();
    unserved["served"] = false.into();

    for left in [json!([new]), json!([unserved, new])] {
        let server = ApiServer::in_memory().await.unwrap();
        let until = async |path: &str, object: &Value, wanted: StatusCode| {
            while apply(&server, path, object.clone()).await.0 != wanted {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        };
        send(&server, "POST", definitions, "application/json", &both.to_string()).await;
        until(&things("v1"), &thing("v1", 1), StatusCode::CREATED).await;
        let patch = json!({"spec": {"versions": left}});
        let (code, answer) = merge(&server, &format!("{definitions}/things.example.com"), patch).await;
        assert_eq!(code, StatusCode::OK, "{answer}");
        until(&things("v1"), &thing("v1", 1), StatusCode::NOT_FOUND).await;

        let (code, applied) = apply(&server, &things("v2"), thing("v2", 2)).await;

        assert_eq!(code, StatusCode::OK, "{applied}");
        assert_eq!(applied["spec"]["size"], 2);
        assert_eq!(owners(&applied), [("gitops Apply".into(), json!({"f:spec": {"f:size": {}}}))]);
    }
}
