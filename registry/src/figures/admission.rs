//! What webhooks and policies do, by their names.
//!
//! Names come from what is stored, so the series of what is not stored any more are forgotten ([`AdmissionFigures::sweep`]).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use quarterdeck_core::metrics::{Counters, Gauges, Histograms, Metrics};

use crate::cache::World;

/// Bounds of how long webhooks take, in seconds.
const WEBHOOK_SECONDS: [f64; 8] = [0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 25.0];
/// Bounds of how long expressions take, in seconds.
const CHECK_SECONDS: [f64; 5] = [0.000_000_5, 0.001, 0.01, 0.1, 1.0];
/// Codes above are counted as this one.
const MOST_CODE: u16 = 600;

/// What webhooks and policies do. Clones are the same.
#[derive(Clone)]
pub(crate) struct AdmissionFigures(Arc<Inner>);

struct Inner {
    requests: Counters,
    durations: Histograms,
    rejections: Gauges,
    failed_open: Gauges,
    checks: Counters,
    check_durations: Histograms,
    known: Mutex<BTreeMap<Owner, BTreeSet<Series>>>,
}

/// Whom a series is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    Webhook {
        sort: Sort,
        name: String,
    },
    /// A policy and one of its bindings.
    Policy {
        name: String,
        binding: String,
    },
}

/// A series, by the values of its labels.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Series {
    Request(Vec<String>),
    Duration(Vec<String>),
    Rejection(Vec<String>),
    FailedOpen(Vec<String>),
    Check(Vec<String>),
}

/// What a webhook is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Sort {
    Mutating,
    Validating,
}

impl Sort {
    /// How metrics call it.
    fn label(self) -> &'static str {
        match self {
            Self::Mutating => "admit",
            Self::Validating => "validating",
        }
    }

    fn configurations(self) -> &'static str {
        match self {
            Self::Mutating => "/registry/mutatingwebhookconfigurations/",
            Self::Validating => "/registry/validatingwebhookconfigurations/",
        }
    }
}

/// What became of a webhook's call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Called {
    Allowed,
    /// It refused the write, with this code.
    Denied(u16),
    /// It could not be called, or answered rubbish; the code says why.
    Failed {
        code: u16,
        passed_over: bool,
    },
    /// The server refused the write for it.
    Internal,
}

/// A call of a webhook.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) sort: Sort,
    pub(crate) name: &'a str,
    pub(crate) operation: &'static str,
}

/// What went wrong with an expression of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CheckError {
    None,
    Compilation,
    Budget,
    Other,
}

impl CheckError {
    fn label(self) -> &'static str {
        match self {
            Self::None => "no_error",
            Self::Compilation => "compile_error",
            Self::Budget => "out_of_budget",
            Self::Other => "invalid_error",
        }
    }
}

/// A policy for one of its bindings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bound<'a> {
    pub(crate) policy: &'a str,
    pub(crate) binding: &'a str,
}

impl fmt::Debug for AdmissionFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdmissionFigures").finish_non_exhaustive()
    }
}

/// Figures that nobody is shown.
impl Default for AdmissionFigures {
    fn default() -> Self {
        Self::new(&Metrics::new())
    }
}

impl AdmissionFigures {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self(Arc::new(Inner {
            requests: metrics.counters(
                "apiserver_admission_webhook_request_total",
                "Admission webhook request total, identified by name and broken out for each admission type and operation, with the HTTP status code and whether the request was rejected.",
                &["name", "type", "operation", "code", "rejected"],
            ),
            durations: metrics.histograms(
                "apiserver_admission_webhook_admission_duration_seconds",
                "Admission webhook latency histogram in seconds, identified by name and broken out for each operation and type.",
                &["name", "type", "operation", "rejected"],
                &WEBHOOK_SECONDS,
            ),
            rejections: metrics.gauges(
                "apiserver_admission_webhook_rejection_count",
                "Admission webhook rejection count, identified by name and broken out for each admission type and operation, with an error type and a rejection code.",
                &["name", "type", "operation", "error_type", "rejection_code"],
            ),
            failed_open: metrics.gauges(
                "apiserver_admission_webhook_fail_open_count",
                "Admission webhook fail open count, identified by name and broken out for each admission type.",
                &["name", "type"],
            ),
            checks: metrics.counters(
                "apiserver_validating_admission_policy_check_total",
                "Validation admission policy check total, labeled by policy and further identified by binding and enforcement action taken.",
                &["policy", "policy_binding", "error_type", "enforcement_action"],
            ),
            check_durations: metrics.histograms(
                "apiserver_validating_admission_policy_check_duration_seconds",
                "Validation admission latency for individual validation expressions in seconds, labeled by policy, binding and enforcement action taken.",
                &["policy", "policy_binding", "error_type", "enforcement_action"],
                &CHECK_SECONDS,
            ),
            known: Mutex::default(),
        }))
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<Owner, BTreeSet<Series>>> {
        self.0.known.lock().expect("nothing panics while it holds the series")
    }

