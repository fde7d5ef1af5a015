//! The trace that a request is a part of, by its header `traceparent` (W3C Trace Context).

use http::{HeaderMap, HeaderName};
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// The header without which there is no trace.
const PARENT: HeaderName = HeaderName::from_static("traceparent");

/// Makes a span that was not entered yet a child of the one that the headers name, if they name one.
pub(super) fn adopt(span: &Span, headers: &HeaderMap) {
    if span.is_disabled() || !headers.contains_key(PARENT) {
        return;
    }
    let parent = TraceContextPropagator::new().extract(&Headers(headers));
    // A header that is no good begins no trace of its own.
    if parent.span().span_context().is_valid() {
        // An error says that no layer takes spans to a collector, which is no fault.
        let _ = span.set_parent(parent);
    }
}

struct Headers<'h>(&'h HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}
