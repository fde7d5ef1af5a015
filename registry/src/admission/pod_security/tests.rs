use serde_json::{Value, json};

use super::checks::{Pod, details, reasons, violations};
use super::*;

fn level(text: &str) -> LevelVersion {
    let (level, version) = text.split_once(':').unwrap();
    let labels = json!({
        "pod-security.kubernetes.io/enforce": level, "pod-security.kubernetes.io/enforce-version": version,
    });
    let (policy, errors) = Policy::default().of_labels(&labels);
    assert_eq!(errors, []);
    policy.enforce
}

/// Says what a level forbids of a spec.
fn look(asked: &str, spec: Value) -> String {
    details(&violations(level(asked), &Pod { metadata: &Value::Null, spec: &spec }))
}

/// A pod that even the strictest level lets in.
fn hardened() -> Value {
    json!({
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "a", "securityContext": {
            "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
        }}],
    })
}

/// The hardened pod with a container whose security context is changed.
fn with_container(name: &str, change: Value) -> Value {
    let mut spec = hardened();
    let mut container = spec["containers"][0].clone();
    container["name"] = name.into();
    for (field, value) in change.as_object().unwrap() {
        container["securityContext"][field] = value.clone();
    }
    spec["containers"].as_array_mut().unwrap().push(container);
    spec
}

fn with_pod(change: Value) -> Value {
    let mut spec = hardened();
    for (field, value) in change.as_object().unwrap() {
        spec["securityContext"][field] = value.clone();
    }
    spec
}

#[test]
fn a_plain_pod_breaks_four_rules_of_restricted_and_none_of_baseline() {
    let plain = json!({"containers": [{"name": "a"}, {"name": "b"}]});

    assert_eq!(look("baseline:latest", plain.clone()), "");
    assert_eq!(
        look("restricted:latest", plain),
        "allowPrivilegeEscalation != false (containers \"a\", \"b\" must set \
         securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (containers \"a\", \"b\" must set \
         securityContext.capabilities.drop=[\"ALL\"]), runAsNonRoot != true (pod or containers \"a\", \"b\" must set \
         securityContext.runAsNonRoot=true), seccompProfile (pod or containers \"a\", \"b\" must set \
         securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")"
    );
}

#[test]
fn a_hardened_pod_breaks_nothing() {
    for asked in ["restricted:latest", "restricted:v1.0", "restricted:v1.24", "restricted:v1.99"] {
        assert_eq!(look(asked, hardened()), "", "{asked}");
    }
}

#[test]
fn each_rule_of_baseline_names_who_breaks_it() {
    let host = json!({"hostNetwork": true, "hostIPC": true, "hostPID": true});
    let volumes =
        json!({"volumes": [{"name": "h", "hostPath": {"path": "/"}}, {"name": "e", "emptyDir": {}}]});
    let ports = json!({"containers": [{"name": "a", "ports": [{"hostPort": 80}, {"hostPort": 0}]}, {"name": "b", "ports": [{"hostPort": 443}]}]});
    let port = json!({"initContainers": [{"name": "i", "ports": [{"hostPort": 80}]}]});
    for (spec, expected) in [
        (host, "host namespaces (hostNetwork=true, hostPID=true, hostIPC=true)"),
        (volumes, "hostPath volumes (volume \"h\")"),
        (ports, "hostPort (containers \"a\", \"b\" use hostPorts 443, 80)"),
        (port, "hostPort (container \"i\" uses hostPort 80)"),
        (
            with_container("b", json!({"privileged": true})),
            "privileged (container \"b\" must not set securityContext.privileged=true)",
        ),
        (
            with_container("b", json!({"procMount": "Unmasked"})),
            "procMount (container \"b\" must not set securityContext.procMount to \"Unmasked\")",
        ),
        (
            with_container("b", json!({"capabilities": {"add": ["NET_RAW", "CHOWN", "SYS_ADMIN"]}})),
            "non-default capabilities (container \"b\" must not include \"NET_RAW\", \"SYS_ADMIN\" in \
             securityContext.capabilities.add)",
        ),
        (
            with_container("b", json!({"appArmorProfile": {"type": "Unconfined"}})),
            "forbidden AppArmor profile (container \"b\" must not set AppArmor profile type to \"Unconfined\")",
        ),
        (
            with_container("b", json!({"seLinuxOptions": {"type": "x", "user": "u", "role": "r"}})),
            "seLinuxOptions (container \"b\" set forbidden securityContext.seLinuxOptions: type \"x\"; user may not be set; \
             role may not be set)",
        ),
        (
            with_pod(json!({"seLinuxOptions": {"user": "u"}})),
            "seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: user may not be set)",
        ),
        (
            with_pod(json!({"seccompProfile": {"type": "Unconfined"}})),
            "seccompProfile (pod must not set securityContext.seccompProfile.type to \"Unconfined\")",
        ),
        (
            with_pod(
                json!({"sysctls": [{"name": "kernel.msgmax"}, {"name": "net.ipv4.tcp_rmem"}, {"name": "a"}]}),
            ),
            "forbidden sysctls (kernel.msgmax, a)",
        ),
        (
            with_pod(json!({"windowsOptions": {"hostProcess": true}})),
            "hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)",
        ),
    ] {
        assert_eq!(look("baseline:latest", spec.clone()), expected, "{spec}");
    }
}

