//! The five parts as five processes over TLS: the walk, and each part stopped and started again alone.

use std::path::Path;

use crate::kubectl::Kubectl;
use crate::place::Place;
use crate::running::Running;
use crate::{data, steps, turn};

#[tokio::test]
async fn five_processes_are_one_cluster_and_each_can_be_started_again_alone() {
    let _turn = turn();
    let Some(place) = Place::apart("the five parts as processes").await else { return };
    let data = data();
    let before = place.traces().await;
    let [mut apiserver, mut scheduler, mut controllers, mut agent, mut proxy] =
        start(&place, data.path()).await;

    let kubectl = Kubectl::new(&place, &data.path().join("kubeconfig"));
    steps::walk(&kubectl, "process", "host", true).await;
    steps::create(&kubectl, &steps::manifest("process")).await;
    let url = steps::cluster_url(&kubectl).await;
    steps::reach(&kubectl, &url, 3).await;
    // Controllers show tokens of accounts that they had made.
    let accounts = kubectl.run("get serviceaccounts -n kube-system").await;
    for account in ["replication-controller", "endpoint-controller", "service-account-controller"] {
        assert!(accounts.contains(account), "{account} is not in {accounts}");
    }
    for (name, port, metric) in METRICS {
        let page = place.ask(&format!("curl -sSf http://127.0.0.1:{port}/metrics")).await;
        assert!(page.contains(metric), "{name}: {page}");
        let health = place.ask(&format!("curl -sS http://127.0.0.1:{port}/readyz?verbose")).await;
        assert!(health.ends_with("readyz check passed\n"), "{name}: {health}");
    }

    apiserver.stop(&place).await;
    apiserver = part(&place, data.path(), "apiserver").await;
    steps::scale(&kubectl, 4).await;
    steps::reach(&kubectl, &url, 4).await;

    scheduler.stop(&place).await;
    kubectl.run("scale rc web --replicas=5").await;
    kubectl.until("get pods -l app=web", &["Pending"]).await;
    scheduler = part(&place, data.path(), "scheduler").await;
    kubectl.pods("app=web", 5).await;

    controllers.stop(&place).await;
    kubectl.run("scale rc web --replicas=3").await;
    controllers = part(&place, data.path(), "controllers").await;
    let running = kubectl.pods("app=web", 3).await;

    agent.kill(&place).await;
    agent = part(&place, data.path(), "agent").await;
    steps::delete_pod(&kubectl, 3).await;
    let after = kubectl.pods("app=web", 3).await;
    let same = after.iter().filter(|pod| running.iter().any(|old| old.container == pod.container)).count();
    assert_eq!(same, 2, "a killed agent's containers go on: {running:#?} and {after:#?}");
    assert!(after.iter().all(|pod| pod.restarts == 0), "{after:#?}");

    proxy.stop(&place).await;
    let silent = place.sh(&format!("curl -sS --max-time 2 {url}")).await;
    assert!(!silent.success, "nobody answers without a proxy: {silent:?}");
    proxy = part(&place, data.path(), "proxy").await;
    steps::reach(&kubectl, &url, 3).await;

    steps::delete_all(&kubectl).await;
    for running in [proxy, agent, controllers, scheduler, apiserver] {
        running.stop(&place).await;
    }
    place.is_clean(&before).await;
}

/// Where parts show their metrics, and what they count once the walk is done.
const METRICS: [(&str, u16, &str); 4] = [
    ("scheduler", 10259, "scheduler_pod_scheduling_sli_duration_seconds_count{attempts=\"1\"} "),
    ("controllers", 10257, "workqueue_adds_total{name=\"replication-controller\"} "),
    ("agent", 10248, "kubelet_running_pods 3\n"),
    ("proxy", 10256, "quarterdeck_proxy_picks_total{balancer=\"RoundRobin\",result=\"backend\"} "),
];

/// Starts the five parts of the cluster in `data`.
pub(crate) async fn start(place: &Place, data: &Path) -> [Running; 5] {
    [
        part(place, data, "apiserver").await,
        part(place, data, "scheduler").await,
        part(place, data, "controllers").await,
        part(place, data, "agent").await,
        part(place, data, "proxy").await,
    ]
}

/// Starts one part of the cluster in `data`.
async fn part(place: &Place, data: &Path, name: &str) -> Running {
    let text = |path: &Path| path.to_str().expect("it is text").to_owned();
    if name == "apiserver" {
        return Running::ready(place, &["apiserver", "--data", &text(data)]).await;
    }
    let kubeconfig = text(&data.join("kubeconfigs").join(name));
    let state = text(&data.join("agent"));
    let port = METRICS.iter().find(|(part, ..)| *part == name).map(|(_, port, _)| *port);
    let shown = format!("127.0.0.1:{}", port.expect("each part has a port"));
    let mut arguments = vec![name, "--kubeconfig", &kubeconfig, "--metrics-bind-address", &shown];
    let (certificate, key) = (text(&data.join("pki/ca.crt")), text(&data.join("pki/ca.key")));
    if name == "controllers" {
        arguments.extend(["--cluster-signing-cert-file", &certificate, "--cluster-signing-key-file", &key]);
    }
    if name == "agent" {
        arguments.extend(["--runtime", "process", "--data", &state]);
    }
    Running::start(place, &arguments).await
}
