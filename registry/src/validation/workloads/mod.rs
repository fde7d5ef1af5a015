//! Rules for the kinds that make pods.

mod autoscaling;
mod daemons;
mod deployments;
mod jobs;
mod policies;
mod replicas;
mod schedule;
mod stateful;
#[cfg(test)]
mod tests;

pub(super) use autoscaling::{AUTOSCALER, DISRUPTION_BUDGET};
pub(super) use daemons::{CONTROLLER_REVISION, DAEMON_SET};
pub(super) use deployments::DEPLOYMENT;
pub(super) use jobs::{CRON_JOB, JOB};
pub(super) use replicas::{REPLICA_SET, REPLICATION_CONTROLLER};
pub(super) use stateful::STATEFUL_SET;

use serde_json::Value;

use super::at::{At, Errors, IMMUTABLE, NOT_NEGATIVE};
use super::compare::same;
use super::{go, names, pods, selectors};

const NO_MATCH: &str = "`selector` does not match template `labels`";
const NOT_ABOVE_REPLICAS: &str = "cannot be greater than status.replicas";

/// Checks the selector of a workload, which must select something and not everything.
fn selector(spec: &At, kind: &str, errors: &mut Errors) {
    let selector = spec.child("selector");
    if !selector.is_set() {
        selector.required(errors, "");
        return;
    }
    selectors::label_selector(&selector, errors);
    not_empty(&selector, kind, errors);
}

fn not_empty(selector: &At, kind: &str, errors: &mut Errors) {
    if selector.is_set() && selectors::is_empty(selector) {
        let shown = go::label_selector(selector.value());
        selector.invalid_shown(errors, shown, &format!("empty selector is invalid for {kind}"));
    }
}

/// Checks that the selector matches the labels of the template; returns whether it can be told.
fn selector_matches(spec: &At, unreadable: &str, errors: &mut Errors) -> bool {
    let template = spec.child("template");
    let meta = template.child("metadata");
    let labels = meta.child("labels");
    let selector = spec.child("selector");
    if !selectors::is_readable(&selector) {
        selector.invalid_shown(errors, go::label_selector(selector.value()), unreadable);
        return false;
    }
    let everything = selector.is_set() && selectors::is_empty(&selector);
    if !everything && !selectors::matches(&selector, &labels) {
        labels.invalid_shown(errors, go::string_map(labels.value()), NO_MATCH);
    }
    true
}

/// Checks a template whose pods run until they are deleted.
fn lasting_template(spec: &At, kind: &str, errors: &mut Errors) {
    pods::template(&spec.child("template"), errors);
    lasting(spec, kind, errors);
}

/// Checks that pods of a template run until they are deleted.
fn lasting(spec: &At, kind: &str, errors: &mut Errors) {
    let template = spec.child("template");
    let pod_spec = template.child("spec");
    let (policy, deadline) = (pod_spec.child("restartPolicy"), pod_spec.child("activeDeadlineSeconds"));
    if pod_spec.is_set() && policy.str() != "Always" {
        policy.not_supported(errors, &["Always"]);
    }
    if deadline.is_set() {
        deadline.forbidden(errors, &format!("activeDeadlineSeconds in {kind} is not Supported"));
    }
}

/// Checks that a selector stays as it is.
fn fixed_selector(new: &At, old: &At, errors: &mut Errors) {
    let (spec, before) = (new.child("spec"), old.child("spec"));
    let selector = spec.child("selector");
    if !same(selector.value(), before.child("selector").value()) {
        selector.invalid_shown(errors, go::label_selector(selector.value()), IMMUTABLE);
    }
}

/// Checks that none of the numbers is negative.
fn not_negative(object: &At, fields: &[&str], errors: &mut Errors) {
    fields.iter().for_each(|field| object.child(field).not_negative(errors));
}

/// Checks the counts in the status of a workload against each other.
fn counts(status: &At, fields: &[&str], errors: &mut Errors) {
    not_negative(status, &["replicas"], errors);
    not_negative(status, fields, errors);
    not_negative(status, &["observedGeneration", "collisionCount"], errors);
    let number = |name: &str| status.child(name).int().unwrap_or_default();
    for field in fields.iter().filter(|field| **field != "unavailableReplicas") {
        if number(field) > number("replicas") {
            status.child(field).invalid(errors, NOT_ABOVE_REPLICAS);
        }
    }
}

/// Checks that no more are available than are ready, which errors call by the name `ready`.
fn available(status: &At, ready: &str, errors: &mut Errors) {
    let number = |name: &str| status.child(name).int().unwrap_or_default();
    if number("availableReplicas") > number("readyReplicas") {
        status.child("availableReplicas").invalid(errors, &format!("cannot be greater than {ready}"));
    }
}

/// Checks that the count of collisions of names does not fall.
fn collisions(status: &At, before: &At, errors: &mut Errors) {
    let (now, was) = (status.child("collisionCount"), before.child("collisionCount"));
    let count = now.int().unwrap_or_default();
    if was.is_set() && (!now.is_set() || now.int() < was.int()) {
        now.invalid_shown(errors, count, "cannot be decremented");
    }
}

/// Checks a number, or a number of percent, that is not negative.
fn count_or_percent(at: &At, errors: &mut Errors) {
    match at.value() {
        Value::String(text) => {
            let shown = || go::int_or_string(at.value());
            names::percent(text).iter().for_each(|problem| at.invalid_shown(errors, shown(), problem));
        }
        Value::Number(_) if at.int().is_some_and(|number| number < 0) => at.invalid(errors, NOT_NEGATIVE),
        _ => {}
    }
}

/// Returns the number, or the number of percent; zero if it is neither.
fn amount(at: &At) -> i64 {
    at.int().unwrap_or_else(|| at.str().trim_end_matches('%').parse().unwrap_or_default())
}

/// Checks that a share is not more than all.
fn at_most_all(at: &At, errors: &mut Errors) {
    if names::percent(at.str()).is_empty() && amount(at) > 100 {
        at.invalid_shown(errors, go::int_or_string(at.value()), "must not be greater than 100%");
    }
}
