//! Which volume fits a claim. No I/O.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use quarterdeck_core::labels::Selector;
use quarterdeck_core::quantity::Quantity;

use crate::meta;

/// The class of a claim, before it was a field.
const CLASS: &str = "volume.beta.kubernetes.io/storage-class";

/// Returns the storage class that a claim asks for; empty if it asks for none.
pub(super) fn class_of_claim(claim: &PersistentVolumeClaim) -> &str {
    let field = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref());
    meta::annotation(claim, CLASS).or(field).unwrap_or_default()
}

fn class_of_volume(volume: &PersistentVolume) -> &str {
    let field = volume.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref());
    meta::annotation(volume, CLASS).or(field).unwrap_or_default()
}

fn storage(amounts: Option<&BTreeMap<String, Text>>) -> Quantity {
    amounts.and_then(|amounts| amounts.get("storage")?.0.parse().ok()).unwrap_or_default()
}

/// How much a volume holds.
fn capacity(volume: &PersistentVolume) -> Quantity {
    storage(volume.spec.as_ref().and_then(|spec| spec.capacity.as_ref()))
}

/// Orders volumes that fit: those that are meant for the claim first, then the smallest, then by name.
pub(super) fn rank(volume: &PersistentVolume, is_meant: bool) -> (bool, Quantity, String) {
    (!is_meant, capacity(volume), meta::name(volume).to_owned())
}

/// What a claim asks of a volume.
pub(super) struct Request<'a> {
    class: &'a str,
    storage: Quantity,
    access_modes: &'a [String],
    mode: &'a str,
    attributes: &'a str,
    selector: Option<Selector>,
}

impl<'a> Request<'a> {
    pub(super) fn of(claim: &'a PersistentVolumeClaim) -> Self {
        let spec = claim.spec.as_ref();
        let selector = spec.and_then(|spec| spec.selector.as_ref());
        Self {
            class: class_of_claim(claim),
            storage: storage(spec.and_then(|spec| spec.resources.as_ref()?.requests.as_ref())),
            access_modes: spec.and_then(|spec| spec.access_modes.as_deref()).unwrap_or_default(),
            mode: spec.and_then(|spec| spec.volume_mode.as_deref()).unwrap_or("Filesystem"),
            attributes: spec
                .and_then(|spec| spec.volume_attributes_class_name.as_deref())
                .unwrap_or_default(),
            selector: selector.map(|selector| {
                let value = serde_json::to_value(selector).unwrap_or_default();
                Selector::from_label_selector(Some(&value)).unwrap_or_else(|_| Selector::nothing())
            }),
        }
    }

    /// Whether a volume is of the class, the kind and the size, can be mounted so, and has the labels.
    pub(super) fn fits(&self, volume: &PersistentVolume) -> bool {
        let Some(spec) = &volume.spec else { return false };
        let modes = spec.access_modes.as_deref().unwrap_or_default();
        class_of_volume(volume) == self.class
            && spec.volume_attributes_class_name.as_deref().unwrap_or_default() == self.attributes
            && spec.volume_mode.as_deref().unwrap_or("Filesystem") == self.mode
            && self.access_modes.iter().all(|mode| modes.contains(mode))
            && capacity(volume) >= self.storage
            && self.selector.as_ref().is_none_or(|selector| selector.matches_map(meta::labels(volume)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    fn volume(name: &str, storage: &str) -> PersistentVolume {
        from_value(json!({"metadata": {"name": name, "labels": {"a": "b"}}, "spec": {
            "capacity": {"storage": storage}, "accessModes": ["ReadWriteOnce", "ReadOnlyMany"],
            "storageClassName": "slow", "volumeMode": "Filesystem",
        }}))
        .unwrap()
    }

    fn fits(change: impl Fn(&mut Value), volume: &PersistentVolume) -> bool {
        let mut claim = json!({"metadata": {"name": "c"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "slow",
            "resources": {"requests": {"storage": "1Gi"}},
        }});
        change(&mut claim);
        Request::of(&from_value(claim).unwrap()).fits(volume)
    }

    #[test]
    fn a_volume_fits_by_class_mode_size_access_and_labels() {
        let volume = volume("v", "1Gi");

        assert!(fits(|_| {}, &volume));
        assert!(!fits(|claim| claim["spec"]["storageClassName"] = "".into(), &volume));
        assert!(!fits(|claim| claim["spec"]["volumeMode"] = "Block".into(), &volume));
        assert!(!fits(|claim| claim["spec"]["resources"]["requests"]["storage"] = "1025Mi".into(), &volume));
        assert!(!fits(|claim| claim["spec"]["accessModes"] = json!(["ReadWriteMany"]), &volume));
        assert!(fits(|claim| claim["spec"]["selector"] = json!({"matchLabels": {"a": "b"}}), &volume));
        assert!(!fits(|claim| claim["spec"]["selector"] = json!({"matchLabels": {"a": "c"}}), &volume));
    }

    #[test]
    fn the_smallest_comes_first_and_what_is_meant_for_the_claim_before_all() {
        let mut volumes =
            [volume("big", "9Gi"), volume("small", "1Gi"), volume("same", "1Gi"), volume("own", "99Gi")];

        volumes.sort_by_key(|volume| rank(volume, meta::name(volume) == "own"));

        assert_eq!(volumes.each_ref().map(meta::name), ["own", "same", "small", "big"]);
    }
}
