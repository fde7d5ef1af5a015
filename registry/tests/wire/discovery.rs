//! Versions, groups and kinds, in the plain and the aggregated documents.

use quarterdeck_registry::ApiServer;
use serde_json::json;

use crate::support::{ask, get};

const V2: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const V2BETA1: &str = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";
/// What kubectl sends.
const EITHER: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";

#[tokio::test]
async fn who_accepts_an_aggregated_document_gets_all_groups_at_once_and_is_told_so() {
    let server = ApiServer::in_memory().await.unwrap();

    let groups = get(&server, "/apis", &[("accept", EITHER)]).await;
    let core = get(&server, "/api", &[("accept", V2BETA1)]).await;

    assert_eq!((groups.header("content-type"), groups.header("vary")), (V2, "Accept"));
    let document = groups.json();
    assert_eq!(document["kind"], "APIGroupDiscoveryList");
    assert_eq!(document["apiVersion"], "apidiscovery.k8s.io/v2");
    let groups = document["items"].as_array().unwrap();
    let apps = groups.iter().find(|group| group["metadata"]["name"] == "apps").unwrap();
    let kinds = apps["versions"][0]["resources"].as_array().unwrap();
    let deployments = kinds.iter().find(|kind| kind["resource"] == "deployments").unwrap();
    assert_eq!(
        *deployments,
        json!({
            "resource": "deployments", "singularResource": "deployment", "scope": "Namespaced",
            "responseKind": {"group": "apps", "version": "v1", "kind": "Deployment"},
            "shortNames": ["deploy"], "categories": ["all"],
            "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
            "subresources": [
                {
                    "subresource": "scale", "verbs": ["get", "patch", "update"],
                    "responseKind": {"group": "autoscaling", "version": "v1", "kind": "Scale"},
                },
                {
                    "subresource": "status", "verbs": ["get", "patch", "update"],
                    "responseKind": {"group": "apps", "version": "v1", "kind": "Deployment"},
                },
            ],
        })
    );
    assert_eq!(core.header("content-type"), V2BETA1);
    assert_eq!(core.json()["apiVersion"], "apidiscovery.k8s.io/v2beta1");
    assert_eq!(core.json()["items"][0]["metadata"], json!({"creationTimestamp": null}));
    assert_eq!(core.json()["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_client_that_has_the_aggregated_document_is_told_that_it_has() {
    let server = ApiServer::in_memory().await.unwrap();
    let first = get(&server, "/apis", &[("accept", V2)]).await;
    let tag = first.header("etag").to_owned();

    let again = get(&server, "/apis", &[("accept", V2), ("if-none-match", &tag)]).await;
    let other = get(&server, "/apis", &[("accept", V2), ("if-none-match", "\"other\"")]).await;

    assert_eq!((again.status.as_u16(), again.body.len()), (304, 0));
    assert_eq!(again.header("etag"), tag);
    assert_eq!(other.status.as_u16(), 200);
}

#[tokio::test]
async fn who_accepts_no_aggregated_document_that_there_is_gets_the_plain_one_or_406() {
    let server = ApiServer::in_memory().await.unwrap();

    let unknown = "application/json;g=apidiscovery.k8s.io;v=v9;as=APIGroupDiscoveryList";
    let refused = get(&server, "/apis", &[("accept", unknown)]).await;
    let plain = get(&server, "/apis", &[("accept", &format!("{unknown},application/json"))]).await;
    let first = get(&server, "/apis", &[("accept", &format!("application/json,{V2}"))]).await;

    assert_eq!(refused.status.as_u16(), 406);
    assert_eq!(refused.json()["reason"], "NotAcceptable");
    assert_eq!(plain.json()["kind"], "APIGroupList");
    assert_eq!(first.json()["kind"], "APIGroupList", "the first of equal wishes counts");
}

#[tokio::test]
async fn plain_documents_are_answered_as_yaml_and_protobuf_too() {
    let server = ApiServer::in_memory().await.unwrap();

    let yaml = get(&server, "/apis/apps/v1", &[("accept", "application/yaml")]).await;
    let protobuf = get(&server, "/api/v1", &[("accept", "application/vnd.kubernetes.protobuf")]).await;

    assert_eq!(yaml.header("content-type"), "application/yaml");
    assert!(std::str::from_utf8(&yaml.body).unwrap().contains("kind: APIResourceList"));
    assert_eq!(protobuf.header("content-type"), "application/vnd.kubernetes.protobuf");
    assert!(protobuf.body.starts_with(b"k8s\0"));
}

#[tokio::test]
async fn everything_advertised_is_served() {
    let server = ApiServer::in_memory().await.unwrap();
    for root in ["/api", "/apis"] {
        let document = get(&server, root, &[("accept", V2)]).await.json();
        for group in document["items"].as_array().unwrap() {
            for version in group["versions"].as_array().unwrap() {
                let name = group["metadata"]["name"].as_str();
                let version_name = version["version"].as_str().unwrap();
                let below =
                    name.map_or_else(|| version_name.to_owned(), |name| format!("{name}/{version_name}"));
                assert_eq!(get(&server, &format!("{root}/{below}"), &[]).await.status.as_u16(), 200);
                for kind in version["resources"].as_array().unwrap() {
                    let path = format!("{root}/{below}/{}", kind["resource"].as_str().unwrap());
                    let lists = kind["verbs"].as_array().unwrap().contains(&json!("list"));
                    let answer = ask(&server, "GET", &path, &[], "").await;
                    assert_eq!(answer.status.as_u16(), if lists { 200 } else { 405 }, "{path}");
                }
            }
        }
    }
}
