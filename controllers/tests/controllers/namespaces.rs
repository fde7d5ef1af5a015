use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use quarterdeck_controllers::{NamespaceController, RootCaPublisher, ServiceAccountController};
use serde_json::{from_value, json};

use super::cluster::Cluster;

const NAMESPACE: &str = "v1/Namespace";

#[tokio::test(start_paused = true)]
async fn a_new_namespace_gets_its_account_and_the_root_certificate() {
    let cluster = Cluster::start(|context| {
        vec![Box::new(ServiceAccountController::new(context)), Box::new(RootCaPublisher::new(context, "PEM"))]
    })
    .await;
    let look = async || cluster.names("v1/ConfigMap", "").await;
    cluster.until("the config map", look, |names| *names == ["kube-root-ca.crt"]).await;
    cluster.patch("v1/ConfigMap", "kube-root-ca.crt", json!({"data": {"ca.crt": "mine", "more": "x"}})).await;

    cluster.until_at("v1/ConfigMap", "kube-root-ca.crt", "/data", json!({"ca.crt": "PEM"})).await;

    cluster.delete("v1/ServiceAccount", "default", DeleteParams::default()).await;
    let look = async || cluster.names("v1/ServiceAccount", "").await;
    cluster.until("the account again", look, |names| *names == ["default"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_deleted_namespace_is_emptied_and_says_what_remains() {
    let cluster = Cluster::start(|context| vec![Box::new(NamespaceController::new(context))]).await;
    cluster.create(NAMESPACE, json!({"metadata": {"name": "n"}})).await;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.context.client.clone(), "n");
    for (name, finalizers) in [("held", json!(["ex.com/f"])), ("free", json!([]))] {
        let map = from_value(json!({"metadata": {"name": name, "finalizers": finalizers}})).unwrap();
        maps.create(&PostParams::default(), &map).await.unwrap();
    }

    cluster.delete(NAMESPACE, "n", DeleteParams::default()).await;

    cluster.until_at(NAMESPACE, "n", "/status/conditions/4/reason", json!("SomeFinalizersRemain")).await;
    let namespace = cluster.get(NAMESPACE, "n").await.unwrap();
    assert_eq!(
        namespace["status"]["conditions"][3]["message"],
        "Some resources are remaining: configmaps. has 1 resource instances"
    );
    assert!(maps.get_opt("free").await.unwrap().is_none());

    let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    maps.patch("held", &PatchParams::default(), &free).await.unwrap();
    cluster.until_gone(NAMESPACE, "n").await;
}
