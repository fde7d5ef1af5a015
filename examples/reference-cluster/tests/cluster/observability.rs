//! What the processes tell of themselves: logs in both formats, metrics and health of each part, and (feature `otel`) traces.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use regex::Regex;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout};
use tokio::time::timeout;

use crate::place::{Place, finish};
use crate::running::BINARY;
use crate::{data, eventually, turn};

const PATIENCE: Duration = Duration::from_secs(40);

/// A process whose log is a file, so that nobody has to read along.
struct Logged {
    child: Child,
    said: tokio::io::Lines<BufReader<ChildStdout>>,
    log: PathBuf,
}

impl Logged {
    fn start(place: &Place, log: &Path, arguments: &[&str]) -> Self {
        let mut command = place.command(BINARY);
        command.args(arguments).env_remove("QUARTERDECK_LOG").stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command
            .stderr(File::create(log).expect("a file can be made"))
            .spawn()
            .expect("programs can be started");
        let said = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        Self { child, said, log: log.to_owned() }
    }

    /// Waits for a line with these words, and returns what follows them.
    async fn says(&mut self, words: &str) -> String {
        let wait = async {
            loop {
                let line = self.said.next_line().await.expect("it can be read").expect("it goes on");
                if let Some((_, rest)) = line.split_once(words) {
                    return rest.trim().to_owned();
                }
            }
        };
        match timeout(PATIENCE, wait).await {
            Ok(rest) => rest,
            Err(_) => panic!("{words:?} is not said: {}", self.read()),
        }
    }

    async fn stop(mut self, place: &Place) -> String {
        place.signal("INT", self.child.id().expect("it runs")).await;
        let status =
            timeout(PATIENCE, self.child.wait()).await.expect("it stops").expect("it was waited for");
        let log = self.read();
        assert!(status.success(), "{status}: {log}");
        log
    }

    fn read(&self) -> String {
        std::fs::read_to_string(&self.log).expect("it can be read")
    }
}

/// Starts an API server that has no other's port, and a client of it.
async fn apiserver(place: &Place, data: &Path, more: &[&str]) -> (Logged, Client) {
    let directory = data.to_str().expect("it is text");
    let own = ["apiserver", "--storage", "memory", "--data", directory, "--listen", "127.0.0.1:0"];
    let mut server = Logged::start(place, &data.join("log"), &[&own, more].concat());
    server.says("ready at ").await;
    let kubeconfig = Kubeconfig::read_from(data.join("kubeconfig")).expect("it was written");
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    let client = Client::try_from(config.expect("it is good")).expect("it is good");
    (server, client)
}

/// Sends a request with a header, and returns the answer.
async fn send(client: &Client, verb: &str, path: &str, header: (&str, &str), body: &Value) -> Value {
    let request = http::Request::builder().method(verb).uri(path).header(header.0, header.1);
    let request = request.header("content-type", "application/json").body(body.to_string().into_bytes());
    client.request(request.expect("it is a request")).await.expect("it is answered")
}

/// What must not be logged, and the request that must.
const AUDIT_ID: &str = "f3a1c5e0-0b8f-4a53-9a83-4a3c1f4b6d11";
const PATH: &str = "/api/v1/namespaces/default/secrets";
const VALUE: &str = "treasure-island-4711";

/// Writes a secret and asks for a token, and returns whatever of both must be in no log.
async fn hide(client: &Client) -> Vec<String> {
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD.encode(VALUE);
    let secret =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "map"}, "data": {"x": encoded}});
    send(client, "POST", PATH, ("audit-id", AUDIT_ID), &secret).await;
    let patch = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "map"}, "stringData": {"y": VALUE}});
    send(client, "PUT", &format!("{PATH}/map"), ("audit-id", "put"), &patch).await;
    send(client, "GET", &format!("{PATH}/map"), ("audit-id", "get"), &Value::Null).await;
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "jim"}});
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    send(client, "POST", accounts, ("audit-id", "account"), &account).await;
    let asked =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": []}});
    let token = send(client, "POST", &format!("{accounts}/jim/token"), ("audit-id", "token"), &asked).await;
    let token = token["status"]["token"].as_str().expect("a token").to_owned();
    let signature = token.rsplit('.').next().expect("it has parts").to_owned();
    vec![VALUE.to_owned(), encoded, token, signature]
}

fn hides(log: &str, hidden: &[String]) {
    for secret in hidden {
        let found = log.lines().find(|line| line.contains(secret.as_str()));
        assert_eq!(found, None, "a secret is in the log");
    }
}

