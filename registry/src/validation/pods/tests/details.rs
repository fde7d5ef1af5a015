//! Rules that only some pods meet: kinds of volumes, security, systems, devices.

use serde_json::{Value, json};

use super::super::super::tests::{created, status_updated, updated, with};
use super::pod;

fn none() -> Vec<String> {
    Vec::new()
}

/// What is wrong with a pod that has these volumes and mounts none.
fn volumes(volumes: Value) -> Vec<String> {
    created(with(with(pod(), "/spec/volumes", volumes), "/spec/containers/0/volumeMounts", json!([])))
}

#[test]
fn volumes_of_other_hosts_say_where_they_are() {
    assert_eq!(
        volumes(json!([
            {"name": "a", "iscsi": {"targetPortal": "t", "iqn": "disk", "lun": 1, "initiatorName": "iqn.x"}},
            {"name": "b", "fc": {"targetWWNs": ["x"], "wwids": ["y"]}},
            {"name": "c", "quobyte": {"registry": "host", "volume": "v"}},
            {"name": "d", "flexVolume": {"driver": "d", "options": {"kubernetes.io/x": "y", "a.K8s.io": "z"}}},
            {"name": "e", "storageos": {"volumeName": "A", "secretRef": {}}},
            {"name": "f", "azureDisk": {"diskName": "d", "diskURI": "x", "kind": "Managed"}},
            {"name": "g", "cinder": {"volumeID": "v", "secretRef": {"name": ""}}},
            {"name": "h", "secret": {"secretName": "s"}, "cephfs": {"monitors": ["m"]}, "downwardAPI": {}},
        ])),
        [
            "spec.volumes[0].iscsi.iqn: Invalid value: \"disk\": must be valid format starting with iqn, eui, or naa",
            "spec.volumes[0].iscsi.initiatorname: Invalid value: \"iqn.x\": must be valid format",
            "spec.volumes[1].fc.targetWWNs: Invalid value: []string{\"x\"}: targetWWNs and wwids can not be specified simultaneously",
            "spec.volumes[1].fc.lun: Required value: lun is required if targetWWNs is specified",
            "spec.volumes[2].quobyte.registry: Invalid value: \"host\": must be a host:port pair or multiple pairs separated by commas",
            "spec.volumes[3].flexVolume.options[a.K8s.io]: Invalid value: \"a.K8s.io\": kubernetes.io and k8s.io namespaces are reserved",
            "spec.volumes[3].flexVolume.options[kubernetes.io/x]: Invalid value: \"kubernetes.io/x\": kubernetes.io and k8s.io namespaces are reserved",
            "spec.volumes[4].storageos.volumeName: Invalid value: \"A\": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
            "spec.volumes[4].storageos.secretRef.name: Required value",
            "spec.volumes[5].azureDisk.diskURI: Unsupported value: \"x\": supported values: \"/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}\"",
            "spec.volumes[6].cinder.secretRef.name: Required value",
            "spec.volumes[7].cephFS: Forbidden: may not specify more than 1 volume type",
            "spec.volumes[7].downwarAPI: Forbidden: may not specify more than 1 volume type",
        ]
    );
}

#[test]
fn a_volume_made_with_the_pod_has_a_claim_of_its_own() {
    let template = json!({
        "metadata": {"name": "x", "labels": {"a b": ""}},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "0"}}},
    });
    let errors = volumes(json!([
        {"name": "e", "ephemeral": {"volumeClaimTemplate": template}},
        {"name": "c", "persistentVolumeClaim": {"claimName": "p-e"}},
    ]));

    assert_eq!(errors.len(), 4, "{errors:#?}");
    assert!(errors[0].starts_with(
        "spec.volumes[0].ephemeral.volumeClaimTemplate.metadata.labels: Invalid value: \"a b\": name part"
    ));
    assert_eq!(
        errors[1..],
        [
            "spec.volumes[0].ephemeral.volumeClaimTemplate.metadata.name: Forbidden: cannot be set",
            "spec.volumes[0].ephemeral.volumeClaimTemplate.spec.resources[storage]: Invalid value: \"0\": must be greater than zero",
            "spec.volumes[1].persistentVolumeClaim.claimName: Invalid value: \"p-e\": must not reference a PVC that gets created for an ephemeral volume",
        ]
    );
}

#[test]
fn a_projected_file_neither_is_nor_begins_with_two_dots() {
    assert_eq!(
        volumes(
            json!([{"name": "v", "configMap": {"name": "c", "items": [{"key": "k", "path": ".."}, {"key": "k", "path": "..a"}]}}])
        ),
        [
            "spec.volumes[0].configMap.items[0].path: Invalid value: \"..\": must not contain '..'",
            "spec.volumes[0].configMap.items[0].path: Invalid value: \"..\": must not start with '..'",
            "spec.volumes[0].configMap.items[1].path: Invalid value: \"..a\": must not start with '..'",
        ]
    );
}

