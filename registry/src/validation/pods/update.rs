//! Rules for how a pod changes: next to nothing of what it runs.

use serde_json::Value;

use super::super::at::{At, Errors};
use super::super::compare::same;
use super::super::{metadata, names};
use super::{affinity, image_without_space, pod_annotations, spec};

/// Fields whose changes have rules of their own.
const CHANGEABLE: [&str; 7] = [
    "containers",
    "initContainers",
    "ephemeralContainers",
    "activeDeadlineSeconds",
    "tolerations",
    "terminationGracePeriodSeconds",
    "schedulingGates",
];

/// Fields that may change while a pod waits for its gates.
const CHANGEABLE_WHILE_GATED: [&str; 2] = ["nodeSelector", "affinity"];

const ONLY_SOME: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
     `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing \
     tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

pub(super) fn update(new: &At, old: &At, errors: &mut Errors) {
    metadata::update_built_in(new, old, errors);
    let (new_spec, old_spec) = (new.child("spec"), old.child("spec"));
    let annotations = &new.child("metadata").child("annotations").value();
    annotation_changes(new, old, errors);
    pod_annotations(&At::named(annotations, "metadata.annotations"), new_spec.value(), errors);
    spec(&new_spec, errors);
    let found = errors.len();
    for list in ["containers", "initContainers"] {
        let (containers, before) = (new_spec.child(list), old_spec.child(list));
        if containers.len() != before.len() {
            containers.forbidden(errors, "pod updates may not add or remove containers");
            continue;
        }
        for container in containers.items() {
            container.child("image").require(errors);
            image_without_space(&container, errors);
        }
    }
    if errors[found..].iter().any(|error| error.message.ends_with("containers")) {
        return;
    }
    deadline(&new_spec, &old_spec, errors);
    added_tolerations(&new_spec, &old_spec, errors);
    gates(&new_spec, &old_spec, errors);
    if !old_spec.child("schedulingGates").is_empty() {
        placement(&new_spec, &old_spec, errors);
    }
    let changed = changed_fields(&new_spec, &old_spec);
    if !changed.is_empty() {
        new_spec.forbidden(errors, &format!("{ONLY_SOME}\nchanged: {}", changed.join(", ")));
    }
}

fn annotation_changes(new: &At, old: &At, errors: &mut Errors) {
    let (new_meta, old_meta) = (new.child("metadata"), old.child("metadata"));
    let (annotations, before) = (new_meta.child("annotations"), old_meta.child("annotations"));
    let (mirror, was) = (annotations.key(super::MIRROR), before.key(super::MIRROR));
    if was.is_set() && mirror.value() != was.value() {
        mirror.forbidden(errors, "may not remove or update mirror pod annotation");
    } else if mirror.is_set() && !was.is_set() {
        mirror.forbidden(errors, "may not add mirror pod annotation");
    }
}

fn deadline(new: &At, old: &At, errors: &mut Errors) {
    let (deadline, before) = (new.child("activeDeadlineSeconds"), old.child("activeDeadlineSeconds").int());
    match (deadline.int(), before) {
        (Some(seconds), _) if !(0..=super::MAX_DEADLINE).contains(&seconds) => {
            deadline.in_range(errors, 0, super::MAX_DEADLINE);
        }
        (Some(seconds), Some(before)) if seconds > before => {
            deadline.invalid(errors, "must be less than or equal to previous value");
        }
        (None, Some(_)) => deadline.invalid(errors, "must not update from a positive integer to nil value"),
        _ => {}
    }
}

fn added_tolerations(new: &At, old: &At, errors: &mut Errors) {
    let list = new.child("tolerations");
    let alike = |one: &Value, other: &Value| {
        ["key", "operator", "value", "effect"].iter().all(|field| text(one, field) == text(other, field))
    };
    let kept = |old: &Value| list.items().any(|toleration| alike(toleration.value(), old));
    if !old.child("tolerations").items().all(|toleration| kept(toleration.value())) {
        list.forbidden(errors, "existing toleration can not be modified except its tolerationSeconds");
        return;
    }
    if list.value() != old.child("tolerations").value() {
        affinity::tolerations(&list, errors);
    }
}

fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value[field].as_str().unwrap_or_default()
}

fn gates(new: &At, old: &At, errors: &mut Errors) {
    let before = old.child("schedulingGates");
    for gate in new.child("schedulingGates").items() {
        let name = gate.child("name");
        if !before.items().any(|old| old.child("name").str() == name.str()) {
            let rule = format!("only deletion is allowed, but found new scheduling gate '{}'", name.str());
            new.child("schedulingGates").forbidden(errors, &rule);
        }
    }
}

/// Checks how a pod that waits for its gates is narrowed down to fewer nodes.
fn placement(new: &At, old: &At, errors: &mut Errors) {
    let (selector, before) = (new.child("nodeSelector"), old.child("nodeSelector"));
    if before.entries().any(|(key, value)| selector.key(key).value() != value.value()) {
        selector
            .invalid(errors, "only additions to spec.nodeSelector are allowed (no mutations or deletions)");
    }
    let (affinity, before) = (new.child("affinity"), old.child("affinity"));
    for name in ["podAffinity", "podAntiAffinity"] {
        if !same(affinity.child(name).value(), before.child(name).value()) {
            new.forbidden(errors, &format!("{ONLY_SOME}\nchanged: {}", affinity.child(name)));
        }
    }
}

/// Returns the fields that differ and must not.
fn changed_fields(new: &At, old: &At) -> Vec<String> {
    let gated = !old.child("schedulingGates").is_empty();
    let mut changed = Vec::new();
    let fields = new.entries().chain(old.entries().filter(|(name, _)| !new.child(name).is_set()));
    for (name, _) in fields {
        let free = CHANGEABLE.contains(&name) || (gated && CHANGEABLE_WHILE_GATED.contains(&name));
        if !free && !same(new.child(name).value(), old.child(name).value()) {
            changed.push(new.child(name).to_string());
        }
    }
    let grace = |spec: &At| spec.child("terminationGracePeriodSeconds").int().unwrap_or_default();
    if grace(new) != grace(old) && !(grace(old) < 0 && grace(new) == 1) {
        changed.push(new.child("terminationGracePeriodSeconds").to_string());
    }
    for list in ["containers", "initContainers"] {
        let (containers, before) = (new.child(list), old.child(list));
        for (container, before) in containers.items().zip(before.items()) {
            let fields = container.entries().chain(before.entries());
            let mut differing: Vec<_> = fields
                .filter(|(name, _)| *name != "image")
                .filter(|(name, _)| !same(container.child(name).value(), before.child(name).value()))
                .map(|(name, _)| container.child(name).to_string())
                .collect();
            differing.sort();
            differing.dedup();
            changed.append(&mut differing);
        }
    }
    if !same(new.child("ephemeralContainers").value(), old.child("ephemeralContainers").value()) {
        changed.push(new.child("ephemeralContainers").to_string());
    }
    changed
}

pub(super) fn status(new: &At, old: &At, errors: &mut Errors) {
    metadata::update_built_in(new, old, errors);
    annotation_changes(new, old, errors);
    let (status, before) = (new.child("status"), old.child("status"));
    if new.child("spec").child("nodeName").str() != old.child("spec").child("nodeName").str() {
        status.child("nodeName").forbidden(errors, "may not be changed directly");
    }
    let nominated = status.child("nominatedNodeName");
    if !nominated.is_empty() {
        nominated.rule(errors, names::subdomain);
    }
    let policy = old.child("spec").child("restartPolicy").str();
    let spec = old.child("spec");
    let lasting = |name: &str| {
        let init = spec.child("initContainers");
        init.items().any(|one| one.child("name").str() == name && one.child("restartPolicy").is_set())
    };
    for list in ["containerStatuses", "initContainerStatuses"] {
        if policy != "Always" {
            states(&status.child(list), &before.child(list), policy, lasting, errors);
        }
    }
    let addresses = status.child("podIPs");
    for address in addresses.items() {
        address.child("ip").rule(errors, names::ip);
    }
    if addresses.len() > 2 {
        addresses.invalid(errors, "may specify no more than one IP for each IP family");
    }
}

/// Checks that a container that ended, and is not started again, stays so.
fn states(new: &At, old: &At, policy: &str, lasting: impl Fn(&str) -> bool, errors: &mut Errors) {
    for (index, before) in old.items().enumerate() {
        let terminated = &before.value()["state"]["terminated"];
        let again = policy == "OnFailure" && terminated["exitCode"] != 0;
        if terminated.is_null() || again || lasting(before.child("name").str()) {
            continue;
        }
        let same = |status: &At| status.child("name").str() == before.child("name").str();
        let now = new.items().find(same);
        if now.is_some_and(|now| now.child("state").child("terminated").value().is_null()) {
            let rule = "may not be transitioned to non-terminated state";
            new.index(index).child("state").forbidden(errors, rule);
        }
    }
}
