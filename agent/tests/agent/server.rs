//! The agent's server over TLS, and probes: what needs a socket, on loopback.

use std::net::SocketAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;
use kube::api::Api;
use quarterdeck_agent::ServerSettings;
use quarterdeck_core::clock::Clock;
use quarterdeck_registry::User;
use quarterdeck_registry::tls::{Authority, Identity};
use rustls::pki_types::ServerName;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::SECOND;
use crate::bench::{Bench, NODE};

/// Asks for a path, and returns the answer's first line; an error is one of the connection.
async fn ask(
    authority: &Authority,
    port: u16,
    client: Option<&Identity>,
    path: &str,
) -> std::io::Result<String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(authority.roots().unwrap());
    let config = match client {
        Some(client) => {
            let (chain, key) = client.der().unwrap();
            config.with_client_auth_cert(chain, key).unwrap()
        }
        None => config.with_no_client_auth(),
    };
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).await?;
    let mut stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await?;
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n").as_bytes())
        .await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer.lines().next().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn over_tls_the_agent_answers_the_api_server_alone() {
    let bench = Bench::idle(|node| node).await;
    // TLS reads the system's clock.
    let authority = Authority::new(Clock::system().now()).unwrap();
    let own = authority.server("node-1", &["localhost".to_owned()]).unwrap();
    let settings =
        ServerSettings::tls(([127, 0, 0, 1], 0).into(), &own.certificate, &own.key, authority.certificate())
            .unwrap();
    let mut bench = bench;
    bench.start(|agent| agent.serve(settings));
    let nodes: Api<Node> = Api::all(bench.client.clone());
    let port = loop {
        tokio::task::yield_now().await;
        let node = nodes.get_opt(NODE).await.unwrap().map(|node| json!(node));
        let port =
            node.and_then(|node| node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"].as_u64());
        if let Some(port) = port {
            break u16::try_from(port).unwrap();
        }
    };
    let user = |user: &User| authority.client(user).unwrap();
    let server = user(&User::new("kube-apiserver-kubelet-client"));
    let admin = user(&User::admin());
    let other = user(&User::node("node-2"));
    let monitor = user(&User::new("prometheus").group("system:monitoring"));

    assert_eq!(ask(&authority, port, Some(&server), "/healthz").await.unwrap(), "HTTP/1.1 200 OK");
    assert_eq!(ask(&authority, port, Some(&admin), "/pods").await.unwrap(), "HTTP/1.1 200 OK");
    for path in ["/metrics", "/healthz", "/livez?verbose", "/readyz/container-runtime"] {
        for client in [&server, &monitor] {
            assert_eq!(ask(&authority, port, Some(client), path).await.unwrap(), "HTTP/1.1 200 OK", "{path}");
        }
        let refused = ask(&authority, port, Some(&other), path).await.unwrap();
        assert_eq!(refused, "HTTP/1.1 403 Forbidden", "{path}");
    }
    for path in ["/pods", "/containerLogs/default/none/main", "/metrics/none"] {
        let refused = ask(&authority, port, Some(&monitor), path).await.unwrap();
        assert_eq!(refused, "HTTP/1.1 403 Forbidden", "{path}");
    }
    assert_eq!(ask(&authority, port, Some(&other), "/pods").await.unwrap(), "HTTP/1.1 403 Forbidden");
    let absent = ask(&authority, port, Some(&server), "/containerLogs/default/none/main").await;
    assert_eq!(absent.unwrap(), "HTTP/1.1 404 Not Found");
    assert!(
        ask(&authority, port, None, "/healthz").await.is_err(),
        "without a certificate nobody is answered"
    );
    bench.stop().await;
}

/// Answers each connection with this status code.
async fn web_server(code: Arc<std::sync::atomic::AtomicU16>) -> u16 {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = socket.accept().await {
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            let code = code.load(std::sync::atomic::Ordering::Relaxed);
            let answer = format!("HTTP/1.1 {code} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    port
}

#[tokio::test(start_paused = true)]
async fn probes_decide_who_is_ready_and_who_is_restarted() {
    let code = Arc::new(std::sync::atomic::AtomicU16::new(503));
    let set = |value: u16| code.store(value, std::sync::atomic::Ordering::Relaxed);
    let port = web_server(code.clone()).await;
    let mut bench = Bench::idle(|node| node).await;
    bench.start(|agent| agent.addresses(["127.0.0.1".parse().unwrap()]).probes(true));
    let get = json!({"path": "/healthy", "port": port});
    let container = json!({
        "name": "main", "image": "app:v1", "ports": [{"containerPort": port, "hostPort": port}],
        "readinessProbe": {"httpGet": get, "periodSeconds": 2},
        "livenessProbe": {"httpGet": get, "periodSeconds": 10, "initialDelaySeconds": 60, "failureThreshold": 2},
    });
    bench.create("web", json!({"hostNetwork": true, "containers": [container]})).await;

    let status = bench.until_phase("web", "Running").await;
    assert_eq!(status["containerStatuses"][0]["ready"], false);
    tokio::time::sleep(10 * SECOND).await;
    assert_eq!(bench.status("web").await["containerStatuses"][0]["ready"], false);
    set(200);
    bench.until("web", |status| status["containerStatuses"][0]["ready"] == true).await;
    tokio::time::sleep(90 * SECOND).await;
    assert_eq!(bench.status("web").await["containerStatuses"][0]["restartCount"], 0);
    set(500);
    bench.until("web", |status| status["containerStatuses"][0]["restartCount"] == 1).await;

    let told = bench.events("Unhealthy").await;
    assert!(
        told.iter().any(|said| said == "Liveness probe failed: HTTP probe failed with statuscode: 500"),
        "{told:?}"
    );
    let killing = bench.events("Killing").await;
    assert_eq!(killing, ["Container main failed liveness probe, will be restarted"]);
}

#[tokio::test(start_paused = true)]
async fn without_a_way_to_the_containers_probes_are_refused() {
    let bench = Bench::new(|node| node).await;
    let container = json!({"name": "main", "image": "app:v1", "readinessProbe": {"tcpSocket": {"port": 80}}});

    bench.create("web", json!({"containers": [container]})).await;

    let told = bench.until_event("Unsupported").await;
    assert!(told.starts_with("spec.containers[0].readinessProbe is not supported"), "{told}");
    assert_eq!(bench.status("web").await["phase"], "Pending");
}
