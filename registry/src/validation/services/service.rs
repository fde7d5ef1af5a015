//! Rules for services.

use serde_json::Value;

use super::super::at::{At, Errors, IMMUTABLE};
use super::super::error::FieldError;
use super::super::names::{self, NameRule};
use super::super::pods::port_number_or_name;
use super::super::{Validator, go, metadata};
use super::PROTOCOLS;
use super::addresses::{cluster, cluster_update, is_headless, load_balancer_status, not_special};

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const MAX_AFFINITY_SECONDS: i64 = 86_400;
const ONLY_BALANCED: &str = "may only be used when `type` is 'LoadBalancer'";

pub(in super::super) static SERVICE: Validator = Validator {
    name: NameRule::Label1035,
    namespaced: true,
    built_in: true,
    create: service,
    update: |new, old, errors| {
        metadata::update_built_in(new, old, errors);
        let (spec, before) = (new.child("spec"), old.child("spec"));
        cluster_update(&spec, &before, errors);
        balancer_class_update(&spec, &before, errors);
        let (port, was) = (spec.child("healthCheckNodePort"), before.child("healthCheckNodePort"));
        if needs_check(&spec) && needs_check(&before) && port.int() != was.int() {
            port.forbidden(errors, IMMUTABLE);
        }
        metadata::whole(new, NameRule::Label1035, true, errors);
        service(new, errors);
    },
    status: |new, old, errors| {
        metadata::update_built_in(new, old, errors);
        let status = new.child("status");
        let balancer = status.child("loadBalancer");
        let ingress = balancer.child("ingress");
        if !ingress.is_empty() && new.child("spec").child("type").str() != "LoadBalancer" {
            ingress.forbidden(errors, "may only be used when `spec.type` is 'LoadBalancer'");
        } else {
            load_balancer_status(&balancer, errors);
        }
    },
};

fn service(service: &At, errors: &mut Errors) {
    topology(&service.child("metadata"), errors);
    let spec = service.child("spec");
    let kind = spec.child("type").str();
    let headless = is_headless(&spec);
    let service_ports = spec.child("ports");
    if service_ports.is_empty() && !headless && kind != "ExternalName" {
        service_ports.required(errors, "");
    }
    by_type(&spec, kind, headless, errors);
    ports(&service_ports, errors);
    metadata::labels(&spec.child("selector"), errors);
    affinity(&spec, errors);
    if kind != "ExternalName" {
        cluster(&spec, errors);
    }
    for address in spec.child("externalIPs").items() {
        let problems = names::ip(address.str());
        problems.iter().for_each(|problem| address.invalid(errors, problem));
        if problems.is_empty() {
            not_special(&address, errors);
        }
    }
    spec.child("type").one_of_or_required(errors, &TYPES);
    node_ports(&service_ports, kind, errors);
    same_ports(&service_ports, errors);
    load_balancer(service, kind, errors);
    traffic(&spec, kind, errors);
}

/// Checks that both names of the annotation on topology, if both are there, say the same.
fn topology(metadata: &At, errors: &mut Errors) {
    const OLDER: &str = "service.kubernetes.io/topology-aware-hints";
    let annotations = metadata.child("annotations");
    let (mode, hints) = (annotations.key("service.kubernetes.io/topology-mode"), annotations.key(OLDER));
    if mode.is_set() && hints.is_set() && mode.str() != hints.str() {
        mode.invalid(errors, &format!("must match annotations[{OLDER}] when both are specified"));
    }
}

fn by_type(spec: &At, kind: &str, headless: bool, errors: &mut Errors) {
    let addresses = spec.child("clusterIPs");
    match kind {
        "LoadBalancer" | "NodePort" => {
            for port in spec.child("ports").items().filter(|_| kind == "LoadBalancer") {
                if port.child("port").int() == Some(10250) {
                    let rule = "may not expose port 10250 externally since it is used by kubelet";
                    port.invalid_shown(errors, 10250, rule);
                }
            }
            if headless {
                let rule = format!("may not be set to 'None' for {kind} services");
                addresses.index(0).invalid_shown(errors, "None", &rule);
            }
        }
        "ExternalName" => {
            let unset = "may not be set for ExternalName services";
            let alone = addresses.is_empty() && !spec.child("clusterIP").is_empty();
            for (name, set) in [
                ("clusterIPs", !addresses.is_empty() || alone),
                ("ipFamilies", !spec.child("ipFamilies").is_empty()),
                ("ipFamilyPolicy", spec.child("ipFamilyPolicy").is_set()),
            ] {
                if set {
                    spec.child(name).forbidden(errors, unset);
                }
            }
            let name = spec.child("externalName");
            let host = name.str().strip_suffix('.').unwrap_or(name.str());
            if host.is_empty() {
                name.required(errors, "");
            } else {
                names::subdomain(host).iter().for_each(|problem| name.invalid_shown(errors, host, problem));
            }
        }
        _ => {}
    }
}

fn ports(ports: &At, errors: &mut Errors) {
    let mut seen = Vec::new();
    for port in ports.items() {
        let name = port.child("name");
        if name.is_empty() {
            if ports.len() > 1 {
                name.required(errors, "");
            }
        } else {
            name.rule(errors, names::dns_label);
            if seen.contains(&name.str()) {
                name.duplicate(errors);
            }
            seen.push(name.str());
        }
        port.child("port").in_range(errors, 1, 65535);
        port.child("protocol").one_of_or_required(errors, &PROTOCOLS);
        port_number_or_name(&port.child("targetPort"), errors);
        let application = port.child("appProtocol");
        if application.is_set() {
            application.rule(errors, names::qualified_name);
        }
    }
}

