//! Small requests that would make much work: each is refused at once.
//!
//! Requests are let run in real time, with a bound that only a bomb that goes off would pass.

use std::time::Duration;

use bytes::Bytes;
use quarterdeck_registry::{ApiServer, MAX_BODY};
use serde_json::json;

use crate::support::{Answer, ask, get, post};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const YAML: &str = "application/yaml";
const JSON: &str = "application/json";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const APPLY: &str = "application/apply-patch+yaml";

/// Sends a body, and answers only if that took no long time.
async fn send(
    server: &ApiServer,
    method: &str,
    path: &str,
    content_type: &str,
    body: impl Into<Bytes>,
) -> Answer {
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
        assert_eq!(answer.status.as_u16(), 400, "{}", &number[..number.len().min(20)]);
    }
    let quantity = "9".repeat(1_000_000);
    let pod = format!(
        "{{\"metadata\":{{\"name\":\"p\"}},\"spec\":{{\"containers\":[{{\"name\":\"c\",\"image\":\"i\",\"resources\":{{\"limits\":{{\"cpu\":\"{quantity}\"}}}}}}]}}}}"
    );
    let answer = send(&server, "POST", "/api/v1/namespaces/default/pods", JSON, pod).await;
    assert_eq!(answer.status.as_u16(), 400);
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

    for (selector, code) in [(many.as_str(), 200), (&one_set, 200), (&open, 400)] {
        let path = format!("{MAPS}?labelSelector={}", selector.replace(' ', "%20"));
        let asked = get(&server, &path, &[]);
        let answer = tokio::time::timeout(Duration::from_secs(20), asked).await.expect("the bomb goes off");
        assert_eq!(answer.status.as_u16(), code, "{:?}", answer.body);
    }
}

#[tokio::test]
async fn keys_of_many_characters_and_many_keys() {
    let server = ApiServer::in_memory().await.unwrap();
    let long = "k".repeat(1_000_000);
    let many: serde_json::Map<_, _> = (0..100_000).map(|at| (format!("k{at}"), json!("v"))).collect();

    for (labels, code) in [(json!({long: "v"}), 422), (many.into(), 201)] {
        let object = json!({"metadata": {"name": "m", "labels": labels}}).to_string();
        let answer = send(&server, "POST", MAPS, JSON, object).await;
        assert_eq!(answer.status.as_u16(), code);
    }
}

/// A list of so many elements, in JSON and YAML.
fn list(element: &str, count: usize) -> String {
    format!("[{}]", vec![element; count].join(","))
}

#[tokio::test]
async fn more_values_than_a_body_may_hold() {
    let server = ApiServer::in_memory().await.unwrap();
    post(&server, MAPS, &json!({"metadata": {"name": "a"}, "data": {"k": "v"}})).await;
    // Each of its maps takes the server 640 bytes, and the client eight.
    let maps = list(r#"{"":0}"#, MAX_BODY / 7 - 1_000);
    let object = |values: &str| {
        format!(r#"{{"kind":"ConfigMap","apiVersion":"v1","metadata":{{"name":"b"}},"k":{values}}}"#)
    };
    let add = format!(r#"[{{"op":"add","path":"/data","value":{maps}}}]"#);
    let one = format!("{MAPS}/a");
    let (body, many) = (object(&maps), "too many values: 400000 are allowed");
    for (method, path, content_type, body, why) in [
        ("POST", MAPS, JSON, &body, many),
        ("POST", MAPS, YAML, &body, "yaml: too many values: 250000 are allowed in YAML"),
        ("PUT", &one, JSON, &body, many),
        ("DELETE", &one, JSON, &format!(r#"{{"k":{maps}}}"#), many),
        ("PATCH", &one, "application/json-patch+json", &add, many),
        ("PATCH", &one, "application/merge-patch+json", &body, many),
        ("PATCH", &one, "application/strategic-merge-patch+json", &body, many),
        (
            "PATCH",
            &format!("{MAPS}/a?fieldManager=m"),
            APPLY,
            &body,
            "error decoding YAML: too many values: 250000 are allowed",
        ),
    ] {
        let answer = send(&server, method, path, content_type, body.clone()).await;
        assert_eq!(answer.status.as_u16(), 400, "{method} {content_type}: {:?}", answer.body);
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(message.contains(why), "{method} {content_type}: {message}");
    }

    let almost = object(&list("0", 399_000));
    assert_eq!(send(&server, "POST", MAPS, JSON, almost).await.status.as_u16(), 201);
}

#[tokio::test]
async fn yaml_aliases_that_repeat_many_values() {
    let server = ApiServer::in_memory().await.unwrap();
    let text = |aliases: usize| {
        let head = "kind: ConfigMap\napiVersion: v1\nmetadata: {name: b}\n";
        format!("{head}x: &x {}\ny: {}\n", list("{k: 0}", 250), list("*x", aliases))
    };

    // Each alias stands for 750 nodes.
    for (aliases, code) in [(90, 201), (900, 400)] {
        let answer = send(&server, "POST", MAPS, YAML, text(aliases)).await;
        assert_eq!(answer.status.as_u16(), code, "{aliases}: {:?}", answer.body);
    }
    let answer = send(&server, "PATCH", &format!("{MAPS}/b?fieldManager=m"), APPLY, text(900)).await;
    assert_eq!(answer.status.as_u16(), 400, "{:?}", answer.body);
    assert!(
        answer.json()["message"].as_str().unwrap().contains("too many values: 250000"),
        "{:?}",
        answer.body
    );
}

#[tokio::test]
async fn more_values_than_a_protobuf_body_may_hold() {
    let server = ApiServer::in_memory().await.unwrap();
    // In the envelope's raw bytes, one member of `data` (field 2 of a ConfigMap) after the other, with neither name nor value.
    let message = [0x12, 0].repeat(1_000_000);
    let mut body = b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12".to_vec();
    let mut length = message.len();
    while length > 0x7f {
        body.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    body.push(length as u8);
    body.extend(message);

    let answer = send(&server, "POST", MAPS, PROTOBUF, body).await;

    assert_eq!(answer.status.as_u16(), 400);
    assert!(answer.json()["message"].as_str().unwrap().contains("too many values: 400000 are allowed"));
}

#[tokio::test]
async fn bodies_that_are_too_long() {
    let server = ApiServer::in_memory().await.unwrap();

    for content_type in [JSON, YAML, PROTOBUF] {
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
