//! A new node takes no pods until somebody has seen that it is ready.

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{Admission, Attributes, Operation};
use crate::status::Result;

const NOT_READY: &str = "node.kubernetes.io/not-ready";

/// Upstream's `TaintNodesByCondition`.
#[derive(Debug)]
pub struct TaintNodesByCondition;

#[async_trait]
impl Admission for TaintNodesByCondition {
    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.operation == Operation::Create && attributes.is_core("nodes")
    }

    async fn mutate(&self, _attributes: &Attributes<'_>, object: &mut Value) -> Result<()> {
        let mut taints = object["spec"]["taints"].as_array().cloned().unwrap_or_default();
        if !taints.iter().any(|taint| taint["key"] == NOT_READY && taint["effect"] == "NoSchedule") {
            taints.push(json!({"key": NOT_READY, "effect": "NoSchedule"}));
            object["spec"]["taints"] = taints.into();
        }
        Ok(())
    }
}
