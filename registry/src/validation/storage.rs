//! Rules for persistent volumes, the claims on them, and the classes of both.

use serde_json::Value;

use super::at::{At, Errors};
use super::compare::same;
use super::error::{FieldError, Shown};
use super::names::{self, NameRule};
use super::pods::{MAX_ISCSI, PERSISTENT_SOURCES, TOO_LONG_FOR_ISCSI, one_source};
use super::{Validator, go, metadata, selectors};

const ACCESS_MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const VOLUME_MODES: [&str; 2] = ["Block", "Filesystem"];
const NOT_POSITIVE: &str = "must be greater than zero";

/// What the parameters of a class may hold, keys and values together.
const MAX_PARAMETERS: usize = 256 << 10;
const MAX_PARAMETER_COUNT: usize = 512;

pub(super) static PERSISTENT_VOLUME: Validator = Validator {
    name: NameRule::Subdomain,
    namespaced: false,
    built_in: true,
    create: volume,
    update: |new, old, errors| {
        PERSISTENT_VOLUME.as_new(new, errors);
        volume_update(new, old, errors);
    },
    status: metadata::update_built_in,
};

pub(super) static PERSISTENT_VOLUME_CLAIM: Validator = Validator {
    name: NameRule::Subdomain,
    namespaced: true,
    built_in: true,
    create: |claim, errors| claim_spec(&claim.child("spec"), errors),
    update: |new, old, errors| {
        PERSISTENT_VOLUME_CLAIM.as_new(new, errors);
        claim_update(new, old, errors);
    },
    status: claim_status,
};

pub(super) static STORAGE_CLASS: Validator = Validator {
    name: NameRule::Subdomain,
    namespaced: false,
    built_in: true,
    create: class,
    update: |new, old, errors| {
        STORAGE_CLASS.as_new(new, errors);
        class_update(new, old, errors);
    },
    status: |_, _, _| {},
};

fn access_modes(modes: &At, errors: &mut Errors) {
    for mode in modes.strings() {
        if !ACCESS_MODES.contains(&mode) {
            errors.push(FieldError::not_supported(modes, mode, &ACCESS_MODES));
        }
    }
    let has = |alone: bool| {
        modes.strings().any(|mode| ACCESS_MODES.contains(&mode) && (mode == "ReadWriteOncePod") == alone)
    };
    if has(true) && has(false) {
        modes.forbidden(errors, "may not use ReadWriteOncePod with other access modes");
    }
}

fn volume(volume: &At, errors: &mut Errors) {
    let (meta, spec) = (volume.child("metadata"), volume.child("spec"));
    volume_spec(&spec, false, errors);
    let iscsi = spec.child("iscsi");
    let portal = iscsi.child("targetPortal").str();
    if iscsi.child("initiatorName").is_set() && meta.child("name").str().len() + 1 + portal.len() > MAX_ISCSI
    {
        let place = iscsi.child("targetportal");
        place.invalid_shown(errors, portal, TOO_LONG_FOR_ISCSI);
    }
}

/// What may not stand in a volume that is described where it is attached.
const INLINE: &str = "in the context of inline volumes";

fn not_inline(spec: &At, fields: &[&str], errors: &mut Errors) {
    for field in fields.iter().map(|field| spec.child(field)).filter(|field| !field.is_empty()) {
        field.forbidden(errors, &format!("may not be specified {INLINE}"));
    }
}

/// Checks what a volume is: an object of its own, or `inline` in what attaches it.
fn volume_spec(spec: &At, inline: bool, errors: &mut Errors) {
    if inline {
        not_inline(spec, &["claimRef", "capacity"], errors);
        if !spec.child("csi").is_set() {
            spec.child("csi").required(errors, &format!("has to be specified {INLINE}"));
        }
    }
    let modes = spec.child("accessModes");
    modes.require(errors);
    access_modes(&modes, errors);
    let policy = spec.child("persistentVolumeReclaimPolicy");
    let affinity = spec.child("nodeAffinity");
    if inline {
        if !matches!(policy.str(), "" | "Retain") {
            policy.forbidden(errors, &format!("may only be Retain {INLINE}"));
        }
        not_inline(spec, &["nodeAffinity"], errors);
    } else {
        capacity(&spec.child("capacity"), errors);
        if !policy.is_empty() {
            policy.one_of(errors, &["Delete", "Recycle", "Retain"]);
        }
        node_affinity(&affinity, errors);
    }
    one_source(spec, PERSISTENT_SOURCES, errors);
    if spec.child("local").is_set() && !affinity.is_set() {
        affinity.required(errors, "Local volume requires node affinity");
    }
    let path = spec.child("hostPath").child("path").str();
    let is_root = !path.is_empty() && path.split('/').all(|part| matches!(part, "" | "."));
    if is_root && path.starts_with('/') && policy.str() == "Recycle" {
        policy.forbidden(errors, "may not be 'recycle' for a hostPath mount of '/'");
    }
    let mode = spec.child("volumeMode");
    if inline {
        not_inline(spec, &["storageClassName"], errors);
        if !matches!(mode.str(), "" | "Filesystem") {
            let rule = format!("may not specify volumeMode other than Filesystem {INLINE}");
            mode.forbidden(errors, &rule);
        }
        return;
    }
    if !spec.child("storageClassName").is_empty() {
        spec.child("storageClassName").rule(errors, names::subdomain);
    }
    mode.one_of_if_set(errors, &VOLUME_MODES);
}

