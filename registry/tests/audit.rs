//! The audit log: which events are told of requests, in which form, and that nobody waits for it.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use futures::FutureExt as _;
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use quarterdeck_core::clock::Clock;
use quarterdeck_registry::admission::{Admission, Attributes};
use quarterdeck_registry::audit::{Audit, AuditFile, AuditFileOptions, AuditSink, Policy, Rotation};
use quarterdeck_registry::tls::{ServiceAccountKey, ServiceAccountTokens};
use quarterdeck_registry::{ApiServer, Body, MemoryStorage, Status, User};
use serde_json::{Value, json};
use support::{call, send};
use tower::ServiceExt as _;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";

/// Keeps events.
#[derive(Debug, Default)]
struct Events(Mutex<Vec<Value>>, AtomicUsize);

impl AuditSink for Events {
    fn record(&self, event: Vec<u8>) {
        self.0.lock().unwrap().push(serde_json::from_slice(&event).unwrap());
    }

    fn record_stranger(&self, event: Vec<u8>) {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.record(event);
    }

    fn dropped(&self) -> u64 {
        0
    }
}

impl Events {
    fn take(&self) -> Vec<Value> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    /// Takes the events, of which there has to be one.
    fn one(&self) -> Value {
        let mut events = self.take();
        assert_eq!(events.len(), 1, "{events:#?}");
        events.remove(0)
    }
}

/// Annotates, or panics over, config maps.
#[derive(Debug)]
struct Note;

#[async_trait::async_trait]
impl Admission for Note {
    async fn validate(&self, attributes: &Attributes<'_>, object: Option<&Value>) -> Result<(), Status> {
        assert_ne!(object.map(|object| &object["metadata"]["name"]), Some(&json!("panic")), "a test panics");
        attributes.annotate("note.io/seen", "yes");
        Ok(())
    }
}

async fn start(rules: &str) -> (ApiServer, Arc<Events>) {
    let policy = format!("{{apiVersion: audit.k8s.io/v1, kind: Policy, {rules}}}");
    let events = Arc::new(Events::default());
    let audit = Audit::shared(Policy::from_yaml(&policy).unwrap(), events.clone());
    let clock = Clock::following_tokio("2026-01-02T03:04:05Z".parse().unwrap());
    let builder = ApiServer::builder(MemoryStorage::new()).clock(clock).admission(Note).audit(audit);
    (builder.start().await.unwrap(), events)
}

#[tokio::test(start_paused = true)]
async fn an_event_says_who_asked_for_what_and_what_became_of_it() {
    let (server, events) = start("omitStages: [RequestReceived], rules: [{level: Metadata}]").await;
    let headers = [
        ("content-type", "application/json"),
        ("user-agent", "test/1"),
        ("audit-id", "id-1"),
        ("x-forwarded-for", "10.0.0.1, nonsense"),
    ];
    let map = json!({"metadata": {"name": "a"}, "data": {"secret": "value"}});

    let answer = send(&server, "POST", &format!("{MAPS}?pretty=0"), &headers, map).await;

    assert_eq!(answer.code, StatusCode::CREATED);
    let mut event = events.one();
    let received = event["requestReceivedTimestamp"].take();
    assert!(received.as_str().unwrap().starts_with("2026-01-02T03:04:05."), "{received}");
    assert_eq!(received.as_str().unwrap().len(), "2026-01-02T03:04:05.000000Z".len());
    assert_eq!(event["stageTimestamp"].take(), received);
    assert_eq!(
        event,
        json!({
            "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "auditID": "id-1",
            "stage": "ResponseComplete", "requestURI": format!("{MAPS}?pretty=0"), "verb": "create",
            "user": {"username": "kubernetes-admin", "groups": ["system:masters", "system:authenticated"]},
            "sourceIPs": ["10.0.0.1"], "userAgent": "test/1",
            "objectRef": {"resource": "configmaps", "namespace": "default", "name": "a", "apiVersion": "v1"},
            "responseStatus": {"metadata": {}, "code": 201},
            "requestReceivedTimestamp": null, "stageTimestamp": null,
            "annotations": {
                "authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": "",
                "note.io/seen": "yes",
            },
        })
    );
}

