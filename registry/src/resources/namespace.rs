//! Namespaces: they stay until their content is gone.

use serde_json::{Value, json};

use crate::strategy::{Deletion, Strategy, StrategyContext};

/// The finalizer that the controller of namespaces removes when a namespace is empty.
const FINALIZER: &str = "kubernetes";

#[derive(Debug)]
pub(super) struct NamespaceStrategy;

impl Strategy for NamespaceStrategy {
    fn prepare_for_create(&self, namespace: &mut Value, _context: &StrategyContext<'_>) {
        namespace["status"] = json!({"phase": "Active"});
        let finalizers = namespace["spec"]["finalizers"].as_array().cloned().unwrap_or_default();
        if !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
            namespace["spec"]["finalizers"] = [finalizers, vec![FINALIZER.into()]].concat().into();
        }
    }

    fn prepare_for_update(&self, namespace: &mut Value, old: &Value, _context: &StrategyContext<'_>) {
        namespace["spec"]["finalizers"] = old["spec"]["finalizers"].clone();
        namespace["status"] = old["status"].clone();
    }

    fn deletion(&self, _namespace: &Value, _grace_period: Option<i64>) -> Deletion {
        Deletion::Graceful { seconds: 0 }
    }

    fn prepare_for_delete(&self, namespace: &mut Value) {
        namespace["status"]["phase"] = "Terminating".into();
        if let Some(metadata) = namespace["metadata"].as_object_mut() {
            metadata.remove("deletionGracePeriodSeconds");
        }
    }

    fn checks_preconditions_itself(&self) -> bool {
        true
    }

    fn outlives_finalizers(&self, namespace: &Value) -> bool {
        namespace["spec"]["finalizers"].as_array().is_some_and(|finalizers| !finalizers.is_empty())
    }
}
