//! Rules for the volumes of a pod, and for paths in them.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::at::{At, Errors};
use super::super::names;
use super::sources::{self, POD_SOURCES};

/// The volumes of a pod that are valid, by name: what its containers can mount.
pub(super) type Volumes<'v> = BTreeMap<&'v str, &'v Value>;

const UP: &str = "must not contain '..'";

/// What a volume's name and its iSCSI portal may be together.
pub(in super::super) const MAX_ISCSI: usize = 64;

pub(in super::super) const TOO_LONG_FOR_ISCSI: &str = "Total length of <volume name>:<iscsi.targetPortal> must be \
     under 64 characters if iscsi.initiatorName is specified.";

/// Checks the volumes of a pod, or of a template if there is no `pod`: the metadata of the pod.
pub(super) fn volumes<'v>(list: &At<'v, '_>, pod: Option<&At>, errors: &mut Errors) -> Volumes<'v> {
    let mut volumes = Volumes::new();
    let pod_name = pod.map_or("", |metadata| metadata.child("name").str());
    for volume in list.items() {
        let found = errors.len();
        sources::one(&volume, POD_SOURCES, errors);
        let name = volume.child("name");
        named(&volume, pod_name, errors);
        let image = volume.child("image");
        // A template may leave the image to whoever makes pods of it.
        if image.is_set() && pod.is_some() {
            image.child("reference").require(errors);
        }
        if !name.require(errors) {
            name.rule(errors, names::dns_label);
        }
        if volumes.contains_key(name.str()) {
            name.duplicate(errors);
        }
        if errors.len() == found {
            volumes.insert(name.str(), volume.value());
        }
        let source = volume.child("persistentVolumeClaim");
        let claim = source.child("claimName");
        let made = |other: &At| {
            other.child("ephemeral").is_set()
                && claim.str().strip_prefix(pod_name).and_then(|rest| rest.strip_prefix('-'))
                    == Some(other.child("name").str())
        };
        if claim.is_set() && !pod_name.is_empty() && list.items().any(|other| made(&other)) {
            claim.invalid(errors, "must not reference a PVC that gets created for an ephemeral volume");
        }
    }
    volumes
}

/// Checks what a volume's own name is part of.
fn named(volume: &At, pod: &str, errors: &mut Errors) {
    let (name, iscsi) = (volume.child("name"), volume.child("iscsi"));
    let portal = iscsi.child("targetPortal").str();
    if iscsi.child("initiatorName").is_set() && name.str().len() + 1 + portal.len() > MAX_ISCSI {
        name.invalid_shown(errors, name.str(), TOO_LONG_FOR_ISCSI);
    }
    if volume.child("ephemeral").is_set() && !pod.is_empty() && !name.is_empty() {
        let claim = format!("{pod}-{}", name.str());
        for problem in names::subdomain(&claim) {
            name.invalid(errors, &format!("PVC name {claim:?}: {problem}"));
        }
    }
}

/// Returns whether no part of a path goes up.
pub(super) fn no_backsteps(path: &str) -> bool {
    !path.split('/').any(|part| part == "..")
}

/// Checks that no part of a path goes up.
pub(super) fn path_no_backsteps(path: &At, errors: &mut Errors) {
    if !no_backsteps(path.str()) {
        path.invalid(errors, UP);
    }
}

/// Checks that a path is relative and does not go up.
pub(super) fn descending_path(path: &At, errors: &mut Errors) {
    if path.str().starts_with('/') {
        path.invalid(errors, "must be a relative path");
    }
    path_no_backsteps(path, errors);
}

/// Checks that a path can be a file in a volume, where names that begin with two dots are taken.
pub(super) fn file_path(path: &At, errors: &mut Errors) {
    descending_path(path, errors);
    if path.str().starts_with("..") && !path.str().starts_with("../") {
        path.invalid(errors, "must not start with '..'");
    }
}

/// Checks the name of a storage driver.
pub(in super::super) fn csi_driver_name(driver: &At, errors: &mut Errors) {
    driver.require(errors);
    if driver.str().len() > 63 {
        errors.push(super::super::error::FieldError::too_long(driver, 63));
    }
    for problem in names::subdomain(&driver.str().to_lowercase()) {
        driver.invalid_shown(errors, driver.str(), &problem);
    }
}
