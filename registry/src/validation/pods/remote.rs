//! Rules for volumes of other hosts: disks of clouds, network file systems, storage drivers.

use super::super::at::{At, Errors};
use super::super::names;
use super::sources::needs;
use super::volumes::csi_driver_name;

const NOT_ALONE: &str = "must be a host:port pair or multiple pairs separated by commas";
const MAX_TENANT: usize = 64;

pub(super) fn gce_disk(disk: &At, errors: &mut Errors) {
    disk.child("pdName").require(errors);
    partition(disk, errors);
}

pub(super) fn aws_disk(disk: &At, errors: &mut Errors) {
    disk.child("volumeID").require(errors);
    partition(disk, errors);
}

fn partition(disk: &At, errors: &mut Errors) {
    let partition = disk.child("partition");
    if partition.int().is_some_and(|number| !(0..=255).contains(&number)) {
        partition.invalid(errors, "must be between 1 and 255, inclusive");
    }
}

pub(super) fn nfs(nfs: &At, errors: &mut Errors) {
    needs(nfs, &["server", "path"], errors);
    let path = nfs.child("path");
    if !path.str().starts_with('/') {
        path.invalid_shown(errors, path.str(), "must be an absolute path");
    }
}

pub(super) fn iscsi(iscsi: &At, errors: &mut Errors) {
    iscsi.child("targetPortal").require(errors);
    target(iscsi, "must be valid format starting with iqn, eui, or naa", errors);
    initiator(iscsi, "must be valid format starting with iqn, eui, or naa", errors);
}

pub(super) fn persistent_iscsi(iscsi: &At, errors: &mut Errors) {
    iscsi.child("targetPortal").require(errors);
    target(iscsi, "must be valid format", errors);
    let secret = iscsi.child("secretRef");
    if secret.is_set() {
        secret.child("name").require(errors);
    }
    initiator(iscsi, "must be valid format", errors);
}

/// Checks what an initiator connects to; `unknown` says what is wrong with a name of none of the three forms.
fn target(iscsi: &At, unknown: &str, errors: &mut Errors) {
    let iqn = iscsi.child("iqn");
    if !iqn.require(errors) {
        initiator_name(&iqn, unknown, errors);
    }
    iscsi.child("lun").in_range(errors, 0, 255);
    let chap = iscsi.child("chapAuthDiscovery").is_true() || iscsi.child("chapAuthSession").is_true();
    if chap && !iscsi.child("secretRef").is_set() {
        iscsi.child("secretRef").required(errors, "");
    }
}

fn initiator(iscsi: &At, unknown: &str, errors: &mut Errors) {
    let name = iscsi.child("initiatorName").value();
    if !name.is_null() {
        initiator_name(&iscsi.moved(name, "initiatorname"), unknown, errors);
    }
}

fn initiator_name(name: &At, unknown: &str, errors: &mut Errors) {
    if !["iqn", "eui", "naa"].iter().any(|form| name.str().starts_with(form)) {
        name.invalid(errors, unknown);
    } else if !is_initiator(name.str()) {
        name.invalid(errors, "must be valid format");
    }
}

/// Returns whether a name has one of the three forms that iSCSI knows.
fn is_initiator(name: &str) -> bool {
    let alphanumeric =
        |text: &str, len: usize| text.len() == len && text.bytes().all(|b| b.is_ascii_alphanumeric());
    if let Some(rest) = name.strip_prefix("iqn.") {
        let (date, rest) = rest.split_at_checked(7).unwrap_or_default();
        let (year, month) = date.split_once('-').unwrap_or_default();
        let digits = |text: &str, len: usize| text.len() == len && text.bytes().all(|b| b.is_ascii_digit());
        let (authority, id) = rest.split_once(':').unwrap_or_default();
        let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
        return digits(year, 4)
            && digits(month, 2)
            && authority.strip_prefix('.').is_some_and(|name| !name.is_empty() && name.chars().all(known))
            && !id.is_empty()
            && !id.contains(|c: char| c.is_whitespace() || ",;*&$|".contains(c));
    }
    name.strip_prefix("eui.").is_some_and(|rest| alphanumeric(rest, 16))
        || name.strip_prefix("naa.").is_some_and(|rest| alphanumeric(rest, 32))
}

pub(super) fn glusterfs(glusterfs: &At, errors: &mut Errors) {
    needs(glusterfs, &["endpoints", "path"], errors);
}

pub(super) fn persistent_glusterfs(volume: &At, errors: &mut Errors) {
    glusterfs(volume, errors);
    let namespace = volume.child("endpointsNamespace");
    if !namespace.is_set() {
        return;
    }
    if namespace.is_empty() {
        let rule = "if the endpointnamespace is set, it must be a valid namespace name";
        namespace.invalid(errors, rule);
    } else {
        namespace.rule(errors, names::dns_label);
    }
}

pub(super) fn flocker(flocker: &At, errors: &mut Errors) {
    let (name, uuid) = (flocker.child("datasetName"), flocker.child("datasetUUID"));
    if name.is_empty() && uuid.is_empty() {
        flocker.required(errors, "one of datasetName and datasetUUID is required");
    }
    if !name.is_empty() && !uuid.is_empty() {
        let rule = "datasetName and datasetUUID can not be specified simultaneously";
        flocker.invalid_shown(errors, "resource", rule);
    }
    if name.str().contains('/') {
        name.invalid(errors, "must not contain '/'");
    }
}

