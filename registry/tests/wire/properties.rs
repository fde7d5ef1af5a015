//! What holds whatever happens in which order: a list and a watch rebuild the store, pages are one snapshot, and a merge
//! patch is what its definition says.

use std::collections::BTreeMap;

use futures::{FutureExt, StreamExt};
use http::Request;
use http_body_util::BodyStream;
use proptest::prelude::*;
use quarterdeck_registry::{ApiServer, Body, User};
use serde_json::{Map, Value, json};
use tower::ServiceExt;

use crate::support::{ask, get};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// A write to one of a few objects. It may find nothing to do: the store decides.
#[derive(Debug, Clone)]
enum Write {
    Create(u8, bool),
    Change(u8, bool, u8),
    Delete(u8),
}

fn write() -> impl Strategy<Value = Write> {
    prop_oneof![
        (0..6_u8, any::<bool>()).prop_map(|(name, chosen)| Write::Create(name, chosen)),
        (0..6_u8, any::<bool>(), 0..3_u8)
            .prop_map(|(name, chosen, value)| Write::Change(name, chosen, value)),
        (0..6_u8).prop_map(Write::Delete),
    ]
}

async fn apply(server: &ApiServer, write: &Write) {
    let label = |chosen: bool| if chosen { json!("yes") } else { Value::Null };
    match write {
        Write::Create(name, chosen) => {
            let mut object = json!({"metadata": {"name": format!("m{name}")}, "data": {"k": "new"}});
            if *chosen {
                object["metadata"]["labels"] = json!({"chosen": "yes"});
            }
            let json = [("content-type", "application/json")];
            ask(server, "POST", MAPS, &json, object.to_string()).await;
        }
        Write::Change(name, chosen, value) => {
            let patch = json!({
                "metadata": {"labels": {"chosen": label(*chosen)}}, "data": {"k": value.to_string()},
            });
            let merge = [("content-type", "application/merge-patch+json")];
            ask(server, "PATCH", &format!("{MAPS}/m{name}"), &merge, patch.to_string()).await;
        }
        Write::Delete(name) => {
            ask(server, "DELETE", &format!("{MAPS}/m{name}"), &[], "").await;
        }
    }
}

/// Objects by name, without what a list leaves out.
fn by_name(items: &Value) -> BTreeMap<String, Value> {
    let items = items.as_array().expect("a list has items");
    items.iter().map(|item| (name_of(item), bare(item))).collect()
}

fn name_of(object: &Value) -> String {
    object["metadata"]["name"].as_str().expect("an object has a name").to_owned()
}

fn bare(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(members) = object.as_object_mut() {
        members.remove("kind");
        members.remove("apiVersion");
    }
    object
}