    /// Counts a call of a webhook.
    pub(crate) fn called(&self, call: Call<'_>, became: Called, took: Duration) {
        let Call { sort, name, operation } = call;
        let (code, rejected, error) = match became {
            Called::Allowed => (200, false, None),
            Called::Denied(code) => (code, true, Some(("no_error", code))),
            Called::Failed { code, passed_over } => {
                (code, !passed_over, (!passed_over).then_some(("calling_webhook_error", code)))
            }
            Called::Internal => (0, true, Some(("apiserver_internal_error", 0))),
        };
        let (code, rejected) = (code.min(MOST_CODE).to_string(), rejected.to_string());
        let mut series = Vec::new();
        let labels = [name, sort.label(), operation, &code, &rejected];
        self.0.requests.with(&labels).inc();
        series.push(Series::Request(owned(&labels)));
        let labels = [name, sort.label(), operation, &rejected];
        self.0.durations.with(&labels).observe_time(took);
        series.push(Series::Duration(owned(&labels)));
        if let Some((error, code)) = error {
            let code = code.min(MOST_CODE).to_string();
            let labels = [name, sort.label(), operation, error, &code];
            self.0.rejections.with(&labels).inc();
            series.push(Series::Rejection(owned(&labels)));
        }
        if matches!(became, Called::Failed { passed_over: true, .. }) {
            let labels = [name, sort.label()];
            self.0.failed_open.with(&labels).inc();
            series.push(Series::FailedOpen(owned(&labels)));
        }
        self.known().entry(Owner::Webhook { sort, name: name.to_owned() }).or_default().extend(series);
    }

    /// Counts an expression of a policy that was against a write, or failed and let it through.
    pub(crate) fn checked(&self, bound: Bound<'_>, action: &'static str, error: CheckError, took: Duration) {
        let Bound { policy, binding } = bound;
        let labels = [policy, binding, error.label(), action];
        self.0.checks.with(&labels).inc();
        self.0.check_durations.with(&labels).observe_time(took);
        let owner = Owner::Policy { name: policy.to_owned(), binding: binding.to_owned() };
        self.known().entry(owner).or_default().insert(Series::Check(owned(&labels)));
    }

    /// Forgets the series of what is not stored any more.
    pub(crate) fn sweep(&self, world: &World) {
        let mut known = self.known();
        if known.is_empty() {
            return;
        }
        let [mutating, validating] = [Sort::Mutating, Sort::Validating].map(|sort| webhooks(world, sort));
        let stored = |prefix: &str, name: &str| world.get(&format!("{prefix}{name}")).is_some();
        let gone: Vec<Owner> = known
            .keys()
            .filter(|owner| match owner {
                Owner::Webhook { sort: Sort::Mutating, name } => !mutating.contains(name.as_str()),
                Owner::Webhook { sort: Sort::Validating, name } => !validating.contains(name.as_str()),
                Owner::Policy { name, binding } => {
                    !stored("/registry/validatingadmissionpolicies/", name)
                        || !stored("/registry/validatingadmissionpolicybindings/", binding)
                }
            })
            .cloned()
            .collect();
        for series in gone.iter().filter_map(|owner| known.remove(owner)).flatten() {
            self.forget(&series);
        }
    }

    fn forget(&self, series: &Series) {
        let values = |labels: &[String], forget: &dyn Fn(&[&str])| {
            forget(&labels.iter().map(String::as_str).collect::<Vec<_>>());
        };
        let all = &self.0;
        match series {
            Series::Request(labels) => values(labels, &|labels| all.requests.remove(labels)),
            Series::Duration(labels) => values(labels, &|labels| all.durations.remove(labels)),
            Series::Rejection(labels) => values(labels, &|labels| all.rejections.remove(labels)),
            Series::FailedOpen(labels) => values(labels, &|labels| all.failed_open.remove(labels)),
            Series::Check(labels) => values(labels, &|labels| {
                all.checks.remove(labels);
                all.check_durations.remove(labels);
            }),
        }
    }
}

fn owned(labels: &[&str]) -> Vec<String> {
    labels.iter().map(|label| (*label).to_owned()).collect()
}

/// The names of all webhooks of a sort.
fn webhooks(world: &World, sort: Sort) -> BTreeSet<&str> {
    let configurations = world.range(sort.configurations(), None);
    let hooks = configurations
        .flat_map(|(_, configuration)| configuration.parsed()["webhooks"].as_array().into_iter().flatten());
    hooks.filter_map(|hook| hook["name"].as_str()).collect()
}
