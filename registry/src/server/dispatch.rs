//! The innermost service: finds who answers a request.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use quarterdeck_core::health::{HealthAnswer, Question};
use serde_json::{Value, json};
use tokio::time::Instant;
use tower::Service;

use crate::body::Body;
use crate::documents::{Documents, Set};
use crate::layers::RequestBody;
use crate::registry::Registry;
use crate::request::{Query, RequestInfo};
use crate::status::{Status, chain};
use crate::verbs::{self, Running};

/// The version that the server speaks: the API of this release of Kubernetes.
const VERSION: (&str, &str, &str) = ("1", "33", "v1.33.0");

/// The paths that tell how to check service accounts' tokens.
const ISSUER_PATHS: [&str; 2] = ["/.well-known/openid-configuration", "/openid/v1/jwks"];
/// What is looked at when somebody asks for health. What upstream calls `etcd` is the store here: probes ask for it by that name.
const CHECKS: [&str; 3] = ["ping", "etcd", "watch-cache"];
/// How long the store may take until the server says that it is not healthy.
const STORE_ANSWERS_WITHIN: Duration = Duration::from_secs(2);
/// For how long the store's last answer counts.
const STORE_ASKED_EVERY: Duration = Duration::from_secs(1);

/// Answers requests that may pass.
#[derive(Debug, Clone)]
pub(super) struct Dispatch(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Arc<Registry>,
    documents: Documents,
    running: Running,
    /// When the store was last asked, and whether it answered.
    store: tokio::sync::Mutex<Option<(Instant, bool)>>,
}

impl Dispatch {
    pub(super) fn new(registry: Arc<Registry>, running: Running) -> Self {
        Self(Arc::new(Inner {
            registry,
            documents: Documents::default(),
            running,
            store: Default::default(),
        }))
    }
}

impl Service<Request<RequestBody>> for Dispatch {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        let inner = self.0.clone();
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            let info = match RequestInfo::of_parts(&mut parts) {
                Ok(info) => info,
                Err(status) => return Ok(status.into_response()),
            };
            drop(parts.extensions.remove::<Arc<RequestInfo>>());
            Ok(match Arc::unwrap_or_clone(info) {
                RequestInfo::Resource(request) => {
                    verbs::serve(inner.registry.clone(), request, parts, body, inner.running.clone()).await
                }
                RequestInfo::Path(path) => inner.path(&path, &parts).await,
            })
        })
    }
}

impl Inner {
    /// Answers a path that is no resource's.
    async fn path(&self, path: &str, parts: &Parts) -> Response<Body> {
        if let Some(answer) = self.health(path, parts).await {
            return answer;
        }
        let query = Query::parse(&parts.uri);
        let known = self.document(path, parts, &query).await;
        match known {
            Some(_) if parts.method != Method::GET => Status::method_not_allowed().into_response(),
            Some(answer) => answer,
            None if self.is_routed(path) => Status::unknown_path().into_response(),
            None => verbs::no_such_page(),
        }
    }

    /// Whether a path belongs to one of the services that upstream has a router for, which answers in the API's words.
    fn is_routed(&self, path: &str) -> bool {
        let mut segments = path.trim_start_matches('/').split('/');
        match (segments.next(), segments.next()) {
            (Some("api" | "version"), _) => true,
            (Some("apis"), Some(group)) => verbs::is_own_group(&self.registry, group),
            _ => false,
        }
    }

    async fn document(&self, path: &str, parts: &Parts, query: &Query) -> Option<Response<Body>> {
        if path == "/version" {
            return Some(text(&version()));
        }
        if let Some(answer) = self.issuer(path) {
            return Some(answer);
        }
        if path == "/metrics" {
            return Some(self.metrics(parts));
        }
        let set = self.documents.about(self.registry.resources().all());
        if path == "/" {
            return Some(text(&json!({"paths": self.paths(&set)})));
        }
        match set.discovery.answer(path, &parts.headers, query) {
            Some(answer) => Some(answer),
            None => set.openapi(path, &parts.headers, query, &self.registry).await,
        }
    }

