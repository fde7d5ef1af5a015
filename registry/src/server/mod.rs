//! The API server as a value: assembled, started, called, dropped.
//!
//! [`ApiServer`] is a `tower::Service` of HTTP requests. It needs no socket: `ApiServer::client` (feature `client`) gives a
//! `kube::Client` that calls it directly, and a listener is one more caller. What it runs in the background (the
//! feed of its cache, compaction, expiry) ends with it.

mod api_services;
mod bootstrap;
mod builder;
mod dispatch;
mod housekeeping;
mod presence;
#[cfg(feature = "otel")]
mod trace_context;

use std::convert::Infallible;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::FutureExt;
use http::{HeaderName, HeaderValue, Request, Response};
use http_body_util::BodyExt;
use quarterdeck_core::component::{BoxError, Stop, StopSignal};
use quarterdeck_core::metrics::Metrics;
use quarterdeck_core::storage::Revision;
use tokio::task::JoinSet;
use tower::Service;
use tracing::{Instrument as _, Span};

pub use builder::{ApiServerBuilder, BuildError, StartError};

use crate::audit::{AuditId, Audited, KnownOnly};
use crate::body::Body;
use crate::cache::Cache;
use crate::layers::RequestBody;
use crate::layers::authorization::Authorization;
use crate::layers::bodies::ReadFirst;
use crate::layers::fairness::Fair;
use crate::layers::gate::Gated;
use crate::layers::impersonation::Impersonation;
use crate::layers::time_limit::Timed;
use crate::registry::Registry;
use crate::status::Status;
use crate::user::User;
use crate::websocket::{self, Sockets};
use dispatch::Dispatch;

/// The header that names a request in logs.
const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");

/// What a request passes, from the outside in.
type Stack =
    Gated<KnownOnly, Audited<Timed<Gated<Impersonation, ReadFirst<Fair<Gated<Authorization, Dispatch>>>>>>>;

/// An API server. Cheap to clone; clones are one server, which ends when the last one is dropped.
///
/// # Examples
///
/// ```
/// use http::Request;
/// use quarterdeck_registry::{ApiServer, Body, User};
/// use tower::ServiceExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = ApiServer::in_memory().await?;
///
/// let request = Request::get("/api/v1/namespaces/default").body(Body::empty())?;
/// let answer = server.as_user(User::admin()).oneshot(request).await?;
///
/// assert_eq!(answer.status(), 200);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ApiServer {
    stack: Stack,
    registry: Arc<Registry>,
    background: Arc<Background>,
}

/// The tasks of a server. Dropping it ends them.
struct Background {
    signal: StopSignal,
    cache: Cache,
    stop: Stop,
    tasks: Mutex<JoinSet<()>>,
    /// The task that tells others that the server lives, and stops first.
    presence: Mutex<Option<(StopSignal, JoinSet<()>)>>,
    sockets: Arc<Sockets>,
}

impl fmt::Debug for ApiServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiServer")
            .field("kinds", &self.registry.resources().all().len())
            .field("revision", &self.registry.cache.world().revision)
            .finish_non_exhaustive()
    }
}

impl ApiServer {
    /// Starts a server over memory: nothing outlives it, and it is ready at once.
    ///
    /// # Errors
    ///
    /// None that memory knows; the type is that of [`ApiServerBuilder::start`].
    pub async fn in_memory() -> Result<Self, StartError> {
        Self::builder(crate::storage::MemoryStorage::new()).start().await
    }

    /// Returns the server as this user calls it: the user is vouched for by whoever holds the value.
    #[must_use]
    pub fn as_user(&self, user: User) -> AsUser {
        AsUser { server: self.clone(), user }
    }

    /// Returns a client that calls the server in process, as an administrator.
    #[cfg(feature = "client")]
    #[must_use]
    pub fn client(&self) -> kube::Client {
        self.client_as(User::admin())
    }

    /// Returns a client that calls the server in process, as this user.
    #[cfg(feature = "client")]
    #[must_use]
    pub fn client_as(&self, user: User) -> kube::Client {
        kube::Client::new(self.as_user(user), "default")
    }