/// Checks a volume that is described where it is attached.
pub(super) fn inline_volume(spec: &At, errors: &mut Errors) {
    volume_spec(spec, true, errors);
}

fn capacity(capacity: &At, errors: &mut Errors) {
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
}

fn node_affinity(affinity: &At, errors: &mut Errors) {
    let required = affinity.child("required");
    if required.is_set() {
        selectors::node_selector(&required, errors);
    } else if affinity.is_set() {
        required.required(errors, "must specify required node constraints");
    }
}

fn volume_update(new: &At, old: &At, errors: &mut Errors) {
    let (spec, before) = (new.child("spec"), old.child("spec"));
    metadata::whole(new, NameRule::Subdomain, false, errors);
    volume(new, errors);
    if !PERSISTENT_SOURCES.iter().all(|source| same(source.of(&spec), source.of(&before))) {
        let source = spec.child("persistentvolumesource");
        source.forbidden(errors, "spec.persistentvolumesource is immutable after creation");
    }
    let mode = &spec.value()["volumeMode"];
    At::named(mode, "volumeMode").immutable(errors, &before.child("volumeMode"));
    let affinity = before.child("nodeAffinity");
    if affinity.is_set() && !same(spec.child("nodeAffinity").value(), affinity.value()) {
        let shown = Shown::verbatim(spec.child("nodeAffinity").value().to_string());
        let rule = "field is immutable, except for updating from beta label to GA";
        At::named(&Value::Null, "nodeAffinity").invalid_shown(errors, shown, rule);
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
        Some(quantity) if quantity.is_negative() || quantity.is_zero() => {
            asked.invalid_shown(errors, &quantity.to_string(), NOT_POSITIVE);
        }
        Some(_) => {}
    }
    if !spec.child("storageClassName").is_empty() {
        spec.child("storageClassName").rule(errors, names::subdomain);
    }
    spec.child("volumeMode").one_of_if_set(errors, &VOLUME_MODES);
    let (source, reference) = (spec.child("dataSource"), spec.child("dataSourceRef"));
    [&source, &reference].into_iter().for_each(|source| data_source(source, errors));
    let elsewhere = reference.child("namespace");
    if !elsewhere.is_empty() {
        elsewhere.rule(errors, names::dns_label);
    }
    let differ = ["apiGroup", "kind", "name"]
        .iter()
        .any(|part| source.child(part).value() != reference.child(part).value());
    if source.is_set() && !elsewhere.is_empty() {
        let rule = "may not be specified when dataSourceRef.namespace is specified";
        spec.invalid_shown(errors, Shown::verbatim(source.to_string()), rule);
    } else if source.is_set() && reference.is_set() && differ {
        spec.invalid_shown(errors, Shown::verbatim(source.to_string()), "must match dataSourceRef");
    }
    let attributes = spec.child("volumeAttributesClassName");
    if !attributes.is_empty() {
        attributes.rule(errors, names::subdomain);
    }
}

/// Checks from what a volume is filled.
fn data_source(source: &At, errors: &mut Errors) {
    if !source.is_set() {
        return;
    }
    let (kind, group) = (source.child("kind"), source.child("apiGroup"));
    source.child("name").require(errors);
    kind.require(errors);
    if group.is_empty() && kind.str() != "PersistentVolumeClaim" {
        let rule = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
        source.invalid_shown(errors, kind.str(), rule);
    } else if !group.is_empty() {
        group.rule(errors, names::subdomain);
    }
}

