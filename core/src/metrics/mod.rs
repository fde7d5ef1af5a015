//! Figures about a running program, for Prometheus to collect.
//!
//! Start at [`Metrics`]: a registry that is a value, handed to whoever has something to tell. Two that ask for a metric of
//! one name get the same one, so that parts which share a registry add up. [`Metrics::answer`] is what `/metrics` shows: the
//! text format 0.0.4, or OpenMetrics for who prefers it.
//!
//! # Bounds
//!
//! A family has at most [`MOST_SERIES`] series; what comes after that is counted under the label value `other`. Take labels'
//! values from what the program knows (kinds, verbs, codes), never from what a client sent, and get the handle of a series
//! once: counting is then one atomic step (a short lock for a histogram), with nothing to look up.

mod answer;
mod description;
mod labels;
mod process;
mod sampled;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::{MetricType, counter, gauge, histogram};
use prometheus_client::registry::Registry;

pub use answer::Exposition;
pub use description::{Description, MetricKind};
use labels::LabelSet;
use sampled::Sampled;
pub use sampled::Samples;

/// How many series a family has at most.
pub const MOST_SERIES: usize = 10_000;

/// The value of every label of what is one series too many.
const OTHER: &str = "other";

/// The bounds of upstream's histograms of how long requests take, in seconds.
pub const REQUEST_SECONDS: [f64; 23] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0,
    20.0, 30.0, 45.0, 60.0,
];

/// Returns `count` bounds of a histogram: `start`, and then each so many times the one before.
#[must_use]
pub fn exponential(start: f64, factor: f64, count: u16) -> Vec<f64> {
    histogram::exponential_buckets(start, factor, count).collect()
}

/// A registry of metrics. Clones are the same registry.
///
/// # Examples
///
/// ```
/// use quarterdeck_core::metrics::Metrics;
///
/// let metrics = Metrics::new();
/// let sold = metrics.counters("tickets_sold_total", "Tickets sold, by class.", &["class"]);
/// let first = sold.with(&["first"]);
/// first.inc();
///
/// assert!(metrics.answer(None).text.contains("tickets_sold_total{class=\"first\"} 1\n"));
/// ```
#[derive(Clone, Default)]
pub struct Metrics(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    registry: Registry,
    known: BTreeMap<String, Entry>,
}

struct Entry {
    known: Known,
    help: String,
}

#[derive(Clone)]
enum Known {
    Counters(Counters),
    Gauges(Gauges),
    Histograms(Histograms),
    Sampled(Sampled),
}

