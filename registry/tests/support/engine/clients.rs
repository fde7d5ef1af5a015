//! Clients of a server whose store fails at times: calls that do nothing, answers that are lost, watches that are cut off.

use std::collections::BTreeSet;
use std::time::Duration;

use http::StatusCode;
use quarterdeck_core::random::Random;
use quarterdeck_core::storage::{Change, List, Revision, Storage, Transaction};
use quarterdeck_core::testing::storage::{FaultPlan, FaultyStorage};
use quarterdeck_registry::ApiServer;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::call;
use crate::support::watch::Watch;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const SERVICES: &str = "/api/v1/namespaces/default/services";
const STORED_MAPS: &str = "/registry/configmaps/default/";
const WRITERS: usize = 4;
const STEPS: usize = 60;
const WATCHERS: usize = 3;
/// How many runs there are, each with other faults.
const RUNS: u64 = 4;

async fn start<S: Storage + Clone>(store: S, seed: u64) -> (FaultyStorage<S>, ApiServer) {
    let storage = FaultyStorage::new(store, FaultPlan::calm(), seed);
    let server = ApiServer::builder(storage.clone()).random(Random::seeded(seed)).start().await.unwrap();
    storage.set_plan(FaultPlan::rough());
    (storage, server)
}

/// Waits for what has to happen soon.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("it happens soon")
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

fn event(event: &Value) -> Event {
    let text = |value: &Value| value.as_str().expect("an event of a map").to_owned();
    let metadata = &event["object"]["metadata"];
    let revision = text(&metadata["resourceVersion"]).parse().unwrap();
    (text(&event["type"]), text(&metadata["name"]), revision)
}

/// Reads so many events of a watch.
async fn follow(mut watch: Watch, mut last: tokio::sync::watch::Receiver<u64>) -> Vec<Event> {
    let mut events = Vec::new();
    loop {
        let end = *last.borrow_and_update();
        if end > 0 && events.last().is_some_and(|(_, _, revision)| *revision >= end) {
            return events;
        }
        tokio::select! {
            biased;
            _ = last.changed() => {}
            next = watch.next() => events.push(event(&next.expect("a watch goes on"))),
        }
    }
}

/// Returns the events that a store's own history makes.
async fn told(storage: &impl Storage, after: Revision) -> Vec<Event> {
    let end = storage.revision().await.unwrap();
    let mut commits = storage.watch("/registry/", after).await.unwrap();
    let mut events = Vec::new();
    while let Some(commit) = soon(futures::StreamExt::next(&mut commits)).await {
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

/// Writers and watchers are told what is true, or that the store fails.
pub(crate) async fn clients_keep_their_promises<S: Storage + Clone>(make: impl AsyncFn() -> S) {
    for seed in 0..RUNS {
        let (storage, server) = start(make().await, seed).await;
        let begin = server.revision();
        let (last, ended) = tokio::sync::watch::channel(0);
        let mut watching = JoinSet::new();
        for _ in 0..WATCHERS {
            let watch = Watch::start(&server, MAPS, begin.0).await;
            watching.spawn(follow(watch, ended.clone()));
        }
        let mut writing = JoinSet::new();
        for number in 0..WRITERS {
            writing.spawn(Writer::new(&server, seed, number).run());
        }
        let refused: usize = writing.join_all().await.into_iter().sum();
        storage.set_plan(FaultPlan::calm());
        let (code, body) = call(&server, "POST", MAPS, json!({"metadata": {"name": "last"}})).await;
        assert_eq!(code, StatusCode::CREATED, "seed {seed}: it works again: {body}");
        last.send_replace(body["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap());

        assert!(refused > 10, "seed {seed}: only {refused} requests failed");
        let expected = told(storage.inner(), begin).await;
        for seen in soon(watching.join_all()).await {
            assert_eq!(seen, expected, "seed {seed}: each event once, in order");
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

/// A service whose creation was answered with an error has its address, or is not there.
pub(crate) async fn addresses_outlive_faults<S: Storage + Clone>(store: S) {
    let (storage, server) = start(store, 9).await;
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

/// A server says that its store is gone, and goes on when it is back; its watchers miss nothing.
pub(crate) async fn outage_is_outlived<S: Storage + Clone>(store: S) {
    let (storage, server) = start(store, 5).await;
    storage.set_plan(FaultPlan::calm());
    let mut watch = Watch::start(&server, MAPS, server.revision().0).await;
    let mut next = async || event(&soon(watch.next()).await.expect("a watch goes on")).1;
    let map = |name: &str| json!({"metadata": {"name": name}});
    assert_eq!(call(&server, "POST", MAPS, map("before")).await.0, StatusCode::CREATED);
    assert_eq!(next().await, "before");
    // What another server commits meanwhile.
    let stored = storage.inner().get(&format!("{STORED_MAPS}before").as_str().into()).await.unwrap().unwrap();
    let text = String::from_utf8(stored.value.to_vec()).unwrap().replace("before", "meanwhile");

    storage.set_plan(FaultPlan::calm().refuse(100).cut_watches(100));
    let meanwhile = Transaction::new().put(format!("{STORED_MAPS}meanwhile"), text);
    storage.inner().commit(meanwhile).await.unwrap();
    let is_fed = async || call(&server, "GET", "/readyz?exclude=etcd", Value::Null).await.0 == StatusCode::OK;
    let unfed = async {
        while is_fed().await {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    soon(unfed).await;
    for (method, path, body) in [("POST", MAPS, map("refused")), ("GET", MAPS, Value::Null)] {
        let (code, body) = call(&server, method, path, body).await;
        assert_eq!(code, StatusCode::SERVICE_UNAVAILABLE, "{method}: {body}");
    }

    storage.set_plan(FaultPlan::calm());
    assert_eq!(call(&server, "POST", MAPS, map("after")).await.0, StatusCode::CREATED);
    for name in ["meanwhile", "after"] {
        assert_eq!(next().await, name);
    }
    let (_, list) = call(&server, "GET", MAPS, Value::Null).await;
    assert_eq!(list["items"].as_array().unwrap().len(), 3, "{list}");
    assert_eq!(call(&server, "GET", "/readyz", Value::Null).await.0, StatusCode::OK);
    server.shutdown().await;
}
