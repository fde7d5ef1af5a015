//! A layer that lets requests through or refuses them.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use futures::future::BoxFuture;
use http::request::Parts;
use http::{Request, Response};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use super::RequestBody;
use crate::body::Body;
use crate::status::Status;

/// Lets a request through, perhaps with something added to its extensions, or refuses it.
#[async_trait]
pub trait Gate: Send + Sync + 'static {
    /// Looks at everything of a request but its body.
    ///
    /// # Errors
    ///
    /// The Status that the client gets instead of an answer.
    async fn check(&self, parts: Parts) -> Result<Parts, Status>;
}

/// Puts a [`Gate`] before a service.
pub struct GateLayer<G>(Arc<G>);

impl<G> GateLayer<G> {
    /// Makes a layer of a gate.
    pub fn new(gate: G) -> Self {
        Self(Arc::new(gate))
    }
}

impl<G, S> Layer<S> for GateLayer<G> {
    type Service = Gated<G, S>;

    fn layer(&self, inner: S) -> Self::Service {
        Gated { gate: self.0.clone(), inner }
    }
}

/// A service behind a [`Gate`].
#[derive(Debug)]
pub struct Gated<G, S> {
    gate: Arc<G>,
    inner: S,
}

impl<G, S: Clone> Clone for Gated<G, S> {
    fn clone(&self) -> Self {
        Self { gate: self.gate.clone(), inner: self.inner.clone() }
    }
}

impl<G, S> Service<Request<RequestBody>> for Gated<G, S>
where
    G: Gate,
    S: Service<Request<RequestBody>, Response = Response<Body>> + Clone,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = GatedFuture<S>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        let (parts, body) = request.into_parts();
        let gate = self.gate.clone();
        // The clone that was polled ready serves the request; the new one takes its place.
        let fresh = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, fresh);
        let check = Box::pin(async move { gate.check(parts).await });
        GatedFuture { state: State::Check { check, rest: Some((inner, body)) } }
    }
}

pin_project! {
    /// The answer of a [`Gated`] service, or of its gate.
    pub struct GatedFuture<S>
    where
        S: Service<Request<RequestBody>>,
    {
        #[pin]
        state: State<S>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S>
    where
        S: Service<Request<RequestBody>>,
    {
        Check { check: BoxFuture<'static, Result<Parts, Status>>, rest: Option<(S, RequestBody)> },
        Serve { #[pin] answer: S::Future },
    }
}

impl<S> Future for GatedFuture<S>
where
    S: Service<Request<RequestBody>, Response = Response<Body>>,
{
    type Output = Result<Response<Body>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let serve = match this.state.as_mut().project() {
                StateProjection::Serve { answer } => return answer.poll(cx),
                StateProjection::Check { check, rest } => match ready!(check.as_mut().poll(cx)) {
                    Err(status) => return Poll::Ready(Ok(status.into_response())),
                    Ok(parts) => {
                        let (mut inner, body) =
                            rest.take().expect("a future is not polled after it is ready");
                        State::Serve { answer: inner.call(Request::from_parts(parts, body)) }
                    }
                },
            };
            this.state.set(serve);
        }
    }
}