#[test]
fn each_rule_of_restricted_names_who_breaks_it() {
    let mut volumes = hardened();
    volumes["volumes"] =
        json!([{"name": "h", "hostPath": {}}, {"name": "n", "nfs": {}}, {"name": "c", "csi": {}}]);
    let mut volume = hardened();
    volume["volumes"] = json!([{"name": "i", "image": {}}, {"name": "x", "new": {}}]);
    for (spec, expected) in [
        (
            volumes,
            "restricted volume types (volumes \"h\", \"n\" use restricted volume types \"hostPath\", \"nfs\")",
        ),
        (volume, "restricted volume types (volume \"x\" uses restricted volume type \"unknown\")"),
        (
            with_container("b", json!({"allowPrivilegeEscalation": null})),
            "allowPrivilegeEscalation != false (container \"b\" must set securityContext.allowPrivilegeEscalation=false)",
        ),
        (
            with_container("b", json!({"capabilities": {"add": ["CHOWN", "NET_BIND_SERVICE"]}})),
            "unrestricted capabilities (container \"b\" must set securityContext.capabilities.drop=[\"ALL\"]; container \"b\" \
             must not include \"CHOWN\" in securityContext.capabilities.add)",
        ),
        (
            with_container("b", json!({"runAsNonRoot": false})),
            "runAsNonRoot != true (container \"b\" must not set securityContext.runAsNonRoot=false)",
        ),
        (
            with_container("b", json!({"runAsUser": 0})),
            "runAsUser=0 (container \"b\" must not set runAsUser=0)",
        ),
        (with_pod(json!({"runAsUser": 0})), "runAsUser=0 (pod must not set runAsUser=0)"),
        (
            with_container("b", json!({"seccompProfile": {"type": "Unconfined"}})),
            "seccompProfile (container \"b\" must not set securityContext.seccompProfile.type to \"Unconfined\")",
        ),
    ] {
        assert_eq!(look("restricted:latest", spec.clone()), expected, "{spec}");
    }
}

#[test]
fn annotations_choose_profiles_of_old() {
    let metadata = json!({"annotations": {
        "container.apparmor.security.beta.kubernetes.io/a": "unconfined",
        "container.apparmor.security.beta.kubernetes.io/b": "localhost/x",
        "seccomp.security.alpha.kubernetes.io/pod": "unconfined",
        "container.seccomp.security.alpha.kubernetes.io/a": "docker/default",
    }});
    let spec = hardened();
    let look = |asked: &str| details(&violations(level(asked), &Pod { metadata: &metadata, spec: &spec }));

    let app_armor = "forbidden AppArmor profile (annotation must not set AppArmor profile type to \
                     \"container.apparmor.security.beta.kubernetes.io/a=\"unconfined\"\")";
    assert_eq!(look("baseline:latest"), app_armor);
    assert_eq!(
        look("baseline:v1.18"),
        format!(
            "{app_armor}, seccompProfile (forbidden annotation seccomp.security.alpha.kubernetes.io/pod=\"unconfined\")"
        )
    );
}

