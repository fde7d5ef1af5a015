//! A claim grows only where its storage class lets it.

use async_trait::async_trait;
use quarterdeck_core::quota::amounts;
use serde_json::Value;

use super::{Admission, Attributes, Operation};
use crate::status::{Result, Status};

/// Upstream's `PersistentVolumeClaimResize`.
#[derive(Debug)]
pub struct PersistentVolumeClaimResize;

#[async_trait]
impl Admission for PersistentVolumeClaimResize {
    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.operation == Operation::Update && attributes.is_core("persistentvolumeclaims")
    }

    async fn validate(&self, attributes: &Attributes<'_>, object: Option<&Value>) -> Result<()> {
        let (Some(new), Some(old)) = (object, attributes.old) else { return Ok(()) };
        let storage =
            |claim: &Value| amounts(&claim["spec"]["resources"]["requests"]).get("storage").copied();
        if storage(new) <= storage(old) || may_grow(attributes, new, old) {
            return Ok(());
        }
        let why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must \
                   support resize";
        Err(Status::forbidden_object(attributes.resource, attributes.name, why))
    }
}

fn may_grow(attributes: &Attributes<'_>, new: &Value, old: &Value) -> bool {
    let class = |claim: &Value| claim["spec"]["storageClassName"].as_str().unwrap_or_default().to_owned();
    let name = class(new);
    let found = attributes.world.get(&format!("/registry/storageclasses/{name}"));
    !name.is_empty()
        && name == class(old)
        && found.is_some_and(|found| found.parsed()["allowVolumeExpansion"] == true)
}
