//! Secrets: their type stays.

use serde_json::Value;

use crate::strategy::{Strategy, StrategyContext};

#[derive(Debug)]
pub(super) struct SecretStrategy;

impl Strategy for SecretStrategy {
    fn prepare_for_update(&self, secret: &mut Value, old: &Value, _context: &StrategyContext<'_>) {
        if secret["type"].as_str().unwrap_or_default().is_empty() {
            secret["type"] = old["type"].clone();
        }
    }
}
