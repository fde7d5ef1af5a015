use serde_json::{Value, json};

use super::super::tests::{created, updated, with};

fn volume() -> Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "v"},
        "spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "nfs": {"server": "s", "path": "/"}},
    })
}

fn claim() -> Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "c", "namespace": "n"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    })
}

fn of_driver(kind: &str, rest: Value) -> Value {
    let mut object = json!({"apiVersion": "storage.k8s.io/v1", "kind": kind, "metadata": {"name": "d"}});
    object.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    object
}

#[test]
fn small_volumes_and_claims_are_valid() {
    assert_eq!(created(volume()), Vec::<String>::new());
    assert_eq!(created(claim()), Vec::<String>::new());
}

#[test]
fn a_volume_of_a_driver_names_its_secrets_in_full() {
    let csi = json!({"driver": "d", "nodePublishSecretRef": {"name": "S"}, "nodeExpandSecretRef": {}});
    let mut volume = with(volume(), "/spec/nfs", Value::Null);
    volume["spec"]["csi"] = csi;
    let errors = created(volume);

    assert_eq!(errors.len(), 5, "{errors:#?}");
    assert_eq!(errors[0], "spec.csi.volumeHandle: Required value");
    assert!(errors[1].starts_with("spec.csi.nodePublishSecretRef.name: Invalid value: \"S\""));
    assert_eq!(
        errors[2..],
        [
            "spec.csi.nodePublishSecretRef.namespace: Required value",
            "spec.csi.nodeExpandSecretRef.name: Required value",
            "spec.csi.nodeExpandSecretRef.namespace: Required value",
        ]
    );
}

#[test]
fn a_claim_is_filled_from_one_source() {
    let source = with(claim(), "/spec/dataSource", json!({"kind": "Disk", "name": "d"}));
    let both =
        with(source.clone(), "/spec/dataSourceRef", json!({"apiGroup": "a.b", "kind": "Disk", "name": "d"}));
    let wrong = "spec.dataSource: Invalid value: \"Disk\": must be 'PersistentVolumeClaim' when referencing the default apiGroup";

    assert_eq!(created(source), [wrong]);
    assert_eq!(created(both), [wrong, "spec: Invalid value: spec.dataSource: must match dataSourceRef"]);
}

#[test]
fn a_claim_may_get_a_class_once_and_ask_for_more_than_it_has() {
    let bound = with(claim(), "/status", json!({"phase": "Bound", "capacity": {"storage": "1Gi"}}));
    let grown = with(bound.clone(), "/spec/resources/requests/storage", "3Gi".into());
    let asks = |amount: &str| updated(grown.clone(), &[("/spec/resources/requests/storage", amount.into())]);

    assert_eq!(asks("2Gi"), Vec::<String>::new());
    assert_eq!(
        asks("1Gi"),
        ["spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"]
    );
    assert_eq!(updated(claim(), &[("/spec/storageClassName", "a".into())]), Vec::<String>::new());
    let of_class = with(claim(), "/spec/storageClassName", "a".into());
    assert!(updated(of_class, &[("/spec/storageClassName", "b".into())])[0].starts_with("spec: Forbidden"));
}

#[test]
fn a_class_names_each_part_of_the_cluster_once() {
    let term =
        json!({"matchLabelExpressions": [{"key": "z", "values": ["a", "a"]}, {"key": "z", "values": []}]});
    let class = of_driver("StorageClass", json!({"provisioner": "p", "allowedTopologies": [term, term]}));
    let wrong = |index: usize| {
        [
            format!("allowedTopologies[{index}].matchLabelExpressions[0].values[1]: Duplicate value: \"a\""),
            format!("allowedTopologies[{index}].matchLabelExpressions[1].values: Required value"),
            format!("allowedTopologies[{index}].matchLabelExpressions[1].key: Duplicate value: \"z\""),
        ]
    };
    let last = ["allowedTopologies[1].matchLabelExpressions: Duplicate value: \"\"".to_owned()];

    assert_eq!(created(class), [&wrong(0)[..], &wrong(1)[..], &last[..]].concat());
}

#[test]
fn what_drivers_say_is_checked_and_hardly_changes() {
    let driver = of_driver(
        "CSIDriver",
        json!({"spec": {"fsGroupPolicy": "All", "volumeLifecycleModes": ["Once"],
            "tokenRequests": [{"audience": "a", "expirationSeconds": 1}, {"audience": "a"}]}}),
    );
    assert_eq!(
        created(driver),
        [
            "spec.fsGroupPolicy: Unsupported value: \"All\": supported values: \"File\", \"None\", \"ReadWriteOnceWithFSType\"",
            "spec.tokenRequests[0].expirationSeconds: Invalid value: 1: may not specify a duration less than 10 minutes",
            "spec.tokenRequests[1].audience: Duplicate value: \"a\"",
            "spec.volumeLifecycleModes: Unsupported value: \"Once\": supported values: \"Persistent\", \"Ephemeral\"",
        ]
    );
    assert_eq!(
        updated(of_driver("CSIDriver", json!({"spec": {}})), &[("/spec/attachRequired", false.into())]),
        ["spec.attachedRequired: Invalid value: false: field is immutable"]
    );
    let node = of_driver(
        "CSINode",
        json!({"spec": {"drivers": [{"name": "d", "nodeID": "n", "topologyKeys": ["a"]}]}}),
    );
    assert_eq!(created(node.clone()), Vec::<String>::new());
    assert!(
        updated(node, &[("/spec/drivers/0/nodeID", "m".into())])[0]
            .starts_with("spec.drivers: Invalid value")
    );
    let twice = json!({"spec": {"drivers": [{"name": "d", "nodeID": "n"}, {"name": "d"}]}});
    assert_eq!(
        created(of_driver("CSINode", twice)),
        ["spec.drivers[1].nodeID: Required value", "spec.drivers[1].name: Duplicate value: \"d\""]
    );
}

#[test]
fn an_attachment_is_of_one_volume_and_stays() {
    let attachment = |source: Value| {
        let spec = json!({"attacher": "a", "nodeName": "n", "source": source});
        of_driver("VolumeAttachment", json!({"spec": spec}))
    };
    let inline = json!({"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1"}, "nfs": {"server": "s", "path": "/"}});

    assert_eq!(created(attachment(json!({"persistentVolumeName": "v"}))), Vec::<String>::new());
    assert_eq!(
        created(attachment(json!({}))),
        [
            "spec.source: Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName"
        ]
    );
    assert_eq!(
        created(attachment(json!({"inlineVolumeSpec": inline}))),
        [
            "spec.source.inlineVolumeSpec.capacity: Forbidden: may not be specified in the context of inline volumes",
            "spec.source.inlineVolumeSpec.csi: Required value: has to be specified in the context of inline volumes",
        ]
    );
    let moved = updated(attachment(json!({"persistentVolumeName": "v"})), &[("/spec/nodeName", "m".into())]);
    assert!(
        moved[0].starts_with("spec: Invalid value: {") && moved[0].ends_with("field is immutable"),
        "{moved:#?}"
    );
}