#[tokio::test]
async fn whoever_shows_a_token_leads_to_the_event_of_whoever_asked_for_it() {
    let policy = "{apiVersion: audit.k8s.io/v1, kind: Policy, omitStages: [RequestReceived], rules: [{level: Metadata}]}";
    let events = Arc::new(Events::default());
    let key = ServiceAccountKey::new().unwrap();
    let clock = Clock::following_tokio("2026-01-02T03:04:05Z".parse().unwrap());
    let server = ApiServer::builder(MemoryStorage::new())
        .clock(clock.clone())
        .audit(Audit::shared(Policy::from_yaml(policy).unwrap(), events.clone()))
        .authenticator(ServiceAccountTokens::new(key.clone(), clock))
        .token_issuer(key)
        .start()
        .await
        .unwrap();
    call(&server, "POST", ACCOUNTS, json!({"metadata": {"name": "robot"}})).await;
    events.take();

    let (_, made) = call(&server, "POST", &format!("{ACCOUNTS}/robot/token"), json!({})).await;
    let issued = events.one();
    let token = made["status"]["token"].as_str().unwrap();
    let request = Request::get(MAPS).header("authorization", format!("Bearer {token}"));
    let answer = server.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    answer.into_body().collect().await.unwrap();
    let shown = events.one();

    let id = issued["annotations"]["authentication.kubernetes.io/issued-credential-id"].as_str().unwrap();
    assert!(id.starts_with("JTI="), "{id}");
    assert_eq!(issued["user"]["username"], "kubernetes-admin");
    assert_eq!(shown["user"]["extra"], json!({"authentication.kubernetes.io/credential-id": [id]}));
}

#[tokio::test]
async fn a_replacement_is_told_with_what_the_client_took_the_object_for() {
    let (server, events) = start("omitStages: [RequestReceived], rules: [{level: Metadata}]").await;
    let map = json!({"metadata": {"name": "a"}});
    let mut map = send(&server, "POST", MAPS, &[], map).await.body;
    events.one();
    map["data"] = json!({"a": "b"});

    let answer = send(&server, "PUT", &format!("{MAPS}/a"), &[], map.clone()).await;

    assert_eq!(answer.code, StatusCode::OK);
    let metadata = &map["metadata"];
    assert_eq!(
        events.one()["objectRef"],
        json!({
            "resource": "configmaps", "namespace": "default", "name": "a", "apiVersion": "v1",
            "uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"],
        })
    );
}

#[tokio::test]
async fn a_refusal_says_why_and_who_acts_as_whom() {
    let (server, events) = start("omitStages: [RequestReceived], rules: [{level: Metadata}]").await;

    let answer =
        send(&server, "GET", &format!("{MAPS}/a"), &[("impersonate-user", "ann")], Value::Null).await;

    assert_eq!(answer.code, StatusCode::FORBIDDEN);
    let event = events.one();
    assert_eq!(event["user"]["username"], "kubernetes-admin");
    assert_eq!(event["impersonatedUser"], json!({"username": "ann", "groups": ["system:authenticated"]}));
    assert_eq!(event["annotations"]["authorization.k8s.io/decision"], "forbid");
    let status = &event["responseStatus"];
    assert_eq!((&status["status"], &status["reason"]), (&json!("Failure"), &json!("Forbidden")));
    assert_eq!(status["message"], answer.body["message"]);
    assert_eq!(status["code"], 403);
}

