//! API servers over etcd: one that is started again, several at once, and strangers in the same etcd.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Client, GetOptions};
use futures::future::join_all;
use http::StatusCode;
use quarterdeck_core::storage::Storage as _;
use quarterdeck_registry::ApiServer;
use quarterdeck_registry::storage::EtcdOptions;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::server::Etcd;
use crate::support::watch::Watch;
use crate::support::{call, create, get, revision};
use crate::{connect, soon};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// A server of its own on a cluster, with a store and a cache of its own.
pub(crate) async fn server(etcd: &Etcd, options: EtcdOptions) -> ApiServer {
    let start = async || {
        let storage = connect(etcd, options.clone()).await;
        ApiServer::builder_shared(Arc::new(storage)).start().await.ok()
    };
    etcd.until("a server", start).await
}

async fn one(etcd: &Etcd) -> ApiServer {
    server(etcd, EtcdOptions::new(etcd.endpoints())).await
}

pub(crate) fn map(name: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"value": value}})
}

#[tokio::test]
async fn a_server_that_is_started_again_on_the_same_etcd_shows_what_was_there() {
    let etcd = Etcd::single();
    let first = one(&etcd).await;
    let created = create(&first, MAPS, map("a", "1")).await;
    let list = get(&first, MAPS).await;
    let mut watch = Watch::start(&first, MAPS, revision(&list)).await;
    let (code, updated) = call(&first, "PUT", &format!("{MAPS}/a"), map("a", "2")).await;
    assert_eq!(code, StatusCode::OK);
    assert_eq!(soon(watch.next()).await.unwrap()["object"], updated);

    first.shutdown().await;
    drop(first);
    let second = one(&etcd).await;

    assert_eq!(get(&second, &format!("{MAPS}/a")).await, updated);
    let then =
        get(&second, &format!("{MAPS}?resourceVersion={}&resourceVersionMatch=Exact", revision(&created)))
            .await;
    assert_eq!(then["items"][0]["data"]["value"], "1", "the past stays readable");
    let mut watch = Watch::start(&second, MAPS, revision(&get(&second, MAPS).await)).await;
    let (_, deleted) = call(&second, "DELETE", &format!("{MAPS}/a"), Value::Null).await;
    assert_eq!(deleted["status"], "Success");
    let event = soon(watch.next()).await.unwrap();
    assert_eq!((&event["type"], &event["object"]["data"]["value"]), (&json!("DELETED"), &json!("2")));
}

#[tokio::test]
async fn what_is_in_etcd_can_be_read_with_etcds_own_tools() {
    let etcd = Etcd::single();
    let server = one(&etcd).await;
    create(&server, MAPS, map("a", "1")).await;

    let mut client = Client::connect(etcd.endpoints(), None).await.unwrap();
    let found = client.get("/registry/configmaps/", Some(GetOptions::new().with_prefix())).await.unwrap();

    let [pair] = found.kvs() else { panic!("{found:?}") };
    assert_eq!(pair.key_str().unwrap(), "/registry/configmaps/default/a");
    let value: Value = serde_json::from_slice(pair.value()).unwrap();
    assert_eq!((&value["kind"], &value["data"]["value"]), (&json!("ConfigMap"), &json!("1")));
}

#[tokio::test]
async fn what_one_server_acknowledged_every_other_shows_at_once() {
    let etcd = Etcd::single();
    let (one, other) = (one(&etcd).await, one(&etcd).await);
    let mut watch = Watch::start(&other, MAPS, revision(&get(&other, MAPS).await)).await;

    for index in 0..40 {
        let (writer, reader) = if index % 2 == 0 { (&one, &other) } else { (&other, &one) };
        let created = create(writer, MAPS, map(&format!("m-{index:02}"), "1")).await;
        let path = format!("{MAPS}/m-{index:02}");
        assert_eq!(get(reader, &path).await, created, "a consistent read");
        let at = revision(&created);
        let not_older = get(reader, &format!("{MAPS}?resourceVersion={at}")).await;
        assert!(revision(&not_older) >= at && not_older["items"].as_array().unwrap().len() == index + 1);
        let event = soon(watch.next()).await.unwrap();
        assert_eq!(event["object"], created, "events are in order");
    }
}

