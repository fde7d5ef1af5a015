use serde_json::{Value, json};

use super::super::{builtin, decode_value};
use super::apply_defaults;

/// What a client's object becomes.
fn defaulted(group: &str, kind: &str, value: Value) -> Value {
    let structure = builtin(group, "v1", kind).expect("a built-in kind");
    let mut decoded = decode_value(structure, value).expect("an object of the kind");
    apply_defaults(structure, &mut decoded.value);
    decoded.value
}

fn pull_policy(image: &str) -> Value {
    let pod = defaulted("", "Pod", json!({"spec": {"containers": [{"name": "c", "image": image}]}}));
    pod["spec"]["containers"][0]["imagePullPolicy"].clone()
}

#[test]
fn an_image_is_pulled_always_when_its_tag_is_latest_or_missing() {
    for image in ["i", "i:latest", "registry.example:5000/a/b", "docker.io/i:latest"] {
        assert_eq!(pull_policy(image), "Always", "{image}");
    }
    for image in ["i:1", "i@sha256:00", "registry.example:5000/a:v1", "", "Upper"] {
        assert_eq!(pull_policy(image), "IfNotPresent", "{image}");
    }
}

#[test]
fn a_pod_gets_its_defaults_and_a_template_those_of_every_pod_spec() {
    let spec = json!({
        "hostNetwork": true,
        "containers": [{"name": "c", "image": "i:1", "ports": [{"containerPort": 80}], "resources": {"limits": {"cpu": "1"}},
            "livenessProbe": {"httpGet": {"port": 80}}}],
        "volumes": [{"name": "v"}, {"name": "h", "hostPath": {"path": "/"}}, {"name": "s", "secret": {"secretName": "s"}}],
    });

    let pod = defaulted("", "Pod", json!({"spec": spec}));
    let template = defaulted("", "PodTemplate", json!({"template": {"spec": spec}}));

    assert_eq!(
        pod["spec"],
        json!({
            "hostNetwork": true,
            "restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler",
            "terminationGracePeriodSeconds": 30, "securityContext": {}, "enableServiceLinks": true,
            "containers": [{
                "name": "c", "image": "i:1", "imagePullPolicy": "IfNotPresent",
                "ports": [{"containerPort": 80, "hostPort": 80, "protocol": "TCP"}],
                "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}},
                "livenessProbe": {"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
                    "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3},
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
            }],
            "volumes": [{"name": "v", "emptyDir": {}}, {"name": "h", "hostPath": {"path": "/", "type": ""}},
                {"name": "s", "secret": {"secretName": "s", "defaultMode": 420}}],
        })
    );
    assert_eq!(template["template"]["spec"]["enableServiceLinks"], Value::Null);
    assert_eq!(template["template"]["spec"]["containers"][0]["resources"], json!({"limits": {"cpu": "1"}}));
}

#[test]
fn amounts_of_resources_are_rounded_up_to_thousandths() {
    let resources = json!({"requests": {"cpu": "0.0001", "memory": "1.5Gi", "example.com/x": "1e3"}});
    let pod = defaulted("", "Pod", json!({"spec": {"containers": [{"name": "c", "resources": resources}]}}));

    assert_eq!(
        pod["spec"]["containers"][0]["resources"]["requests"],
        json!({"cpu": "1m", "memory": "1536Mi", "example.com/x": "1e3"})
    );
}

#[test]
fn a_service_gets_target_ports_and_the_policies_of_its_type() {
    let plain = defaulted("", "Service", json!({"spec": {"ports": [{"port": 80}]}}));
    let balanced =
        defaulted("", "Service", json!({"spec": {"type": "LoadBalancer", "sessionAffinity": "ClientIP"}}));

    assert_eq!(
        plain["spec"],
        json!({"type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
            "ports": [{"port": 80, "targetPort": 80, "protocol": "TCP"}]})
    );
    assert_eq!(
        balanced["spec"],
        json!({"type": "LoadBalancer", "sessionAffinity": "ClientIP", "internalTrafficPolicy": "Cluster",
            "externalTrafficPolicy": "Cluster", "allocateLoadBalancerNodePorts": true,
            "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}}})
    );
}

#[test]
fn a_deployment_gets_a_rolling_strategy_and_a_recreating_one_stays_alone() {
    let rolling = defaulted("apps", "Deployment", json!({"spec": {}}));
    let recreating = defaulted("apps", "Deployment", json!({"spec": {"strategy": {"type": "Recreate"}}}));

    assert_eq!(
        rolling["spec"]["strategy"],
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}})
    );
    assert_eq!(rolling["spec"]["replicas"], 1);
    assert_eq!(rolling["spec"].get("selector"), None);
    assert_eq!(recreating["spec"]["strategy"], json!({"type": "Recreate"}));
}

#[test]
fn a_replication_controller_takes_selector_and_labels_from_its_template() {
    let controller = defaulted(
        "",
        "ReplicationController",
        json!({"spec": {"template": {"metadata": {"labels": {"a": "b"}}}}}),
    );

    assert_eq!(controller["spec"]["selector"], json!({"a": "b"}));
    assert_eq!(controller["metadata"]["labels"], json!({"a": "b"}));
    assert_eq!(controller["spec"]["replicas"], 1);
}

#[test]
fn a_secrets_plain_texts_go_into_its_data() {
    let secret = defaulted("", "Secret", json!({"data": {"a": "YQ=="}, "stringData": {"a": "b", "c": "d"}}));

    assert_eq!(secret, json!({"metadata": {}, "type": "Opaque", "data": {"a": "Yg==", "c": "ZA=="}}));
}

#[test]
fn a_namespace_is_labelled_with_its_name_once_it_has_one() {
    let named = defaulted("", "Namespace", json!({"metadata": {"name": "a"}}));
    let nameless = defaulted("", "Namespace", json!({"metadata": {"generateName": "a-"}}));

    assert_eq!(named["metadata"]["labels"], json!({"kubernetes.io/metadata.name": "a"}));
    assert_eq!(named["status"], json!({"phase": "Active"}));
    assert_eq!(nameless["metadata"], json!({"generateName": "a-"}));
}
