//! A server on a store that fails at times: calls that do nothing, answers that are lost, watches that are cut off.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use futures::StreamExt as _;
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use quarterdeck_core::random::Random;
use quarterdeck_core::storage::{Change, List, Revision, Storage, Transaction};
use quarterdeck_core::testing::storage::{FaultPlan, FaultyStorage};
use quarterdeck_registry::{ApiServer, Body, MemoryStorage, User};
use serde_json::{Value, json};
use support::call;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tower::ServiceExt as _;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const SERVICES: &str = "/api/v1/namespaces/default/services";
const STORED_MAPS: &str = "/registry/configmaps/default/";
const WRITERS: usize = 4;
const STEPS: usize = 60;
const WATCHERS: usize = 3;

type Faulty = FaultyStorage<MemoryStorage>;

async fn start(seed: u64) -> (Faulty, ApiServer) {
    let storage = FaultyStorage::new(MemoryStorage::new(), FaultPlan::calm(), seed);
    let server = ApiServer::builder(storage.clone()).random(Random::seeded(seed)).start().await.unwrap();
    storage.set_plan(FaultPlan::rough());
    (storage, server)
}

/// One who writes, and knows what may have come of it.
struct Writer {
    server: ApiServer,
    random: Random,
    name: String,
    /// The values that the map may have; none if it may be absent.
    possible: BTreeSet<Option<String>>,
    count: usize,
    refused: usize,
}

impl Writer {
    fn new(server: &ApiServer, seed: u64, number: usize) -> Self {
        let (random, name) = (Random::seeded(seed).fork(&number.to_string()), format!("map-{number}"));
        let possible = BTreeSet::from([None]);
        Self { server: server.clone(), random, name, possible, count: 0, refused: 0 }
    }

    async fn run(mut self) -> usize {
        for _ in 0..STEPS {
            match self.random.below(4) {
                0 => self.read().await,
                1 => self.delete().await,
                2 => self.create().await,
                _ => self.replace().await,
            }
        }
        self.refused
    }

    fn path(&self) -> String {
        format!("{MAPS}/{}", self.name)
    }

    /// Takes a value that is always written twice.
    fn value(&mut self) -> (String, Value) {
        self.count += 1;
        let value = self.count.to_string();
        let map = json!({"metadata": {"name": self.name}, "data": {"a": value, "b": value}});
        (value, map)
    }

    /// Notes what an answer says: that the map has this value now, or that it may have.
    fn answered(&mut self, code: StatusCode, now: Option<String>, body: &Value) -> bool {
        match code {
            StatusCode::OK | StatusCode::CREATED => self.possible = BTreeSet::from([now]),
            StatusCode::SERVICE_UNAVAILABLE => {
                self.possible.insert(now);
                self.refused += 1;
            }
            StatusCode::NOT_FOUND => {
                assert!(self.possible.contains(&None), "{} is there: {:?}", self.name, self.possible);
                self.possible = BTreeSet::from([None]);
            }
            StatusCode::CONFLICT => {
                self.possible.remove(&None);
                assert!(!self.possible.is_empty(), "{} is not there", self.name);
            }
            code => panic!("{code}: {body}"),
        }
        code.is_success()
    }

    async fn create(&mut self) {
        let (value, map) = self.value();
        let (code, body) = call(&self.server, "POST", MAPS, map).await;
        self.answered(code, Some(value), &body);
    }

    async fn replace(&mut self) {
        let (value, map) = self.value();
        let could = self.possible.clone();
        let (code, body) = call(&self.server, "PUT", &self.path(), map).await;
        let absent = could == BTreeSet::from([None]);
        assert!(!(absent && code == StatusCode::OK), "what is not there was replaced");
        self.answered(code, Some(value), &body);
    }

    async fn delete(&mut self) {
        let (code, body) = call(&self.server, "DELETE", &self.path(), Value::Null).await;
        self.answered(code, None, &body);
    }

