//! Lists: pages, revisions, tokens.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use quarterdeck_core::storage::{Revision, Storage};
use quarterdeck_registry::{ApiServer, MemoryStorage};
use serde_json::{Value, json};
use std::sync::Arc;

use crate::support::{ask, get, post};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn server_with(count: usize) -> (ApiServer, Arc<MemoryStorage>) {
    let storage = Arc::new(MemoryStorage::new());
    let server = ApiServer::builder_shared(storage.clone()).start().await.unwrap();
    for at in 0..count {
        let labels = json!({"parity": if at % 2 == 0 { "even" } else { "odd" }});
        post(&server, MAPS, &json!({"metadata": {"name": format!("m{at}"), "labels": labels}})).await;
    }
    (server, storage)
}

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().unwrap();
    items.iter().map(|item| item["metadata"]["name"].as_str().unwrap()).collect()
}

fn token(list: &Value) -> &str {
    list["metadata"]["continue"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn pages_show_the_state_of_the_first_one_and_count_what_remains() {
    let (server, _storage) = server_with(5).await;
    let first = get(&server, &format!("{MAPS}?limit=2"), &[]).await.json();
    ask(&server, "DELETE", &format!("{MAPS}/m3"), &[], "").await;
    post(&server, MAPS, &json!({"metadata": {"name": "m11"}})).await;

    let second = get(&server, &format!("{MAPS}?limit=2&continue={}", token(&first)), &[]).await.json();
    let third = get(&server, &format!("{MAPS}?limit=2&continue={}", token(&second)), &[]).await.json();

    assert_eq!([names(&first), names(&second), names(&third)].concat(), ["m0", "m1", "m2", "m3", "m4"]);
    assert_eq!(first["metadata"]["remainingItemCount"], 3);
    assert_eq!(second["metadata"]["remainingItemCount"], 1);
    assert_eq!((token(&third), &third["metadata"]["remainingItemCount"]), ("", &Value::Null));
    assert_eq!(first["metadata"]["resourceVersion"], third["metadata"]["resourceVersion"]);
}

#[tokio::test]
async fn pages_of_a_selection_of_an_earlier_revision_hold_all_of_it_and_count_nothing() {
    let (server, _storage) = server_with(9).await;
    let mut list = get(&server, &format!("{MAPS}?limit=2&labelSelector=parity=odd"), &[]).await.json();
    post(&server, MAPS, &json!({"metadata": {"name": "m10", "labels": {"parity": "odd"}}})).await;
    let mut found: Vec<String> = names(&list).into_iter().map(str::to_owned).collect();
    while !token(&list).is_empty() {
        assert_eq!(list["metadata"]["remainingItemCount"], Value::Null);
        let path = format!("{MAPS}?limit=2&labelSelector=parity=odd&continue={}", token(&list));
        list = get(&server, &path, &[]).await.json();
        found.extend(names(&list).into_iter().map(str::to_owned));
    }

    assert_eq!(found, ["m1", "m3", "m5", "m7"]);
}

#[tokio::test]
async fn who_comes_too_late_for_the_next_page_is_told_and_may_go_on_with_what_is_there() {
    let (server, storage) = server_with(5).await;
    let first = get(&server, &format!("{MAPS}?limit=2"), &[]).await.json();
    ask(&server, "DELETE", &format!("{MAPS}/m3"), &[], "").await;
    post(&server, MAPS, &json!({"metadata": {"name": "m9"}})).await;
    let now = storage.revision().await.unwrap();
    storage.compact(Revision(now.0)).await.unwrap();

    let late = get(&server, &format!("{MAPS}?limit=2&continue={}", token(&first)), &[]).await;
    let refusal = late.json();
    let rest = get(&server, &format!("{MAPS}?continue={}", token(&refusal)), &[]).await.json();
    let old = get(&server, &format!("{MAPS}?resourceVersion=1&resourceVersionMatch=Exact"), &[]).await;

    assert_eq!((late.status.as_u16(), &refusal["reason"]), (410, &json!("Expired")));
    assert!(refusal["message"].as_str().unwrap().contains("inconsistent list"), "{refusal}");
    assert_eq!(names(&rest), ["m2", "m4", "m9"]);
    assert_eq!(rest["metadata"]["resourceVersion"], now.to_string());
    assert_eq!((old.status.as_u16(), &old.json()["reason"]), (410, &json!("Expired")));
    assert_eq!(old.json()["message"], "The resourceVersion for the provided list is too old.");
}

#[tokio::test]
async fn tokens_of_strangers_are_refused_and_lead_nowhere_else() {
    let (server, _storage) = server_with(1).await;
    post(&server, "/api/v1/namespaces/default/secrets", &json!({"metadata": {"name": "hidden"}})).await;
    let made = |token: &Value| URL_SAFE_NO_PAD.encode(token.to_string());
    let version = "meta.k8s.io/v1";
    for token in [
        "%%%".to_owned(),
        "AAAA".to_owned(),
        made(&json!("text")),
        made(&json!({"v": "v0", "rv": 5, "start": "a"})),
        made(&json!({"v": version, "rv": 0, "start": "a"})),
        made(&json!({"v": version, "rv": -2, "start": "a"})),
        made(&json!({"v": version, "rv": 1e300, "start": "a"})),
        made(&json!({"v": version, "rv": 5, "start": ""})),
        made(&json!({"v": version, "rv": 5, "start": "../../secrets/default/a"})),
        made(&json!({"v": version, "rv": 5, "start": "a//b"})),
        made(&json!({"v": version, "rv": 5, "start": "a/./b"})),
        URL_SAFE_NO_PAD.encode("[".repeat(40_000)),
    ] {
        let answer = get(&server, &format!("{MAPS}?continue={token}"), &[]).await;
        assert_eq!(answer.status.as_u16(), 400, "{token}");
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(message.starts_with("invalid continue token: continue key is not valid: "), "{message}");
    }
    let with_version = get(&server, &format!("{MAPS}?continue=AAAA&resourceVersion=5"), &[]).await;
    assert_eq!(with_version.status.as_u16(), 400);
}

/// What the table of `resourceVersion` and `resourceVersionMatch` says.
#[tokio::test(start_paused = true)]
async fn a_list_is_as_of_the_revision_that_is_asked_for() {
    let (server, _storage) = server_with(3).await;
    let then =
        get(&server, MAPS, &[]).await.json()["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    post(&server, MAPS, &json!({"metadata": {"name": "new"}})).await;
    let count = async |query: &str| {
        let answer = get(&server, &format!("{MAPS}?{query}"), &[]).await;
        match answer.status.as_u16() {
            200 => Ok(answer.json()["items"].as_array().unwrap().len()),
            code => Err(code),
        }
    };

    assert_eq!(count("").await, Ok(4), "the most recent");
    assert_eq!(count("resourceVersion=0").await, Ok(4), "any");
    assert_eq!(count(&format!("resourceVersion={then}")).await, Ok(4), "not older");
    assert_eq!(count(&format!("resourceVersion={then}&limit=9")).await, Ok(3), "a page is of that revision");
    assert_eq!(count(&format!("resourceVersion={then}&resourceVersionMatch=Exact")).await, Ok(3));
    assert_eq!(count(&format!("resourceVersion={then}&resourceVersionMatch=NotOlderThan")).await, Ok(4));
    assert_eq!(
        count(&format!("resourceVersion={then}&resourceVersionMatch=NotOlderThan&limit=9")).await,
        Ok(4)
    );
    assert_eq!(count("resourceVersion=0&resourceVersionMatch=NotOlderThan").await, Ok(4));
    assert_eq!(count("resourceVersion=0&resourceVersionMatch=Exact").await, Err(422));
    assert_eq!(count("resourceVersionMatch=Exact").await, Err(422));
    assert_eq!(count("resourceVersionMatch=NotOlderThan").await, Err(422));
    assert_eq!(count("resourceVersion=99999&resourceVersionMatch=Exact").await, Err(504));
    assert_eq!(count("resourceVersion=99999&resourceVersionMatch=NotOlderThan").await, Err(504));
    assert_eq!(count("resourceVersion=99999").await, Err(504));
}

#[tokio::test]
async fn a_list_of_any_age_has_no_pages() {
    let (server, _storage) = server_with(3).await;

    let latest = get(&server, &format!("{MAPS}?limit=1"), &[]).await.json();
    let any = get(&server, &format!("{MAPS}?limit=1&resourceVersion=0"), &[]).await.json();

    assert_eq!((names(&any).len(), token(&any)), (3, ""));
    assert_eq!(names(&latest).len(), 1);
}

#[tokio::test]
async fn a_revision_that_is_none_is_the_clients_fault_where_the_store_is_asked() {
    let (server, _storage) = server_with(1).await;
    let invalid =
        "resourceVersion: Invalid value: \"abc\": strconv.ParseUint: parsing \"abc\": invalid syntax";

    for (path, code, prefix) in [
        ("configmaps?resourceVersion=abc", 500, ""),
        ("configmaps?resourceVersion=abc&resourceVersionMatch=Exact", 400, "invalid resource version: "),
        ("events?resourceVersion=abc", 400, "invalid resource version: "),
    ] {
        let answer = get(&server, &format!("/api/v1/namespaces/default/{path}"), &[]).await;

        let message = format!("{prefix}{invalid}");
        assert_eq!((answer.status.as_u16(), &answer.json()["message"]), (code, &json!(message)), "{path}");
    }
}
