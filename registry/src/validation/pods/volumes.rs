//! Rules for the volumes of a pod, and for paths in them.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::at::{At, Errors};
use super::super::names;
use super::sources::{self, POD_SOURCES};

/// The volumes of a pod that are valid, by name: what its containers can mount.
pub(super) type Volumes<'v> = BTreeMap<&'v str, &'v Value>;

const UP: &str = "must not contain '..'";

/// Checks the volumes of a pod.
pub(super) fn volumes<'v>(list: &At<'v, '_>, errors: &mut Errors) -> Volumes<'v> {
    let mut volumes = Volumes::new();
    for volume in list.items() {
        let found = errors.len();
        sources::one(&volume, POD_SOURCES, errors);
        let name = volume.child("name");
        if !name.require(errors) {
            name.rule(errors, names::dns_label);
        }
        if volumes.contains_key(name.str()) {
            name.duplicate(errors);
        }
        if errors.len() == found {
            volumes.insert(name.str(), volume.value());
        }
    }
    volumes
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
    if path.str().starts_with("..") && no_backsteps(path.str()) {
        path.invalid(errors, "must not start with '..'");
    }
}

/// Checks the name of a storage driver.
pub(super) fn csi_driver_name(driver: &At, errors: &mut Errors) {
    driver.require(errors);
    if driver.str().len() > 63 {
        errors.push(super::super::error::FieldError::too_long(driver, 63));
    }
    for problem in names::subdomain(&driver.str().to_lowercase()) {
        driver.invalid_shown(errors, driver.str(), &problem);
    }
}

/// Checks that disks that only one node can write to are mounted read-only by pods of which there are several.
pub(in super::super) fn read_only_disks(volumes: &At, rule: &str, errors: &mut Errors) {
    for volume in volumes.items() {
        let disk = volume.child("gcePersistentDisk");
        if disk.is_set() && !disk.child("readOnly").is_true() {
            disk.child("readOnly").invalid_shown(errors, false, rule);
        }
    }
}
