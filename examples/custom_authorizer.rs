//! An authorizer of one's own, in five lines: everybody reads, and everybody writes what is theirs.
//!
//! `cargo run --example custom_authorizer`

use async_trait::async_trait;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams, PostParams};
use quarterdeck::prelude::*;
use quarterdeck::registry::Authorizer;
use quarterdeck::registry::layers::administrators::Administrators;
use quarterdeck::registry::layers::authorization::{Attributes, Decision};

/// Lets users into the namespace of their name, and read everywhere.
#[derive(Debug)]
struct OwnNamespace;

#[async_trait]
impl Authorizer for OwnNamespace {
    async fn authorize(&self, asked: &Attributes<'_>) -> Decision {
        match asked.verb {
            "get" | "list" | "watch" => Decision::Allow("everybody reads".into()),
            _ if asked.namespace() == asked.user.name => Decision::Allow("it is their namespace".into()),
            _ => Decision::NoOpinion("this is not their namespace".into()),
        }
    }
}

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The first authorizer that is named replaces the default ones. Administrators are let in as before; a server with a scheduler,
    // controllers or agents would be given `NodeAuthorizer` and `Rbac` too.
    let builder =
        ApiServer::builder(MemoryStorage::new()).authorizer(Administrators).authorizer(OwnNamespace);
    let server = builder.start().await?;
    let default = server.client_as(User::new("default"));
    let eve = server.client_as(User::new("eve"));
    let map = |name: &str| ConfigMap {
        metadata: kube::core::ObjectMeta { name: Some(name.into()), ..Default::default() },
        ..Default::default()
    };

    Api::default_namespaced(default).create(&PostParams::default(), &map("mine")).await?;

    let maps: Api<ConfigMap> = Api::default_namespaced(eve);
    assert_eq!(maps.list(&ListParams::default()).await?.items.len(), 1);
    let refusal = maps.create(&PostParams::default(), &map("hers")).await.expect_err("it is not hers");
    println!("{refusal}");
    assert!(refusal.to_string().contains("this is not their namespace"));
    Ok(())
}