impl Metrics {
    /// Makes an empty registry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the counters of this name, which ends in `_total`.
    ///
    /// # Panics
    ///
    /// Panics if the name is that of another type of metric.
    #[must_use]
    pub fn counters(&self, name: &str, help: &str, labels: &'static [&'static str]) -> Counters {
        let known = self.known(name, help, |registry| {
            let family = Family::<_, counter::Counter>::default();
            // The encoder adds the suffix.
            let base = name.strip_suffix("_total").unwrap_or(name);
            registry.register(base, sentence(help), family.clone());
            Known::Counters(Counters(Series::new(labels, family)))
        });
        match known {
            Known::Counters(counters) => counters,
            _ => panic!("{name} is no family of counters"),
        }
    }

    /// Returns the gauges of this name.
    ///
    /// # Panics
    ///
    /// Panics if the name is that of another type of metric.
    #[must_use]
    pub fn gauges(&self, name: &str, help: &str, labels: &'static [&'static str]) -> Gauges {
        let known = self.known(name, help, |registry| {
            let family = Family::<_, gauge::Gauge>::default();
            registry.register(name, sentence(help), family.clone());
            Known::Gauges(Gauges(Series::new(labels, family)))
        });
        match known {
            Known::Gauges(gauges) => gauges,
            _ => panic!("{name} is no family of gauges"),
        }
    }

    /// Returns the histograms of this name; whoever asks first sets the bounds of their buckets.
    ///
    /// # Panics
    ///
    /// Panics if the name is that of another type of metric.
    #[must_use]
    pub fn histograms(
        &self,
        name: &str,
        help: &str,
        labels: &'static [&'static str],
        bounds: &[f64],
    ) -> Histograms {
        let known = self.known(name, help, |registry| {
            let family = Family::new_with_constructor(Bounds(bounds.into()));
            registry.register(name, sentence(help), family.clone());
            Known::Histograms(Histograms(Series::new(labels, family)))
        });
        match known {
            Known::Histograms(histograms) => histograms,
            _ => panic!("{name} is no family of histograms"),
        }
    }

    /// Adds a counter (of a name that ends in `_total`) or a gauge that is looked at when somebody collects. Several sources
    /// of one name tell together. A source must neither ask this registry for anything nor hold whatever holds the registry.
    ///
    /// # Panics
    ///
    /// Panics if the name is that of another type of metric.
    pub fn sample(
        &self,
        name: &str,
        help: &str,
        labels: &'static [&'static str],
        source: impl Fn(&mut Samples) + Send + Sync + 'static,
    ) {
        let known = self.known(name, help, |registry| {
            let base = name.strip_suffix("_total");
            let kind = if base.is_some() { MetricType::Counter } else { MetricType::Gauge };
            let sampled = Sampled::new(kind, labels);
            registry.register(base.unwrap_or(name), sentence(help), sampled.clone());
            Known::Sampled(sampled)
        });
        match known {
            Known::Sampled(sampled) => sampled.add(Box::new(source)),
            _ => panic!("{name} is not sampled"),
        }
    }

    /// Adds figures about this process, on Linux: memory, time, open files. Adding them twice adds nothing.
    pub fn with_process(&self) {
        if !self.state().known.contains_key(process::FIRST) {
            process::add(self);
        }
    }

    /// Returns what metrics there are, ordered by name, whether or not they have series yet.
    #[must_use]
    pub fn describe(&self) -> Vec<Description> {
        let state = self.state();
        let described = state.known.iter().map(|(name, entry)| {
            let (kind, labels) = match &entry.known {
                Known::Counters(counters) => (MetricKind::Counter, counters.0.labels),
                Known::Gauges(gauges) => (MetricKind::Gauge, gauges.0.labels),
                Known::Histograms(histograms) => (MetricKind::Histogram, histograms.0.labels),
                Known::Sampled(sampled) => (sampled.kind(), sampled.labels()),
            };
            Description { name: name.clone(), kind, labels, help: entry.help.clone() }
        });
        described.collect()
    }

    /// Returns what a collector is answered that accepts these types (the header `Accept`).
    #[must_use]
    pub fn answer(&self, accept: Option<&str>) -> Exposition {
        answer::encode(&self.state().registry, accept)
    }

    fn known(&self, name: &str, help: &str, make: impl FnOnce(&mut Registry) -> Known) -> Known {
        let mut state = self.state();
        if let Some(entry) = state.known.get(name) {
            return entry.known.clone();
        }
        let known = make(&mut state.registry);
        state.known.insert(name.to_owned(), Entry { known: known.clone(), help: help.to_owned() });
        known
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Who panics over a name has changed nothing yet.
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("names", &self.state().known.len()).finish()
    }
}

/// The registry ends descriptions with a full stop of its own.
fn sentence(help: &str) -> &str {
    help.strip_suffix('.').unwrap_or(help)
}

/// The series of one name.
#[derive(Debug)]
struct Series<M, C = fn() -> M> {
    labels: &'static [&'static str],
    family: Family<LabelSet, M, C>,
    count: Arc<AtomicUsize>,
}

impl<M, C: Clone> Clone for Series<M, C> {
    fn clone(&self) -> Self {
        Self { labels: self.labels, family: self.family.clone(), count: self.count.clone() }
    }
}

