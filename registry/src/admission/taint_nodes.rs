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
    async fn mutate(&self, attributes: &Attributes<'_>, object: &mut Value) -> Result<()> {
        if attributes.operation != Operation::Create || !attributes.is_core("nodes") {
            return Ok(());
        }
        let mut taints = object["spec"]["taints"].as_array().cloned().unwrap_or_default();
        if !taints.iter().any(|taint| taint["key"] == NOT_READY && taint["effect"] == "NoSchedule") {
            taints.push(json!({"key": NOT_READY, "effect": "NoSchedule"}));
            object["spec"]["taints"] = taints.into();
        }
        Ok(())
    }
}
