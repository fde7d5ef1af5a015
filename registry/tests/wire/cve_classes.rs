//! Classes of vulnerabilities that servers of this kind have had, one test for each that no other file has. `docs/security.md` lists
//! all classes with their tests.

use async_trait::async_trait;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use quarterdeck_core::node::{NodeBody, NodeConnectError, NodeConnector, NodeService};
use quarterdeck_registry::{ApiServer, Body, MemoryStorage, User};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::support::{ask, post};

const SECRET: &str = "dGhlIGNyb3duIGpld2Vscw==";
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const JSON: &str = "application/json";

/// A server with a secret in `kube-system`, and a user `ann` who may do these things in `default` alone.
async fn server(rules: Value) -> ApiServer {
    let server = ApiServer::in_memory().await.unwrap();
    let secret = json!({"metadata": {"name": "s"}, "data": {"k": SECRET}});
    post(&server, "/api/v1/namespaces/kube-system/secrets", &secret).await;
    let role = json!({"metadata": {"name": "r"}, "rules": rules});
    post(&server, &format!("{RBAC}/namespaces/default/roles"), &role).await;
    let binding = json!({
        "metadata": {"name": "r"},
        "subjects": [{"kind": "User", "name": "ann"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
    });
    post(&server, &format!("{RBAC}/namespaces/default/rolebindings"), &binding).await;
    server
}

async fn as_ann(server: &ApiServer, request: http::request::Builder) -> (StatusCode, String) {
    let answer =
        server.as_user(User::new("ann")).oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let code = answer.status();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (code, String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test]
async fn path_escapes_in_addresses() {
    let everything = json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]);
    let server = server(everything).await;
    let up = ["..", "%2e%2e", "%2E.", "..%2f..", "..%5c..", "%2e%2e%2f%2e%2e", "..%00", "..;", "%252e%252e"];
    let mut paths = Vec::new();
    for up in up {
        for begin in [
            "/api/v1/namespaces/default",
            "/api/v1/namespaces/default/configmaps",
            "/api/v1/namespaces/default/pods/p/log",
            "/healthz",
            "/openapi/v3",
        ] {
            paths.push(format!("{begin}/{up}/kube-system/secrets/s"));
            paths.push(format!("{begin}/{up}/{up}/namespaces/kube-system/secrets/s"));
            paths.push(format!("{begin}/{up}%2fkube-system%2fsecrets%2fs"));
        }
        paths.push(format!("/api/v1/namespaces/{up}/secrets/s"));
        paths.push(format!("/{up}/api/v1/namespaces/kube-system/secrets/s"));
    }
    paths.extend(
        [
            "/api/v1/namespaces/default%2f..%2fkube-system/secrets/s",
            "/api/v1/namespaces/default/secrets/..%2f..%2fkube-system%2fsecrets%2fs",
            "/api/v1/namespaces/kube-system%00/secrets/s",
            "/api/v1/namespaces/default/secrets/s%00",
            "//api/v1/namespaces/kube-system/secrets/s",
            "/api//v1/namespaces//kube-system/secrets/s",
            "/api/v1/namespaces/kube-system/secrets//s",
            "/api/v1/namespaces//secrets/s",
            "/api/v1/secrets/s",
            "/api/v1/watch/namespaces/kube-system/secrets/s",
            "/api/v1/namespaces/kube-system/secrets?fieldSelector=metadata.namespace%3Ddefault",
        ]
        .map(str::to_owned),
    );

    for path in paths {
        let (code, body) = as_ann(&server, Request::get(&path)).await;

        assert!(!body.contains(SECRET), "{path}: {body}");
        assert!(code.is_client_error(), "{path}: {code} {body}");
    }
}

#[tokio::test]
async fn path_escapes_in_names_of_objects() {
    let server = ApiServer::in_memory().await.unwrap();
    let path = "/api/v1/namespaces/default/configmaps";
    for name in
        ["..", ".", "a/b", "../s", "a%2fb", "%2e%2e", "a\0b", "a\nb", "A", "a b", "", &"a".repeat(254)]
    {
        let object = json!({"metadata": {"name": name}}).to_string();
        let answer = ask(&server, "POST", path, &[("content-type", JSON)], object).await;
        assert_eq!(answer.status.as_u16(), 422, "{name:?}: {:?}", answer.body);

        let object = json!({"metadata": {"name": "x", "namespace": name}}).to_string();
        let answer = ask(&server, "POST", path, &[("content-type", JSON)], object).await;
        assert!(answer.status.is_client_error() || name.is_empty(), "{name:?}: {:?}", answer.body);
    }
    // Roles may have other names, but none that is a part of a path.
    for name in ["..", ".", "a/b", "a%2fb"] {
        let role = json!({"metadata": {"name": name}}).to_string();
        let answer =
            ask(&server, "POST", &format!("{RBAC}/clusterroles"), &[("content-type", JSON)], role).await;
        assert_eq!(answer.status.as_u16(), 422, "{name:?}: {:?}", answer.body);
    }
}

#[tokio::test]
async fn websocket_get_is_no_way_around_the_right_to_create() {
    let reading = json!([{"apiGroups": [""], "resources": ["pods", "pods/exec", "pods/attach", "pods/portforward", "pods/proxy"], "verbs": ["get", "list", "watch"]}]);
    let server = server(reading).await;
    for below in ["exec?command=id", "attach", "portforward?ports=1", "proxy/x"] {
        let request = Request::get(format!("/api/v1/namespaces/default/pods/p/{below}"))
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header("sec-websocket-protocol", "v5.channel.k8s.io")
            .header("origin", "http://localhost");

        let (code, body) = as_ann(&server, request).await;

        assert!(code.is_client_error(), "{below}: {code} {body}");
    }
}

#[tokio::test]
async fn traffic_capture_by_endpoints_of_this_machine() {
    let server = ApiServer::in_memory().await.unwrap();
    for address in [
        "127.0.0.1",
        "127.1.2.3",
        "169.254.169.254",
        "224.0.0.1",
        "0.0.0.0",
        "::1",
        "fe80::1",
        "::ffff:127.0.0.1",
    ] {
        let endpoints = json!({
            "metadata": {"name": "e"},
            "subsets": [{"addresses": [{"ip": address}], "ports": [{"port": 80}]}],
        });
        let kind = if address.contains(':') { "IPv6" } else { "IPv4" };
        let slice = json!({
            "metadata": {"name": "e"}, "addressType": kind, "endpoints": [{"addresses": [address]}],
        });
        let service = json!({
            "metadata": {"name": "e"}, "spec": {"externalIPs": [address], "ports": [{"port": 80}]},
        });
        for (path, object) in [
            ("/api/v1/namespaces/default/endpoints", endpoints),
            ("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", slice),
            ("/api/v1/namespaces/default/services", service),
        ] {
            let answer = ask(&server, "POST", path, &[("content-type", JSON)], object.to_string()).await;
            assert_eq!(answer.status.as_u16(), 422, "{path} {address}: {:?}", answer.body);
        }
    }
}

/// A node whose agent sends its callers elsewhere.
#[derive(Debug)]
struct Redirecting;

#[async_trait]
impl NodeConnector for Redirecting {
    async fn connect(&self, _: &str) -> Result<NodeService, NodeConnectError> {
        Ok(NodeService::new(tower::service_fn(async |_: Request<NodeBody>| {
            let answer = Response::builder().status(302).header("location", "http://169.254.169.254/");
            Ok(answer.body(NodeBody::default()).unwrap())
        })))
    }
}

#[tokio::test]
async fn redirects_of_nodes_are_errors_and_are_not_passed_on() {
    let server = ApiServer::builder(MemoryStorage::new()).node_connector(Redirecting).start().await.unwrap();
    post(&server, "/api/v1/namespaces/default/serviceaccounts", &json!({"metadata": {"name": "default"}}))
        .await;
    let pod = json!({
        "metadata": {"name": "p"},
        "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i"}]},
    });
    post(&server, "/api/v1/namespaces/default/pods", &pod).await;

    let answer = ask(&server, "GET", "/api/v1/namespaces/default/pods/p/log", &[], "").await;

    assert!(answer.status.is_server_error(), "{answer:?}");
    assert!(!answer.headers.contains_key("location"));
}

