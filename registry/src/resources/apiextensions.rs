//! The group `apiextensions.k8s.io`: definitions of custom kinds.

use serde_json::{Value, json};

use crate::custom::lifecycle::{FINALIZER, PREFIX, set_condition, storage_version};
use crate::resource::{Resource, Scope, Subresource};
use crate::strategy::{Strategy, StrategyContext};

pub(super) fn resources() -> Vec<Resource> {
    let definitions = Resource::builtin(
        "apiextensions.k8s.io",
        "v1",
        "CustomResourceDefinition",
        "customresourcedefinitions",
        Scope::Cluster,
    );
    vec![
        definitions
            .short_names(&["crd", "crds"])
            .categories(&["api-extensions"])
            .prefix(PREFIX)
            .subresources(&[Subresource::Status])
            .counts_generations()
            .strategy(DefinitionStrategy),
    ]
}

/// A definition's status says in which versions objects may lie in the store, and its deletion waits for them.
#[derive(Debug)]
struct DefinitionStrategy;

impl Strategy for DefinitionStrategy {
    fn prepare_for_create(&self, object: &mut Value, _context: &StrategyContext<'_>) {
        add_stored_version(object);
    }

    fn prepare_for_update(&self, object: &mut Value, _old: &Value, _context: &StrategyContext<'_>) {
        add_stored_version(object);
    }

    fn allows_unconditional_update(&self) -> bool {
        false
    }

    fn checks_preconditions_itself(&self) -> bool {
        true
    }

    fn outlives_finalizers(&self, object: &Value) -> bool {
        object["metadata"]["deletionTimestamp"].is_null()
    }

    fn prepare_for_delete(&self, object: &mut Value) {
        let due = object["metadata"]["deletionTimestamp"].clone();
        let is_new = object["status"]["conditions"]
            .as_array()
            .is_none_or(|conditions| conditions.iter().all(|condition| condition["type"] != "Terminating"));
        if !is_new {
            return;
        }
        let finalizers = &mut object["metadata"]["finalizers"];
        match finalizers.as_array_mut() {
            Some(finalizers) if finalizers.iter().any(|finalizer| finalizer == FINALIZER) => {}
            Some(finalizers) => finalizers.push(FINALIZER.into()),
            None => *finalizers = json!([FINALIZER]),
        }
        let message = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
        set_condition(object, "Terminating", true, "InstanceDeletionPending", message, &due);
    }
}

/// Notes in the status that objects may be stored in the version that is the stored one now.
fn add_stored_version(object: &mut Value) {
    let Some(version) = storage_version(object) else { return };
    let stored = &mut object["status"]["storedVersions"];
    match stored.as_array_mut() {
        Some(stored) if stored.contains(&version) => {}
        Some(stored) => stored.push(version),
        None => *stored = json!([version]),
    }
}
