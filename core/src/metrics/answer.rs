//! What a collector is answered.

use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::registry::Registry;

const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics of a registry, as text.
#[derive(Debug, Clone)]
pub struct Exposition {
    /// The text's type.
    pub content_type: &'static str,
    /// The text.
    pub text: String,
}

pub(super) fn encode(registry: &Registry, accept: Option<&str>) -> Exposition {
    let mut all = String::with_capacity(64 * 1024);
    let is_open = accept.is_some_and(prefers_open_metrics);
    let written = match is_open {
        true => text::encode(&mut all, registry),
        false => prometheus_text::encode(&mut all, registry),
    };
    written.expect("text can always be written to");
    Exposition { content_type: if is_open { OPEN_METRICS } else { PLAIN }, text: all }
}

/// Whether who accepts these types would rather have OpenMetrics.
fn prefers_open_metrics(accept: &str) -> bool {
    let (mut open, mut plain) = (0.0_f32, 0.0_f32);
    for range in accept.split(',') {
        let mut parameters = range.split(';').map(str::trim);
        let name = parameters.next().unwrap_or_default();
        let quality = parameters.find_map(|parameter| parameter.strip_prefix("q="));
        let quality = quality.map_or(1.0, |quality| quality.parse().unwrap_or(0.0));
        match name {
            "application/openmetrics-text" => open = open.max(quality),
            "text/plain" | "text/*" | "*/*" => plain = plain.max(quality),
            _ => {}
        }
    }
    open > 0.0 && open >= plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_gets_the_format_that_it_prefers() {
        // What Prometheus sends, and what a browser and curl send.
        let prometheus =
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";

        assert!(prefers_open_metrics(prometheus));
        assert!(prefers_open_metrics("application/openmetrics-text"));
        assert!(!prefers_open_metrics("application/openmetrics-text;q=0, text/plain"));
        assert!(!prefers_open_metrics("text/html,*/*;q=0.8"));
        assert!(!prefers_open_metrics("application/openmetrics-text;q=0.1,text/plain"));
        assert!(!prefers_open_metrics(""));
    }
}