fn claim_update(new: &At, old: &At, errors: &mut Errors) {
    metadata::update_built_in(new, old, errors);
    metadata::whole(new, NameRule::Subdomain, true, errors);
    let (spec, before) = (new.child("spec"), old.child("spec"));
    claim_spec(&spec, errors);
    let status = old.child("status");
    let bound = status.child("phase").str() == "Bound";
    let class = class_annotation(new, old, &before, errors);
    let may_change = |name: &str| match name {
        "volumeName" => before.child("volumeName").is_empty(),
        "volumeAttributesClassName" => bound,
        // A claim that names no class may get one; one that named it in an annotation, that one.
        "storageClassName" => {
            !before.child(name).is_set()
                && class.is_none_or(|class| spec.child(name).value().as_str() == Some(class))
        }
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
    // A claim that asked for more than there was may ask for less again, and still for more than it has.
    if size(&spec) < size(&before) && size(&spec) <= status.child("capacity").key("storage").quantity() {
        let requests = &At::named(&Value::Null, "spec.resources.requests.storage");
        requests.forbidden(errors, "field can not be less than status.capacity");
    }
    let mode = spec.child("volumeMode").value();
    At::named(mode, "volumeMode").immutable(errors, &before.child("volumeMode"));
    let (class, was) = (spec.child("volumeAttributesClassName"), before.child("volumeAttributesClassName"));
    if was.is_set() && !class.is_set() {
        class.forbidden(errors, "update from non-nil value to nil is forbidden");
    } else if was.is_set() && was.str() != class.str() && class.is_empty() {
        class.forbidden(errors, "update from non-nil value to an empty string is forbidden");
    }
}

/// Checks that the annotation that names the class, a form older than the field, stays; returns what it was.
fn class_annotation<'v>(
    new: &At<'v, '_>,
    old: &At<'v, '_>,
    before: &At,
    errors: &mut Errors,
) -> Option<&'v str> {
    const CLASS: &str = "volume.beta.kubernetes.io/storage-class";
    let named = |claim: &At<'v, '_>| claim.child("metadata").child("annotations").key(CLASS).value().as_str();
    let (now, was, spec) = (named(new), named(old), new.child("spec"));
    let moved = was.is_some()
        && !before.child("storageClassName").is_set()
        && spec.child("storageClassName").value().as_str() == was
        && (now.is_none() || now == was);
    if !moved && now.unwrap_or_default() != was.unwrap_or_default() {
        let meta = new.child("metadata");
        let annotations = meta.child("annotations");
        let shown = now.unwrap_or_default();
        annotations.child(CLASS).invalid_shown(errors, shown, super::at::IMMUTABLE);
    }
    was
}

/// Checks how the status of a claim changes.
fn claim_status(new: &At, old: &At, errors: &mut Errors) {
    metadata::update_built_in(new, old, errors);
    let status = new.child("status");
    for (_, amount) in status.child("capacity").entries() {
        if let Some(quantity) = amount.quantity().filter(|quantity| quantity.is_negative()) {
            amount.invalid_shown(errors, quantity.value(), "must be a valid resource quantity");
        }
    }
}

fn only_requests_differ(new: &At, old: &At) -> bool {
    ["limits", "claims"].iter().all(|name| same(new.child(name).value(), old.child(name).value()))
}

fn class(class: &At, errors: &mut Errors) {
    let provisioner = class.child("provisioner");
    if !provisioner.require(errors) {
        let lowered = provisioner.str().to_lowercase();
        for problem in names::qualified_name(&lowered) {
            provisioner.invalid_shown(errors, &lowered, &problem);
        }
    }
    let parameters = class.child("parameters");
    if parameters.len() > MAX_PARAMETER_COUNT {
        errors.push(FieldError::too_long(parameters, MAX_PARAMETER_COUNT));
    }
    let mut size = 0;
    for (key, value) in parameters.entries().take(MAX_PARAMETER_COUNT) {
        if key.is_empty() {
            parameters.invalid_shown(errors, key, "field can not be empty.");
        }
        size += key.len() + value.str().len();
    }
    if size > MAX_PARAMETERS {
        errors.push(FieldError::too_long(parameters, MAX_PARAMETERS));
    }
    if !class.child("reclaimPolicy").is_empty() {
        class.child("reclaimPolicy").one_of(errors, &["Delete", "Retain"]);
    }
    class.child("volumeBindingMode").one_of_or_required(errors, &["Immediate", "WaitForFirstConsumer"]);
    for (index, term) in class.child("allowedTopologies").items().enumerate() {
        topology_term(&term, errors);
        let earlier = |other: &At| other.value() == term.value();
        for _ in class.child("allowedTopologies").items().take(index).filter(|other| earlier(other)) {
            errors.push(FieldError::duplicate(term.child("matchLabelExpressions"), ""));
        }
    }
}

/// Checks in which part of the cluster volumes may be made.
fn topology_term(term: &At, errors: &mut Errors) {
    let mut keys = Vec::new();
    for requirement in term.child("matchLabelExpressions").items() {
        let (key, values) = (requirement.child("key"), requirement.child("values"));
        values.require(errors);
        for (index, value) in values.items().enumerate() {
            if values.strings().take(index).any(|other| other == value.str()) {
                value.duplicate(errors);
            }
        }
        key.rule(errors, names::qualified_name);
        if keys.contains(&key.str()) {
            key.duplicate(errors);
        }
        keys.push(key.str());
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

#[cfg(test)]
mod tests;
