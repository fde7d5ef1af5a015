//! Small requests that would make much work: each is refused at once.
//!
//! Requests are let run in real time, with a bound that only a bomb that goes off would pass.

use std::time::Duration;

use quarterdeck_registry::{ApiServer, MAX_BODY};
use serde_json::json;

use crate::support::{Answer, ask, get, post};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const YAML: &str = "application/yaml";
const JSON: &str = "application/json";

/// Sends a body, and answers only if that took no long time.
async fn send(server: &ApiServer, method: &str, path: &str, content_type: &str, body: String) -> Answer {
    let headers = [("content-type", content_type)];
    let asked = ask(server, method, path, &headers, body);
    tokio::time::timeout(Duration::from_secs(20), asked).await.expect("the bomb goes off")
}

#[tokio::test]
async fn yaml_aliases_that_multiply() {
    let server = ApiServer::in_memory().await.unwrap();
    let mut bomb = String::from(
        "kind: ConfigMap\napiVersion: v1\nx:\n  a0: &a0 [lol,lol,lol,lol,lol,lol,lol,lol,lol]\n",
    );
    for level in 1..12 {
        let before = level - 1;
        let nine = vec![format!("*a{before}"); 9].join(",");
        bomb.push_str(&format!("  a{level}: &a{level} [{nine}]\n"));
    }

    let answer = send(&server, "POST", MAPS, YAML, bomb).await;

    assert_eq!(answer.status.as_u16(), 400, "{:?}", answer.body);
    assert!(answer.json()["message"].as_str().unwrap().contains("(must be of type ConfigMap): yaml: "));
}

#[tokio::test]
async fn nesting_in_json_and_yaml() {
    let server = ApiServer::in_memory().await.unwrap();
    for depth in [1_000, 100_000, 1_000_000] {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        let json = format!("{{\"kind\":\"ConfigMap\",\"apiVersion\":\"v1\",\"data\":{open}{close}}}");
        assert_eq!(send(&server, "POST", MAPS, JSON, json).await.status.as_u16(), 400, "JSON, {depth}");
        let yaml = format!("kind: ConfigMap\napiVersion: v1\ndata: {open}{close}\n");
        assert_eq!(send(&server, "POST", MAPS, YAML, yaml).await.status.as_u16(), 400, "YAML, {depth}");
        let blocks = (0..depth.min(1_500)).map(|level| format!("{}a:\n", " ".repeat(level)));
        let yaml = blocks.collect::<String>();
        assert_eq!(send(&server, "POST", MAPS, YAML, yaml).await.status.as_u16(), 400, "blocks, {depth}");
    }
}

#[tokio::test]
async fn numbers_of_many_digits() {
    let server = ApiServer::in_memory().await.unwrap();
    let service = |port: &str| {
        format!("{{\"metadata\":{{\"name\":\"s\"}},\"spec\":{{\"ports\":[{{\"port\":{port}}}]}}}}")
    };
    let path = "/api/v1/namespaces/default/services";

    for number in
        ["9".repeat(1_000_000), format!("1e{}", "9".repeat(1_000)), "1e400".into(), "-1e-400".into()]
    {
        let answer = send(&server, "POST", path, JSON, service(&number)).await;
        assert_eq!(answer.status.as_u16() / 100, 4, "{}", &number[..number.len().min(20)]);
    }
    let quantity = "9".repeat(1_000_000);
    let pod = format!(
        "{{\"metadata\":{{\"name\":\"p\"}},\"spec\":{{\"containers\":[{{\"name\":\"c\",\"image\":\"i\",\"resources\":{{\"limits\":{{\"cpu\":\"{quantity}\"}}}}}}]}}}}"
    );
    let answer = send(&server, "POST", "/api/v1/namespaces/default/pods", JSON, pod).await;
    assert_eq!(answer.status.as_u16() / 100, 4);
}

#[tokio::test]
async fn json_patch_copies_that_double() {
    let server = ApiServer::in_memory().await.unwrap();
    post(&server, MAPS, &json!({"metadata": {"name": "a"}, "data": {"k": "v"}})).await;
    let copy = json!({"op": "copy", "from": "/data", "path": "/data/x"});
    let deeper = json!({"op": "copy", "from": "", "path": "/data/y"});

    for operation in [copy, deeper] {
        let patch = serde_json::Value::from(vec![operation; 9_999]).to_string();
        let path = format!("{MAPS}/a");
        let answer = send(&server, "PATCH", &path, "application/json-patch+json", patch).await;
        assert_eq!(answer.status.as_u16(), 422, "{:?}", answer.body);
    }
}

#[tokio::test]
async fn selectors_of_many_requirements() {
    let server = ApiServer::in_memory().await.unwrap();
    let many = (0..4_000).map(|at| format!("k{at}!=v")).collect::<Vec<_>>().join(",");
    let one_set = format!("k in ({})", (0..8_000).map(|at| format!("v{at}")).collect::<Vec<_>>().join(","));
    let open = "(".repeat(20_000);

    for selector in [many.as_str(), &one_set, &open] {
        let path = format!("{MAPS}?labelSelector={}", selector.replace(' ', "%20"));
        let asked = get(&server, &path, &[]);
        let answer = tokio::time::timeout(Duration::from_secs(20), asked).await.expect("the bomb goes off");
        assert!(matches!(answer.status.as_u16(), 200 | 400), "{:?}", answer.body);
    }
}

#[tokio::test]
async fn keys_of_many_characters_and_many_keys() {
    let server = ApiServer::in_memory().await.unwrap();
    let long = "k".repeat(1_000_000);
    let many: serde_json::Map<_, _> = (0..100_000).map(|at| (format!("k{at}"), json!("v"))).collect();

    for (at, labels) in [json!({long: "v"}), many.into()].into_iter().enumerate() {
        let object = json!({"metadata": {"name": format!("m{at}"), "labels": labels}}).to_string();
        let answer = send(&server, "POST", MAPS, JSON, object).await;
        assert!(matches!(answer.status.as_u16(), 201 | 422), "{at}");
    }
}

#[tokio::test]
async fn bodies_that_are_too_long() {
    let server = ApiServer::in_memory().await.unwrap();

    for content_type in [JSON, YAML, "application/vnd.kubernetes.protobuf"] {
        let answer = send(&server, "POST", MAPS, content_type, " ".repeat(MAX_BODY + 1)).await;
        assert_eq!(answer.status.as_u16(), 413);
        assert_eq!(answer.json()["reason"], "RequestEntityTooLarge");
    }
}

#[tokio::test]
async fn accepted_types_without_end() {
    let server = ApiServer::in_memory().await.unwrap();
    let many = vec!["application/x;q=0.5"; 20_000].join(",");

    let answer = get(&server, MAPS, &[("accept", &many)]).await;

    assert_eq!(answer.status.as_u16(), 406);
}
