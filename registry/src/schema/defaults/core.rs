//! Defaults of the core group (Kubernetes: `pkg/apis/core/v1/defaults.go`).

use serde_json::{Value, json};

use super::super::scalars;
use super::{Object, each, ensure_object, fill, object, object_mut, text};

pub(super) fn container(container: &mut Object) {
    let policy = pull_policy(text(container, "image"));
    fill(container, "imagePullPolicy", policy);
}

/// `Always` for the tag `latest`, said or implied. A name that cannot be parsed has no tag.
fn pull_policy(image: &str) -> &'static str {
    let (name, digest) = image.split_once('@').map_or((image, None), |(name, digest)| (name, Some(digest)));
    let after_path = name.rfind('/').map_or(0, |at| at + 1);
    let (name, tag) = match name[after_path..].rfind(':') {
        Some(at) => (&name[..after_path + at], &name[after_path + at + 1..]),
        None => (name, if digest.is_some() { "" } else { "latest" }),
    };
    let path = name.split_once('/').map_or(name, |(domain, path)| {
        let is_domain = domain.contains(['.', ':']) || domain == "localhost";
        if is_domain { path } else { name }
    });
    let legal = !path.is_empty()
        && path.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-' | b'/'));
    if tag == "latest" && legal { "Always" } else { "IfNotPresent" }
}

pub(super) fn volume(volume: &mut Object) {
    if volume.keys().all(|name| name == "name") {
        volume.insert("emptyDir".into(), json!({}));
    }
    if let Some(image) = object_mut(volume, "image") {
        let policy = pull_policy(text(image, "reference"));
        fill(image, "pullPolicy", policy);
    }
}

pub(super) fn pod(pod: &mut Object) {
    let Some(spec) = object_mut(pod, "spec") else { return };
    let on_host = spec.get("hostNetwork") == Some(&Value::Bool(true));
    for containers in ["containers", "initContainers"] {
        for container in each(spec, containers) {
            requests_from_limits(container);
            if on_host {
                for port in each(container, "ports") {
                    if let Some(number) = port.get("containerPort").cloned() {
                        fill(port, "hostPort", number);
                    }
                }
            }
        }
    }
    fill(spec, "enableServiceLinks", true);
}

/// Lets the old name of a pod's account follow the new one; who gives only the old one means the new one.
pub(super) fn pod_spec(spec: &mut Object) {
    let given = ["serviceAccountName", "serviceAccount"].map(|name| text(spec, name));
    let Some(name) = given.into_iter().find(|name| !name.is_empty()).map(str::to_owned) else { return };
    spec.insert("serviceAccountName".into(), name.clone().into());
    spec.insert("serviceAccount".into(), name.into());
}

fn requests_from_limits(container: &mut Object) {
    let Some(resources) = object_mut(container, "resources") else { return };
    let Some(limits) = object(resources, "limits").cloned() else { return };
    if let Some(requests) = ensure_object(resources, "requests") {
        for (resource, amount) in limits {
            requests.entry(resource).or_insert(amount);
        }
    }
}

pub(super) fn replication_controller(controller: &mut Object) {
    let labels = object(controller, "spec")
        .and_then(|spec| object(object(object(spec, "template")?, "metadata")?, "labels"))
        .cloned();
    let Some(labels) = labels else { return };
    if let Some(spec) = object_mut(controller, "spec") {
        fill(spec, "selector", labels.clone());
    }
    if let Some(metadata) = ensure_object(controller, "metadata") {
        fill(metadata, "labels", labels);
    }
}

