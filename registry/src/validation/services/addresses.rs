//! Rules for addresses: those of a service, those behind it, and those of its load balancer.

use std::net::IpAddr;

use super::super::at::{At, Errors};
use super::super::error::FieldError;
use super::super::names;

pub(super) const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];
const POLICIES: [&str; 3] = ["PreferDualStack", "RequireDualStack", "SingleStack"];
const NO_CHANGE: &str = "may not change once set";

/// Checks that an address is one that traffic can be sent to from elsewhere.
pub(super) fn not_special(at: &At, errors: &mut Errors) {
    let Ok(address) = at.str().parse::<IpAddr>() else {
        at.invalid_shown(errors, at.str(), "must be a valid IP address");
        return;
    };
    let (link_local, multicast) = match address {
        IpAddr::V4(v4) => (v4.is_link_local(), v4.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(v6) => (v6.segments()[0] & 0xffc0 == 0xfe80, v6.segments()[0] & 0xff0f == 0xff02),
    };
    for (wrong, problem) in [
        (address.is_unspecified(), format!("may not be unspecified ({})", at.str())),
        (address.is_loopback(), "may not be in the loopback range (127.0.0.0/8)".to_owned()),
        (link_local, "may not be in the link-local range (169.254.0.0/16)".to_owned()),
        (multicast, "may not be in the link-local multicast range (224.0.0.0/24)".to_owned()),
    ] {
        if wrong {
            at.invalid(errors, &problem);
        }
    }
}

fn is_v6(address: &str) -> bool {
    address.parse::<IpAddr>().is_ok_and(|address| address.is_ipv6())
}

/// Returns whether a service has no address of its own.
pub(super) fn is_headless(spec: &At) -> bool {
    let first = spec.child("clusterIPs").strings().next();
    first.unwrap_or(spec.child("clusterIP").str()) == "None"
}

/// Checks address, addresses, families and policy of a service against each other.
pub(super) fn cluster(spec: &At, errors: &mut Errors) {
    let (addresses, families) = (spec.child("clusterIPs"), spec.child("ipFamilies"));
    let (first, address) = (addresses.strings().next(), spec.child("clusterIP").str());
    if first.is_some_and(|first| first != address) {
        addresses.invalid(errors, "first value must match `clusterIP`");
    }
    let mut seen = Vec::new();
    for family in families.items() {
        family.one_of(errors, &FAMILIES);
        if seen.contains(&family.str()) {
            family.duplicate(errors);
        }
        seen.push(family.str());
    }
    spec.child("ipFamilyPolicy").one_of_if_set(errors, &POLICIES);
    let found = errors.len();
    each_address(spec, errors);
    if errors.len() > found || is_headless(spec) {
        return;
    }
    let all: Vec<_> = addresses.strings().collect();
    if all.len() == 2 && is_v6(all[0]) == is_v6(all[1]) {
        addresses.invalid(errors, "may specify no more than one IP for each IP family");
    }
    for (index, (address, family)) in addresses.items().zip(families.strings()).enumerate() {
        if FAMILIES.contains(&family) && is_v6(address.str()) != (family == "IPv6") {
            let rule = format!("expected an {family} value as indicated by `ipFamilies[{index}]`");
            address.invalid(errors, &rule);
        }
    }
}

fn each_address(spec: &At, errors: &mut Errors) {
    let addresses = spec.child("clusterIPs");
    if addresses.is_empty() {
        let alone = spec.child("clusterIP");
        if !matches!(alone.str(), "" | "None") {
            alone.rule(errors, names::ip);
        }
        return;
    }
    if addresses.len() > 2 {
        addresses.invalid(errors, "may only hold up to 2 values");
    }
    let mut seen = Vec::new();
    for (index, address) in addresses.items().enumerate() {
        if address.str() == "None" {
            if index > 0 || addresses.len() > 1 {
                addresses.invalid(errors, "'None' must be the first and only value");
            }
            continue;
        }
        address.rule(errors, names::ip);
        if seen.contains(&address.str()) {
            address.duplicate(errors);
        }
        seen.push(address.str());
    }
}

/// Checks how addresses and families of a service change: the first stay, a second may come and go.
pub(super) fn cluster_update(new: &At, old: &At, errors: &mut Errors) {
    if [new, old].iter().any(|spec| spec.child("type").str() == "ExternalName") {
        return;
    }
    for (name, one) in [("clusterIPs", "secondary clusterIP"), ("ipFamilies", "secondary ipFamily")] {
        let (list, before) = (new.child(name), old.child(name));
        if before.is_empty() {
            continue;
        }
        let primary =
            format!("primary {} can not be unset", name.trim_end_matches("ies").trim_end_matches('s'));
        for (index, was) in before.strings().enumerate() {
            let item = list.index(index);
            match list.strings().nth(index) {
                Some(now) if now != was => item.invalid_shown(errors, list.value(), NO_CHANGE),
                Some(_) => {}
                None if index == 0 => item.invalid_shown(errors, list.value(), &primary),
                None if new.child("ipFamilyPolicy").str() != "SingleStack" => {
                    let rule = format!("must be set to 'SingleStack' when releasing the {one}");
                    new.child("ipFamilyPolicy").invalid(errors, &rule);
                }
                None => {}
            }
        }
    }
}

/// Checks where a load balancer says that it takes traffic in.
pub(in super::super) fn load_balancer_status(status: &At, errors: &mut Errors) {
    for ingress in status.child("ingress").items() {
        let (ip, mode, host) = (ingress.child("ip"), ingress.child("ipMode"), ingress.child("hostname"));
        if !ip.is_empty() {
            ip.rule(errors, names::ip);
            mode.one_of_if_set(errors, &["Proxy", "VIP"]);
        } else if mode.is_set() {
            mode.forbidden(errors, "may not be specified when `ip` is not set");
        }
        if host.is_empty() {
            continue;
        }
        host.rule(errors, names::subdomain);
        if host.str().parse::<IpAddr>().is_ok() {
            errors.push(FieldError::invalid(host, host.str(), "must be a DNS name, not an IP address"));
        }
    }
}
