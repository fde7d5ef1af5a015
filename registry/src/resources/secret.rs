//! Secrets: text that a client writes plainly is stored as bytes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::resource::{Strategy, StrategyContext};

#[derive(Debug)]
pub(super) struct SecretStrategy;

impl Strategy for SecretStrategy {
    fn prepare_for_create(&self, secret: &mut Value, _context: &StrategyContext<'_>) {
        encode_text(secret);
    }

    fn prepare_for_update(&self, secret: &mut Value, old: &Value, _context: &StrategyContext<'_>) {
        encode_text(secret);
        if secret["type"].as_str().unwrap_or_default().is_empty() {
            secret["type"] = old["type"].clone();
        }
    }
}

/// Moves `stringData` to `data`.
fn encode_text(secret: &mut Value) {
    let Some(fields) = secret.as_object_mut() else { return };
    let Some(Value::Object(texts)) = fields.remove("stringData") else { return };
    for (key, text) in texts {
        if let Some(text) = text.as_str() {
            secret["data"][key] = STANDARD.encode(text).into();
        }
    }
}
