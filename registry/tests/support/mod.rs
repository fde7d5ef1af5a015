//! Calling a server in process, as tests of several files do.
#![allow(dead_code, reason = "no test uses all of it")]

pub(crate) mod watch;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use quarterdeck_registry::{ApiServer, Body, User};
use serde_json::Value;
use tower::ServiceExt;

/// What a server answered.
pub(crate) struct Answer {
    pub(crate) code: StatusCode,
    pub(crate) headers: HeaderMap,
    /// The body, if it is JSON.
    pub(crate) body: Value,
}

/// Sends a request as an administrator; a PATCH is a merge patch.
pub(crate) async fn call(server: &ApiServer, method: &str, path: &str, body: Value) -> (StatusCode, Value) {
    let media_type = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
    let answer = send(server, method, path, &[("content-type", media_type)], body).await;
    (answer.code, answer.body)
}

/// Gets what is at a path.
pub(crate) async fn get(server: &ApiServer, path: &str) -> Value {
    let (code, body) = call(server, "GET", path, Value::Null).await;
    assert_eq!(code, StatusCode::OK, "{path}: {body}");
    body
}

/// Makes an object.
pub(crate) async fn create(server: &ApiServer, path: &str, object: Value) -> Value {
    let (code, body) = call(server, "POST", path, object).await;
    assert_eq!(code, StatusCode::CREATED, "{path}: {body}");
    body
}

/// Returns an object's or a list's revision.
pub(crate) fn revision(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"]
        .as_str()
        .expect("it has a revision")
        .parse()
        .expect("it is a number")
}

/// Sends a request with these headers.
pub(crate) async fn send(
    server: &ApiServer,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Value,
) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(match body {
        Value::Null => Body::empty(),
        body => Body::full(body.to_string()),
    });
    let answer = server.as_user(User::admin()).oneshot(request.unwrap()).await.unwrap();
    let (parts, body) = answer.into_parts();
    let bytes: Bytes = body.collect().await.unwrap().to_bytes();
    let body = serde_json::from_slice(&bytes).unwrap_or_default();
    Answer { code: parts.status, headers: parts.headers, body }
}
