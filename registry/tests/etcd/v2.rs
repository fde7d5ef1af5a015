//! What the view in the shape of etcd's API of version 2 shows of a real etcd.

use std::sync::Arc;

use http::Request;
use http_body_util::BodyExt as _;
use quarterdeck_core::storage::{Revision, Storage as _, Transaction};
use quarterdeck_registry::Body;
use quarterdeck_registry::etcd_v2::EtcdV2View;
use quarterdeck_registry::storage::EtcdOptions;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::connect;
use crate::server::Etcd;

#[tokio::test]
async fn the_check_of_the_tutorials_works_on_etcd() {
    let etcd = Etcd::single();
    let storage = connect(&etcd, EtcdOptions::new(etcd.endpoints())).await;
    let Revision(index) = storage.commit(Transaction::new().put("/registry/minions/n1", "{}")).await.unwrap();

    let request = Request::get("/v2/keys/registry/minions/").body(Body::empty()).unwrap();
    let answer = EtcdV2View::new(Arc::new(storage)).oneshot(request).await.unwrap();

    let node: Value =
        serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap();
    let node = &node["node"]["nodes"][0];
    assert_eq!(
        *node,
        json!({"key": "/registry/minions/n1", "value": "{}", "modifiedIndex": index, "createdIndex": index})
    );
}
