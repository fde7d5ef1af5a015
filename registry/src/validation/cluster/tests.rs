use serde_json::{Value, json};

use super::super::tests::{created, status_updated, updated, with};

fn named(version: &str, kind: &str, namespaced: bool) -> Value {
    let mut object = json!({"apiVersion": version, "kind": kind, "metadata": {"name": "a"}});
    if namespaced {
        object["metadata"]["namespace"] = "n".into();
    }
    object
}

#[test]
fn data_has_keys_that_are_file_names_and_holds_a_mebibyte() {
    let map = named("v1", "ConfigMap", true);
    assert_eq!(created(with(map.clone(), "/data", json!({"a.b_c-D": "x"}))), Vec::<String>::new());
    assert_eq!(
        created(with(map.clone(), "/data", json!({"..": "x"}))),
        ["data[..]: Invalid value: \"..\": must not be '..'"]
    );
    let large = "x".repeat((1 << 20) + 1);
    assert_eq!(
        created(with(map, "/data", json!({"a": large}))),
        ["[]: Too long: may not be more than 1048576 bytes"]
    );
}

#[test]
fn what_is_immutable_stays() {
    for kind in ["ConfigMap", "Secret"] {
        let stored =
            with(with(named("v1", kind, true), "/data", json!({"a": "eA=="})), "/immutable", true.into());

        assert_eq!(updated(stored.clone(), &[("/metadata/labels", json!({"a": "b"}))]), Vec::<String>::new());
        assert_eq!(
            updated(stored, &[("/data/a", "eQ==".into()), ("/immutable", false.into())]),
            [
                "immutable: Forbidden: field is immutable when `immutable` is set",
                "data: Forbidden: field is immutable when `immutable` is set",
            ]
        );
    }
}

#[test]
fn secrets_of_known_types_hold_what_their_users_need() {
    let secret = |kind: &str, data: Value| {
        created(with(with(named("v1", "Secret", true), "/type", kind.into()), "/data", data))
    };
    assert_eq!(secret("kubernetes.io/tls", json!({"tls.crt": ""})), ["data[tls.key]: Required value"]);
    assert_eq!(secret("kubernetes.io/basic-auth", json!({})).len(), 2);
    assert_eq!(secret("kubernetes.io/basic-auth", json!({"password": ""})), Vec::<String>::new());
    assert_eq!(
        secret("kubernetes.io/dockerconfigjson", json!({".dockerconfigjson": "e30="})),
        Vec::<String>::new()
    );
    assert_eq!(
        secret("kubernetes.io/dockercfg", json!({".dockercfg": "ew=="})),
        ["data[.dockercfg]: Invalid value: \"<secret contents redacted>\": unexpected end of JSON input"]
    );
    assert_eq!(
        secret("kubernetes.io/service-account-token", json!({})),
        ["metadata.annotations[kubernetes.io/service-account.name]: Required value"]
    );
    assert_eq!(secret("example.com/any", json!({})), Vec::<String>::new());
}

#[test]
fn the_type_of_a_secret_does_not_change() {
    assert_eq!(
        updated(named("v1", "Secret", true), &[("/type", "example.com/x".into())]),
        ["type: Invalid value: \"example.com/x\": field is immutable"]
    );
}

#[test]
fn a_node_has_ranges_that_are_set_once_and_taints_that_differ() {
    let node = with(
        named("v1", "Node", false),
        "/spec",
        json!({"podCIDR": "10.0.0.0/24", "podCIDRs": ["10.0.0.0/24"]}),
    );
    assert_eq!(created(node.clone()), Vec::<String>::new());
    assert_eq!(
        updated(
            node.clone(),
            &[("/spec/podCIDRs", json!(["10.0.1.0/24"])), ("/spec/podCIDR", "10.0.1.0/24".into())]
        ),
        ["spec.podCIDRs: Forbidden: node updates may not change podCIDR except from \"\" to valid"]
    );
    let taints = json!([{"key": "a", "effect": "NoSchedule"}, {"key": "a", "effect": "NoSchedule"}, {"key": "b", "effect": "Go"}]);
    // As upstream, the fields of a node that changes are looked at twice.
    assert_eq!(
        updated(node, &[("/spec/taints", taints)]),
        [[
            "metadata.taints[1]: Duplicate value: core.Taint{Key:\"a\", Value:\"\", Effect:\"NoSchedule\", TimeAdded:<nil>}: \
             taints must be unique by key and effect pair",
            "metadata.taints[2].effect: Unsupported value: \"Go\": supported values: \"NoSchedule\", \"PreferNoSchedule\", \
             \"NoExecute\"",
        ]; 2]
        .concat()
    );
}

