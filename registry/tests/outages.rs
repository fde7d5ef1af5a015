//! What a server says when its store fails, is full, lags or is not the one that it was.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/log.rs"]
mod log;
mod support;

use std::future::ready;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use log::Log;
use quarterdeck_core::clock::Clock;
use quarterdeck_core::storage::{
    Commits, Entry, Key, List, Page, Revision, Storage, StorageError, Transaction,
};
use quarterdeck_core::testing::storage::{FaultPlan, FaultyStorage};
use quarterdeck_registry::layers::authentication::BootstrapTokens;
use quarterdeck_registry::tls::{ServiceAccountKey, ServiceAccountTokens};
use quarterdeck_registry::{ApiServer, Body, MemoryStorage, User};
use serde_json::{Value, json};
use support::{Answer, call, send};
use tokio::time::{Instant, timeout};
use tower::ServiceExt as _;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// A store in memory to which everything happens that may happen to a store. Clones are the same store.
#[derive(Debug, Clone, Default)]
struct Troubled(Arc<Trouble>);

#[derive(Debug, Default)]
struct Trouble {
    store: Mutex<MemoryStorage>,
    /// Whether watches show nothing any more, as those of a server that is behind.
    is_behind: AtomicBool,
    is_full: AtomicBool,
    has_failed: AtomicBool,
    /// How often something was listed, and how often an entry was read.
    lists: AtomicUsize,
    gets: AtomicUsize,
}

impl Troubled {
    /// A store that shares its entries with another one.
    fn over(store: &MemoryStorage) -> Self {
        let trouble = Trouble { store: Mutex::new(store.clone()), ..Trouble::default() };
        Self(Arc::new(trouble))
    }

    fn store(&self) -> MemoryStorage {
        self.0.store.lock().unwrap().clone()
    }

    /// Puts another store in the place of the present one.
    fn replace(&self, store: MemoryStorage) {
        *self.0.store.lock().unwrap() = store;
    }

    fn fall_behind(&self) {
        self.0.is_behind.store(true, Ordering::Relaxed);
    }

    fn lists(&self) -> usize {
        self.0.lists.load(Ordering::Relaxed)
    }

