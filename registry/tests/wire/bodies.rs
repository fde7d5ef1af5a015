//! Bodies that are not what the path wants: in which words they are refused.

use quarterdeck_registry::ApiServer;
use serde_json::{Value, json};

use crate::support::{Answer, ask, post};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const SCALERS: &str = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/default/events";
const JSON: &str = "application/json";

async fn refused(path: &str, media_type: &str, body: &str) -> (u16, String) {
    let server = ApiServer::in_memory().await.unwrap();
    let answer: Answer = ask(&server, "POST", path, &[("content-type", media_type)], body.to_owned()).await;
    (answer.status.as_u16(), answer.json()["message"].as_str().unwrap_or_default().to_owned())
}

fn unrecognized(why: &str, shown: &str) -> (u16, String) {
    let head = "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json \
                parse error";
    (400, format!("{head}: {why} ({shown})"))
}

#[tokio::test]
async fn a_body_that_may_be_no_object_is_shown_in_hexadecimal_and_cut() {
    let hello = refused(MAPS, JSON, "hello").await;
    let long = refused(MAPS, JSON, &"h".repeat(31)).await;
    let object = refused(MAPS, JSON, "{\"kind\": \"ConfigMap\", \"metadata\"").await;

    let invalid = "invalid character 'h' looking for beginning of value";
    assert_eq!(hello, unrecognized(invalid, "68656c6c6f"));
    assert_eq!(long, unrecognized(invalid, &format!("{} ...", "68".repeat(30))));
    let cut = "{\"kind\": \"ConfigMap\", \"metadat ...";
    assert_eq!(object, unrecognized("unexpected end of JSON input", cut));
}

#[tokio::test]
async fn a_body_that_cannot_say_what_it_is_is_not_recognized() {
    let head = r#"Go value of type struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;

    for (body, what, shown) in [("[]", "array", "5b5d"), ("1", "number", "31"), ("\"x\"", "string", "227822")]
    {
        let why = format!("json: cannot unmarshal {what} into {head}");
        assert_eq!(refused(MAPS, JSON, body).await, unrecognized(&why, shown));
    }
    for (body, what) in [
        (r#"{"kind": 7}"#, "number into Go struct field .kind"),
        (r#"{"apiVersion": []}"#, "array into Go struct field .apiVersion"),
    ] {
        let why = format!("json: cannot unmarshal {what} of type string");
        assert_eq!(refused(MAPS, JSON, body).await, unrecognized(&why, body));
    }
}

#[tokio::test]
async fn a_body_of_another_kind_or_version_is_refused_with_the_names_of_both() {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}).to_string();
    let scaler = json!({"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler"}).to_string();
    let event = json!({"apiVersion": "v1", "kind": "Event"}).to_string();

    let of_pod = refused(DEPLOYMENTS, JSON, &pod).await;
    let of_scaler = refused(SCALERS, JSON, &scaler).await;
    let of_event = refused(EVENTS, JSON, &event).await;

    let converted = "Pod in version \"v1\" cannot be handled as a Deployment: converting (v1.Pod) to (apps.Deployment): \
                     unknown conversion";
    assert_eq!(of_pod, (400, converted.to_owned()));
    let other = |found: &str, expected: &str| {
        (
            400,
            format!(
                "the API version in the data ({found}) does not match the expected API version ({expected})"
            ),
        )
    };
    assert_eq!(of_scaler, other("autoscaling/v1", "autoscaling/v2"));
    assert_eq!(of_event, other("v1", "events.k8s.io/v1"));
}

#[tokio::test]
async fn yaml_that_cannot_be_read_is_not_recognized() {
    let (code, why) = refused(MAPS, "application/yaml", "a: [b").await;

    assert_eq!(code, 400);
    let head = "the object provided is unrecognized (must be of type ConfigMap): yaml: ";
    assert!(why.starts_with(head) && why.ends_with(" (613a205b62)"), "{why}");
}

#[tokio::test]
async fn an_eviction_may_be_of_the_older_version() {
    let server = ApiServer::in_memory().await.unwrap();
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    post(&server, "/api/v1/namespaces/default/serviceaccounts", &json!({"metadata": {"name": "default"}}))
        .await;
    post(&server, "/api/v1/namespaces/default/pods", &pod).await;

    let eviction = json!({"apiVersion": "policy/v1beta1", "kind": "Eviction", "metadata": {"name": "p"}});
    post(&server, "/api/v1/namespaces/default/pods/p/eviction", &eviction).await;
}

#[tokio::test]
async fn a_token_is_bound_to_pods_and_secrets_and_to_the_one_that_is_meant() {
    let server = ApiServer::in_memory().await.unwrap();
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    post(&server, accounts, &json!({"metadata": {"name": "sa"}})).await;
    post(&server, "/api/v1/namespaces/default/secrets", &json!({"metadata": {"name": "s"}})).await;
    let bound = async |reference: Value| {
        let request = json!({"spec": {"audiences": ["a"], "boundObjectRef": reference}}).to_string();
        let path = format!("{accounts}/sa/token");
        ask(&server, "POST", &path, &[("content-type", JSON)], request).await.json()
    };

    let map = bound(json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "m"})).await;
    let other = bound(json!({"apiVersion": "v1", "kind": "Secret", "name": "s", "uid": "u"})).await;

    assert_eq!(map["message"], "cannot bind token to object of type /v1, Kind=ConfigMap");
    assert_eq!(other["details"], json!({"name": "s", "kind": "Secret"}));
    let why = "Operation cannot be fulfilled on Secret \"s\": the UID in the bound object reference (u) does not match \
               the UID in record. The object might have been deleted and then recreated";
    assert_eq!(other["message"], why);
}
