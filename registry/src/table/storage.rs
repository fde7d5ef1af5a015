//! Volumes, claims, and what provides them; and how the API server itself stores kinds.

use serde_json::Value;

use super::Columns;
use super::cell::{self, count, is_true, items, or, quantity, string};
use super::definition::{age, boolean, integer, name, text, wide};

pub(super) fn columns(kind: &str) -> Option<Columns> {
    Some(match kind {
        "PersistentVolume" => persistent_volume(),
        "PersistentVolumeClaim" => persistent_volume_claim(),
        "StorageClass" => storage_class(),
        "VolumeAttributesClass" => volume_attributes_class(),
        "VolumeAttachment" => volume_attachment(),
        "CSINode" => csi_node(),
        "CSIDriver" => csi_driver(),
        "CSIStorageCapacity" => csi_storage_capacity(),
        "StorageVersion" => storage_version(),
        "StorageVersionMigration" => storage_version_migration(),
        _ => return None,
    })
}

/// The modes that are there, abbreviated and in upstream's order.
fn access_modes(modes: &Value) -> String {
    let known = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let has = |mode: &str| items(modes).iter().any(|other| other == mode);
    Vec::from_iter(known.into_iter().filter(|(mode, _)| has(mode)).map(|(_, short)| short)).join(",")
}

/// The storage class: of an annotation that is older than the field, else of the field.
fn class(object: &Value) -> Value {
    match object["metadata"]["annotations"].get("volume.beta.kubernetes.io/storage-class") {
        Some(class) => cell::text(class),
        None => cell::text(&object["spec"]["storageClassName"]),
    }
}

fn phase(object: &Value) -> Value {
    if cell::is_deleted(object) { "Terminating".into() } else { cell::text(&object["status"]["phase"]) }
}

fn optional(value: &Value) -> Value {
    value.as_str().unwrap_or("<unset>").into()
}

fn persistent_volume() -> Columns {
    let definitions = [
        name(),
        text("Capacity", "How much it holds"),
        text("Access Modes", "How it can be mounted"),
        text("Reclaim Policy", "What becomes of it after its claim"),
        text("Status", "Whether it is bound"),
        text("Claim", "The claim that it is bound to"),
        text("StorageClass", "The class that it belongs to"),
        text("VolumeAttributesClass", "The class of its attributes"),
        text("Reason", "Why it failed, in one word"),
        age(),
        wide("VolumeMode", "Whether it is a file system or a device"),
    ];
    Columns::new(definitions, |volume, now| {
        let spec = &volume["spec"];
        let claim = match &spec["claimRef"] {
            Value::Null => String::new(),
            claim => format!("{}/{}", string(&claim["namespace"]), string(&claim["name"])),
        };
        vec![
            cell::name(volume),
            quantity(&spec["capacity"]["storage"]).into(),
            access_modes(&spec["accessModes"]).into(),
            cell::text(&spec["persistentVolumeReclaimPolicy"]),
            phase(volume),
            claim.into(),
            class(volume),
            optional(&spec["volumeAttributesClassName"]),
            cell::text(&volume["status"]["reason"]),
            cell::age(volume, now),
            optional(&spec["volumeMode"]),
        ]
    })
}

fn persistent_volume_claim() -> Columns {
    let definitions = [
        name(),
        text("Status", "Whether it is bound"),
        text("Volume", "The volume that it is bound to"),
        text("Capacity", "How much the volume holds"),
        text("Access Modes", "How the volume can be mounted"),
        text("StorageClass", "The class that is asked for"),
        text("VolumeAttributesClass", "The class of attributes that is asked for"),
        age(),
        wide("VolumeMode", "Whether a file system or a device is asked for"),
    ];
    Columns::new(definitions, |claim, now| {
        let (spec, status) = (&claim["spec"], &claim["status"]);
        let volume = string(&spec["volumeName"]);
        let (capacity, modes) = match volume {
            "" => Default::default(),
            _ => (quantity(&status["capacity"]["storage"]), access_modes(&status["accessModes"])),
        };
        vec![
            cell::name(claim),
            phase(claim),
            volume.into(),
            capacity.into(),
            modes.into(),
            class(claim),
            optional(&spec["volumeAttributesClassName"]),
            cell::age(claim, now),
            optional(&spec["volumeMode"]),
        ]
    })
}

/// The name, with a remark if one of the annotations says that the class is the default.
fn name_of_class(class: &Value, annotations: &[&str]) -> Value {
    let default = annotations.iter().any(|annotation| class["metadata"]["annotations"][annotation] == "true");
    let name = string(&class["metadata"]["name"]);
    if default { format!("{name} (default)").into() } else { name.into() }
}

