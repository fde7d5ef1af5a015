mod details;

use serde_json::{Value, json};

use super::super::tests::{created, status_updated, updated, with};

fn pod() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "namespace": "n"},
        "spec": {
            "volumes": [{"name": "v", "emptyDir": {}}],
            "containers": [{"name": "c", "image": "i:1", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
        },
    })
}

#[test]
fn a_small_pod_is_valid() {
    assert_eq!(created(pod()), Vec::<String>::new());
}

#[test]
fn a_pod_needs_a_container_and_a_container_a_name_and_an_image() {
    assert_eq!(created(with(pod(), "/spec/containers", json!([]))), ["spec.containers: Required value"]);
    assert_eq!(
        created(with(
            pod(),
            "/spec/containers",
            json!([{}, {"name": "a", "image": "i"}, {"name": "a", "image": " i"}])
        )),
        [
            "spec.containers[0].name: Required value",
            "spec.containers[0].image: Required value",
            "spec.containers[2].name: Duplicate value: \"a\"",
            "spec.containers[2].image: Invalid value: \" i\": must not have leading or trailing whitespace",
        ]
    );
}

#[test]
fn ports_are_in_range_named_once_and_of_the_host_once() {
    let ports = json!([
        {"containerPort": 70000},
        {"name": "a", "containerPort": 1, "hostPort": 80},
        {"name": "a", "containerPort": 2, "hostPort": 80},
        {"name": "UP", "containerPort": 3, "protocol": "tcp"},
    ]);
    assert_eq!(
        created(with(pod(), "/spec/containers/0/ports", ports)),
        [
            "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
            "spec.containers[0].ports[2].name: Duplicate value: \"a\"",
            "spec.containers[0].ports[3].name: Invalid value: \"UP\": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
            "spec.containers[0].ports[3].name: Invalid value: \"UP\": must contain at least one letter (a-z)",
            "spec.containers[0].ports[3].protocol: Unsupported value: \"tcp\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
            "spec.containers[0].ports[2].hostPort: Duplicate value: \"TCP//80\"",
        ]
    );
}

#[test]
fn mounts_name_volumes_and_share_no_path() {
    let mounts = json!([
        {"name": "v", "mountPath": "/a", "subPath": "../x"},
        {"name": "v", "mountPath": "/a"},
        {"name": "w", "mountPath": "/b", "mountPropagation": "Bidirectional"},
    ]);
    assert_eq!(
        created(with(pod(), "/spec/containers/0/volumeMounts", mounts)),
        [
            "spec.containers[0].volumeMounts.subPath: Invalid value: \"../x\": must not contain '..'",
            "spec.containers[0].volumeMounts[1].mountPath: Invalid value: \"/a\": must be unique",
            "spec.containers[0].volumeMounts[2].name: Not found: \"w\"",
            "spec.containers[0].volumeMounts.mountPropagation: Forbidden: Bidirectional mount propagation is available only to privileged containers",
        ]
    );
}

#[test]
fn a_volume_has_one_source_that_is_complete() {
    let volumes = json!([
        {"name": "v", "emptyDir": {"sizeLimit": "-1"}},
        {"name": "w", "hostPath": {"path": "/a/../b"}, "secret": {"secretName": "s"}},
        {"name": "x", "configMap": {"items": [{"key": "k", "path": "/abs", "mode": 512}]}},
        {"name": "y", "iscsi": {"targetPortal": "t", "iqn": "iqn.2001-04.com.example:disk", "lun": 1}},
    ]);
    assert_eq!(
        created(with(with(pod(), "/spec/volumes", volumes), "/spec/containers/0/volumeMounts", json!([]))),
        [
            "spec.volumes[0].emptyDir.sizeLimit: Forbidden: SizeLimit field must be a valid resource quantity",
            "spec.volumes[1].hostPath.path: Invalid value: \"/a/../b\": must not contain '..'",
            "spec.volumes[1].secret: Forbidden: may not specify more than 1 volume type",
            "spec.volumes[2].configMap.name: Required value",
            "spec.volumes[2].configMap.items[0].path: Invalid value: \"/abs\": must be a relative path",
            "spec.volumes[2].configMap.items[0].mode: Invalid value: 512: must be a number between 0 and 0777 (octal), both inclusive",
        ]
    );
}

