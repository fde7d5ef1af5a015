//! Scales of built-in kinds: what is not found, and whose they say they are.

use quarterdeck_registry::ApiServer;
use serde_json::{Value, json};

use crate::support::{Answer, ask, get, post};

const SETS: &str = "/apis/apps/v1/namespaces/default/replicasets";
const MERGE: &str = "application/merge-patch+json";

async fn send(server: &ApiServer, method: &str, path: &str, media_type: &str, body: &Value) -> Answer {
    ask(server, method, path, &[("content-type", media_type)], body.to_string()).await
}

fn missing(answer: &Answer) -> (u16, Value, Value) {
    let status = answer.json();
    (answer.status.as_u16(), status["message"].clone(), status["details"].clone())
}

#[tokio::test]
async fn the_scale_of_nothing_is_read_in_other_words_than_it_is_written() {
    let server = ApiServer::in_memory().await.unwrap();
    let scale = json!({"metadata": {"name": "a"}});
    for (path, read, written, group) in [
        (
            "/apis/apps/v1/namespaces/default/deployments",
            "deployments/scale.apps",
            "deployments.apps",
            "apps",
        ),
        (SETS, "replicasets/scale.apps", "replicasets.apps", "apps"),
        ("/apis/apps/v1/namespaces/default/statefulsets", "statefulsets.apps", "statefulsets.apps", "apps"),
        (
            "/api/v1/namespaces/default/replicationcontrollers",
            "replicationcontrollers/scale.autoscaling",
            "replicationcontrollers",
            "autoscaling",
        ),
    ] {
        let path = format!("{path}/a/scale");

        let got = get(&server, &path, &[]).await;
        let put = send(&server, "PUT", &path, "application/json", &scale).await;
        let patched = send(&server, "PATCH", &path, MERGE, &json!({})).await;

        let kind = read.split('.').next().unwrap();
        let details = json!({"name": "a", "group": group, "kind": kind});
        assert_eq!(missing(&got), (404, json!(format!("{read} \"a\" not found")), details));
        for answer in [put, patched] {
            let (code, message, details) = missing(&answer);
            assert_eq!((code, message), (404, json!(format!("{written} \"a\" not found"))));
            assert_eq!(details["kind"], written.split('.').next().unwrap());
        }
    }
}

#[tokio::test]
async fn a_scale_is_of_the_object_in_the_path() {
    let server = ApiServer::in_memory().await.unwrap();
    let labels = json!({"app": "a"});
    let template =
        json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let set = json!({"metadata": {"name": "a"}, "spec": {"selector": {"matchLabels": labels}, "template": template}});
    post(&server, SETS, &set).await;
    let path = format!("{SETS}/a/scale");
    let put = async |metadata: Value| {
        let answer = send(&server, "PUT", &path, "application/json", &json!({"metadata": metadata})).await;
        (answer.status.as_u16(), answer.json()["message"].clone())
    };

    let nameless = put(json!({})).await;
    let elsewhere = put(json!({"name": "a", "namespace": "x"})).await;
    let other = put(json!({"name": "b"})).await;

    let why = "the name of the object (a based on URL) was undeterminable: name must be provided";
    assert_eq!(nameless, (400, json!(why)));
    let why = "the namespace of the object (x) does not match the namespace on the request (default)";
    assert_eq!(elsewhere, (400, json!(why)));
    assert_eq!(other, (400, json!("the name of the object (b) does not match the name on the URL (a)")));
}