pub(super) fn service(service: &mut Object) {
    let Some(spec) = object_mut(service, "spec") else { return };
    fill(spec, "sessionAffinity", "None");
    match text(spec, "sessionAffinity") {
        "None" => {
            spec.remove("sessionAffinityConfig");
        }
        "ClientIP" => {
            let timeout = object(spec, "sessionAffinityConfig")
                .and_then(|config| object(config, "clientIP")?.get("timeoutSeconds"));
            if timeout.is_none() {
                spec.insert("sessionAffinityConfig".into(), json!({"clientIP": {"timeoutSeconds": 10800}}));
            }
        }
        _ => {}
    }
    fill(spec, "type", "ClusterIP");
    for port in each(spec, "ports") {
        let target = port.get("targetPort");
        if target.is_none_or(|target| target.as_i64() == Some(0) || target.as_str() == Some("")) {
            let number = port.get("port").cloned().unwrap_or_else(|| 0.into());
            port.insert("targetPort".into(), number);
        }
    }
    let kind = text(spec, "type").to_owned();
    let outside = match kind.as_str() {
        "NodePort" | "LoadBalancer" => true,
        "ClusterIP" => spec.get("externalIPs").and_then(Value::as_array).is_some_and(|list| !list.is_empty()),
        _ => false,
    };
    if outside {
        fill(spec, "externalTrafficPolicy", "Cluster");
    }
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer" | "ClusterIP") {
        fill(spec, "internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        fill(spec, "allocateLoadBalancerNodePorts", true);
        let balancer = object_mut(service, "status").and_then(|status| object_mut(status, "loadBalancer"));
        for ingress in balancer.into_iter().flat_map(|balancer| each(balancer, "ingress")) {
            if !text(ingress, "ip").is_empty() {
                fill(ingress, "ipMode", "VIP");
            }
        }
    }
}

/// `stringData` is written only, and goes into `data`. (Kubernetes does this when it converts.)
pub(super) fn secret(secret: &mut Object) {
    let Some(Value::Object(plain)) = secret.remove("stringData") else { return };
    if let Some(data) = ensure_object(secret, "data") {
        for (key, value) in plain {
            data.insert(key, scalars::encode_base64(value.as_str().unwrap_or_default().as_bytes()).into());
        }
    }
}

pub(super) fn namespace(namespace: &mut Object) {
    let Some(metadata) = object_mut(namespace, "metadata") else { return };
    let name = text(metadata, "name").to_owned();
    if !name.is_empty()
        && let Some(labels) = ensure_object(metadata, "labels")
    {
        labels.insert("kubernetes.io/metadata.name".into(), name.into());
    }
}

/// The first of a node's ranges is also a field of its own, which counts if they differ. (Kubernetes does this when it converts.)
pub(super) fn node_spec(spec: &mut Object) {
    let first = spec.get("podCIDRs").and_then(|all| all[0].as_str()).unwrap_or_default().to_owned();
    let own = text(spec, "podCIDR").to_owned();
    if !own.is_empty() && own != first {
        spec.insert("podCIDRs".into(), json!([own]));
    } else if !first.is_empty() {
        spec.insert("podCIDR".into(), first.into());
    }
}

/// The same of a pod's addresses.
pub(super) fn pod_status(status: &mut Object) {
    let first = status.get("podIPs").and_then(|all| all[0]["ip"].as_str()).unwrap_or_default().to_owned();
    let own = text(status, "podIP").to_owned();
    if !own.is_empty() && own != first {
        status.insert("podIPs".into(), json!([{"ip": own}]));
    } else if !first.is_empty() {
        status.insert("podIP".into(), first.into());
    }
}

pub(super) fn node_status(status: &mut Object) {
    if let Some(capacity) = status.get("capacity").cloned() {
        fill(status, "allocatable", capacity);
    }
}

pub(super) fn limit_range_item(item: &mut Object) {
    if text(item, "type") != "Container" {
        return;
    }
    for (from, to) in [("max", "default"), ("default", "defaultRequest"), ("min", "defaultRequest")] {
        let Some(values) = object(item, from).cloned() else { continue };
        if let Some(defaults) = ensure_object(item, to) {
            for (resource, amount) in values {
                defaults.entry(resource).or_insert(amount);
            }
        }
    }
}