#[test]
fn references_to_keys_name_an_object() {
    let env = json!([{"name": "A", "valueFrom": {"secretKeyRef": {"key": "k"}}}]);
    let errors = created(with(pod(), "/spec/containers/0/env", env));

    assert_eq!(errors.len(), 1, "{errors:#?}");
    assert!(errors[0].starts_with(
        "spec.containers[0].env[0].valueFrom.secretKeyRef.name: Invalid value: \"\": a lowercase RFC 1123 subdomain"
    ));
}

#[test]
fn ports_of_a_template_on_the_host_network_may_leave_out_the_hosts() {
    let ports = json!([{"containerPort": 80}, {"containerPort": 81, "hostPort": 82}]);
    let spec = json!({"hostNetwork": true, "containers": [{"name": "c", "image": "i", "ports": ports}]});
    let template = json!({"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "t", "namespace": "n"}, "template": {"spec": spec}});

    assert_eq!(
        created(template),
        [
            "template.spec.containers[0].ports[1].containerPort: Invalid value: 81: must match `hostPort` when `hostNetwork` is true"
        ]
    );
}

#[test]
fn containers_resize_as_their_policies_say() {
    let policies = json!([
        {"resourceName": "cpu", "restartPolicy": "NotRequired"},
        {"resourceName": "cpu", "restartPolicy": "Sometimes"},
        {"resourceName": "disk", "restartPolicy": "RestartContainer"},
    ]);
    assert_eq!(
        created(with(pod(), "/spec/containers/0/resizePolicy", policies)),
        [
            "spec.containers[0].resizePolicy[1]: Duplicate value: \"cpu\"",
            "spec.containers[0].resizePolicy: Unsupported value: \"Sometimes\": supported values: \"NotRequired\", \"RestartContainer\"",
            "spec.containers[0].resizePolicy: Unsupported value: \"disk\": supported values: \"cpu\", \"memory\"",
        ]
    );
}

#[test]
fn a_pod_shares_with_its_host_or_has_users_of_its_own() {
    let spec = |more: Value| {
        let mut pod = pod();
        pod["spec"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        created(pod)
    };
    assert_eq!(
        spec(json!({"hostUsers": false, "hostPID": true, "shareProcessNamespace": true, "hostIPC": true})),
        [
            "spec.securityContext.shareProcessNamespace: Invalid value: true: ShareProcessNamespace and HostPID cannot both be enabled",
            "spec.HostPID: Forbidden: when `pod.Spec.HostUsers` is false",
            "spec.HostIPC: Forbidden: when `pod.Spec.HostUsers` is false",
        ]
    );
    assert_eq!(
        spec(json!({"os": {"name": "plan9"}})),
        ["spec.os: Unsupported value: \"plan9\": supported values: \"linux\", \"windows\""]
    );
    assert_eq!(
        spec(
            json!({"os": {"name": "windows"}, "hostPID": true, "securityContext": {"runAsUser": 1, "fsGroup": 2}})
        ),
        [
            "spec.hostPID: Forbidden: cannot be set for a windows pod",
            "spec.securityContext.fsGroup: Forbidden: cannot be set for a windows pod",
            "spec.securityContext.runAsUser: Forbidden: cannot be set for a windows pod",
        ]
    );
    let options = json!({"windowsOptions": {"hostProcess": true, "runAsUserName": "a\\b\\c"}});
    assert_eq!(
        spec(json!({"os": {"name": "linux"}, "securityContext": options})),
        [
            "spec.securityContext.windowsOptions.runAsUserName: Invalid value: \"a\\\\b\\\\c\": runAsUserName cannot contain more than one backslash",
            "spec.hostNetwork: Invalid value: false: hostNetwork must be true if pod contains any hostProcess containers",
            "spec.securityContext.windowsOptions: Forbidden: windows options cannot be set for a linux pod",
        ]
    );
}

#[test]
fn overhead_is_checked_as_limits_are() {
    assert_eq!(
        created(with(pod(), "/spec/overhead", json!({"cpu": "-1"}))),
        ["spec.overhead.limits[cpu]: Invalid value: \"-1\": must be greater than or equal to 0"]
    );
}

#[test]
fn a_hook_sleeps_no_longer_than_the_pod_has_to_end() {
    let hook = json!({"preStop": {"sleep": {"seconds": 31}}});
    assert_eq!(
        created(with(pod(), "/spec/containers/0/lifecycle", hook)),
        [
            "spec.containers[0].lifecycle.preStop.sleep: Invalid value: 31: must be non-negative and less than terminationGracePeriodSeconds (30)"
        ]
    );
}

#[test]
fn keys_of_the_pods_own_labels_stand_in_one_place() {
    let selector = json!({"matchLabels": {"a": "b"}});
    let spread = json!([{"maxSkew": 1, "topologyKey": "not a key", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": selector, "matchLabelKeys": ["a"]}]);
    assert_eq!(
        created(with(pod(), "/spec/topologySpreadConstraints", spread)),
        [
            "spec.topologySpreadConstraints[0].matchLabelKeys[0]: Invalid value: \"a\": exists in both matchLabelKeys and labelSelector"
        ]
    );
    let term = json!({"topologyKey": "z", "matchLabelKeys": ["a", "b"]});
    let affinity = json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}});
    assert_eq!(
        created(with(pod(), "/spec/affinity", affinity)),
        [
            "spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].matchLabelKeys: Forbidden: must not be specified when labelSelector is not set"
        ]
    );
}

#[test]
fn what_is_required_of_nodes_is_possible_and_what_is_preferred_need_not_be() {
    let expression = json!({"matchExpressions": [{"key": "a", "operator": "In", "values": ["not a value"]}]});
    let required = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [expression]}}});
    let preferred = json!({"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": expression}]}});

    let errors = created(with(pod(), "/spec/affinity", required));

    assert_eq!(errors.len(), 1, "{errors:#?}");
    assert!(
        errors[0]
            .contains("nodeSelectorTerms[0].matchExpressions[0].values[0]: Invalid value: \"not a value\"")
    );
    assert_eq!(created(with(pod(), "/spec/affinity", preferred)), none());
}