#[test]
fn probes_and_hooks_do_one_thing_each() {
    let mut container = json!({"name": "c", "image": "i"});
    container["livenessProbe"] =
        json!({"exec": {"command": ["a"]}, "tcpSocket": {"port": 1}, "successThreshold": 2});
    container["readinessProbe"] = json!({});
    container["lifecycle"] = json!({"preStop": {"httpGet": {"port": "none!"}}});
    assert_eq!(
        created(with(pod(), "/spec/containers", json!([container]))),
        [
            "spec.containers[0].lifecycle.preStop.httpGet.port: Invalid value: \"none!\": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
            "spec.containers[0].livenessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type",
            "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1",
            "spec.containers[0].readinessProbe: Required value: must specify a handler type",
        ]
    );
}

#[test]
fn an_init_container_has_probes_only_if_it_goes_on() {
    let probe = json!({"exec": {"command": ["a"]}});
    let init = |policy: Value| json!([{"name": "i", "image": "i", "restartPolicy": policy, "startupProbe": probe, "lifecycle": {"preStop": probe}}]);
    assert_eq!(created(with(pod(), "/spec/initContainers", init("Always".into()))), Vec::<String>::new());
    assert_eq!(created(with(pod(), "/spec/initContainers", init(Value::Null))).len(), 2);
}

#[test]
fn requests_do_not_exceed_limits_and_resources_are_known() {
    let resources = json!({
        "limits": {"cpu": "1", "example.com/gpu": "1", "gpus": "1"},
        "requests": {"cpu": "1500m", "example.com/gpu": "500m", "hugepages-2Mi": "3Mi"},
    });
    let errors = created(with(pod(), "/spec/containers/0/resources", resources));

    for error in [
        "spec.containers[0].resources.requests: Invalid value: \"1500m\": must be less than or equal to cpu limit of 1",
        "spec.containers[0].resources.requests: Invalid value: \"500m\": must be equal to example.com/gpu limit of 1",
        "spec.containers[0].resources.requests[hugepages-2Mi]: Invalid value: \"3Mi\": 3Mi is not positive integer multiple of hugepages-2Mi",
        "spec.containers[0].resources.limits: Required value: Limit must be set for non overcommitable resources",
        "spec.containers[0].resources.limits[gpus]: Invalid value: \"gpus\": must be a standard resource for containers",
    ] {
        assert!(errors.iter().any(|found| found == error), "{error}\nis not in {errors:#?}");
    }
    assert!(errors.iter().any(|error| error.ends_with("must be an integer")), "{errors:#?}");
}

#[test]
fn variables_come_from_one_place() {
    let env = json!([
        {"name": "A=", "value": "x"},
        {"name": "B", "value": "x", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "C", "valueFrom": {}},
        {"name": "D", "valueFrom": {"fieldRef": {"fieldPath": "spec.restartPolicy"}}},
        {"name": "E", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['a b']"}}},
        {"name": "F", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "2"}}},
    ]);
    let errors = created(with(pod(), "/spec/containers/0/env", env));

    assert_eq!(errors.len(), 6, "{errors:#?}");
    assert_eq!(
        errors[1],
        "spec.containers[0].env[1].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty"
    );
    assert!(errors[3].starts_with(
        "spec.containers[0].env[3].valueFrom.fieldRef.fieldPath: Unsupported value: \"spec.restartPolicy\""
    ));
    assert!(
        errors[4]
            .starts_with("spec.containers[0].env[4].valueFrom.fieldRef: Invalid value: \"a b\": name part")
    );
    assert!(errors[5].ends_with("only divisor's values 1m and 1 are supported with the cpu resource"));
}

