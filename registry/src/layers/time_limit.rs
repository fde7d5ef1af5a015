//! How long a request may take.
//!
//! Every request that does not last by its nature ends within a limit: the server's, or a shorter one that the client asks for
//! (`?timeout=5s`). What takes longer is dropped where it waits, which leaves no write half done, and is answered with
//! a 504. An answer that has begun is to be read within as much time again ([`Deadline`]).

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{Request, Response};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep};
use tower::{Layer, Service};

use super::RequestBody;
use crate::body::Body;
use crate::numbers::go_duration;
use crate::request::{Query, RequestInfo, ResourceRequest, Verb};
use crate::status::Status;

/// How long a request may take. It is in the extensions of requests that have passed [`TimeLimits`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeLimit(pub Duration);

impl Default for TimeLimit {
    fn default() -> Self {
        Self(Duration::from_secs(60))
    }
}

/// Until when an answer has to be read that is more than can be sent at once. Listeners end the connection of a client that has not: what
/// it was to be told takes memory. It is in the extensions of such answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline(pub Instant);

/// Whether a request lasts by its nature: as long as the client wants.
#[must_use]
pub fn is_long_running(request: &RequestInfo) -> bool {
    let RequestInfo::Resource(ResourceRequest { verb, subresource, .. }) = request else { return false };
    let below = subresource.as_deref().and_then(|below| below.split('/').next()).unwrap_or_default();
    *verb == Some(Verb::Watch) || matches!(below, "attach" | "exec" | "proxy" | "log" | "portforward")
}

/// The layer that ends requests in time.
#[derive(Debug, Clone, Copy, Default)]
pub struct TimeLimits(TimeLimit);

impl TimeLimits {
    /// Makes a layer of the longest time that a request may take.
    #[must_use]
    pub fn new(limit: TimeLimit) -> Self {
        Self(limit)
    }

    /// Returns how long a request may take; `None` if it lasts by its nature.
    fn of(self, request: &mut Request<RequestBody>) -> Result<Option<TimeLimit>, Status> {
        let info = RequestInfo::of(request)?;
        if is_long_running(&info) {
            return Ok(None);
        }
        let asked = match request.uri().query() {
            Some(query) if query.contains("timeout=") => {
                let query = Query::parse(request.uri());
                let asked = query.non_empty("timeout").map(go_duration).transpose();
                asked.map_err(|why| {
                    Status::bad_request(format!("invalid timeout specified in the request URL - {why}"))
                })?
            }
            _ => None,
        };
        let asked = asked.flatten().filter(|asked| !asked.is_zero());
        Ok(Some(TimeLimit(asked.map_or(self.0.0, |asked| asked.min(self.0.0)))))
    }
}

impl<S> Layer<S> for TimeLimits {
    type Service = Timed<S>;

    fn layer(&self, inner: S) -> Timed<S> {
        Timed { limits: *self, inner }
    }
}

/// A service behind [`TimeLimits`].
#[derive(Debug, Clone)]
pub struct Timed<S> {
    limits: TimeLimits,
    inner: S,
}

impl<S> Service<Request<RequestBody>> for Timed<S>
where
    S: Service<Request<RequestBody>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = TimedFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<RequestBody>) -> Self::Future {
        match self.limits.of(&mut request) {
            Err(status) => TimedFuture { answer: None, refusal: Some(status), limit: None, end: None },
            Ok(limit) => {
                // Who waits for a place goes by the server's limit.
                request.extensions_mut().insert(limit.unwrap_or(self.limits.0));
                let limit = limit.map(|TimeLimit(limit)| limit);
                TimedFuture { answer: Some(self.inner.call(request)), refusal: None, limit, end: None }
            }
        }
    }
}

pin_project! {
    /// The answer of a [`Timed`] service, or a refusal.
    #[derive(Debug)]
    pub struct TimedFuture<F> {
        #[pin]
        answer: Option<F>,
        refusal: Option<Status>,
        limit: Option<Duration>,
        // Begins when the answer is not there at once.
        #[pin]
        end: Option<Sleep>,
    }
}

impl<F, E> Future for TimedFuture<F>
where
    F: Future<Output = Result<Response<Body>, E>>,
{
    type Output = Result<Response<Body>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some(status) = this.refusal.take() {
            return Poll::Ready(Ok(status.into_response()));
        }
        if let Some(answer) = this.answer.as_mut().as_pin_mut()
            && let Poll::Ready(answer) = answer.poll(cx)
        {
            return Poll::Ready(answer.map(|mut answer| {
                if let Some(limit) = this.limit.filter(|_| answer.body().is_long()) {
                    answer.extensions_mut().insert(Deadline(Instant::now() + limit));
                }
                answer
            }));
        }
        let Some(limit) = *this.limit else { return Poll::Pending };
        if this.end.is_none() {
            this.end.set(Some(tokio::time::sleep(limit)));
        }
        if let Some(end) = this.end.as_mut().as_pin_mut() {
            ready!(end.poll(cx));
        }
        // What waits is dropped now, and not when the answer has been sent.
        this.answer.set(None);
        Poll::Ready(Ok(Status::timeout().into_response()))
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::pending;

    use http::StatusCode;
    use tower::{ServiceExt as _, service_fn};

    use super::*;

    async fn ask(path: &str) -> (StatusCode, Duration) {
        let never = service_fn(|_: Request<RequestBody>| pending::<Result<Response<Body>, Infallible>>());
        let service = TimeLimits::default().layer(never);
        let body = RequestBody::new(http_body_util::BodyExt::map_err(Body::empty(), Into::into));
        let begin = tokio::time::Instant::now();
        let request = Request::get(path).body(body).unwrap();
        let answer = tokio::time::timeout(Duration::from_secs(3600), service.oneshot(request)).await;
        let code = answer.map_or(StatusCode::CONTINUE, |answer| answer.unwrap().status());
        (code, begin.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_ends_within_the_servers_limit_or_its_own() {
        for (path, code, seconds) in [
            ("/api/v1/pods", StatusCode::GATEWAY_TIMEOUT, 60),
            ("/api/v1/pods?timeout=5s", StatusCode::GATEWAY_TIMEOUT, 5),
            ("/api/v1/pods?timeout=5m", StatusCode::GATEWAY_TIMEOUT, 60),
            ("/api/v1/pods?timeout=0", StatusCode::GATEWAY_TIMEOUT, 60),
            ("/api/v1/pods?timeout=soon", StatusCode::BAD_REQUEST, 0),
            ("/api/v1/pods?watch=true&timeout=5s", StatusCode::CONTINUE, 3600),
            ("/api/v1/namespaces/n/pods/p/log", StatusCode::CONTINUE, 3600),
        ] {
            let (answered, took) = ask(path).await;
            assert_eq!((answered, took.as_secs()), (code, seconds), "{path}");
        }
    }
}