#[test]
fn a_namespace_ends_only_when_it_is_deleted() {
    let namespace = with(named("v1", "Namespace", false), "/status", json!({"phase": "Active"}));
    assert_eq!(
        status_updated(namespace, &[("/status/phase", "Terminating".into())]),
        [
            "status.Phase: Invalid value: \"Terminating\": may only be 'Active' if `deletionTimestamp` is empty"
        ]
    );
}

#[test]
fn an_event_lives_where_its_object_does() {
    let event = with(named("v1", "Event", true), "/involvedObject", json!({"kind": "Pod", "namespace": "m"}));
    assert_eq!(
        created(event.clone()),
        ["involvedObject.namespace: Invalid value: \"m\": does not match event.namespace"]
    );
    assert_eq!(created(with(event, "/involvedObject/namespace", "n".into())), Vec::<String>::new());
}

#[test]
fn an_event_of_the_new_group_says_who_did_what() {
    let event = with(
        named("events.k8s.io/v1", "Event", true),
        "/regarding",
        json!({"kind": "Pod", "namespace": "n"}),
    );
    let event = with(event, "/type", "Normal".into());
    assert_eq!(created(event.clone()), ["eventTime: Required value"]);
    let event = with(event, "/eventTime", "2020-01-01T00:00:00.000000Z".into());
    assert_eq!(created(event).len(), 6);
}

#[test]
fn priorities_of_the_system_are_the_systems() {
    let class = |name: &str, value: i64| {
        let class = with(named("scheduling.k8s.io/v1", "PriorityClass", false), "/value", value.into());
        created(with(class, "/metadata/name", name.into()))
    };
    assert_eq!(class("mine", 1_000_000_000), Vec::<String>::new());
    assert_eq!(
        class("mine", 1_000_000_001),
        ["value: Forbidden: maximum allowed value of a user defined priority is 1000000000"]
    );
    assert_eq!(class("system-node-critical", 2_000_001_000), Vec::<String>::new());
    assert_eq!(
        class("system-x", 5),
        [
            "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. \
          error: system-x is not a known system priority class"
        ]
    );
}

#[test]
fn a_lease_lasts() {
    let lease =
        with(named("coordination.k8s.io/v1", "Lease", true), "/spec", json!({"leaseDurationSeconds": 0}));
    assert_eq!(created(lease), ["spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0"]);
}

#[test]
fn a_docker_configuration_is_an_object() {
    let secret = with(named("v1", "Secret", true), "/type", "kubernetes.io/dockerconfigjson".into());
    let wrong = |data: &str| created(with(secret.clone(), "/data", json!({".dockerconfigjson": data})));
    let place = "data[.dockerconfigjson]: Invalid value: \"<secret contents redacted>\"";

    assert_eq!(wrong("eA=="), [format!("{place}: invalid character 'x' looking for beginning of value")]);
    assert_eq!(
        wrong("W10="),
        [format!("{place}: json: cannot unmarshal array into Go value of type map[string]interface {{}}")]
    );
}

#[test]
fn changes_of_labels_are_looked_at_as_often_as_upstream_does() {
    let change = [("/metadata/labels", json!({"a b": ""}))];

    for (kind, namespaced, looks) in
        [("ConfigMap", true, 3), ("ServiceAccount", true, 3), ("LimitRange", true, 2), ("Node", false, 3)]
    {
        assert_eq!(updated(named("v1", kind, namespaced), &change).len(), looks, "{kind}");
    }
}

#[test]
fn finalizers_of_a_namespace_have_a_domain_or_are_known() {
    let namespace = with(named("v1", "Namespace", false), "/spec", json!({"finalizers": ["kubernetes"]}));
    assert_eq!(
        updated(namespace, &[("/spec/finalizers", json!(["kubernetes", "mine"]))]),
        [
            "spec.finalizers[1]: Invalid value: \"mine\": name is neither a standard finalizer name nor is it fully qualified"
        ]
    );
}

#[test]
fn ranges_of_a_node_differ() {
    let node = with(named("v1", "Node", false), "/spec", json!({"podCIDRs": ["10.0.0.0/24", "10.0.0.0/24"]}));
    assert_eq!(
        created(node),
        [
            "spec.podCIDRs: Invalid value: []string{\"10.0.0.0/24\", \"10.0.0.0/24\"}: may specify no more than one CIDR for each IP family",
            "spec.podCIDRs[1]: Duplicate value: \"10.0.0.0/24\"",
        ]
    );
}

#[test]
fn the_overhead_of_a_runtime_class_is_looked_at_as_limits() {
    let class = with(named("node.k8s.io/v1", "RuntimeClass", false), "/handler", "a".into());

    assert_eq!(
        created(with(class, "/overhead", json!({"podFixed": {"cpu": "-1"}}))),
        ["overhead.limits[cpu]: Invalid value: \"-1\": must be greater than or equal to 0"]
    );
}
