//! What strict field validation has against patches.

use bytes::Bytes;
use http::StatusCode;
use quarterdeck_registry::ApiServer;
use serde_json::{Value, json};

use crate::support::{Answer, ask, get, post};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const JSON: &str = "application/json-patch+json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";

async fn server() -> ApiServer {
    let server = ApiServer::in_memory().await.unwrap();
    post(&server, MAPS, &json!({"metadata": {"name": "a"}, "data": {"k": "v"}})).await;
    server
}

/// Patches the config map `a`.
async fn patch(server: &ApiServer, kind: &str, validation: &str, body: &'static str) -> Answer {
    let path = format!("{MAPS}/a?fieldValidation={validation}");
    ask(server, "PATCH", &path, &[("content-type", kind)], Bytes::from_static(body.as_bytes())).await
}

/// The texts of the warnings that an answer carries.
fn warnings(answer: &Answer) -> Vec<String> {
    let values = answer.headers.get_all("warning").iter().map(|value| value.to_str().unwrap());
    let inner = |value: &str| value.strip_prefix("299 - \"").unwrap().strip_suffix('"').unwrap().to_owned();
    values.map(|value| inner(value).replace("\\\"", "\"")).collect()
}

/// Patches with what strict validation has something against, and what that is.
const STRICT: [(&str, &str, &[&str]); 3] = [
    (
        JSON,
        r#"[{"op":"add","path":"/data/k","value":"w","note":"x"},{"op":"add","path":"/extra","value":{"a":1,"a":2}}]"#,
        &[
            "json patch unknown field \"[0].note\"",
            "json patch duplicate field \"[1].value.a\"",
            "unknown field \"extra\"",
        ],
    ),
    (
        MERGE,
        r#"{"data":{"k":"x","k":"w"},"extra":1}"#,
        &["duplicate field \"data.k\"", "unknown field \"extra\""],
    ),
    (
        STRATEGIC,
        r#"{"data":{"k":"x","k":"w"},"metadata":{"extra":1}}"#,
        &["duplicate field \"data.k\"", "unknown field \"metadata.extra\""],
    ),
];

#[tokio::test]
async fn who_wants_to_be_warned_of_fields_in_patches_is_and_who_does_not_is_not() {
    for (kind, body, expected) in STRICT {
        let server = server().await;

        let warned = patch(&server, kind, "Warn", body).await;
        let ignored = patch(&server, kind, "Ignore", body).await;

        assert_eq!(
            (warned.status, warnings(&warned)),
            (StatusCode::OK, expected.iter().map(ToString::to_string).collect())
        );
        assert_eq!((ignored.status, warnings(&ignored)), (StatusCode::OK, vec![]), "{kind}");
        let map = get(&server, &format!("{MAPS}/a"), &[]).await.json();
        assert_eq!((&map["data"]["k"], &map["extra"]), (&json!("w"), &Value::Null), "{kind}");
    }
}

#[tokio::test]
async fn a_patch_that_strict_validation_refuses_is_unprocessable_and_is_shown() {
    for (kind, body, expected) in STRICT {
        let server = server().await;

        let refused = patch(&server, kind, "Strict", body).await;

        let status = refused.json();
        let message = status["message"].as_str().unwrap();
        let what = format!("strict decoding error: {}", expected.join(", "));
        assert_eq!((refused.status.as_u16(), &status["reason"]), (422, &json!("Invalid")), "{message}");
        assert!(message.starts_with(" \"\" is invalid: patch: Invalid value: \""), "{message}");
        assert!(message.ends_with(&what), "{message}");
        assert_eq!(status["details"]["causes"][0]["field"], "patch");
        assert_eq!(status["details"]["causes"].as_array().unwrap().len(), 1);
        let map = get(&server, &format!("{MAPS}/a"), &[]).await.json();
        assert_eq!(map["data"]["k"], "v", "nothing was written");
    }
}

