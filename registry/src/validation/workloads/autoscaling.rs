//! Rules for autoscalers, and for budgets of disruptions.

use super::super::at::{At, Errors};
use super::super::names::{self, NameRule};
use super::super::{Validator, metadata, selectors};
use super::{at_most_all, count_or_percent, not_negative};
use crate::resources::autoscaling as resources;

pub(in super::super) static AUTOSCALER: Validator = Validator {
    name: NameRule::Subdomain,
    namespaced: true,
    built_in: true,
    create: scaler,
    update: |new, old, errors| {
        metadata::update_built_in(new, old, errors);
        scaler(new, errors);
    },
    status: |new, old, errors| {
        metadata::update_built_in(new, old, errors);
        not_negative(&new.child("status"), &["currentReplicas", "desiredReplicas"], errors);
    },
};

fn scaler(scaler: &At, errors: &mut Errors) {
    if scaler.child("apiVersion").str() != "autoscaling/v1" {
        return scaler_spec(&scaler.child("spec"), errors);
    }
    // Upstream checks one form of all versions, and names its fields in errors whatever the client wrote.
    let checked = resources::as_checked(scaler.value());
    scaler_spec(&At::root(&checked).child("spec"), errors);
}

fn scaler_spec(spec: &At, errors: &mut Errors) {
    let (low, high) = (spec.child("minReplicas"), spec.child("maxReplicas"));
    if low.int().is_some_and(|low| low < 1) {
        low.invalid(errors, "must be greater than or equal to 1");
    }
    let most = high.int().unwrap_or_default();
    if most < 1 {
        high.invalid_shown(errors, most, "must be greater than 0");
    }
    if low.int().is_some_and(|low| most < low) {
        high.invalid_shown(errors, most, "must be greater than or equal to `minReplicas`");
    }
    reference(&spec.child("scaleTargetRef"), errors);
    for metric in spec.child("metrics").items() {
        self::metric(&metric, errors);
    }
    let behavior = spec.child("behavior");
    for direction in ["scaleUp", "scaleDown"] {
        let rules = behavior.child(direction);
        if rules.is_set() {
            scaling_rules(&rules, errors);
        }
    }
}

/// Which field describes a metric of which type, in the order in which they are looked at.
const SOURCES: [(&str, &str); 5] = [
    ("Object", "object"),
    ("External", "external"),
    ("Pods", "pods"),
    ("Resource", "resource"),
    ("ContainerResource", "containerResource"),
];
const METRIC_TYPES: [&str; 5] = ["ContainerResource", "External", "Object", "Pods", "Resource"];

fn metric(metric: &At, errors: &mut Errors) {
    let kind = metric.child("type");
    if kind.is_empty() {
        kind.required(errors, "must specify a metric source type");
    }
    kind.one_of(errors, &METRIC_TYPES);
    let given: Vec<&str> =
        SOURCES.iter().map(|(_, field)| *field).filter(|field| metric.child(field).is_set()).collect();
    // Of several descriptions only the first is read.
    if let Some(first) = given.first() {
        source(&metric.child(first), first, errors);
    }
    let expected = SOURCES.iter().find(|(known, _)| *known == kind.str()).map(|(_, field)| *field);
    match expected {
        Some(expected) if !given.contains(&expected) => {
            let detail = "must populate information for the given metric source";
            metric.child(expected).required(errors, detail);
        }
        Some(_) => {}
        None => kind.not_supported(errors, &METRIC_TYPES),
    }
    if given.len() > 1 {
        for field in given.iter().filter(|field| Some(**field) != expected) {
            metric.child(field).forbidden(errors, "must populate the given metric source only");
        }
    }
}

