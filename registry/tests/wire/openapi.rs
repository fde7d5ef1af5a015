//! OpenAPI v3 and v2.

use std::collections::BTreeSet;

use quarterdeck_registry::ApiServer;
use serde_json::Value;

use crate::support::get;

/// The address of a group's document, as the index tells it.
async fn address(server: &ApiServer, path: &str) -> String {
    let index = get(server, "/openapi/v3", &[]).await.json();
    index["paths"][path]["serverRelativeURL"].as_str().unwrap().to_owned()
}

/// All references that lead nowhere.
fn dangling(document: &Value, value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Array(list) => list.iter().for_each(|value| dangling(document, value, found)),
        Value::Object(map) => {
            let reference = map.get("$ref").and_then(Value::as_str);
            let lost = reference.filter(|reference| {
                document.pointer(reference.strip_prefix('#').unwrap_or(reference)).is_none()
            });
            found.extend(lost.map(str::to_owned));
            map.values().for_each(|value| dangling(document, value, found));
        }
        _ => {}
    }
}

fn parameters(operation: &Value) -> BTreeSet<&str> {
    let parameters = operation["parameters"].as_array().unwrap();
    parameters.iter().map(|parameter| parameter["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_document_is_kept_for_ever_under_its_hash_and_an_old_hash_leads_to_the_new() {
    let server = ApiServer::in_memory().await.unwrap();
    let address = address(&server, "apis/apps/v1").await;

    let document = get(&server, &address, &[]).await;
    let old = get(&server, "/openapi/v3/apis/apps/v1?hash=OLD", &[]).await;
    let known = get(&server, &address, &[("if-none-match", document.header("etag"))]).await;

    assert_eq!(document.header("cache-control"), "public, immutable");
    assert!(document.header("expires").ends_with(" GMT"), "{:?}", document.headers);
    assert_eq!((old.status.as_u16(), old.header("location")), (301, address.as_str()));
    assert_eq!(known.status.as_u16(), 304);
}

#[tokio::test]
async fn every_document_refers_to_what_it_has_and_names_each_operation_once() {
    let server = ApiServer::in_memory().await.unwrap();
    let index = get(&server, "/openapi/v3", &[]).await.json();
    let (mut lost, mut names, mut count) = (BTreeSet::new(), BTreeSet::new(), 0);
    let mut documents = vec![get(&server, "/openapi/v2", &[]).await.json()];
    for entry in index["paths"].as_object().unwrap().values() {
        documents.push(get(&server, entry["serverRelativeURL"].as_str().unwrap(), &[]).await.json());
    }

    for document in &documents {
        dangling(document, document, &mut lost);
    }
    for item in documents[0]["paths"].as_object().unwrap().values() {
        for (method, operation) in item.as_object().unwrap() {
            if method != "parameters" {
                count += 1;
                names.insert(operation["operationId"].as_str().unwrap());
            }
        }
    }

    assert_eq!(lost, BTreeSet::new());
    assert!(count > 100);
    assert_eq!(names.len(), count);
    assert!(names.contains("listCoreV1NamespacedPod") && names.contains("listCoreV1PodForAllNamespaces"));
    assert!(names.contains("patchAppsV1NamespacedDeploymentScale"));
}

#[tokio::test]
async fn both_versions_tell_kubectl_that_a_patch_takes_field_validation() {
    let server = ApiServer::in_memory().await.unwrap();
    let path = "/apis/apps/v1/namespaces/{namespace}/deployments/{name}";

    let v3 = get(&server, &address(&server, "apis/apps/v1").await, &[]).await.json();
    let v2 = get(&server, "/openapi/v2", &[]).await.json();

    for document in [v3, v2] {
        let patch = &document["paths"][path]["patch"];
        assert!(parameters(patch).is_superset(&["dryRun", "fieldManager", "fieldValidation"].into()));
        assert_eq!(patch["x-kubernetes-action"], "patch");
        assert_eq!(patch["x-kubernetes-group-version-kind"]["kind"], "Deployment");
        let list = &document["paths"]["/apis/apps/v1/deployments"]["get"];
        assert!(parameters(list).is_superset(&["continue", "limit", "sendInitialEvents", "watch"].into()));
    }
}

#[tokio::test]
async fn version_2_has_no_alternatives_and_keeps_what_patches_need() {
    let server = ApiServer::in_memory().await.unwrap();

    let document = get(&server, "/openapi/v2", &[]).await;

    let text = std::str::from_utf8(&document.body).unwrap();
    assert!(!text.contains("\"oneOf\":[") && !text.contains("#/components"), "words of version 3 remain");
    let definitions = &document.json()["definitions"];
    let containers = &definitions["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(containers["items"]["$ref"], "#/definitions/io.k8s.api.core.v1.Container");
    let strategy = &definitions["io.k8s.api.apps.v1.DeploymentSpec"]["properties"]["strategy"];
    assert_eq!(strategy["x-kubernetes-patch-strategy"], "retainKeys");
    let port = &definitions["io.k8s.apimachinery.pkg.util.intstr.IntOrString"];
    assert_eq!((&port["type"], &port["format"]), (&"string".into(), &"int-or-string".into()));
}

#[tokio::test]
async fn version_2_is_answered_as_protobuf_under_each_of_its_names_and_compressed_if_wanted() {
    let server = ApiServer::in_memory().await.unwrap();
    let answered = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

    for name in [answered, "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"] {
        let document = get(&server, "/openapi/v2", &[("accept", name)]).await;
        assert_eq!(document.header("content-type"), answered);
        // Field 1, the version of OpenAPI.
        assert!(document.body.starts_with(b"\x0a\x032.0"), "{:?}", &document.body[..8]);
        let tag = document.header("etag").to_owned();
        let known = get(&server, "/openapi/v2", &[("accept", name), ("if-none-match", &tag)]).await;
        assert_eq!(known.status.as_u16(), 304);
    }
    let compressed = get(&server, "/openapi/v2", &[("accept-encoding", "gzip")]).await;
    let refused = get(&server, "/openapi/v2", &[("accept", "text/html")]).await;

    assert_eq!(compressed.header("content-encoding"), "gzip");
    assert_eq!(refused.status.as_u16(), 406);
}

#[cfg(feature = "descriptions")]
#[tokio::test]
async fn fields_are_described_in_words() {
    let server = ApiServer::in_memory().await.unwrap();

    let v3 = get(&server, &address(&server, "api/v1").await, &[]).await.json();
    let v2 = get(&server, "/openapi/v2", &[]).await.json();

    for schemas in [&v3["components"]["schemas"], &v2["definitions"]] {
        for name in ["Container", "Pod", "PodSpec", "Service"] {
            let schema = &schemas[format!("io.k8s.api.core.v1.{name}")];
            assert!(schema["description"].is_string(), "{name}");
            let properties = schema["properties"].as_object().unwrap();
            for (property, schema) in properties {
                assert!(schema["description"].is_string(), "{name}.{property}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_first_document_is_made_without_holding_up_other_requests() {
    let server = ApiServer::in_memory().await.unwrap();
    let asking = server.clone();
    let slow = tokio::spawn(async move { get(&asking, "/openapi/v2", &[]).await.status });
    // The one worker has begun with it.
    tokio::task::spawn(async {}).await.unwrap();

    let asking = server.clone();
    let quick = tokio::spawn(async move { get(&asking, "/livez", &[]).await.status });

    assert_eq!(quick.await.unwrap(), 200);
    assert!(!slow.is_finished(), "who asks for something else does not wait for the document");
    assert_eq!(slow.await.unwrap(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_that_ask_for_the_first_document_at_once_get_the_same() {
    let server = ApiServer::in_memory().await.unwrap();

    let answers = ["/openapi/v2", "/openapi/v3", "/openapi/v3/apis/apps/v1"].map(|path| {
        let asking = (0..4).map(|_| {
            let server = server.clone();
            tokio::spawn(async move { get(&server, path, &[]).await.header("etag").to_owned() })
        });
        asking.collect::<Vec<_>>()
    });

    for answers in answers {
        let tags = futures::future::join_all(answers).await;
        let tags: Vec<String> = tags.into_iter().map(Result::unwrap).collect();
        assert!(tags.iter().all(|tag| !tag.is_empty() && *tag == tags[0]), "{tags:?}");
    }
}
