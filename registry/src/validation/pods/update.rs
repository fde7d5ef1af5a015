//! Rules for how a pod changes: next to nothing of what it runs.

use serde_json::Value;

use super::super::at::{At, Errors};
use super::super::compare::same;
use super::super::error::{FieldError, Shown};
use super::super::names::{self, NameRule};
use super::super::{go, metadata};
use super::{affinity, annotations, image_without_space, whole};

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
    metadata::whole(new, NameRule::Subdomain, true, errors);
    whole(new, errors);
    let (new_spec, old_spec) = (new.child("spec"), old.child("spec"));
    annotation_changes(new, old, errors);
    for list in ["containers", "initContainers"] {
        let (containers, before) = (new_spec.child(list), old_spec.child(list));
        if containers.len() != before.len() {
            containers.forbidden(errors, "pod updates may not add or remove containers");
            return;
        }
        for container in containers.items() {
            container.child("image").require(errors);
            image_without_space(&container, errors);
        }
    }
    if !deadline(&new_spec, &old_spec, errors) {
        return;
    }
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
    let given = new_meta.child("annotations");
    annotations::changes(&given, &old_meta.child("annotations"), errors);
    annotations::known(&given, &new.child("spec"), errors);
}

/// Checks how the deadline changes; returns whether what else changed is worth a look.
fn deadline(new: &At, old: &At, errors: &mut Errors) -> bool {
    let (deadline, before) = (new.child("activeDeadlineSeconds"), old.child("activeDeadlineSeconds").int());
    match (deadline.int(), before) {
        (Some(seconds), _) if !(0..=super::MAX_DEADLINE).contains(&seconds) => {
            deadline.in_range(errors, 0, super::MAX_DEADLINE);
            false
        }
        (Some(seconds), Some(before)) if seconds > before => {
            deadline.invalid(errors, "must be less than or equal to previous value");
            false
        }
        (None, Some(_)) => {
            deadline.invalid(errors, "must not update from a positive integer to nil value");
            true
        }
        _ => true,
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
            name.forbidden(errors, &rule);
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
    conditions(&new.child("metadata"), &status, errors);
    let (spec, was) = (new.child("spec"), old.child("spec"));
    if spec.child("nodeName").str() != was.child("nodeName").str() {
        status.child("nodeName").forbidden(errors, "may not be changed directly");
    }
    let nominated = status.child("nominatedNodeName");
    if !nominated.is_empty() && nominated.str() != before.child("nominatedNodeName").str() {
        nominated.rule(errors, names::subdomain);
    }
    status.child("qosClass").immutable(errors, &before.child("qosClass"));
    let policy = was.child("restartPolicy").str();
    let lasting = |name: &str| {
        let init = was.child("initContainers");
        init.items().any(|one| one.child("name").str() == name && one.child("restartPolicy").is_set())
    };
    for (list, policy) in [
        ("containerStatuses", policy),
        ("initContainerStatuses", policy),
        ("ephemeralContainerStatuses", "Never"),
    ] {
        if policy != "Always" {
            states(&status.child(list), &before.child(list), policy, lasting, errors);
        }
    }
    addresses(&status.child("podIPs"), false, errors);
    let of_host = status.child("hostIPs");
    let first = of_host.index(0);
    if !of_host.is_empty() && first.child("ip").str() != status.child("hostIP").str() {
        first.child("ip").invalid_shown(errors, first.child("ip").str(), "must be equal to `hostIP`");
    }
    addresses(&of_host, true, errors);
}

/// Checks the types of conditions, which upstream reports in the metadata.
fn conditions(metadata: &At, status: &At, errors: &mut Errors) {
    for (index, condition) in status.child("conditions").items().enumerate() {
        let kind = condition.child("type");
        if !matches!(kind.str(), "PodScheduled" | "Ready" | "Initialized") {
            let list = metadata.child("conditions");
            let place = list.at_index(condition.value(), index);
            place.moved(kind.value(), "Type").rule(errors, names::qualified_name);
        }
    }
}

/// Checks addresses of a pod or of its host: one of each family at most.
fn addresses(list: &At, duplicates_first: bool, errors: &mut Errors) {
    for address in list.items() {
        let ip = address.child("ip").str();
        names::ip(ip).iter().for_each(|problem| address.invalid_shown(errors, ip, problem));
    }
    if list.len() < 2 {
        return;
    }
    let mut duplicates = Errors::new();
    for (index, address) in list.items().enumerate() {
        let ip = address.child("ip");
        if list.items().take(index).any(|other| other.child("ip").str() == ip.str()) {
            let shown = go::structure("core.PodIP", &[("IP", go::string(ip.value()))]);
            duplicates.push(FieldError::duplicate(address, shown));
        }
    }
    let v6 = list.items().filter(|address| address.child("ip").str().contains(':')).count();
    let mut families = Errors::new();
    if list.len() > 2 || v6 != 1 {
        let shown = Shown::verbatim(list.value().to_string());
        list.invalid_shown(&mut families, shown, "may specify no more than one IP for each IP family");
    }
    let (one, other) = if duplicates_first { (duplicates, families) } else { (families, duplicates) };
    errors.extend(one.into_iter().chain(other));
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
