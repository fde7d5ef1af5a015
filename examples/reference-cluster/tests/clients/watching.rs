//! Watchers, and what is made of them.

use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, PostParams};
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::{self, ObjectRef};
use kube::runtime::watcher::{self, Config, Event, watcher};
use kube::runtime::{WatchStreamExt as _, wait};
use kube::{Client, Error, Resource, ResourceExt as _};
use quarterdeck::prelude::MemoryStorage;
use quarterdeck_core::storage::Storage;
use quarterdeck_registry::ApiServer;
use serde_json::json;

use crate::front::{Front, server};
use crate::soon;

type Events<K> = Pin<Box<dyn Stream<Item = watcher::Result<Event<K>>> + Send>>;

async fn create(client: &Client, name: &str) {
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let map = json!({"metadata": {"name": name}, "data": {"k": "v"}});
    maps.create(&PostParams::default(), &serde_json::from_value(map).unwrap()).await.unwrap();
}

async fn delete(client: &Client, name: &str) {
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    maps.delete(name, &DeleteParams::default()).await.unwrap();
}

/// Waits until a watcher has begun, or begun anew. Returns the objects that it begins with, and what the server refused before.
async fn begun<K: Resource>(events: &mut Events<K>) -> (Vec<String>, Vec<u16>) {
    let (mut names, mut refused) = (Vec::new(), Vec::new());
    loop {
        match soon("the watcher's next event", events.next()).await.unwrap() {
            Ok(Event::Init) => names.clear(),
            Ok(Event::InitApply(object)) => names.push(object.name_any()),
            Ok(Event::InitDone) => return (names, refused),
            Ok(Event::Apply(object) | Event::Delete(object)) => {
                panic!("{} changed before the watcher had begun", object.name_any())
            }
            Err(watcher::Error::WatchError(status)) => refused.push(status.code),
            Err(
                watcher::Error::WatchStartFailed(Error::Api(status))
                | watcher::Error::InitialListFailed(Error::Api(status)),
            ) => refused.push(status.code),
            // The connection broke.
            Err(_) => {}
        }
    }
}

/// The next change that a watcher tells, in words.
async fn change<K: Resource>(events: &mut Events<K>) -> String {
    match soon("a change", events.try_next()).await.unwrap().unwrap() {
        Event::Apply(object) => format!("apply {}", object.name_any()),
        Event::Delete(object) => format!("delete {}", object.name_any()),
        Event::Init | Event::InitApply(_) | Event::InitDone => "a new beginning".to_owned(),
    }
}