#[tokio::test]
async fn parser_bombs_in_protobuf() {
    let server = ApiServer::in_memory().await.unwrap();
    let path = "/api/v1/namespaces/default/configmaps";
    // Messages in messages, as deep as lengths of five bytes allow in a body: the second field of each is the next.
    let mut nested = Vec::new();
    for _ in 0..100_000 {
        let mut outer = vec![0x12];
        let mut length = nested.len();
        while length >= 0x80 {
            outer.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
            length >>= 7;
        }
        outer.push(u8::try_from(length).unwrap());
        nested.splice(0..0, outer);
        if nested.len() > 200_000 {
            break;
        }
    }
    let endless = [&b"k8s\0\x12"[..], &[0xff; 64]].concat();
    for body in [[&b"k8s\0"[..], &nested].concat(), endless, b"k8s\0".repeat(100_000)] {
        let headers = [("content-type", "application/vnd.kubernetes.protobuf")];
        let answer = ask(&server, "POST", path, &headers, body).await;
        assert!(answer.status.is_client_error(), "{answer:?}");
    }
}

#[tokio::test]
async fn parser_bombs_in_gzip_are_not_unpacked() {
    let server = ApiServer::in_memory().await.unwrap();
    // It is ten bytes of a header and rubbish: whoever unpacked it would say so.
    let body = b"\x1f\x8b\x08\0\0\0\0\0\0\xff rubbish".as_slice();
    let headers = [("content-type", JSON), ("content-encoding", "gzip")];

    let answer = ask(&server, "POST", "/api/v1/namespaces/default/configmaps", &headers, body).await;

    assert!(answer.status.is_client_error(), "{answer:?}");
}

#[tokio::test]
async fn node_self_escalation_by_owners_labels_taints_and_names() {
    let server = ApiServer::in_memory().await.unwrap();
    let before = post(&server, "/api/v1/nodes", &json!({"metadata": {"name": "n"}})).await.json();
    let owner = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "u"}]);
    for patch in [
        json!({"metadata": {"ownerReferences": owner}}),
        json!({"metadata": {"labels": {"node-restriction.kubernetes.io/x": "y"}}}),
        json!({"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}}),
        json!({"spec": {"configSource": {"configMap": {"name": "x", "namespace": "y", "kubeletConfigKey": "z"}}}}),
    ] {
        let request =
            Request::patch("/api/v1/nodes/n").header("content-type", "application/merge-patch+json");
        let request = request.body(Body::full(patch.to_string())).unwrap();
        let answer = server.as_user(User::node("n")).oneshot(request).await.unwrap();
        let code = answer.status();
        let after = ask(&server, "GET", "/api/v1/nodes/n", &[], "").await.json();
        let is_changed = !after["metadata"]["ownerReferences"].is_null()
            || !after["metadata"]["labels"]["node-restriction.kubernetes.io/x"].is_null()
            || after["spec"]["taints"] != before["spec"]["taints"]
            || !after["spec"]["configSource"].is_null();
        assert!(!is_changed, "{patch}: {code} {after}");
    }
}
