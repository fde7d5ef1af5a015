//! A kind of your own, without a CustomResourceDefinition: a Rust struct, served by the API server like any other kind.
//!
//! The schema that kube-rs derives from the struct is what objects are checked by and what `kubectl explain` shows.

use kube::api::{Api, ListParams, PostParams};
use kube::{CustomResource, CustomResourceExt};
use quarterdeck::prelude::*;
use quarterdeck::registry::{ApiServer, Resource};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A boat, and where it lies.
#[derive(CustomResource, Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[kube(group = "harbour.example.com", version = "v1", kind = "Boat", namespaced, shortname = "bt")]
#[kube(printcolumn = r#"{"name": "Berth", "type": "integer", "jsonPath": ".spec.berth"}"#)]
#[kube(validation = Rule::new("self.spec.berth != 13").message("no boat lies at berth 13"))]
struct BoatSpec {
    /// The number of its berth.
    #[schemars(range(min = 1, max = 40))]
    berth: i64,
    #[serde(default = "unpainted")]
    colour: String,
}

fn unpainted() -> String {
    "white".into()
}

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let kind = Resource::from_definition(&serde_json::to_value(Boat::crd())?)?;
    // Boats need harbours, which are namespaces, and nothing else of Kubernetes.
    let builder = ApiServer::builder(MemoryStorage::new()).only(["namespaces"]).add_resources(kind);
    let server = builder.start().await?;
    let boats: Api<Boat> = Api::default_namespaced(server.client());
    let boat = |name: &str, berth: i64| -> Result<Boat, serde_json::Error> {
        serde_json::from_value(serde_json::json!({
            "apiVersion": "harbour.example.com/v1", "kind": "Boat",
            "metadata": {"name": name}, "spec": {"berth": berth},
        }))
    };

    let made = boats.create(&PostParams::default(), &boat("gull", 7)?).await?;
    for berth in [13, 41] {
        let refusal = boats.create(&PostParams::default(), &boat("tern", berth)?).await;
        println!("{}", refusal.expect_err("there is no such berth"));
    }

    println!("{} is {}", made.metadata.name.unwrap_or_default(), made.spec.colour);
    assert_eq!(boats.list(&ListParams::default()).await?.items.len(), 1);
    Ok(())
}
