//! The core group, but for pods and events.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;

use super::Columns;
use super::cell::{self, count, int, is_true, items, or, quantity, string};
use super::definition::{age, name, selector, text, wide};

pub(super) fn columns(kind: &str) -> Option<Columns> {
    Some(match kind {
        "Pod" => super::pod::columns(),
        "Event" => super::events::core_columns(),
        "PersistentVolume" | "PersistentVolumeClaim" => return super::storage::columns(kind),
        "PodTemplate" => pod_template(),
        "ReplicationController" => super::apps::replicas(cell::labels),
        "Service" => service(),
        "Endpoints" => endpoints(),
        "Node" => node(),
        "Namespace" => namespace(),
        "ConfigMap" => config_map(),
        "Secret" => secret(),
        "ServiceAccount" => service_account(),
        "ComponentStatus" => component_status(),
        "ResourceQuota" => resource_quota(),
        "Status" => status(),
        _ => return None,
    })
}

fn pod_template() -> Columns {
    let definitions = [
        name(),
        text("Containers", "The names of the template's containers"),
        text("Images", "The images of the template's containers"),
        text("Pod Labels", "The labels that pods get"),
    ];
    Columns::new(definitions, |template, _| {
        let [names, images] = cell::containers(&template["template"]["spec"]);
        vec![cell::name(template), names, images, cell::labels(&template["template"]["metadata"]["labels"])]
    })
}

fn service() -> Columns {
    let definitions = [
        name(),
        text("Type", "How the service is exposed"),
        text("Cluster-IP", "The address inside the cluster"),
        text("External-IP", "The addresses outside the cluster"),
        text("Port(s)", "The ports, with the nodes' ports behind a colon"),
        age(),
        selector(),
    ];
    Columns::new(definitions, |service, now| {
        let spec = &service["spec"];
        let first = &spec["clusterIPs"][0];
        vec![
            cell::name(service),
            cell::text(&spec["type"]),
            or(if first.is_null() { &spec["clusterIP"] } else { first }, "<none>"),
            external_addresses(service).into(),
            service_ports(&spec["ports"]).into(),
            cell::age(service, now),
            cell::labels(&spec["selector"]),
        ]
    })
}

fn external_addresses(service: &Value) -> String {
    let spec = &service["spec"];
    let mut addresses: Vec<String> = Vec::new();
    match string(&spec["type"]) {
        "ExternalName" => return string(&spec["externalName"]).to_owned(),
        "LoadBalancer" => addresses.extend(load_balancer_addresses(service)),
        "ClusterIP" | "NodePort" => {}
        _ => return "<unknown>".to_owned(),
    }
    addresses.extend(items(&spec["externalIPs"]).iter().map(|address| string(address).to_owned()));
    match (addresses.is_empty(), string(&spec["type"])) {
        (false, _) => addresses.join(","),
        (true, "LoadBalancer") => "<pending>".to_owned(),
        (true, _) => "<none>".to_owned(),
    }
}

/// The addresses, else the names, of an object's load balancers, sorted.
pub(super) fn load_balancer_addresses(object: &Value) -> BTreeSet<String> {
    items(&object["status"]["loadBalancer"]["ingress"])
        .iter()
        .map(|ingress| [string(&ingress["ip"]), string(&ingress["hostname"])])
        .filter_map(|candidates| candidates.into_iter().find(|candidate| !candidate.is_empty()))
        .map(str::to_owned)
        .collect()
}

fn service_ports(ports: &Value) -> String {
    let ports: Vec<String> = items(ports)
        .iter()
        .map(|port| {
            let (number, protocol) = (int(&port["port"]), string(&port["protocol"]));
            match int(&port["nodePort"]) {
                ..1 => format!("{number}/{protocol}"),
                node_port => format!("{number}:{node_port}/{protocol}"),
            }
        })
        .collect();
    if ports.is_empty() { "<none>".to_owned() } else { ports.join(",") }
}

fn endpoints() -> Columns {
    let definitions = [name(), text("Endpoints", "The ready addresses with their ports"), age()];
    Columns::new(definitions, |endpoints, now| {
        let mut list = Vec::new();
        for subset in items(&endpoints["subsets"]) {
            let addresses = || items(&subset["addresses"]).iter().map(|address| string(&address["ip"]));
            let ports = items(&subset["ports"]);
            if ports.is_empty() {
                list.extend(addresses().map(str::to_owned));
            }
            for port in ports {
                list.extend(addresses().map(|address| host_port(address, int(&port["port"]))));
            }
        }
        let shown = match (count(&endpoints["subsets"]), list.is_empty()) {
            (0, _) => "<none>".to_owned(),
            (_, true) => String::new(),
            _ => cell::shortened(list),
        };
        vec![cell::name(endpoints), shown.into(), cell::age(endpoints, now)]
    })
}

fn host_port(address: &str, port: i64) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

