//! A server and what it answers.

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use quarterdeck_registry::{ApiServer, Body, User};
use serde_json::Value;
use tower::ServiceExt;

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    /// A header, empty if it is absent.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }
}

/// Asks an administrator's question.
pub(crate) async fn ask(
    server: &ApiServer,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Answer {
    let request = headers
        .iter()
        .fold(Request::builder().method(method).uri(path), |request, (name, value)| {
            request.header(*name, *value)
        })
        .body(Body::full(body))
        .unwrap();
    let answer = server.as_user(User::admin()).oneshot(request).await.unwrap();
    let (parts, body) = answer.into_parts();
    Answer { status: parts.status, headers: parts.headers, body: body.collect().await.unwrap().to_bytes() }
}

/// Reads a path.
pub(crate) async fn get(server: &ApiServer, path: &str, headers: &[(&str, &str)]) -> Answer {
    ask(server, "GET", path, headers, Bytes::new()).await
}

/// Creates a JSON object.
pub(crate) async fn post(server: &ApiServer, path: &str, object: &Value) -> Answer {
    let answer = ask(server, "POST", path, &[("content-type", "application/json")], object.to_string()).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
    answer
}