#[test]
fn a_rule_holds_from_its_release_on() {
    let sysctl = |name: &str| with_pod(json!({"sysctls": [{"name": name}]}));
    let selinux = with_container("b", json!({"seLinuxOptions": {"type": "container_engine_t"}}));
    for (spec, good, bad) in [
        (sysctl("net.ipv4.ip_local_reserved_ports"), 27, 26),
        (sysctl("net.ipv4.tcp_keepalive_time"), 29, 28),
        (sysctl("net.ipv4.tcp_wmem"), 32, 31),
        (selinux, 31, 30),
        (with_container("b", json!({"runAsUser": 0})), 22, 23),
        (with_container("b", json!({"allowPrivilegeEscalation": null})), 7, 8),
        (with_container("b", json!({"capabilities": null})), 21, 22),
    ] {
        assert_eq!(look(&format!("restricted:v1.{good}"), spec.clone()), "", "{spec}");
        assert_ne!(look(&format!("restricted:v1.{bad}"), spec.clone()), "", "{spec}");
    }
}

#[test]
fn a_stricter_rule_stands_for_the_looser_one() {
    let spec = with_container("b", json!({"capabilities": {"add": ["NET_RAW"], "drop": ["ALL"]}}));
    let found =
        |asked: &str| reasons(&violations(level(asked), &Pod { metadata: &Value::Null, spec: &spec }));

    assert_eq!(found("restricted:v1.21"), "non-default capabilities");
    assert_eq!(found("restricted:v1.22"), "unrestricted capabilities");
}

#[test]
fn windows_pods_need_not_set_what_windows_does_not_have() {
    let windows = json!({
        "os": {"name": "windows"}, "securityContext": {"runAsNonRoot": true}, "containers": [{"name": "a"}],
    });

    assert_eq!(look("restricted:latest", windows.clone()), "");
    assert_ne!(look("restricted:v1.24", windows), "");
}

#[test]
fn labels_that_are_wrong_are_named_and_read_as_the_strictest_or_as_none() {
    let labels = json!({
        "pod-security.kubernetes.io/enforce": "strict", "pod-security.kubernetes.io/warn": "",
        "pod-security.kubernetes.io/audit": "baseline", "pod-security.kubernetes.io/audit-version": "v1.01",
    });

    let (policy, errors) = Policy::default().of_labels(&labels);

    assert_eq!(policy.enforce.to_string(), "restricted:latest");
    assert_eq!(policy.audit.to_string(), "baseline:latest");
    assert_eq!(policy.warn.to_string(), "privileged:latest");
    assert_eq!(
        aggregate(&errors),
        "[metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"strict\": must be one of privileged, baseline, \
         restricted, metadata.labels[pod-security.kubernetes.io/audit-version]: Invalid value: \"v1.01\": must be \"latest\" or \
         \"v1.x\", metadata.labels[pod-security.kubernetes.io/warn]: Invalid value: \"\": must be one of privileged, baseline, \
         restricted]"
    );
}

#[test]
fn only_what_is_looked_at_makes_an_update_significant() {
    let pod =
        json!({"metadata": {"labels": {"a": "1"}}, "spec": {"containers": [{"name": "a", "image": "x"}]}});
    let changed = |pointer: &str, value: Value| {
        let mut changed = pod.clone();
        *changed.pointer_mut(pointer).unwrap() = value;
        changed
    };

    assert!(!is_significant(&changed("/metadata/labels", json!({"a": "2"})), &pod));
    assert!(is_significant(&changed("/spec/containers/0/image", "y".into()), &pod));
    assert!(is_significant(&changed("/spec/containers", json!([])), &pod));
}
