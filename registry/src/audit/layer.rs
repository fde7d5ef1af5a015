//! The layer that tells of requests. It stands behind authentication, so that it knows who asks.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::future::{BoxFuture, Either};
use http::{Request, Response};
use quarterdeck_core::clock::Clock;
use tower::{Layer, Service};
use tracing::Span;

use super::record::{AuditId, Record};
use super::{Audit, Level};
use crate::body::Body;
use crate::layers::RequestBody;
use crate::layers::time_limit::is_long_running;
use crate::notes::Notes;
use crate::request::{RequestInfo, ResourceRequest};
use crate::user::User;

/// Tells of requests, if anybody wants to know.
#[derive(Debug, Clone)]
pub(crate) struct AuditLayer {
    pub(super) audit: Option<Audit>,
    pub(super) clock: Clock,
}

impl AuditLayer {
    pub(crate) fn new(audit: Option<Audit>, clock: Clock) -> Self {
        Self { audit, clock }
    }
}

impl<S> Layer<S> for AuditLayer {
    type Service = Audited<S>;

    fn layer(&self, inner: S) -> Audited<S> {
        Audited { layer: self.clone(), inner }
    }
}

/// A service of whose requests it is told.
#[derive(Debug, Clone)]
pub(crate) struct Audited<S> {
    layer: AuditLayer,
    inner: S,
}

impl<S> Audited<S> {
    /// Begins to tell of a request, if the policy wants that.
    fn begin(&self, request: &mut Request<RequestBody>) -> Option<Record> {
        let audit = self.layer.audit.as_ref()?;
        let described = describe(request);
        let nobody = User::default();
        let user = request.extensions().get::<User>().unwrap_or(&nobody);
        let verdict = audit.policy.verdict(user, &described.verb, &described.info);
        if verdict.level == Level::None {
            return None;
        }
        let notes = Arc::<Notes>::default();
        let record = Record::begin(audit, &self.layer.clock, (notes.clone(), request), described, &verdict);
        // It is in the record now, and extensions grow by doubling.
        drop(request.extensions_mut().remove::<AuditId>());
        request.extensions_mut().insert(notes);
        Some(record)
    }
}

impl<S> Service<Request<RequestBody>> for Audited<S>
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

    fn call(&mut self, mut request: Request<RequestBody>) -> Self::Future {
        let span = Span::current();
        if let Some(user) = request.extensions().get::<User>().filter(|_| !span.is_disabled()) {
            span.record("user", user.name.as_str());
        }
        let Some(mut record) = self.begin(&mut request) else {
            return Either::Left(self.inner.call(request));
        };
        let request = record.see_request(request);
        Either::Right(Box::pin(watch(self.inner.call(request), record)))
    }
}

/// What a request asks, its verb, and whether it lasts.
pub(super) struct Described {
    pub(super) info: Arc<RequestInfo>,
    pub(super) verb: Cow<'static, str>,
    pub(super) lasts: bool,
}

/// Describes a request.
pub(super) fn describe<B>(request: &mut Request<B>) -> Described {
    let info = RequestInfo::of(request)
        .unwrap_or_else(|_| Arc::new(RequestInfo::Path(request.uri().path().to_owned())));
    let verb = match &*info {
        RequestInfo::Resource(ResourceRequest { verb: Some(verb), .. }) => verb.as_str().into(),
        _ => request.method().as_str().to_ascii_lowercase().into(),
    };
    let lasts = is_long_running(&info);
    Described { info, verb, lasts }
}

/// Waits for an answer, and tells of it.
async fn watch<E>(
    answer: impl Future<Output = Result<Response<Body>, E>> + Send,
    record: Record,
) -> Result<Response<Body>, E> {
    match AssertUnwindSafe(answer).catch_unwind().await {
        Ok(Ok(answer)) => Ok(record.see_answer(answer)),
        Ok(Err(error)) => Err(error),
        Err(panic) => {
            record.panicked();
            resume_unwind(panic)
        }
    }
}
