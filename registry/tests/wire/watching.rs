//! Watches: forms, starts, ends.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http::Request;
use http_body_util::{BodyExt, BodyStream};
use quarterdeck_registry::schema;
use quarterdeck_registry::{ApiServer, Body, User};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::support::{Answer, ask, get, post};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// Everything that a watch sends until it ends.
async fn watched(server: &ApiServer, query: &str, accept: &str) -> Answer {
    get(server, &format!("{MAPS}?watch=true&{query}"), &[("accept", accept)]).await
}

fn events(answer: &Answer) -> Vec<(String, Value)> {
    let lines = answer.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let event: Value = serde_json::from_slice(line).unwrap();
            (event["type"].as_str().unwrap().to_owned(), event["object"].clone())
        })
        .collect()
}

async fn server_with(names: &[&str]) -> ApiServer {
    let server = ApiServer::in_memory().await.unwrap();
    for name in names {
        post(&server, MAPS, &json!({"metadata": {"name": name}})).await;
    }
    server
}

async fn revision(server: &ApiServer) -> String {
    let list = get(server, MAPS, &[]).await.json();
    list["metadata"]["resourceVersion"].as_str().unwrap().to_owned()
}

/// Cuts a watch's answer into its messages, each behind its length.
fn frames(mut body: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    while let Some((length, rest)) = body.split_first_chunk::<4>() {
        let (frame, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
        frames.push(frame);
        body = rest;
    }
    frames
}

/// The bytes of a field of few bytes or many: what is behind its tag and length.
fn field(message: &[u8], number: u8) -> &[u8] {
    let mut rest = message;
    loop {
        let (tag, mut length, mut at) = (rest[0], 0_usize, 1);
        loop {
            length |= usize::from(rest[at] & 0x7f) << (7 * (at - 1));
            at += 1;
            if rest[at - 1] < 0x80 {
                break;
            }
        }
        if tag == number << 3 | 2 {
            return &rest[at..at + length];
        }
        rest = &rest[at + length..];
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_is_answered_in_protobuf_as_messages_behind_their_length() {
    let server = server_with(&["a"]).await;

    let answer = watched(&server, "timeoutSeconds=1&allowWatchBookmarks=true", PROTOBUF).await;

    assert_eq!(answer.header("content-type"), "application/vnd.kubernetes.protobuf;stream=watch");
    let frames = frames(&answer.body);
    assert_eq!(frames.len(), 2, "what is there, and the bookmark before the end");
    assert_eq!((field(frames[0], 1), field(frames[1], 1)), (&b"ADDED"[..], &b"BOOKMARK"[..]));
    let object = field(field(frames[0], 2), 1);
    let map = schema::builtin("", "v1", "ConfigMap").unwrap();
    let read = schema::decode_protobuf(map, object).unwrap().value;
    assert_eq!((&read["kind"], &read["metadata"]["name"]), (&json!("ConfigMap"), &json!("a")));
}

#[tokio::test(start_paused = true)]
async fn metadata_alone_is_watched_in_protobuf() {
    let server = server_with(&["a"]).await;
    let accept = format!("{PROTOBUF};as=PartialObjectMetadata;g=meta.k8s.io;v=v1");

    let answer = watched(&server, "timeoutSeconds=1", &accept).await;

    let frames = frames(&answer.body);
    let object = field(field(frames[0], 2), 1);
    assert_eq!(schema::open_envelope(object).unwrap().kind, "PartialObjectMetadata");
}

#[tokio::test]
async fn a_watch_that_can_be_cut_into_events_in_no_accepted_form_is_refused() {
    let server = server_with(&[]).await;

    let yaml = watched(&server, "timeoutSeconds=1", "application/yaml").await;

    assert_eq!(yaml.status.as_u16(), 406);
    assert_eq!(
        yaml.header("content-type"),
        "application/yaml",
        "the refusal itself has the form that is accepted"
    );
    let text = std::str::from_utf8(&yaml.body).unwrap();
    assert!(text.contains("application/json;stream=watch"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn initial_events_come_with_their_end_marked_and_without_them_a_watch_begins_with_what_comes() {
    let server = server_with(&["a", "b"]).await;
    let query = "timeoutSeconds=1&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan";

    let with = watched(&server, &format!("{query}&sendInitialEvents=true"), "*/*").await;
    let without = watched(&server, &format!("{query}&sendInitialEvents=false"), "*/*").await;

    let with = events(&with);
    let kinds: Vec<&str> = with.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["ADDED", "ADDED", "BOOKMARK", "BOOKMARK"]);
    assert_eq!(with[2].1["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    assert_eq!(with[3].1["metadata"]["annotations"], Value::Null);
    let without: Vec<String> = events(&without).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(without, ["BOOKMARK"]);
}

#[tokio::test]
async fn options_that_do_not_go_together_are_refused_by_name() {
    let server = server_with(&[]).await;
    for (query, field, detail) in [
        (
            "watch=1&sendInitialEvents=true",
            "resourceVersionMatch",
            "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        ),
        (
            "watch=1&sendInitialEvents=true&resourceVersionMatch=Exact",
            "resourceVersionMatch",
            "Unsupported value: \"Exact\": supported values: \"NotOlderThan\"",
        ),
        (
            "watch=1&resourceVersionMatch=NotOlderThan&resourceVersion=1",
            "resourceVersionMatch",
            "Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        ),
        ("sendInitialEvents=true", "sendInitialEvents", "Forbidden: sendInitialEvents is forbidden for list"),
    ] {
        let refused = get(&server, &format!("{MAPS}?{query}"), &[]).await;
        assert_eq!(refused.status.as_u16(), 422, "{query}");
        let causes = refused.json()["details"]["causes"].clone();
        let named = causes
            .as_array()
            .unwrap()
            .iter()
            .any(|cause| cause["field"] == field && cause["message"].as_str().unwrap() == detail);
        assert!(named, "{query}: {causes}");
    }
}

#[tokio::test(start_paused = true)]
async fn bookmarks_come_every_minute_and_before_the_end_and_only_to_who_allows_them() {
    let server = server_with(&[]).await;
    let at = revision(&server).await;

    let allowed =
        watched(&server, &format!("resourceVersion={at}&timeoutSeconds=150&allowWatchBookmarks=true"), "*/*")
            .await;
    let silent = watched(&server, &format!("resourceVersion={at}&timeoutSeconds=150"), "*/*").await;

    let allowed = events(&allowed);
    assert_eq!(allowed.len(), 3);
    assert!(allowed.iter().all(|(kind, object)| {
        kind == "BOOKMARK" && object["metadata"] == json!({"resourceVersion": at})
    }));
    assert_eq!(silent.body.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_enters_a_selection_is_added_and_what_leaves_it_is_deleted_as_it_was_last() {
    let server = server_with(&["a"]).await;
    let at = revision(&server).await;
    let merge = [("content-type", "application/merge-patch+json")];
    for labels in ["{\"x\":\"1\"}", "{\"y\":\"2\"}", "{\"x\":null}"] {
        let patch = format!("{{\"metadata\":{{\"labels\":{labels}}}}}");
        ask(&server, "PATCH", &format!("{MAPS}/a"), &merge, patch).await;
    }
    let last = revision(&server).await;

    let answer =
        watched(&server, &format!("resourceVersion={at}&timeoutSeconds=1&labelSelector=x"), "*/*").await;

    let events = events(&answer);
    let kinds: Vec<&str> = events.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["ADDED", "MODIFIED", "DELETED"]);
    assert_eq!(events[2].1["metadata"]["labels"], json!({"x": "1", "y": "2"}));
    assert_eq!(events[2].1["metadata"]["resourceVersion"], last);
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_in_time_though_there_is_always_something_to_send() {
    let server = server_with(&["a"]).await;
    let path = format!("{MAPS}?watch=true&timeoutSeconds=5");
    let request = Request::get(path).body(Body::empty()).unwrap();
    let answer = server.as_user(User::admin()).oneshot(request).await.unwrap();
    let mut body = answer.into_body();

    let mut pieces = 0;
    while let Some(frame) = body.frame().await {
        pieces += 1;
        assert!(frame.is_ok() && pieces < 1000, "the watch goes on for ever");
        tokio::time::advance(Duration::from_millis(100)).await;
        let patch = format!("{{\"data\":{{\"k\":\"{pieces}\"}}}}");
        let merge = [("content-type", "application/merge-patch+json")];
        ask(&server, "PATCH", &format!("{MAPS}/a"), &merge, patch).await;
    }

    assert!(pieces > 10, "{pieces}");
}

#[tokio::test(start_paused = true)]
async fn a_watcher_that_does_not_read_holds_little_and_hears_that_it_lost_what_it_missed() {
    let server = server_with(&["a"]).await;
    let request = Request::get(format!("{MAPS}?watch=true")).body(Body::empty()).unwrap();
    let answer = server.as_user(User::admin()).oneshot(request).await.unwrap();
    let mut body = BodyStream::new(answer.into_body());
    body.next().await.unwrap().unwrap();

    // The log of a kind holds 64 MiB: this is more.
    let merge = [("content-type", "application/merge-patch+json")];
    for at in 0..80 {
        let patch = json!({"data": {"k": format!("{at:03}").repeat(340_000)}}).to_string();
        let answer = ask(&server, "PATCH", &format!("{MAPS}/a"), &merge, patch).await;
        assert_eq!(answer.status.as_u16(), 200, "writers do not wait for readers");
    }
    let mut last = Bytes::new();
    while let Some(frame) = body.next().await {
        let data = frame.unwrap().into_data().unwrap();
        assert!(data.len() < 4 << 20, "a piece of {} bytes", data.len());
        last = data;
    }

    let event: Value = serde_json::from_slice(&last).unwrap();
    assert_eq!(event["type"], "ERROR");
    assert_eq!((&event["object"]["code"], &event["object"]["reason"]), (&json!(410), &json!("Expired")));
}

#[tokio::test(start_paused = true)]
async fn a_watch_of_a_revision_that_is_forgotten_says_so() {
    let server = server_with(&["a"]).await;
    let merge = [("content-type", "application/merge-patch+json")];
    for at in 0..80 {
        let patch = json!({"data": {"k": format!("{at:03}").repeat(340_000)}}).to_string();
        ask(&server, "PATCH", &format!("{MAPS}/a"), &merge, patch).await;
    }
    let current = revision(&server).await;

    let answer = watched(&server, "resourceVersion=1", "*/*").await;

    let events = events(&answer);
    assert_eq!((events.len(), events[0].0.as_str()), (1, "ERROR"));
    assert_eq!(events[0].1["message"], format!("too old resource version: 1 ({current})"));
}

#[tokio::test(start_paused = true)]
async fn a_watch_from_a_revision_to_come_shows_only_what_comes_after_it() {
    let server = server_with(&["a"]).await;
    let next = revision(&server).await.parse::<u64>().unwrap() + 1;
    let path = format!("{MAPS}?watch=true&timeoutSeconds=5&resourceVersion={next}");
    let request = Request::get(path).body(Body::empty()).unwrap();
    let watch = server.as_user(User::admin()).oneshot(request).await.unwrap();

    for name in ["b", "c"] {
        post(&server, MAPS, &json!({"metadata": {"name": name}})).await;
    }
    let body = watch.into_body().collect().await.unwrap().to_bytes();

    let line: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((&line["type"], &line["object"]["metadata"]["name"]), (&json!("ADDED"), &json!("c")));
}

#[tokio::test(start_paused = true)]
async fn the_old_path_of_watches_has_nothing_else() {
    let server = server_with(&["a"]).await;
    let old = "/api/v1/watch/namespaces/default/configmaps";
    let map = json!({"metadata": {"name": "b"}}).to_string();

    for (method, path) in
        [("POST", old), ("DELETE", old), ("PUT", &*format!("{old}/a")), ("DELETE", &*format!("{old}/a"))]
    {
        let answer = ask(&server, method, path, &[("content-type", "application/json")], map.clone()).await;
        assert_eq!(answer.status.as_u16(), 405, "{method} {path}");
    }
    let everywhere = get(&server, "/api/v1/watch/configmaps/a", &[]).await;
    let left = get(&server, MAPS, &[]).await.json();

    assert_eq!((everywhere.status.as_u16(), &everywhere.json()["reason"]), (404, &json!("NotFound")));
    assert_eq!(left["items"].as_array().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_watch_of_one_object_selects_no_other() {
    let server = server_with(&["a"]).await;
    let old = "/api/v1/watch/namespaces/default/configmaps/a?timeoutSeconds=1&fieldSelector=";

    let other = get(&server, &format!("{old}metadata.name%3Db"), &[]).await;
    let unnamed = get(&server, &format!("{old}metadata.namespace%3Ddefault"), &[]).await;
    let same = get(&server, &format!("{old}metadata.name%3Da"), &[]).await;

    for refused in [other, unnamed] {
        let message = "fieldSelector metadata.name doesn't match requested name";
        assert_eq!((refused.status.as_u16(), &refused.json()["message"]), (400, &json!(message)));
    }
    assert_eq!(events(&same).len(), 1);
}
