//! What a client asks of the API server, measured.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use http::{Method, Request, Response};
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower::{Layer, Service};

use crate::health::Checked;
use crate::metrics::{Counters, Histogram, Histograms, Metrics};

/// The bounds of upstream's histogram of clients' requests, in seconds.
const SECONDS: [f64; 12] = [0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0];

/// Counts the requests of a client and how long they take, under upstream's names (`rest_client_*`), and knows whether the
/// API server answers.
///
/// Its place is around the service that a `kube::Client` is made of. Clones measure for the same client.
///
/// # Examples
///
/// ```
/// use quarterdeck_core::client::MeasuredLayer;
/// use quarterdeck_core::metrics::Metrics;
/// use tower::Layer;
///
/// # async fn ask(_: http::Request<kube::client::Body>) -> Result<http::Response<kube::client::Body>, std::convert::Infallible> {
/// #     Ok(http::Response::new(kube::client::Body::empty()))
/// # }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let metrics = Metrics::new();
/// let measured = MeasuredLayer::new(&metrics, "in-process");
///
/// let client = kube::Client::new(measured.layer(tower::service_fn(ask)), "default");
/// client.request_text(http::Request::get("/version").body(Vec::new()).unwrap()).await.unwrap();
///
/// let counted = r#"rest_client_requests_total{code="200",method="GET",host="in-process"} 1"#;
/// assert!(metrics.answer(None).text.contains(counted));
/// assert_eq!(measured.checked(), Ok(()));
/// # }
/// ```
#[derive(Clone)]
pub struct MeasuredLayer(Arc<Shared>);

struct Shared {
    host: String,
    requests: Counters,
    durations: Histograms,
    /// Whether [`Shared::failure`] holds something: so that success costs no lock.
    has_failed: AtomicBool,
    /// Why the last request had no answer.
    failure: Mutex<Option<String>>,
}

impl MeasuredLayer {
    /// Measures the requests to the API server at `host`, a name and a port, in this registry.
    #[must_use]
    pub fn new(metrics: &Metrics, host: impl Into<String>) -> Self {
        let requests = metrics.counters(
            "rest_client_requests_total",
            "Number of HTTP requests, partitioned by status code, method, and host.",
            &["code", "method", "host"],
        );
        let durations = metrics.histograms(
            "rest_client_request_duration_seconds",
            "Request latency in seconds. Broken down by verb, and host.",
            &["verb", "host"],
            &SECONDS,
        );
        let (has_failed, failure) = (AtomicBool::new(false), Mutex::default());
        Self(Arc::new(Shared { host: host.into(), requests, durations, has_failed, failure }))
    }

    /// Says why the last request had no answer, if it had none: a check for [`Health::ready`](crate::health::Health::ready).
    /// Refusals are answers.
    ///
    /// # Errors
    ///
    /// The reason.
    pub fn checked(&self) -> Checked {
        match self.0.failure.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            Some(reason) => Err(reason),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for MeasuredLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeasuredLayer").field("host", &self.0.host).finish_non_exhaustive()
    }
}

impl<S> Layer<S> for MeasuredLayer {
    type Service = Measured<S>;

    fn layer(&self, inner: S) -> Measured<S> {
        Measured { inner, shared: self.0.clone() }
    }
}

/// A service whose requests are measured. Made by [`MeasuredLayer`].
#[derive(Clone)]
pub struct Measured<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S: fmt::Debug> fmt::Debug for Measured<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Measured").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<S, B, A> Service<Request<B>> for Measured<S>
where
    S: Service<Request<B>, Response = Response<A>>,
    S::Error: fmt::Display,
{
    type Response = Response<A>;
    type Error = S::Error;
    type Future = MeasuredFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let method = name_of(request.method());
        let began = Instant::now();
        MeasuredFuture { answer: self.inner.call(request), shared: self.shared.clone(), method, began }
    }
}

pin_project! {
    /// The future of an answer that is measured.
    pub struct MeasuredFuture<F> {
        #[pin]
        answer: F,
        shared: Arc<Shared>,
        method: &'static str,
        began: Instant,
    }
}

impl<F> fmt::Debug for MeasuredFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeasuredFuture").field("method", &self.method).finish_non_exhaustive()
    }
}

impl<F, A, E> Future for MeasuredFuture<F>
where
    F: Future<Output = Result<Response<A>, E>>,
    E: fmt::Display,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let answer = ready!(this.answer.poll(cx));
        this.shared.count(this.method, &answer);
        this.shared.duration(this.method).observe_time(this.began.elapsed());
        Poll::Ready(answer)
    }
}

impl Shared {
    fn duration(&self, method: &str) -> Histogram {
        self.durations.with(&[method, &self.host])
    }

    fn count<A, E: fmt::Display>(&self, method: &str, answer: &Result<Response<A>, E>) {
        let counted = |code: &str| self.requests.with(&[code, method, &self.host]).inc();
        match answer {
            Ok(answer) => {
                counted(answer.status().as_str());
                if self.has_failed.swap(false, Ordering::Relaxed) {
                    *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = None;
                }
            }
            Err(error) => {
                counted("<error>");
                let reason = format!("the API server does not answer: {error}");
                *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
                self.has_failed.store(true, Ordering::Relaxed);
            }
        }
    }
}

/// How a method is called in labels.
fn name_of(method: &Method) -> &'static str {
    const KNOWN: [(Method, &str); 7] = [
        (Method::GET, "GET"),
        (Method::POST, "POST"),
        (Method::PUT, "PUT"),
        (Method::PATCH, "PATCH"),
        (Method::DELETE, "DELETE"),
        (Method::HEAD, "HEAD"),
        (Method::OPTIONS, "OPTIONS"),
    ];
    KNOWN.iter().find(|(known, _)| known == method).map_or("other", |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn answers_refusals_and_failures_are_told_apart() {
        let metrics = Metrics::new();
        let layer = MeasuredLayer::new(&metrics, "here:6443");
        let service = layer.layer(tower::service_fn(|request: Request<()>| async move {
            tokio::time::sleep(std::time::Duration::from_secs(3)).await;
            match request.uri().path() {
                "/down" => Err("connection refused"),
                "/secret" => Ok(Response::builder().status(403).body(()).unwrap()),
                _ => Ok(Response::new(())),
            }
        }));
        let ask = |method: &str, path: &str| {
            let request = Request::builder().method(method).uri(path).body(()).unwrap();
            service.clone().oneshot(request)
        };

        assert!(ask("GET", "/down").await.is_err());
        let down = layer.checked();
        ask("GET", "/secret").await.unwrap();
        let refused = layer.checked();
        ask("PATCH", "/").await.unwrap();
        ask("BREW", "/").await.unwrap();

        let text = metrics.answer(None).text;
        for line in [
            r#"rest_client_requests_total{code="<error>",method="GET",host="here:6443"} 1"#,
            r#"rest_client_requests_total{code="403",method="GET",host="here:6443"} 1"#,
            r#"rest_client_requests_total{code="200",method="PATCH",host="here:6443"} 1"#,
            r#"rest_client_requests_total{code="200",method="other",host="here:6443"} 1"#,
            r#"rest_client_request_duration_seconds_sum{verb="GET",host="here:6443"} 6"#,
            r#"rest_client_request_duration_seconds_bucket{verb="GET",host="here:6443",le="2"} 0"#,
        ] {
            assert!(text.lines().any(|it| it.trim_end_matches(".0") == line), "{line} is not in\n{text}");
        }
        assert_eq!(down, Err("the API server does not answer: connection refused".into()));
        assert_eq!(refused, Ok(()), "whoever refuses is there");
    }
}
