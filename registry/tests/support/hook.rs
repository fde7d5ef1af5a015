//! A webhook: a server with TLS on loopback that answers as a test says, and the configurations that name it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use quarterdeck_registry::ApiServer;
use quarterdeck_registry::tls::Authority;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::support::call;

/// What a webhook answers.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) code: u16,
    pub(crate) location: Option<String>,
    pub(crate) body: Vec<u8>,
    pub(crate) delay: Duration,
}

impl Reply {
    pub(crate) fn raw(code: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { code, location: None, body: body.into(), delay: Duration::ZERO }
    }

    /// A review with this response, whose uid is that of the request.
    pub(crate) fn review(asked: &Value, mut response: Value) -> Self {
        response["uid"] = asked["request"]["uid"].clone();
        let version = &asked["apiVersion"];
        let review = json!({"kind": "AdmissionReview", "apiVersion": version, "response": response});
        Self::raw(200, review.to_string())
    }

    /// A review that lets the write through, with this patch.
    pub(crate) fn patch(asked: &Value, patch: &Value) -> Self {
        let patch = STANDARD.encode(patch.to_string());
        Self::review(asked, json!({"allowed": true, "patchType": "JSONPatch", "patch": patch}))
    }
}

type Answer = dyn Fn(&Value) -> Reply + Send + Sync;

/// A running webhook.
pub(crate) struct Hook {
    pub(crate) address: SocketAddr,
    /// The certificate of its authority, as configurations hold it.
    pub(crate) bundle: String,
    /// What it was asked, with the path and the query of each request in `path`.
    pub(crate) asked: Arc<Mutex<Vec<Value>>>,
    _tasks: JoinSet<()>,
}

impl Hook {
    pub(crate) async fn start(answer: impl Fn(&Value) -> Reply + Send + Sync + 'static) -> Self {
        let authority = Authority::new("2026-11-01T00:00:00Z".parse().unwrap()).unwrap();
        let names = ["127.0.0.1", "hook.default.svc"].map(str::to_owned);
        let identity = authority.server("hook", &names).unwrap();
        let acceptor = TlsAcceptor::from(authority.server_config(&identity, false).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked: Arc<Mutex<Vec<Value>>> = Arc::default();
        let (seen, answer): (_, Arc<Answer>) = (asked.clone(), Arc::new(answer));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, seen, answer) = (acceptor.clone(), seen.clone(), answer.clone());
                connections.spawn(async move {
                    // Who does not trust the certificate ends the connection.
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(move |request| respond(request, seen.clone(), answer.clone()));
                    let http = hyper::server::conn::http1::Builder::new();
                    let _ = http.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { address, bundle: STANDARD.encode(authority.certificate()), asked, _tasks: tasks }
    }

    /// A `clientConfig` that names the URL of the webhook.
    pub(crate) fn at(&self, path: &str) -> Value {
        json!({"url": format!("https://{}{path}", self.address), "caBundle": self.bundle})
    }

    /// Takes what it was asked since the last time.
    pub(crate) fn take(&self) -> Vec<Value> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

async fn respond(
    request: Request<Incoming>,
    seen: Arc<Mutex<Vec<Value>>>,
    answer: Arc<Answer>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let path = request.uri().to_string();
    let body = request.into_body().collect().await?.to_bytes();
    let mut review: Value = serde_json::from_slice(&body).unwrap_or_default();
    review["path"] = path.into();
    seen.lock().unwrap().push(review.clone());
    let reply = answer(&review);
    tokio::time::sleep(reply.delay).await;
    let mut response = Response::builder().status(reply.code).header("content-type", "application/json");
    if let Some(location) = reply.location {
        response = response.header("location", location);
    }
    Ok(response.body(Full::new(reply.body.into())).unwrap())
}

/// A webhook for configmaps of any namespace, with these fields besides.
pub(crate) fn webhook(name: &str, client: &Value, more: &Value) -> Value {
    let mut webhook = json!({
        "name": name, "clientConfig": client, "admissionReviewVersions": ["v1"], "sideEffects": "None",
        "rules": [{
            "operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"],
        }],
    });
    for (field, value) in more.as_object().unwrap() {
        webhook[field] = value.clone();
    }
    webhook
}

pub(crate) async fn configure(server: &ApiServer, kind: &str, name: &str, webhooks: &[Value]) {
    let plural = format!("{}s", kind.to_lowercase());
    let configuration = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name},
        "webhooks": webhooks,
    });
    let path = format!("/apis/admissionregistration.k8s.io/v1/{plural}");
    let (code, answer) = call(server, "POST", &path, configuration).await;
    assert_eq!(code, StatusCode::CREATED, "{answer}");
}

pub(crate) async fn mutating(server: &ApiServer, name: &str, webhooks: &[Value]) {
    configure(server, "MutatingWebhookConfiguration", name, webhooks).await;
}

pub(crate) async fn validating(server: &ApiServer, webhooks: &[Value]) {
    configure(server, "ValidatingWebhookConfiguration", "validating", webhooks).await;
}
