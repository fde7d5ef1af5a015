//! What a server counts, under upstream's names.
//!
//! Of every request it is known before it is served to which series it belongs: [`Figures::begin`] finds them by the kind's
//! place among those that are served, the verb, the subresource and the scope. Labels are made only when a series is
//! counted for the first time, and only out of what the server knows: whatever else a client asks for is counted under
//! empty labels.

mod admission;
mod request;
mod samples;
mod table;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::Request;
use quarterdeck_core::metrics::{
    Counter, Counters, Gauge, Gauges, Histogram, Histograms, Metrics, REQUEST_SECONDS, exponential,
};

use crate::admission::Operation;
use crate::layers::RequestBody;
use crate::registry::Resources;
use crate::request::RequestInfo;
use crate::resource::Resource;
pub(crate) use admission::{AdmissionFigures, Bound, Call, Called, CheckError, Sort};
pub(crate) use request::Measured;
pub(crate) use samples::{CountedAudit, watch_server};
use table::{Asked, Table};

/// What a server counts. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Figures(Arc<Inner>);

struct Inner {
    metrics: Metrics,
    requests: Counters,
    durations: Histograms,
    sizes: Histograms,
    lasting: Gauges,
    events: Counters,
    commits: Histograms,
    admission: AdmissionFigures,
    reading: Gauge,
    mutating: Gauge,
    table: ArcSwap<Table>,
}

impl fmt::Debug for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Figures").field(&self.0.metrics).finish()
    }
}

impl Figures {
    pub(crate) fn new(metrics: Metrics) -> Self {
        let inflight = metrics.gauges(
            "apiserver_current_inflight_requests",
            "Number of requests that are being served, by kind.",
            &["request_kind"],
        );
        Self(Arc::new(Inner {
            requests: metrics.counters(
                "apiserver_request_total",
                "Counter of apiserver requests broken out for each verb, dry run value, group, version, resource, scope, component, and HTTP response code.",
                &["verb", "dry_run", "group", "version", "resource", "subresource", "scope", "component", "code"],
            ),
            durations: metrics.histograms(
                "apiserver_request_duration_seconds",
                "Response latency distribution in seconds for each verb, dry run value, group, version, resource, subresource, scope and component.",
                &["verb", "dry_run", "group", "version", "resource", "subresource", "scope", "component"],
                &REQUEST_SECONDS,
            ),
            sizes: metrics.histograms(
                "apiserver_response_sizes",
                "Response size distribution in bytes for each group, version, verb, resource, subresource, scope and component.",
                &["verb", "group", "version", "resource", "subresource", "scope", "component"],
                &exponential(1000.0, 10.0, 7),
            ),
            lasting: metrics.gauges(
                "apiserver_longrunning_requests",
                "Gauge of all active long-running apiserver requests broken out by verb, group, version, resource, scope and component.",
                &["verb", "group", "version", "resource", "subresource", "scope", "component"],
            ),
            events: metrics.counters(
                "apiserver_watch_events_total",
                "Number of events sent in watch clients.",
                &["group", "version", "kind"],
            ),
            commits: metrics.histograms(
                "etcd_request_duration_seconds",
                "Latency of the store's commits in seconds for each operation and object type.",
                &["operation", "type"],
                &REQUEST_SECONDS,
            ),
            admission: AdmissionFigures::new(&metrics),
            reading: inflight.with(&["readOnly"]),
            mutating: inflight.with(&["mutating"]),
            table: ArcSwap::from_pointee(Table::default()),
            metrics,
        }))
    }

    /// Returns the registry of metrics.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// Returns what webhooks and policies are counted by.
    pub(crate) fn admission(&self) -> &AdmissionFigures {
        &self.0.admission
    }

    /// Begins to measure a request. `resources` are those that are served now.
    pub(crate) fn begin(&self, resources: &Arc<Resources>, request: &mut Request<RequestBody>) -> Measured {
        let info = RequestInfo::of(request).ok();
        let asked = Asked::of(info.as_deref(), request);
        let series = self.table(resources).series(&self.0, &asked);
        Measured::begin(&self.0, series, &asked)
    }

    /// Returns the counter of the events that watches of a kind send.
    pub(crate) fn events_of(&self, resource: &Resource) -> Counter {
        self.0.events.with(&[&resource.group, &resource.version, &resource.kind])
    }

    /// Counts how long a commit took that writes an object of this kind.
    pub(crate) fn committed(
        &self,
        resources: &Arc<Resources>,
        resource: &Resource,
        operation: Operation,
        took: Duration,
    ) {
        let table = self.table(resources);
        match table.commits(&self.0, resource, operation) {
            Some(histogram) => histogram.observe_time(took),
            None => self.commits_of(resource, operation).observe_time(took),
        }
    }

    fn commits_of(&self, resource: &Resource, operation: Operation) -> Histogram {
        self.0.commits.with(&[name_of(operation), &group_resource(resource)])
    }

    /// Returns the table of what is served now.
    fn table(&self, resources: &Arc<Resources>) -> Arc<Table> {
        let table = self.0.table.load_full();
        if table.is_of(resources) {
            return table;
        }
        // The series themselves are kept: they are found again by their labels.
        let table = Arc::new(Table::new(resources.clone()));
        self.0.table.store(table.clone());
        table
    }
}

/// How a commit's operation is called in labels.
fn name_of(operation: Operation) -> &'static str {
    match operation {
        Operation::Create => "create",
        Operation::Update => "update",
        Operation::Delete => "delete",
    }
}

/// Returns a kind's plural with its group, such as `pods` and `deployments.apps`.
pub(crate) fn group_resource(resource: &Resource) -> String {
    match resource.group.as_ref() {
        "" => resource.plural.to_string(),
        group => format!("{}.{group}", resource.plural),
    }
}
