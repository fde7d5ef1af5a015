//! Admission of one's own, as two async closures: pods get a label with who made them, and need a limit of memory.
//!
//! `cargo run --example custom_admission`

use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::{Api, PostParams};
use quarterdeck::prelude::*;
use quarterdeck::registry::Status;
use quarterdeck::registry::admission::{Attributes, Operation, mutate_fn, validate_fn};
use serde_json::{Value, from_value, json};

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let owned = mutate_fn(async |write: &Attributes<'_>, object: &mut Value| {
        if write.is_core("pods") && write.operation == Operation::Create {
            object["metadata"]["labels"]["example.com/owner"] = write.user.name.as_str().into();
        }
        Ok(())
    });
    let limited = validate_fn(async |write: &Attributes<'_>, object: Option<&Value>| {
        // The object is absent where it is deleted.
        let Some(pod) = object.filter(|_| write.is_core("pods")) else { return Ok(()) };
        let mut containers = pod["spec"]["containers"].as_array().into_iter().flatten();
        match containers.find(|container| container["resources"]["limits"]["memory"].is_null()) {
            None => Ok(()),
            Some(container) => {
                let why = format!("container {} has no limit of memory", container["name"]);
                Err(Status::forbidden_object(write.resource, write.name, why))
            }
        }
    });
    let builder = ApiServer::builder(MemoryStorage::new()).admission(owned).admission(limited);
    let client = builder.start().await?.client();
    let new = PostParams::default();
    let account: ServiceAccount = from_value(json!({"metadata": {"name": "default"}}))?;
    Api::default_namespaced(client.clone()).create(&new, &account).await?;
    let pods: Api<Pod> = Api::default_namespaced(client);
    let pod = |resources: Value| -> Result<Pod, serde_json::Error> {
        let container = json!({"name": "web", "image": "any", "resources": resources});
        from_value(json!({"metadata": {"name": "web"}, "spec": {"containers": [container]}}))
    };

    let refusal = pods.create(&new, &pod(json!({}))?).await.expect_err("it has no limit");
    let made = pods.create(&new, &pod(json!({"limits": {"memory": "64Mi"}}))?).await?;

    println!("{refusal}");
    assert!(refusal.to_string().contains("container \"web\" has no limit of memory"));
    let labels = made.metadata.labels.unwrap_or_default();
    assert_eq!(labels["example.com/owner"], "kubernetes-admin");
    Ok(())
}
