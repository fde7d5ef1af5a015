use k8s_openapi::api::core::v1::{ConfigMap, Node};
use kube::api::ObjectMeta;

use super::*;
use crate::client::fake::FakeApi;

fn map() -> ConfigMap {
    let metadata = ObjectMeta {
        name: Some("map".into()),
        namespace: Some("ns".into()),
        uid: Some("u".into()),
        ..ObjectMeta::default()
    };
    ConfigMap { metadata, ..ConfigMap::default() }
}

#[tokio::test(start_paused = true)]
async fn an_event_is_created_and_then_counted() {
    let api = FakeApi::default();
    let recorder = api.context().recorder("tester");

    recorder.event(&map(), EventType::Warning, "Broken", "it broke");
    recorder.flush().await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    recorder.event(&map(), EventType::Warning, "Broken", "it broke");
    recorder.flush().await;

    let events = api.list("events");
    assert_eq!(events.len(), 1);
    let event = &events[0];
    assert_eq!(event["metadata"]["namespace"], "ns");
    assert_eq!((&event["type"], &event["count"]), (&"Warning".into(), &2.into()));
    assert_eq!(event["source"]["component"], "tester");
    assert_eq!(event["involvedObject"]["kind"], "ConfigMap");
    assert_eq!(event["firstTimestamp"], "2026-01-01T00:00:00Z");
    assert_eq!(event["lastTimestamp"], "2026-01-01T00:01:00Z");
}

#[tokio::test(start_paused = true)]
async fn an_event_that_expired_is_created_again() {
    let api = FakeApi::default();
    let recorder = api.context().recorder("tester");
    let node =
        Node { metadata: ObjectMeta { name: Some("n".into()), ..ObjectMeta::default() }, ..Node::default() };
    recorder.event(&node, EventType::Normal, "Seen", "hello");
    recorder.flush().await;
    let name = api.list("events")[0]["metadata"]["name"].as_str().unwrap().to_owned();
    api.remove("events", "default", &name);

    recorder.event(&node, EventType::Normal, "Seen", "hello");
    recorder.flush().await;

    assert_eq!(api.list("events")[0]["count"], 2);
}

#[tokio::test(start_paused = true)]
async fn reporting_never_waits_for_the_server() {
    let api = FakeApi::default();
    api.down(true);
    let recorder = api.context().recorder("tester");

    for index in 0..1100 {
        recorder.event(&map(), EventType::Normal, "Seen", format!("hello {index}"));
    }

    assert_eq!(recorder.dropped(), 100);
}
