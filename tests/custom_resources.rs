//! Custom kinds as programs made with kube-rs use them.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::core::crd::CustomResourceExt;
use kube::runtime::wait::{await_condition, conditions};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{CustomResource, ResourceExt};
use quarterdeck::prelude::*;
use quarterdeck::registry::ApiServer;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

#[derive(CustomResource, Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq)]
#[kube(group = "example.com", version = "v1", kind = "Widget", namespaced, status = "WidgetStatus")]
#[kube(selectable = ".spec.color")]
struct WidgetSpec {
    color: String,
    /// Absent or null is the same.
    size: Option<i32>,
    #[serde(default)]
    tags: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq)]
struct WidgetStatus {
    ready: bool,
}

fn widget(name: &str, color: &str) -> Widget {
    Widget::new(name, WidgetSpec { color: color.into(), size: None, tags: vec!["new".into()] })
}

#[tokio::test]
async fn a_derived_kind_is_defined_watched_changed_and_taken_away() {
    let server = ApiServer::in_memory().await.unwrap();
    let client = server.client();
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let widgets: Api<Widget> = Api::default_namespaced(client);

    definitions.create(&PostParams::default(), &Widget::crd()).await.unwrap();
    let established = conditions::is_crd_established();
    let wait = await_condition(definitions.clone(), Widget::crd_name(), established);
    tokio::time::timeout(Duration::from_secs(1), wait).await.unwrap().unwrap();
    widgets.create(&PostParams::default(), &widget("a", "red")).await.unwrap();
    widgets.create(&PostParams::default(), &widget("b", "green")).await.unwrap();
    let red = watcher::Config::default().fields("spec.color=red");
    let mut seen = watcher(widgets.clone(), red).applied_objects().boxed();
    let first = seen.try_next().await.unwrap().unwrap();
    let patch = json!({"spec": {"size": 7}, "status": {"ready": true}});
    widgets.patch("a", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    let second = seen.try_next().await.unwrap().unwrap();
    let status = json!({"status": {"ready": true}});
    let ready = widgets.patch_status("a", &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
    definitions.delete(Widget::crd_name(), &DeleteParams::default()).await.unwrap();
    let is_gone = |definition: Option<&CustomResourceDefinition>| definition.is_none();
    let wait = await_condition(definitions, Widget::crd_name(), is_gone);
    tokio::time::timeout(Duration::from_secs(5), wait).await.unwrap().unwrap();

    assert_eq!((first.name_any(), first.spec.tags), ("a".to_owned(), vec!["new".to_owned()]));
    assert_eq!((second.spec.size, second.status, second.metadata.generation), (Some(7), None, Some(2)));
    assert_eq!(ready.status, Some(WidgetStatus { ready: true }));
    assert!(matches!(widgets.get("a").await, Err(kube::Error::Api(status)) if status.code == 404));
    server.shutdown().await;
}

#[tokio::test]
async fn a_derived_kind_that_is_compiled_in_needs_no_definition() {
    let kinds =
        quarterdeck::registry::Resource::from_definition(&serde_json::to_value(Widget::crd()).unwrap());
    let server =
        ApiServer::builder(MemoryStorage::new()).add_resources(kinds.unwrap()).start().await.unwrap();
    let widgets: Api<Widget> = Api::default_namespaced(server.client());

    let made = widgets.create(&PostParams::default(), &widget("a", "red")).await.unwrap();
    let refused = widgets.create(&PostParams::default(), &widget("A_", "red")).await.unwrap_err();

    assert_eq!(made.spec.color, "red");
    assert!(matches!(refused, kube::Error::Api(status) if status.code == 422));
}
