//! Rules for where a volume comes from: directories of the node, disks, network file systems.

use serde_json::Value;

use super::super::at::{At, Errors};
use super::projections;
use super::volumes::{csi_driver_name, descending_path, path_no_backsteps};

/// One kind of volume.
pub(in super::super) struct VolumeSource {
    field: &'static str,
    /// What errors call the field.
    shown: &'static str,
    check: fn(&At, &mut Errors),
}

impl VolumeSource {
    /// Returns what `volume` says about this kind.
    pub(in super::super) fn of<'v>(&self, volume: &At<'v, '_>) -> &'v Value {
        volume.child(self.field).value()
    }
}

const fn source(field: &'static str, check: fn(&At, &mut Errors)) -> VolumeSource {
    VolumeSource { field, shown: field, check }
}

/// What the volume of a pod can be.
pub(super) static POD_SOURCES: &[VolumeSource] = &[
    source("emptyDir", empty_dir),
    source("hostPath", host_path),
    source("gitRepo", git_repo),
    VolumeSource { field: "gcePersistentDisk", shown: "persistentDisk", check: gce_disk },
    source("awsElasticBlockStore", aws_disk),
    source("secret", projections::secret),
    source("nfs", nfs),
    source("iscsi", iscsi),
    source("glusterfs", glusterfs),
    source("flocker", flocker),
    source("persistentVolumeClaim", |claim, errors| needs(claim, &["claimName"], errors)),
    source("rbd", |rbd, errors| needs(rbd, &["monitors", "image"], errors)),
    source("cinder", |cinder, errors| needs(cinder, &["volumeID"], errors)),
    source("cephfs", |cephfs, errors| needs(cephfs, &["monitors"], errors)),
    source("quobyte", |quobyte, errors| needs(quobyte, &["registry", "volume"], errors)),
    source("downwardAPI", projections::downward_api),
    source("fc", fibre_channel),
    source("flexVolume", |flex, errors| needs(flex, &["driver"], errors)),
    source("configMap", projections::config_map),
    source("azureFile", |file, errors| needs(file, &["secretName", "shareName"], errors)),
    source("vsphereVolume", |volume, errors| needs(volume, &["volumePath"], errors)),
    source("photonPersistentDisk", |disk, errors| needs(disk, &["pdID"], errors)),
    source("portworxVolume", |volume, errors| needs(volume, &["volumeID"], errors)),
    source("azureDisk", azure_disk),
    source("storageos", |volume, errors| needs(volume, &["volumeName"], errors)),
    source("projected", projections::projected),
    source("scaleIO", |volume, errors| needs(volume, &["gateway", "system", "volumeName"], errors)),
    source("csi", csi_inline),
    source("ephemeral", ephemeral),
    source("image", |image, errors| needs(image, &["reference"], errors)),
];

/// What a persistent volume can be.
pub(in super::super) static PERSISTENT_SOURCES: &[VolumeSource] = &[
    source("hostPath", host_path),
    VolumeSource { field: "gcePersistentDisk", shown: "persistentDisk", check: gce_disk },
    source("awsElasticBlockStore", aws_disk),
    source("glusterfs", glusterfs),
    source("flocker", flocker),
    source("nfs", nfs),
    source("rbd", |rbd, errors| needs(rbd, &["monitors", "image"], errors)),
    source("quobyte", |quobyte, errors| needs(quobyte, &["registry", "volume"], errors)),
    source("cephfs", |cephfs, errors| needs(cephfs, &["monitors"], errors)),
    source("iscsi", iscsi),
    source("cinder", |cinder, errors| needs(cinder, &["volumeID"], errors)),
    source("fc", fibre_channel),
    source("flexVolume", |flex, errors| needs(flex, &["driver"], errors)),
    source("azureFile", |file, errors| needs(file, &["secretName", "shareName"], errors)),
    source("vsphereVolume", |volume, errors| needs(volume, &["volumePath"], errors)),
    source("photonPersistentDisk", |disk, errors| needs(disk, &["pdID"], errors)),
    source("portworxVolume", |volume, errors| needs(volume, &["volumeID"], errors)),
    source("azureDisk", azure_disk),
    source("scaleIO", |volume, errors| needs(volume, &["gateway", "system", "volumeName"], errors)),
    source("local", |local, errors| {
        if !local.child("path").require(errors) {
            path_no_backsteps(&local.child("path"), errors);
        }
    }),
    source("storageos", |volume, errors| needs(volume, &["volumeName"], errors)),
    source("csi", |csi, errors| {
        csi_driver_name(&csi.child("driver"), errors);
        csi.child("volumeHandle").require(errors);
    }),
];

/// Checks that a volume is of exactly one of the kinds in `sources`.
pub(in super::super) fn one(volume: &At, sources: &[VolumeSource], errors: &mut Errors) {
    let mut kinds = 0;
    for source in sources {
        let value = volume.child(source.field);
        if !value.is_set() {
            continue;
        }
        if kinds > 0 {
            value.forbidden(errors, "may not specify more than 1 volume type");
            continue;
        }
        kinds += 1;
        (source.check)(&volume.moved(value.value(), source.shown), errors);
    }
    if kinds == 0 {
        volume.required(errors, "must specify a volume type");
    }
}

