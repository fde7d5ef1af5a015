//! Rules for replication controllers and replica sets.

use super::super::at::{At, Errors};
use super::super::names::NameRule;
use super::super::{Validator, go, metadata};
use super::{
    NO_MATCH, available, counts, fixed_selector, lasting_template, not_negative, selector, selector_matches,
};

const COUNTS: [&str; 3] = ["fullyLabeledReplicas", "readyReplicas", "availableReplicas"];

pub(in super::super) static REPLICATION_CONTROLLER: Validator = Validator {
    name: NameRule::Subdomain,
    namespaced: true,
    built_in: true,
    create: |controller, errors| controller_spec(&controller.child("spec"), errors),
    update: |new, old, errors| {
        REPLICATION_CONTROLLER.as_new(new, errors);
        metadata::update_built_in(new, old, errors);
        controller_spec(&new.child("spec"), errors);
    },
    status,
};

pub(in super::super) static REPLICA_SET: Validator = Validator {
    name: NameRule::Subdomain,
    namespaced: true,
    built_in: true,
    create: |set, errors| set_spec(&set.child("spec"), errors),
    update: |new, old, errors| {
        REPLICA_SET.as_new(new, errors);
        metadata::update_built_in(new, old, errors);
        set_spec(&new.child("spec"), errors);
        fixed_selector(new, old, errors);
    },
    status,
};

fn status(new: &At, old: &At, errors: &mut Errors) {
    metadata::update_built_in(new, old, errors);
    let status = new.child("status");
    counts(&status, &COUNTS, errors);
    available(&status, "readyReplicas", errors);
}

fn controller_spec(spec: &At, errors: &mut Errors) {
    not_negative(spec, &["minReadySeconds"], errors);
    let (selector, template) = (spec.child("selector"), spec.child("template"));
    selector.require(errors);
    not_negative(spec, &["replicas"], errors);
    if !template.is_set() {
        template.required(errors, "");
        return;
    }
    let meta = template.child("metadata");
    let labels = meta.child("labels");
    if selector.entries().any(|(key, value)| labels.key(key).value() != value.value()) {
        labels.invalid_shown(errors, go::string_map(labels.value()), NO_MATCH);
    }
    lasting_template(spec, "ReplicationController", errors);
}

fn set_spec(spec: &At, errors: &mut Errors) {
    not_negative(spec, &["replicas", "minReadySeconds"], errors);
    selector(spec, "deployment", errors);
    if selector_matches(spec, "invalid label selector", errors) {
        lasting_template(spec, "ReplicaSet", errors);
    }
}
