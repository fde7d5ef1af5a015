//! Figures that nobody counts: they are looked at when somebody collects.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;

use super::labels::LabelSet;

pub(super) type Source = Box<dyn Fn(&mut Samples) + Send + Sync>;

/// What sources tell when somebody collects.
#[derive(Debug)]
pub struct Samples {
    names: &'static [&'static str],
    all: Vec<(LabelSet, f64)>,
}

impl Samples {
    /// Tells a value, with these values of the labels, in the labels' order.
    pub fn push(&mut self, labels: &[&str], value: f64) {
        self.all.push((LabelSet::new(self.names, labels), value));
    }
}

/// A family of figures that are looked at.
#[derive(Clone)]
pub(super) struct Sampled {
    kind: MetricType,
    names: &'static [&'static str],
    sources: Arc<Mutex<Vec<Source>>>,
}

impl Sampled {
    pub(super) fn new(kind: MetricType, names: &'static [&'static str]) -> Self {
        Self { kind, names, sources: Arc::default() }
    }

    pub(super) fn kind(&self) -> super::MetricKind {
        match self.kind {
            MetricType::Counter => super::MetricKind::Counter,
            _ => super::MetricKind::Gauge,
        }
    }

    pub(super) fn labels(&self) -> &'static [&'static str] {
        self.names
    }

    pub(super) fn add(&self, source: Source) {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).push(source);
    }
}

impl fmt::Debug for Sampled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sampled").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl EncodeMetric for Sampled {
    fn encode(&self, mut encoder: MetricEncoder) -> fmt::Result {
        let mut samples = Samples { names: self.names, all: Vec::new() };
        for source in self.sources.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            source(&mut samples);
        }
        for (labels, value) in &samples.all {
            let mut series = encoder.encode_family(labels)?;
            match self.kind {
                MetricType::Counter => series.encode_counter::<LabelSet, f64, f64>(value, None)?,
                _ => series.encode_gauge(value)?,
            }
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        self.kind
    }
}
