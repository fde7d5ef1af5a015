//! The groups `networking.k8s.io` and `discovery.k8s.io`.

use serde_json::Value;

use super::Columns;
use super::cell::{self, SHOWN, count, items, or, string};
use super::core::load_balancer_addresses;
use super::definition::{age, name, text};

pub(super) fn columns(kind: &str) -> Option<Columns> {
    Some(match kind {
        "EndpointSlice" => endpoint_slice(),
        "Ingress" => ingress(),
        "IngressClass" => ingress_class(),
        "NetworkPolicy" => network_policy(),
        "ServiceCIDR" => service_cidr(),
        "IPAddress" => ip_address(),
        _ => return None,
    })
}

fn endpoint_slice() -> Columns {
    let definitions = [
        name(),
        text("AddressType", "What the addresses are"),
        text("Ports", "The ports of every endpoint"),
        text("Endpoints", "The addresses of the endpoints"),
        age(),
    ];
    Columns::new(definitions, |slice, now| {
        let ports =
            items(&slice["ports"]).iter().map(|port| match (port["port"].as_i64(), port["name"].as_str()) {
                (Some(number), _) => number.to_string(),
                (None, Some(name)) => name.to_owned(),
                (None, None) => "*".to_owned(),
            });
        let addresses = items(&slice["endpoints"]).iter().flat_map(|endpoint| items(&endpoint["addresses"]));
        vec![
            cell::name(slice),
            cell::text(&slice["addressType"]),
            cell::shortened(ports.collect()).into(),
            cell::shortened(addresses.map(|address| string(address).to_owned()).collect()).into(),
            cell::age(slice, now),
        ]
    })
}

fn ingress() -> Columns {
    let definitions = [
        name(),
        text("Class", "Which controller serves it"),
        text("Hosts", "The hosts that its rules are for"),
        text("Address", "The addresses that it is served at"),
        text("Ports", "The ports that it is served at"),
        age(),
    ];
    Columns::new(definitions, |ingress, now| {
        let spec = &ingress["spec"];
        let addresses = Vec::from_iter(load_balancer_addresses(ingress));
        vec![
            cell::name(ingress),
            or(&spec["ingressClassName"], "<none>"),
            hosts(&spec["rules"]).into(),
            addresses.join(",").into(),
            if count(&spec["tls"]) == 0 { "80" } else { "80, 443" }.into(),
            cell::age(ingress, now),
        ]
    })
}

/// Rules without a host are for every host and are not listed; yet they count among those that are left out.
fn hosts(rules: &Value) -> String {
    let rules = items(rules);
    let mut shown = Vec::new();
    let mut all = true;
    for rule in rules {
        if shown.len() == SHOWN {
            all = false;
            break;
        }
        let host = string(&rule["host"]);
        if !host.is_empty() {
            shown.push(host);
        }
    }
    match (shown.is_empty(), all) {
        (true, _) => "*".to_owned(),
        (_, true) => shown.join(","),
        _ => format!("{} + {} more...", shown.join(","), rules.len() - SHOWN),
    }
}

fn ingress_class() -> Columns {
    let definitions = [
        name(),
        text("Controller", "Which controller serves the class"),
        text("Parameters", "The object that configures the controller"),
        age(),
    ];
    Columns::new(definitions, |class, now| {
        let parameters = match &class["spec"]["parameters"] {
            Value::Null => "<none>".to_owned(),
            object => match object["apiGroup"].as_str() {
                None => format!("{}/{}", string(&object["kind"]), string(&object["name"])),
                Some(group) => format!("{}.{group}/{}", string(&object["kind"]), string(&object["name"])),
            },
        };
        vec![
            cell::name(class),
            cell::text(&class["spec"]["controller"]),
            parameters.into(),
            cell::age(class, now),
        ]
    })
}

fn network_policy() -> Columns {
    let definitions = [name(), text("Pod-Selector", "Which pods the policy is for, by their labels"), age()];
    Columns::new(definitions, |policy, now| {
        vec![cell::name(policy), cell::label_selector(&policy["spec"]["podSelector"]), cell::age(policy, now)]
    })
}

fn service_cidr() -> Columns {
    Columns::new([name(), text("CIDRs", "The ranges that services get addresses of"), age()], |range, now| {
        vec![
            cell::name(range),
            cell::join(&range["spec"]["cidrs"], ",", string).into(),
            cell::age(range, now),
        ]
    })
}

fn ip_address() -> Columns {
    Columns::new([name(), text("ParentRef", "What has the address"), age()], |address, now| {
        vec![cell::name(address), parent(&address["spec"]["parentRef"]).into(), cell::age(address, now)]
    })
}

fn parent(reference: &Value) -> String {
    if reference.is_null() {
        return "<none>".to_owned();
    }
    let mut path = string(&reference["resource"]).to_lowercase();
    let group = string(&reference["group"]);
    if !group.is_empty() {
        path.push_str(&format!(".{}", group.to_lowercase()));
    }
    for part in [string(&reference["namespace"]), string(&reference["name"])] {
        if !part.is_empty() {
            path.push_str(&format!("/{part}"));
        }
    }
    path
}
