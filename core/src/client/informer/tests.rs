use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;
use tokio::time::Instant;

use super::*;
use crate::client::Selector;
use crate::client::fake::FakeApi;

type Log = Arc<Mutex<Vec<String>>>;

fn recorded(informer: &Informer<ConfigMap>) -> Log {
    let log = Log::default();
    let kept = log.clone();
    informer.add_event_handler(move |event| {
        let what = match event {
            Event::Added(_) => "+",
            Event::Updated { .. } => "~",
            Event::Deleted(_) => "-",
        };
        kept.lock().unwrap().push(format!("{what}{}", ObjectKey::of(&**event.object())));
    });
    log
}

fn taken(log: &Log) -> Vec<String> {
    std::mem::take(&mut log.lock().unwrap())
}

async fn settle() {
    tokio::time::sleep(Duration::from_millis(100)).await;
}

#[tokio::test(start_paused = true)]
async fn a_handler_is_told_of_what_exists_and_of_every_change() {
    let api = FakeApi::default();
    api.put("configmaps", "a", "one", json!({}));
    let context = api.context();
    let informer = context.informers.of::<ConfigMap>();
    informer.synced().await;
    let log = recorded(&informer);
    assert_eq!(taken(&log), ["+a/one"]);

    api.put("configmaps", "a", "two", json!({}));
    api.put("configmaps", "a", "one", json!({"data": {"k": "v"}}));
    api.remove("configmaps", "a", "two");
    settle().await;

    assert_eq!(taken(&log), ["+a/two", "~a/one", "-a/two"]);
    let one = informer.store().get(&ObjectKey::new("a", "one")).unwrap();
    assert_eq!(one.data.as_ref().unwrap()["k"], "v");
}

#[tokio::test(start_paused = true)]
async fn what_vanished_unseen_is_told_as_deleted() {
    let api = FakeApi::default();
    for name in ["changed", "gone", "replaced", "same"] {
        api.put("configmaps", "a", name, json!({}));
    }
    let context = api.context();
    let informer = context.informers.of::<ConfigMap>();
    informer.synced().await;
    let log = recorded(&informer);
    taken(&log);

    api.down(true);
    settle().await;
    for name in ["gone", "replaced"] {
        api.remove("configmaps", "a", name);
    }
    for name in ["changed", "replaced"] {
        api.put("configmaps", "a", name, json!({}));
    }
    api.compact();
    api.down(false);
    tokio::time::sleep(Duration::from_secs(5)).await;

    assert_eq!(taken(&log), ["~a/changed", "-a/replaced", "+a/replaced", "-a/gone"]);
}

#[tokio::test(start_paused = true)]
async fn there_is_one_informer_per_type_and_selector() {
    let api = FakeApi::default();
    let context = api.context();

    let first = context.informers.of::<ConfigMap>();
    let same = context.clone().informers.of::<ConfigMap>();
    let other = context.informers.selected::<ConfigMap>(Selector::all().labels("a=b"));
    tokio::join!(first.synced(), same.synced(), other.synced());

    assert_eq!(api.requests(), ["GET /api/v1/configmaps", "GET /api/v1/configmaps"]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_away_is_asked_less_and_less_often() {
    let api = FakeApi::default();
    api.down(true);
    let context = api.context();
    let start = Instant::now();
    let informer = context.informers.of::<ConfigMap>();

    tokio::time::sleep(Duration::from_secs(100)).await;
    assert!(!informer.is_synced());
    api.down(false);
    informer.synced().await;

    // 1 + 2 + 4 + 8 + 16 + 30 + 30 + 30
    assert_eq!(start.elapsed().as_secs(), 121);
}

#[tokio::test(start_paused = true)]
async fn an_index_follows_its_objects() {
    let api = FakeApi::default();
    let context = api.context();
    let informer = context.informers.of::<ConfigMap>();
    let index = informer.index(|map| map.data.iter().flat_map(|data| data.keys().cloned()).collect());

    api.put("configmaps", "a", "one", json!({"data": {"x": "", "y": ""}}));
    api.put("configmaps", "a", "two", json!({"data": {"x": ""}}));
    api.put("configmaps", "a", "one", json!({"data": {"y": ""}}));
    settle().await;

    let names = |value: &str| -> Vec<_> {
        index.get(value).iter().map(|map| map.metadata.name.clone().unwrap()).collect()
    };
    assert_eq!((names("x"), names("y")), (vec!["two".to_owned()], vec!["one".to_owned()]));
    api.remove("configmaps", "a", "one");
    settle().await;
    assert_eq!(index.values(), ["x"]);
}

#[tokio::test(start_paused = true)]
async fn no_handler_runs_after_shutdown_or_removal() {
    let api = FakeApi::default();
    let context = api.context();
    let informer = context.informers.of::<ConfigMap>();
    let (removed, kept) = (Log::default(), recorded(&informer));
    let log = removed.clone();
    let id = informer.add_event_handler(move |_| log.lock().unwrap().push("called".into()));
    informer.synced().await;

    informer.remove_event_handler(id);
    api.put("configmaps", "a", "one", json!({}));
    settle().await;
    context.informers.shutdown().await;
    api.put("configmaps", "a", "two", json!({}));
    settle().await;

    assert_eq!((taken(&removed), taken(&kept)), (vec![], vec!["+a/one".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn an_object_that_cannot_be_read_hides_no_other() {
    let api = FakeApi::default();
    api.put("configmaps", "a", "one", json!({}));
    api.put("configmaps", "a", "two", json!({"data": 7}));
    let context = api.context();

    let informer = context.informers.of::<ConfigMap>();
    informer.synced().await;
    let log = recorded(&informer);
    assert_eq!(taken(&log), ["+a/one"]);

    api.put("configmaps", "a", "three", json!({"data": 7}));
    api.put("configmaps", "a", "four", json!({}));
    api.put("configmaps", "a", "two", json!({}));
    api.remove("configmaps", "a", "three");
    settle().await;

    assert_eq!(taken(&log), ["+a/four", "+a/two"]);
}

#[tokio::test(start_paused = true)]
async fn an_object_that_becomes_unreadable_while_it_is_watched_hides_no_other() {
    let api = FakeApi::default();
    api.put("configmaps", "a", "one", json!({}));
    let context = api.context();
    let informer = context.informers.of::<ConfigMap>();
    informer.synced().await;
    let log = recorded(&informer);
    taken(&log);

    api.put("configmaps", "a", "bad", json!({"data": 7}));
    settle().await;
    api.put("configmaps", "a", "two", json!({}));
    tokio::time::sleep(Duration::from_secs(5)).await;

    assert_eq!(taken(&log), ["+a/two"]);
}

#[tokio::test(start_paused = true)]
async fn a_part_is_ready_once_all_its_informers_have_heard_from_the_server() {
    let api = FakeApi::default();
    let context = api.context();
    let ready = || context.health.answer("/readyz/informer-sync", "").unwrap();
    assert!(ready().healthy, "nothing is read");

    let informer = context.informers.of::<ConfigMap>();
    let before = ready();
    informer.synced().await;

    assert_eq!(
        before.text,
        "[-]informer-sync failed: not read yet: /api/v1/configmaps\nreadyz check failed\n"
    );
    assert!(ready().healthy);
    let health = context.health.clone();
    drop((context, informer));
    assert!(health.answer("/readyz", "").unwrap().healthy, "health keeps no informer");
}
