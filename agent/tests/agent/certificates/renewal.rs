//! The certificate that follows another, and the connections that follow it.

use std::convert::Infallible;
use std::fs;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::StreamExt as _;
use http::{Request, Response};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Service;
use kube::Client;
use kube::api::{Api, PostParams};
use kube::client::Body;
use kube::runtime::{WatchStreamExt as _, watcher};
use quarterdeck_agent::certificates::{Credential, Join, Joined};
use quarterdeck_core::metrics::Metrics;
use serde_json::json;
use tempfile::{TempDir, tempdir};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::cluster::{Cluster, Shown, TOKEN, until, who};
use crate::SECOND;

/// How long a certificate is good that is asked for 10 minutes: it begins 5 minutes early.
const LIFE: SignedDuration = SignedDuration::from_mins(15);

/// A node with a certificate that is good for ten minutes.
async fn joined(cluster: &Cluster, shown: &Shown) -> (Joined, TempDir) {
    let place = tempdir().unwrap();
    let join = cluster.join("node-1", place.path(), shown).lifetime(600 * SECOND);
    (join.bootstrap(cluster.with_token(TOKEN)).run().await.unwrap(), place)
}

/// Waits until a certificate is shown that is not among the first `number`, and returns the one before it and when that was.
async fn until_replaced(cluster: &Cluster, shown: &Shown, number: usize) -> (Credential, Timestamp) {
    until("a new certificate", async || (shown.all().len() > number).then_some(())).await;
    (shown.all()[number - 1].clone(), cluster.clock.now())
}

#[tokio::test(start_paused = true)]
async fn a_certificate_is_renewed_when_seven_to_nine_tenths_of_its_life_are_over() {
    let (mut cluster, shown) = (Cluster::start().await, Shown::default());
    cluster.welcome().await;
    let (node, place) = joined(&cluster, &shown).await;
    cluster.run(node.rotation);

    let mut shares = Vec::new();
    for number in 1..=6 {
        let (old, at) = until_replaced(&cluster, &shown, number).await;
        assert_eq!(old.not_after().duration_since(old.not_before()), LIFE);
        shares.push(at.duration_since(old.not_before()).as_secs_f64() / LIFE.as_secs_f64());
        assert_eq!(who(&node.client).await.unwrap().0, "system:node:node-1");
    }

    assert!(shares.iter().all(|share| (0.69..0.92).contains(share)), "{shares:?}");
    assert!(shares.iter().any(|share| (share - shares[0]).abs() > 0.01), "chance spreads them: {shares:?}");
    let asked = cluster.asked().await;
    assert_eq!(asked.len(), 7);
    let own = asked.iter().filter(|request| request.spec.username.as_deref() == Some("system:node:node-1"));
    assert_eq!(own.count(), 6, "all but the first are asked for as the node");
    let kept = fs::read_to_string(place.path().join("kubelet-client-current.pem")).unwrap();
    assert!(kept.starts_with(shown.all()[6].certificate().trim_end()), "the last one is kept");
    assert_eq!(
        fs::read_dir(place.path()).unwrap().count(),
        3,
        "the link, what it leads to, and the one before"
    );
}

#[tokio::test(start_paused = true)]
async fn a_watch_goes_on_over_renewals_without_a_gap_and_without_an_error() {
    let (mut cluster, shown) = (Cluster::start().await, Shown::default());
    cluster.welcome().await;
    let (node, _place) = joined(&cluster, &shown).await;
    let services: Api<Service> = Api::all(node.client.clone());
    cluster.run(node.rotation);
    let seen: Arc<Mutex<Vec<(String, Instant)>>> = Arc::default();
    let (own, told) = (seen.clone(), Arc::new(Mutex::new(Vec::new())));
    let errors = told.clone();
    let mut watching = JoinSet::new();
    watching.spawn(async move {
        let mut changes = watcher(services, watcher::Config::default()).applied_objects().boxed();
        while let Some(change) = changes.next().await {
            match change {
                Ok(service) => own.lock().unwrap().push((service.metadata.name.unwrap(), Instant::now())),
                Err(error) => errors.lock().unwrap().push(error.to_string()),
            }
        }
    });

    let all: Api<Service> = Api::default_namespaced(cluster.server.client());
    let mut made = Vec::new();
    while shown.all().len() < 4 {
        let name = format!("service-{}", made.len());
        let spec = json!({"clusterIP": "None", "ports": [{"port": 80}]});
        let service = serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap();
        all.create(&PostParams::default(), &service).await.unwrap();
        made.push((name, Instant::now()));
        tokio::time::sleep(7 * SECOND).await;
    }

    let seen = seen.lock().unwrap();
    let names = |list: &[(String, Instant)]| list.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&seen), [vec!["kubernetes".into()], names(&made)].concat(), "each once, in order");
    let late = seen[1..].iter().zip(&made).map(|((_, seen), (_, made))| seen.duration_since(*made)).max();
    assert!(late < Some(2 * SECOND), "a reconnect is all that it takes: {late:?}");
    assert_eq!(*told.lock().unwrap(), Vec::<String>::new());
}

/// A server whose every answer goes on for ever.
fn endless(_: Request<Body>) -> Result<Response<UnendingBody>, Infallible> {
    let line = || Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"on and on, ")));
    let lines = futures::stream::unfold((), move |()| async move {
        tokio::time::sleep(SECOND).await;
        Some((line(), ()))
    });
    Ok(Response::new(StreamBody::new(lines.boxed())))
}

