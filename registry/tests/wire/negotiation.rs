//! The forms of answers.

use http::StatusCode;
use k8s_openapi::api::core::v1::ConfigMap;
use quarterdeck_registry::ApiServer;
use quarterdeck_registry::schema::{self, Envelope};
use serde_json::{Value, json};

use crate::support::{ask, get, post};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

fn config_map(name: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"a": "b"}}, "data": {"k": "v"}})
}

/// Opens an answer that has to be protobuf.
fn envelope(body: &[u8]) -> Envelope<'_> {
    schema::open_envelope(body).unwrap()
}

#[tokio::test]
async fn metadata_alone_is_answered_as_protobuf_too() {
    let server = ApiServer::in_memory().await.unwrap();
    post(&server, MAPS, &config_map("a")).await;
    let accept = |kind: &str| format!("{PROTOBUF};as={kind};g=meta.k8s.io;v=v1");

    let one = get(&server, &format!("{MAPS}/a"), &[("accept", &accept("PartialObjectMetadata"))]).await;
    let list = get(&server, MAPS, &[("accept", &accept("PartialObjectMetadataList"))]).await;

    assert_eq!(one.header("content-type"), PROTOBUF);
    let opened = envelope(&one.body);
    assert_eq!(
        (opened.api_version.as_str(), opened.kind.as_str()),
        ("meta.k8s.io/v1", "PartialObjectMetadata")
    );
    // Any kind's message begins with its metadata.
    let map = schema::builtin("", "v1", "ConfigMap").unwrap();
    let read = schema::decode_envelope(map, &opened).unwrap().value;
    assert_eq!((&read["metadata"]["name"], &read["metadata"]["labels"]["a"]), (&json!("a"), &json!("b")));
    assert_eq!(read["data"], Value::Null);
    let maps = schema::builtin("", "v1", "ConfigMapList").unwrap();
    let read = schema::decode_envelope(maps, &envelope(&list.body)).unwrap().value;
    assert_eq!(read["items"][0]["metadata"]["name"], "a");
    assert!(read["metadata"]["resourceVersion"].is_string());
}

#[tokio::test]
async fn a_table_is_not_answered_as_protobuf() {
    let server = ApiServer::in_memory().await.unwrap();

    let table = format!("{PROTOBUF};as=Table;g=meta.k8s.io;v=v1");
    let refused = get(&server, MAPS, &[("accept", &table)]).await;
    let next = get(&server, MAPS, &[("accept", &format!("{table},application/json"))]).await;

    assert_eq!(refused.status.as_u16(), 406);
    assert_eq!(next.json()["kind"], "ConfigMapList");
}

#[tokio::test]
async fn every_answer_can_be_had_as_yaml() {
    let server = ApiServer::in_memory().await.unwrap();
    post(&server, MAPS, &config_map("a")).await;
    let yaml = [("accept", "application/yaml")];

    for (method, path, word) in [
        ("GET", MAPS.to_owned(), "kind: ConfigMapList"),
        ("GET", format!("{MAPS}/a"), "kind: ConfigMap"),
        ("GET", format!("{MAPS}/none"), "reason: NotFound"),
        ("DELETE", format!("{MAPS}/a"), "status: Success"),
    ] {
        let answer = ask(&server, method, &path, &yaml, "").await;
        assert_eq!(answer.header("content-type"), "application/yaml", "{method} {path}");
        assert!(std::str::from_utf8(&answer.body).unwrap().contains(word), "{method} {path}: {answer:?}");
    }
}

#[tokio::test]
async fn what_a_client_does_not_want_it_does_not_get() {
    let server = ApiServer::in_memory().await.unwrap();

    let refused = get(&server, MAPS, &[("accept", "application/json;q=0")]).await;
    let yaml = get(&server, MAPS, &[("accept", "application/json;q=0, application/yaml;q=0.1")]).await;
    let cbor = get(&server, MAPS, &[("accept", "application/cbor")]).await;
    let cbor_first = get(&server, MAPS, &[("accept", "application/cbor, application/json")]).await;

    assert_eq!((refused.status.as_u16(), cbor.status.as_u16()), (406, 406));
    assert_eq!(yaml.header("content-type"), "application/yaml");
    assert_eq!(cbor_first.header("content-type"), "application/json");
}