/// Checks that no two ports are the same.
fn same_ports(ports: &At, errors: &mut Errors) {
    let pair = |port: &At, field: &str| (port.child("protocol").str().to_owned(), port.child(field).int());
    for (index, port) in ports.items().enumerate() {
        if ports.items().take(index).any(|other| pair(&other, "port") == pair(&port, "port")) {
            let shown = go::structure(
                "core.ServicePort",
                &[
                    ("Name", go::string(&Value::Null)),
                    ("Protocol", go::string(port.child("protocol").value())),
                    ("AppProtocol", go::pointer("string", &Value::Null)),
                    ("Port", go::number(port.child("port").value())),
                    ("TargetPort", go::int_or_string(&Value::Null).0),
                    ("NodePort", "0".to_owned()),
                ],
            );
            errors.push(FieldError::duplicate(port, shown));
        }
    }
}

fn affinity(spec: &At, errors: &mut Errors) {
    let (affinity, config) = (spec.child("sessionAffinity"), spec.child("sessionAffinityConfig"));
    affinity.one_of_or_required(errors, &["ClientIP", "None"]);
    match affinity.str() {
        "ClientIP" => {
            let (client, rule) = (config.child("clientIP"), "when session affinity type is ClientIP");
            let seconds = client.child("timeoutSeconds");
            for field in [&config, &client, &seconds] {
                if !field.is_set() {
                    field.required(errors, rule);
                    return;
                }
            }
            if !(1..=MAX_AFFINITY_SECONDS).contains(&seconds.int().unwrap_or_default()) {
                seconds
                    .invalid(errors, &format!("must be greater than 0 and less than {MAX_AFFINITY_SECONDS}"));
            }
        }
        "None" if config.is_set() => {
            config.forbidden(errors, "must not be set when session affinity is None");
        }
        _ => {}
    }
}

fn node_ports(ports: &At, kind: &str, errors: &mut Errors) {
    let given = |port: &At| port.child("nodePort").int().filter(|number| *number != 0);
    if kind == "ClusterIP" {
        for port in ports.items().filter(|port| given(port).is_some()) {
            port.child("nodePort").forbidden(errors, "may not be used when `type` is 'ClusterIP'");
        }
    }
    let mut seen = Vec::new();
    for port in ports.items() {
        let Some(number) = given(&port) else { continue };
        let pair = (port.child("protocol").str(), number);
        if seen.contains(&pair) {
            port.child("nodePort").duplicate(errors);
        }
        seen.push(pair);
    }
}

fn load_balancer(service: &At, kind: &str, errors: &mut Errors) {
    let (spec, balanced) = (service.child("spec"), kind == "LoadBalancer");
    source_ranges(service, balanced, errors);
    let allocate = spec.child("allocateLoadBalancerNodePorts");
    if allocate.is_set() && !balanced {
        allocate.forbidden(errors, ONLY_BALANCED);
    }
    let class = spec.child("loadBalancerClass");
    if class.is_set() && balanced {
        class.rule(errors, names::qualified_name);
    } else if class.is_set() {
        class.forbidden(errors, ONLY_BALANCED);
    }
}

/// Checks from where a load balancer takes traffic: a field, or an annotation that is older.
fn source_ranges(service: &At, balanced: bool, errors: &mut Errors) {
    let (spec, meta) = (service.child("spec"), service.child("metadata"));
    let ranges = spec.moved(spec.child("loadBalancerSourceRanges").value(), "LoadBalancerSourceRanges");
    let annotations = meta.child("annotations");
    let older = annotations.key("service.beta.kubernetes.io/load-balancer-source-ranges");
    let place = if ranges.is_empty() { &older } else { &ranges };
    if (!ranges.is_empty() || older.is_set()) && !balanced {
        place.forbidden(errors, ONLY_BALANCED);
    }
    for range in ranges.items() {
        let trimmed = range.str().trim();
        names::cidr(trimmed).iter().for_each(|problem| range.invalid_shown(errors, trimmed, problem));
    }
    if ranges.is_empty() && !older.str().trim().is_empty() {
        for range in older.str().trim().split(',').map(str::trim) {
            names::cidr(range).iter().for_each(|problem| older.invalid_shown(errors, range, problem));
        }
    }
}

/// Returns whether a load balancer asks nodes whether they have pods of the service.
fn needs_check(spec: &At) -> bool {
    spec.child("type").str() == "LoadBalancer" && spec.child("externalTrafficPolicy").str() == "Local"
}

fn balancer_class_update(new: &At, old: &At, errors: &mut Errors) {
    let balanced = |spec: &At| spec.child("type").str() == "LoadBalancer";
    let (class, was) = (new.child("loadBalancerClass"), old.child("loadBalancerClass"));
    if balanced(new) && balanced(old) && class.value() != was.value() {
        class.invalid(errors, "may not change once set");
    }
}

fn traffic(spec: &At, kind: &str, errors: &mut Errors) {
    let external = spec.child("externalTrafficPolicy");
    let reachable = matches!(kind, "LoadBalancer" | "NodePort")
        || (kind == "ClusterIP" && !spec.child("externalIPs").is_empty());
    if !reachable && !external.is_empty() {
        external.invalid(errors, "may only be set for externally-accessible services");
    }
    if reachable {
        external.one_of_or_required(errors, &["Cluster", "Local"]);
    }
    let check = spec.child("healthCheckNodePort");
    if check.int().unwrap_or_default() != 0 && !needs_check(spec) {
        let rule = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        check.invalid(errors, rule);
    }
    spec.child("internalTrafficPolicy").one_of_if_set(errors, &["Cluster", "Local"]);
    spec.child("trafficDistribution").one_of_if_set(errors, &["PreferClose"]);
}