#[tokio::test]
async fn a_stranger_in_the_same_etcd_makes_no_read_old_and_none_fail() {
    let etcd = Etcd::single();
    let server = one(&etcd).await;
    let created = create(&server, MAPS, map("a", "1")).await;
    let mut stranger = Client::connect(etcd.endpoints(), None).await.unwrap();
    stranger.put("/elsewhere", "1", None).await.unwrap();
    let put = stranger.put("/elsewhere", "2", None).await.unwrap();
    let now = u64::try_from(put.header().unwrap().revision()).unwrap();

    let start = Instant::now();
    let list = get(&server, MAPS).await;
    let single = get(&server, &format!("{MAPS}/a?resourceVersion={now}")).await;
    let took = start.elapsed();

    assert!(revision(&list) >= now, "the list is as new as what a client may have seen");
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    assert_eq!(single, created);
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert!(server.revision().0 < now, "the cache itself has seen nothing");
    let mut watch = Watch::start(&server, MAPS, revision(&list)).await;
    let next = create(&server, MAPS, map("b", "1")).await;
    assert_eq!(soon(watch.next()).await.unwrap()["object"], next, "a watch from there has each event once");
}

#[tokio::test]
async fn a_stranger_whose_keys_are_no_text_ends_no_watch_and_no_start() {
    let etcd = Etcd::single();
    let server = one(&etcd).await;
    let mut watch = Watch::start(&server, MAPS, revision(&get(&server, MAPS).await)).await;
    let mut stranger = Client::connect(etcd.endpoints(), None).await.unwrap();
    let key = b"/registry/configmaps/default/\xff".to_vec();

    stranger.put(key.clone(), "1", None).await.unwrap();
    stranger.put(key.clone(), "2", None).await.unwrap();
    let first = create(&server, MAPS, map("a", "1")).await;
    assert_eq!(soon(watch.next()).await.unwrap()["object"], first, "the watch goes on");
    let next = one(&etcd).await;
    assert_eq!(get(&next, MAPS).await["items"].as_array().unwrap().len(), 1, "another server starts");
    stranger.delete(key, None).await.unwrap();

    let second = create(&next, MAPS, map("b", "1")).await;
    assert_eq!(soon(watch.next()).await.unwrap()["object"], second);
}

#[tokio::test]
async fn a_revision_that_no_server_has_seen_is_too_large() {
    let etcd = Etcd::single();
    let server = one(&etcd).await;
    let future = revision(&get(&server, MAPS).await) + 1000;

    let (code, status) = call(&server, "GET", &format!("{MAPS}?resourceVersion={future}"), Value::Null).await;

    assert_eq!((code, &status["reason"]), (StatusCode::GATEWAY_TIMEOUT, &json!("Timeout")));
    assert!(status["message"].as_str().unwrap().contains("Too large resource version"), "{status}");
}

#[tokio::test]
async fn what_somebody_writes_with_etcds_own_tools_is_served() {
    let etcd = Etcd::single();
    let server = one(&etcd).await;
    create(&server, MAPS, map("a", "1")).await;
    let mut watch = Watch::start(&server, MAPS, revision(&get(&server, MAPS).await)).await;
    let mut stranger = Client::connect(etcd.endpoints(), None).await.unwrap();
    let found = stranger.get("/registry/configmaps/default/a", None).await.unwrap();
    let changed = found.kvs()[0].value_str().unwrap().replace("\"value\":\"1\"", "\"value\":\"2\"");

    stranger.put("/registry/configmaps/default/a", changed, None).await.unwrap();
    assert_eq!(get(&server, &format!("{MAPS}/a")).await["data"]["value"], "2");
    stranger.delete("/registry/configmaps/default/a", None).await.unwrap();
    assert_eq!(get(&server, MAPS).await["items"], json!([]));

    let events = [soon(watch.next()).await.unwrap(), soon(watch.next()).await.unwrap()];
    assert_eq!(events.map(|event| event["type"].clone()), ["MODIFIED", "DELETED"]);
}

