//! What an agent counts, under the kubelet's names.
//!
//! Agents that share a registry add up: so what is there at a moment is counted by steps, never set.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use quarterdeck_core::metrics::{Counter, Counters, Gauge, Gauges, Histogram, Histograms, Metrics};

/// The bounds of upstream's histogram of how long pods take to start, in seconds.
const START_SECONDS: [f64; 25] = [
    0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 20.0, 30.0, 45.0, 60.0, 120.0, 180.0, 240.0, 300.0, 360.0,
    480.0, 600.0, 900.0, 1200.0, 1800.0, 2700.0, 3600.0,
];
/// The bounds that Prometheus' clients use by default, in seconds.
const SECONDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// What containers can be, in the order of [`Tally`].
const STATES: [&str; 3] = ["created", "running", "exited"];
/// How probes can end.
const RESULTS: [&str; 2] = ["successful", "failed"];

/// What an agent counts.
#[derive(Debug)]
pub(crate) struct Figures {
    name: Gauges,
    pods: Gauge,
    containers: [Gauge; STATES.len()],
    starts: Histogram,
    work: Histograms,
    started_pods: Counter,
    started_pods_errors: Counter,
    started_containers: Counters,
    started_containers_errors: Counters,
    probes: Counters,
}

/// What of a pod is there: whether its sandbox is, and how many containers are created, running and exited.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) has_sandbox: bool,
    pub(crate) containers: [i64; STATES.len()],
}

impl Figures {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let counters = |name, help, labels| metrics.counters(name, help, labels);
        let containers = metrics.gauges(
            "kubelet_running_containers",
            "Number of containers currently running.",
            &["container_state"],
        );
        Self {
            name: metrics.gauges(
                "kubelet_node_name",
                "The node's name. The count is always 1.",
                &["node"],
            ),
            pods: metrics
                .gauges("kubelet_running_pods", "Number of pods that have a running pod sandbox.", &[])
                .with(&[]),
            containers: STATES.map(|state| containers.with(&[state])),
            starts: metrics
                .histograms(
                    "kubelet_pod_start_duration_seconds",
                    "Duration in seconds from kubelet seeing a pod for the first time to the pod starting to run.",
                    &[],
                    &START_SECONDS,
                )
                .with(&[]),
            work: metrics.histograms(
                "kubelet_pod_worker_duration_seconds",
                "Duration in seconds to sync a single pod. Broken down by operation type: create, update, sync, or kill.",
                &["operation_type"],
                &SECONDS,
            ),
            started_pods: counters("kubelet_started_pods_total", "Cumulative number of pods started.", &[])
                .with(&[]),
            started_pods_errors: counters(
                "kubelet_started_pods_errors_total",
                "Cumulative number of errors when starting pods.",
                &[],
            )
            .with(&[]),
            started_containers: counters(
                "kubelet_started_containers_total",
                "Cumulative number of containers started.",
                &["container_type"],
            ),
            started_containers_errors: counters(
                "kubelet_started_containers_errors_total",
                "Cumulative number of errors when starting containers.",
                &["container_type", "code"],
            ),
            probes: counters(
                "prober_probe_total",
                "Cumulative number of a liveness, readiness or startup probe for a container by result.",
                &["probe_type", "result", "container", "pod", "namespace", "pod_uid"],
            ),
        }
    }

    /// Names the node.
    pub(crate) fn node(&self, name: &str) {
        self.name.with(&[name]).set(1);
    }

    /// Counts how long one step of a pod's worker took: `create`, `update`, `sync` or `kill`.
    pub(crate) fn worked(&self, operation: &str, took: Duration) {
        self.work.with(&[operation]).observe_time(took);
    }

    /// Counts how long a pod took to run.
    pub(crate) fn runs(&self, after: Duration) {
        self.starts.observe_time(after);
    }

    /// Counts an attempt to make a pod's sandbox.
    pub(crate) fn started_pod(&self, good: bool) {
        self.started_pods.inc();
        if !good {
            self.started_pods_errors.inc();
        }
    }

    /// Counts an attempt to start a container; `failure` is the reason for which it waits, or ended.
    pub(crate) fn started_container(&self, is_init: bool, failure: Option<&str>) {
        let kind = if is_init { "init_container" } else { "container" };
        self.started_containers.with(&[kind]).inc();
        if let Some(code) = failure {
            self.started_containers_errors.with(&[kind, code]).inc();
        }
    }

    /// Counts the answers of a probe, for as long as the returned value lives.
    pub(crate) fn probe(&self, kind: &'static str, pod: &Pod, container: &str) -> ProbeFigures {
        let meta = &pod.metadata;
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let of = [container.to_owned(), text(&meta.name), text(&meta.namespace), text(&meta.uid)];
        ProbeFigures { probes: self.probes.clone(), kind, of }
    }

    fn step(&self, from: Tally, to: Tally) {
        self.pods.add(i64::from(to.has_sandbox) - i64::from(from.has_sandbox));
        for (index, gauge) in self.containers.iter().enumerate() {
            gauge.add(to.containers[index] - from.containers[index]);
        }
    }
}

/// How a probe ended. The series are gone with this: else each pod would leave some behind.
#[derive(Debug)]
pub(crate) struct ProbeFigures {
    probes: Counters,
    kind: &'static str,
    of: [String; 4],
}

impl ProbeFigures {
    /// Counts an answer.
    pub(crate) fn count(&self, good: bool) {
        self.probes.with(&self.labels(RESULTS[usize::from(!good)])).inc();
    }

    fn labels<'a>(&'a self, result: &'a str) -> [&'a str; 6] {
        let [container, pod, namespace, uid] = &self.of;
        [self.kind, result, container, pod, namespace, uid]
    }
}

impl Drop for ProbeFigures {
    fn drop(&mut self) {
        for result in RESULTS {
            self.probes.remove(&self.labels(result));
        }
    }
}

/// What one pod adds to what is there.
#[derive(Debug)]
pub(crate) struct PodFigures {
    figures: std::sync::Arc<Figures>,
    last: Tally,
}

impl PodFigures {
    pub(crate) fn new(figures: std::sync::Arc<Figures>) -> Self {
        Self { figures, last: Tally::default() }
    }

    /// Takes over what is there now.
    pub(crate) fn set(&mut self, now: Tally) {
        self.figures.step(self.last, now);
        self.last = now;
    }
}

impl Drop for PodFigures {
    fn drop(&mut self) {
        self.set(Tally::default());
    }
}
