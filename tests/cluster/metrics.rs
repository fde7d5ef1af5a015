//! Whether `docs/observability.md` tells of the metrics that there are, and whether they are shown as collectors want them.

use std::collections::{BTreeMap, BTreeSet};

use quarterdeck::agent::Agent;
use quarterdeck::agent::certificates::{Join, ServingCertificate};
use quarterdeck::controllers;
use quarterdeck::core::client::{Context, LeaseElector, LeaseSettings, MeasuredLayer};
use quarterdeck::core::component::Supervisor;
use quarterdeck::core::metrics::Metrics;
use quarterdeck::proxy::Proxy;
use quarterdeck::registry::audit::{Audit, AuditSink, Policy};
use quarterdeck::registry::storage::EmbeddedStorage;
use quarterdeck::scheduler::SchedulerDriver;

use super::*;

const PAGE: &str = include_str!("../../docs/observability.md");

/// A metric, as the page tells of it: its name, its type, its labels and its unit.
type Told = (String, String, String, String);

/// Returns what the page tells, by section.
fn page() -> BTreeMap<&'static str, BTreeSet<Told>> {
    let mut sections: BTreeMap<_, BTreeSet<Told>> = BTreeMap::new();
    let mut section = "";
    let (_, metrics) = PAGE.split_once("\n## Metrics\n").unwrap();
    for line in metrics.split("\n## ").next().unwrap().lines() {
        if let Some(title) = line.strip_prefix("### ") {
            section = title;
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let ["", name, kind, labels, unit, meaning, ""] = cells[..] else { continue };
        if let Some(name) = name.strip_prefix('`') {
            assert!(!meaning.is_empty(), "{name} says nothing");
            let told = (name.trim_end_matches('`'), kind, &*labels.replace('`', ""), unit);
            let told = (told.0.to_owned(), told.1.to_owned(), told.2.to_owned(), told.3.to_owned());
            sections.entry(section).or_default().insert(told);
        }
    }
    sections
}

/// The unit of a metric, by its name.
fn unit(name: &str) -> &'static str {
    match name.trim_end_matches("_total") {
        "apiserver_response_sizes" => "bytes",
        "node_collector_zone_health" => "percent",
        name if name.ends_with("_seconds") => "seconds",
        name if name.ends_with("_bytes") => "bytes",
        _ => "",
    }
}

fn registered(metrics: &Metrics) -> BTreeSet<Told> {
    let described = metrics.describe().into_iter();
    described
        .map(|it| {
            let unit = unit(&it.name).to_owned();
            (it.name, it.kind.to_string(), it.labels.join(", "), unit)
        })
        .collect()
}

#[derive(Debug)]
struct Nowhere;

impl AuditSink for Nowhere {
    fn record(&self, _event: Vec<u8>) {}

    fn dropped(&self) -> u64 {
        0
    }
}

/// A server with everything that can count, and a part that talks to it.
async fn server(directory: &std::path::Path) -> ApiServer {
    let policy = Policy::from_yaml("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n");
    let storage = EmbeddedStorage::open(directory.join("storage")).unwrap();
    ApiServer::builder(storage).audit(Audit::new(policy.unwrap(), Nowhere)).start().await.unwrap()
}

/// Runs a part with a registry of its own until that knows a name, and returns it.
async fn run(
    server: &ApiServer,
    name: &str,
    make: impl FnOnce(&Context) -> Vec<Box<dyn Component>>,
) -> Metrics {
    let metrics = Metrics::new();
    let context = Context::new(server.client(), Clock::system(), Random::seeded(1));
    let context = context.with_metrics(metrics.clone());
    let mut supervisor = Supervisor::new();
    for part in make(&context) {
        supervisor.push(part);
    }
    drop(context);
    let (signal, stop) = Stop::channel();
    let (ended, ()) = tokio::join!(supervisor.run(stop), async {
        while !metrics.describe().iter().any(|it| it.name == name) {
            tokio::task::yield_now().await;
        }
        signal.stop();
    });
    assert!(ended.iter().all(|ended| ended.to_string().ends_with("stopped")), "{ended:?}");
    metrics
}