#[test]
fn a_toleration_of_everything_has_no_value() {
    let tolerations = json!([{"operator": "Exists"}, {"value": "x"}, {"key": "a", "effect": "NoSchedule", "tolerationSeconds": 1}]);
    assert_eq!(
        created(with(pod(), "/spec/tolerations", tolerations)),
        [
            "spec.tolerations[1].operator: Invalid value: \"\": operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
            "spec.tolerations[2].effect: Invalid value: \"NoSchedule\": effect must be 'NoExecute' when `tolerationSeconds` is set",
        ]
    );
}

#[test]
fn only_images_deadlines_and_further_tolerations_change() {
    let stored = with(pod(), "/spec/activeDeadlineSeconds", 50.into());
    assert_eq!(updated(stored.clone(), &[("/spec/containers/0/image", "i:2".into())]), Vec::<String>::new());
    assert_eq!(updated(stored.clone(), &[("/spec/activeDeadlineSeconds", 49.into())]), Vec::<String>::new());
    assert_eq!(updated(stored.clone(), &[("/metadata/labels", json!({"a": "b"}))]), Vec::<String>::new());
    let more = json!([{"key": "a", "operator": "Exists"}]);
    assert_eq!(updated(stored.clone(), &[("/spec/tolerations", more.clone())]), Vec::<String>::new());

    assert_eq!(
        updated(stored.clone(), &[("/spec/activeDeadlineSeconds", Value::Null)]),
        [
            "spec.activeDeadlineSeconds: Invalid value: \"null\": must not update from a positive integer to nil value"
        ]
    );
    let command = updated(stored.clone(), &[("/spec/containers/0/command", json!(["x"]))]);
    assert!(
        command[0].starts_with("spec: Forbidden: pod updates may not change fields other than"),
        "{command:?}"
    );
    assert!(command[0].ends_with("changed: spec.containers[0].command"), "{command:?}");
    let other = json!([{"name": "c", "image": "i:1"}, {"name": "d", "image": "i:1"}]);
    assert_eq!(
        updated(stored.clone(), &[("/spec/containers", other)]),
        ["spec.containers: Forbidden: pod updates may not add or remove containers"]
    );
    assert_eq!(
        updated(with(stored, "/spec/tolerations", more), &[("/spec/tolerations", json!([]))]),
        ["spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"]
    );
}

#[test]
fn a_container_that_ended_for_good_stays_so() {
    let ended = json!([{"name": "c", "image": "i:1", "imageID": "", "ready": false, "restartCount": 0, "state": {"terminated": {"exitCode": 0}}}]);
    let running = json!([{"name": "c", "image": "i:1", "imageID": "", "ready": true, "restartCount": 1, "state": {"running": {}}}]);
    let stored = |policy: &str| {
        let pod = with(pod(), "/spec/restartPolicy", policy.into());
        with(pod, "/status", json!({"containerStatuses": ended}))
    };

    assert_eq!(
        status_updated(stored("Never"), &[("/status/containerStatuses", running.clone())]),
        ["status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state"]
    );
    assert_eq!(
        status_updated(stored("Always"), &[("/status/containerStatuses", running)]),
        Vec::<String>::new()
    );
}

#[test]
fn a_pod_that_waits_is_narrowed_down_to_fewer_nodes() {
    let gated = with(pod(), "/spec/schedulingGates", json!([{"name": "a"}]));
    let gated = with(gated, "/spec/nodeSelector", json!({"a": "b"}));
    assert_eq!(updated(gated.clone(), &[("/spec/schedulingGates", json!([]))]), Vec::<String>::new());
    assert_eq!(
        updated(gated.clone(), &[("/spec/nodeSelector", json!({"a": "b", "c": "d"}))]),
        Vec::<String>::new()
    );
    assert_eq!(updated(gated.clone(), &[("/spec/nodeSelector", json!({"a": "c"}))]).len(), 1);
    assert_eq!(
        updated(gated.clone(), &[("/spec/schedulingGates", json!([{"name": "b"}]))]),
        [
            "spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'b'"
        ]
    );
    assert_eq!(
        created(with(gated, "/spec/nodeName", "x".into())),
        ["spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared"]
    );
}
