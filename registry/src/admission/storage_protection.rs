//! Volumes and claims in use stay until nobody uses them.

use async_trait::async_trait;
use serde_json::Value;

use super::{Admission, Attributes, Operation};
use crate::status::Result;

const CLAIM: &str = "kubernetes.io/pvc-protection";
const VOLUME: &str = "kubernetes.io/pv-protection";

/// Upstream's `StorageObjectInUseProtection`.
#[derive(Debug)]
pub struct StorageObjectInUseProtection;

#[async_trait]
impl Admission for StorageObjectInUseProtection {
    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.operation == Operation::Create
            && (attributes.is_core("persistentvolumeclaims") || attributes.is_core("persistentvolumes"))
    }

    async fn mutate(&self, attributes: &Attributes<'_>, object: &mut Value) -> Result<()> {
        let finalizer = if attributes.is_core("persistentvolumes") { VOLUME } else { CLAIM };
        let mut finalizers = object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
        if !finalizers.iter().any(|known| known == finalizer) {
            finalizers.push(finalizer.into());
            object["metadata"]["finalizers"] = finalizers.into();
        }
        Ok(())
    }
}
