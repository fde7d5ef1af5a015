//! Rules for deployments.

use super::super::at::{At, Errors};
use super::super::error::FieldError;
use super::super::names::NameRule;
use super::super::{Validator, go, metadata};
use super::{
    amount, at_most_all, available, collisions, count_or_percent, counts, fixed_selector, lasting_template,
    not_negative, selector, selector_matches,
};

const COUNTS: [&str; 4] = ["updatedReplicas", "readyReplicas", "availableReplicas", "unavailableReplicas"];

pub(in super::super) static DEPLOYMENT: Validator = Validator {
    name: NameRule::Subdomain,
    namespaced: true,
    built_in: true,
    create: |deployment, errors| spec(&deployment.child("spec"), errors),
    update: |new, old, errors| {
        metadata::update_built_in(new, old, errors);
        spec(&new.child("spec"), errors);
        fixed_selector(new, old, errors);
    },
    status: |new, old, errors| {
        metadata::update_built_in(new, old, errors);
        let (status, before) = (new.child("status"), old.child("status"));
        counts(&status, &COUNTS, errors);
        available(&status, "readyReplicas", errors);
        collisions(&status, &before, errors);
    },
};

fn spec(spec: &At, errors: &mut Errors) {
    not_negative(spec, &["replicas"], errors);
    selector(spec, "deployment", errors);
    if selector_matches(spec, "invalid label selector", errors) {
        lasting_template(spec, "ReplicaSet", errors);
    }
    strategy(&spec.child("strategy"), errors);
    not_negative(spec, &["minReadySeconds", "revisionHistoryLimit"], errors);
    let deadline = spec.child("progressDeadlineSeconds");
    deadline.not_negative(errors);
    let ready = spec.child("minReadySeconds").int().unwrap_or_default();
    if deadline.int().is_some_and(|seconds| seconds <= ready) {
        deadline.invalid(errors, "must be greater than minReadySeconds");
    }
}

fn strategy(strategy: &At, errors: &mut Errors) {
    let (kind, rolling) = (strategy.child("type"), strategy.child("rollingUpdate"));
    match kind.str() {
        "Recreate" if rolling.is_set() => {
            rolling.forbidden(errors, "may not be specified when strategy `type` is 'Recreate'");
        }
        "Recreate" => {}
        "RollingUpdate" if !rolling.is_set() => {
            rolling.required(errors, "this should be defaulted and never be nil");
        }
        "RollingUpdate" => rolling_update(&rolling, errors),
        _ => {
            let fields = [
                ("Type", go::string(kind.value())),
                ("RollingUpdate", go::pointer("apps.RollingUpdateDeployment", rolling.value())),
            ];
            let shown = go::structure("apps.DeploymentStrategy", &fields);
            errors.push(FieldError::not_supported(strategy, shown, &["Recreate", "RollingUpdate"]));
        }
    }
}

fn rolling_update(rolling: &At, errors: &mut Errors) {
    let (unavailable, surge) = (rolling.child("maxUnavailable"), rolling.child("maxSurge"));
    count_or_percent(&unavailable, errors);
    count_or_percent(&surge, errors);
    if amount(&unavailable) == 0 && amount(&surge) == 0 {
        let shown = go::int_or_string(unavailable.value());
        unavailable.invalid_shown(errors, shown, "may not be 0 when `maxSurge` is 0");
    }
    at_most_all(&unavailable, errors);
}
