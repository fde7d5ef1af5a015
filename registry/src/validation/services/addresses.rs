//! Rules for addresses: those of a service, those behind it, and those of its load balancer.

use std::net::IpAddr;

use super::super::at::{At, Errors};
use super::super::error::{FieldError, Shown};
use super::super::{go, names};

pub(super) const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];
const POLICIES: [&str; 3] = ["PreferDualStack", "RequireDualStack", "SingleStack"];
const NO_CHANGE: &str = "may not change once set";

/// Checks that an address is one that traffic can be sent to from elsewhere.
pub(super) fn not_special(at: &At, errors: &mut Errors) {
    let Ok(address) = at.str().parse::<IpAddr>() else {
        at.invalid_shown(errors, at.str(), "must be a valid IP address");
        return;
    };
    // An address of IPv4 is the same address in the form of IPv6.
    let address = address.to_canonical();
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
    match first {
        None if !address.is_empty() => addresses.required(errors, ""),
        Some(_) if address.is_empty() => {
            addresses.invalid(errors, "must be empty when `clusterIP` is not specified");
        }
        Some(first) if first != address => addresses.invalid(errors, "first value must match `clusterIP`"),
        _ => {}
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
    let readable = each_address(&addresses, errors);
    if addresses.len() > 2 {
        addresses.invalid(errors, "may only hold up to 2 values");
    }
    if !readable {
        return;
    }
    let v6 = addresses.strings().filter(|address| is_v6(address)).count();
    if addresses.len() > 1 && (v6 == 0 || v6 == addresses.len()) {
        addresses.invalid(errors, "may specify no more than one IP for each IP family");
    }
    if is_headless(spec) {
        return;
    }
    for (index, (address, family)) in addresses.items().zip(families.strings()).enumerate() {
        if FAMILIES.contains(&family) && is_v6(address.str()) != (family == "IPv6") {
            let rule = format!("expected an {family} value as indicated by `ipFamilies[{index}]`");
            address.invalid(errors, &rule);
        }
    }
}

/// Checks each address alone; returns whether all are addresses, or the one is none.
fn each_address(addresses: &At, errors: &mut Errors) -> bool {
    let found = errors.len();
    for (index, address) in addresses.items().enumerate() {
        if index == 0 && address.str() == "None" {
            if addresses.len() > 1 {
                addresses.invalid(errors, "'None' must be the first and only value");
            }
            continue;
        }
        address.rule(errors, names::ip);
    }
    errors.len() == found
}

/// Checks how addresses and families of a service change: the first stay, a second may come and go.
pub(super) fn cluster_update(new: &At, old: &At, errors: &mut Errors) {
    if [new, old].iter().any(|spec| spec.child("type").str() == "ExternalName") {
        return;
    }
    let headless = (is_headless(new), is_headless(old));
    if headless != (true, true) {
        let all = (new.child("clusterIPs"), old.child("clusterIPs"));
        let shown = go::strings("[]string", all.0.value());
        let names = ["primary clusterIP", "secondary clusterIP"];
        released(new, (&all.0, &all.1), (shown.clone(), shown), names, errors);
    }
    // What becomes headless, or is, may be of other families.
    if headless == (false, false) {
        let all = (new.child("ipFamilies"), old.child("ipFamilies"));
        let shown = (
            go::strings("[]core.IPFamily", all.0.value()),
            go::strings("[]string", new.child("clusterIPs").value()),
        );
        released(new, (&all.0, &all.1), shown, ["primary ipFamily", "secondary ipFamily"], errors);
    }
}

/// Checks a list of at most two whose first value stays. `shown` is what errors show where the number of values is the
/// same or the first is gone, and where it changed otherwise.
fn released(
    spec: &At,
    (list, before): (&At, &At),
    shown: (Shown, Shown),
    [primary, secondary]: [&str; 2],
    errors: &mut Errors,
) {
    let first = list.index(0);
    if list.len() == before.len() {
        for (index, (now, was)) in list.strings().zip(before.strings()).enumerate() {
            if now != was {
                // Families are all reported as if they were the first.
                let at = if primary.ends_with("ipFamily") { 0 } else { index };
                list.index(at).invalid_shown(errors, shown.0.clone(), NO_CHANGE);
            }
        }
        return;
    }
    let fewer = list.len() < before.len();
    if fewer && spec.child("clusterIPs").is_empty() {
        first.invalid_shown(errors, shown.0, &format!("{primary} can not be unset"));
    }
    if !before.is_empty() && !list.is_empty() && list.strings().next() != before.strings().next() {
        first.invalid_shown(errors, shown.1, NO_CHANGE);
    }
    let policy = spec.child("ipFamilyPolicy");
    if fewer && list.len() == 1 && policy.str() != "SingleStack" {
        policy.invalid(errors, &format!("must be set to 'SingleStack' when releasing the {secondary}"));
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
