//! The store as etcd's API of version 2 shows it.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::time::Duration;

use futures::poll;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use quarterdeck_core::storage::{Revision, Storage, Transaction};
use quarterdeck_registry::etcd_v2::EtcdV2View;
use quarterdeck_registry::storage::EmbeddedStorage;
use quarterdeck_registry::{Body, MemoryStorage};
use serde_json::{Value, json};
use tower::ServiceExt as _;

/// A store with these keys, each in a commit of its own; a value is its key's number.
async fn store(keys: &[&str]) -> (Arc<MemoryStorage>, EtcdV2View) {
    let storage = Arc::new(MemoryStorage::new());
    fill(&*storage, keys).await;
    (storage.clone(), EtcdV2View::new(storage))
}

async fn fill(storage: &dyn Storage, keys: &[&str]) {
    for (number, key) in keys.iter().enumerate() {
        storage.commit(Transaction::new().put(*key, number.to_string())).await.unwrap();
    }
}

async fn ask(view: &EtcdV2View, method: &str, path: &str) -> Response<Body> {
    let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
    view.clone().oneshot(request).await.unwrap()
}

async fn read(answer: Response<Body>) -> (u16, Value) {
    let code = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (code, serde_json::from_slice(&body).unwrap_or_default())
}

async fn get(view: &EtcdV2View, path: &str) -> (u16, Value) {
    read(ask(view, "GET", &format!("/v2/keys{path}")).await).await
}

#[tokio::test]
async fn a_directory_is_listed_as_the_tutorials_show_it() {
    let directory = tempfile::tempdir().unwrap();
    let stores: [Arc<dyn Storage>; 2] =
        [Arc::new(MemoryStorage::new()), Arc::new(EmbeddedStorage::open(directory.path()).unwrap())];
    for storage in stores {
        let keys = ["/registry/minions/n1", "/registry/pods/default/web", "/registry/minions/n2"];
        fill(&*storage, &keys).await;
        let view = EtcdV2View::new(storage);

        let answer = ask(&view, "GET", "/v2/keys/registry/minions/").await;

        assert_eq!(answer.headers()["x-etcd-index"], "3");
        assert_eq!(answer.headers()["content-type"], "application/json");
        let expected = json!({"action": "get", "node": {
            "key": "/registry/minions", "dir": true, "modifiedIndex": 1, "createdIndex": 1,
            "nodes": [
                {"key": "/registry/minions/n1", "value": "0", "modifiedIndex": 1, "createdIndex": 1},
                {"key": "/registry/minions/n2", "value": "2", "modifiedIndex": 3, "createdIndex": 3},
            ],
        }});
        assert_eq!(read(answer).await, (200, expected));
    }
}

#[tokio::test]
async fn directories_within_are_named_and_shown_whole_if_that_is_asked_for() {
    let keys = ["/r/a/x", "/r/a/y/z", "/r/a-b", "/r/a", "/r/_hidden/x", "/r/b/c", "/s"];
    let (_, view) = store(&keys).await;
    let names = |node: &Value| {
        let nodes = node["nodes"].as_array().cloned().unwrap_or_default();
        let name = |node: &Value| (node["key"].as_str().unwrap().to_owned(), node["dir"] == true);
        nodes.iter().map(name).collect::<Vec<_>>()
    };
    let named = |names: &[(&str, bool)]| {
        names.iter().map(|(name, dir)| ((*name).to_owned(), *dir)).collect::<Vec<_>>()
    };

    let (_, root) = get(&view, "").await;
    assert_eq!(names(&root["node"]), named(&[("/r", true), ("/s", false)]));
    assert_eq!(root["node"].get("key"), None);

    let (_, all) = get(&view, "/?recursive=true&sorted=true").await;
    let inside = &all["node"]["nodes"][0];
    let expected = named(&[("/r/a", false), ("/r/a-b", false), ("/r/a", true), ("/r/b", true)]);
    assert_eq!(names(inside), expected);
    assert_eq!(names(&inside["nodes"][2]), named(&[("/r/a/x", false), ("/r/a/y", true)]));
    assert_eq!(inside["nodes"][2]["nodes"][1]["nodes"][0]["value"], "1");

    let (_, without) = get(&view, "/r").await;
    assert_eq!(names(&without["node"]), expected);
    assert_eq!(without["node"]["nodes"][2].get("nodes"), None);
    // Hidden names are there for who knows them.
    assert_eq!(get(&view, "/r/_hidden/x").await.1["node"]["value"], "4");
}

