//! Rules for pods, and for the templates that pods are made from.

mod affinity;
mod containers;
mod environment;
mod mounts;
mod network;
mod probes;
mod projections;
mod resources;
mod security;
mod sources;
#[cfg(test)]
mod tests;
mod update;
mod volumes;

pub(super) use affinity::{taint_effect, tolerations};
pub(super) use probes::port as port_number_or_name;
pub(super) use resources::{
    list as resource_list, resource_name, resource_quantity, standard_for_containers,
};
pub(super) use sources::{PERSISTENT_SOURCES, one as one_source};
pub(super) use volumes::read_only_disks;

use serde_json::Value;

use super::at::{At, Errors};
use super::error::FieldError;
use super::names::{self, NameRule};
use super::{Validator, metadata};

/// How long a pod may run at most, in seconds.
const MAX_DEADLINE: i64 = i32::MAX as i64;

/// The annotation that says how dear a pod is to be deleted.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// The annotation on pods that an agent made without being asked by the API.
const MIRROR: &str = "kubernetes.io/config.mirror";

pub(super) static POD: Validator = Validator {
    name: NameRule::Subdomain,
    namespaced: true,
    built_in: true,
    create,
    update: update::update,
    status: update::status,
};

pub(super) static POD_TEMPLATE: Validator = Validator {
    name: NameRule::Subdomain,
    namespaced: true,
    built_in: true,
    create: |object, errors| template(&object.child("template"), errors),
    update: |new, old, errors| {
        metadata::update_built_in(new, old, errors);
        template(&new.child("template"), errors);
    },
    status: |_, _, _| {},
};

fn create(pod: &At, errors: &mut Errors) {
    let meta = pod.child("metadata");
    pod_annotations(&meta.child("annotations"), pod.child("spec").value(), errors);
    let pod_spec = pod.child("spec");
    spec(&pod_spec, errors);
    only_in_pods(&pod_spec, errors);
    let ephemeral = pod_spec.child("ephemeralContainers");
    if !ephemeral.is_empty() {
        ephemeral.forbidden(errors, "cannot be set on create");
    }
    let node = pod_spec.child("nodeName");
    if !node.is_empty() && !pod_spec.child("schedulingGates").is_empty() {
        node.forbidden(errors, "cannot be set until all schedulingGates have been cleared");
    }
}

/// Rules for pods that templates do not know, for the sake of those that were stored before.
fn only_in_pods(spec: &At, errors: &mut Errors) {
    for list in ["containers", "initContainers"] {
        for container in spec.child(list).items() {
            image_without_space(&container, errors);
        }
    }
}

fn image_without_space(container: &At, errors: &mut Errors) {
    let image = container.child("image");
    if image.str() != image.str().trim() {
        image.invalid(errors, "must not have leading or trailing whitespace");
    }
}

fn pod_annotations(annotations: &At, spec: &Value, errors: &mut Errors) {
    let mirror = annotations.key(MIRROR);
    if mirror.is_set() && spec["nodeName"].as_str().unwrap_or_default().is_empty() {
        mirror.invalid(errors, "must set spec.nodeName if mirror pod annotation is set");
    }
    let cost = annotations.key(DELETION_COST);
    let digits = cost.str().strip_prefix('-').unwrap_or(cost.str());
    if cost.is_set()
        && (cost.str().parse::<i32>().is_err()
            || (digits.len() > 1 && digits.starts_with('0'))
            || cost.str().starts_with('+'))
    {
        cost.invalid(errors, "must be a 32bit integer");
    }
}

/// Checks the template of a workload's pods.
pub(super) fn template(template: &At, errors: &mut Errors) {
    let meta = &template.value()["metadata"];
    metadata::labels(&template.moved(&meta["labels"], "labels"), errors);
    let annotations = template.moved(&meta["annotations"], "annotations");
    metadata::annotations(&annotations, errors);
    let pod_spec = template.child("spec");
    pod_annotations(&annotations, pod_spec.value(), errors);
    spec(&pod_spec, errors);
    let ephemeral = pod_spec.child("ephemeralContainers");
    if !ephemeral.is_empty() {
        ephemeral.forbidden(errors, "ephemeral containers not allowed in pod template");
    }
}

/// Checks what a pod is to run.
fn spec(spec: &At, errors: &mut Errors) {
    // What is missing as a whole has no defaults either: it is enough to say what it cannot do without.
    if !spec.is_set() {
        spec.child("containers").required(errors, "");
        return;
    }
    let volumes = volumes::volumes(&spec.child("volumes"), errors);
    containers::all(spec, &volumes, errors);
    spec.child("restartPolicy").one_of_or_required(errors, &["Always", "OnFailure", "Never"]);
    network::dns_policy(&spec.child("dnsPolicy"), errors);
    metadata::labels(&spec.child("nodeSelector"), errors);
    security::pod(spec, errors);
    affinity::affinity(&spec.child("affinity"), errors);
    network::dns_config(spec, errors);
    gates(spec, errors);
    affinity::spread(&spec.child("topologySpreadConstraints"), errors);
    for (name, rule) in [
        ("serviceAccountName", names::subdomain as fn(&str) -> Vec<String>),
        ("nodeName", names::subdomain),
        ("hostname", names::dns_label),
        ("subdomain", names::dns_label),
    ] {
        if !spec.child(name).is_empty() {
            spec.child(name).rule(errors, rule);
        }
    }
    let deadline = spec.child("activeDeadlineSeconds");
    if deadline.is_set() {
        deadline.in_range(errors, 1, MAX_DEADLINE);
    }
    affinity::tolerations(&spec.child("tolerations"), errors);
    network::host_aliases(&spec.child("hostAliases"), errors);
    for name in ["priorityClassName", "runtimeClassName"] {
        if !spec.child(name).is_empty() {
            spec.child(name).rule(errors, names::subdomain);
        }
    }
    if spec.child("preemptionPolicy").is_set() {
        spec.child("preemptionPolicy").one_of_or_required(errors, &["PreemptLowerPriority", "Never"]);
    }
    let overhead = spec.child("overhead");
    resources::list(&overhead, errors);
    if spec.child("os").is_set() {
        spec.child("os").child("name").one_of_or_required(errors, &["linux", "windows"]);
    }
}

fn gates(spec: &At, errors: &mut Errors) {
    for gate in spec.child("readinessGates").items() {
        gate.child("conditionType").rule(errors, names::qualified_name);
    }
    let gates = spec.child("schedulingGates");
    let mut seen = Vec::new();
    for gate in gates.items() {
        let name = gate.child("name");
        name.rule(errors, names::qualified_name);
        if seen.contains(&name.str()) {
            errors.push(FieldError::duplicate(gate, name.str()));
        }
        seen.push(name.str());
    }
}
