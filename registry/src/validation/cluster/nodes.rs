//! Rules for nodes.

use super::super::at::{At, Errors};
use super::super::error::FieldError;
use super::super::names::{self, NameRule};
use super::super::{Validator, go, metadata, pods};

pub(in super::super) static NODE: Validator = Validator {
    name: NameRule::Subdomain,
    namespaced: false,
    built_in: true,
    create: node,
    update: |new, old, errors| {
        NODE.as_new(new, errors);
        update(new, old, errors);
    },
    status: update,
};

fn node(node: &At, errors: &mut Errors) {
    let (meta, spec) = (node.child("metadata"), node.child("spec"));
    // Upstream reports taints as if they were metadata.
    taints(&meta.moved(spec.child("taints").value(), "taints"), errors);
    resources(node, errors);
    let (alone, ranges) = (spec.child("podCIDR"), spec.child("podCIDRs"));
    if ranges.is_empty() {
        if !alone.is_empty() {
            alone.rule(errors, names::cidr);
        }
        return;
    }
    if !alone.is_empty() && ranges.strings().next() != Some(alone.str()) {
        ranges.invalid(errors, "first value must match `podCIDR`");
    }
    ranges.items().for_each(|range| range.rule(errors, names::cidr));
    let all: Vec<_> = ranges.strings().collect();
    let one_family = all.len() == 2 && all[0].contains(':') == all[1].contains(':');
    if all.len() > 2 || one_family {
        ranges.invalid(errors, "may specify no more than one CIDR for each IP family");
    }
    for (index, range) in ranges.items().enumerate() {
        if all.iter().take(index).any(|other| *other == range.str()) {
            range.duplicate(errors);
        }
    }
}

fn taints(taints: &At, errors: &mut Errors) {
    let mut seen = Vec::new();
    for taint in taints.items() {
        let (key, value, effect) = (taint.child("key"), taint.child("value"), taint.child("effect"));
        key.rule(errors, names::qualified_name);
        let problems = quarterdeck_core::labels::validate_label_value(value.str());
        if !problems.is_empty() {
            value.invalid(errors, &problems.join(";"));
        }
        pods::taint_effect(&effect, errors);
        if seen.contains(&(key.str(), effect.str())) {
            let shown = go::structure(
                "core.Taint",
                &[
                    ("Key", go::string(key.value())),
                    ("Value", go::string(value.value())),
                    ("Effect", go::string(effect.value())),
                    ("TimeAdded", "<nil>".to_owned()),
                ],
            );
            let mut error = FieldError::duplicate(taint, shown);
            error.message.push_str(": taints must be unique by key and effect pair");
            errors.push(error);
        }
        seen.push((key.str(), effect.str()));
    }
}

fn resources(node: &At, errors: &mut Errors) {
    let status = node.child("status");
    for list in ["capacity", "allocatable"] {
        for (name, amount) in status.child(list).entries() {
            pods::resource_quantity(name, &amount, errors);
        }
    }
}

/// Returns the ranges of addresses of a node's pods; old clients give only the first one, in a field of its own.
fn ranges<'v>(spec: &At<'v, '_>) -> Vec<&'v str> {
    let all: Vec<_> = spec.child("podCIDRs").strings().collect();
    let alone = spec.child("podCIDR").str();
    if all.is_empty() && !alone.is_empty() { vec![alone] } else { all }
}

fn update(new: &At, old: &At, errors: &mut Errors) {
    metadata::update_built_in(new, old, errors);
    resources(new, errors);
    let status = new.child("status");
    let mut seen = Vec::new();
    for address in status.child("addresses").items() {
        if seen.contains(&address.value()) {
            let shown = go::structure(
                "core.NodeAddress",
                &[
                    ("Type", go::string(address.child("type").value())),
                    ("Address", go::string(address.child("address").value())),
                ],
            );
            errors.push(FieldError::duplicate(address, shown));
        }
        seen.push(address.value());
    }
    let (spec, before) = (new.child("spec"), old.child("spec"));
    let was = ranges(&before);
    if !was.is_empty() && ranges(&spec) != was {
        spec.child("podCIDRs")
            .forbidden(errors, "node updates may not change podCIDR except from \"\" to valid");
    }
    let (provider, was) = (spec.child("providerID"), before.child("providerID"));
    if !was.is_empty() && provider.str() != was.str() {
        provider.forbidden(errors, "node updates may not change providerID except from \"\" to valid");
    }
    let meta = new.child("metadata");
    taints(&meta.moved(spec.child("taints").value(), "taints"), errors);
}
