//! Rules for stateful sets.

use super::super::at::{At, Errors};
use super::super::compare::same;
use super::super::names::NameRule;
use super::super::{Validator, go, metadata, pods};
use super::{
    amount, at_most_all, available, collisions, count_or_percent, counts, lasting, not_negative, selector,
    selector_matches,
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
        let status = new.child("status");
        counts(&status, &COUNTS, errors);
        available(&status, "status.readyReplicas", errors);
        metadata::update_built_in(new, old, errors);
        collisions(&status, &old.child("status"), errors);
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
            retention.child(name).one_of(errors, &["Retain", "Delete"]);
        }
    }
    not_negative(spec, &["replicas", "minReadySeconds"], errors);
    spec.child("ordinals").child("start").not_negative(errors);
    selector(spec, "statefulset", errors);
    if selector_matches(spec, "", errors) {
        // Nothing is said of what the pods are to run: they mount claims that only the controller makes.
        pods::bare_template(&spec.child("template"), errors);
    }
    lasting(spec, "StatefulSet", errors);
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
            if unavailable.is_set() && amount(&unavailable) == 0 {
                unavailable.invalid_shown(errors, go::int_or_string(unavailable.value()), "cannot be 0");
            }
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
