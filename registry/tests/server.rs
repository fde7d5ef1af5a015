//! The server as its clients see it, in process.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt};
use http_body_util::BodyExt;
use k8s_openapi::api::core::v1::{ConfigMap, Endpoints, Event, Namespace, Pod, Service, ServiceAccount};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use quarterdeck_core::clock::Clock;
use quarterdeck_core::storage::{
    Commits, Entry, Key, List, Page, Revision, Storage, StorageError, Transaction,
};
use quarterdeck_registry::tls::{ServiceAccountKey, ServiceAccountTokens};
use quarterdeck_registry::{ApiServer, Body, MemoryStorage, User};
use serde_json::json;
use tower::ServiceExt;

fn config_map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}, "data": {"k": "v"}})).unwrap()
}

#[tokio::test]
async fn an_object_is_made_read_changed_and_deleted() {
    let server = ApiServer::in_memory().await.unwrap();
    let maps: Api<ConfigMap> = Api::default_namespaced(server.client());

    let made = maps.create(&PostParams::default(), &config_map("a")).await.unwrap();
    let patch = json!({"data": {"k": "w"}});
    let changed = maps.patch("a", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    let stale = maps.replace("a", &PostParams::default(), &made).await.unwrap_err();
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    let gone = maps.get_opt("a").await.unwrap();

    assert_eq!(changed.data.unwrap()["k"], "w");
    assert!(matches!(stale, kube::Error::Api(status) if status.code == 409), "a stale update conflicts");
    assert!(gone.is_none());
    server.shutdown().await;
}

#[tokio::test]
async fn a_watch_from_a_list_shows_what_comes_after_it() {
    let server = ApiServer::in_memory().await.unwrap();
    let maps: Api<ConfigMap> = Api::default_namespaced(server.client());
    maps.create(&PostParams::default(), &config_map("before")).await.unwrap();
    let list = maps.list(&ListParams::default()).await.unwrap();
    let watch = maps.watch(&WatchParams::default(), &list.metadata.resource_version.unwrap()).await.unwrap();

    maps.create(&PostParams::default(), &config_map("after")).await.unwrap();
    maps.delete("after", &DeleteParams::default()).await.unwrap();
    let events: Vec<_> = watch.take(2).try_collect().await.unwrap();

    assert!(matches!(&events[0], WatchEvent::Added(map) if map.metadata.name.as_deref() == Some("after")));
    assert!(matches!(&events[1], WatchEvent::Deleted(map) if map.metadata.name.as_deref() == Some("after")));
}

#[tokio::test]
async fn a_cluster_has_its_namespaces_and_its_service_from_the_start() {
    let server = ApiServer::in_memory().await.unwrap();
    let namespaces: Api<Namespace> = Api::all(server.client());
    let services: Api<Service> = Api::default_namespaced(server.client());

    let names: Vec<_> = namespaces.list(&ListParams::default()).await.unwrap().items;
    let own = services.get("kubernetes").await.unwrap();

    assert_eq!(names.len(), 4);
    assert_eq!(own.spec.unwrap().cluster_ip.as_deref(), Some("10.254.0.1"));
}

#[tokio::test]
async fn a_pod_is_bound_once() {
    let server = ApiServer::in_memory().await.unwrap();
    let client = server.client();
    let accounts = Api::<k8s_openapi::api::core::v1::ServiceAccount>::default_namespaced(client.clone());
    let account = serde_json::from_value(json!({"metadata": {"name": "default"}})).unwrap();
    accounts.create(&PostParams::default(), &account).await.unwrap();
    let pods: Api<Pod> = Api::default_namespaced(client);
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let pod = serde_json::from_value(pod).unwrap();
    pods.create(&PostParams::default(), &pod).await.unwrap();
    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}});

    let bind = async || -> kube::Result<kube::core::Status> {
        pods.create_subresource("binding", "p", &PostParams::default(), &binding).await
    };
    let first = bind().await.unwrap();
    let second = bind().await.unwrap_err();
    let bound = pods.get("p").await.unwrap();

    assert!(first.is_success());
    assert!(matches!(second, kube::Error::Api(status) if status.code == 409), "a second binding conflicts");
    assert_eq!(bound.spec.unwrap().node_name.as_deref(), Some("n"));
    let conditions = bound.status.unwrap().conditions.unwrap();
    assert!(
        conditions.iter().any(|condition| condition.type_ == "PodScheduled" && condition.status == "True")
    );
}