/// Both ways to begin, with their names.
fn strategies() -> [(&'static str, Config); 2] {
    [
        ("list and watch", Config::default().page_size(2)),
        ("streaming list", Config::default().streaming_lists()),
    ]
}

/// A server that starts over while nobody is connected: `a` goes, `d` comes, and all history is forgotten.
async fn start_over(storage: &Arc<MemoryStorage>, old: ApiServer, front: &mut Front) -> ApiServer {
    front.close().await;
    old.shutdown().await;
    let new = server(storage.clone()).await;
    delete(&new.client(), "a").await;
    create(&new.client(), "d").await;
    storage.compact(new.revision()).await.unwrap();
    new.shutdown().await;
    let newest = server(storage.clone()).await;
    front.open(&newest).await;
    newest
}

#[tokio::test]
async fn a_watcher_begins_and_follows_in_either_way() {
    for (strategy, config) in strategies() {
        let server = server(Arc::new(MemoryStorage::new())).await;
        let front = Front::of(&server).await;
        let (client, mut requests) = front.observed_client().await;
        for name in ["a", "b", "c", "d", "e"] {
            create(&server.client(), name).await;
        }
        let mut events: Events<ConfigMap> = watcher(Api::default_namespaced(client), config).boxed();

        let (names, refused) = begun(&mut events).await;
        create(&server.client(), "f").await;
        delete(&server.client(), "a").await;
        let changes = [change(&mut events).await, change(&mut events).await];
        let asked = requests.all();

        assert_eq!(names, ["a", "b", "c", "d", "e"], "{strategy}");
        assert!(refused.is_empty(), "{strategy}: {refused:?}");
        assert_eq!(changes, ["apply f", "delete a"], "{strategy}");
        let count = |words: &str| asked.iter().filter(|uri| uri.contains(words)).count();
        let (lists, streams) = if strategy == "streaming list" { (0, 1) } else { (3, 0) };
        assert_eq!(
            (count("limit=2"), count("sendInitialEvents=true")),
            (lists, streams),
            "{strategy}: {asked:#?}"
        );
        assert_eq!(count("watch=true"), 1, "{strategy}: {asked:#?}");
    }
}

#[tokio::test]
async fn a_watcher_whose_history_is_forgotten_while_it_is_away_begins_anew() {
    for (strategy, config) in strategies() {
        let storage = Arc::new(MemoryStorage::new());
        let old = server(storage.clone()).await;
        let mut front = Front::of(&old).await;
        for name in ["a", "b"] {
            create(&old.client(), name).await;
        }
        let maps = Api::default_namespaced(front.client().await);
        let mut events: Events<ConfigMap> = watcher(maps, config).boxed();
        let (names, _) = begun(&mut events).await;
        create(&old.client(), "c").await;
        let live = change(&mut events).await;

        let new = start_over(&storage, old, &mut front).await;
        let (again, refused) = begun(&mut events).await;
        create(&new.client(), "e").await;
        let after = change(&mut events).await;

        assert_eq!((names, live.as_str()), (vec!["a".to_owned(), "b".to_owned()], "apply c"), "{strategy}");
        assert_eq!(refused, [410], "{strategy}");
        assert_eq!(again, ["b", "c", "d"], "{strategy}");
        assert_eq!(after, "apply e", "{strategy}");
    }
}

#[tokio::test]
async fn a_watcher_whose_watch_ends_goes_on_where_it_was() {
    for (strategy, config) in strategies() {
        let server = server(Arc::new(MemoryStorage::new())).await;
        let front = Front::of(&server).await;
        let (client, mut requests) = front.observed_client().await;
        create(&server.client(), "a").await;
        // The shortest time that can be asked for.
        let mut events: Events<ConfigMap> =
            watcher(Api::default_namespaced(client), config.timeout(1)).boxed();
        begun(&mut events).await;
        let mut watches = 0;
        while watches < 2 {
            let (uri, _) = tokio::select! {
                biased;
                request = requests.next() => request,
                event = events.next() => panic!("{strategy}: {event:?}"),
            };
            watches += usize::from(uri.contains("watch=true"));
        }

        create(&server.client(), "b").await;
        let goes_on = change(&mut events).await;

        assert_eq!(goes_on, "apply b", "{strategy}");
        let again = requests.all();
        assert!(
            !again.iter().any(|uri| uri.contains("limit=")),
            "{strategy}: nothing is listed again: {again:?}"
        );
    }
}

#[tokio::test]
async fn a_watcher_of_metadata_gets_nothing_else() {
    for (strategy, config) in strategies() {
        let server = server(Arc::new(MemoryStorage::new())).await;
        let front = Front::of(&server).await;
        let (client, mut requests) = front.observed_client().await;
        create(&server.client(), "a").await;
        let maps: Api<PartialObjectMeta<ConfigMap>> = Api::default_namespaced(client);

        let mut events: Events<PartialObjectMeta<ConfigMap>> = watcher(maps, config).boxed();
        let (names, _) = begun(&mut events).await;
        create(&server.client(), "b").await;
        let Event::Apply(object) = soon("a change", events.try_next()).await.unwrap().unwrap() else {
            panic!("{strategy}: something else than a change")
        };

        assert_eq!(names, ["a"], "{strategy}");
        assert_eq!(object.types.unwrap().kind, "PartialObjectMetadata", "{strategy}");
        assert_eq!(object.metadata.name.as_deref(), Some("b"), "{strategy}");
        let (uri, accept) = requests.next().await;
        assert!(accept.contains("as=PartialObjectMetadata"), "{strategy}: {uri}: {accept}");
    }
}

#[tokio::test]
async fn a_reflector_s_store_is_right_also_after_what_it_did_not_see() {
    let storage = Arc::new(MemoryStorage::new());
    let old = server(storage.clone()).await;
    let mut front = Front::of(&old).await;
    for name in ["a", "b"] {
        create(&old.client(), name).await;
    }
    let (reader, writer) = reflector::store::<ConfigMap>();
    let maps = Api::default_namespaced(front.client().await);
    let mut events: Events<ConfigMap> = watcher(maps, Config::default()).reflect(writer).boxed();
    let names = || {
        let mut names: Vec<_> = reader.state().iter().map(|map| map.name_any()).collect();
        names.sort();
        names
    };

    begun(&mut events).await;
    soon("the store is filled", reader.wait_until_ready()).await.unwrap();
    let first = names();
    create(&old.client(), "c").await;
    change(&mut events).await;
    let second = names();
    let _new = start_over(&storage, old, &mut front).await;
    begun(&mut events).await;

    assert_eq!(first, ["a", "b"]);
    assert_eq!(second, ["a", "b", "c"]);
    assert_eq!(names(), ["b", "c", "d"]);
    assert!(reader.get(&ObjectRef::new("a").within("default")).is_none());
    assert_eq!(reader.get(&ObjectRef::new("d").within("default")).unwrap().data.as_ref().unwrap()["k"], "v");
}

#[tokio::test]
async fn a_condition_is_awaited_for_one_object() {
    let server = server(Arc::new(MemoryStorage::new())).await;
    let front = Front::of(&server).await;
    let maps: Api<ConfigMap> = Api::default_namespaced(front.client().await);
    let admin = server.client();
    let is_there = wait::conditions::is_created();

    let (there, ()) =
        tokio::join!(soon("it is made", wait::await_condition(maps.clone(), "b", is_there)), async {
            create(&admin, "a").await;
            create(&admin, "b").await;
        });
    let uid = there.unwrap().unwrap().uid().unwrap();
    let is_gone = wait::conditions::is_deleted(&uid);
    let (gone, ()) = tokio::join!(
        soon("it is gone", wait::await_condition(maps.clone(), "b", is_gone)),
        delete(&admin, "b")
    );

    assert!(gone.unwrap().is_none());
    let params = DeleteParams::default();
    let delete = wait::delete::delete_and_finalize(maps.clone(), "a", &params);
    soon("it is deleted for good", delete).await.unwrap();
    assert!(maps.get_opt("a").await.unwrap().is_none());
}
