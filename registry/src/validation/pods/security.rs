//! Rules for what a pod or a container is allowed to do on its node.

use serde_json::Value;

use super::super::at::{At, Errors};
use super::super::error::Shown;
use super::super::{go, names};
use super::volumes::descending_path;

const SYSCTL_SEGMENT: &str = "[a-z0-9]([-_a-z0-9]*[a-z0-9])?";

/// Checks the pod's own security context, and what its host namespaces imply.
pub(super) fn pod(spec: &At, errors: &mut Errors) {
    if spec.child("hostNetwork").is_true() {
        for list in ["containers", "initContainers"] {
            host_network(&spec.child(list), errors);
        }
    }
    if spec.child("shareProcessNamespace").is_true() && spec.child("hostPID").is_true() {
        let rule = "ShareProcessNamespace and HostPID cannot both be enabled.";
        spec.child("shareProcessNamespace").invalid(errors, rule);
    }
    let context = spec.child("securityContext");
    for name in ["fsGroup", "runAsUser", "runAsGroup"] {
        id(&context.child(name), errors);
    }
    context.child("supplementalGroups").items().for_each(|group| id(&group, errors));
    sysctls(&context.child("sysctls"), spec, errors);
    context.child("fsGroupChangePolicy").one_of_if_set(errors, &["Always", "OnRootMismatch"]);
    context.child("supplementalGroupsPolicy").one_of_if_set(errors, &["Merge", "Strict"]);
    context.child("seLinuxChangePolicy").one_of_if_set(errors, &["MountOption", "Recursive"]);
    shared(&context, errors);
    if spec.child("hostUsers").value() == &Value::Bool(false) {
        for name in ["hostNetwork", "hostPID", "hostIPC"] {
            if spec.child(name).is_true() {
                spec.child(name).forbidden(errors, "when `hostUsers` is false");
            }
        }
    }
}

/// Checks the security context of a container.
pub(super) fn container(context: &At, errors: &mut Errors) {
    for name in ["runAsUser", "runAsGroup"] {
        id(&context.child(name), errors);
    }
    shared(context, errors);
    context.child("procMount").one_of_if_set(errors, &["Default", "Unmasked"]);
    if context.child("allowPrivilegeEscalation").value() != &Value::Bool(false) {
        return;
    }
    // The whole context is shown, as JSON: its form in Go is half a page of pointers.
    let shown = || Shown(context.value().to_string());
    if context.child("privileged").is_true() {
        let rule = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
        context.invalid_shown(errors, shown(), rule);
    }
    if context.child("capabilities").child("add").strings().any(|capability| capability == "CAP_SYS_ADMIN") {
        let rule = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
        context.invalid_shown(errors, shown(), rule);
    }
}

/// What pods and containers have in common.
fn shared(context: &At, errors: &mut Errors) {
    for (name, kind) in [("seccompProfile", "seccomp"), ("appArmorProfile", "AppArmor")] {
        let profile = context.child(name);
        if profile.is_set() {
            confinement(&profile, kind, errors);
        }
    }
}

fn confinement(profile: &At, kind: &str, errors: &mut Errors) {
    let (mode, local) = (profile.child("type"), profile.child("localhostProfile"));
    if mode.is_empty() {
        mode.required(
            errors,
            &format!(
                "type is required when {}Profile is set",
                if kind == "seccomp" { "seccomp" } else { "appArmor" }
            ),
        );
    } else {
        mode.one_of(errors, &["Localhost", "RuntimeDefault", "Unconfined"]);
    }
    let is_local = mode.str() == "Localhost";
    let named = if kind == "seccomp" { local.is_set() } else { !local.str().trim().is_empty() };
    if is_local && !named {
        local.required(errors, &format!("must be set when {kind} type is Localhost"));
    } else if is_local && kind == "seccomp" {
        descending_path(&local, errors);
    } else if !is_local && local.is_set() {
        let fields =
            [("Type", go::string(mode.value())), ("LocalhostProfile", go::pointer("string", local.value()))];
        let shown = match kind {
            "seccomp" => go::structure("core.SeccompProfile", &fields),
            _ => Shown::from(local.str()),
        };
        local.invalid_shown(errors, shown, &format!("can only be set when {kind} type is Localhost"));
    }
}

fn id(id: &At, errors: &mut Errors) {
    if id.is_set() {
        id.in_range(errors, names::IDS.0, names::IDS.1);
    }
}

fn host_network(containers: &At, errors: &mut Errors) {
    for container in containers.items() {
        for port in container.child("ports").items() {
            let number = port.child("containerPort");
            if number.int().unwrap_or_default() != port.child("hostPort").int().unwrap_or_default() {
                number.invalid(errors, "must match `hostPort` when `hostNetwork` is true");
            }
        }
    }
}

fn sysctls(sysctls: &At, spec: &At, errors: &mut Errors) {
    let mut seen = Vec::new();
    for sysctl in sysctls.items() {
        let name = sysctl.child("name");
        if name.require(errors) {
            continue;
        }
        if !is_sysctl(name.str()) {
            let pattern = format!("({SYSCTL_SEGMENT}[\\./])*{SYSCTL_SEGMENT}");
            name.invalid(errors, &format!("must have at most 253 characters and match regex ^{pattern}$"));
        } else if seen.contains(&name.str()) {
            name.duplicate(errors);
        }
        let plain = name.str().replace('/', ".");
        let in_ipc = ["kernel.shm", "kernel.msg", "fs.mqueue."].iter().any(|part| plain.starts_with(part));
        for (field, taken) in
            [("hostNetwork", plain.starts_with("net.")), ("hostIPC", in_ipc || plain == "kernel.sem")]
        {
            if taken && spec.child(field).is_true() {
                name.invalid(errors, &format!("may not be specified when '{field}' is set to true"));
            }
        }
        seen.push(name.str());
    }
}

fn is_sysctl(name: &str) -> bool {
    let outer = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.len() <= 253
        && name.split(['.', '/']).all(|part| {
            let bytes = part.as_bytes();
            bytes.first().is_some_and(|byte| outer(*byte))
                && bytes.last().is_some_and(|byte| outer(*byte))
                && bytes.iter().all(|byte| outer(*byte) || matches!(byte, b'-' | b'_'))
        })
}