#[tokio::test]
async fn a_namespace_goes_when_its_last_finalizer_is_removed_by_its_own_path() {
    let server = ApiServer::in_memory().await.unwrap();
    let namespaces: Api<Namespace> = Api::all(server.client());
    let namespace = serde_json::from_value(json!({"metadata": {"name": "x"}})).unwrap();
    namespaces.create(&PostParams::default(), &namespace).await.unwrap();
    let deleted = namespaces.delete("x", &DeleteParams::default()).await.unwrap().left().unwrap();
    let mut finalized = namespaces.get("x").await.unwrap();
    finalized.spec.as_mut().unwrap().finalizers = None;

    namespaces.replace_subresource("finalize", "x", &PostParams::default(), &finalized).await.unwrap();

    assert_eq!(deleted.status.unwrap().phase.as_deref(), Some("Terminating"));
    assert!(namespaces.get_opt("x").await.unwrap().is_none());
}

/// Binds `pod` to the node `a`, and returns the code of the answer.
async fn bind(pods: &Api<Pod>, pod: &str) -> u16 {
    let binding = json!({"metadata": {"name": pod}, "target": {"kind": "Node", "name": "a"}});
    let bound: kube::Result<serde_json::Value> =
        pods.create_subresource("binding", pod, &PostParams::default(), &binding).await;
    match bound {
        Ok(_) => 201,
        Err(kube::Error::Api(status)) => status.code,
        Err(other) => panic!("{other}"),
    }
}