#[tokio::test]
async fn a_requests_audit_id_is_in_the_lines_from_its_arrival_to_its_commit_and_no_secret_is_in_any() {
    let _turn = turn();
    let place = Place::here();
    let (text, json) = (data(), data());

    let (server, client) = apiserver(&place, text.path(), &["--log", "trace"]).await;
    let hidden = hide(&client).await;
    let log = server.stop(&place).await;
    let own: Vec<&str> = log.lines().filter(|line| line.contains(AUDIT_ID)).collect();
    let about =
        format!("request{{audit_id=\"{AUDIT_ID}\" verb=POST path=\"{PATH}\" user=\"kubernetes-admin\"}}");
    for event in ["committed", "answered"] {
        let line = own.iter().find(|line| line.contains(event)).expect("it is logged");
        assert!(line.contains(&about), "{line}");
    }
    assert!(log.contains("TRACE"), "the finest level is on: {log}");
    hides(&log, &hidden);

    let arguments = ["--log", "trace", "--log-format", "json"];
    let (server, client) = apiserver(&place, json.path(), &arguments).await;
    let hidden = hide(&client).await;
    let log = server.stop(&place).await;
    hides(&log, &hidden);
    let date = Regex::new(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z$").expect("it is an expression");
    let mut events = Vec::new();
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(date.is_match(line["timestamp"].as_str().unwrap_or_default()), "{line}");
        assert!(
            line["level"].is_string() && line["target"].is_string() && line["fields"].is_object(),
            "{line}"
        );
        if let Some(span) =
            line["spans"].as_array().into_iter().flatten().find(|span| span["audit_id"] == AUDIT_ID)
        {
            let expected = json!({
                "name": "request", "audit_id": AUDIT_ID, "verb": "POST", "path": PATH, "user": "kubernetes-admin",
            });
            let is_known = span["user"].is_string();
            assert!(!is_known || *span == expected, "{span}");
            events.push(line["fields"]["message"].as_str().unwrap_or_default().to_owned());
        }
    }
    let place_of = |event: &str| events.iter().position(|known| known == event);
    assert!(place_of("committed").is_some() && place_of("committed") < place_of("answered"), "{events:?}");
}

/// Asks for a page without TLS.
async fn get(address: &str, path: &str) -> Result<String, String> {
    let failed = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect(address).await.map_err(failed)?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(failed)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.map_err(failed)?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200 ") => Ok(body.to_owned()),
        _ => Err(answer),
    }
}

#[tokio::test]
async fn each_part_shows_its_metrics_and_whether_it_is_well_to_this_machine_alone() {
    let _turn = turn();
    let (place, data) = (Place::here(), data());
    let (server, _client) = apiserver(&place, data.path(), &[]).await;
    let kubeconfig = |name: &str| {
        let path = data.path().join("kubeconfigs").join(name);
        path.to_str().expect("it is text").to_owned()
    };
    let state = data.path().join("agent").to_str().expect("it is text").to_owned();
    let mut parts = Vec::new();
    for (name, metric) in [
        ("scheduler", "scheduler_pending_pods{queue=\"active\"} 0"),
        ("controllers", "workqueue_depth{name=\"replicaset-controller\"} 0"),
        ("agent", "kubelet_node_name{node=\"node-1\"} 1"),
    ] {
        let file = kubeconfig(name);
        let mut arguments = vec![name, "--kubeconfig", &file, "--metrics-bind-address", "127.0.0.1:0"];
        if name == "agent" {
            arguments.extend(["--runtime", "simulated", "--data", &state]);
        }
        let mut part = Logged::start(&place, &data.path().join(format!("{name}.log")), &arguments);
        let address = part.says("Metrics and health are shown at http://").await;
        eventually(name, PATIENCE, async || get(&address, "/readyz").await).await;
        // A part may be well before the answer to its first request has been counted.
        let asked = "rest_client_requests_total{code=\"200\",method=\"GET\",host=\"127.0.0.1:";
        let metrics = eventually(name, PATIENCE, async || {
            let text = get(&address, "/metrics").await?;
            if text.contains(metric) && text.contains(asked) { Ok(text) } else { Err(text) }
        });
        let metrics = metrics.await;
        assert!(metrics.contains("process_resident_memory_bytes "), "{metrics}");
        // The controllers that look after all kinds begin to follow them once they have read which there are.
        eventually(name, PATIENCE, async || {
            let health = get(&address, "/readyz?verbose").await?;
            let is_well = health.contains("[+]informer-sync ok\n[+]api-server ok\n");
            if is_well { Ok(()) } else { Err(health) }
        })
        .await;
        parts.push((part, address));
    }

    server.stop(&place).await;
    for (part, address) in parts {
        let told = eventually("not ready", PATIENCE, async || match get(&address, "/readyz").await {
            Err(told) if told.contains("[-]api-server failed: the API server does not answer: ") => Ok(told),
            other => Err(format!("{other:?}")),
        });
        assert!(told.await.starts_with("HTTP/1.1 500 "));
        assert_eq!(get(&address, "/livez").await.as_deref(), Ok("ok"), "a new start would not help");
        part.stop(&place).await;
    }

    let file = kubeconfig("scheduler");
    let mut exposed = place.command(BINARY);
    exposed.args(["scheduler", "--kubeconfig", &file, "--metrics-bind-address", "0.0.0.0:0"]);
    let refused = finish(&mut exposed, Duration::from_secs(30)).await;
    assert!(!refused.success && refused.stderr.contains("has a loopback address only"), "{refused:?}");
}

