//! Rules for persistent volumes, the claims on them, and the classes of both.

use serde_json::Value;

use super::at::{At, Errors};
use super::compare::same;
use super::error::FieldError;
use super::names::{self, NameRule};
use super::pods::{PERSISTENT_SOURCES, one_source, resource_quantity};
use super::{Validator, go, metadata, selectors};

const ACCESS_MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const VOLUME_MODES: [&str; 2] = ["Block", "Filesystem"];
const NOT_POSITIVE: &str = "must be greater than zero";

/// What the parameters of a class may hold, keys and values together.
const MAX_PARAMETERS: usize = 256 << 10;

pub(super) static PERSISTENT_VOLUME: Validator = Validator {
    name: NameRule::Subdomain,
    namespaced: false,
    built_in: true,
    create: |volume, errors| volume_spec(&volume.child("spec"), errors),
    update: volume_update,
    status: metadata::update_built_in,
};

pub(super) static PERSISTENT_VOLUME_CLAIM: Validator = Validator {
    name: NameRule::Subdomain,
    namespaced: true,
    built_in: true,
    create: |claim, errors| claim_spec(&claim.child("spec"), errors),
    update: claim_update,
    status: metadata::update_built_in,
};

pub(super) static STORAGE_CLASS: Validator = Validator {
    name: NameRule::Subdomain,
    namespaced: false,
    built_in: true,
    create: class,
    update: class_update,
    status: |_, _, _| {},
};

fn access_modes(modes: &At, errors: &mut Errors) {
    for mode in modes.strings() {
        if !ACCESS_MODES.contains(&mode) {
            errors.push(FieldError::not_supported(modes, mode, &ACCESS_MODES));
        }
    }
    if modes.strings().any(|mode| mode == "ReadWriteOncePod") && modes.len() > 1 {
        modes.forbidden(errors, "may not use ReadWriteOncePod with other access modes");
    }
}

fn volume_spec(spec: &At, errors: &mut Errors) {
    let modes = spec.child("accessModes");
    modes.require(errors);
    access_modes(&modes, errors);
    let capacity = spec.child("capacity");
    capacity.require(errors);
    if capacity.len() != 1 || !capacity.key("storage").is_set() {
        errors.push(FieldError::not_supported(capacity, go::resource_list(capacity.value()), &["storage"]));
    }
    for (_, amount) in capacity.entries() {
        let Some(quantity) = amount.quantity() else {
            continue;
        };
        if quantity.is_negative() {
            amount.invalid_shown(errors, quantity.value(), "must be a valid resource quantity");
        }
        if quantity.is_negative() || quantity.is_zero() {
            amount.invalid_shown(errors, &quantity.to_string(), NOT_POSITIVE);
        }
    }
    let policy = spec.child("persistentVolumeReclaimPolicy");
    policy.one_of_if_set(errors, &["Delete", "Recycle", "Retain"]);
    let affinity = spec.child("nodeAffinity");
    if affinity.is_set() {
        let required = affinity.child("required");
        if required.is_set() {
            selectors::node_selector(&required, errors);
        } else {
            required.required(errors, "must specify required node constraints");
        }
    }
    one_source(spec, PERSISTENT_SOURCES, errors);
    if spec.child("local").is_set() && !affinity.child("required").is_set() {
        affinity.required(errors, "Local volume requires node affinity");
    }
    let path = spec.child("hostPath").child("path").str();
    let is_root = !path.is_empty() && path.split('/').all(|part| matches!(part, "" | "."));
    if is_root && path.starts_with('/') && policy.str() == "Recycle" {
        policy.forbidden(errors, "may not be 'recycle' for a hostPath mount of '/'");
    }
    if !spec.child("storageClassName").is_empty() {
        spec.child("storageClassName").rule(errors, names::subdomain);
    }
    spec.child("volumeMode").one_of_if_set(errors, &VOLUME_MODES);
}

fn volume_update(new: &At, old: &At, errors: &mut Errors) {
    let (spec, before) = (new.child("spec"), old.child("spec"));
    volume_spec(&spec, errors);
    if !PERSISTENT_SOURCES.iter().all(|source| same(source.of(&spec), source.of(&before))) {
        let source = spec.child("persistentvolumesource");
        source.forbidden(errors, "spec.persistentvolumesource is immutable after creation");
    }
    let mode = &spec.value()["volumeMode"];
    At::named(mode, "volumeMode").immutable(errors, &before.child("volumeMode"));
    let affinity = before.child("nodeAffinity");
    if affinity.is_set() && !same(spec.child("nodeAffinity").value(), affinity.value()) {
        At::named(spec.child("nodeAffinity").value(), "nodeAffinity").invalid(errors, super::at::IMMUTABLE);
    }
}

