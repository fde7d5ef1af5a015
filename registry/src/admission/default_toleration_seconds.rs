//! Every pod tolerates a lost node for five minutes, unless it says otherwise.

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{Admission, Attributes, Operation};
use crate::status::Result;

/// The taints of nodes that are not ready or cannot be reached.
const TAINTS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];
/// For how many seconds pods tolerate them.
const SECONDS: u32 = 300;

/// Upstream's `DefaultTolerationSeconds`.
#[derive(Debug)]
pub struct DefaultTolerationSeconds;

#[async_trait]
impl Admission for DefaultTolerationSeconds {
    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.operation != Operation::Delete && attributes.is_core("pods")
    }

    async fn mutate(&self, _attributes: &Attributes<'_>, object: &mut Value) -> Result<()> {
        let tolerations = object["spec"]["tolerations"].as_array().cloned().unwrap_or_default();
        let missing = TAINTS.iter().filter(|taint| !tolerations.iter().any(|known| tolerates(known, taint)));
        let added: Vec<Value> = missing
            .map(|taint| {
                json!({
                    "key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS,
                })
            })
            .collect();
        if !added.is_empty() {
            object["spec"]["tolerations"] = [tolerations, added].concat().into();
        }
        Ok(())
    }
}

fn tolerates(toleration: &Value, taint: &str) -> bool {
    let matches = |field: &str, wanted: &str| {
        let value = toleration[field].as_str().unwrap_or_default();
        value.is_empty() || value == wanted
    };
    matches("key", taint) && matches("effect", "NoExecute")
}
