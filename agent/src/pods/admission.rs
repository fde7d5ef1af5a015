//! What a pod may ask for here: everything that the agent knows how to give. The rest is refused, by name.
//!
//! The lists are of what is known, so that a field that Kubernetes adds is refused until somebody has taught it to the
//! agent.

use k8s_openapi::api::core::v1::{Pod, PodSpec};
use serde_json::{Map, Value};

/// Fields of a pod's `spec` that are kept, or that are none of an agent's business.
const POD: &[&str] = &[
    "activeDeadlineSeconds",
    "affinity",
    "automountServiceAccountToken",
    "containers",
    "dnsConfig",
    "dnsPolicy",
    "enableServiceLinks",
    "evictionResponders",
    "hostAliases",
    "hostNetwork",
    "hostUsers",
    "hostname",
    "imagePullSecrets",
    "initContainers",
    "nodeName",
    "nodeSelector",
    "overhead",
    "preemptionPolicy",
    "priority",
    "priorityClassName",
    "readinessGates",
    "restartPolicy",
    "schedulerName",
    "schedulingGates",
    "schedulingGroup",
    "securityContext",
    "serviceAccount",
    "serviceAccountName",
    "subdomain",
    "terminationGracePeriodSeconds",
    "tolerations",
    "topologySpreadConstraints",
    "volumes",
];

/// Fields of a container that are kept.
const CONTAINER: &[&str] = &[
    "args",
    "command",
    "env",
    "envFrom",
    "image",
    "imagePullPolicy",
    "name",
    "ports",
    "resources",
    "securityContext",
    "stdin",
    "stdinOnce",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "tty",
    "volumeMounts",
    "workingDir",
];

/// Fields of a container that hold a probe.
const PROBES: &[&str] = &["livenessProbe", "readinessProbe", "startupProbe"];

/// Fields of a probe that are kept.
const PROBE: &[&str] = &[
    "failureThreshold",
    "httpGet",
    "initialDelaySeconds",
    "periodSeconds",
    "successThreshold",
    "tcpSocket",
    "terminationGracePeriodSeconds",
    "timeoutSeconds",
];

/// Fields of a pod's security context that are kept.
const POD_SECURITY: &[&str] =
    &["fsGroup", "runAsGroup", "runAsNonRoot", "runAsUser", "seccompProfile", "supplementalGroups"];

/// Fields of a container's security context that are kept.
const SECURITY: &[&str] = &[
    "allowPrivilegeEscalation",
    "capabilities",
    "privileged",
    "readOnlyRootFilesystem",
    "runAsGroup",
    "runAsNonRoot",
    "runAsUser",
    "seccompProfile",
];

/// Kinds of volumes that can be made.
const VOLUMES: &[&str] = &["configMap", "downwardAPI", "emptyDir", "hostPath", "projected", "secret"];

/// Resources whose limits are kept.
const LIMITS: &[&str] = &["cpu", "memory"];

/// Returns what a pod asks for that the agent cannot do, if anything: a sentence each.
pub(super) fn unsupported(pod: &Pod, probes: bool) -> Vec<String> {
    let spec = serde_json::to_value(pod.spec.as_ref().unwrap_or(&PodSpec::default()));
    let spec = spec.unwrap_or_default();
    let mut found = Vec::new();
    unknown(&spec, "spec", POD, &mut found);
    // Of this one alone it is `false` that asks for something.
    if spec["hostUsers"] == false {
        found.push(
            "spec.hostUsers: a user namespace of the pod's own is not supported by this agent".to_owned(),
        );
    }
    unknown(&spec["securityContext"], "spec.securityContext", POD_SECURITY, &mut found);
    for list in ["initContainers", "containers"] {
        for (index, value) in spec[list].as_array().into_iter().flatten().enumerate() {
            let path = format!("spec.{list}[{index}]");
            container(value, &path, list == "initContainers", &mut found);
            for kind in PROBES.iter().filter(|kind| is_set(&value[**kind])) {
                probe(&value[*kind], &format!("{path}.{kind}"), probes, &mut found);
            }
        }
    }
    for (index, value) in spec["volumes"].as_array().into_iter().flatten().enumerate() {
        volume(value, &format!("spec.volumes[{index}]"), &mut found);
    }
    found
}

