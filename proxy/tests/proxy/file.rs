//! Services and endpoints from a file: no API server anywhere.

use quarterdeck_core::client::ObjectKey;
use quarterdeck_core::component::{Component, Stop};
use quarterdeck_proxy::{Proxy, ProxyPort, RoundRobin, ServiceTable};
use serde_json::json;

use crate::support::{Echoes, Running, answers, in_time};

#[tokio::test]
async fn a_file_alone_says_what_is_proxied() {
    let echoes = Echoes::tcp(2).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let subsets: Vec<_> = echoes
        .at
        .iter()
        .map(|at| json!({"addresses": [{"ip": at.ip()}], "ports": [{"port": at.port()}]}))
        .collect();
    let objects = json!({"kind": "List", "apiVersion": "v1", "items": [
        {"kind": "Service", "metadata": {"name": "web"}, "spec": {"clusterIP": "10.254.0.7", "ports": [{"port": 80}]}},
        {"kind": "Endpoints", "metadata": {"name": "web"}, "subsets": subsets},
    ]});
    std::fs::write(file.path(), objects.to_string()).unwrap();

    let proxy = Running::start(ServiceTable::new(), Proxy::from_file(file.path(), RoundRobin::new()));

    let web = ObjectKey::new("default", "web");
    let ports = in_time(proxy.ports.wait_for(&web, |ports: &[ProxyPort]| !ports.is_empty())).await;
    assert_eq!(answers(ports[0].proxy[0], 4).await, [0, 1, 0, 1]);
    proxy.stop().await;
}

#[tokio::test]
async fn a_file_that_is_not_there_ends_the_proxy_with_a_reason() {
    let (_signal, stop) = Stop::channel();
    let proxy = Proxy::from_file("/nonexistent/services.yaml", RoundRobin::new());

    let error = in_time(Box::new(proxy).run(stop)).await.unwrap_err();

    assert_eq!(error.to_string(), "cannot read /nonexistent/services.yaml");
}