/// Applies what a watch sent, checking that each event makes sense where it comes.
fn follow(known: &mut BTreeMap<String, Value>, last: &mut u64, data: &[u8]) {
    for line in data.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let event: Value = serde_json::from_slice(line).expect("an event is JSON");
        let object = &event["object"];
        let version = object["metadata"]["resourceVersion"].as_str().expect("an event has a revision");
        let version: u64 = version.parse().expect("a revision is a number");
        assert!(version > *last, "events come in the order of their revisions: {version} after {last}");
        *last = version;
        let name = name_of(object);
        let before = match event["type"].as_str() {
            Some("ADDED") => {
                let before = known.insert(name, bare(object));
                assert!(before.is_none(), "what is there is added: {event}");
                continue;
            }
            Some("MODIFIED") => known.insert(name, bare(object)),
            Some("DELETED") => known.remove(&name),
            other => panic!("{other:?}"),
        };
        assert!(before.is_some(), "what is not there changes: {event}");
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.expect("a runtime can be made").block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_list_and_a_watch_rebuild_the_store_under_any_interleaving(
        before in proptest::collection::vec(write(), 0..12),
        after in proptest::collection::vec((write(), any::<bool>()), 0..30),
        selects in any::<bool>(),
    ) {
        run(async {
            let server = ApiServer::in_memory().await.expect("memory starts");
            for write in &before {
                apply(&server, write).await;
            }
            let selector = if selects { "&labelSelector=chosen" } else { "" };
            let list = get(&server, &format!("{MAPS}?limit=500{selector}"), &[]).await.json();
            let mut known = by_name(&list["items"]);
            let version = list["metadata"]["resourceVersion"].as_str().expect("a list has a revision");
            let mut last: u64 = version.parse().expect("a revision is a number");
            let path = format!("{MAPS}?watch=1&timeoutSeconds=60&resourceVersion={version}{selector}");
            let request = Request::get(path).body(Body::empty()).expect("a request");
            let answer = server.as_user(User::admin()).oneshot(request).await.expect("an answer");
            let mut body = BodyStream::new(answer.into_body());
            for (write, reads) in &after {
                apply(&server, write).await;
                if *reads && let Some(Some(frame)) = body.next().now_or_never() {
                    follow(&mut known, &mut last, frame.expect("a body").data_ref().expect("data"));
                }
            }
            while let Some(frame) = body.next().await {
                follow(&mut known, &mut last, frame.expect("a body").data_ref().expect("data"));
            }

            let list = get(&server, &format!("{MAPS}?limit=500{selector}"), &[]).await.json();
            assert_eq!(known, by_name(&list["items"]));
        });
    }

    #[test]
    fn pages_are_one_snapshot_whatever_is_written_between_them(
        before in proptest::collection::vec(write(), 0..20),
        between in proptest::collection::vec(proptest::collection::vec(write(), 0..4), 8),
        limit in 1..4_u8,
        selects in any::<bool>(),
    ) {
        run(async {
            let server = ApiServer::in_memory().await.expect("memory starts");
            for write in &before {
                apply(&server, write).await;
            }
            let selector = if selects { "&labelSelector=chosen" } else { "" };
            let whole = get(&server, &format!("{MAPS}?x{selector}"), &[]).await.json();
            let mut between = between.iter();
            let mut page = get(&server, &format!("{MAPS}?limit={limit}{selector}"), &[]).await.json();
            let mut items = page["items"].as_array().expect("items").clone();
            while let Some(token) = page["metadata"]["continue"].as_str().map(str::to_owned) {
                for write in between.next().into_iter().flatten() {
                    apply(&server, write).await;
                }
                let path = format!("{MAPS}?limit={limit}&continue={token}{selector}");
                page = get(&server, &path, &[]).await.json();
                let more = page["items"].as_array().expect("items");
                assert!(more.len() <= usize::from(limit));
                assert_eq!(page["metadata"]["resourceVersion"], whole["metadata"]["resourceVersion"]);
                items.extend(more.iter().cloned());
            }

            assert_eq!(Value::Array(items), whole["items"]);
        });
    }

    #[test]
    fn a_merge_patch_changes_what_its_definition_says(data in texts(), patch in patch()) {
        run(async {
            let server = ApiServer::in_memory().await.expect("memory starts");
            let object = json!({"metadata": {"name": "a"}, "data": data});
            let json = [("content-type", "application/json")];
            ask(&server, "POST", MAPS, &json, object.to_string()).await;

            let merge = [("content-type", "application/merge-patch+json")];
            let body = json!({"data": patch}).to_string();
            let answer = ask(&server, "PATCH", &format!("{MAPS}/a"), &merge, body).await;

            let mut expected = data;
            merged(&mut expected, &patch);
            let found = answer.json()["data"].clone();
            assert_eq!(found.as_object().cloned().unwrap_or_default(), expected.as_object().cloned().unwrap_or_default());
        });
    }
}

fn key() -> impl Strategy<Value = String> {
    "[a-c]{1,2}"
}

/// The data of a config map.
fn texts() -> impl Strategy<Value = Value> {
    proptest::collection::btree_map(key(), "[x-z]{0,2}", 0..6)
        .prop_map(|map| map.into_iter().map(|(key, value)| (key, value.into())).collect::<Map<_, _>>().into())
}

/// A patch of it: texts, and nulls for what is to go.
fn patch() -> impl Strategy<Value = Value> {
    let value = proptest::option::of("[x-z]{0,2}").prop_map(Value::from);
    proptest::collection::btree_map(key(), value, 0..6)
        .prop_map(|map| map.into_iter().collect::<Map<_, _>>().into())
}

/// RFC 7396, as its pseudo-code has it.
fn merged(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in patch {
        if value.is_null() {
            target.as_object_mut().expect("an object").remove(name);
        } else {
            merged(&mut target[name], value);
        }
    }
}