    fn metrics(&self, parts: &Parts) -> Response<Body> {
        let accept = parts.headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
        let all = self.registry.figures.metrics().answer(accept);
        let mut answer = Response::new(Body::full(all.text));
        answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(all.content_type));
        answer
    }

    /// Answers the paths that tell how to check service accounts' tokens.
    fn issuer(&self, path: &str) -> Option<Response<Body>> {
        if !ISSUER_PATHS.contains(&path) {
            return None;
        }
        let discovery = self.registry.tokens.as_ref()?.discovery()?;
        let (document, content_type) = match path {
            "/openid/v1/jwks" => (discovery.key_set, "application/jwk-set+json"),
            _ => (discovery.configuration, "application/json"),
        };
        let mut answer = Response::new(Body::full(document.to_string()));
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
        Some(answer)
    }

    /// The paths that answer, in order.
    fn paths<'s>(&self, set: &'s Set) -> Vec<&'s str> {
        let others = ["/healthz", "/livez", "/metrics", "/openapi/v2", "/openapi/v3", "/readyz", "/version"];
        let issues = self.registry.tokens.as_ref().is_some_and(|tokens| tokens.discovery().is_some());
        let issuer = ISSUER_PATHS.into_iter().filter(|_| issues);
        let mut paths: Vec<&str> = set.discovery.paths().chain(others).chain(issuer).collect();
        paths.sort_unstable();
        paths
    }

    /// Answers the paths that tell of health. Anybody may ask, so why something is not well is in the log alone.
    async fn health(&self, path: &str, parts: &Parts) -> Option<Response<Body>> {
        let question = Question::of(path, parts.uri.query().unwrap_or_default())?;
        let is_running = !self.running.stop.is_stopped();
        let mut found = Vec::new();
        for check in CHECKS.into_iter().filter(|check| question.asks(check)) {
            let is_good = match check {
                // Only who asks for the store has it asked.
                "etcd" => is_running && self.stores().await,
                "watch-cache" => is_running && self.registry.cache.is_fed(),
                _ => true,
            };
            found.push((check, if is_good { Ok(()) } else { Err("reason withheld".to_owned()) }));
        }
        let HealthAnswer { healthy, text } = question.answer(&found)?;
        let mut answer = Response::new(Body::full(text));
        *answer.status_mut() = if healthy { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR };
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
        Some(answer)
    }
}

impl Inner {
    /// Whether the store answers, and takes writes as far as it knows. It is asked once a second at most, by one request at a time: anybody may ask for health.
    async fn stores(&self) -> bool {
        let mut last = self.store.lock().await;
        if let Some((at, good)) = *last
            && at.elapsed() < STORE_ASKED_EVERY
        {
            return good;
        }
        let storage = &self.registry.storage;
        let asked = async {
            storage.check()?;
            storage.revision().await
        };
        let good = match tokio::time::timeout(STORE_ANSWERS_WITHIN, asked).await {
            Ok(Ok(_)) => true,
            Ok(Err(error)) => {
                tracing::warn!(error = %chain(&error), "not healthy: the store does not answer, or has failed");
                false
            }
            Err(_) => {
                tracing::warn!("not healthy: the store takes more than {STORE_ANSWERS_WITHIN:?} to answer");
                false
            }
        };
        *last = Some((Instant::now(), good));
        good
    }
}

fn version() -> Value {
    let (major, minor, git) = VERSION;
    json!({
        "major": major, "minor": minor, "gitVersion": git, "gitCommit": env!("CARGO_PKG_VERSION"),
        "gitTreeState": "clean", "buildDate": "2026-11-20T00:00:00Z", "goVersion": "none",
        "compiler": "rustc", "platform": format!("{}/{}", std::env::consts::OS, platform()),
    })
}

/// The machine's name as Go spells it.
fn platform() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn text(value: &Value) -> Response<Body> {
    let text = serde_json::to_vec_pretty(value).expect("a JSON value can be written");
    let mut answer = Response::new(Body::full(text));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}