fn needs(source: &At, fields: &[&str], errors: &mut Errors) {
    for field in fields {
        source.child(field).require(errors);
    }
}

fn empty_dir(dir: &At, errors: &mut Errors) {
    let limit = dir.child("sizeLimit");
    if limit.quantity().is_some_and(|limit| limit.is_negative()) {
        limit.forbidden(errors, "SizeLimit field must be a valid resource quantity");
    }
}

fn host_path(host: &At, errors: &mut Errors) {
    let path = host.child("path");
    if path.require(errors) {
        return;
    }
    path_no_backsteps(&path, errors);
    let kinds =
        ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
    host.child("type").one_of(errors, &kinds);
}

fn git_repo(repository: &At, errors: &mut Errors) {
    repository.child("repository").require(errors);
    descending_path(&repository.child("directory"), errors);
}

fn gce_disk(disk: &At, errors: &mut Errors) {
    disk.child("pdName").require(errors);
    partition(disk, errors);
}

fn aws_disk(disk: &At, errors: &mut Errors) {
    disk.child("volumeID").require(errors);
    partition(disk, errors);
}

fn partition(disk: &At, errors: &mut Errors) {
    let partition = disk.child("partition");
    if partition.int().is_some_and(|number| !(0..=255).contains(&number)) {
        partition.invalid(errors, "must be between 1 and 255, inclusive");
    }
}

fn nfs(nfs: &At, errors: &mut Errors) {
    needs(nfs, &["server", "path"], errors);
    let path = nfs.child("path");
    if !path.str().starts_with('/') {
        path.invalid_shown(errors, path.str(), "must be an absolute path");
    }
}

fn iscsi(iscsi: &At, errors: &mut Errors) {
    iscsi.child("targetPortal").require(errors);
    let iqn = iscsi.child("iqn");
    if !iqn.require(errors) && !is_initiator(iqn.str()) {
        iqn.invalid(errors, "must be valid format");
    }
    iscsi.child("lun").in_range(errors, 0, 255);
    let chap = iscsi.child("chapAuthDiscovery").is_true() || iscsi.child("chapAuthSession").is_true();
    if chap && !iscsi.child("secretRef").is_set() {
        iscsi.child("secretRef").required(errors, "");
    }
    if iscsi.child("secretRef").is_set() {
        iscsi.child("secretRef").child("name").require(errors);
    }
    let initiator = iscsi.child("initiatorName");
    if initiator.is_set() && !is_initiator(initiator.str()) {
        initiator.invalid(errors, "must be valid format");
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

fn glusterfs(glusterfs: &At, errors: &mut Errors) {
    needs(glusterfs, &["endpoints", "path"], errors);
}

fn flocker(flocker: &At, errors: &mut Errors) {
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

fn fibre_channel(fc: &At, errors: &mut Errors) {
    let (targets, ids, lun) = (fc.child("targetWWNs"), fc.child("wwids"), fc.child("lun"));
    let rule = "must specify either targetWWNs or wwids, but not both";
    if targets.is_empty() && ids.is_empty() {
        targets.required(errors, rule);
    }
    if targets.is_empty() {
        return;
    }
    if !ids.is_empty() {
        targets.invalid(errors, rule);
    }
    if lun.is_set() {
        lun.in_range(errors, 0, 255);
    } else {
        lun.required(errors, "lun is required if targetWWNs is specified");
    }
}

fn azure_disk(disk: &At, errors: &mut Errors) {
    needs(disk, &["diskName", "diskURI"], errors);
    disk.child("cachingMode").one_of_if_set(errors, &["None", "ReadOnly", "ReadWrite"]);
    disk.child("kind").one_of_if_set(errors, &["Dedicated", "Managed", "Shared"]);
    let (kind, uri) = (disk.child("kind").str(), disk.child("diskURI"));
    if kind == "Managed" && !uri.str().starts_with("/subscriptions/") {
        let rule =
            "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}";
        uri.invalid_shown(errors, uri.str(), rule);
    }
    if !matches!(kind, "" | "Managed") && !uri.str().starts_with("https://") {
        uri.not_supported(
            errors,
            &["https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"],
        );
    }
}

fn csi_inline(csi: &At, errors: &mut Errors) {
    csi_driver_name(&csi.child("driver"), errors);
    let secret = csi.child("nodePublishSecretRef");
    if secret.is_set() {
        secret.child("name").require(errors);
    }
}

fn ephemeral(volume: &At, errors: &mut Errors) {
    let template = volume.child("volumeClaimTemplate");
    if !template.is_set() {
        template.required(errors, "");
        return;
    }
    let meta = template.child("metadata");
    super::super::metadata::labels(&template.moved(meta.child("labels").value(), "labels"), errors);
    super::super::metadata::annotations(
        &template.moved(meta.child("annotations").value(), "annotations"),
        errors,
    );
    super::super::storage::claim_spec(&template.child("spec"), errors);
}
