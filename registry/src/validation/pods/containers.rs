//! Rules for containers, init containers and ephemeral containers, and for their ports.

use super::super::at::{At, Errors};
use super::super::error::FieldError;
use super::super::names;
use super::volumes::Volumes;
use super::{environment, mounts, probes, resources, security};

/// The protocols that a port can have.
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];

/// What an ephemeral container may not have.
const NOT_EPHEMERAL: [&str; 6] =
    ["ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "resizePolicy"];

/// Checks all containers of a pod.
pub(super) fn all(spec: &At, volumes: &Volumes, errors: &mut Errors) {
    let grace = spec.child("terminationGracePeriodSeconds").int().unwrap_or(30);
    let containers = spec.child("containers");
    if containers.is_empty() {
        containers.required(errors, "");
    }
    let mut names = Vec::new();
    for container in containers.items() {
        common(&container, volumes, errors);
        unique_name(&container, &mut names, errors);
        probes::all(&container, grace, errors);
        if container.child("restartPolicy").is_set() {
            container.child("restartPolicy").forbidden(errors, "may not be set for non-init containers");
        }
    }
    let mut taken = Vec::new();
    containers.items().for_each(|container| host_ports(&container, &mut taken, errors));

    for container in spec.child("initContainers").items() {
        init_container(&container, grace, volumes, &mut names, errors);
    }
    for container in spec.child("ephemeralContainers").items() {
        common(&container, volumes, errors);
        unique_name(&container, &mut names, errors);
        for name in NOT_EPHEMERAL {
            if !container.child(name).is_empty() {
                container.child(name).forbidden(errors, "cannot be set for an Ephemeral Container");
            }
        }
        if !container.child("resources").is_empty() {
            container.child("resources").forbidden(errors, "cannot be set for an Ephemeral Container");
        }
        let target = container.child("targetContainerName");
        if !target.is_empty() && !containers.items().any(|other| other.child("name").str() == target.str()) {
            errors.push(FieldError::not_found(target, target.str()));
        }
    }
}

fn init_container<'v>(
    container: &At<'v, '_>,
    grace: i64,
    volumes: &Volumes,
    names: &mut Vec<&'v str>,
    errors: &mut Errors,
) {
    common(container, volumes, errors);
    unique_name(container, names, errors);
    host_ports(container, &mut Vec::new(), errors);
    let policy = container.child("restartPolicy");
    policy.one_of_if_set(errors, &["Always"]);
    if policy.str() == "Always" {
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

/// What holds for containers of each sort.
fn common(container: &At, volumes: &Volumes, errors: &mut Errors) {
    let name = container.child("name");
    if !name.require(errors) {
        name.rule(errors, names::dns_label);
    }
    container.child("image").require(errors);
    container
        .child("terminationMessagePolicy")
        .one_of_or_required(errors, &["FallbackToLogsOnError", "File"]);
    ports(&container.child("ports"), errors);
    environment::variables(&container.child("env"), errors);
    environment::sources(&container.child("envFrom"), errors);
    mounts::all(container, volumes, errors);
    container.child("imagePullPolicy").one_of_or_required(errors, &["Always", "IfNotPresent", "Never"]);
    resources::requirements(&container.child("resources"), errors);
    for policy in container.child("resizePolicy").items() {
        policy.child("resourceName").one_of_or_required(errors, &["cpu", "memory"]);
        policy.child("restartPolicy").one_of_or_required(errors, &["NotRequired", "RestartContainer"]);
    }
    security::container(&container.child("securityContext"), errors);
}

fn unique_name<'v>(container: &At<'v, '_>, names: &mut Vec<&'v str>, errors: &mut Errors) {
    let name = container.child("name");
    if names.contains(&name.str()) {
        name.duplicate(errors);
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
