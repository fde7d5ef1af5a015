//! Whole requests: paths, queries, headers, YAML, patches, continue tokens. The server answers each, and never with a failure
//! of its own that is no refusal.
#![no_main]

use std::sync::OnceLock;

use http::Request;
use http_body_util::BodyExt;
use libfuzzer_sys::fuzz_target;
use quarterdeck_registry::{ApiServer, Body, User};
use tokio::runtime::Runtime;
use tower::ServiceExt;

const METHODS: [&str; 6] = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
const TYPES: [&str; 6] = [
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];
const PATHS: [&str; 4] = [
    "/api/v1/namespaces/default/configmaps",
    "/api/v1/namespaces/default/configmaps/a",
    "/api/v1/namespaces/default/pods/p/status",
    "/apis/apps/v1/deployments",
];

fn server() -> &'static (Runtime, ApiServer) {
    static SERVER: OnceLock<(Runtime, ApiServer)> = OnceLock::new();
    SERVER.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let server = runtime.block_on(ApiServer::in_memory()).expect("memory starts");
        (runtime, server)
    })
}

fuzz_target!(|input: (u8, u8, u8, &str, &str, &[u8])| {
    let (method, content_type, path, query, accept, body) = input;
    // A watch goes on until its time is up.
    if query.contains("watch") {
        return;
    }
    let path = PATHS[usize::from(path) % PATHS.len()];
    let request = Request::builder()
        .method(METHODS[usize::from(method) % METHODS.len()])
        .uri(format!("{path}?{query}"))
        .header("content-type", TYPES[usize::from(content_type) % TYPES.len()])
        .header("accept", accept)
        .body(Body::full(body.to_vec()));
    let Ok(request) = request else { return };
    let (runtime, server) = server();
    runtime.block_on(async {
        let answer = server.as_user(User::admin()).oneshot(request).await.expect("the server answers");
        let _ = answer.into_body().collect().await;
    });
});