fn storage_class() -> Columns {
    let definitions = [
        name(),
        text("Provisioner", "What makes its volumes"),
        text("ReclaimPolicy", "What becomes of a volume after its claim"),
        text("VolumeBindingMode", "When claims are bound to volumes"),
        text("AllowVolumeExpansion", "Whether claims may grow"),
        age(),
    ];
    Columns::new(definitions, |class, now| {
        let default = "storageclass.kubernetes.io/is-default-class";
        let older = "storageclass.beta.kubernetes.io/is-default-class";
        vec![
            name_of_class(class, &[default, older]),
            cell::text(&class["provisioner"]),
            or(&class["reclaimPolicy"], "Delete"),
            or(&class["volumeBindingMode"], "Immediate"),
            is_true(&class["allowVolumeExpansion"]).into(),
            cell::age(class, now),
        ]
    })
}

fn volume_attributes_class() -> Columns {
    Columns::new([name(), text("DriverName", "The driver of its volumes"), age()], |class, now| {
        let default = "volumeattributesclass.alpha.kubernetes.io/is-default-class";
        vec![name_of_class(class, &[default]), cell::text(&class["driverName"]), cell::age(class, now)]
    })
}

fn volume_attachment() -> Columns {
    let definitions = [
        name(),
        text("Attacher", "The driver that attaches the volume").with_format("name"),
        text("PV", "The volume"),
        text("Node", "The node that it is attached to"),
        boolean("Attached", "Whether it is attached by now"),
        age(),
    ];
    Columns::new(definitions, |attachment, now| {
        let spec = &attachment["spec"];
        vec![
            cell::name(attachment),
            cell::text(&spec["attacher"]),
            cell::text(&spec["source"]["persistentVolumeName"]),
            cell::text(&spec["nodeName"]),
            is_true(&attachment["status"]["attached"]).into(),
            cell::age(attachment, now),
        ]
    })
}

fn csi_node() -> Columns {
    Columns::new([name(), integer("Drivers", "How many drivers the node has"), age()], |node, now| {
        vec![cell::name(node), count(&node["spec"]["drivers"]).into(), cell::age(node, now)]
    })
}

fn csi_driver() -> Columns {
    let definitions = [
        name(),
        boolean("AttachRequired", "Whether volumes are attached before they are mounted"),
        boolean("PodInfoOnMount", "Whether the driver is told about the pod"),
        boolean("StorageCapacity", "Whether the driver publishes how much room there is"),
        text("TokenRequests", "For whom the driver gets tokens of the pod's account"),
        boolean("RequiresRepublish", "Whether the driver is called again and again"),
        text("Modes", "What kinds of volumes it serves"),
        age(),
    ];
    Columns::new(definitions, |driver, now| {
        let spec = &driver["spec"];
        let tokens = match &spec["tokenRequests"] {
            Value::Null => "<unset>".to_owned(),
            requests => cell::join(requests, ",", |request| string(&request["audience"])),
        };
        let modes = match cell::join(&spec["volumeLifecycleModes"], ",", string) {
            modes if modes.is_empty() => "<none>".to_owned(),
            modes => modes,
        };
        vec![
            cell::name(driver),
            spec["attachRequired"].as_bool().unwrap_or(true).into(),
            is_true(&spec["podInfoOnMount"]).into(),
            is_true(&spec["storageCapacity"]).into(),
            tokens.into(),
            is_true(&spec["requiresRepublish"]).into(),
            modes.into(),
            cell::age(driver, now),
        ]
    })
}

fn csi_storage_capacity() -> Columns {
    let definitions = [
        name(),
        text("StorageClassName", "The class that has the room"),
        text("Capacity", "How much room there is"),
    ];
    Columns::new(definitions, |object, _| {
        vec![cell::name(object), cell::text(&object["storageClassName"]), optional(&object["capacity"])]
    })
}

fn storage_version() -> Columns {
    let definitions = [
        name(),
        text("CommonEncodingVersion", "The version that all servers store"),
        text("StorageVersions", "The version that each server stores"),
        age(),
    ];
    Columns::new(definitions, |object, now| {
        let status = &object["status"];
        let versions = items(&status["storageVersions"]).iter().map(|server| {
            format!("{}={}", string(&server["apiServerID"]), string(&server["encodingVersion"]))
        });
        vec![
            cell::name(object),
            optional(&status["commonEncodingVersion"]),
            cell::shortened(versions.collect()).into(),
            cell::age(object, now),
        ]
    })
}

fn storage_version_migration() -> Columns {
    let definitions = [
        text("Name", "The object's name, unique within its kind and namespace"),
        text("Resource", "What is stored anew"),
    ];
    Columns::new(definitions, |object, _| {
        let resource = &object["spec"]["resource"];
        let path = ["resource", "version", "group"].map(|part| string(&resource[part])).join(".");
        vec![cell::name(object), path.into()]
    })
}