impl<M: Clone, C: MetricConstructor<M>> Series<M, C> {
    fn new(labels: &'static [&'static str], family: Family<LabelSet, M, C>) -> Self {
        Self { labels, family, count: Arc::default() }
    }

    fn with(&self, values: &[&str]) -> M {
        let labels = LabelSet::new(self.labels, values);
        if let Some(known) = self.family.get(&labels) {
            return known.clone();
        }
        if self.count.fetch_add(1, Ordering::Relaxed) < MOST_SERIES {
            return self.family.get_or_create_owned(&labels);
        }
        self.family.get_or_create_owned(&LabelSet::new(self.labels, &vec![OTHER; self.labels.len()]))
    }

    fn remove(&self, values: &[&str]) {
        if self.family.remove(&LabelSet::new(self.labels, values)) {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Counters of one name.
#[derive(Debug, Clone)]
pub struct Counters(Series<counter::Counter>);

impl Counters {
    /// Returns the counter with these values of the labels, in the labels' order; values that are missing are empty.
    #[must_use]
    pub fn with(&self, values: &[&str]) -> Counter {
        Counter(self.0.with(values))
    }

    /// Forgets the counter with these values of the labels: what it counted is gone for good.
    pub fn remove(&self, values: &[&str]) {
        self.0.remove(values);
    }
}

/// Gauges of one name.
#[derive(Debug, Clone)]
pub struct Gauges(Series<gauge::Gauge>);

impl Gauges {
    /// Returns the gauge with these values of the labels, in the labels' order; values that are missing are empty.
    #[must_use]
    pub fn with(&self, values: &[&str]) -> Gauge {
        Gauge(self.0.with(values))
    }

    /// Forgets the gauge with these values of the labels.
    pub fn remove(&self, values: &[&str]) {
        self.0.remove(values);
    }
}

/// Histograms of one name.
#[derive(Debug, Clone)]
pub struct Histograms(Series<histogram::Histogram, Bounds>);

impl Histograms {
    /// Returns the histogram with these values of the labels, in the labels' order; values that are missing are empty.
    #[must_use]
    pub fn with(&self, values: &[&str]) -> Histogram {
        Histogram(self.0.with(values))
    }

    /// Forgets the histogram with these values of the labels: what it counted is gone for good.
    pub fn remove(&self, values: &[&str]) {
        self.0.remove(values);
    }
}

#[derive(Debug, Clone)]
struct Bounds(Arc<[f64]>);

impl MetricConstructor<histogram::Histogram> for Bounds {
    fn new_metric(&self) -> histogram::Histogram {
        histogram::Histogram::new(self.0.iter().copied())
    }
}

/// A number that only grows. Clones are the same counter.
#[derive(Debug, Clone)]
pub struct Counter(counter::Counter<u64, AtomicU64>);

impl Counter {
    /// Adds one.
    pub fn inc(&self) {
        self.0.inc();
    }

    /// Adds so many.
    pub fn add(&self, more: u64) {
        self.0.inc_by(more);
    }

    /// Returns the number.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.get()
    }
}

/// A number that grows and shrinks. Clones are the same gauge.
#[derive(Debug, Clone)]
pub struct Gauge(gauge::Gauge);

impl Gauge {
    /// Adds one.
    pub fn inc(&self) {
        self.0.inc();
    }

    /// Takes one away.
    pub fn dec(&self) {
        self.0.dec();
    }

    /// Adds so many, or takes them away.
    pub fn add(&self, more: i64) {
        self.0.inc_by(more);
    }

    /// Sets the number.
    pub fn set(&self, value: usize) {
        self.0.set(i64::try_from(value).unwrap_or(i64::MAX));
    }

    /// Returns the number.
    #[must_use]
    pub fn value(&self) -> i64 {
        self.0.get()
    }
}

/// How often values fell between which bounds. Clones are the same histogram.
#[derive(Debug, Clone)]
pub struct Histogram(histogram::Histogram);

impl Histogram {
    /// Counts a value.
    pub fn observe(&self, value: f64) {
        self.0.observe(value);
    }

    /// Counts a time, in seconds.
    pub fn observe_time(&self, time: Duration) {
        self.0.observe(time.as_secs_f64());
    }
}

#[cfg(test)]
mod tests;