#[test]
fn gates_have_names_that_are_theirs_alone() {
    let errors =
        created(with(pod(), "/spec/schedulingGates", json!([{"name": "a"}, {"name": "a"}, {"name": ""}])));

    assert_eq!(errors[0], "spec.schedulingGates[1]: Duplicate value: \"a\"");
    assert!(
        errors[1].starts_with("spec.schedulingGates[2]: Invalid value: \"\": name part must be non-empty")
    );
}

#[test]
fn annotations_of_profiles_say_what_fields_say() {
    let annotated = |annotations: Value| with(pod(), "/metadata/annotations", annotations);
    assert_eq!(
        created(annotated(json!({"seccomp.security.alpha.kubernetes.io/pod": "localhost//a/../b"}))),
        [
            "metadata.annotations.seccomp.security.alpha.kubernetes.io/pod: Invalid value: \"/a/../b\": must be a relative path",
            "metadata.annotations.seccomp.security.alpha.kubernetes.io/pod: Invalid value: \"/a/../b\": must not contain '..'",
        ]
    );
    assert_eq!(
        created(annotated(json!({"container.apparmor.security.beta.kubernetes.io/x": "none"}))),
        [
            "metadata.annotations[container.apparmor.security.beta.kubernetes.io/x]: Invalid value: \"x\": container not found",
            "metadata.annotations[container.apparmor.security.beta.kubernetes.io/x]: Invalid value: \"none\": invalid AppArmor profile name: \"none\"",
        ]
    );
    let context = json!({"seccompProfile": {"type": "RuntimeDefault"}});
    let pod = annotated(json!({"seccomp.security.alpha.kubernetes.io/pod": "unconfined"}));
    assert_eq!(
        created(with(pod, "/spec/securityContext", context)),
        [
            "spec.securityContext.seccompProfile.type: Forbidden: seccomp type in annotation and field must match"
        ]
    );
}

#[test]
fn a_changed_label_is_reported_by_each_of_upstreams_three_looks_at_it() {
    let errors = updated(pod(), &[("/metadata/labels", json!({"a b": ""}))]);

    assert_eq!(errors.len(), 3, "{errors:#?}");
    assert!(errors.iter().all(|error| error.starts_with("metadata.labels: Invalid value: \"a b\"")));
}

#[test]
fn the_status_of_a_pod_keeps_its_class_and_has_an_address_of_each_family() {
    let stored = with(pod(), "/status", json!({"qosClass": "BestEffort", "hostIP": "10.0.0.9"}));
    let status = |name: &str, value: Value| status_updated(stored.clone(), &[(name, value)]);

    assert_eq!(
        status("/status/qosClass", "Guaranteed".into()),
        ["status.qosClass: Invalid value: \"Guaranteed\": field is immutable"]
    );
    assert_eq!(
        status("/status/podIPs", json!([{"ip": "10.0.0.1"}, {"ip": "10.0.0.1"}])),
        [
            "status.podIPs: Invalid value: [{\"ip\":\"10.0.0.1\"},{\"ip\":\"10.0.0.1\"}]: may specify no more than one IP for each IP family",
            "status.podIPs[1]: Duplicate value: core.PodIP{IP:\"10.0.0.1\"}",
        ]
    );
    assert_eq!(
        status("/status/hostIPs", json!([{"ip": "10.0.0.8"}])),
        ["status.hostIPs[0].ip: Invalid value: \"10.0.0.8\": must be equal to `hostIP`"]
    );
    let errors = status(
        "/status/conditions",
        json!([{"type": "not a type", "status": "True"}, {"type": "Ready", "status": "True"}]),
    );
    assert_eq!(errors.len(), 1, "{errors:#?}");
    assert!(errors[0].starts_with("metadata.conditions[0].Type: Invalid value: \"not a type\": name part"));
    assert_eq!(status("/status/podIPs", json!([{"ip": "10.0.0.1"}, {"ip": "fd00::1"}])), none());
}
