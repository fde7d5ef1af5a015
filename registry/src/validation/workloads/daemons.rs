//! Rules for daemon sets, and for the revisions that daemon sets and stateful sets keep.

use super::super::at::{At, Errors, IMMUTABLE};
use super::super::compare::same;
use super::super::error::{FieldError, Shown};
use super::super::names::NameRule;
use super::super::{Validator, go, metadata, selectors};
use super::{
    NO_MATCH, amount, at_most_all, collisions, count_or_percent, fixed_selector, lasting_template, not_empty,
    not_negative,
};

pub(in super::super) static DAEMON_SET: Validator = Validator {
    name: NameRule::Subdomain,
    namespaced: true,
    built_in: true,
    create: |set, errors| spec(&set.child("spec"), errors),
    update: |new, old, errors| {
        DAEMON_SET.as_new(new, errors);
        metadata::update_built_in(new, old, errors);
        spec(&new.child("spec"), errors);
        fixed_selector(new, old, errors);
    },
    status: |new, old, errors| {
        metadata::update_built_in(new, old, errors);
        let counts = [
            "currentNumberScheduled",
            "numberMisscheduled",
            "desiredNumberScheduled",
            "numberReady",
            "observedGeneration",
            "updatedNumberScheduled",
            "numberAvailable",
            "numberUnavailable",
            "collisionCount",
        ];
        let status = new.child("status");
        not_negative(&status, &counts, errors);
        collisions(&status, &old.child("status"), errors);
    },
};

fn spec(spec: &At, errors: &mut Errors) {
    let (selector, template) = (spec.child("selector"), spec.child("template"));
    selectors::label_selector(&selector, errors);
    let meta = template.child("metadata");
    let labels = meta.child("labels");
    let everything = selector.is_set() && selectors::is_empty(&selector);
    if !everything && selectors::is_readable(&selector) && !selectors::matches(&selector, &labels) {
        labels.invalid_shown(errors, go::string_map(labels.value()), NO_MATCH);
    }
    not_empty(&selector, "daemonset", errors);
    lasting_template(spec, "DaemonSet", errors);
    not_negative(spec, &["minReadySeconds"], errors);
    strategy(&spec.child("updateStrategy"), errors);
    not_negative(spec, &["revisionHistoryLimit"], errors);
}

fn strategy(strategy: &At, errors: &mut Errors) {
    let (kind, rolling) = (strategy.child("type"), strategy.child("rollingUpdate"));
    match kind.str() {
        "OnDelete" => {}
        "RollingUpdate" if !rolling.is_set() => rolling.required(errors, ""),
        "RollingUpdate" => {
            let (unavailable, surge) = (rolling.child("maxUnavailable"), rolling.child("maxSurge"));
            [&unavailable, &surge].into_iter().for_each(|share| count_or_percent(share, errors));
            [&unavailable, &surge].into_iter().for_each(|share| at_most_all(share, errors));
            match (amount(&unavailable) != 0, amount(&surge) != 0) {
                (true, true) => {
                    let shown = go::int_or_string(surge.value());
                    surge.invalid_shown(errors, shown, "may not be set when maxUnavailable is non-zero");
                }
                (false, false) => unavailable.required(errors, "cannot be 0 when maxSurge is 0"),
                _ => {}
            }
        }
        _ => {
            let fields = [
                ("Type", go::string(kind.value())),
                ("RollingUpdate", go::pointer("apps.RollingUpdateDaemonSet", rolling.value())),
            ];
            let shown = go::structure("apps.DaemonSetUpdateStrategy", &fields);
            errors.push(FieldError::not_supported(strategy, shown, &["RollingUpdate", "OnDelete"]));
        }
    }
}

pub(in super::super) static CONTROLLER_REVISION: Validator = Validator {
    name: NameRule::Subdomain,
    namespaced: true,
    built_in: true,
    create: revision,
    update: |new, old, errors| {
        metadata::update_built_in(new, old, errors);
        metadata::whole(new, NameRule::Subdomain, true, errors);
        revision(new, errors);
        let data = new.child("data");
        if !same(data.value(), old.child("data").value()) {
            data.invalid_shown(errors, Shown(data.value().to_string()), IMMUTABLE);
        }
    },
    status: |_, _, _| {},
};

fn revision(revision: &At, errors: &mut Errors) {
    if !revision.child("data").is_set() {
        revision.child("data").required(errors, "data is mandatory");
    }
    revision.child("revision").not_negative(errors);
}
