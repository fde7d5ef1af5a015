//! Rules for the operating system that a pod is for, and for what only Windows knows.

use super::super::at::{At, Errors};
use super::super::names;

/// What a credential specification may hold.
const MAX_CREDENTIALS: usize = 64 << 10;
const MAX_DOMAIN: usize = 256;
const MAX_USER: usize = 104;

const NOT_ON_WINDOWS: &str = "cannot be set for a windows pod";

/// What a pod's security context may not have on Windows.
const POD_CONTEXT: [&str; 11] = [
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "fsGroup",
    "fsGroupChangePolicy",
    "sysctls",
    "runAsUser",
    "runAsGroup",
    "supplementalGroups",
    "supplementalGroupsPolicy",
    "seLinuxChangePolicy",
];

/// What a container's security context may not have on Windows.
const CONTAINER_CONTEXT: [&str; 10] = [
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "capabilities",
    "readOnlyRootFilesystem",
    "privileged",
    "allowPrivilegeEscalation",
    "procMount",
    "runAsUser",
    "runAsGroup",
];

/// Checks the operating system that a pod names, and that the pod has nothing of the other one.
pub(super) fn operating_system(spec: &At, errors: &mut Errors) {
    let system = spec.child("os");
    let name = system.child("name");
    match name.str() {
        _ if !system.is_set() => {}
        "" => name.required(errors, "cannot be empty"),
        "linux" => linux(spec, errors),
        "windows" => windows(spec, errors),
        other => {
            errors.push(super::super::error::FieldError::not_supported(system, other, &["linux", "windows"]))
        }
    }
}

fn linux(spec: &At, errors: &mut Errors) {
    no_options(&spec.child("securityContext"), errors);
    each_context(spec, |context| no_options(context, errors));
}

fn no_options(context: &At, errors: &mut Errors) {
    let options = context.child("windowsOptions");
    if options.is_set() {
        options.forbidden(errors, "windows options cannot be set for a linux pod");
    }
}

fn windows(spec: &At, errors: &mut Errors) {
    let context = spec.child("securityContext");
    for field in POD_CONTEXT {
        // Those of the pod itself stand between those of its context.
        let before: &[&str] = match field {
            "seccompProfile" => &["hostUsers", "hostPID", "hostIPC"],
            "runAsUser" => &["shareProcessNamespace"],
            _ => &[],
        };
        for field in before {
            let value = spec.child(field);
            if value.is_true()
                || (!field.starts_with("hostP") && !field.starts_with("hostI") && value.is_set())
            {
                value.forbidden(errors, NOT_ON_WINDOWS);
            }
        }
        let value = context.child(field);
        if value.is_set() && !(field == "sysctls" && value.is_empty()) {
            value.forbidden(errors, NOT_ON_WINDOWS);
        }
    }
    each_context(spec, |context| {
        for field in CONTAINER_CONTEXT {
            if context.child(field).is_set() {
                context.child(field).forbidden(errors, NOT_ON_WINDOWS);
            }
        }
    });
}

/// Calls `check` with the security context of each container.
fn each_context(spec: &At, mut check: impl FnMut(&At)) {
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in spec.child(list).items() {
            check(&container.child("securityContext"));
        }
    }
}

/// Checks that either all containers are processes of the host or none is, and that they share its network.
pub(super) fn host_processes(spec: &At, errors: &mut Errors) {
    let context = spec.child("securityContext");
    let of_pod = context.child("windowsOptions").child("hostProcess").value().as_bool();
    let (mut all, mut of_host) = (0, 0);
    each_context(spec, |context| {
        let options = context.child("windowsOptions");
        let own = options.child("hostProcess");
        all += 1;
        of_host += i32::from(own.value().as_bool().or(of_pod) == Some(true));
        if let (Some(pod), Some(container)) = (of_pod, own.value().as_bool())
            && pod != container
        {
            let rule = format!("pod hostProcess value must be identical if both are specified, was {pod}");
            own.invalid_shown(errors, container, &rule);
        }
    });
    if of_host == 0 {
        return;
    }
    if of_host != all {
        let rule =
            "If pod contains any hostProcess containers then all containers must be HostProcess containers";
        spec.invalid_shown(errors, "", rule);
    }
    if !spec.child("hostNetwork").is_true() {
        let rule = "hostNetwork must be true if pod contains any hostProcess containers";
        spec.child("hostNetwork").invalid_shown(errors, false, rule);
    }
}

/// Checks what a security context says for Windows alone.
pub(super) fn options(options: &At, errors: &mut Errors) {
    let name = options.child("gmsaCredentialSpecName");
    if name.is_set() {
        name.rule(errors, names::subdomain);
    }
    let credentials = options.child("gmsaCredentialSpec");
    if credentials.is_set() && credentials.is_empty() {
        credentials.invalid(errors, "gmsaCredentialSpec cannot be an empty string");
    } else if credentials.str().len() > MAX_CREDENTIALS {
        credentials.invalid(errors, "gmsaCredentialSpec size must be under 64 KiB");
    }
    let user = options.child("runAsUserName");
    if !user.is_set() {
        return;
    }
    let mut parts = user.str().split('\\');
    if user.is_empty() {
        user.invalid(errors, "runAsUserName cannot be an empty string");
    } else if user.str().chars().any(|char| char.is_ascii_control()) {
        user.invalid(errors, "runAsUserName cannot contain control characters");
    } else {
        match (parts.next(), parts.next(), parts.next()) {
            (_, _, Some(_)) => user.invalid(errors, "runAsUserName cannot contain more than one backslash"),
            (Some(domain), Some(name), None) => user_name(&user, Some(domain), name, errors),
            (name, ..) => user_name(&user, None, name.unwrap_or_default(), errors),
        }
    }
}

fn user_name(at: &At, domain: Option<&str>, user: &str, errors: &mut Errors) {
    if domain.is_some_and(|domain| domain.len() >= MAX_DOMAIN) {
        at.invalid(errors, "runAsUserName's Domain length must be under 256 characters");
    }
    if domain.is_some_and(|domain| !is_domain(domain)) {
        at.invalid(errors, "runAsUserName's Domain doesn't match the NetBios nor the DNS format");
    }
    if user.is_empty() {
        at.invalid(errors, "runAsUserName's User cannot be empty");
    } else if user.len() > MAX_USER {
        at.invalid(errors, "runAsUserName's User length must not be longer than 104 characters");
    }
    if !user.is_empty() && user.chars().all(|char| matches!(char, '.' | ' ')) {
        at.invalid(errors, "runAsUserName's User cannot contain only periods or spaces");
    }
    if user.contains(|char: char| "\"/\\:;|=,+*?<>@[]".contains(char)) {
        let rule = "runAsUserName's User cannot contain the following characters: \"/\\:;|=,+*?<>@[]";
        at.invalid(errors, rule);
    }
}

/// Returns whether a name is one that NetBIOS or DNS has for domains.
fn is_domain(domain: &str) -> bool {
    let net_bios = (1..=15).contains(&domain.chars().count())
        && !domain.starts_with('.')
        && !domain.contains(|char: char| "\\/:*?\"<>|".contains(char));
    let label = |label: &str| {
        let alphanumeric = |byte: &u8| byte.is_ascii_alphanumeric();
        let bytes = label.as_bytes();
        (1..=63).contains(&bytes.len())
            && bytes.first().is_some_and(alphanumeric)
            && bytes.last().is_some_and(alphanumeric)
            && bytes.iter().all(|byte| alphanumeric(byte) || *byte == b'-')
    };
    net_bios || domain.split('.').all(label)
}
