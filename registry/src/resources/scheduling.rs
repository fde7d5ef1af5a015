//! The group `scheduling.k8s.io`.

use serde_json::Value;

use crate::resource::{Resource, Scope};
use crate::strategy::{Strategy, StrategyContext};

pub(super) fn resources() -> Vec<Resource> {
    vec![
        Resource::builtin("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", Scope::Cluster)
            .short_names(&["pc"])
            .strategy(PriorityClassStrategy),
    ]
}

/// A class is of the first generation for ever: what counts in it does not change.
#[derive(Debug)]
struct PriorityClassStrategy;

impl Strategy for PriorityClassStrategy {
    fn prepare_for_create(&self, class: &mut Value, _context: &StrategyContext<'_>) {
        class["metadata"]["generation"] = 1.into();
    }

    fn check_delete(&self, name: &str) -> Result<(), String> {
        match name {
            "system-cluster-critical" | "system-node-critical" => {
                Err("this is a system priority class and cannot be deleted".into())
            }
            _ => Ok(()),
        }
    }
}
