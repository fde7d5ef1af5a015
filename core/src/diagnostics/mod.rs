//! What a program shows of itself over HTTP: `/metrics`, and `/livez`, `/readyz` and `/healthz` part by part.
//!
//! Start at [`Diagnostics`], a `tower::Service` that any server of HTTP can have under these paths. `LoopbackServer`
//! (feature `loopback`) is a component that shows it to this machine. An API server and a node's agent show their own
//! figures, behind their own authentication.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::Full;
use tower::Service;

use crate::health::Health;
use crate::metrics::Metrics;

const TEXT: &str = "text/plain; charset=utf-8";

/// Answers with metrics and health. Clones tell the same.
///
/// # Examples
///
/// ```
/// use http::Request;
/// use quarterdeck_core::diagnostics::Diagnostics;
/// use quarterdeck_core::health::Health;
/// use quarterdeck_core::metrics::Metrics;
/// use tower::ServiceExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let diagnostics = Diagnostics::new(Metrics::new(), Health::new());
///
/// let answer = diagnostics.oneshot(Request::get("/readyz").body(())?).await?;
///
/// assert_eq!(answer.status(), 200);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Diagnostics {
    metrics: Metrics,
    health: Health,
}

impl Diagnostics {
    /// Shows these metrics and checks.
    #[must_use]
    pub fn new(metrics: Metrics, health: Health) -> Self {
        Self { metrics, health }
    }

    /// Answers a request for one of the paths; `None` if it is for another.
    #[must_use]
    pub fn answer(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Option<Response<Full<Bytes>>> {
        let (code, kind, body) = if uri.path() == "/metrics" {
            let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
            let all = self.metrics.answer(accept);
            (StatusCode::OK, all.content_type, all.text)
        } else {
            let answer = self.health.answer(uri.path(), uri.query().unwrap_or_default())?;
            let code = if answer.healthy { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR };
            (code, TEXT, answer.text)
        };
        if method != Method::GET && method != Method::HEAD {
            return Some(respond(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET is allowed".to_owned()));
        }
        Some(respond(code, kind, body))
    }
}

impl<B> Service<Request<B>> for Diagnostics {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let known = self.answer(request.method(), request.uri(), request.headers());
        ready(Ok(
            known.unwrap_or_else(|| respond(StatusCode::NOT_FOUND, TEXT, "404 page not found\n".to_owned()))
        ))
    }
}

fn respond(code: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::from(body));
    *answer.status_mut() = code;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    answer
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    async fn ask(method: &str, path: &str) -> (u16, String) {
        let (metrics, health) = (Metrics::new(), Health::new());
        metrics.counters("seen_total", "Things seen.", &[]).with(&[]).inc();
        health.ready("sea", || Err("too rough".into()));
        let request = Request::builder().method(method).uri(path).body(()).unwrap();
        let answer = Diagnostics::new(metrics, health).call(request).await.unwrap();
        let code = answer.status().as_u16();
        (code, String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().into()).unwrap())
    }

    #[tokio::test]
    async fn metrics_and_health_are_shown_and_nothing_else() {
        let (code, metrics) = ask("GET", "/metrics").await;
        assert!(code == 200 && metrics.contains("\nseen_total 1\n"), "{metrics}");
        assert_eq!(ask("GET", "/livez").await, (200, "ok".into()));
        let (code, told) = ask("GET", "/readyz").await;
        assert!(code == 500 && told.contains("[-]sea failed: too rough\n"), "{told}");
        assert_eq!(ask("GET", "/debug/pprof").await.0, 404);
        assert_eq!(ask("GET", "/metrics/else").await.0, 404);
        assert_eq!(ask("POST", "/metrics").await.0, 405);
    }
}