/// Checks what a claim asks for.
pub(super) fn claim_spec(spec: &At, errors: &mut Errors) {
    let modes = spec.child("accessModes");
    if modes.is_empty() {
        modes.required(errors, "at least 1 access mode is required");
    }
    selectors::label_selector(&spec.child("selector"), errors);
    access_modes(&modes, errors);
    let amount = spec.child("resources").child("requests").child("storage").value();
    let (resources, key) = (spec.child("resources"), "storage");
    let asked = resources.at_key(amount, key);
    match asked.quantity() {
        None => asked.required(errors, ""),
        Some(quantity) => {
            resource_quantity("storage", &asked, errors);
            if quantity.is_negative() || quantity.is_zero() {
                asked.invalid_shown(errors, &quantity.to_string(), NOT_POSITIVE);
            }
        }
    }
    if !spec.child("storageClassName").is_empty() {
        spec.child("storageClassName").rule(errors, names::subdomain);
    }
    spec.child("volumeMode").one_of_if_set(errors, &VOLUME_MODES);
    for name in ["dataSource", "dataSourceRef"] {
        let source = spec.child(name);
        if source.is_set() {
            source.child("name").require(errors);
            source.child("kind").require(errors);
        }
    }
}

fn claim_update(new: &At, old: &At, errors: &mut Errors) {
    metadata::update_built_in(new, old, errors);
    let (spec, before) = (new.child("spec"), old.child("spec"));
    claim_spec(&spec, errors);
    let bound = old.child("status").child("phase").str() == "Bound";
    let may_change = |name: &str| match name {
        "volumeName" => before.child("volumeName").is_empty(),
        "volumeAttributesClassName" => bound,
        _ => false,
    };
    let fields = spec.entries().chain(before.entries());
    let changed = fields.filter(|(name, _)| !may_change(name)).any(|(name, _)| {
        let (now, was) = (spec.child(name), before.child(name));
        !(same(now.value(), was.value())
            || (name == "resources" && bound && only_requests_differ(&now, &was)))
    });
    if changed {
        let rule = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
        spec.forbidden(errors, rule);
    }
    let size = |spec: &At| spec.child("resources").child("requests").child("storage").quantity();
    if bound && size(&spec) < size(&before) {
        let requests = &At::named(&Value::Null, "spec.resources.requests.storage");
        requests.forbidden(errors, "field can not be less than previous value");
    }
}

fn only_requests_differ(new: &At, old: &At) -> bool {
    ["limits", "claims"].iter().all(|name| same(new.child(name).value(), old.child(name).value()))
}

fn class(class: &At, errors: &mut Errors) {
    let provisioner = class.child("provisioner");
    if !provisioner.require(errors) {
        for problem in names::qualified_name(&provisioner.str().to_lowercase()) {
            provisioner.invalid(errors, &problem);
        }
    }
    let parameters = class.child("parameters");
    let mut size = 0;
    for (key, value) in parameters.entries() {
        if key.is_empty() {
            parameters.invalid_shown(errors, key, "field can not be empty.");
        }
        size += key.len() + value.str().len();
    }
    if size > MAX_PARAMETERS {
        errors.push(FieldError::too_long(parameters, MAX_PARAMETERS));
    }
    class.child("reclaimPolicy").one_of_if_set(errors, &["Delete", "Retain"]);
    class.child("volumeBindingMode").one_of_or_required(errors, &["Immediate", "WaitForFirstConsumer"]);
    for (index, term) in class.child("allowedTopologies").items().enumerate() {
        for requirement in term.child("matchLabelExpressions").items() {
            requirement.child("values").require(errors);
            requirement.child("key").rule(errors, names::qualified_name);
        }
        let earlier = |other: &At| other.value() == term.value();
        if class.child("allowedTopologies").items().take(index).any(|other| earlier(&other)) {
            errors.push(FieldError::duplicate(term, ""));
        }
    }
}

fn class_update(new: &At, old: &At, errors: &mut Errors) {
    metadata::update_built_in(new, old, errors);
    for name in ["parameters", "provisioner", "reclaimPolicy"] {
        if !same(new.child(name).value(), old.child(name).value()) {
            new.child(name).forbidden(errors, &format!("updates to {name} are forbidden."));
        }
    }
    new.child("volumeBindingMode").immutable(errors, &old.child("volumeBindingMode"));
}