#[cfg(feature = "otel")]
mod traces {
    use std::sync::{Arc, Mutex};

    use tokio::net::TcpListener;

    use super::*;

    /// A collector: keeps the bodies that it is sent.
    async fn collector() -> (String, Arc<Mutex<Vec<Value>>>, tokio::task::JoinHandle<()>) {
        let socket = TcpListener::bind("127.0.0.1:0").await.expect("there are free ports");
        let address = socket.local_addr().expect("a bound socket has an address");
        let kept = Arc::new(Mutex::new(Vec::new()));
        let keeps = kept.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = socket.accept().await {
                let mut stream = BufReader::new(stream);
                while let Some((head, body)) = request(&mut stream).await {
                    assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
                    keeps.lock().expect("nobody panics").push(serde_json::from_slice(&body).expect("JSON"));
                    let answer =
                        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
                    stream.write_all(answer.as_bytes()).await.expect("it is read");
                }
            }
        });
        (format!("http://{address}"), kept, task)
    }

    async fn request(stream: &mut BufReader<TcpStream>) -> Option<(String, Vec<u8>)> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head).await.ok()? == 0 {
                return None;
            }
        }
        let lower = head.to_ascii_lowercase();
        let length = lower.lines().find_map(|line| line.strip_prefix("content-length: "))?.parse().ok()?;
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.ok()?;
        Some((head, body))
    }

    /// Returns the spans of all that was sent.
    fn spans(kept: &Mutex<Vec<Value>>) -> Vec<Value> {
        let kept = kept.lock().expect("nobody panics");
        let list = |value: &Value, name: &str| value[name].as_array().cloned().unwrap_or_default();
        let resources = kept.iter().flat_map(|body| list(body, "resourceSpans"));
        resources.flat_map(|of| list(&of, "scopeSpans")).flat_map(|of| list(&of, "spans")).collect()
    }

    #[tokio::test]
    async fn a_request_is_a_span_of_the_trace_that_it_comes_with() {
        const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
        const PARENT: &str = "00f067aa0ba902b7";
        let _turn = turn();
        let (place, data) = (Place::here(), data());
        let (endpoint, kept, collector) = collector().await;
        let flags = ["--tracing-endpoint", &endpoint, "--tracing-sampling-rate-per-million", "0"];
        let (server, client) = apiserver(&place, data.path(), &flags).await;

        let traced = ("traceparent", &*format!("00-{TRACE}-{PARENT}-01"));
        send(&client, "GET", "/api/v1/namespaces/default", traced, &Value::Null).await;
        send(&client, "GET", "/api/v1/namespaces/kube-system", ("accept", "application/json"), &Value::Null)
            .await;
        // What waits is sent when the process ends.
        server.stop(&place).await;
        collector.abort();

        let all = spans(&kept);
        let of_trace: Vec<&Value> = all.iter().filter(|span| span["traceId"] == TRACE).collect();
        let [span] = of_trace[..] else { panic!("one span is of the trace: {all:#?}") };
        assert_eq!((&span["name"], &span["parentSpanId"]), (&json!("request"), &json!(PARENT)));
        let attribute = |name: &str| {
            let all = span["attributes"].as_array().into_iter().flatten();
            all.clone().find(|it| it["key"] == name).map(|it| it["value"]["stringValue"].clone())
        };
        assert_eq!(attribute("path"), Some(json!("/api/v1/namespaces/default")));
        assert_eq!(attribute("user"), Some(json!("kubernetes-admin")));
        assert!(attribute("audit_id").is_some());
        assert_eq!(all.len(), 1, "of the others none is sampled: {all:#?}");
        let resource = &kept.lock().expect("nobody panics")[0]["resourceSpans"][0]["resource"]["attributes"];
        assert!(resource.to_string().contains("quarterdeck-apiserver"), "{resource}");
    }
}
