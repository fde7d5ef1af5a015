//! Rules for network policies.

use ipnet::IpNet;

use super::super::at::{At, Errors};
use super::super::error::Shown;
use super::super::names::{self, NameRule};
use super::super::pods::port_number_or_name;
use super::super::{Validator, go, metadata, selectors};

pub(in super::super) static NETWORK_POLICY: Validator = Validator {
    name: NameRule::Subdomain,
    namespaced: true,
    built_in: true,
    create: |policy, errors| spec(&policy.child("spec"), errors),
    update: |new, old, errors| {
        NETWORK_POLICY.as_new(new, errors);
        metadata::update_built_in(new, old, errors);
        spec(&new.child("spec"), errors);
    },
    status: |_, _, _| {},
};

fn spec(spec: &At, errors: &mut Errors) {
    selectors::label_selector(&spec.child("podSelector"), errors);
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        for rule in spec.child(direction).items() {
            rule.child("ports").items().for_each(|port| self::port(&port, errors));
            rule.child(peers).items().for_each(|peer| self::peer(&peer, errors));
        }
    }
    let types = spec.child("policyTypes");
    if types.len() > 2 {
        let shown: Shown = go::strings("[]networking.PolicyType", types.value());
        types.invalid_shown(errors, shown, "may not specify more than two policyTypes");
        return;
    }
    types.items().for_each(|kind| kind.one_of(errors, &["Ingress", "Egress"]));
}

fn port(port: &At, errors: &mut Errors) {
    port.child("protocol").one_of_if_set(errors, &["TCP", "UDP", "SCTP"]);
    let (first, last) = (port.child("port"), port.child("endPort"));
    if !first.is_set() {
        if last.is_set() {
            last.invalid(errors, "may not be specified when `port` is not specified");
        }
        return;
    }
    if first.value().is_string() && last.is_set() {
        last.invalid(errors, "may not be specified when `port` is non-numeric");
    }
    port_number_or_name(&first, errors);
    if let (Some(first), Some(end)) = (first.int(), last.int()) {
        if end < first {
            last.invalid(errors, "must be greater than or equal to `port`");
        }
        last.in_range(errors, 1, 65535);
    }
}

fn peer(peer: &At, errors: &mut Errors) {
    let mut peers = 0;
    for name in ["podSelector", "namespaceSelector"] {
        let selector = peer.child(name);
        peers += i32::from(selector.is_set());
        selectors::label_selector(&selector, errors);
    }
    let block = peer.child("ipBlock");
    if block.is_set() {
        ip_block(&block, errors);
        if peers > 0 {
            peer.forbidden(errors, "may not specify both ipBlock and another peer");
        }
    } else if peers == 0 {
        peer.required(errors, "must specify a peer");
    }
}

fn ip_block(block: &At, errors: &mut Errors) {
    let range = block.child("cidr");
    if range.require(errors) {
        return;
    }
    range.rule(errors, names::cidr);
    let Ok(whole) = range.str().parse::<IpNet>() else {
        return;
    };
    for except in block.child("except").items() {
        except.rule(errors, names::cidr);
        if let Ok(part) = except.str().parse::<IpNet>()
            && (!whole.contains(&part.addr()) || whole.prefix_len() >= part.prefix_len())
        {
            except.invalid(errors, "must be a strict subset of `cidr`");
        }
    }
}