#[tokio::test]
async fn servers_that_share_an_etcd_give_out_no_address_and_no_port_twice() {
    let etcd = Etcd::single();
    let servers = [one(&etcd).await, one(&etcd).await];
    let service = |index: usize| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": format!("s-{index:02}")},
            "spec": {"type": "NodePort", "ports": [{"port": 80}]}})
    };
    let create = async |index: usize| {
        create(&servers[index % 2], "/api/v1/namespaces/default/services", service(index)).await
    };

    let created = join_all((0..30).map(create)).await;

    let addresses: BTreeSet<_> =
        created.iter().map(|one| one["spec"]["clusterIP"].as_str().unwrap().to_owned()).collect();
    let ports: BTreeSet<_> =
        created.iter().map(|one| one["spec"]["ports"][0]["nodePort"].as_u64().unwrap()).collect();
    assert_eq!((addresses.len(), ports.len()), (30, 30));
}

#[tokio::test]
async fn a_kind_that_one_server_defines_every_other_serves_soon_and_forgets_soon() {
    let etcd = Etcd::single();
    let (one, other) = (one(&etcd).await, one(&etcd).await);
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {"group": "example.com", "scope": "Cluster", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]},
    });
    let widgets = "/apis/example.com/v1/widgets";
    let code = async || call(&other, "GET", widgets, Value::Null).await.0;

    create(&one, definitions, definition).await;
    etcd.until("the kind", async || (code().await == StatusCode::OK).then_some(())).await;
    let widget = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}});
    create(&other, widgets, widget).await;
    assert_eq!(get(&one, &format!("{widgets}/w")).await["metadata"]["name"], "w");

    let (gone, _) = call(&one, "DELETE", &format!("{definitions}/widgets.example.com"), Value::Null).await;
    assert_eq!(gone, StatusCode::OK);
    etcd.until("no kind", async || (code().await == StatusCode::NOT_FOUND).then_some(())).await;
}

#[tokio::test]
async fn watchers_outlive_a_compaction_that_their_server_missed() {
    let mut etcd = Etcd::single();
    let server = one(&etcd).await;
    create(&server, MAPS, map("a", "1")).await;
    let mut watch = Watch::start(&server, MAPS, revision(&get(&server, MAPS).await)).await;
    etcd.kill(0);
    assert_eq!(call(&server, "GET", MAPS, Value::Null).await.0, StatusCode::SERVICE_UNAVAILABLE);
    etcd.start(0);
    let storage = connect(&etcd, EtcdOptions::new(etcd.endpoints())).await;
    let mut stranger = Client::connect(etcd.endpoints(), None).await.unwrap();
    stranger.delete("/registry/configmaps/default/a", None).await.unwrap();
    stranger.put("/elsewhere", "1", None).await.unwrap();
    storage.compact(storage.revision().await.unwrap()).await.unwrap();

    // Either the server was quick enough to see the deletion, or it says that it was not.
    let event = soon(watch.next()).await.unwrap();
    assert!(event["type"] == "DELETED" || event["object"]["code"] == 410, "{event}");
    let list = etcd.until("a list", async || {
        let (code, list) = call(&server, "GET", MAPS, Value::Null).await;
        (code == StatusCode::OK).then_some(list)
    });
    assert_eq!(list.await["items"], json!([]));
    let created = create(&server, MAPS, map("b", "1")).await;
    assert_eq!(get(&server, &format!("{MAPS}/b")).await, created);
}
