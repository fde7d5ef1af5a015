//! What an agent counts, and whether it says that it is well.

use std::time::Duration;

use quarterdeck_core::client::{NodeBody, NodeConnector as _};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::SECOND;
use crate::bench::{Bench, NODE};

/// Asks the agent for a path, in process.
async fn ask(bench: &Bench, path: &str) -> (u16, String) {
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    let node = bench.nodes.connect(NODE).await.unwrap();
    let request = http::Request::get(path).body(NodeBody::default()).unwrap();
    let answer = node.oneshot(request).await.unwrap();
    let code = answer.status().as_u16();
    (code, String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().into()).unwrap())
}

/// Returns the value of a series, of the whole line before the number.
async fn value(bench: &Bench, series: &str) -> Option<f64> {
    let (_, text) = ask(bench, "/metrics").await;
    text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

#[tokio::test(start_paused = true)]
async fn pods_containers_and_what_the_runtime_does_are_counted() {
    let mut bench = Bench::new(|node| node).await;
    bench.create("web", json!({"terminationGracePeriodSeconds": 0})).await;
    bench.until_phase("web", "Running").await;
    tokio::time::sleep(SECOND).await;

    assert_eq!(value(&bench, "kubelet_node_name{node=\"node-1\"}").await, Some(1.0));
    assert_eq!(value(&bench, "kubelet_running_pods").await, Some(1.0));
    let running = "kubelet_running_containers{container_state=\"running\"}";
    assert_eq!(value(&bench, running).await, Some(1.0));
    assert_eq!(value(&bench, "kubelet_started_pods_total").await, Some(1.0));
    assert_eq!(value(&bench, "kubelet_started_pods_errors_total").await, Some(0.0));
    let started = "kubelet_started_containers_total{container_type=\"container\"}";
    assert_eq!(value(&bench, started).await, Some(1.0));
    assert_eq!(value(&bench, "kubelet_pod_start_duration_seconds_count").await, Some(1.0));
    let created = "kubelet_pod_worker_duration_seconds_count{operation_type=\"create\"}";
    assert_eq!(value(&bench, created).await, Some(1.0));
    for operation in ["status", "list_podsandbox", "run_podsandbox", "start_container"] {
        let series = format!("kubelet_runtime_operations_total{{operation_type=\"{operation}\"}}");
        assert!(value(&bench, &series).await >= Some(1.0), "{operation}");
    }

    bench.delete("web").await;
    bench.until_gone("web").await;
    tokio::time::sleep(SECOND).await;

    assert_eq!(value(&bench, "kubelet_running_pods").await, Some(0.0));
    assert_eq!(value(&bench, running).await, Some(0.0));
    let killed = "kubelet_pod_worker_duration_seconds_count{operation_type=\"kill\"}";
    assert_eq!(value(&bench, killed).await, Some(1.0));
    let removed = "kubelet_runtime_operations_total{operation_type=\"remove_podsandbox\"}";
    assert_eq!(value(&bench, removed).await, Some(1.0));
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn probes_are_counted_for_as_long_as_their_container_runs() {
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    let serving = tokio::spawn(async move {
        while let Ok((mut stream, _)) = socket.accept().await {
            let _ = stream.read(&mut [0; 1024]).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        }
    });
    let mut bench = Bench::idle(|node| node).await;
    bench.start(|agent| agent.addresses(["127.0.0.1".parse().unwrap()]).probes(true));
    let container = json!({
        "name": "main", "image": "app:v1", "ports": [{"containerPort": port, "hostPort": port}],
        "readinessProbe": {"httpGet": {"path": "/", "port": port}, "periodSeconds": 2},
    });
    let spec = json!({"hostNetwork": true, "terminationGracePeriodSeconds": 0, "containers": [container]});
    let uid = bench.create("web", spec).await;
    bench.until("web", |status| status["containerStatuses"][0]["ready"] == true).await;

    let (_, during) = ask(&bench, "/metrics").await;
    bench.delete("web").await;
    bench.until_gone("web").await;
    let (_, after) = ask(&bench, "/metrics").await;

    let labels = format!(
        "probe_type=\"Readiness\",result=\"successful\",container=\"main\",pod=\"web\",namespace=\"default\",pod_uid=\"{uid}\""
    );
    let line = during.lines().find(|line| line.starts_with("prober_probe_total{"));
    assert!(line.is_some_and(|line| line.contains(&labels)), "{line:?}");
    assert!(!after.contains("prober_probe_total{"), "{after}");
    serving.abort();
}

#[tokio::test(start_paused = true)]
async fn a_runtime_that_does_not_answer_is_a_reason_not_to_be_ready() {
    let bench = Bench::new(|node| node).await;
    tokio::time::sleep(SECOND).await;
    let (good, _) = ask(&bench, "/readyz").await;

    bench.runtime.set_available(false);
    tokio::time::sleep(Duration::from_secs(11)).await;
    let (ready, told) = ask(&bench, "/readyz").await;
    let (alive, _) = ask(&bench, "/livez").await;
    bench.runtime.set_available(true);
    tokio::time::sleep(Duration::from_secs(11)).await;

    assert_eq!((good, ready, alive), (200, 500, 200), "{told}");
    assert!(told.contains("[-]container-runtime failed: container runtime is down: "), "{told}");
    assert_eq!(ask(&bench, "/readyz").await.0, 200);
    let errors = "kubelet_runtime_operations_errors_total{operation_type=\"status\"}";
    assert!(value(&bench, errors).await >= Some(1.0));
}
