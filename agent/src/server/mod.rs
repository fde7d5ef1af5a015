//! The agent's server: what the API server asks of a node.
//!
//! | path | answer |
//! | --- | --- |
//! | `/containerLogs/NAMESPACE/POD/CONTAINER` | what the container wrote (`follow`, `previous`, `tailLines`, …) |
//! | `/pods` | the pods that are bound to the node |
//! | `/metrics` | what the agent counts, for Prometheus |
//! | `/healthz`, `/livez`, `/readyz` | whether the agent is well, part by part |
//!
//! In process it is a tower service in a `NodeMap`, vouched for by whoever holds the map; over a socket it speaks TLS and
//! answers the API server alone, and with metrics and health those who monitor.

mod listener;
mod logs;
mod query;

use std::sync::Arc;

use http::request::Parts;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use quarterdeck_core::client::{NodeBody, NodeService};
use quarterdeck_core::component::BoxError;
use quarterdeck_core::diagnostics::Diagnostics;
use serde_json::json;
use tower::util::BoxCloneSyncService;

pub(crate) use listener::Listener;
pub use listener::{ServeError, ServerSettings};

use crate::host::Host;

/// Answers requests. Clones are the same server.
#[derive(Debug, Clone)]
pub(crate) struct Answers(Arc<Host>);

impl Answers {
    pub(crate) fn new(host: Arc<Host>) -> Self {
        Self(host)
    }

    /// Returns the server as a service.
    pub(crate) fn service(&self) -> NodeService {
        let answers = self.clone();
        BoxCloneSyncService::new(tower::service_fn(move |request: Request<NodeBody>| {
            let answers = answers.clone();
            let (asked, _body) = request.into_parts();
            async move { Ok::<_, BoxError>(answers.answer(&asked).await) }
        }))
    }

    /// Answers a request.
    pub(crate) async fn answer(&self, asked: &Parts) -> Response<NodeBody> {
        if let Some(answer) = self.diagnostics(asked) {
            return answer;
        }
        let uri = &asked.uri;
        let parts: Vec<&str> = uri.path().trim_matches('/').split('/').collect();
        if asked.method != Method::GET {
            return text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed");
        }
        match parts.as_slice() {
            ["containerLogs", namespace, pod, container] => {
                let answer =
                    logs::logs(&self.0, (namespace, pod, container), uri.query().unwrap_or_default()).await;
                answer.unwrap_or_else(|(code, message)| text(code, message))
            }
            ["pods"] => self.pods(),
            _ => text(StatusCode::NOT_FOUND, "404 page not found"),
        }
    }

    /// Answers with metrics and health, if that is what is asked for.
    pub(crate) fn diagnostics(&self, asked: &Parts) -> Option<Response<NodeBody>> {
        let context = &self.0.context;
        let diagnostics = Diagnostics::new(context.metrics.clone(), context.health.clone());
        let answer = diagnostics.answer(&asked.method, &asked.uri, &asked.headers)?;
        Some(answer.map(|body| body.map_err(|never| match never {}).boxed_unsync()))
    }

    fn pods(&self) -> Response<NodeBody> {
        let items = self.0.pods.store().list();
        let list = json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items});
        respond(StatusCode::OK, "application/json", list.to_string())
    }
}

fn text(code: StatusCode, message: impl Into<String>) -> Response<NodeBody> {
    respond(code, "text/plain; charset=utf-8", message.into())
}

fn respond(code: StatusCode, kind: &'static str, body: String) -> Response<NodeBody> {
    let body = Full::from(body).map_err(|never| match never {}).boxed_unsync();
    let answer = Response::builder().status(code).header(header::CONTENT_TYPE, kind).body(body);
    answer.expect("a code and a constant header make a response")
}