fn container(value: &Value, path: &str, is_init: bool, found: &mut Vec<String>) {
    let mut known = [CONTAINER, PROBES].concat();
    if is_init {
        known.push("restartPolicy");
    }
    unknown(value, path, &known, found);
    unknown(&value["securityContext"], &format!("{path}.securityContext"), SECURITY, found);
    for name in value["resources"]["limits"].as_object().into_iter().flat_map(Map::keys) {
        if !LIMITS.contains(&name.as_str()) {
            found.push(format!(
                "{path}.resources.limits[{name}] is not supported: the agent cannot enforce it"
            ));
        }
    }
    if value["resources"].get("claims").is_some_and(is_set) {
        found.push(format!("{path}.resources.claims is not supported by this agent"));
    }
    for (index, mount) in value["volumeMounts"].as_array().into_iter().flatten().enumerate() {
        let propagation = mount["mountPropagation"].as_str().unwrap_or("None");
        if propagation != "None" {
            found.push(format!(
                "{path}.volumeMounts[{index}].mountPropagation {propagation:?} is not supported"
            ));
        }
        if mount["recursiveReadOnly"].as_str().is_some_and(|mode| mode == "Enabled") {
            found
                .push(format!("{path}.volumeMounts[{index}].recursiveReadOnly \"Enabled\" is not supported"));
        }
    }
}

fn probe(value: &Value, path: &str, probes: bool, found: &mut Vec<String>) {
    if !probes {
        found.push(format!("{path} is not supported: this node's containers cannot be reached"));
        return;
    }
    unknown(value, path, PROBE, found);
    if value["httpGet"]["scheme"].as_str().is_some_and(|scheme| scheme != "HTTP") {
        found.push(format!("{path}.httpGet.scheme: HTTP alone is supported by this agent"));
    }
    for action in ["httpGet", "tcpSocket"] {
        let host = value[action]["host"].as_str().filter(|host| !host.is_empty());
        if host.is_some_and(|host| host.parse::<std::net::IpAddr>().is_err()) {
            found.push(format!("{path}.{action}.host must be an address for this agent"));
        }
    }
}

fn volume(value: &Value, path: &str, found: &mut Vec<String>) {
    let kinds = value
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(key, value)| *key != "name" && is_set_or_empty(value));
    for (kind, source) in kinds {
        if !VOLUMES.contains(&kind.as_str()) {
            found.push(format!("{path}: volumes of kind {kind} are not supported by this agent"));
        }
        if kind == "emptyDir" {
            empty_dir(source, path, found);
        }
        for (index, source) in source["sources"].as_array().into_iter().flatten().enumerate() {
            let known = ["configMap", "downwardAPI", "secret", "serviceAccountToken"];
            unknown(source, &format!("{path}.projected.sources[{index}]"), &known, found);
        }
    }
}

fn empty_dir(source: &Value, path: &str, found: &mut Vec<String>) {
    let medium = source["medium"].as_str().unwrap_or_default();
    if !matches!(medium, "" | "Memory") {
        found.push(format!("{path}.emptyDir.medium {medium:?} is not supported by this agent"));
    }
    if medium.is_empty() && is_set(&source["sizeLimit"]) {
        found.push(format!("{path}.emptyDir.sizeLimit is not supported: the agent cannot enforce it"));
    }
}

fn unknown(value: &Value, path: &str, known: &[&str], found: &mut Vec<String>) {
    for (key, value) in value.as_object().into_iter().flatten() {
        if is_set(value) && !known.contains(&key.as_str()) {
            found.push(format!("{path}.{key} is not supported by this agent"));
        }
    }
}

/// Returns whether a field asks for something: `false`, an empty list and the like ask for nothing.
fn is_set(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
        Value::String(text) => !text.is_empty(),
        Value::Bool(true) | Value::Number(_) => true,
    }
}

/// As [`is_set`], where `{}` says something.
fn is_set_or_empty(value: &Value) -> bool {
    value.is_object() || is_set(value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(spec: Value) -> Vec<String> {
        unsupported(&serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).unwrap(), true)
    }

    #[test]
    fn what_is_known_is_let_through_and_the_rest_is_named() {
        let plain = json!({"hostPID": false, "containers": [{"name": "c", "image": "i",
            "terminationMessagePath": "/dev/termination-log", "resources": {"limits": {"cpu": "1"}}}],
            "volumes": [{"name": "v", "emptyDir": {}}]});
        let odd = json!({"hostPID": true, "containers": [{"name": "c", "image": "i",
            "lifecycle": {"preStop": {"exec": {"command": ["x"]}}},
            "resources": {"limits": {"example.com/gpu": "1"}}}],
            "volumes": [{"name": "v", "nfs": {"server": "s", "path": "/"}}]});

        assert_eq!(refused(plain), Vec::<String>::new());
        let said = refused(odd).join("\n");
        for word in ["spec.hostPID", "containers[0].lifecycle", "limits[example.com/gpu]", "kind nfs"] {
            assert!(said.contains(word), "{word}: {said}");
        }
    }

    #[test]
    fn a_host_user_namespace_of_its_own_is_refused() {
        assert_eq!(refused(json!({"containers": [], "hostUsers": false})).len(), 1);
        assert_eq!(refused(json!({"containers": [], "hostUsers": true})).len(), 0);
    }
}