/// Checks the field that describes a metric.
fn source(source: &At, field: &str, errors: &mut Errors) {
    let target = source.child("target");
    let is_set = |name: &str| target.child(name).is_set();
    if matches!(field, "resource" | "containerResource") {
        let mut name = vec![("name", "must specify a resource name")];
        if field == "containerResource" {
            name.push(("container", "must specify a container"));
        }
        for (name, detail) in name {
            if source.child(name).is_empty() {
                source.child(name).required(errors, detail);
            }
        }
        metric_target(&target, errors);
        match (is_set("averageUtilization"), is_set("averageValue")) {
            (false, false) => target
                .child("averageUtilization")
                .required(errors, "must set either a target raw value or a target utilization"),
            (true, true) => target
                .child("averageValue")
                .forbidden(errors, "may not set both a target raw value and a target utilization"),
            _ => {}
        }
        return;
    }
    if field == "object" {
        reference(&source.child("describedObject"), errors);
    }
    let metric = source.child("metric");
    let name = metric.child("name");
    if name.is_empty() {
        name.required(errors, "must specify a metric name");
    } else {
        name.rule(errors, names::path_segment);
    }
    metric_target(&target, errors);
    let (value, average) = (target.child("value"), target.child("averageValue"));
    match (field, value.is_set(), average.is_set()) {
        ("pods", _, false) => average.required(errors, "must specify a positive target averageValue"),
        ("pods", _, true) if is_not_positive(&average) => {
            average.required(errors, "must specify a positive target averageValue");
        }
        ("object", false, false) => {
            average.required(errors, "must set either a target value or averageValue");
        }
        ("external", false, false) => {
            average.required(errors, "must set either a target value for metric or a per-pod target");
        }
        ("external", true, true) => {
            value.forbidden(errors, "may not set both a target value for metric and a per-pod target");
        }
        _ => {}
    }
}

fn metric_target(target: &At, errors: &mut Errors) {
    let kind = target.child("type");
    if kind.is_empty() {
        kind.required(errors, "must specify a metric target type");
    }
    if !["AverageValue", "Utilization", "Value"].contains(&kind.str()) {
        kind.invalid_shown(errors, kind.str(), "must be either Utilization, Value, or AverageValue");
    }
    for amount in ["value", "averageValue"] {
        let at = target.child(amount);
        if is_not_positive(&at) {
            at.invalid(errors, "must be positive");
        }
    }
    let utilization = target.child("averageUtilization");
    if utilization.int().is_some_and(|percent| percent < 1) {
        utilization.invalid(errors, "must be greater than 0");
    }
}

fn is_not_positive(at: &At) -> bool {
    at.quantity().is_some_and(|quantity| quantity.is_zero() || quantity.is_negative())
}

/// Checks what names another object.
fn reference(target: &At, errors: &mut Errors) {
    for name in ["kind", "name"] {
        let part = target.child(name);
        if !part.require(errors) {
            part.rule(errors, names::path_segment);
        }
    }
}

fn scaling_rules(rules: &At, errors: &mut Errors) {
    let window = rules.child("stabilizationWindowSeconds");
    window.not_negative(errors);
    if window.int().is_some_and(|seconds| seconds > 3600) {
        window.invalid(errors, "must be less than or equal to 3600");
    }
    rules.child("selectPolicy").one_of_if_set(errors, &["Disabled", "Max", "Min"]);
    let policies = rules.child("policies");
    if policies.is_empty() {
        policies.required(errors, "must specify at least one Policy");
    }
    for policy in policies.items() {
        policy.child("type").one_of(errors, &["Percent", "Pods"]);
        let (value, period) = (policy.child("value"), policy.child("periodSeconds"));
        for number in [&value, &period] {
            if number.int().unwrap_or_default() <= 0 {
                number.invalid_shown(errors, number.int().unwrap_or_default(), "must be greater than zero");
            }
        }
        if period.int().is_some_and(|seconds| seconds > 1800) {
            period.invalid(errors, "must be less than or equal to 1800");
        }
    }
}

pub(in super::super) static DISRUPTION_BUDGET: Validator = Validator {
    name: NameRule::Subdomain,
    namespaced: true,
    built_in: true,
    create: |budget, errors| budget_spec(&budget.child("spec"), errors),
    update: |new, _, errors| budget_spec(&new.child("spec"), errors),
    status: |new, old, errors| {
        metadata::update_built_in(new, old, errors);
        let counts = ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"];
        not_negative(&new.child("status"), &counts, errors);
    },
};

fn budget_spec(spec: &At, errors: &mut Errors) {
    let (least, most) = (spec.child("minAvailable"), spec.child("maxUnavailable"));
    if least.is_set() && most.is_set() {
        let shown = super::super::error::Shown(spec.value().to_string());
        spec.invalid_shown(errors, shown, "minAvailable and maxUnavailable cannot be both set");
    }
    for share in [&least, &most] {
        count_or_percent(share, errors);
        at_most_all(share, errors);
    }
    spec.child("unhealthyPodEvictionPolicy").one_of_if_set(errors, &["AlwaysAllow", "IfHealthyBudget"]);
    selectors::label_selector(&spec.child("selector"), errors);
}
