//! Rules for endpoints and endpoint slices.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::super::at::{At, Errors};
use super::super::error::FieldError;
use super::super::names::{self, NameRule};
use super::super::{Validator, metadata};
use super::PROTOCOLS;
use super::addresses::not_special;

const MAX_ENDPOINTS: usize = 1000;
const MAX_ADDRESSES: usize = 100;
const MAX_PORTS: usize = 20_000;
const MAX_TOPOLOGY: usize = 16;

pub(in super::super) static ENDPOINTS: Validator = Validator {
    name: NameRule::Subdomain,
    namespaced: true,
    built_in: true,
    create: |endpoints, errors| subsets(&endpoints.child("subsets"), errors),
    update: |new, old, errors| {
        metadata::update_built_in(new, old, errors);
        metadata::whole(new, NameRule::Subdomain, true, errors);
        subsets(&new.child("subsets"), errors);
    },
    status: |_, _, _| {},
};

pub(in super::super) static ENDPOINT_SLICE: Validator = Validator {
    name: NameRule::Subdomain,
    namespaced: true,
    built_in: true,
    create: slice,
    update: |new, old, errors| {
        metadata::whole(new, NameRule::Subdomain, true, errors);
        slice(new, errors);
        new.child("addressType").immutable(errors, &old.child("addressType"));
    },
    status: |_, _, _| {},
};

fn subsets(subsets: &At, errors: &mut Errors) {
    for subset in subsets.items() {
        let (ready, not_ready) = (subset.child("addresses"), subset.child("notReadyAddresses"));
        if ready.is_empty() && not_ready.is_empty() {
            subset.required(errors, "must specify `addresses` or `notReadyAddresses`");
        }
        ready.items().chain(not_ready.items()).for_each(|address| endpoint_address(&address, errors));
        let ports = subset.child("ports");
        for port in ports.items() {
            let name = port.child("name");
            if name.is_empty() && ports.len() > 1 {
                name.required(errors, "");
            } else if !name.is_empty() {
                name.rule(errors, names::dns_label);
            }
            port.child("port").in_range(errors, 1, 65535);
            port.child("protocol").one_of_or_required(errors, &PROTOCOLS);
            application(&port, errors);
        }
    }
}

fn endpoint_address(address: &At, errors: &mut Errors) {
    let ip = address.child("ip");
    let problems = names::ip(ip.str());
    problems.iter().for_each(|problem| ip.invalid_shown(errors, ip.str(), problem));
    if !address.child("hostname").is_empty() {
        address.child("hostname").rule(errors, names::dns_label);
    }
    if address.child("nodeName").is_set() {
        address.child("nodeName").rule(errors, names::subdomain);
    }
    not_special(&ip, errors);
}

fn application(port: &At, errors: &mut Errors) {
    if port.child("appProtocol").is_set() {
        port.child("appProtocol").rule(errors, names::qualified_name);
    }
}

fn slice(slice: &At, errors: &mut Errors) {
    let kind = slice.child("addressType");
    kind.one_of_or_required(errors, &["FQDN", "IPv4", "IPv6"]);
    let endpoints = slice.child("endpoints");
    if endpoints.len() > MAX_ENDPOINTS {
        errors.push(FieldError::too_many(endpoints, endpoints.len(), MAX_ENDPOINTS));
    } else {
        endpoints.items().for_each(|endpoint| slice_endpoint(&endpoint, kind.str(), errors));
    }
    let ports = slice.child("ports");
    if ports.len() > MAX_PORTS {
        errors.push(FieldError::too_many(ports, ports.len(), MAX_PORTS));
        return;
    }
    let mut seen = Vec::new();
    for port in ports.items() {
        let name = port.child("name");
        if !name.is_empty() {
            name.rule(errors, names::dns_label);
        }
        if seen.contains(&name.str()) {
            errors.push(FieldError::duplicate(name, name.str()));
        }
        seen.push(name.str());
        port.child("protocol").one_of_or_required(errors, &PROTOCOLS);
        application(&port, errors);
    }
}

fn slice_endpoint(endpoint: &At, kind: &str, errors: &mut Errors) {
    let addresses = endpoint.child("addresses");
    if addresses.is_empty() {
        addresses.required(errors, "must contain at least 1 address");
    } else if addresses.len() > MAX_ADDRESSES {
        errors.push(FieldError::too_many(addresses, addresses.len(), MAX_ADDRESSES));
    }
    for address in addresses.items() {
        let of_family = match kind {
            "IPv4" => address.str().parse::<Ipv4Addr>().is_ok(),
            "IPv6" => address.str().parse::<Ipv6Addr>().is_ok(),
            "FQDN" => {
                full_name(&address, errors);
                continue;
            }
            _ => continue,
        };
        if !of_family {
            address.invalid(errors, &format!("must be a valid {kind} address"));
        }
        not_special(&address, errors);
    }
    if !endpoint.child("nodeName").is_empty() {
        endpoint.child("nodeName").rule(errors, names::subdomain);
    }
    let topology = endpoint.child("deprecatedTopology");
    if topology.len() > MAX_TOPOLOGY {
        errors.push(FieldError::too_many(topology, topology.len(), MAX_TOPOLOGY));
    }
    metadata::labels(&topology, errors);
    if endpoint.child("hostname").is_set() {
        endpoint.child("hostname").rule(errors, names::dns_label);
    }
    for zone in endpoint.child("hints").child("forZones").items() {
        if !zone.child("name").require(errors) {
            zone.child("name").rule(errors, quarterdeck_core::labels::validate_label_value);
        }
    }
}

fn full_name(address: &At, errors: &mut Errors) {
    if address.require(errors) {
        return;
    }
    let name = address.str().strip_suffix('.').unwrap_or(address.str());
    let problems = names::subdomain(name);
    if !problems.is_empty() {
        address.invalid_shown(errors, name, &problems.join(","));
    } else if !name.contains('.') {
        address.invalid_shown(
            errors,
            name,
            "should be a domain with at least two segments separated by dots",
        );
    }
}