#[tokio::test]
async fn many_keys_are_all_there() {
    let keys: Vec<String> = (0..1234).map(|number| format!("/d{}/k{number:04}", number % 3)).collect();
    let (_, view) = store(&keys.iter().map(String::as_str).collect::<Vec<_>>()).await;

    let (_, all) = get(&view, "/?recursive=true").await;

    let directories = all["node"]["nodes"].as_array().unwrap();
    let counts: Vec<_> = directories.iter().map(|node| node["nodes"].as_array().unwrap().len()).collect();
    assert_eq!(counts, [412, 411, 411]);
    assert_eq!(get(&view, "/d1").await.1["node"]["nodes"].as_array().unwrap().len(), 411);
}

#[tokio::test]
async fn what_is_not_there_not_understood_or_not_allowed_is_an_error() {
    let (_, view) = store(&["/registry/minions/n1"]).await;

    let missing =
        json!({"errorCode": 100, "message": "Key not found", "cause": "/registry/minio", "index": 1});
    assert_eq!(get(&view, "/registry/minio").await, (404, missing));
    let (code, refused) = get(&view, "/registry?recursive=yes").await;
    assert_eq!((code, &refused["errorCode"], &refused["index"]), (400, &json!(209), &json!(1)));
    let put = ask(&view, "PUT", "/v2/keys/registry/minions/n1?value=x").await;
    assert_eq!((put.status().as_u16(), put.headers()["allow"].to_str().unwrap()), (405, "GET, HEAD"));
    for path in ["/", "/v2/keysregistry", "/v2/members", "/v3/kv/range"] {
        assert_eq!(ask(&view, "GET", path).await.status(), 404, "{path}");
    }
    let (_, empty) = store(&[]).await;
    assert_eq!(get(&empty, "/").await, (200, json!({"action": "get", "node": {"dir": true}})));
}

#[tokio::test]
async fn an_answer_without_bound_is_refused() {
    let (storage, view) = store(&[]).await;
    for number in 0..65 {
        let write = Transaction::new().put(format!("/large/{number}"), vec![b'x'; 1 << 20]);
        storage.commit(write).await.unwrap();
    }

    let (code, refused) = get(&view, "/?recursive=true").await;

    assert_eq!((code, &refused["errorCode"]), (400, &json!(209)));
    assert!(refused["cause"].as_str().unwrap().contains("too much"), "{refused}");
    assert_eq!(get(&view, "/").await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn a_wait_tells_the_next_change_or_one_of_the_past() {
    let (storage, view) = store(&["/r/a", "/r/b"]).await;
    let write = |write| async { storage.commit(write).await.unwrap() };

    let waiting = get(&view, "/r?wait=true&recursive=true");
    tokio::pin!(waiting);
    assert!(poll!(waiting.as_mut()).is_pending());
    write(Transaction::new().put("/rest", "x")).await;
    assert!(poll!(waiting.as_mut()).is_pending(), "it lies beside");
    write(Transaction::new().put("/r/a", "new")).await;
    let expected = json!({
        "action": "set",
        "node": {"key": "/r/a", "value": "new", "modifiedIndex": 4, "createdIndex": 1},
        "prevNode": {"key": "/r/a", "value": "0", "modifiedIndex": 1, "createdIndex": 1},
    });
    assert_eq!(waiting.await, (200, expected));

    write(Transaction::new().delete("/r/b")).await;
    let (_, first) = get(&view, "/r/b?wait=true&waitIndex=1").await;
    assert_eq!((&first["action"], &first["node"]["modifiedIndex"]), (&json!("create"), &json!(2)));
    let (_, gone) = get(&view, "/r/b?wait=true&waitIndex=3").await;
    let expected = json!({
        "action": "delete", "node": {"key": "/r/b", "modifiedIndex": 5, "createdIndex": 2},
        "prevNode": {"key": "/r/b", "value": "1", "modifiedIndex": 2, "createdIndex": 2},
    });
    assert_eq!(gone, expected);

    storage.compact(Revision(4)).await.unwrap();
    let (code, cleared) = get(&view, "/r/a?wait=true&waitIndex=2").await;
    assert_eq!((code, &cleared["errorCode"]), (400, &json!(401)), "{cleared}");
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_when_nothing_happens_and_takes_an_index_that_is_to_come() {
    let (storage, view) = store(&["/r/a"]).await;
    let begin = tokio::time::Instant::now();

    let answer = ask(&view, "GET", "/v2/keys/r/a?wait=true").await;

    assert_eq!(begin.elapsed(), Duration::from_secs(300));
    assert_eq!(answer.status(), 200);
    assert!(answer.into_body().collect().await.unwrap().to_bytes().is_empty());
    let later = get(&view, "/r/a?wait=true&waitIndex=3");
    tokio::pin!(later);
    assert!(poll!(later.as_mut()).is_pending());
    for value in ["second", "third"] {
        storage.commit(Transaction::new().put("/r/a", value)).await.unwrap();
    }
    assert_eq!(later.await.1["node"]["value"], "third");
}