type UnendingBody = StreamBody<futures::stream::BoxStream<'static, Result<Frame<Bytes>, Infallible>>>;

#[tokio::test(start_paused = true)]
async fn what_is_under_way_has_a_minute_and_is_cut_off_before_the_old_certificate_ends() {
    let (mut cluster, shown) = (Cluster::start().await, Shown::default());
    cluster.welcome().await;
    let place = tempdir().unwrap();
    let ask = cluster.connector(&shown);
    let connect = move |credential: &Credential| {
        let real = ask(credential)?;
        let service = tower::service_fn(move |request: Request<Body>| {
            let real = real.clone();
            async move {
                match request.uri().path() {
                    "/endless" => {
                        let answer = endless(request).unwrap_or_else(|never| match never {});
                        Ok(answer.map(|body| body.map_err(|never| match never {}).boxed_unsync()))
                    }
                    _ => Ok(real.send(request).await?.map(|body| body.boxed_unsync())),
                }
            }
        });
        Ok(Client::new(tower::util::MapErr::new(service, |error: kube::Error| error), "default"))
    };
    let join = Join::new("node-1", place.path(), connect).clock(cluster.clock.clone());
    let join = join.lifetime(600 * SECOND).bootstrap(cluster.with_token(TOKEN));
    let node = join.run().await.unwrap();
    let ask = |path: &str| node.client.send(Request::get(path).body(Body::empty()).unwrap());
    let (watch, other) = (
        ask("/api/v1/services?watch=true&timeoutSeconds=3600").await.unwrap(),
        ask("/endless").await.unwrap(),
    );
    cluster.run(node.rotation);

    let ended = watch.into_body().collect().await;
    assert!(ended.is_ok(), "a watch ends as if the server had ended it: {ended:?}");
    let switched = cluster.clock.now();
    assert_eq!(shown.all().len(), 2);
    let cut = other.into_body().collect().await.unwrap_err();
    assert!(format!("{cut:?}").contains("was replaced"), "{cut:?}");
    let after = cluster.clock.now().duration_since(switched);
    assert!(after <= SignedDuration::from_secs(61), "{after:?}");
    assert!(cluster.clock.now() <= shown.all()[0].not_after());
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_read_to_its_end_although_its_client_is_gone() {
    let (cluster, shown) = (Cluster::start().await, Shown::default());
    cluster.welcome().await;
    let (node, _place) = joined(&cluster, &shown).await;
    let request = Request::get("/api/v1/services").body(Body::empty()).unwrap();
    let answer = node.client.send(request).await.unwrap();

    drop(node);
    tokio::time::sleep(SECOND).await;

    let list = answer.into_body().collect_bytes().await.unwrap();
    assert!(list.ends_with(b"}") || list.ends_with(b"}\n"), "{list:?}");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_nobody_knows_any_more_joins_again_as_at_first() {
    let (mut cluster, shown) = (Cluster::start().await, Shown::default());
    cluster.welcome_once().await;
    let (node, _place) = joined(&cluster, &shown).await;
    cluster.run(node.rotation);

    let (old, at) = until_replaced(&cluster, &shown, 1).await;

    assert!(at >= old.not_after(), "as the node itself it got none: {at}");
    assert_eq!(who(&node.client).await.unwrap().0, "system:node:node-1");
    let asked = cluster.asked().await;
    let by = |name: &str| asked.iter().filter(|it| it.spec.username.as_deref() == Some(name)).count();
    assert_eq!((by("system:node:node-1"), by("system:bootstrap:abcdef")), (1, 2), "{asked:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_is_denied_is_asked_for_again_once_the_request_is_gone() {
    let (mut cluster, shown) = (Cluster::start().await, Shown::default());
    cluster.welcome_once().await;
    let (place, metrics) = (tempdir().unwrap(), Metrics::new());
    let told = |name: &str| {
        let text = metrics.answer(None).text;
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok()).unwrap()
    };
    let (left, errors) = (
        || told("kubelet_certificate_manager_client_ttl_seconds"),
        || told("kubelet_certificate_manager_client_expiration_renew_errors"),
    );
    let join = cluster.join("node-1", place.path(), &shown).lifetime(3600 * SECOND).metrics(&metrics);
    let node = join.bootstrap(cluster.with_token(TOKEN)).run().await.unwrap();
    tokio::time::sleep(1800 * SECOND).await;
    assert!((1700.0..=1800.0).contains(&left()), "{}", left());
    assert!(errors() < 1.0);
    cluster.run(node.rotation);
    let signer = "kubernetes.io/kube-apiserver-client-kubelet";
    let name = cluster.until_asked(signer).await.metadata.name.unwrap();

    cluster.decide(&name, "Denied").await;
    tokio::time::sleep(120 * SECOND).await;
    assert_eq!(cluster.asked().await.len(), 2, "a denial is not answered with another request");
    assert!((1.0..2.0).contains(&errors()), "{}", errors());
    cluster.requests().delete(&name, &kube::api::DeleteParams::default()).await.unwrap();
    let again = cluster.until_asked(signer).await.metadata.name.unwrap();
    cluster.decide(&again, "Approved").await;

    until_replaced(&cluster, &shown, 1).await;
    assert_eq!(who(&node.client).await.unwrap().0, "system:node:node-1");
    until("the new certificate to be told of", async || (left() > 3400.0).then_some(())).await;
}
