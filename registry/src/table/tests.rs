use serde_json::{Value, json};

use super::*;

const CREATED: &str = "2024-05-01T10:00:00Z";

/// 90 minutes after [`CREATED`].
fn now() -> Timestamp {
    "2024-05-01T11:30:00Z".parse().unwrap()
}

fn options(include_object: IncludeObject) -> TableOptions {
    TableOptions { version: MetaVersion::V1, include_object, with_definitions: true, now: now() }
}

/// Gives an object a name and a time of creation, unless it has them.
fn created(mut object: Value) -> Value {
    let metadata = &mut object["metadata"];
    for (field, value) in [("name", "a"), ("creationTimestamp", CREATED)] {
        if metadata[field].is_null() {
            metadata[field] = value.into();
        }
    }
    object
}

fn cells(group: &str, kind: &str, object: Value) -> Value {
    let columns = columns(group, kind);
    let cells = columns.cells(&created(object), now());
    assert_eq!(cells.len(), columns.definitions().len(), "{group}/{kind} has a cell for each column");
    cells.into()
}

fn headings(group: &str, kind: &str) -> String {
    let name = |definition: &ColumnDefinition| match definition.priority {
        0 => definition.name.to_string(),
        _ => format!("({})", definition.name),
    };
    columns(group, kind).definitions().iter().map(name).collect::<Vec<_>>().join(" | ")
}

/// Group, kind and headings; those in parentheses are only shown where there is room.
const HEADINGS: &[(&str, &str, &str)] = &[
    (
        "",
        "Pod",
        "Name | Ready | Status | Restarts | Age | (IP) | (Node) | (Nominated Node) | (Readiness Gates)",
    ),
    ("", "PodTemplate", "Name | Containers | Images | Pod Labels"),
    (
        "",
        "ReplicationController",
        "Name | Desired | Current | Ready | Age | (Containers) | (Images) | (Selector)",
    ),
    ("apps", "ReplicaSet", "Name | Desired | Current | Ready | Age | (Containers) | (Images) | (Selector)"),
    (
        "apps",
        "Deployment",
        "Name | Ready | Up-to-date | Available | Age | (Containers) | (Images) | (Selector)",
    ),
    ("apps", "StatefulSet", "Name | Ready | Age | (Containers) | (Images)"),
    (
        "apps",
        "DaemonSet",
        "Name | Desired | Current | Ready | Up-to-date | Available | Node Selector | Age | (Containers) | (Images) | (Selector)",
    ),
    ("apps", "ControllerRevision", "Name | Controller | Revision | Age"),
    ("batch", "Job", "Name | Status | Completions | Duration | Age | (Containers) | (Images) | (Selector)"),
    (
        "batch",
        "CronJob",
        "Name | Schedule | Timezone | Suspend | Active | Last Schedule | Age | (Containers) | (Images) | (Selector)",
    ),
    ("", "Service", "Name | Type | Cluster-IP | External-IP | Port(s) | Age | (Selector)"),
    ("", "Endpoints", "Name | Endpoints | Age"),
    ("discovery.k8s.io", "EndpointSlice", "Name | AddressType | Ports | Endpoints | Age"),
    ("networking.k8s.io", "Ingress", "Name | Class | Hosts | Address | Ports | Age"),
    ("networking.k8s.io", "IngressClass", "Name | Controller | Parameters | Age"),
    ("networking.k8s.io", "NetworkPolicy", "Name | Pod-Selector | Age"),
    (
        "",
        "Node",
        "Name | Status | Roles | Age | Version | (Internal-IP) | (External-IP) | (OS-Image) | (Kernel-Version) | \
             (Container-Runtime)",
    ),
    ("", "Namespace", "Name | Status | Age"),
    (
        "",
        "Event",
        "Last Seen | Type | Reason | Object | (Subobject) | (Source) | Message | (First Seen) | (Count) | (Name)",
    ),
    ("", "ConfigMap", "Name | Data | Age"),
    ("", "Secret", "Name | Type | Data | Age"),
    ("", "ServiceAccount", "Name | Secrets | Age"),
    (
        "",
        "PersistentVolume",
        "Name | Capacity | Access Modes | Reclaim Policy | Status | Claim | StorageClass | VolumeAttributesClass | \
             Reason | Age | (VolumeMode)",
    ),
    (
        "",
        "PersistentVolumeClaim",
        "Name | Status | Volume | Capacity | Access Modes | StorageClass | VolumeAttributesClass | Age | \
             (VolumeMode)",
    ),
    (
        "storage.k8s.io",
        "StorageClass",
        "Name | Provisioner | ReclaimPolicy | VolumeBindingMode | AllowVolumeExpansion | Age",
    ),
    (
        "autoscaling",
        "HorizontalPodAutoscaler",
        "Name | Reference | Targets | MinPods | MaxPods | Replicas | Age",
    ),
    ("policy", "PodDisruptionBudget", "Name | Min Available | Max Unavailable | Allowed Disruptions | Age"),
    ("", "ResourceQuota", "Name | Request | Limit | Age"),
    ("scheduling.k8s.io", "PriorityClass", "Name | Value | Global-Default | Age | PreemptionPolicy"),
    ("node.k8s.io", "RuntimeClass", "Name | Handler | Age"),
    ("coordination.k8s.io", "Lease", "Name | Holder | Age"),
    (
        "rbac.authorization.k8s.io",
        "ClusterRoleBinding",
        "Name | Role | Age | (Users) | (Groups) | (ServiceAccounts)",
    ),
    ("rbac.authorization.k8s.io", "Role", "Name | Created At"),
    (
        "certificates.k8s.io",
        "CertificateSigningRequest",
        "Name | Age | SignerName | Requestor | RequestedDuration | Condition",
    ),
    ("storage.k8s.io", "VolumeAttachment", "Name | Attacher | PV | Node | Attached | Age"),
    ("", "ComponentStatus", "Name | Status | Message | Error"),
    ("apiextensions.k8s.io", "CustomResourceDefinition", "Name | Created At"),
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration", "Name | Webhooks | Age"),
    ("", "LimitRange", "Name | Created At"),
];