    async fn read(&mut self) {
        let (code, body) = call(&self.server, "GET", &self.path(), Value::Null).await;
        match code {
            StatusCode::OK => {
                let found = body["data"]["a"].as_str().unwrap().to_owned();
                assert_eq!(body["data"]["b"], found, "half a write of {}", self.name);
                let known = self.possible.contains(&Some(found.clone()));
                assert!(known, "{} is {found}, and may be {:?}", self.name, self.possible);
                self.possible = BTreeSet::from([Some(found)]);
            }
            // A read of a store that failed changes nothing that is known.
            StatusCode::SERVICE_UNAVAILABLE => self.refused += 1,
            StatusCode::NOT_FOUND => drop(self.answered(code, None, &body)),
            code => panic!("{code}: {body}"),
        }
    }
}

/// An event in a few words: what, of which map, at which revision.
type Event = (String, String, u64);

/// Watches the maps and sends each event.
async fn watch(server: ApiServer, events: mpsc::UnboundedSender<Event>) {
    let path = format!("{MAPS}?watch=true&resourceVersion={}", server.revision());
    let answer = server.as_user(User::admin()).oneshot(Request::get(path).body(Body::empty()).unwrap());
    let mut body = answer.await.unwrap().into_body().into_data_stream();
    let mut rest = Vec::new();
    while let Some(Ok(bytes)) = body.next().await {
        rest.extend_from_slice(&bytes);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            let event: Value = serde_json::from_slice(&line).unwrap();
            let metadata = &event["object"]["metadata"];
            let revision = metadata["resourceVersion"].as_str().expect("an event of a map").parse().unwrap();
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            if events.send((text(&event["type"]), text(&metadata["name"]), revision)).is_err() {
                return;
            }
        }
    }
}

/// Returns the events that a store's own history makes.
async fn told(storage: &MemoryStorage, after: Revision) -> Vec<Event> {
    let end = storage.revision().await.unwrap();
    let mut commits = storage.watch("/registry/", after).await.unwrap();
    let mut events = Vec::new();
    while let Some(commit) = commits.next().await {
        let commit = commit.unwrap();
        for change in &commit.changes {
            let Some(name) = change.key().as_str().strip_prefix(STORED_MAPS) else { continue };
            let what = match change {
                Change::Put { previous: None, .. } => "ADDED",
                Change::Put { .. } => "MODIFIED",
                Change::Delete { .. } => "DELETED",
            };
            events.push((what.to_owned(), name.to_owned(), commit.revision.0));
        }
        if commit.revision >= end {
            break;
        }
    }
    events
}