#[tokio::test]
async fn bodies_are_told_as_the_level_says() {
    let rules = "rules: [{level: Request, users: [ann]}, {level: RequestResponse, omitManagedFields: true}]";
    let (server, events) = start(&format!("omitStages: [RequestReceived], {rules}")).await;
    let account = json!({"metadata": {"name": "a"}});

    let (code, made) = call(&server, "POST", ACCOUNTS, account.clone()).await;

    assert_eq!(code, StatusCode::CREATED);
    let event = events.one();
    assert_eq!(event["requestObject"], account);
    let mut expected = made.clone();
    expected["metadata"].as_object_mut().unwrap().remove("managedFields");
    assert_eq!(event["responseObject"], expected);

    let patch = Request::patch(format!("{ACCOUNTS}/a"))
        .header("content-type", "application/merge-patch+json")
        .body(Body::full(r#"{"metadata":{"labels":{"x":"y"}}}"#))
        .unwrap();
    server.as_user(User::new("ann").group("system:masters")).oneshot(patch).await.unwrap();
    let event = events.one();
    assert_eq!(event["requestObject"], json!({"metadata": {"labels": {"x": "y"}}}));
    assert_eq!(event["responseObject"], Value::Null);

    let (_, list) = call(&server, "GET", ACCOUNTS, Value::Null).await;
    let event = events.one();
    assert_eq!(
        event["responseObject"]["items"].as_array().unwrap().len(),
        list["items"].as_array().unwrap().len()
    );
}

#[tokio::test]
async fn protobuf_and_compressed_bodies_are_told_as_json() {
    let (server, events) = start("omitStages: [RequestReceived], rules: [{level: RequestResponse}]").await;
    let padding = "x".repeat(200_000);
    let account = json!({"metadata": {"name": "a", "annotations": {"x": padding}}});
    call(&server, "POST", ACCOUNTS, account).await;
    events.take();

    let protobuf = [("accept", "application/vnd.kubernetes.protobuf")];
    send(&server, "GET", &format!("{ACCOUNTS}/a"), &protobuf, Value::Null).await;
    let event = events.one();
    assert_eq!(event["responseObject"]["kind"], "ServiceAccount");
    assert_eq!(event["responseObject"]["metadata"]["name"], "a");

    send(&server, "GET", ACCOUNTS, &[("accept-encoding", "gzip")], Value::Null).await;
    let event = events.one();
    assert_eq!(event["responseObject"]["items"][0]["metadata"]["annotations"]["x"], padding);
}

#[tokio::test]
async fn what_is_confidential_is_never_told() {
    let (server, events) = start("rules: [{level: RequestResponse}]").await;
    let review = json!({"spec": {"token": "hush-hush"}});
    let secret = json!({"metadata": {"name": "s"}, "stringData": {"x": "hush-hush"}});
    call(&server, "POST", "/apis/authentication.k8s.io/v1/tokenreviews", review).await;
    call(&server, "POST", "/api/v1/namespaces/default/secrets", secret).await;
    call(&server, "GET", "/api/v1/secrets", Value::Null).await;
    call(&server, "PATCH", &format!("{MAPS}/kube-root-ca.crt"), json!({"data": {"x": "hush-hush"}})).await;
    let path = "/api/v1/namespaces/default/secrets/s";
    let (_, refusal) = call(&server, "PATCH", path, json!({"type": 5, "data": {"y": "hush-hush"}})).await;
    assert!(refusal.to_string().contains("hush-hush"), "who sent it is shown it: {refusal}");

    let events = events.take();

    assert_eq!(events.len(), 10);
    for event in events {
        assert_eq!(event["level"], "Metadata");
        assert!(event.get("requestObject").is_none() && event.get("responseObject").is_none(), "{event}");
        assert!(!event.to_string().contains("hush-hush"));
    }
}

#[tokio::test]
async fn a_body_is_told_only_if_it_is_what_its_path_takes() {
    let (server, events) = start("omitStages: [RequestReceived], rules: [{level: RequestResponse}]").await;
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"x": "hush-hush"},
    });
    let (json, apply, ann) = (
        ("content-type", "application/json"),
        ("content-type", "application/apply-patch+yaml"),
        ("impersonate-user", "ann"),
    );
    let account = format!("{ACCOUNTS}/s");
    for (method, path, headers, code) in [
        ("POST", "/api/v1/namespaces/default/secret", &[json][..], 404),
        ("POST", "/apis/apps/v1/namespaces/default/secrets", &[json], 404),
        ("POST", "/api/v1/namespaces/default/pods", &[json], 400),
        ("PUT", &account, &[json], 400),
        ("PATCH", &format!("{account}?fieldManager=test"), &[apply], 400),
        ("DELETE", &account, &[json], 400),
        ("GET", &account, &[json], 404),
        ("POST", ACCOUNTS, &[json, ann], 403),
    ] {
        let answer = send(&server, method, path, headers, secret.clone()).await;

        assert_eq!(answer.code.as_u16(), code, "{method} {path}: {}", answer.body);
        let event = events.one();
        assert!(event.get("requestObject").is_none(), "{event}");
        assert!(!event.to_string().contains("hush-hush"), "{event}");
    }
}