#[test]
fn every_kind_has_the_columns_of_upstream() {
    for (group, kind, expected) in HEADINGS {
        assert_eq!(headings(group, kind), *expected, "{group}/{kind}");
    }
}

#[test]
fn every_kind_fills_its_columns_even_from_an_empty_object() {
    let kinds = [
        ("", "Pod PodTemplate ReplicationController Service Endpoints Node Namespace Event ConfigMap Secret"),
        ("", "ServiceAccount PersistentVolume PersistentVolumeClaim ComponentStatus ResourceQuota Status"),
        ("apps", "Deployment ReplicaSet StatefulSet DaemonSet ControllerRevision"),
        ("batch", "Job CronJob"),
        ("autoscaling", "HorizontalPodAutoscaler Scale"),
        ("discovery.k8s.io", "EndpointSlice"),
        ("networking.k8s.io", "Ingress IngressClass NetworkPolicy ServiceCIDR IPAddress"),
        (
            "storage.k8s.io",
            "StorageClass VolumeAttributesClass VolumeAttachment CSINode CSIDriver CSIStorageCapacity",
        ),
        ("internal.apiserver.k8s.io", "StorageVersion"),
        ("storagemigration.k8s.io", "StorageVersionMigration"),
        ("admissionregistration.k8s.io", "MutatingWebhookConfiguration ValidatingAdmissionPolicy"),
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicy ValidatingAdmissionPolicyBinding"),
        ("apiregistration.k8s.io", "APIService"),
        ("events.k8s.io", "Event"),
        ("policy", "PodDisruptionBudget"),
        ("scheduling.k8s.io", "PriorityClass"),
        ("node.k8s.io", "RuntimeClass"),
        ("coordination.k8s.io", "Lease LeaseCandidate"),
        ("rbac.authorization.k8s.io", "RoleBinding ClusterRoleBinding Role ClusterRole"),
        ("certificates.k8s.io", "CertificateSigningRequest ClusterTrustBundle"),
        ("flowcontrol.apiserver.k8s.io", "FlowSchema PriorityLevelConfiguration"),
        ("resource.k8s.io", "DeviceClass ResourceClaim ResourceClaimTemplate ResourceSlice"),
        ("example.com", "Unknown"),
    ];

    for (group, names) in kinds {
        for kind in names.split(' ') {
            cells(group, kind, json!({}));
        }
    }
}

