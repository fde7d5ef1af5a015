//! The group `apps`.

use serde_json::{Value, json};

use crate::resource::{Resource, Scope, Subresource};
use crate::strategy::{Strategy, StrategyContext};

pub(super) fn resources() -> Vec<Resource> {
    let kind = |kind, plural, short: &'static [&'static str], below: &[Subresource]| {
        Resource::builtin("apps", "v1", kind, plural, Scope::Namespaced)
            .short_names(short)
            .categories(&["all"])
            .subresources(below)
            .counts_generations()
    };
    const SCALED: &[Subresource] = &[Subresource::Scale, Subresource::Status];
    vec![
        Resource::builtin("apps", "v1", "ControllerRevision", "controllerrevisions", Scope::Namespaced),
        kind("DaemonSet", "daemonsets", &["ds"], &[Subresource::Status]).strategy(DaemonSetStrategy),
        kind("Deployment", "deployments", &["deploy"], SCALED).strategy(DeploymentStrategy),
        kind("ReplicaSet", "replicasets", &["rs"], SCALED),
        kind("StatefulSet", "statefulsets", &["sts"], SCALED),
    ]
}

/// A write of a deployment's status leaves its labels alone.
#[derive(Debug)]
struct DeploymentStrategy;

impl Strategy for DeploymentStrategy {
    fn prepare_for_status_update(&self, deployment: &mut Value, old: &Value, _context: &StrategyContext<'_>) {
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

/// Where a daemon set's count of templates is, which was a field once.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

/// A daemon set counts the changes of its template, in an annotation.
#[derive(Debug)]
struct DaemonSetStrategy;

impl DaemonSetStrategy {
    fn count(set: &mut Value, generation: i64) {
        if !set["metadata"]["annotations"].is_object() {
            set["metadata"]["annotations"] = json!({});
        }
        set["metadata"]["annotations"][TEMPLATE_GENERATION] = generation.to_string().into();
    }
}

impl Strategy for DaemonSetStrategy {
    fn prepare_for_create(&self, set: &mut Value, _context: &StrategyContext<'_>) {
        Self::count(set, 1);
    }

    fn prepare_for_update(&self, set: &mut Value, old: &Value, _context: &StrategyContext<'_>) {
        let counted = old["metadata"]["annotations"][TEMPLATE_GENERATION].as_str();
        let counted: i64 = counted.and_then(|text| text.parse().ok()).unwrap_or_default();
        let changed = set["spec"]["template"] != old["spec"]["template"];
        Self::count(set, counted + i64::from(changed));
    }
}
