//! Rules for pods, and for the templates that pods are made from.

mod affinity;
mod annotations;
mod containers;
mod environment;
mod mounts;
mod network;
mod probes;
mod projections;
mod remote;
mod resources;
mod security;
mod sources;
#[cfg(test)]
mod tests;
mod update;
mod volumes;
mod windows;

pub(super) use affinity::{taint_effect, tolerations};
pub(super) use probes::port as port_number_or_name;
pub(super) use resources::{
    list as resource_list, must_be_equal, resource_name, resource_quantity, standard_for_containers,
};
pub(super) use sources::{PERSISTENT_SOURCES, one as one_source};
pub(super) use volumes::{MAX_ISCSI, TOO_LONG_FOR_ISCSI, csi_driver_name};

use super::at::{At, Errors};
use super::error::FieldError;
use super::names::{self, NameRule};
use super::{Validator, metadata};

/// How long a pod may run at most, in seconds.
const MAX_DEADLINE: i64 = i32::MAX as i64;

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
    whole(pod, errors);
    let pod_spec = pod.child("spec");
    let ephemeral = pod_spec.child("ephemeralContainers");
    if !ephemeral.is_empty() {
        ephemeral.forbidden(errors, "cannot be set on create");
    }
    let node = pod_spec.child("nodeName");
    if !node.is_empty() && !pod_spec.child("schedulingGates").is_empty() {
        node.forbidden(errors, "cannot be set until all schedulingGates have been cleared");
    }
    annotations::agree(&meta.child("annotations"), &pod_spec, errors);
}

/// What holds for a pod whenever it is written, but for its name and labels.
fn whole(pod: &At, errors: &mut Errors) {
    let (meta, pod_spec) = (pod.child("metadata"), pod.child("spec"));
    annotations::known(&meta.child("annotations"), &pod_spec, errors);
    spec(&pod_spec, Some(&meta), errors);
    // Templates do not know these rules, for the sake of those that were stored before.
    for list in ["containers", "initContainers"] {
        for container in pod_spec.child(list).items() {
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

/// Checks the template of a workload's pods.
pub(super) fn template(template: &At, errors: &mut Errors) {
    bare_template(template, errors);
    let pod_spec = template.child("spec");
    spec(&pod_spec, None, errors);
    let meta = &template.value()["metadata"];
    annotations::agree(&template.moved(&meta["annotations"], "annotations"), &pod_spec, errors);
    let ephemeral = pod_spec.child("ephemeralContainers");
    if !ephemeral.is_empty() {
        ephemeral.forbidden(errors, "ephemeral containers not allowed in pod template");
    }
}

/// Checks labels and annotations of a template, and nothing of what its pods are to run.
pub(super) fn bare_template(template: &At, errors: &mut Errors) {
    let meta = &template.value()["metadata"];
    metadata::labels(&template.moved(&meta["labels"], "labels"), errors);
    let annotations = template.moved(&meta["annotations"], "annotations");
    metadata::annotations(&annotations, errors);
    annotations::known(&annotations, &template.child("spec"), errors);
}

/// Checks what a pod is to run: the pod with the metadata `pod`, or those of a template.
fn spec(spec: &At, pod: Option<&At>, errors: &mut Errors) {
    // What is missing as a whole has no defaults either: it is enough to say what it cannot do without.
    if !spec.is_set() {
        spec.child("containers").required(errors, "");
        return;
    }
    let volumes = volumes::volumes(&spec.child("volumes"), pod, errors);
    containers::all(spec, &volumes, errors);
    security::host_network(spec, pod.is_none(), errors);
    spec.child("restartPolicy").one_of_or_required(errors, &["Always", "OnFailure", "Never"]);
    network::dns_policy(&spec.child("dnsPolicy"), errors);
    metadata::labels(&spec.child("nodeSelector"), errors);
    security::pod(spec, errors);
    affinity::affinity(&spec.child("affinity"), errors);
    network::dns_config(spec, errors);
    gates(spec, errors);
    affinity::spread(&spec.child("topologySpreadConstraints"), errors);
    windows::host_processes(spec, errors);
    security::host_users(spec, errors);
    if_given(spec, &[("serviceAccountName", names::subdomain), ("nodeName", names::subdomain)], errors);
    let deadline = spec.child("activeDeadlineSeconds");
    if deadline.is_set() {
        deadline.in_range(errors, 1, MAX_DEADLINE);
    }
    if_given(spec, &[("hostname", names::dns_label), ("subdomain", names::dns_label)], errors);
    affinity::tolerations(&spec.child("tolerations"), errors);
    network::host_aliases(&spec.child("hostAliases"), errors);
    if_given(spec, &[("priorityClassName", names::subdomain)], errors);
    if spec.child("runtimeClassName").is_set() {
        spec.child("runtimeClassName").rule(errors, names::subdomain);
    }
    if spec.child("preemptionPolicy").is_set() {
        spec.child("preemptionPolicy").one_of_or_required(errors, &["PreemptLowerPriority", "Never"]);
    }
    let overhead = spec.child("overhead");
    // Upstream checks it as if it were the limits of a container.
    resources::list(&overhead.moved(overhead.value(), "limits"), errors);
    windows::operating_system(spec, errors);
}

/// Says what is wrong with a text.
type Rule = fn(&str) -> Vec<String>;

/// Checks the texts that are there and not empty.
fn if_given(spec: &At, fields: &[(&str, Rule)], errors: &mut Errors) {
    for (name, rule) in fields {
        let field = spec.child(name);
        if !field.is_empty() {
            field.rule(errors, *rule);
        }
    }
}

fn gates(spec: &At, errors: &mut Errors) {
    for gate in spec.child("readinessGates").items() {
        gate.child("conditionType").rule(errors, names::qualified_name);
    }
    let gates = spec.child("schedulingGates");
    let mut seen = Vec::new();
    for gate in gates.items() {
        let name = gate.child("name").str();
        for problem in names::qualified_name(name) {
            gate.invalid_shown(errors, name, &problem);
        }
        if seen.contains(&name) {
            errors.push(FieldError::duplicate(gate, name));
        }
        seen.push(name);
    }
}
