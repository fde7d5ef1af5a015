//! Rules for stateful sets.

use super::super::at::{At, Errors};
use super::super::compare::same;
use super::super::names::NameRule;
use super::super::{Validator, go, metadata};
use super::{
    at_most_all, count_or_percent, counts, lasting_template, not_negative, selector, selector_matches,
};

const COUNTS: [&str; 4] = ["readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"];

/// What of the spec may change.
const CHANGEABLE: [&str; 7] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

pub(in super::super) static STATEFUL_SET: Validator = Validator {
    name: NameRule::Subdomain,
    namespaced: true,
    built_in: true,
    create: |set, errors| spec(&set.child("spec"), errors),
    update: |new, old, errors| {
        metadata::update_built_in(new, old, errors);
        let (now, before) = (new.child("spec"), old.child("spec"));
        spec(&now, errors);
        let fields = now.entries().chain(before.entries()).map(|(name, _)| name);
        let mut fixed = fields.filter(|name| !CHANGEABLE.contains(name));
        if fixed.any(|name| !same(now.child(name).value(), before.child(name).value())) {
            let rule = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
                        'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and \
                        'minReadySeconds' are forbidden";
            now.forbidden(errors, rule);
        }
    },
    status: |new, old, errors| {
        metadata::update_built_in(new, old, errors);
        counts(&new.child("status"), &COUNTS, errors);
    },
};

fn spec(spec: &At, errors: &mut Errors) {
    let policy = spec.child("podManagementPolicy");
    if !policy.require(errors) && !matches!(policy.str(), "OrderedReady" | "Parallel") {
        policy.invalid(errors, "must be 'OrderedReady' or 'Parallel'");
    }
    strategy(&spec.child("updateStrategy"), errors);
    let retention = spec.child("persistentVolumeClaimRetentionPolicy");
    for name in ["whenDeleted", "whenScaled"] {
        if retention.is_set() {
            retention.child(name).one_of_if_set(errors, &["Delete", "Retain"]);
        }
    }
    not_negative(spec, &["replicas", "minReadySeconds"], errors);
    spec.child("ordinals").child("start").not_negative(errors);
    selector(spec, "statefulset", errors);
    selector_matches(spec, errors);
    lasting_template(spec, "StatefulSet", errors);
    not_negative(spec, &["revisionHistoryLimit"], errors);
}

fn strategy(strategy: &At, errors: &mut Errors) {
    let (kind, rolling) = (strategy.child("type"), strategy.child("rollingUpdate"));
    match kind.str() {
        "" => strategy.required(errors, ""),
        "OnDelete" if rolling.is_set() => {
            let shown = super::super::error::Shown(rolling.value().to_string());
            rolling.invalid_shown(errors, shown, "only allowed for updateStrategy 'RollingUpdate'");
        }
        "OnDelete" => {}
        "RollingUpdate" => {
            rolling.child("partition").not_negative(errors);
            let unavailable = rolling.child("maxUnavailable");
            count_or_percent(&unavailable, errors);
            at_most_all(&unavailable, errors);
        }
        _ => {
            let fields = [
                ("Type", go::string(kind.value())),
                ("RollingUpdate", go::pointer("apps.RollingUpdateStatefulSetStrategy", rolling.value())),
            ];
            let shown = go::structure("apps.StatefulSetUpdateStrategy", &fields);
            strategy.invalid_shown(errors, shown, "must be 'RollingUpdate' or 'OnDelete'");
        }
    }
}
