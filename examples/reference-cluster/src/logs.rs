//! What the binary tells of what happens: lines on standard error, and spans for a collector (feature `otel`).

use std::io::{IsTerminal as _, stderr};

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

use crate::cli::{LogFormat, LogOptions};
use crate::error::Result;

/// The logs, which have something to finish when the program ends.
#[must_use]
pub(crate) struct Logs {
    #[cfg(feature = "otel")]
    traces: Option<crate::traces::Traces>,
}

/// Begins to log what a part does.
#[cfg_attr(not(feature = "otel"), expect(clippy::unnecessary_wraps, reason = "a collector may be no good"))]
pub(crate) fn start(options: &LogOptions, part: &str) -> Result<Logs> {
    let lines = lines(options.log_format).with_filter(EnvFilter::new(&options.log));
    let subscriber = Registry::default().with(lines.boxed());
    #[cfg(feature = "otel")]
    {
        let (traces, layer) = crate::traces::start(options, part)?.unzip();
        subscriber.with(layer).init();
        Ok(Logs { traces })
    }
    #[cfg(not(feature = "otel"))]
    {
        let _ = part;
        subscriber.init();
        Ok(Logs {})
    }
}

fn lines(format: LogFormat) -> Box<dyn Layer<Registry> + Send + Sync> {
    let lines = fmt::layer().with_writer(stderr);
    match format {
        LogFormat::Text => lines.with_ansi(stderr().is_terminal()).with_target(false).boxed(),
        // The innermost span is the last of the list.
        LogFormat::Json => lines.json().with_current_span(false).with_span_list(true).boxed(),
    }
}

impl Logs {
    /// Sends what has not been sent yet.
    #[cfg_attr(not(feature = "otel"), expect(clippy::unused_async, reason = "there is nothing to send"))]
    pub(crate) async fn finish(self) {
        #[cfg(feature = "otel")]
        if let Some(traces) = self.traces {
            traces.finish().await;
        }
    }
}
