//! The layer that tells of requests from nobody known. It stands before authentication, which refuses them.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::{BoxFuture, Either};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use tower::{Layer, Service};

use super::layer::{AuditLayer, describe};
use super::record::{AuditId, Record};
use crate::body::Body;
use crate::layers::RequestBody;
use crate::listener::PeerAddress;
use crate::user::User;

/// The headers that are told, or that say how the client tried to say who it is.
const TOLD: [HeaderName; 4] = [
    header::USER_AGENT,
    header::AUTHORIZATION,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-real-ip"),
];

/// Marks an answer of whose request it was told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told;

/// Tells of requests that authentication refuses, if anybody wants to know.
#[derive(Debug, Clone)]
pub(crate) struct RefusalLayer(AuditLayer);

impl RefusalLayer {
    pub(crate) fn new(layer: AuditLayer) -> Self {
        Self(layer)
    }
}

impl<S> Layer<S> for RefusalLayer {
    type Service = Refusals<S>;

    fn layer(&self, inner: S) -> Refusals<S> {
        Refusals { layer: self.0.clone(), inner }
    }
}

/// A service of whose refusals it is told.
#[derive(Debug, Clone)]
pub(crate) struct Refusals<S> {
    layer: AuditLayer,
    inner: S,
}

impl<S> Service<Request<RequestBody>> for Refusals<S>
where
    S: Service<Request<RequestBody>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<S::Future, BoxFuture<'static, Result<Response<Body>, S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        // Who was vouched for is not refused.
        if self.layer.audit.is_none() || request.extensions().get::<User>().is_some() {
            return Either::Left(self.inner.call(request));
        }
        let kept = Kept::of(&request);
        Either::Right(Box::pin(watch(self.inner.call(request), kept, self.layer.clone())))
    }
}

/// Waits for an answer, and tells of it if it is a refusal of which nobody told.
async fn watch<E>(
    answer: impl Future<Output = Result<Response<Body>, E>> + Send,
    kept: Kept,
    layer: AuditLayer,
) -> Result<Response<Body>, E> {
    let answer = answer.await?;
    if answer.status() == StatusCode::UNAUTHORIZED && answer.extensions().get::<Told>().is_none() {
        tell(kept, &layer);
    }
    Ok(answer)
}

/// What an event tells of a request, and how the client tried to say who it is.
struct Kept {
    method: Method,
    uri: Uri,
    headers: [Option<HeaderValue>; 4],
    address: Option<PeerAddress>,
    id: Option<AuditId>,
}

impl Kept {
    fn of(request: &Request<RequestBody>) -> Self {
        let (headers, extensions) = (request.headers(), request.extensions());
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            headers: TOLD.each_ref().map(|name| headers.get(name).cloned()),
            address: extensions.get().copied(),
            id: extensions.get().cloned(),
        }
    }

    fn into_request(self) -> Request<()> {
        let mut request = Request::new(());
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        for (name, value) in TOLD.into_iter().zip(self.headers) {
            if let Some(value) = value {
                request.headers_mut().insert(name, value);
            }
        }
        if let Some(address) = self.address {
            request.extensions_mut().insert(address);
        }
        if let Some(id) = self.id {
            request.extensions_mut().insert(id);
        }
        request
    }
}

fn tell(kept: Kept, layer: &AuditLayer) {
    let Some(audit) = &layer.audit else { return };
    let mut request = kept.into_request();
    let described = describe(&mut request);
    let verdict = audit.policy.verdict(&User::default(), &described.1, &described.0);
    let scheme = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let scheme = scheme.and_then(|value| value.split(' ').next()).map(str::to_ascii_lowercase);
    let message = match scheme.as_deref() {
        Some(tried @ ("bearer" | "basic")) => format!("Authentication failed, attempted: {tried}"),
        _ => "Authentication failed, no credentials provided".to_owned(),
    };
    Record::refused(audit, &layer.clock, (Arc::default(), &request), described, (&verdict, &message));
}