#[test]
fn a_table_has_definitions_rows_and_the_metadata_of_the_list() {
    let object = created(json!({
        "kind": "ConfigMap", "apiVersion": "v1", "metadata": {"resourceVersion": "7"}, "data": {"k": "v"},
    }));
    let list_metadata = json!({"resourceVersion": "9", "continue": "token", "remainingItemCount": 1});

    let table =
        table(&columns("", "ConfigMap"), list_metadata.clone(), [&object], &options(IncludeObject::Metadata));

    assert_eq!(table["kind"], "Table");
    assert_eq!(table["apiVersion"], "meta.k8s.io/v1");
    assert_eq!(table["metadata"], list_metadata);
    assert_eq!(table["columnDefinitions"][0]["format"], "name");
    assert_eq!(table["columnDefinitions"][1]["type"], "string");
    assert_eq!(table["columnDefinitions"][1]["format"], "");
    assert_eq!(table["columnDefinitions"][1]["priority"], 0);
    let metadata_only = json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]});
    assert_eq!(table["rows"], json!([{"cells": ["a", 1, "90m"], "object": metadata_only}]));
}

#[test]
fn an_empty_table_has_columns_and_an_empty_array_of_rows() {
    let table = table(&columns("", "ConfigMap"), json!({}), [], &options(IncludeObject::Metadata));

    assert_eq!(table["columnDefinitions"].as_array().map(Vec::len), Some(3));
    assert_eq!(table["rows"], json!([]));
}

#[test]
fn a_later_table_of_a_watch_has_no_definitions() {
    let object = created(json!({"metadata": {"resourceVersion": "7"}}));
    let later = TableOptions { with_definitions: false, ..options(IncludeObject::None) };

    let table = object_table(&columns("", "Namespace"), &object, &later);

    assert_eq!(table["columnDefinitions"], Value::Null);
    assert_eq!(table["metadata"], json!({"resourceVersion": "7"}));
    assert_eq!(table["rows"][0]["object"], Value::Null);
}

#[test]
fn rows_carry_the_object_only_when_asked_to() {
    let object = created(json!({"kind": "Namespace", "apiVersion": "v1"}));
    let columns = columns("", "Namespace");
    let row_object =
        |include| object_table(&columns, &object, &options(include))["rows"][0].get("object").cloned();

    assert_eq!(row_object(IncludeObject::None), Some(Value::Null));
    assert_eq!(row_object(IncludeObject::Object), Some(object.clone()));
    assert_eq!(IncludeObject::parse(""), Ok(IncludeObject::Metadata));
    assert_eq!(
        IncludeObject::parse("All").unwrap_err().to_string(),
        "Unable to convert to Table as requested: includeObject: Invalid value: \"All\": must be 'Metadata', \
         'Object', 'None', or empty"
    );
}

#[test]
fn objects_are_reduced_to_their_metadata_in_both_versions() {
    let object = json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "p"}, "spec": {}});

    let list = partial_object_metadata_list(json!({"resourceVersion": "1"}), [&object], MetaVersion::V1Beta1);

    assert_eq!(
        list,
        json!({
            "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1beta1",
            "metadata": {"resourceVersion": "1"},
            "items": [{
                "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1beta1", "metadata": {"name": "p"},
            }],
        })
    );
}

#[test]
fn a_kind_of_ones_own_says_what_its_cells_are() {
    let columns = Columns::new([ColumnDefinition::new("Size", "integer", "How large")], |object, _| {
        vec![object["spec"]["size"].clone()]
    });

    assert_eq!(columns.cells(&json!({"spec": {"size": 3}}), now()), [json!(3)]);
}

mod kinds;
mod pods;
