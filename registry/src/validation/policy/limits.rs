//! Rules for limit ranges.

use std::collections::BTreeSet;

use quarterdeck_core::quantity::Quantity;

use super::super::at::{At, Errors};
use super::super::names::{self, NameRule};
use super::super::pods::{must_be_equal, resource_name, standard_for_containers};
use super::super::{Validator, go, metadata};

const NOT_FOR_PODS: &str = "may not be specified when `type` is 'Pod'";
const LISTS: [&str; 5] = ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"];

pub(in super::super) static LIMIT_RANGE: Validator = Validator {
    name: NameRule::Subdomain,
    namespaced: true,
    built_in: true,
    create: range,
    update: |new, _, errors| {
        metadata::whole(new, NameRule::Subdomain, true, errors);
        range(new, errors);
    },
    status: |_, _, _| {},
};

fn range(range: &At, errors: &mut Errors) {
    let spec = range.child("spec");
    let mut seen = Vec::new();
    for limit in spec.child("limits").items() {
        let kind = limit.child("type");
        kind.rule(errors, names::qualified_name);
        if !kind.str().contains('/') && !matches!(kind.str(), "Container" | "PersistentVolumeClaim" | "Pod") {
            kind.invalid_shown(errors, kind.str(), "must be a standard limit type or fully qualified");
        }
        if seen.contains(&kind.str()) {
            kind.duplicate(errors);
        }
        seen.push(kind.str());
        self::limit(&limit, kind.str(), errors);
    }
}

fn limit(limit: &At, kind: &str, errors: &mut Errors) {
    let mut resources = BTreeSet::new();
    for list in LISTS {
        let amounts = limit.child(list);
        if kind == "Pod" && matches!(list, "default" | "defaultRequest") {
            if !amounts.is_empty() {
                amounts.forbidden(errors, NOT_FOR_PODS);
            }
            continue;
        }
        for (name, amount) in amounts.entries() {
            let found = errors.len();
            resource_name(name, &amount, errors);
            if matches!(kind, "Pod" | "Container") && (errors.len() == found || !name.contains('/')) {
                standard_for_containers(name, &amount, errors);
            }
            resources.insert(name);
        }
    }
    let has = |list: &str| limit.child(list).child("storage").is_set();
    if kind == "PersistentVolumeClaim" && !has("min") && !has("max") {
        let rule = "either minimum or maximum storage value is required, but neither was provided";
        limit.child("limits").required(errors, rule);
    }
    for resource in resources {
        order(limit, resource, errors);
    }
}

/// Checks that the amounts of one resource rise from the least over request and default to the most.
fn order(limit: &At, resource: &str, errors: &mut Errors) {
    let amount = |list: &str| limit.child(list).child(resource).quantity();
    let (least, most) = (amount("min"), amount("max"));
    let (default, request) = (amount("default"), amount("defaultRequest"));
    let mut rises =
        |low: (Option<Quantity>, &str), high: (Option<Quantity>, &str), list: &str, shown_low: bool| {
            if let (Some(lower), Some(higher)) = (low.0, high.0)
                && lower > higher
            {
                let shown = go::quantity(&if shown_low { lower } else { higher }.to_string());
                let rule = format!("{} value {lower} is greater than {} value {higher}", low.1, high.1);
                limit.child(list).key(resource).invalid_shown(errors, shown, &rule);
            }
        };
    rises((least, "min"), (most, "max"), "min", true);
    rises((least, "min"), (request, "default request"), "defaultRequest", false);
    rises((request, "default request"), (most, "max"), "defaultRequest", true);
    rises((request, "default request"), (default, "default limit"), "defaultRequest", true);
    rises((least, "min"), (default, "default"), "default", true);
    rises((default, "default"), (most, "max"), "default", false);
    let ratios = limit.child("maxLimitRequestRatio");
    let ratio = ratios.key(resource);
    if let Some(quantity) = ratio.quantity() {
        let shown = || go::quantity(&quantity.to_string());
        if quantity < Quantity::from_units(1) {
            ratio.invalid_shown(errors, shown(), &format!("ratio {quantity} is less than 1"));
        }
        if let (Some(least), Some(most)) = (least, most) {
            let bound = precise(most) / precise(least);
            if precise(quantity) > bound {
                let rule = format!("ratio {quantity} is greater than max/min = {bound:.6}");
                ratio.invalid_shown(errors, shown(), &rule);
            }
        }
    }
    if must_be_equal(resource)
        && let (Some(default), Some(request)) = (default, request)
        && default != request
    {
        let rule =
            format!("default value {default} must equal to defaultRequest value {request} in {resource}");
        let shown = go::quantity(&request.to_string());
        limit.child("defaultRequest").key(resource).invalid_shown(errors, shown, &rule);
    }
}

/// An amount as a number to divide: quotients are for comparing and showing only.
pub(crate) fn precise(amount: Quantity) -> f64 {
    if amount.is_integer() { amount.value() as f64 } else { amount.milli_value() as f64 / 1000.0 }
}
