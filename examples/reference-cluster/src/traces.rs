//! Spans for an OpenTelemetry collector: OTLP over HTTP, in JSON.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::uri::Scheme;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tokio::runtime::Handle;
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::registry::LookupSpan;

use crate::cli::LogOptions;
use crate::error::{Failure, Result};

/// How long a collector may take for what it is sent.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long an answer of a collector may be, in bytes.
const LONGEST_ANSWER: usize = 64 * 1024;

/// Sends spans, until it is finished.
#[derive(Debug)]
pub(crate) struct Traces(SdkTracerProvider);

/// Begins to send spans, if the options name a collector.
pub(crate) fn start<S>(options: &LogOptions, part: &str) -> Result<Option<(Traces, impl Layer<S> + use<S>)>>
where
    S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
{
    let Some(endpoint) = &options.tracing_endpoint else { return Ok(None) };
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Collector::new())
        .with_protocol(Protocol::HttpJson)
        .with_endpoint(traces_of(endpoint)?)
        .with_timeout(PATIENCE)
        .build();
    let exporter = exporter.map_err(|error| Failure::because("spans cannot be sent", &error))?;
    let share = f64::from(options.tracing_sampling_rate_per_million) / 1e6;
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(share))))
        .with_resource(Resource::builder().with_service_name(format!("quarterdeck-{part}")).build())
        .build();
    let spans = tracing_opentelemetry::layer().with_tracer(provider.tracer("quarterdeck"));
    // What is sent does not depend on what is logged, and sending makes no spans.
    let own = Targets::new().with_target("quarterdeck", LevelFilter::INFO);
    Ok(Some((Traces(provider), spans.with_filter(own))))
}

/// Returns where a collector takes spans.
fn traces_of(endpoint: &Uri) -> Result<String> {
    if endpoint.scheme() != Some(&Scheme::HTTP) || endpoint.authority().is_none() {
        return Err(Failure::new(format!(
            "--tracing-endpoint {endpoint} cannot be used: name a collector as http://127.0.0.1:4318, which passes spans on to others with TLS"
        )));
    }
    Ok(format!("{}/v1/traces", endpoint.to_string().trim_end_matches('/')))
}

impl Traces {
    /// Sends what waits.
    pub(crate) async fn finish(self) {
        // It blocks until all is sent, or the collector's time is over.
        let finished = tokio::task::spawn_blocking(move || self.0.shutdown()).await;
        if let Ok(Err(error)) = finished {
            tracing::warn!(%error, "not all spans were sent");
        }
    }
}

/// The way to a collector. The exporter's thread is none of the runtime's, so the work is done there.
struct Collector {
    client: Client<HttpConnector, Full<Bytes>>,
    runtime: Handle,
}

impl Collector {
    fn new() -> Self {
        Self { client: Client::builder(TokioExecutor::new()).build_http(), runtime: Handle::current() }
    }
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector").finish_non_exhaustive()
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> std::result::Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let sent = async move {
            let answer = client.request(request.map(Full::new)).await?;
            let (parts, body) = answer.into_parts();
            let body = Limited::new(body, LONGEST_ANSWER).collect().await?.to_bytes();
            Ok::<_, HttpError>(Response::from_parts(parts, body))
        };
        // Made there too: a timer needs its runtime.
        self.runtime.spawn(async move { tokio::time::timeout(PATIENCE, sent).await }).await??
    }
}