#[tokio::test]
async fn a_watch_is_told_when_it_begins_and_when_it_ends() {
    let (server, events) = start("rules: [{level: RequestResponse}]").await;
    let request = Request::get(format!("{ACCOUNTS}?watch=true")).body(Body::empty()).unwrap();

    let answer = server.as_user(User::admin()).oneshot(request).await.unwrap();

    let stages = |events: &[Value]| events.iter().map(|event| event["stage"].clone()).collect::<Vec<_>>();
    assert_eq!(stages(&events.take()), ["RequestReceived", "ResponseStarted"]);
    drop(answer);
    let event = events.one();
    assert_eq!(event["stage"], "ResponseComplete");
    assert_eq!(event["responseStatus"], json!({"metadata": {}, "code": 200}));
    assert_eq!(event["verb"], "watch");
}

#[tokio::test]
async fn a_list_is_told_once_it_has_been_read() {
    let (server, events) = start("omitStages: [RequestReceived], rules: [{level: Metadata}]").await;
    let request =
        Request::get("/apis/rbac.authorization.k8s.io/v1/clusterroles").body(Body::empty()).unwrap();

    let answer = server.as_user(User::admin()).oneshot(request).await.unwrap();
    answer.into_body().collect().await.unwrap();

    assert_eq!(events.one()["verb"], "list");
}

#[tokio::test]
async fn a_request_that_nobody_waits_for_is_told_too() {
    let (server, events) = start("omitStages: [RequestReceived], rules: [{level: Metadata}]").await;
    let never = http_body_util::StreamBody::new(futures::stream::pending::<
        Result<http_body::Frame<bytes::Bytes>, std::convert::Infallible>,
    >());
    let request = Request::post(MAPS).body(never).unwrap();

    assert!(server.as_user(User::admin()).oneshot(request).now_or_never().is_none());

    let event = events.one();
    assert_eq!(event["responseStatus"]["message"], "Connection closed early");
}

#[tokio::test]
async fn a_panic_is_told() {
    let (server, events) = start("rules: [{level: Metadata}]").await;

    let (code, _) = call(&server, "POST", MAPS, json!({"metadata": {"name": "panic"}})).await;

    assert_eq!(code, StatusCode::INTERNAL_SERVER_ERROR);
    let events = events.take();
    assert_eq!(events.len(), 2);
    assert_eq!(events[1]["stage"], "Panic");
    assert_eq!(events[1]["responseStatus"]["code"], 500);
}

#[tokio::test]
async fn who_is_not_known_is_told_of_too() {
    let (server, events) = start("rules: [{level: None, verbs: [list]}, {level: Metadata}]").await;
    let ask = async |path: &str, token: &str| {
        let request = Request::get(path).header("authorization", format!("Bearer {token}"));
        let request = request.header("user-agent", "test/1").body(Body::empty()).unwrap();
        assert_eq!(server.clone().oneshot(request).await.unwrap().status(), StatusCode::UNAUTHORIZED);
    };

    ask(&format!("{MAPS}/a"), "hush-hush").await;
    ask(MAPS, "hush-hush").await;

    let event = events.one();
    assert_eq!((&event["stage"], &event["user"]), (&json!("ResponseStarted"), &json!({})));
    assert_eq!((&event["verb"], &event["userAgent"]), (&json!("get"), &json!("test/1")));
    assert_eq!(event["responseStatus"]["code"], 401);
    assert_eq!(event["responseStatus"]["message"], "Authentication failed, attempted: bearer");
    assert_eq!(events.1.load(Ordering::Relaxed), 1, "it is told of as a stranger's");
    call(&server, "GET", &format!("{MAPS}/a"), Value::Null).await;
    assert_eq!((events.take().len(), events.1.load(Ordering::Relaxed)), (2, 1), "and another's is not");
    assert!(!event.to_string().contains("hush-hush"));
}

#[tokio::test]
async fn how_somebody_unknown_tried_is_told_and_with_what_is_not() {
    let (server, events) = start("omitStages: [RequestReceived], rules: [{level: Metadata}]").await;
    let protocols = "base64url.bearer.authorization.k8s.io.aHVzaC1odXNo, v4.channel.k8s.io";
    let tries = [
        (("accept", "*/*"), "no credentials provided"),
        (("authorization", "Basic aHVzaC1odXNo"), "attempted: basic"),
        (("sec-websocket-protocol", protocols), "no credentials provided"),
    ];
    for ((name, value), how) in tries {
        let request = Request::get(format!("{MAPS}/a?watch=1")).header(name, value);
        let request = request.header("connection", "upgrade").header("upgrade", "websocket");
        let request = request.body(Body::empty()).unwrap();

        assert_eq!(server.clone().oneshot(request).await.unwrap().status(), StatusCode::UNAUTHORIZED);

        let event = events.one();
        assert_eq!(event["responseStatus"]["message"], format!("Authentication failed, {how}"));
        assert!(!event.to_string().contains("aHVzaC1odXNo") && !event.to_string().contains("hush-hush"));
    }
}

