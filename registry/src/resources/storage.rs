//! The group `storage.k8s.io`, and of the core group what it provides: volumes and claims.

use serde_json::{Value, json};

use crate::resource::{Resource, Scope, Subresource};
use crate::strategy::{Conditional, Strategy, StrategyContext};
use crate::write::metadata::seconds;

pub(super) fn resources() -> Vec<Resource> {
    let kind = |kind, plural, scope| Resource::builtin("storage.k8s.io", "v1", kind, plural, scope);
    let core = |kind, plural, scope| {
        Resource::builtin("", "v1", kind, plural, scope).subresources(&[Subresource::Status])
    };
    vec![
        kind("CSIDriver", "csidrivers", Scope::Cluster).answers_with_deleted().strategy(Conditional),
        kind("CSINode", "csinodes", Scope::Cluster).answers_with_deleted().strategy(Conditional),
        kind("CSIStorageCapacity", "csistoragecapacities", Scope::Namespaced).strategy(Conditional),
        kind("StorageClass", "storageclasses", Scope::Cluster).answers_with_deleted().short_names(&["sc"]),
        kind("VolumeAttachment", "volumeattachments", Scope::Cluster)
            .answers_with_deleted()
            .subresources(&[Subresource::Status])
            .strategy(AttachmentStrategy),
        core("PersistentVolume", "persistentvolumes", Scope::Cluster)
            .answers_with_deleted()
            .short_names(&["pv"])
            .strategy(VolumeStrategy),
        core("PersistentVolumeClaim", "persistentvolumeclaims", Scope::Namespaced)
            .answers_with_deleted()
            .short_names(&["pvc"])
            .strategy(ClaimStrategy),
    ]
}

/// Whoever reports how far an attachment is changes nothing else of it.
#[derive(Debug)]
struct AttachmentStrategy;

impl Strategy for AttachmentStrategy {
    fn prepare_for_status_update(&self, attachment: &mut Value, old: &Value, _context: &StrategyContext<'_>) {
        let Some(metadata) = attachment["metadata"].as_object_mut() else { return };
        for field in ["annotations", "finalizers", "labels", "ownerReferences"] {
            match &old["metadata"][field] {
                Value::Null => drop(metadata.remove(field)),
                before => drop(metadata.insert(field.into(), before.clone())),
            }
        }
    }

    fn allows_unconditional_update(&self) -> bool {
        false
    }
}

/// A volume waits for who looks after it, and notes when that changes.
#[derive(Debug)]
struct VolumeStrategy;

impl Strategy for VolumeStrategy {
    fn prepare_for_create(&self, volume: &mut Value, context: &StrategyContext<'_>) {
        volume["status"] = json!({"phase": "Pending", "lastPhaseTransitionTime": seconds(context.now)});
    }

    fn prepare_for_status_update(&self, volume: &mut Value, old: &Value, context: &StrategyContext<'_>) {
        let (status, before) = (&volume["status"], &old["status"]);
        let time = &status["lastPhaseTransitionTime"];
        // Whoever changes the phase may say when it did.
        if status["phase"] != before["phase"]
            && (time.is_null() || *time == before["lastPhaseTransitionTime"])
        {
            volume["status"]["lastPhaseTransitionTime"] = seconds(context.now);
        }
    }
}

/// A claim waits for its volume.
#[derive(Debug)]
struct ClaimStrategy;

impl Strategy for ClaimStrategy {
    fn prepare_for_create(&self, claim: &mut Value, _context: &StrategyContext<'_>) {
        claim["status"] = json!({"phase": "Pending"});
    }
}
