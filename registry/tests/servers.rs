//! Several servers over one store: what each does unasked, and what the others make of it.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt as _;
use http::StatusCode;
use quarterdeck_core::clock::Clock;
use quarterdeck_core::storage::{Change, Revision, Storage};
use quarterdeck_core::testing::storage::{FaultPlan, FaultyStorage};
use quarterdeck_registry::{ApiServer, ApiServerBuilder, MemoryStorage};
use serde_json::{Value, json};
use support::watch::Watch;
use support::{call, create, get, revision};
use tokio::time::sleep;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const EVENTS: &str = "/api/v1/namespaces/default/events";
const ENDPOINTS: &str = "/api/v1/namespaces/default/endpoints/kubernetes";
const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices?labelSelector=kubernetes.io/service-name%3Dkubernetes";
const MINUTE: Duration = Duration::from_secs(60);

fn builder(storage: impl Storage) -> ApiServerBuilder {
    let clock = Clock::following_tokio("2026-01-01T00:00:00Z".parse().unwrap());
    ApiServer::builder(storage).clock(clock)
}

async fn at(storage: &MemoryStorage, address: &str) -> ApiServer {
    builder(storage.clone()).advertise_address(address.parse().unwrap()).start().await.unwrap()
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// Returns the name of the object that an event is about.
fn name(event: &Value) -> &str {
    event["object"]["metadata"]["name"].as_str().unwrap_or_else(|| panic!("{event}"))
}

/// Returns the servers that the endpoints of the service `kubernetes` name, and in how many slices.
async fn named(server: &ApiServer) -> (BTreeSet<SocketAddr>, usize) {
    let socket = |ip: &Value, port: &Value| {
        let (ip, port) = (ip.as_str().unwrap().parse().unwrap(), port["port"].as_u64().unwrap());
        SocketAddr::new(ip, port.try_into().unwrap())
    };
    let endpoints = get(server, ENDPOINTS).await;
    let mut by_endpoints = BTreeSet::new();
    for subset in items(&endpoints["subsets"]) {
        for address in items(&subset["addresses"]) {
            by_endpoints.extend(items(&subset["ports"]).map(|port| socket(&address["ip"], port)));
        }
    }
    let slices = get(server, SLICES).await;
    let mut by_slices = BTreeSet::new();
    for slice in items(&slices["items"]) {
        for endpoint in items(&slice["endpoints"]) {
            let ip = &endpoint["addresses"][0];
            by_slices.extend(items(&slice["ports"]).map(|port| socket(ip, port)));
        }
    }
    assert_eq!(by_slices, by_endpoints, "Endpoints and EndpointSlices say the same");
    (by_endpoints, items(&slices["items"]).count())
}

fn servers(addresses: &[&str]) -> BTreeSet<SocketAddr> {
    addresses.iter().map(|address| address.parse().unwrap()).collect()
}

const ONE: &str = "192.0.2.1:6443";
const TWO: &str = "192.0.2.2:6443";

#[tokio::test(start_paused = true)]
async fn endpoints_name_all_servers_that_live_and_soon_no_other() {
    let storage = MemoryStorage::new();
    let (one, two) = (at(&storage, ONE).await, at(&storage, TWO).await);
    assert_eq!(named(&one).await, (servers(&[ONE, TWO]), 1));
    sleep(10 * MINUTE).await;
    assert_eq!(named(&two).await, (servers(&[ONE, TWO]), 1), "who lives stays");

    // As `kill -9` does, it says nothing.
    drop(two);
    sleep(Duration::from_secs(9)).await;
    assert_eq!(named(&one).await.0, servers(&[ONE, TWO]), "who is late may come");
    sleep(Duration::from_secs(16)).await;
    assert_eq!(named(&one).await, (servers(&[ONE]), 1));

    let two = at(&storage, TWO).await;
    assert_eq!(named(&one).await.0, servers(&[ONE, TWO]), "it is back");
    one.shutdown().await;
    assert_eq!(named(&two).await.0, servers(&[TWO]), "who stops says so");
    two.shutdown().await;
    let last = builder(storage.clone()).start().await.unwrap();
    assert_eq!(named(&last).await.0, servers(&[TWO]), "the last one stays");
}

#[tokio::test(start_paused = true)]
async fn servers_of_several_ports_and_families_have_a_slice_for_each() {
    let storage = MemoryStorage::new();
    let sixth = at(&storage, "[2001:db8::1]:6443").await;
    assert_eq!(named(&sixth).await, (servers(&["[2001:db8::1]:6443"]), 1));
    let one = at(&storage, ONE).await;
    let beside = at(&storage, "192.0.2.1:6444").await;
    sleep(Duration::from_secs(11)).await;

    let all = servers(&[ONE, "192.0.2.1:6444", "[2001:db8::1]:6443"]);
    assert_eq!(named(&one).await, (all, 3));

    sixth.shutdown().await;
    beside.shutdown().await;
    sleep(Duration::from_secs(6)).await;
    assert_eq!(named(&one).await, (servers(&[ONE]), 1));
}

#[tokio::test(start_paused = true)]
async fn events_expire_once_however_many_servers_look() {
    const COUNT: usize = 5;
    let storage = MemoryStorage::new();
    let (one, two) = (builder(storage.clone()), builder(storage.clone()));
    let (one, two) = (one.start().await.unwrap(), two.start().await.unwrap());
    for index in 0..COUNT {
        let involved = json!({"kind": "ConfigMap", "namespace": "default", "name": "map"});
        let metadata = json!({"name": format!("event-{index}")});
        create(&one, EVENTS, json!({"metadata": metadata, "involvedObject": involved})).await;
    }
    let before = storage.revision().await.unwrap();

    sleep(59 * MINUTE).await;
    assert_eq!(items(&get(&two, EVENTS).await["items"]).count(), COUNT, "it is not time yet");
    sleep(3 * MINUTE).await;

    for server in [&one, &two] {
        assert_eq!(get(server, EVENTS).await["items"], json!([]));
    }
    assert_eq!(storage.revision().await.unwrap(), Revision(before.0 + COUNT as u64), "no commit was in vain");
    let commits = storage.watch("/registry/events/", before).await.unwrap();
    let removed: BTreeSet<_> = commits
        .take(COUNT)
        .map(|commit| match &commit.unwrap().changes[..] {
            [Change::Delete { previous }] => previous.key.clone(),
            other => panic!("{other:?}"),
        })
        .collect()
        .await;
    assert_eq!(removed.len(), COUNT, "each was removed once");
}

#[tokio::test(start_paused = true)]
async fn what_one_server_has_compacted_breaks_no_other() {
    let storage = MemoryStorage::new();
    let one = builder(storage.clone()).start().await.unwrap();
    // They do not compact at the same time.
    sleep(2 * MINUTE).await;
    let cut_off = FaultyStorage::new(storage.clone(), FaultPlan::calm(), 1);
    let two = builder(storage.clone()).start().await.unwrap();
    let behind = builder(cut_off.clone()).start().await.unwrap();
    let map = |name: &str| json!({"metadata": {"name": name}, "data": {}});
    let old = revision(&create(&one, MAPS, map("old")).await);
    let mut quiet = Watch::start(&two, MAPS, old).await;
    let mut missed = Watch::start(&behind, MAPS, old).await;

    cut_off.set_plan(FaultPlan::calm().refuse(100).cut_watches(100));
    create(&one, MAPS, map("meanwhile")).await;
    assert_eq!(name(&quiet.next().await.unwrap()), "meanwhile");
    sleep(11 * MINUTE).await;
    let newest = revision(&create(&one, MAPS, map("new")).await);
    cut_off.set_plan(FaultPlan::calm());

    let exact = |at: u64| format!("{MAPS}?resourceVersionMatch=Exact&resourceVersion={at}");
    for server in [&one, &two, &behind] {
        assert_eq!(items(&get(server, MAPS).await["items"]).count(), 3);
        assert_eq!(items(&get(server, &exact(newest)).await["items"]).count(), 3);
        let (code, gone) = call(server, "GET", &exact(old), Value::Null).await;
        assert_eq!((code, &gone["reason"]), (StatusCode::GONE, &json!("Expired")), "{gone}");
    }
    assert_eq!(name(&quiet.next().await.unwrap()), "new", "an old watch goes on");
    let event = missed.next().await.unwrap();
    assert_eq!(event["object"]["code"], 410, "what was not seen is not passed over: {event}");
    assert_eq!(call(&behind, "GET", "/readyz", Value::Null).await.0, StatusCode::OK);
    let mut again = Watch::start(&behind, MAPS, newest).await;
    create(&two, MAPS, map("last")).await;
    assert_eq!(name(&again.next().await.unwrap()), "last");
}