#[tokio::test]
async fn who_is_not_known_does_not_say_how_long_events_are() {
    let (server, events) = start("omitStages: [RequestReceived], rules: [{level: Metadata}]").await;
    let long = "%01".repeat(3000);
    let paths = [
        format!("/api/v1/configmaps/{long}"),
        format!("/apis/{long}/v1/namespaces/{long}/{long}/{long}/{long}"),
        format!("/{long}"),
    ];
    for path in paths {
        let request = Request::builder().method("A".repeat(5000).as_str()).uri(path);
        let request = request.header("x-forwarded-for", "1::,".repeat(5000));
        let request = request.header("user-agent", "\"".repeat(5000)).body(Body::empty()).unwrap();

        assert_eq!(server.clone().oneshot(request).await.unwrap().status(), StatusCode::UNAUTHORIZED);

        let event = events.one().to_string();
        assert!(event.len() < 48 << 10, "{} bytes", event.len());
    }
}

#[tokio::test]
async fn of_what_no_rule_is_for_nothing_is_told() {
    let rules = "rules: [{level: None, nonResourceURLs: ['/version']}, {level: Metadata, verbs: [get]}]";
    let (server, events) = start(rules).await;

    call(&server, "GET", "/version", Value::Null).await;
    call(&server, "GET", MAPS, Value::Null).await;

    assert_eq!(events.take(), [] as [Value; 0]);
}

/// The log of this process, as text. What writes audit events is a thread of its own, so the log is everybody's.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Follows the errors from now on. All tests have one log.
    fn follow() -> Self {
        static LOG: OnceLock<Log> = OnceLock::new();
        let follow = || {
            let log = Self::default();
            let writer = log.clone();
            let errors = tracing_subscriber::fmt().with_max_level(tracing::Level::ERROR).with_ansi(false);
            errors.with_writer(move || writer.clone()).init();
            log
        };
        LOG.get_or_init(follow).clone()
    }

    /// Waits for a line that holds all these texts.
    async fn line(&self, texts: &[&str]) {
        let is_said = || self.text().lines().any(|line| texts.iter().all(|text| line.contains(text)));
        let said = async {
            while !is_said() {
                tokio::task::yield_now().await;
            }
        };
        let came = tokio::time::timeout(Duration::from_secs(30), said).await;
        assert!(came.is_ok(), "{texts:?} is not said: {}", self.text());
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_full_disk_stops_nobody() {
    let log = Log::follow();
    let policy = "{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: Metadata}]}";
    let file = Arc::new(AuditFile::open("/dev/full").unwrap());
    let audit = Audit::shared(Policy::from_yaml(policy).unwrap(), file.clone());
    let server = ApiServer::builder(MemoryStorage::new()).audit(audit).start().await.unwrap();

    for _ in 0..10 {
        assert_eq!(call(&server, "GET", MAPS, Value::Null).await.0, StatusCode::OK);
    }

    // The writer is a thread: what it does comes when it comes, but has to come.
    until(|| file.dropped() >= 20).await;
    log.line(&["ERROR", "audit events are lost: make room on the disk", "/dev/full", "No space left"]).await;
}

/// Waits for what the thread that writes comes to.
async fn until(is_so: impl Fn() -> bool) {
    let so = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(30), so).await.is_ok(), "it does not come to that");
}

/// Waits until a file holds this.
async fn written(path: &Path, text: &str) {
    until(|| std::fs::read_to_string(path).is_ok_and(|found| found == text)).await;
}

#[tokio::test]
async fn a_log_whose_directory_is_gone_counts_what_is_lost_and_goes_on_when_it_is_back() {
    let log = Log::follow();
    let directory = tempfile::tempdir().unwrap();
    let (below, path) = (directory.path().join("gone"), directory.path().join("gone/audit.log"));
    std::fs::create_dir(&below).unwrap();
    let file = AuditFileOptions::default().rotation(Rotation::at(1 << 20)).open(&path).unwrap();
    file.record(b"one".to_vec());
    written(&path, "one\n").await;

    std::fs::remove_dir_all(&below).unwrap();
    file.record(b"two".to_vec());

    until(|| file.dropped() == 1).await;
    assert_eq!(file.dropped_by_reason(), [("queue_full", 0), ("strangers", 0), ("write_failed", 1)]);
    let what = "audit events are lost: make the file's directory again";
    log.line(&["ERROR", what, "gone/audit.log", "No such file"]).await;
    std::fs::create_dir(&below).unwrap();
    file.record(b"three".to_vec());
    written(&path, "three\n").await;
}

