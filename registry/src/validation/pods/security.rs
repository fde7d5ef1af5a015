//! Rules for what a pod or a container is allowed to do on its node.

use serde_json::Value;

use super::super::at::{At, Errors};
use super::super::error::Shown;
use super::super::{go, names};
use super::volumes::descending_path;
use super::windows;

const SYSCTL_SEGMENT: &str = "[a-z0-9]([-_a-z0-9]*[a-z0-9])?";

/// Checks that a container on the host's network has the host's ports; a `template` may leave them out.
pub(super) fn host_network(spec: &At, template: bool, errors: &mut Errors) {
    if !spec.child("hostNetwork").is_true() {
        return;
    }
    for list in ["containers", "initContainers"] {
        for container in spec.child(list).items() {
            for port in container.child("ports").items() {
                let number = port.child("containerPort");
                let host = port.child("hostPort").int().unwrap_or_default();
                if number.int().unwrap_or_default() != host && !(template && host == 0) {
                    number.invalid(errors, "must match `hostPort` when `hostNetwork` is true");
                }
            }
        }
    }
}

/// Checks the pod's own security context.
pub(super) fn pod(spec: &At, errors: &mut Errors) {
    let context = spec.child("securityContext");
    for name in ["fsGroup", "runAsUser", "runAsGroup"] {
        id(&context.child(name), errors);
    }
    context.child("supplementalGroups").items().for_each(|group| id(&group, errors));
    if spec.child("shareProcessNamespace").is_true() && spec.child("hostPID").is_true() {
        let rule = "ShareProcessNamespace and HostPID cannot both be enabled";
        context.child("shareProcessNamespace").invalid_shown(errors, true, rule);
    }
    sysctls(&context.child("sysctls"), spec, errors);
    context.child("fsGroupChangePolicy").one_of_if_set(errors, &["Always", "OnRootMismatch"]);
    confinement(&context.child("seccompProfile"), "seccomp", errors);
    windows::options(&context.child("windowsOptions"), errors);
    confinement(&context.child("appArmorProfile"), "AppArmor", errors);
    context.child("supplementalGroupsPolicy").one_of_if_set(errors, &["Merge", "Strict"]);
    context.child("seLinuxChangePolicy").one_of_if_set(errors, &["MountOption", "Recursive"]);
}

/// Checks that a pod with users of its own shares nothing with its host.
pub(super) fn host_users(spec: &At, errors: &mut Errors) {
    if spec.child("hostUsers").value() != &Value::Bool(false) {
        return;
    }
    for (name, shown) in [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
        if spec.child(name).is_true() {
            spec.child(shown).forbidden(errors, "when `pod.Spec.HostUsers` is false");
        }
    }
}

/// Checks the security context of a container, in a pod that has the users of its host or not.
pub(super) fn container(context: &At, host_users: bool, errors: &mut Errors) {
    for name in ["runAsUser", "runAsGroup"] {
        id(&context.child(name), errors);
    }
    let mount = context.child("procMount");
    mount.one_of_if_set(errors, &["Default", "Unmasked"]);
    if host_users && mount.str() == "Unmasked" {
        mount.invalid(errors, "`hostUsers` must be false to use `Unmasked`");
    }
    confinement(&context.child("seccompProfile"), "seccomp", errors);
    if context.child("allowPrivilegeEscalation").value() == &Value::Bool(false) {
        no_escalation(context, errors);
    }
    windows::options(&context.child("windowsOptions"), errors);
    confinement(&context.child("appArmorProfile"), "AppArmor", errors);
}

fn no_escalation(context: &At, errors: &mut Errors) {
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

fn confinement(profile: &At, kind: &str, errors: &mut Errors) {
    if !profile.is_set() {
        return;
    }
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
    } else if is_local {
        if kind == "seccomp" {
            descending_path(&local, errors);
        }
    } else if local.is_set() && (kind == "seccomp" || matches!(mode.str(), "RuntimeDefault" | "Unconfined")) {
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
