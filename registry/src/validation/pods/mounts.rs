//! Rules for the volumes that a container mounts, as files or as devices.

use super::super::at::{At, Errors};
use super::super::error::FieldError;
use super::volumes::{Volumes, descending_path, no_backsteps};

/// Checks mounts and devices of a container against the volumes of its pod.
pub(super) fn all(container: &At, volumes: &Volumes, errors: &mut Errors) {
    let (mounts, devices) = (container.child("volumeMounts"), container.child("volumeDevices"));
    let mut paths = Vec::new();
    for mount in mounts.items() {
        let (name, path) = (mount.child("name"), mount.child("mountPath"));
        name.require(errors);
        if !volumes.contains_key(name.str()) {
            errors.push(FieldError::not_found(name, name.str()));
        }
        path.require(errors);
        if paths.contains(&path.str()) {
            path.invalid_shown(errors, path.str(), "must be unique");
        }
        paths.push(path.str());
        if devices.items().any(|device| device.child("name").str() == name.str()) {
            name.invalid_shown(errors, name.str(), "must not already exist in volumeDevices");
        }
        if devices.items().any(|device| device.child("devicePath").str() == path.str()) {
            path.invalid_shown(errors, path.str(), "must not already exist as a path in volumeDevices");
        }
        if volumes.get(name.str()).is_some_and(|volume| volume.get("image").is_some()) {
            for part in ["subPath", "subPathExpr"] {
                if !mount.child(part).is_empty() {
                    mount.child(part).invalid(errors, "not allowed in image volume sources");
                }
            }
        }
        sub_paths(&mounts, &mount, errors);
        let propagation = mounts.moved(mount.child("mountPropagation").value(), "mountPropagation");
        propagation.one_of_if_set(errors, &["Bidirectional", "HostToContainer", "None"]);
        let privileged = container.child("securityContext").child("privileged").is_true();
        if propagation.str() == "Bidirectional" && !privileged {
            let rule = "Bidirectional mount propagation is available only to privileged containers";
            propagation.forbidden(errors, rule);
        }
        recursive_read_only(&mounts, &mount, errors);
    }
    block_devices(&mounts, &devices, volumes, errors);
}

fn sub_paths(mounts: &At, mount: &At, errors: &mut Errors) {
    let sub = mounts.moved(mount.child("subPath").value(), "subPath");
    if !sub.is_empty() {
        descending_path(&sub, errors);
    }
    let expression = mounts.moved(mount.child("subPathExpr").value(), "subPathExpr");
    if !expression.is_empty() {
        if !sub.is_empty() {
            mount.child("subPathExpr").invalid(errors, "subPathExpr and subPath are mutually exclusive");
        }
        descending_path(&expression, errors);
    }
}

fn recursive_read_only(mounts: &At, mount: &At, errors: &mut Errors) {
    let recursive = mounts.moved(mount.child("recursiveReadOnly").value(), "recursiveReadOnly");
    if !recursive.is_set() {
        return;
    }
    match recursive.str() {
        "Disabled" => {}
        "IfPossible" | "Enabled" => {
            if !mount.child("readOnly").is_true() {
                recursive.forbidden(errors, "may only be specified when readOnly is true");
            }
            if !matches!(mount.child("mountPropagation").str(), "" | "None") {
                recursive.forbidden(
                    errors,
                    "may only be specified when mountPropagation is None or not specified",
                );
            }
        }
        _ => recursive.not_supported(errors, &["Disabled", "Enabled", "IfPossible"]),
    }
}

fn block_devices(mounts: &At, devices: &At, volumes: &Volumes, errors: &mut Errors) {
    let (mut names, mut paths) = (Vec::new(), Vec::new());
    for device in devices.items() {
        let (name, path) = (device.child("name"), device.child("devicePath"));
        let volume = volumes.get(name.str());
        name.require(errors);
        if names.contains(&name.str()) {
            name.invalid_shown(errors, name.str(), "must be unique");
        }
        match volume {
            None => errors.push(FieldError::not_found(name, name.str())),
            Some(volume)
                if volume.get("persistentVolumeClaim").is_none() && volume.get("ephemeral").is_none() =>
            {
                let rule =
                    "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                name.invalid_shown(errors, name.str(), rule);
            }
            Some(_) => {}
        }
        path.require(errors);
        if paths.contains(&path.str()) {
            path.invalid_shown(errors, path.str(), "must be unique");
        }
        if no_backsteps(path.str()) {
            paths.push(path.str());
        } else {
            path.invalid_shown(errors, path.str(), "can not contain backsteps ('..')");
        }
        if mounts.items().any(|mount| mount.child("name").str() == name.str()) {
            name.invalid_shown(errors, name.str(), "must not already exist in volumeMounts");
        }
        if mounts.items().any(|mount| mount.child("mountPath").str() == path.str()) {
            path.invalid_shown(errors, path.str(), "must not already exist as a path in volumeMounts");
        }
        if !name.is_empty() {
            names.push(name.str());
        }
    }
}