#[tokio::test]
async fn a_log_that_grows_gives_way_to_another_and_no_event_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.log");
    let policy = "{apiVersion: audit.k8s.io/v1, kind: Policy, omitStages: [RequestReceived], rules: [{level: Metadata}]}";
    let rotation =
        Rotation::at(200 * 1024).clock(Clock::following_tokio("2026-01-02T03:04:05Z".parse().unwrap()));
    let file = AuditFileOptions::default().rotation(rotation).open(&path).unwrap();
    let audit = Audit::new(Policy::from_yaml(policy).unwrap(), file);
    let server = ApiServer::builder(MemoryStorage::new()).audit(audit).start().await.unwrap();

    for number in 0..1000 {
        call(&server, "GET", &format!("{MAPS}/n{number}"), Value::Null).await;
    }
    server.shutdown().await;
    drop(server);

    let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    let mut files: Vec<_> =
        std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    // The one without a time is the last.
    files.sort_by_key(|path| name(path).replace("audit.log", "audit-9"));
    assert!(files.len() > 2, "{files:?}");
    for old in &files[..files.len() - 1] {
        let name = name(old);
        assert_eq!(name.len(), "audit-2006-01-02T15-04-05.000.log".len(), "{name}");
        assert!(name.starts_with("audit-2026-01-02T03-04-") && name.ends_with(".log"), "{name}");
        assert!(std::fs::metadata(old).unwrap().len() <= 200 * 1024);
        assert_eq!(std::fs::metadata(old).unwrap().mode() & 0o777, 0o600);
    }
    let text: String = files.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let events = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let asked: Vec<_> = events.map(|event| event["objectRef"]["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(asked, (0..1000).map(|number| format!("n{number}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_file_that_is_copied_and_cut_is_written_from_its_beginning() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.log");
    let file = AuditFile::open(&path).unwrap();
    file.record(br#"{"one":1}"#.to_vec());
    written(&path, "{\"one\":1}\n").await;

    // What `copytruncate` of logrotate does.
    std::fs::copy(&path, directory.path().join("audit.log.1")).unwrap();
    std::fs::OpenOptions::new().write(true).truncate(true).open(&path).unwrap();
    file.record(br#"{"two":2}"#.to_vec());

    written(&path, "{\"two\":2}\n").await;
}

#[tokio::test]
async fn a_request_is_called_what_its_client_calls_it_if_that_is_short_and_can_be_seen() {
    let server = ApiServer::in_memory().await.unwrap();
    let longest = "x".repeat(64);
    for (given, is_taken) in [
        ("0f2e1c9a-5b0e-4b50-9d38-8f3f9e6d2a10".to_owned(), true),
        ("!~".to_owned(), true),
        (longest.clone(), true),
        (longest + "x", false),
        (String::new(), false),
        ("two words".to_owned(), false),
        ("a\ttab".to_owned(), false),
    ] {
        let answer = send(&server, "GET", MAPS, &[("audit-id", &given)], Value::Null).await;

        let called = answer.headers["audit-id"].to_str().unwrap();
        assert_eq!(called == given, is_taken, "{given:?} became {called:?}");
        // A fresh one is a UUID.
        assert!(is_taken || called.len() == 36, "{given:?} became {called:?}");
    }
}

#[tokio::test]
async fn a_body_of_more_values_than_the_server_takes_is_not_told() {
    let (server, events) = start("omitStages: [RequestReceived], rules: [{level: Request}]").await;
    let services = "/api/v1/namespaces/default/services";
    for body in [format!("[{}0]", "0,".repeat(500_000)), format!("[{}0]", "{\"\":0},".repeat(300_000))] {
        let request = Request::post(services).header("content-type", "application/json");
        let request = request.body(Body::full(body)).unwrap();

        let answer = server.as_user(User::admin()).oneshot(request).await.unwrap();

        assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
        drop(answer);
        let event = events.one();
        assert_eq!(event["requestObject"], Value::Null);
    }
}
