//! Rules for autoscalers, and for budgets of disruptions.

use super::super::at::{At, Errors};
use super::super::names::{self, NameRule};
use super::super::{Validator, metadata, selectors};
use super::{at_most_all, count_or_percent, not_negative};

pub(in super::super) static AUTOSCALER: Validator = Validator {
    name: NameRule::Subdomain,
    namespaced: true,
    built_in: true,
    create: |scaler, errors| scaler_spec(&scaler.child("spec"), errors),
    update: |new, old, errors| {
        metadata::update_built_in(new, old, errors);
        scaler_spec(&new.child("spec"), errors);
    },
    status: |new, old, errors| {
        metadata::update_built_in(new, old, errors);
        not_negative(&new.child("status"), &["currentReplicas", "desiredReplicas"], errors);
    },
};

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
    let target = spec.child("scaleTargetRef");
    for name in ["kind", "name"] {
        let part = target.child(name);
        if !part.require(errors) {
            part.rule(errors, names::path_segment);
        }
    }
    // The first version has one metric, which later ones have as the first of a list.
    let processor = spec.moved(
        spec.child("targetCPUUtilizationPercentage").value(),
        "metrics[0].resource.target.averageUtilization",
    );
    if processor.int().is_some_and(|percent| percent < 1) {
        processor.invalid(errors, "must be greater than 0");
    }
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

fn metric(metric: &At, errors: &mut Errors) {
    let kind = metric.child("type");
    let fields = ["object", "pods", "resource", "containerResource", "external"];
    let kinds = ["ContainerResource", "External", "Object", "Pods", "Resource"];
    if kind.is_empty() {
        kind.required(errors, "must specify a metric source type");
        return;
    }
    kind.one_of(errors, &kinds);
    let mut expected = kind.str().to_owned();
    if let Some(first) = expected.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    if kinds.contains(&kind.str()) && !metric.child(&expected).is_set() {
        metric.child(&expected).required(
            errors,
            &format!("must populate information for the given metric source ({})", kind.str()),
        );
    }
    for field in fields {
        let source = metric.child(field);
        if !source.is_set() {
            continue;
        }
        if field != expected {
            source.forbidden(errors, "must populate the given metric source only");
            continue;
        }
        if matches!(field, "resource" | "containerResource") {
            source.child("name").require(errors);
        } else {
            source.child("metric").child("name").require(errors);
        }
        let target = source.child("target");
        target.child("type").one_of_or_required(errors, &["AverageValue", "Utilization", "Value"]);
        for amount in ["value", "averageValue"] {
            let at = target.child(amount);
            if at.quantity().is_some_and(|quantity| quantity.is_zero() || quantity.is_negative()) {
                at.invalid(errors, "must be positive");
            }
        }
        let utilization = target.child("averageUtilization");
        if utilization.int().is_some_and(|percent| percent < 1) {
            utilization.invalid(errors, "must be greater than 0");
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