pub(super) fn cinder(cinder: &At, errors: &mut Errors) {
    cinder.child("volumeID").require(errors);
    secret(cinder, &["name"], errors);
}

pub(super) fn persistent_cinder(cinder: &At, errors: &mut Errors) {
    cinder.child("volumeID").require(errors);
    secret(cinder, &["name", "namespace"], errors);
}

fn secret(source: &At, parts: &[&str], errors: &mut Errors) {
    let secret = source.child("secretRef");
    if secret.is_set() {
        needs(&secret, parts, errors);
    }
}

pub(super) fn quobyte(quobyte: &At, errors: &mut Errors) {
    let (registry, tenant) = (quobyte.child("registry"), quobyte.child("tenant"));
    if registry.is_empty() {
        registry.required(errors, NOT_ALONE);
    } else if tenant.str().len() > MAX_TENANT {
        let rule = format!("must be a UUID and may not exceed a length of {MAX_TENANT} characters");
        tenant.required(errors, &rule);
    } else {
        for _ in registry.str().split(',').filter(|pair| !is_host_and_port(pair)) {
            registry.invalid(errors, NOT_ALONE);
        }
    }
    quobyte.child("volume").require(errors);
}

/// Returns whether a text is a host, a colon and a port, as Go splits them.
fn is_host_and_port(pair: &str) -> bool {
    match pair.rsplit_once(':') {
        Some((host, _)) if host.starts_with('[') => host.ends_with(']'),
        Some((host, port)) => !host.contains([':', '[', ']']) && !port.contains(['[', ']']),
        None => false,
    }
}

pub(super) fn fibre_channel(fc: &At, errors: &mut Errors) {
    let (targets, ids, lun) = (fc.child("targetWWNs"), fc.child("wwids"), fc.child("lun"));
    if targets.is_empty() && ids.is_empty() {
        targets.required(errors, "must specify either targetWWNs or wwids, but not both");
    }
    if targets.is_empty() {
        return;
    }
    if !ids.is_empty() {
        targets.invalid(errors, "targetWWNs and wwids can not be specified simultaneously");
    }
    if lun.is_set() {
        lun.in_range(errors, 0, 255);
    } else {
        lun.required(errors, "lun is required if targetWWNs is specified");
    }
}

pub(super) fn flex(flex: &At, errors: &mut Errors) {
    flex.child("driver").require(errors);
    for (key, option) in flex.child("options").entries() {
        let domain = format!(".{}", key.split_once('/').map_or(key, |(domain, _)| domain).to_lowercase());
        if domain.ends_with(".kubernetes.io") || domain.ends_with(".k8s.io") {
            option.invalid_shown(errors, key, "kubernetes.io and k8s.io namespaces are reserved");
        }
    }
}

pub(super) fn persistent_azure_file(file: &At, errors: &mut Errors) {
    needs(file, &["secretName", "shareName"], errors);
    let namespace = file.child("secretNamespace");
    if namespace.is_set() {
        namespace.require(errors);
    }
}

pub(super) fn azure_disk(disk: &At, errors: &mut Errors) {
    needs(disk, &["diskName", "diskURI"], errors);
    disk.child("cachingMode").one_of_if_set(errors, &["None", "ReadOnly", "ReadWrite"]);
    disk.child("kind").one_of_if_set(errors, &["Dedicated", "Managed", "Shared"]);
    let (kind, uri) = (disk.child("kind").str(), disk.child("diskURI"));
    let (start, form) = match kind {
        "Managed" => (
            "/subscriptions/",
            "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}",
        ),
        _ => ("https://", "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"),
    };
    if !uri.str().starts_with(start) {
        uri.not_supported(errors, &[form]);
    }
}

pub(super) fn storage_os(volume: &At, errors: &mut Errors) {
    names_of_storage_os(volume, errors);
    secret(volume, &["name"], errors);
}

pub(super) fn persistent_storage_os(volume: &At, errors: &mut Errors) {
    names_of_storage_os(volume, errors);
    secret(volume, &["name", "namespace"], errors);
}

fn names_of_storage_os(volume: &At, errors: &mut Errors) {
    let (name, namespace) = (volume.child("volumeName"), volume.child("volumeNamespace"));
    if !name.require(errors) {
        name.rule(errors, names::dns_label);
    }
    if !namespace.is_empty() {
        namespace.rule(errors, names::dns_label);
    }
}

pub(super) fn persistent_csi(csi: &At, errors: &mut Errors) {
    csi_driver_name(&csi.child("driver"), errors);
    csi.child("volumeHandle").require(errors);
    for secret in [
        "controllerPublishSecretRef",
        "controllerExpandSecretRef",
        "nodePublishSecretRef",
        "nodeExpandSecretRef",
    ] {
        let secret = csi.child(secret);
        if secret.is_set() {
            secret_in_namespace(&secret, errors);
        }
    }
}

fn secret_in_namespace(secret: &At, errors: &mut Errors) {
    for (part, rule) in
        [("name", names::subdomain as fn(&str) -> Vec<String>), ("namespace", names::dns_label)]
    {
        let part = secret.child(part);
        if !part.require(errors) {
            part.rule(errors, rule);
        }
    }
}
