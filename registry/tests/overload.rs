//! Overload: who is served when more is asked than can be done, and what has to end in time.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures::{FutureExt as _, stream};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, StreamBody};
use quarterdeck_registry::admission::{Admission, Attributes};
use quarterdeck_registry::{ApiServer, Body, MemoryStorage, Status, User};
use serde_json::{Value, json};
use support::call;
use tokio::sync::watch;
use tower::ServiceExt as _;

const FLOWCONTROL: &str = "/apis/flowcontrol.apiserver.k8s.io/v1";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// Holds up writes of config maps until it is told to go on.
#[derive(Debug)]
struct Gate(watch::Receiver<bool>);

#[async_trait::async_trait]
impl Admission for Gate {
    async fn validate(&self, attributes: &Attributes<'_>, _object: Option<&Value>) -> Result<(), Status> {
        if attributes.resource.plural == "configmaps" {
            let mut open = self.0.clone();
            let _ = open.wait_for(|open| *open).await;
        }
        Ok(())
    }
}

/// Starts a server of few seats: with one in all, every level has one.
async fn start(seats: usize) -> (ApiServer, watch::Sender<bool>) {
    let (open, gate) = watch::channel(false);
    let builder = ApiServer::builder(MemoryStorage::new()).admission(Gate(gate));
    let builder = builder.max_requests_inflight(seats).max_mutating_requests_inflight(0);
    let server = builder.start().await.unwrap();
    let everything = json!({
        "metadata": {"name": "everybody"},
        "subjects": [{"kind": "Group", "name": "system:authenticated"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
    });
    let path = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    let (code, body) = call(&server, "POST", path, everything).await;
    assert_eq!(code, StatusCode::CREATED, "{body}");
    (server, open)
}

async fn ask(server: &ApiServer, user: &str, method: &str, path: &str, body: Value) -> Response<Body> {
    let user = match user.strip_prefix("system:node:") {
        Some(node) => User::node(node).group("system:authenticated"),
        None => User::new(user),
    };
    let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    let body = if body.is_null() { Body::empty() } else { Body::full(body.to_string()) };
    server.as_user(user).oneshot(request.body(body).unwrap()).await.unwrap()
}

async fn read(answer: Response<Body>) -> Value {
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&bytes).unwrap()
}

/// Lets tasks run until they all wait.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

/// Takes a seat for good, as somebody whose write takes long.
fn occupy(server: &ApiServer, user: &'static str, name: &str) -> tokio::task::JoinHandle<StatusCode> {
    let (server, map) = (server.clone(), json!({"metadata": {"name": name}}));
    tokio::spawn(async move { ask(&server, user, "POST", MAPS, map).await.status() })
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_too_long_for_a_seat_is_told_to_come_back() {
    let (server, open) = start(1).await;
    let first = occupy(&server, "ann", "a");
    settle().await;
    let begin = tokio::time::Instant::now();

    let answer = ask(&server, "bob", "GET", "/version?timeout=20s", Value::Null).await;

    // A quarter of its time.
    assert_eq!(begin.elapsed().as_secs(), 5);
    assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.headers()["retry-after"], "1");
    assert!(answer.headers().contains_key("x-kubernetes-pf-flowschema-uid"));
    let body = read(answer).await;
    assert_eq!(body["message"], "Too many requests, please try again later.");
    assert_eq!((&body["reason"], &body["code"]), (&json!("TooManyRequests"), &json!(429)));
    open.send_replace(true);
    assert_eq!(first.await.unwrap(), StatusCode::CREATED);
    assert_eq!(ask(&server, "bob", "GET", "/version", Value::Null).await.status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn leases_nodes_leader_election_administrators_and_health_go_on_while_somebody_floods() {
    let (server, _open) = start(1).await;
    let _flood: Vec<_> = (0..320).map(|number| occupy(&server, "ann", &format!("m{number}"))).collect();
    settle().await;
    let lease = json!({"metadata": {"name": "x"}, "spec": {"holderIdentity": "x"}});
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";
    for (user, method, path, body) in [
        ("system:node:n", "POST", "/api/v1/nodes", json!({"metadata": {"name": "n"}})),
        ("system:kube-scheduler", "POST", leases, lease),
        ("system:kube-controller-manager", "GET", "/api/v1/nodes", Value::Null),
        ("system:serviceaccount:kube-system:robot", "GET", "/api/v1/nodes", Value::Null),
        ("ann", "GET", "/livez", Value::Null),
    ] {
        let begin = tokio::time::Instant::now();
        let answer = ask(&server, user, method, path, body).await;
        assert!(answer.status().is_success(), "{user}: {:?}", read(answer).await);
        assert!(begin.elapsed().is_zero(), "{user} waited");
    }
    let (code, _) = call(&server, "GET", MAPS, Value::Null).await;
    assert_eq!(code, StatusCode::OK);
    // The flood itself is bounded: most of it was refused at once.
    let refused = ask(&server, "ann", "GET", MAPS, Value::Null).now_or_never();
    assert_eq!(refused.unwrap().status(), StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_request_frees_its_seat() {
    let (server, _open) = start(1).await;
    let first = occupy(&server, "ann", "a");
    settle().await;
    assert!(ask(&server, "bob", "GET", "/version", Value::Null).now_or_never().is_none());

    first.abort();
    settle().await;

    let answer = ask(&server, "bob", "GET", "/version", Value::Null).await;
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_watch_holds_its_seat_only_until_it_has_begun() {
    let (server, _open) = start(1).await;
    let path = format!("{MAPS}?watch=true");

    let watches = [ask(&server, "ann", "GET", &path, Value::Null).await];

    assert_eq!(watches[0].status(), StatusCode::OK);
    let other = ask(&server, "ann", "GET", &path, Value::Null).now_or_never().unwrap();
    assert_eq!(other.status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_is_not_read_gives_its_seat_back_in_time() {
    let (server, open) = start(1).await;
    open.send_replace(true);
    for number in 0..200 {
        let map = json!({"metadata": {"name": format!("m{number}")}, "data": {"x": "y".repeat(4000)}});
        assert_eq!(call(&server, "POST", MAPS, map).await.0, StatusCode::CREATED);
    }
    let slow = ask(&server, "ann", "GET", MAPS, Value::Null).await;
    assert!(ask(&server, "bob", "GET", "/version", Value::Null).now_or_never().is_none());

    tokio::time::sleep(Duration::from_secs(75)).await;

    let answer = ask(&server, "bob", "GET", "/version", Value::Null).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(read(slow).await["items"].as_array().unwrap().len(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_request_ends_within_its_time() {
    let (server, _open) = start(600).await;
    for (query, seconds) in [("", 60), ("?timeout=7s", 7)] {
        let begin = tokio::time::Instant::now();
        let map = json!({"metadata": {"name": "a"}});
        let answer = ask(&server, "ann", "POST", &format!("{MAPS}{query}"), map).await;
        assert_eq!((answer.status(), begin.elapsed().as_secs()), (StatusCode::GATEWAY_TIMEOUT, seconds));
        let body = read(answer).await;
        assert_eq!(body["reason"], "Timeout");
        assert_eq!(
            body["message"],
            "Timeout: request did not complete within requested timeout - context deadline exceeded"
        );
    }
    let answer = ask(&server, "ann", "GET", &format!("{MAPS}?timeout=soon"), Value::Null).await;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    let message = "invalid timeout specified in the request URL - time: invalid duration \"soon\"";
    assert_eq!(read(answer).await["message"], message);
}

#[tokio::test(start_paused = true)]
async fn a_body_without_end_ends_with_its_request() {
    let (server, _open) = start(600).await;
    for (path, seconds) in [(MAPS.to_owned(), 60), (format!("{MAPS}?watch=true"), 60)] {
        let begin = tokio::time::Instant::now();
        let drops = stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some((Ok::<_, Infallible>(http_body::Frame::data(Bytes::from_static(b" "))), ()))
        });
        let method = if path == MAPS { "POST" } else { "GET" };
        let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        let request = request.body(StreamBody::new(drops)).unwrap();

        let answer = server.as_user(User::admin()).oneshot(request).await.unwrap();

        assert_eq!(answer.status(), StatusCode::GATEWAY_TIMEOUT);
        assert_eq!(begin.elapsed().as_secs(), seconds);
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_body_holds_no_seat() {
    let (server, _open) = start(1).await;
    let never = StreamBody::new(stream::pending::<Result<http_body::Frame<Bytes>, Infallible>>());
    let request = Request::post(MAPS).header("content-type", "application/json").body(never).unwrap();
    let slow = tokio::spawn(server.as_user(User::new("ann")).oneshot(request));
    settle().await;

    let other = ask(&server, "bob", "GET", "/version", Value::Null).now_or_never();

    assert_eq!(other.expect("there is a seat").status(), StatusCode::OK);
    slow.abort();
}

#[tokio::test(start_paused = true)]
async fn bodies_of_one_user_find_no_room_beyond_its_share_and_those_of_others_do() {
    let (server, open) = start(600).await;
    open.send_replace(true);
    // Together almost a user's 64 MiB, and then nothing.
    let held: Vec<_> = (0..22)
        .map(|_| {
            let piece = Bytes::from(vec![b' '; 3_040_000]);
            let first = stream::iter([Ok::<_, Infallible>(http_body::Frame::data(piece))]);
            let body = StreamBody::new(futures::StreamExt::chain(first, stream::pending()));
            let request = Request::post(MAPS).header("content-type", "application/json").body(body);
            tokio::spawn(server.as_user(User::new("ann")).oneshot(request.unwrap()))
        })
        .collect();
    settle().await;

    let map = |name: &str| json!({"metadata": {"name": name}, "data": {"x": "y".repeat(500_000)}});
    let refused = ask(&server, "ann", "POST", MAPS, map("a")).await;
    let taken = ask(&server, "bob", "POST", MAPS, map("b")).await;

    assert_eq!((refused.status(), taken.status()), (StatusCode::TOO_MANY_REQUESTS, StatusCode::CREATED));
    assert_eq!(refused.headers()["retry-after"], "1");
    for held in held {
        held.abort();
        let _ = held.await;
    }
    assert_eq!(ask(&server, "ann", "POST", MAPS, map("c")).await.status(), StatusCode::CREATED);
}

#[tokio::test]
async fn levels_and_schemas_are_shown_as_they_are_and_cannot_be_changed() {
    let (server, _open) = start(600).await;
    let (_, levels) =
        call(&server, "GET", &format!("{FLOWCONTROL}/prioritylevelconfigurations"), Value::Null).await;
    let (_, schemas) = call(&server, "GET", &format!("{FLOWCONTROL}/flowschemas"), Value::Null).await;
    let (levels, schemas) = (levels["items"].as_array().unwrap(), schemas["items"].as_array().unwrap());
    assert_eq!((levels.len(), schemas.len()), (8, 13));
    let low = levels.iter().find(|level| level["metadata"]["name"] == "workload-low").unwrap();
    let queuing = json!({"queues": 128, "handSize": 6, "queueLengthLimit": 50});
    let limited = json!({
        "nominalConcurrencyShares": 100, "lendablePercent": 90,
        "limitResponse": {"type": "Queue", "queuing": queuing},
    });
    assert_eq!(low["spec"], json!({"type": "Limited", "limited": limited}));
    let probes = schemas.iter().find(|schema| schema["metadata"]["name"] == "probes").unwrap();
    assert_eq!(probes["spec"]["matchingPrecedence"], 2);
    assert_eq!(probes["status"]["conditions"][0]["reason"], "Found");
    assert_eq!(probes["metadata"]["generation"], 1);
    let path = format!("{FLOWCONTROL}/flowschemas/probes");
    assert_eq!(call(&server, "DELETE", &path, Value::Null).await.0, StatusCode::METHOD_NOT_ALLOWED);

    let answer = ask(&server, "ann", "GET", "/version", Value::Null).await;

    let uid = |objects: &[Value], name: &str| {
        let found = objects.iter().find(|object| object["metadata"]["name"] == name).unwrap();
        found["metadata"]["uid"].as_str().unwrap().to_owned()
    };
    let headers = answer.headers();
    assert_eq!(headers["x-kubernetes-pf-flowschema-uid"], uid(schemas, "global-default").as_str());
    assert_eq!(headers["x-kubernetes-pf-prioritylevel-uid"], uid(levels, "global-default").as_str());
}