fn node() -> Columns {
    let definitions = [
        name(),
        text("Status", "Whether the node is ready, and takes new pods"),
        text("Roles", "What the node is for, by its labels"),
        age(),
        text("Version", "The version of the node's agent"),
        wide("Internal-IP", "The first address inside the cluster"),
        wide("External-IP", "The first address outside the cluster"),
        wide("OS-Image", "The operating system"),
        wide("Kernel-Version", "The kernel's version"),
        wide("Container-Runtime", "What runs the containers, and its version"),
    ];
    Columns::new(definitions, node_cells)
}

fn node_cells(node: &Value, now: Timestamp) -> Vec<Value> {
    let status = &node["status"];
    let info = &status["nodeInfo"];
    let address = |kind: &str| -> Value {
        let first = items(&status["addresses"]).iter().find(|address| address["type"] == kind);
        first.map_or("<none>".into(), |address| cell::text(&address["address"]))
    };
    let mut state = match cell::condition(&status["conditions"], "Ready") {
        None => "Unknown",
        Some(ready) if ready["status"] == "True" => "Ready",
        Some(_) => "NotReady",
    }
    .to_owned();
    if is_true(&node["spec"]["unschedulable"]) {
        state.push_str(",SchedulingDisabled");
    }
    vec![
        cell::name(node),
        state.into(),
        node_roles(node).into(),
        cell::age(node, now),
        cell::text(&info["kubeletVersion"]),
        address("InternalIP"),
        address("ExternalIP"),
        or(&info["osImage"], "<unknown>"),
        or(&info["kernelVersion"], "<unknown>"),
        or(&info["containerRuntimeVersion"], "<unknown>"),
    ]
}

fn node_roles(node: &Value) -> String {
    let mut roles = BTreeSet::new();
    for (key, value) in node["metadata"]["labels"].as_object().into_iter().flatten() {
        let role = match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) => role,
            None if key == "kubernetes.io/role" => string(value),
            None => continue,
        };
        if !role.is_empty() {
            roles.insert(role);
        }
    }
    if roles.is_empty() { "<none>".to_owned() } else { Vec::from_iter(roles).join(",") }
}

fn namespace() -> Columns {
    Columns::new(
        [name(), text("Status", "Whether the namespace is in use or being emptied"), age()],
        |object, now| {
            vec![cell::name(object), cell::text(&object["status"]["phase"]), cell::age(object, now)]
        },
    )
}

fn config_map() -> Columns {
    Columns::new([name(), text("Data", "How many keys it holds"), age()], |object, now| {
        let keys = count(&object["data"]) + count(&object["binaryData"]);
        vec![cell::name(object), keys.into(), cell::age(object, now)]
    })
}

fn secret() -> Columns {
    let definitions =
        [name(), text("Type", "What the secret is for"), text("Data", "How many keys it holds"), age()];
    Columns::new(definitions, |object, now| {
        let keys = count(&object["data"]);
        vec![cell::name(object), cell::text(&object["type"]), keys.into(), cell::age(object, now)]
    })
}

fn service_account() -> Columns {
    Columns::new(
        [name(), text("Secrets", "How many secrets pods may use in its name"), age()],
        |object, now| vec![cell::name(object), count(&object["secrets"]).into(), cell::age(object, now)],
    )
}

fn component_status() -> Columns {
    let definitions = [
        name(),
        text("Status", "Whether the component is healthy"),
        text("Message", "What it says of its health"),
        text("Error", "What keeps it from being healthy"),
    ];
    Columns::new(definitions, |object, _| {
        let healthy = cell::condition(&object["conditions"], "Healthy").unwrap_or(&Value::Null);
        let status = match healthy["status"].as_str() {
            None => "Unknown",
            Some("True") => "Healthy",
            Some(_) => "Unhealthy",
        };
        vec![
            cell::name(object),
            status.into(),
            cell::text(&healthy["message"]),
            cell::text(&healthy["error"]),
        ]
    })
}

fn resource_quota() -> Columns {
    let definitions = [
        name(),
        text("Request", "What is used, and may be, of requests and counts"),
        text("Limit", "What is used, and may be, of limits"),
        age(),
    ];
    Columns::new(definitions, |quota, now| {
        let status = &quota["status"];
        let (mut requests, mut limits) = (Vec::new(), Vec::new());
        for (resource, hard) in status["hard"].as_object().into_iter().flatten() {
            let column = if resource.starts_with("limits.") { &mut limits } else { &mut requests };
            column.push(format!("{resource}: {}/{}", quantity(&status["used"][resource]), quantity(hard)));
        }
        vec![cell::name(quota), requests.join(", ").into(), limits.join(", ").into(), cell::age(quota, now)]
    })
}

fn status() -> Columns {
    let definitions = [
        text("Status", "Whether it worked"),
        text("Reason", "Why not, in one word"),
        text("Message", "Why not, for people"),
    ];
    Columns::new(definitions, |status, _| {
        ["status", "reason", "message"].map(|key| cell::text(&status[key])).into()
    })
}
