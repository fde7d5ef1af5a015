//! The group `apps`.

use serde_json::Value;

use crate::resource::{Resource, Scope, Subresource};
use crate::strategy::Strategy;

pub(super) fn resources() -> Vec<Resource> {
    let kind = |kind, plural, short| {
        Resource::builtin("apps", "v1", kind, plural, Scope::Namespaced)
            .short_names(short)
            .categories(&["all"])
            .subresources(&[Subresource::Scale, Subresource::Status])
            .counts_generations()
    };
    vec![
        kind("Deployment", "deployments", &["deploy"]).strategy(DeploymentStrategy),
        kind("ReplicaSet", "replicasets", &["rs"]),
    ]
}

/// A write of a deployment's status leaves its labels alone.
#[derive(Debug)]
struct DeploymentStrategy;

impl Strategy for DeploymentStrategy {
    fn prepare_for_status_update(&self, deployment: &mut Value, old: &Value) {
        match &old["metadata"]["labels"] {
            Value::Null => {
                if let Some(metadata) = deployment["metadata"].as_object_mut() {
                    metadata.remove("labels");
                }
            }
            labels => deployment["metadata"]["labels"] = labels.clone(),
        }
    }
}