#[tokio::test]
async fn the_page_tells_of_the_metrics_that_there_are_and_of_no_others() {
    let directory = tempfile::tempdir().unwrap();
    let server = server(directory.path()).await;
    let page = page();
    let told = |sections: &[&str]| -> BTreeSet<Told> {
        sections.iter().flat_map(|section| page[section].iter().cloned()).collect()
    };
    let every = Metrics::new();
    every.with_process();
    let _ = MeasuredLayer::new(&every, "somewhere");
    // Without a client of its own, a server knows its process alone.
    let mut of_server = told(&["Every component", "API server", "Embedded store"]);
    of_server.retain(|(name, ..)| !name.starts_with("rest_client_"));

    let election = run(&server, "leader_election_master_status", |context| {
        let _ = LeaseElector::new(context, LeaseSettings::new("kube-system", "one", "me"));
        Vec::new()
    });
    let election = election.await;
    let scheduler =
        run(&server, "scheduler_preemption_victims", |context| vec![Box::new(SchedulerDriver::new(context))]);
    let scheduler = scheduler.await;
    let controllers = run(&server, "node_collector_evictions_total", |context| {
        controllers::all(context, controllers::Options::default())
    });
    let controllers = controllers.await;
    let agent = run(&server, "prober_probe_total", |context| {
        vec![Box::new(Agent::new(context, "node-1", SimulatedRuntime::default()))]
    });
    let agent = agent.await;
    let certificates = run(&server, "kubelet_server_expiration_renew_errors", |context| {
        let _ = ServingCertificate::new(context, "node-1", [], directory.path());
        Vec::new()
    });
    let certificates = certificates.await;
    // There is none, and nobody to ask.
    let nobody =
        Join::new("node-1", directory.path(), |_| Err("nobody connects".into())).metrics(&certificates);
    assert!(nobody.run().await.is_err());
    let proxy = run(&server, "quarterdeck_proxy_picks_total", |context| {
        vec![Box::new(Proxy::new(context, RoundRobin::new()))]
    });
    let proxy = proxy.await;

    assert_eq!(registered(&every), told(&["Every component"]));
    assert_eq!(registered(server.metrics()), of_server);
    assert_eq!(registered(&election), told(&["Leader election"]));
    assert_eq!(registered(&scheduler), told(&["Scheduler"]));
    assert_eq!(registered(&controllers), told(&["Controllers"]));
    assert_eq!(registered(&agent), told(&["Agent"]));
    assert_eq!(registered(&certificates), told(&["Agent's certificates"]));
    assert_eq!(registered(&proxy), told(&["Proxy"]));
    assert_eq!(page.len(), 9, "every section is compared");
}

/// What Prometheus' linter finds fault with, and whatever no collector can read.
fn faults(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let (mut helped, mut kinds, mut seen) = (BTreeSet::new(), BTreeMap::new(), BTreeSet::new());
    for line in text.lines() {
        let mut fault = |what: &str| faults.push(format!("{what}: {line}"));
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap_or((rest, ""));
            if help.is_empty() || !helped.insert(name) {
                fault("help is empty, or there twice");
            }
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or((rest, ""));
            if !helped.contains(name) || kinds.insert(name, kind).is_some() {
                fault("no help, or the type is there twice");
            }
            if (kind == "counter") != name.ends_with("_total") {
                fault("counters, and nothing else, end in _total");
            }
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap_or((line, ""));
            let name = series.split('{').next().unwrap_or_default();
            let of = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            let of_histogram = of.is_some_and(|of| kinds.get(of) == Some(&"histogram"));
            if !of_histogram && !kinds.contains_key(name) {
                fault("a series without a type");
            }
            if value.parse::<f64>().is_err() || !seen.insert(series) {
                fault("no number, or the series is there twice");
            }
        }
    }
    faults
}

#[tokio::test(start_paused = true)]
async fn a_collector_can_read_what_a_busy_cluster_shows() {
    let clock = Clock::following_tokio("2026-01-01T00:00:00Z".parse().unwrap());
    let runtime = || SimulatedRuntime::new(clock.clone());
    let plane = ControlPlane::builder(MemoryStorage::new())
        .random(Random::seeded(1))
        .clock(clock.clone())
        .node("node-1", runtime())
        .node("node-2", runtime())
        .build();
    let cluster = plane.unwrap().start().await.unwrap();
    cluster.ready().await.unwrap();
    let deployments: Api<Deployment> = Api::default_namespaced(cluster.client());
    deployments.create(&PostParams::default(), &deployment(4)).await.unwrap();
    sleep(Duration::from_secs(30)).await;

    let text = cluster.server().metrics().answer(None).text;
    let value = |series: &str| -> Option<f64> {
        text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
    };

    assert_eq!(faults(&text), Vec::<String>::new());
    assert_eq!(value("kubelet_running_pods"), Some(4.0), "agents of one process add up");
    assert_eq!(value("kubelet_node_name{node=\"node-2\"}"), Some(1.0));
    assert_eq!(value("node_collector_zone_size{zone=\":\"}"), Some(2.0));
    let bound = "rest_client_requests_total{code=\"201\",method=\"POST\",host=\"in-process\"}";
    assert!(value(bound) >= Some(4.0), "{text}");
    let installed = "etcd_request_duration_seconds_count{operation=\"create\",type=\"clusterroles.rbac.authorization.k8s.io\"}";
    assert!(value(installed) >= Some(1.0), "what the server makes unasked is measured too");
    let told: BTreeMap<String, String> =
        page().into_values().flatten().map(|(name, _, labels, _)| (name, labels)).collect();
    for line in text.lines().filter(|line| line.starts_with("# TYPE ")) {
        let name = line.split(' ').nth(2).unwrap();
        assert!(told.contains_key(name), "the page does not tell of {name}");
    }
    cluster.stop().await;
}

#[test]
fn faults_are_found() {
    let faulty = "# HELP a A.\n# TYPE a counter\na 1\nb 2\n# HELP c_total C.\n# TYPE c_total counter\nc_total 1\nc_total x\n";

    assert_eq!(
        faults(faulty),
        [
            "counters, and nothing else, end in _total: # TYPE a counter",
            "a series without a type: b 2",
            "no number, or the series is there twice: c_total x",
        ]
    );
}