#[tokio::test]
async fn bodies_in_cbor_are_refused_so_that_clients_fall_back_to_json() {
    let server = ApiServer::in_memory().await.unwrap();

    let made = ask(&server, "POST", MAPS, &[("content-type", "application/cbor")], "\u{7f}").await;
    let patch = [("content-type", "application/apply-patch+cbor")];
    let patched = ask(&server, "PATCH", &format!("{MAPS}/a"), &patch, "\u{7f}").await;

    assert_eq!((made.status.as_u16(), patched.status.as_u16()), (415, 415));
}

#[tokio::test]
async fn curl_and_browsers_get_lines_unless_they_want_none() {
    let server = ApiServer::in_memory().await.unwrap();
    let lines = async |path: &str, headers: &[(&str, &str)]| {
        get(&server, path, headers).await.body.iter().filter(|byte| **byte == b'\n').count()
    };

    assert!(lines(MAPS, &[("user-agent", "curl/8")]).await > 3);
    assert!(lines(&format!("{MAPS}?pretty=true"), &[]).await > 3);
    assert!(lines(MAPS, &[("accept", "application/json;pretty=1")]).await > 3);
    assert_eq!(lines(&format!("{MAPS}?pretty=false"), &[("user-agent", "curl/8")]).await, 0);
    assert_eq!(lines(MAPS, &[]).await, 0);
}

#[tokio::test]
async fn a_large_list_is_compressed_for_who_takes_that_and_a_small_one_is_not() {
    let server = ApiServer::in_memory().await.unwrap();
    post(&server, MAPS, &json!({"metadata": {"name": "a"}, "data": {"k": "x".repeat(200_000)}})).await;
    let gzip = [("accept-encoding", "gzip")];

    let large = get(&server, MAPS, &gzip).await;
    let small = get(&server, "/api/v1/namespaces", &gzip).await;

    assert_eq!((large.header("content-encoding"), large.header("vary")), ("gzip", "Accept-Encoding"));
    assert!(large.body.len() < 10_000);
    assert_eq!(small.header("content-encoding"), "");
}

#[tokio::test]
async fn typed_clients_read_what_is_answered() {
    let server = ApiServer::in_memory().await.unwrap();
    let made = post(&server, MAPS, &config_map("a")).await;

    let typed: ConfigMap = serde_json::from_slice(&made.body).unwrap();

    assert_eq!(typed.data.unwrap()["k"], "v");
}

#[tokio::test]
async fn paths_of_nobody_are_answered_as_text_and_those_of_the_servers_own_groups_as_a_status() {
    let server = ApiServer::in_memory().await.unwrap();

    for path in ["/apis/nobody.example.com", "/apis/nobody.example.com/v1", "/nothing", "/healthz/nothing"] {
        let answer = get(&server, path, &[]).await;
        assert_eq!(
            (answer.status, &answer.body[..]),
            (StatusCode::NOT_FOUND, &b"404 page not found\n"[..]),
            "{path}"
        );
    }
    for path in ["/api/v9", "/apis/apps/v9", "/version/more", "/api/v1/configmaps/a"] {
        let answer = get(&server, path, &[]).await;
        assert_eq!(
            (answer.status, &answer.json()["reason"]),
            (StatusCode::NOT_FOUND, &"NotFound".into()),
            "{path}"
        );
    }
}

#[tokio::test]
async fn what_rows_include_matters_to_tables_alone() {
    let server = ApiServer::in_memory().await.unwrap();
    let path = "/api/v1/namespaces?includeObject=All";

    let list = get(&server, path, &[]).await;
    let table = get(&server, path, &[("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")]).await;

    assert_eq!((list.status, table.status), (StatusCode::OK, StatusCode::BAD_REQUEST));
}

#[tokio::test]
async fn a_list_that_is_asked_for_as_one_objects_metadata_is_named_by_its_type() {
    let server = ApiServer::in_memory().await.unwrap();
    let partial = [("accept", "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io")];

    for (path, kind) in [
        ("/api/v1/namespaces", "core.NamespaceList"),
        ("/apis/apps/v1/deployments", "apps.DeploymentList"),
        ("/apis/rbac.authorization.k8s.io/v1/clusterroles", "rbac.ClusterRoleList"),
    ] {
        let refused = get(&server, path, &partial).await.json();
        let why =
            format!("you requested PartialObjectMetadata, but the requested object is a list (*{kind})");
        assert_eq!(refused["message"], why);
    }
}
