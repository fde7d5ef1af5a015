//! Rules for containers, init containers and ephemeral containers, and for their ports.

use serde_json::Value;

use super::super::at::{At, Errors};
use super::super::error::FieldError;
use super::super::names;
use super::volumes::Volumes;
use super::{environment, mounts, probes, resources, security};

/// The protocols that a port can have.
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];

/// What an ephemeral container may not have, in the order of its fields.
const NOT_EPHEMERAL: [&str; 8] = [
    "ports",
    "resources",
    "resizePolicy",
    "restartPolicy",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
];
const NOT_FOR_EPHEMERAL: &str = "cannot be set for an Ephemeral Container";

/// Checks all containers of a pod.
pub(super) fn all(spec: &At, volumes: &Volumes, errors: &mut Errors) {
    let grace = spec.child("terminationGracePeriodSeconds").int().unwrap_or(30);
    let containers = spec.child("containers");
    if containers.is_empty() {
        containers.required(errors, "");
    }
    let mut names = Vec::new();
    for container in containers.items() {
        common(&container, spec, volumes, errors);
        let name = container.child("name");
        if names.contains(&name.str()) {
            errors.push(FieldError::duplicate(name, name.str()));
        }
        names.push(name.str());
        probes::all(&container, grace, errors);
        if container.child("restartPolicy").is_set() {
            container.child("restartPolicy").forbidden(errors, "may not be set for non-init containers");
        }
    }
    let mut taken = Vec::new();
    containers.items().for_each(|container| host_ports(&container, &mut taken, errors));

    let init = spec.child("initContainers");
    for container in init.items() {
        common(&container, spec, volumes, errors);
        container.child("restartPolicy").one_of_if_set(errors, &["Always"]);
        unique_name(&container, &mut names, errors);
        // Upstream looks at each as a list of its own, in which it is the first.
        let alone = init.at_index(container.value(), 0);
        host_ports(&alone, &mut Vec::new(), errors);
        hooks_of_init(&container, grace, errors);
    }
    ephemeral(spec, volumes, names, errors);
}

fn hooks_of_init(container: &At, grace: i64, errors: &mut Errors) {
    if container.child("restartPolicy").str() == "Always" {
        probes::all(container, grace, errors);
        return;
    }
    for name in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
        if container.child(name).is_set() {
            container
                .child(name)
                .forbidden(errors, "may not be set for init containers without restartPolicy=Always");
        }
    }
}

fn ephemeral<'v>(spec: &At<'v, '_>, volumes: &Volumes, mut names: Vec<&'v str>, errors: &mut Errors) {
    let lasting = names.clone();
    for container in spec.child("ephemeralContainers").items() {
        common(&container, spec, volumes, errors);
        super::image_without_space(&container, errors);
        unique_name(&container, &mut names, errors);
        let target = container.child("targetContainerName");
        if !target.is_empty() && !lasting.contains(&target.str()) {
            errors.push(FieldError::not_found(target, target.str()));
        }
        for name in NOT_EPHEMERAL {
            if !container.child(name).is_empty() {
                container.child(name).forbidden(errors, NOT_FOR_EPHEMERAL);
            }
        }
        for mount in container.child("volumeMounts").items() {
            for part in ["subPath", "subPathExpr"] {
                if !mount.child(part).is_empty() {
                    mount.child(part).forbidden(errors, NOT_FOR_EPHEMERAL);
                }
            }
        }
    }
}

/// What holds for containers of each sort.
fn common(container: &At, spec: &At, volumes: &Volumes, errors: &mut Errors) {
    let name = container.child("name");
    if !name.require(errors) {
        name.rule(errors, names::dns_label);
    }
    container.child("image").require(errors);
    container
        .child("terminationMessagePolicy")
        .one_of_or_required(errors, &["File", "FallbackToLogsOnError"]);
    ports(&container.child("ports"), errors);
    environment::variables(&container.child("env"), errors);
    environment::sources(&container.child("envFrom"), errors);
    mounts::all(container, volumes, errors);
    container.child("imagePullPolicy").one_of_or_required(errors, &["Always", "IfNotPresent", "Never"]);
    let asked = container.child("resources");
    resources::requirements(&asked, errors);
    resizing(&container.child("resizePolicy"), spec.child("restartPolicy").str(), errors);
    let host_users = spec.child("hostUsers").value() != &Value::Bool(false);
    security::container(&container.child("securityContext"), host_users, errors);
}

/// Checks what happens to a container whose resources change, in a pod that restarts as `restarts` says.
fn resizing(policies: &At, restarts: &str, errors: &mut Errors) {
    let mut seen = Vec::new();
    for policy in policies.items() {
        let (resource, restart) = (policy.child("resourceName").str(), policy.child("restartPolicy").str());
        if seen.contains(&resource) {
            errors.push(FieldError::duplicate(policy, resource));
        }
        seen.push(resource);
        for (given, known) in [(resource, ["cpu", "memory"]), (restart, ["NotRequired", "RestartContainer"])]
        {
            if given.is_empty() {
                policies.required(errors, "");
            } else if !known.contains(&given) {
                errors.push(FieldError::not_supported(policies, given, &known));
            }
        }
        if restarts == "Never" && restart != "NotRequired" {
            policies.invalid_shown(errors, restart, "must be 'NotRequired' when `restartPolicy` is 'Never'");
        }
    }
}

fn unique_name<'v>(container: &At<'v, '_>, names: &mut Vec<&'v str>, errors: &mut Errors) {
    let name = container.child("name");
    if names.contains(&name.str()) {
        errors.push(FieldError::duplicate(name, name.str()));
    } else if !name.is_empty() {
        names.push(name.str());
    }
}

fn ports(ports: &At, errors: &mut Errors) {
    let mut names = Vec::new();
    for port in ports.items() {
        let name = port.child("name");
        if !name.is_empty() {
            let problems = names::port_name(name.str());
            if problems.is_empty() && names.contains(&name.str()) {
                name.duplicate(errors);
            } else if problems.is_empty() {
                names.push(name.str());
            }
            problems.iter().for_each(|problem| name.invalid(errors, problem));
        }
        let number = port.child("containerPort");
        match number.int() {
            None | Some(0) => number.required(errors, ""),
            Some(_) => number.in_range(errors, 1, 65535),
        }
        let host = port.child("hostPort");
        if host.int().unwrap_or_default() != 0 {
            host.in_range(errors, 1, 65535);
        }
        port.child("protocol").one_of_or_required(errors, &PROTOCOLS);
    }
}

/// Checks that no two ports are the same port of the node.
fn host_ports(container: &At, taken: &mut Vec<String>, errors: &mut Errors) {
    for port in container.child("ports").items() {
        let host = port.child("hostPort");
        let number = host.int().unwrap_or_default();
        if number == 0 {
            continue;
        }
        let one = format!("{}/{}/{number}", port.child("protocol").str(), port.child("hostIP").str());
        if taken.contains(&one) {
            errors.push(FieldError::duplicate(host, &one));
        } else {
            taken.push(one);
        }
    }
}
