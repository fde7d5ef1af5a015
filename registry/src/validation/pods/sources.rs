//! Rules for where a volume comes from: which kinds there are, and those that need no network.

use serde_json::Value;

use super::super::at::{At, Errors};
use super::super::names;
use super::volumes::{csi_driver_name, descending_path, path_no_backsteps};
use super::{projections, remote};

/// One kind of volume.
pub(in super::super) struct VolumeSource {
    field: &'static str,
    /// What errors call the field.
    shown: &'static str,
    /// What they call it when the volume is of another kind already.
    again: &'static str,
    check: fn(&At, &mut Errors),
}

impl VolumeSource {
    /// Returns what `volume` says about this kind.
    pub(in super::super) fn of<'v>(&self, volume: &At<'v, '_>) -> &'v Value {
        volume.child(self.field).value()
    }

    const fn called(self, shown: &'static str) -> Self {
        Self { shown, ..self }
    }

    const fn called_again(self, again: &'static str) -> Self {
        Self { again, ..self }
    }
}

const fn source(field: &'static str, check: fn(&At, &mut Errors)) -> VolumeSource {
    VolumeSource { field, shown: field, again: field, check }
}

/// What the volume of a pod can be.
pub(super) static POD_SOURCES: &[VolumeSource] = &[
    source("emptyDir", empty_dir),
    source("hostPath", host_path),
    source("gitRepo", git_repo),
    source("gcePersistentDisk", remote::gce_disk).called("persistentDisk"),
    source("awsElasticBlockStore", remote::aws_disk),
    source("secret", projections::secret),
    source("nfs", remote::nfs),
    source("iscsi", remote::iscsi),
    source("glusterfs", remote::glusterfs),
    source("flocker", remote::flocker),
    source("persistentVolumeClaim", |claim, errors| needs(claim, &["claimName"], errors)),
    source("rbd", |rbd, errors| needs(rbd, &["monitors", "image"], errors)),
    source("cinder", remote::cinder),
    source("cephfs", |cephfs, errors| needs(cephfs, &["monitors"], errors)).called_again("cephFS"),
    source("quobyte", remote::quobyte),
    source("downwardAPI", projections::downward_api).called_again("downwarAPI"),
    source("fc", remote::fibre_channel),
    source("flexVolume", remote::flex),
    source("configMap", projections::config_map),
    source("azureFile", |file, errors| needs(file, &["secretName", "shareName"], errors)),
    source("vsphereVolume", |volume, errors| needs(volume, &["volumePath"], errors)),
    source("photonPersistentDisk", |disk, errors| needs(disk, &["pdID"], errors)),
    source("portworxVolume", |volume, errors| needs(volume, &["volumeID"], errors)),
    source("azureDisk", remote::azure_disk),
    source("storageos", remote::storage_os),
    source("projected", projections::projected),
    source("scaleIO", |volume, errors| needs(volume, &["gateway", "system", "volumeName"], errors)),
    source("csi", csi_inline),
    source("ephemeral", ephemeral),
    source("image", image),
];

/// What a persistent volume can be.
pub(in super::super) static PERSISTENT_SOURCES: &[VolumeSource] = &[
    source("hostPath", host_path),
    source("gcePersistentDisk", remote::gce_disk).called("persistentDisk"),
    source("awsElasticBlockStore", remote::aws_disk),
    source("glusterfs", remote::persistent_glusterfs),
    source("flocker", remote::flocker),
    source("nfs", remote::nfs),
    source("rbd", |rbd, errors| needs(rbd, &["monitors", "image"], errors)),
    source("quobyte", remote::quobyte),
    source("cephfs", |cephfs, errors| needs(cephfs, &["monitors"], errors)).called_again("cephFS"),
    source("iscsi", remote::persistent_iscsi),
    source("cinder", remote::persistent_cinder),
    source("fc", remote::fibre_channel),
    source("flexVolume", remote::flex),
    source("azureFile", remote::persistent_azure_file),
    source("vsphereVolume", |volume, errors| needs(volume, &["volumePath"], errors)),
    source("photonPersistentDisk", |disk, errors| needs(disk, &["pdID"], errors)),
    source("portworxVolume", |volume, errors| needs(volume, &["volumeID"], errors)),
    source("azureDisk", remote::azure_disk),
    source("scaleIO", |volume, errors| needs(volume, &["gateway", "system", "volumeName"], errors)),
    source("local", |local, errors| {
        if !local.child("path").require(errors) {
            path_no_backsteps(&local.child("path"), errors);
        }
    }),
    source("storageos", remote::persistent_storage_os),
    source("csi", remote::persistent_csi),
];

/// Checks that a volume is of exactly one of the kinds in `sources`.
pub(in super::super) fn one(volume: &At, sources: &[VolumeSource], errors: &mut Errors) {
    let mut kinds = 0;
    for source in sources {
        let value = source.of(volume);
        if value.is_null() {
            continue;
        }
        if kinds > 0 {
            volume.child(source.again).forbidden(errors, "may not specify more than 1 volume type");
            continue;
        }
        kinds += 1;
        (source.check)(&volume.moved(value, source.shown), errors);
    }
    if kinds == 0 {
        volume.required(errors, "must specify a volume type");
    }
}

/// Checks that the fields are there.
pub(super) fn needs(source: &At, fields: &[&str], errors: &mut Errors) {
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

fn csi_inline(csi: &At, errors: &mut Errors) {
    csi_driver_name(&csi.child("driver"), errors);
    let secret = csi.child("nodePublishSecretRef");
    if secret.is_set() && !secret.child("name").require(errors) {
        csi.moved(secret.child("name").value(), "name").rule(errors, names::subdomain);
    }
}

fn ephemeral(volume: &At, errors: &mut Errors) {
    let template = volume.child("volumeClaimTemplate");
    if !template.is_set() {
        template.required(errors, "");
        return;
    }
    let meta = template.child("metadata");
    super::super::metadata::annotations(&meta.child("annotations"), errors);
    super::super::metadata::labels(&meta.child("labels"), errors);
    for (name, field) in meta.entries() {
        if !matches!(name, "annotations" | "labels" | "creationTimestamp") && !field.is_empty() {
            meta.child(name).forbidden(errors, "cannot be set");
        }
    }
    super::super::storage::claim_spec(&template.child("spec"), errors);
}

fn image(image: &At, errors: &mut Errors) {
    image.child("pullPolicy").one_of_or_required(errors, &["Always", "IfNotPresent", "Never"]);
}