    /// Returns the revision up to which the server has seen the store.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.registry.cache.world().revision
    }

    /// Takes the server out of the endpoints of the service `kubernetes`, ends watches and background tasks, and waits for the
    /// tasks and the WebSockets. Requests after that are answered from what the server has seen, until the last clone is dropped.
    pub async fn shutdown(&self) {
        self.background.leave().await;
        self.background.stop();
        let mut tasks = std::mem::take(&mut *self.background.tasks());
        while tasks.join_next().await.is_some() {}
        self.background.sockets.ended().await;
    }

    /// Returns what fires when the server is shut down.
    #[must_use]
    pub fn stopped(&self) -> Stop {
        self.background.stop.clone()
    }

    /// Returns the registry of what the server counts, which `/metrics` shows. Other parts of a process may count in it too.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        self.registry.figures.metrics()
    }

    /// The registry behind the server, for layers and tools of this crate's users that need more than HTTP.
    #[must_use]
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }
}

impl Background {
    async fn leave(&self) {
        let presence = self.presence.lock().expect("nothing panics while it holds the task").take();
        if let Some((signal, mut task)) = presence {
            signal.stop();
            task.join_next().await;
        }
    }

    fn stop(&self) {
        self.signal.stop();
        self.cache.wake();
    }

    fn tasks(&self) -> std::sync::MutexGuard<'_, JoinSet<()>> {
        self.tasks.lock().expect("nothing panics while it holds the tasks")
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The future of an answer.
pub(crate) type ResponseFuture = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl<B> Service<Request<B>> for ApiServer
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let given = request.headers().get(AUDIT_ID).filter(|id| is_audit_id(id)).cloned();
        let id = given.unwrap_or_else(|| {
            HeaderValue::from_str(&self.registry.random.uuid()).expect("a uuid is a header's value")
        });
        let asks_for_socket = websocket::is_asked(request.headers());
        let mut request: Request<RequestBody> =
            request.map(|body| RequestBody::new(body.map_err(Into::into)));
        request.extensions_mut().insert(AuditId(id.clone()));
        let world = self.registry.cache.world();
        let measured = self.registry.figures.begin(world.resources(), &mut request);
        let span = span_of(&request, &id);
        #[cfg(feature = "otel")]
        trace_context::adopt(&span, request.headers());
        let mut stack = self.stack.clone();
        let answer = async move {
            let answer = stack.call(request).await;
            if let Ok(answer) = &answer {
                tracing::debug!(code = answer.status().as_u16(), "answered");
            }
            answer
        };
        let answer = answer.instrument(span);
        let answer = AssertUnwindSafe(answer).catch_unwind();
        Box::pin(async move {
            let mut answer = match answer.await {
                Ok(answer) => answer?,
                // The message is in the log already: who panics writes it there. One request must not end the others.
                Err(_) => respond_to_panic(),
            };
            if asks_for_socket {
                websocket::end_connection(&mut answer);
            }
            answer.headers_mut().insert(AUDIT_ID, id);
            Ok(measured.finish(answer))
        })
    }
}

/// Whether a client may call its request this: it goes into logs and audit events, and back to the client. Upstream shows no more
/// of it in its log.
fn is_audit_id(id: &HeaderValue) -> bool {
    (1..=64).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
}

/// Returns the span of a request: what is logged while it is served names it. Disabled, it costs nothing.
fn span_of(request: &Request<RequestBody>, id: &HeaderValue) -> Span {
    tracing::info_span!(
        "request",
        audit_id = id.to_str().unwrap_or_default(),
        verb = %request.method(),
        path = request.uri().path(),
        // Not known yet: it is recorded behind authentication.
        user = tracing::field::Empty,
    )
}

fn respond_to_panic() -> Response<Body> {
    let status = Status::internal("This request caused apiserver to panic. Look in the logs for details.");
    let answer = Response::builder().status(status.code).header("content-type", "application/json");
    answer
        .body(Body::full(Bytes::from(status.object().to_string())))
        .expect("constant headers make a response")
}

/// A server, as one user calls it.
#[derive(Debug, Clone)]
pub struct AsUser {
    server: ApiServer,
    user: User,
}

impl<B> Service<Request<B>> for AsUser
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        request.extensions_mut().insert(self.user.clone());
        self.server.call(request)
    }
}