fn pod_with_port(name: &str, host_ip: &str, port: u16) -> Pod {
    let ports = json!([{"containerPort": 80, "hostPort": port, "hostIP": host_ip}]);
    let spec = json!({"containers": [{"name": "c", "image": "i", "ports": ports}]});
    serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_pods_that_ask_for_one_port_of_a_node_only_one_is_bound_however_many_try() {
    let server = ApiServer::in_memory().await.unwrap();
    let pods: Api<Pod> = Api::default_namespaced(server.client());
    let accounts: Api<ServiceAccount> = Api::default_namespaced(server.client());
    let account = serde_json::from_value(json!({"metadata": {"name": "default"}})).unwrap();
    accounts.create(&PostParams::default(), &account).await.unwrap();
    let names: Vec<String> = (0..8).map(|index| format!("p{index}")).collect();
    for name in &names {
        // Half of them ask for all addresses, half for one.
        let address = if name.ends_with(['0', '2', '4', '6']) { "" } else { "10.0.0.1" };
        pods.create(&PostParams::default(), &pod_with_port(name, address, 8080)).await.unwrap();
    }

    let mut bindings = tokio::task::JoinSet::new();
    for name in names.clone() {
        let pods = pods.clone();
        bindings.spawn(async move { (bind(&pods, &name).await, name) });
    }
    let codes = bindings.join_all().await;
    let (bound, refused): (Vec<_>, Vec<_>) = codes.into_iter().partition(|(code, _)| *code == 201);

    assert_eq!(bound.len(), 1, "{bound:?}");
    assert!(refused.iter().all(|(code, _)| *code == 409), "{refused:?}");
    let over = json!({"status": {"phase": "Succeeded"}});
    pods.patch_status(&bound[0].1, &PatchParams::default(), &Patch::Merge(&over)).await.unwrap();
    assert_eq!(bind(&pods, &refused[0].1).await, 201, "the port of a pod that is over is free");
    pods.create(&PostParams::default(), &pod_with_port("other", "", 8081)).await.unwrap();
    assert_eq!(bind(&pods, "other").await, 201);
}

#[tokio::test(start_paused = true)]
async fn the_service_that_a_server_is_found_by_comes_back_when_it_is_deleted() {
    let server = ApiServer::builder(MemoryStorage::new()).advertise_address(([192, 0, 2, 1], 6443).into());
    let server = server.start().await.unwrap();
    let services: Api<Service> = Api::default_namespaced(server.client());
    let endpoints: Api<Endpoints> = Api::default_namespaced(server.client());
    let address = services.get("kubernetes").await.unwrap().spec.unwrap().cluster_ip;

    services.delete("kubernetes", &DeleteParams::default()).await.unwrap();
    endpoints.delete("kubernetes", &DeleteParams::default()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(11)).await;

    assert_eq!(services.get("kubernetes").await.unwrap().spec.unwrap().cluster_ip, address);
    let subsets = endpoints.get("kubernetes").await.unwrap().subsets.unwrap();
    assert_eq!(subsets[0].addresses.as_ref().unwrap()[0].ip, "192.0.2.1");
}

#[tokio::test(start_paused = true)]
async fn a_second_deletion_with_less_grace_counts_from_the_first_one() {
    let clock = Clock::following_tokio("2026-01-01T00:00:00Z".parse().unwrap());
    let server = ApiServer::builder(MemoryStorage::new()).clock(clock).start().await.unwrap();
    let accounts: Api<ServiceAccount> = Api::default_namespaced(server.client());
    let account = serde_json::from_value(json!({"metadata": {"name": "default"}})).unwrap();
    accounts.create(&PostParams::default(), &account).await.unwrap();
    let pods: Api<Pod> = Api::default_namespaced(server.client());
    pods.create(&PostParams::default(), &pod_with_port("p", "", 80)).await.unwrap();
    assert_eq!(bind(&pods, "p").await, 201);
    let delete = async |grace| {
        let options = DeleteParams { grace_period_seconds: Some(grace), ..DeleteParams::default() };
        let pod = pods.delete("p", &options).await.unwrap().left().unwrap();
        pod.metadata.deletion_timestamp.unwrap().0.to_string()
    };

    let first = delete(30).await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    let longer = delete(60).await;
    let shorter = delete(20).await;

    assert_eq!(first, "2026-01-01T00:00:30Z");
    assert_eq!(longer, first);
    assert_eq!(shorter, "2026-01-01T00:00:20Z");
}

#[tokio::test]
async fn a_watch_may_be_asked_for_longer_than_anybody_lives() {
    let server = ApiServer::in_memory().await.unwrap();
    let path = "/api/v1/configmaps?watch=1&timeoutSeconds=9223372036854775807";

    let request = http::Request::get(path).body(Body::empty()).unwrap();
    let answer = server.as_user(User::admin()).oneshot(request).await.unwrap();

    assert_eq!(answer.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_was_good_before_ends_with_its_time_and_with_its_account() {
    let clock = Clock::following_tokio("2026-01-01T00:00:00Z".parse().unwrap());
    let key = ServiceAccountKey::new().unwrap();
    let server = ApiServer::builder(MemoryStorage::new())
        .clock(clock.clone())
        .authenticator(ServiceAccountTokens::new(key.clone(), clock))
        .token_issuer(key);
    let server = server.start().await.unwrap();
    let accounts: Api<ServiceAccount> = Api::default_namespaced(server.client());
    let token = async |account: &str| {
        let made = json!({"metadata": {"name": account}});
        accounts.create(&PostParams::default(), &serde_json::from_value(made).unwrap()).await.unwrap();
        let asked = json!({"spec": {"audiences": [], "expirationSeconds": 600}, "metadata": {}});
        let request = serde_json::from_value(asked).unwrap();
        let made = accounts.create_token_request(account, &PostParams::default(), &request).await.unwrap();
        made.status.unwrap().token.unwrap()
    };
    // Nobody has bound a role to the account: who is known is forbidden, who is not is unauthorized.
    let ask = async |token: &str| {
        let request = http::Request::get("/api/v1/pods").header("authorization", format!("Bearer {token}"));
        server.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap().status().as_u16()
    };
    let (short, gone) = (token("short").await, token("gone").await);
    let before = [ask(&short).await, ask(&short).await, ask(&gone).await];

    accounts.delete("gone", &DeleteParams::default()).await.unwrap();
    // A read waits until the server has seen the deletion.
    assert!(accounts.get_opt("gone").await.unwrap().is_none());
    let without_account = ask(&gone).await;
    tokio::time::sleep(Duration::from_secs(601)).await;
    let too_late = ask(&short).await;

    assert_eq!((before, without_account, too_late), ([403, 403, 403], 401, 401));
}

#[tokio::test]
async fn a_watch_under_way_ends_when_its_server_is_shut_down_or_dropped() {
    for is_dropped in [false, true] {
        let server = ApiServer::in_memory().await.unwrap();
        let request = http::Request::get("/api/v1/configmaps?watch=1").body(Body::empty()).unwrap();
        let answer = server.as_user(User::admin()).oneshot(request).await.unwrap();
        let mut reading = std::pin::pin!(answer.into_body().collect());
        assert!(futures::poll!(reading.as_mut()).is_pending());

        if !is_dropped {
            server.shutdown().await;
        }
        drop(server);

        let read = tokio::time::timeout(Duration::from_secs(5), reading).await.expect("the watch ends");
        assert!(read.unwrap().to_bytes().is_empty());
    }
}

/// A store that can be told to fail.
#[derive(Debug, Clone, Default)]
struct Failing {
    store: MemoryStorage,
    fails: Arc<AtomicBool>,
    /// Wakes watches when it fails.
    failed: Arc<tokio::sync::Notify>,
}

impl Failing {
    fn fail(&self) {
        self.fails.store(true, Ordering::Relaxed);
        self.failed.notify_waiters();
    }

    fn check(&self) -> Result<(), StorageError> {
        if self.fails.load(Ordering::Relaxed) { Err(broken()) } else { Ok(()) }
    }
}

fn broken() -> StorageError {
    StorageError::Unavailable("the disk is gone".into())
}

#[async_trait]
impl Storage for Failing {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, StorageError> {
        self.check()?;
        self.store.get(key).await
    }

    async fn list(&self, list: List) -> Result<Page, StorageError> {
        self.check()?;
        self.store.list(list).await
    }

    async fn commit(&self, transaction: Transaction) -> Result<Revision, StorageError> {
        self.check()?;
        self.store.commit(transaction).await
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Commits, StorageError> {
        self.check()?;
        let failed = self.failed.clone();
        let cut = async move {
            failed.notified().await;
            Err(broken())
        };
        let commits = self.store.watch(prefix, after).await?;
        Ok(futures::stream::select(commits, futures::stream::once(cut)).boxed())
    }

    async fn compact(&self, before: Revision) -> Result<(), StorageError> {
        self.check()?;
        self.store.compact(before).await
    }

    async fn revision(&self) -> Result<Revision, StorageError> {
        self.check()?;
        self.store.revision().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_says_that_it_is_not_healthy_when_its_store_fails() {
    let storage = Failing::default();
    let server = ApiServer::builder(storage.clone()).start().await.unwrap();
    let ask = async |path: &str| {
        let request = http::Request::get(path).body(Body::empty()).unwrap();
        let answer = server.as_user(User::admin()).oneshot(request).await.unwrap();
        let code = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (code, String::from_utf8(body.to_vec()).unwrap())
    };
    assert_eq!(ask("/readyz").await, (200, "ok".into()));

    storage.fail();
    tokio::time::sleep(Duration::from_secs(1)).await;

    let all = "[+]ping ok\n[-]etcd failed: reason withheld\n[-]watch-cache failed: reason withheld\nreadyz check failed\n";
    assert_eq!(ask("/readyz").await, (500, all.into()));
    assert_eq!(ask("/livez/ping").await.0, 200);
    assert_eq!(ask("/healthz/etcd").await.0, 500);
    assert_eq!(ask("/readyz?exclude=etcd").await.0, 500, "the cache is not fed either");
}

#[tokio::test(start_paused = true)]
async fn events_go_an_hour_after_they_happened_last() {
    let clock = Clock::following_tokio("2026-01-01T00:00:00Z".parse().unwrap());
    let server = ApiServer::builder(MemoryStorage::new()).clock(clock).start().await.unwrap();
    let events: Api<Event> = Api::default_namespaced(server.client());
    let event = |name: &str, last: &str| {
        let involved = json!({"kind": "Pod", "namespace": "default", "name": "web"});
        let event = json!({"metadata": {"name": name}, "involvedObject": involved, "lastTimestamp": last});
        serde_json::from_value::<Event>(event).unwrap()
    };
    events.create(&PostParams::default(), &event("once", "2026-01-01T00:00:00Z")).await.unwrap();
    events.create(&PostParams::default(), &event("again", "2026-01-01T00:30:00Z")).await.unwrap();
    let names = async || {
        let list = events.list(&ListParams::default()).await.unwrap();
        list.items.into_iter().filter_map(|event| event.metadata.name).collect::<Vec<_>>()
    };

    tokio::time::sleep(Duration::from_secs(59 * 60)).await;
    let before = names().await;
    tokio::time::sleep(Duration::from_secs(3 * 60)).await;
    let after = names().await;
    tokio::time::sleep(Duration::from_secs(30 * 60)).await;

    assert_eq!(before, ["again", "once"]);
    assert_eq!(after, ["again"]);
    assert!(names().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn history_is_forgotten_after_five_minutes_and_before_ten() {
    let storage = MemoryStorage::new();
    let server = ApiServer::builder(storage.clone()).start().await.unwrap();
    let maps: Api<ConfigMap> = Api::default_namespaced(server.client());
    let map = serde_json::from_value(json!({"metadata": {"name": "a"}})).unwrap();
    maps.create(&PostParams::default(), &map).await.unwrap();
    let first = server.revision();
    let change = Patch::Merge(json!({"data": {"a": "b"}}));
    maps.patch("a", &PatchParams::default(), &change).await.unwrap();
    let is_kept = async || storage.watch("/registry/", first).await.is_ok();

    tokio::time::sleep(Duration::from_secs(301)).await;
    assert!(is_kept().await, "what is younger than a round stays");
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert!(!is_kept().await);

    let request = format!("/api/v1/configmaps?watch=1&resourceVersion={first}");
    let answer = server
        .as_user(User::admin())
        .oneshot(http::Request::get(request).body(Body::empty()).unwrap())
        .await
        .unwrap();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&body).contains("\"code\":410"));
}