#[tokio::test(start_paused = true)]
async fn writes_reads_and_watches_keep_their_promises_on_a_store_that_fails_at_times() {
    for seed in 0..4 {
        let (storage, server) = start(seed).await;
        let begin = server.revision();
        let mut watching = JoinSet::new();
        let mut seen = Vec::new();
        for _ in 0..WATCHERS {
            let (events, receiver) = mpsc::unbounded_channel();
            watching.spawn(watch(server.clone(), events));
            seen.push(receiver);
        }
        let mut writing = JoinSet::new();
        for number in 0..WRITERS {
            writing.spawn(Writer::new(&server, seed, number).run());
        }
        let refused: usize = writing.join_all().await.into_iter().sum();
        storage.set_plan(FaultPlan::calm());
        let (code, body) = call(&server, "POST", MAPS, json!({"metadata": {"name": "last"}})).await;
        assert_eq!(code, StatusCode::CREATED, "seed {seed}: it works again: {body}");

        assert!(refused > 10, "seed {seed}: only {refused} requests failed");
        let expected = told(storage.inner(), begin).await;
        for mut receiver in seen {
            for event in &expected {
                let next = tokio::time::timeout(Duration::from_secs(60), receiver.recv()).await;
                assert_eq!(next.unwrap().as_ref(), Some(event), "seed {seed}: the next event");
            }
            assert!(receiver.try_recv().is_err(), "seed {seed}: an event came twice");
        }
        let (_, list) = call(&server, "GET", MAPS, Value::Null).await;
        let stored = storage.inner().list(List::prefix(STORED_MAPS)).await.unwrap().entries;
        let shown: Vec<&str> = list["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|map| map["metadata"]["name"].as_str().unwrap())
            .collect();
        let there: Vec<&str> = stored.iter().map(|entry| &entry.key.as_str()[STORED_MAPS.len()..]).collect();
        assert_eq!(shown, there, "seed {seed}: what is shown is what is stored");
        server.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn service_whose_creation_was_answered_with_an_error_has_its_address_or_is_not_there() {
    let (storage, server) = start(9).await;
    let mut refused = 0;
    for number in 0..150 {
        let service =
            json!({"metadata": {"name": format!("service-{number}")}, "spec": {"ports": [{"port": 80}]}});
        let (code, body) = call(&server, "POST", SERVICES, service).await;
        match code {
            StatusCode::CREATED => {}
            StatusCode::SERVICE_UNAVAILABLE => refused += 1,
            code => panic!("{code}: {body}"),
        }
    }
    storage.set_plan(FaultPlan::calm());

    let (_, list) = call(&server, "GET", SERVICES, Value::Null).await;
    let addresses: Vec<&str> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["spec"]["clusterIP"].as_str().unwrap())
        .collect();
    let claimed = storage.inner().list(List::prefix("/registry/ranges/serviceips/")).await.unwrap().entries;
    let claimed: BTreeSet<&str> =
        claimed.iter().map(|entry| entry.key.as_str().rsplit('/').next().unwrap()).collect();
    assert!(refused > 10, "only {refused} were refused");
    assert_eq!(addresses.len(), claimed.len(), "an address is claimed by nobody");
    assert!(addresses.iter().all(|address| claimed.contains(address)), "{addresses:?}, {claimed:?}");
}

#[tokio::test(start_paused = true)]
async fn server_outlives_an_outage_of_its_store_and_its_watchers_miss_nothing() {
    let (storage, server) = start(5).await;
    storage.set_plan(FaultPlan::calm());
    let (events, mut seen) = mpsc::unbounded_channel();
    let _watching = tokio::spawn(watch(server.clone(), events));
    let map = |name: &str| json!({"metadata": {"name": name}});
    assert_eq!(call(&server, "POST", MAPS, map("before")).await.0, StatusCode::CREATED);
    assert_eq!(seen.recv().await.unwrap().1, "before");
    // What another server commits meanwhile.
    let stored = storage.inner().get(&format!("{STORED_MAPS}before").as_str().into()).await.unwrap().unwrap();
    let text = String::from_utf8(stored.value.to_vec()).unwrap().replace("before", "meanwhile");

    storage.set_plan(FaultPlan::calm().refuse(100).cut_watches(100));
    let meanwhile = Transaction::new().put(format!("{STORED_MAPS}meanwhile"), text);
    storage.inner().commit(meanwhile).await.unwrap();
    tokio::time::sleep(Duration::from_secs(30)).await;
    for (method, path, body) in [("POST", MAPS, map("refused")), ("GET", MAPS, Value::Null)] {
        let (code, body) = call(&server, method, path, body).await;
        assert_eq!(code, StatusCode::SERVICE_UNAVAILABLE, "{method}: {body}");
    }
    assert!(seen.try_recv().is_err(), "nothing is shown that was not read");
    let not_ready = call(&server, "GET", "/readyz?exclude=etcd", Value::Null).await.0;
    assert_eq!(not_ready, StatusCode::INTERNAL_SERVER_ERROR, "the cache is not fed");

    storage.set_plan(FaultPlan::calm());
    assert_eq!(call(&server, "POST", MAPS, map("after")).await.0, StatusCode::CREATED);
    for name in ["meanwhile", "after"] {
        let next = tokio::time::timeout(Duration::from_secs(60), seen.recv()).await;
        assert_eq!(next.unwrap().unwrap().1, name);
    }
    let (_, list) = call(&server, "GET", MAPS, Value::Null).await;
    assert_eq!(list["items"].as_array().unwrap().len(), 3, "{list}");
    assert_eq!(call(&server, "GET", "/readyz", Value::Null).await.0, StatusCode::OK);
    server.shutdown().await;
}