    fn gets(&self) -> usize {
        self.0.gets.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Storage for Troubled {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, StorageError> {
        self.0.gets.fetch_add(1, Ordering::Relaxed);
        self.store().get(key).await
    }

    async fn list(&self, list: List) -> Result<Page, StorageError> {
        self.0.lists.fetch_add(1, Ordering::Relaxed);
        self.store().list(list).await
    }

    async fn commit(&self, transaction: Transaction) -> Result<Revision, StorageError> {
        self.check()?;
        if self.0.is_full.load(Ordering::Relaxed) {
            return Err(StorageError::Full("no space left".into()));
        }
        self.store().commit(transaction).await
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Commits, StorageError> {
        let (trouble, commits) = (self.0.clone(), self.store().watch(prefix, after).await?);
        let shown = move |_: &_| ready(!trouble.is_behind.load(Ordering::Relaxed));
        Ok(commits.filter(shown).boxed())
    }

    async fn compact(&self, at: Revision) -> Result<(), StorageError> {
        self.store().compact(at).await
    }

    async fn revision(&self) -> Result<Revision, StorageError> {
        self.store().revision().await
    }

    fn check(&self) -> Result<(), StorageError> {
        match self.0.has_failed.load(Ordering::Relaxed) {
            true => Err(StorageError::Unavailable("the disk failed".into())),
            false => Ok(()),
        }
    }
}

async fn serve(storage: impl Storage) -> ApiServer {
    ApiServer::builder(storage).start().await.unwrap()
}

fn map(name: &str) -> Value {
    json!({"metadata": {"name": name}})
}

async fn create(server: &ApiServer, name: &str) -> u64 {
    let (code, made) = call(server, "POST", MAPS, map(name)).await;
    assert_eq!(code, StatusCode::CREATED, "{made}");
    made["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

/// Waits until the server's cache has come to a revision.
async fn has_seen(server: &ApiServer, revision: u64) {
    while server.revision().0 < revision {
        tokio::task::yield_now().await;
    }
}

async fn get(server: &ApiServer, path: &str) -> (StatusCode, Value) {
    call(server, "GET", path, Value::Null).await
}

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|one| one["metadata"]["name"].as_str().unwrap()).collect()
}

/// Starts a watch behind a revision.
async fn watch(server: &ApiServer, after: u64) -> Body {
    let request = Request::get(format!("{MAPS}?watch=true&resourceVersion={after}")).body(Body::empty());
    let answer = server.as_user(User::admin()).oneshot(request.unwrap()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    answer.into_body()
}

/// Returns the next event of a watch, if there is one.
async fn next(watch: &mut Body) -> Option<Value> {
    let frame = watch.frame().await?.unwrap();
    Some(serde_json::from_slice(frame.data_ref().unwrap()).unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_client_is_not_told_to_repeat_a_write_that_may_have_happened() {
    let storage = FaultyStorage::new(MemoryStorage::new(), FaultPlan::calm(), 1);
    let server = serve(storage.clone()).await;
    create(&server, "replaced").await;
    create(&server, "deleted").await;

    storage.set_plan(FaultPlan::calm().lose_answers(100));
    let mut answers = Vec::new();
    for (method, path, body) in [
        ("POST", MAPS.to_owned(), json!({"metadata": {"generateName": "new-"}})),
        ("PUT", format!("{MAPS}/replaced"), json!({"metadata": {"name": "replaced"}, "data": {"a": "1"}})),
        ("DELETE", format!("{MAPS}/deleted"), Value::Null),
    ] {
        answers.push(send(&server, method, &path, &[("content-type", "application/json")], body).await);
    }
    storage.set_plan(FaultPlan::calm().refuse(100));
    let read = send(&server, "GET", MAPS, &[], Value::Null).await;
    storage.set_plan(FaultPlan::calm());

    for Answer { code, headers, body } in answers {
        assert_eq!(
            (code, body["reason"].as_str()),
            (StatusCode::SERVICE_UNAVAILABLE, Some("ServiceUnavailable"))
        );
        assert!(!headers.contains_key("retry-after") && body["details"].is_null(), "{headers:?} {body}");
        assert_eq!(body["message"], "storage is unavailable: the write may have happened");
    }
    assert_eq!(
        (read.code, &read.headers["retry-after"]),
        (StatusCode::SERVICE_UNAVAILABLE, &"1".parse().unwrap())
    );
    let (_, list) = get(&server, MAPS).await;
    let [new, "replaced"] = names(&list)[..] else { panic!("{list}") };
    assert!(new.starts_with("new-"), "{list}");
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_begins_where_the_store_never_was_is_told_to_list_again() {
    let server = ApiServer::in_memory().await.unwrap();
    let now = create(&server, "a").await;
    let start = Instant::now();

    let mut ahead = watch(&server, now + 1000).await;
    let event = next(&mut ahead).await.unwrap();

    assert_eq!((&event["type"], &event["object"]["code"]), (&json!("ERROR"), &json!(410)), "{event}");
    assert_eq!(event["object"]["reason"], "Expired");
    assert_eq!(start.elapsed().as_secs(), 3);
    assert!(next(&mut ahead).await.is_none(), "the watch ends");
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_begins_behind_what_its_server_has_not_seen_yet_goes_on() {
    let store = MemoryStorage::new();
    let behind = Troubled::over(&store);
    let (ahead, server) = (serve(store).await, serve(behind.clone()).await);
    behind.fall_behind();
    let now = create(&ahead, "unseen").await;

    let mut watch = watch(&server, now).await;

    assert!(
        timeout(Duration::from_secs(600), next(&mut watch)).await.is_err(),
        "it shows nothing, and waits"
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_whose_store_was_rolled_back_does_not_answer_from_what_was_lost() {
    let storage = Troubled::default();
    let server = serve(storage.clone()).await;
    create(&server, "kept").await;
    let earlier = storage.store().fork();
    let seen = create(&server, "lost").await;
    has_seen(&server, seen).await;

    storage.replace(earlier);

    let refused = async |path: &str| {
        let (code, status) = get(&server, path).await;
        assert_eq!(code, StatusCode::SERVICE_UNAVAILABLE, "{path}: {status}");
        assert!(status["message"].as_str().unwrap().contains("rolled back"), "{status}");
    };
    refused(MAPS).await;
    refused(&format!("{MAPS}/lost")).await;
    refused(&format!("{MAPS}?resourceVersion={seen}")).await;
    let (code, _) = call(&server, "POST", MAPS, map("new")).await;
    assert_eq!(code, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(get(&server, "/readyz").await.0, StatusCode::INTERNAL_SERVER_ERROR);
    // Others write, until the store's revision is what this server knows.
    let next = serve(storage.clone()).await;
    while create_unnamed(&next).await < seen {}
    refused(MAPS).await;
    let (_, list) = get(&next, MAPS).await;
    assert!(!names(&list).contains(&"lost"), "a server that was started since shows what is there: {list}");
}

async fn create_unnamed(server: &ApiServer) -> u64 {
    let (_, made) = call(server, "POST", MAPS, json!({"metadata": {"generateName": "more-"}})).await;
    made["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_server_whose_watch_finds_its_store_rolled_back_is_not_ready_and_refuses() {
    let storage = Troubled::default();
    let faulty = FaultyStorage::new(storage.clone(), FaultPlan::calm(), 1);
    let server = serve(faulty.clone()).await;
    let earlier = storage.store().fork();
    let seen = create(&server, "lost").await;
    has_seen(&server, seen).await;

    // The first event ends the watch; the next one begins in the future.
    faulty.set_plan(FaultPlan::calm().cut_watches(100));
    create(&server, "last").await;
    storage.replace(earlier);
    tokio::time::sleep(Duration::from_secs(10)).await;
    faulty.set_plan(FaultPlan::calm());

    assert_eq!(get(&server, "/readyz?exclude=etcd").await.0, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(get(&server, MAPS).await.0, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test(start_paused = true)]
async fn a_server_is_not_healthy_once_its_store_takes_no_write_any_more() {
    let storage = Troubled::default();
    let server = serve(FaultyStorage::new(storage.clone(), FaultPlan::calm(), 1)).await;
    create(&server, "a").await;
    for path in ["/livez", "/readyz", "/healthz"] {
        assert_eq!(get(&server, path).await.0, StatusCode::OK, "{path}");
    }

    storage.0.has_failed.store(true, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(2)).await;

    for path in ["/livez", "/readyz", "/healthz"] {
        assert_eq!(get(&server, path).await.0, StatusCode::INTERNAL_SERVER_ERROR, "{path}");
    }
    assert_eq!(get(&server, MAPS).await.0, StatusCode::OK, "reads go on");
}

#[tokio::test(start_paused = true)]
async fn neither_a_refusal_nor_a_get_of_one_object_has_everything_listed() {
    let store = MemoryStorage::new();
    let behind = Troubled::over(&store);
    let (ahead, server) = (serve(store).await, serve(behind.clone()).await);
    behind.fall_behind();
    create(&ahead, "unseen").await;
    let listed = behind.lists();

    let stranger = server.as_user(User { name: "stranger".into(), ..User::default() });
    for path in
        [MAPS.to_owned(), format!("{MAPS}/unseen"), "/api/v1/namespaces/default/pods/a/log".to_owned()]
    {
        let request = Request::get(&path).body(Body::empty()).unwrap();
        let answer = stranger.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{path}");
    }
    let (code, found) = get(&server, &format!("{MAPS}/unseen")).await;
    assert_eq!((code, &found["metadata"]["name"]), (StatusCode::OK, &json!("unseen")));
    assert_eq!(get(&server, &format!("{MAPS}/nowhere")).await.0, StatusCode::NOT_FOUND);

    assert_eq!(behind.lists(), listed);
    let (_, list) = get(&server, MAPS).await;
    assert_eq!(names(&list).last(), Some(&"unseen"), "a list is of the store itself");
    assert!(behind.lists() > listed);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_one_server_gave_is_good_at_another_that_is_behind() {
    const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";
    let store = MemoryStorage::new();
    let behind = Troubled::over(&store);
    let key = ServiceAccountKey::new().unwrap();
    let clock = || Clock::following_tokio("2026-01-01T00:00:00Z".parse().unwrap());
    let start = async |storage: Arc<dyn Storage>| {
        let builder = ApiServer::builder_shared(storage).clock(clock()).token_issuer(key.clone());
        builder.authenticator(ServiceAccountTokens::new(key.clone(), clock())).start().await.unwrap()
    };
    let (ahead, server) = (start(Arc::new(store)).await, start(Arc::new(behind.clone())).await);
    behind.fall_behind();
    let made = call(&ahead, "POST", ACCOUNTS, map("robot")).await;
    assert_eq!(made.0, StatusCode::CREATED, "{}", made.1);
    let (_, made) = call(&ahead, "POST", &format!("{ACCOUNTS}/robot/token"), json!({"spec": {}})).await;
    let token = format!("Bearer {}", made["status"]["token"].as_str().unwrap());
    // Robots have no rights: who is known is forbidden.
    let ask = async || {
        let request = Request::get("/api/v1/pods").header("authorization", &token).body(Body::empty());
        server.clone().oneshot(request.unwrap()).await.unwrap().status()
    };

    assert_eq!(ask().await, StatusCode::FORBIDDEN);
    assert_eq!(call(&ahead, "DELETE", &format!("{ACCOUNTS}/robot"), Value::Null).await.0, StatusCode::OK);
    assert_eq!(ask().await, StatusCode::UNAUTHORIZED, "what is gone vouches for nobody");
}

#[tokio::test(start_paused = true)]
async fn a_bootstrap_token_is_good_at_a_server_that_is_behind_for_as_long_as_it_is_there() {
    const SECRETS: &str = "/api/v1/namespaces/kube-system/secrets";
    let store = MemoryStorage::new();
    let behind = Troubled::over(&store);
    let clock = || Clock::following_tokio("2026-01-01T00:00:00Z".parse().unwrap());
    let start = async |storage: Arc<dyn Storage>| {
        let builder = ApiServer::builder_shared(storage).clock(clock());
        builder.authenticator(BootstrapTokens::new(clock())).start().await.unwrap()
    };
    let (ahead, server) = (start(Arc::new(store)).await, start(Arc::new(behind.clone())).await);
    let make = async |id: &str| {
        let data = json!({
            "token-id": id, "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true",
        });
        let metadata = json!({"name": format!("bootstrap-token-{id}")});
        let secret =
            json!({"metadata": metadata, "type": "bootstrap.kubernetes.io/token", "stringData": data});
        let (code, made) = call(&ahead, "POST", SECRETS, secret).await;
        assert_eq!(code, StatusCode::CREATED, "{made}");
        made["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
    };
    // Who joins has no other rights: who is known is forbidden.
    let ask = async |id: &str| {
        let token = format!("Bearer {id}.0123456789abcdef");
        let request = Request::get("/api/v1/pods").header("authorization", token).body(Body::empty());
        server.clone().oneshot(request.unwrap()).await.unwrap().status()
    };
    has_seen(&server, make("before").await).await;
    behind.fall_behind();
    make("behind").await;

    assert_eq!(ask("before").await, StatusCode::FORBIDDEN);
    assert_eq!(ask("behind").await, StatusCode::FORBIDDEN, "it is there, whatever the cache has seen");
    for id in ["before", "behind"] {
        let path = format!("{SECRETS}/bootstrap-token-{id}");
        assert_eq!(call(&ahead, "DELETE", &path, Value::Null).await.0, StatusCode::OK);
        assert_eq!(ask(id).await, StatusCode::UNAUTHORIZED, "{id}: it is gone, whatever the cache has seen");
    }

    // Who makes tokens up does not keep the store busy, and keeps those out alone who are not in the cache.
    make("nearby").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = behind.gets();
    for number in 0..100 {
        assert_eq!(ask(&format!("wrong{}", number % 10)).await, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(behind.gets() - before, 10);
    assert_eq!(ask("nearby").await, StatusCode::UNAUTHORIZED);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(ask("nearby").await, StatusCode::FORBIDDEN);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_one_server_began_goes_on_at_another() {
    let store = MemoryStorage::new();
    let (one, other) = (serve(store.clone()).await, serve(store).await);
    for name in ["a", "b", "c"] {
        create(&one, name).await;
    }

    let (_, first) = get(&one, &format!("{MAPS}?limit=2")).await;
    create(&one, "d").await;
    let token = first["metadata"]["continue"].as_str().unwrap();
    let (code, rest) = get(&other, &format!("{MAPS}?limit=2&continue={token}")).await;

    assert_eq!(code, StatusCode::OK, "{rest}");
    let all: Vec<_> = names(&first).into_iter().chain(names(&rest)).collect();
    assert_eq!(all.iter().filter(|name| name.len() == 1).collect::<Vec<_>>(), [&"a", &"b", &"c"]);
    assert_eq!(rest["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
}

#[tokio::test(start_paused = true)]
async fn that_there_is_no_room_is_logged_once_a_second_and_not_for_each_write() {
    let log = Log::follow();
    let storage = Troubled::default();
    let server = serve(storage.clone()).await;

    storage.0.is_full.store(true, Ordering::Relaxed);
    for _ in 0..2 {
        for index in 0..10 {
            let (code, _) = call(&server, "POST", MAPS, map(&index.to_string())).await;
            assert_eq!(code, StatusCode::INSUFFICIENT_STORAGE);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }

    let errors: Vec<_> =
        log.lines_with("storage is full").into_iter().filter(|line| line.contains("ERROR")).collect();
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(errors[1].contains("left_out=9"), "{errors:?}");
}
