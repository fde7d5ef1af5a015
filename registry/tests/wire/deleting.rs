//! Deletions: what the query says of them, and what is answered for a collection.

use http::StatusCode;
use quarterdeck_registry::ApiServer;
use serde_json::{Value, json};

use crate::support::{Answer, ask, get, post};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const MAP: &str = "/api/v1/namespaces/default/configmaps/a";

async fn server_with(names: &[&str]) -> ApiServer {
    let server = ApiServer::in_memory().await.unwrap();
    for name in names {
        post(&server, MAPS, &json!({"metadata": {"name": name}})).await;
    }
    server
}

async fn delete(server: &ApiServer, path: &str) -> Answer {
    ask(server, "DELETE", path, &[], "").await
}

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().unwrap();
    items.iter().map(|item| item["metadata"]["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn preconditions_in_the_query_hold() {
    let server = server_with(&["a"]).await;
    let metadata = get(&server, MAP, &[]).await.json()["metadata"].clone();
    let (uid, version) = (metadata["uid"].as_str().unwrap(), metadata["resourceVersion"].as_str().unwrap());

    let other = delete(&server, &format!("{MAP}?uid=other")).await;
    let older = delete(&server, &format!("{MAP}?resourceVersion=1")).await;
    let all = delete(&server, &format!("{MAPS}?uid=other")).await;
    let same = delete(&server, &format!("{MAP}?uid={uid}&resourceVersion={version}")).await;

    for refused in [other, older, all] {
        assert_eq!(refused.status, StatusCode::CONFLICT, "{:?}", refused.body);
    }
    assert_eq!(same.status, StatusCode::OK);
}

#[tokio::test]
async fn a_policy_that_is_empty_is_none_and_an_empty_truth_value_is_true() {
    let server = server_with(&["a"]).await;

    let policy = delete(&server, &format!("{MAP}?propagationPolicy=")).await;
    let orphan = delete(&server, &format!("{MAP}?orphanDependents=")).await;

    let why = "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Unsupported value: \"\": supported values: \
               \"Foreground\", \"Background\", \"Orphan\", \"nil\"";
    assert_eq!((policy.status.as_u16(), &policy.json()["message"]), (422, &json!(why)));
    assert_eq!(orphan.json()["metadata"]["finalizers"], json!(["orphan"]));
}

#[tokio::test]
async fn a_collection_is_answered_as_it_was() {
    let server = server_with(&["b"]).await;
    post(&server, MAPS, &json!({"metadata": {"name": "a", "finalizers": ["example.com/f"]}})).await;
    let before = get(&server, &format!("{MAPS}?limit=2"), &[]).await.json();

    let deleted = delete(&server, &format!("{MAPS}?limit=2")).await.json();
    let left = get(&server, MAP, &[]).await.json();

    assert_eq!(deleted["items"], before["items"]);
    assert!(left["metadata"]["deletionTimestamp"].is_string());
}

#[tokio::test]
async fn a_collection_is_deleted_in_pages() {
    let server = server_with(&["a", "b", "c"]).await;

    let first = delete(&server, &format!("{MAPS}?limit=2")).await.json();
    let token = first["metadata"]["continue"].as_str().unwrap();
    let second = delete(&server, &format!("{MAPS}?limit=2&continue={token}")).await.json();

    assert_eq!((names(&first), &first["metadata"]["remainingItemCount"]), (vec!["a", "b"], &json!(1)));
    assert_eq!((names(&second), second["metadata"].get("continue")), (vec!["c"], None));
    assert_eq!(names(&get(&server, MAPS, &[]).await.json()), Vec::<&str>::new());
}