#[tokio::test]
async fn a_strategic_patch_is_shown_as_go_shows_maps_and_others_by_what_comes_out() {
    let server = server().await;

    let strategic =
        patch(&server, STRATEGIC, "Strict", r#"{"extra":[1,"b",null],"data":{"k":"w"}}"#).await.json();
    let merge = patch(&server, MERGE, "Strict", r#"{"extra":1,"data":{"k":"w"}}"#).await.json();

    let shown = |status: &Value| status["message"].as_str().unwrap().to_owned();
    assert!(
        shown(&strategic).contains("Invalid value: \"map[data:map[k:w] extra:[1 b <nil>]]\": strict"),
        "{strategic}"
    );
    assert!(shown(&merge).contains(r#"\"data\":{\"k\":\"w\"}"#), "{merge}");
}

#[tokio::test]
async fn what_a_patch_makes_of_the_wrong_type_is_unprocessable_whatever_the_validation() {
    for kind in [MERGE, STRATEGIC] {
        let server = server().await;

        let refused = patch(&server, kind, "Ignore", r#"{"data":{"k":1,"k":2}}"#).await;

        let status = refused.json();
        assert_eq!(refused.status.as_u16(), 422, "{status}");
        assert_eq!(status["details"]["causes"][0]["field"], "patch");
        assert!(status["message"].as_str().unwrap().contains("cannot unmarshal number"), "{status}");
        assert!(!status["message"].as_str().unwrap().contains("duplicate"), "{status}");
    }
}

#[tokio::test]
async fn patches_of_a_scale_are_judged_as_others() {
    let server = ApiServer::in_memory().await.unwrap();
    let sets = "/apis/apps/v1/namespaces/default/replicasets";
    let template = json!({
        "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]},
    });
    let set = json!({"metadata": {"name": "s"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}});
    post(&server, sets, &set).await;
    let scale = async |validation: &str| {
        let path = format!("{sets}/s/scale?fieldValidation={validation}");
        ask(
            &server,
            "PATCH",
            &path,
            &[("content-type", MERGE)],
            r#"{"spec":{"replicas":1,"replicas":2,"x":1}}"#,
        )
        .await
    };

    let strict = scale("Strict").await;
    let warned = scale("Warn").await;

    let expected = ["duplicate field \"spec.replicas\"", "unknown field \"spec.x\""];
    assert_eq!(strict.status.as_u16(), 422);
    assert!(strict.json()["message"].as_str().unwrap().ends_with(&expected.join(", ")));
    assert_eq!((warned.status.as_u16(), &warned.json()["spec"]["replicas"]), (200, &json!(2)));
    assert_eq!(warnings(&warned), expected);
}

#[tokio::test]
async fn what_is_applied_is_judged_strictly_after_all_else() {
    let server = server().await;
    let send = async |manager: &str, validation: &str| {
        let path = format!("{MAPS}/a?fieldManager={manager}&fieldValidation={validation}");
        let body = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  k: x\n  k: z\n";
        ask(&server, "PATCH", &path, &[("content-type", "application/apply-patch+yaml")], body).await
    };

    let conflict = send("other", "Strict").await;
    let path = format!("{MAPS}/a?fieldManager=other&force=true&fieldValidation=Strict");
    let body = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  k: x\n  k: z\n";
    let refused =
        ask(&server, "PATCH", &path, &[("content-type", "application/apply-patch+yaml")], body).await;
    let warned = ask(
        &server,
        "PATCH",
        &path.replace("Strict", "Warn"),
        &[("content-type", "application/apply-patch+yaml")],
        body,
    )
    .await;

    assert_eq!(conflict.status, StatusCode::CONFLICT, "who owns the field comes first");
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    // As upstream: the parser's words have several lines, and no header can carry them.
    assert_eq!((warned.status, warnings(&warned)), (StatusCode::OK, vec![]));
    assert_eq!(warned.json()["data"]["k"], "z", "the last one counts");
}
