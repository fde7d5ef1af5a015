//! What the level `baseline` forbids.

use std::collections::BTreeSet;

use quarterdeck_core::labels::quote;
use serde_json::Value;

use super::{Check, Pod, Violation, bad_settings, containers, context, plural, quoted, setters};

/// In the order of their names.
pub(super) const CHECKS: &[Check] = &[
    check("appArmorProfile", &[(0, app_armor)]),
    check("capabilities_baseline", &[(0, capabilities)]),
    check("hostNamespaces", &[(0, host_namespaces)]),
    check("hostPathVolumes", &[(0, host_path_volumes)]),
    check("hostPorts", &[(0, host_ports)]),
    check("privileged", &[(0, privileged)]),
    check("procMount", &[(0, proc_mount)]),
    check(
        "seLinuxOptions",
        &[(0, |pod| selinux(pod, &SELINUX_TYPES[..4])), (31, |pod| selinux(pod, SELINUX_TYPES))],
    ),
    check("seccompProfile_baseline", &[(0, seccomp_annotations), (19, seccomp)]),
    check(
        "sysctls",
        &[
            (0, |pod| sysctls(pod, &SYSCTLS[..5])),
            (27, |pod| sysctls(pod, &SYSCTLS[..6])),
            (29, |pod| sysctls(pod, &SYSCTLS[..10])),
            (32, |pod| sysctls(pod, SYSCTLS)),
        ],
    ),
    check("windowsHostProcess", &[(0, host_process)]),
];

const fn check(id: &'static str, versions: &'static [(u64, super::Look)]) -> Check {
    Check { id, overrides: None, versions }
}

/// What containers may add to what they can do.
const CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// The last since 1.31.
const SELINUX_TYPES: &[&str] =
    &["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];

/// Five from the start, one more since 1.27, four since 1.29, two since 1.32.
const SYSCTLS: &[&str] = &[
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];

const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
const SECCOMP_OF_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_OF_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";

/// The profiles that may be chosen.
const PROFILES: [&str; 2] = ["RuntimeDefault", "Localhost"];

/// Returns the type of a profile that may not be chosen; absent if there is no profile, or a good one.
pub(super) fn bad_profile<'v>(context: &'v Value, field: &str) -> Option<&'v str> {
    let profile = &context[field];
    let chosen = profile["type"].as_str().unwrap_or_default();
    (!profile.is_null() && !PROFILES.contains(&chosen)).then_some(chosen)
}

fn app_armor(pod: &Pod<'_>) -> Option<Violation> {
    let (by_pod, names, values) = bad_settings(pod, |context| bad_profile(context, "appArmorProfile"));
    let is_good = |profile: &str| {
        profile.is_empty() || profile == "runtime/default" || profile.starts_with("localhost/")
    };
    let mut annotations: Vec<String> = pod
        .annotations()
        .filter(|(key, profile)| key.starts_with(APP_ARMOR) && !is_good(profile))
        .map(|(key, profile)| format!("{key}={}", quote(profile)))
        .collect();
    annotations.sort_unstable();
    let by_annotations =
        (!annotations.is_empty()).then(|| plural("annotation", "annotations", annotations.len()).to_owned());
    let who: Vec<String> = setters(by_pod, &names).into_iter().chain(by_annotations).collect();
    if who.is_empty() {
        return None;
    }
    let all: Vec<String> = values.into_iter().map(str::to_owned).chain(annotations).collect();
    Some(Violation {
        reason: plural("forbidden AppArmor profile", "forbidden AppArmor profiles", all.len()),
        detail: format!("{} must not set AppArmor profile type to {}", who.join(" and "), quoted(&all)),
    })
}

/// Returns which containers add capabilities that are not allowed, and which.
pub(super) fn added<'v>(pod: &Pod<'v>, allowed: &[&str]) -> (Vec<&'v str>, BTreeSet<&'v str>) {
    let mut all = BTreeSet::new();
    let names = pod.containers_that(|container| {
        let added = context(container)["capabilities"]["add"].as_array().into_iter().flatten();
        let bad: Vec<_> = added.filter_map(Value::as_str).filter(|added| !allowed.contains(added)).collect();
        all.extend(&bad);
        !bad.is_empty()
    });
    (names, all)
}

fn capabilities(pod: &Pod<'_>) -> Option<Violation> {
    let (names, bad) = added(pod, &CAPABILITIES);
    (!names.is_empty()).then(|| Violation {
        reason: "non-default capabilities",
        detail: format!(
            "{} must not include {} in securityContext.capabilities.add",
            containers(&names),
            quoted(bad)
        ),
    })
}

fn host_namespaces(pod: &Pod<'_>) -> Option<Violation> {
    let shared = ["hostNetwork", "hostPID", "hostIPC"].into_iter().filter(|field| pod.spec[field] == true);
    let shared: Vec<_> = shared.map(|field| format!("{field}=true")).collect();
    (!shared.is_empty()).then(|| Violation { reason: "host namespaces", detail: shared.join(", ") })
}

fn host_path_volumes(pod: &Pod<'_>) -> Option<Violation> {
    let volumes = pod.spec["volumes"].as_array().into_iter().flatten();
    let bad = volumes.filter(|volume| !volume["hostPath"].is_null());
    let names: Vec<_> = bad.filter_map(|volume| volume["name"].as_str()).collect();
    (!names.is_empty()).then(|| Violation {
        reason: "hostPath volumes",
        detail: format!("{} {}", plural("volume", "volumes", names.len()), quoted(&names)),
    })
}

fn host_ports(pod: &Pod<'_>) -> Option<Violation> {
    let mut ports = BTreeSet::new();
    let names = pod.containers_that(|container| {
        let mapped = container["ports"].as_array().into_iter().flatten();
        let mapped: Vec<_> =
            mapped.filter_map(|port| port["hostPort"].as_i64()).filter(|port| *port != 0).collect();
        ports.extend(mapped.iter().map(i64::to_string));
        !mapped.is_empty()
    });
    (!names.is_empty()).then(|| Violation {
        reason: "hostPort",
        detail: format!(
            "{} {} {} {}",
            containers(&names),
            plural("uses", "use", names.len()),
            plural("hostPort", "hostPorts", ports.len()),
            ports.into_iter().collect::<Vec<_>>().join(", ")
        ),
    })
}

fn privileged(pod: &Pod<'_>) -> Option<Violation> {
    let names = pod.containers_that(|container| context(container)["privileged"] == true);
    (!names.is_empty()).then(|| Violation {
        reason: "privileged",
        detail: format!("{} must not set securityContext.privileged=true", containers(&names)),
    })
}

fn proc_mount(pod: &Pod<'_>) -> Option<Violation> {
    let mut values = BTreeSet::new();
    let names = pod.containers_that(|container| {
        let mount = context(container)["procMount"].as_str().filter(|mount| *mount != "Default");
        values.extend(mount);
        mount.is_some()
    });
    (!names.is_empty()).then(|| Violation {
        reason: "procMount",
        detail: format!(
            "{} must not set securityContext.procMount to {}",
            containers(&names),
            quoted(values)
        ),
    })
}

fn selinux(pod: &Pod<'_>, allowed: &[&str]) -> Option<Violation> {
    let (mut types, mut user, mut role) = (BTreeSet::new(), false, false);
    let (by_pod, names, _) = bad_settings(pod, |context| {
        let options = &context["seLinuxOptions"];
        let text = |field: &str| options[field].as_str().unwrap_or_default();
        let bad_type = Some(text("type")).filter(|chosen| !allowed.contains(chosen));
        let (sets_user, sets_role) = (!text("user").is_empty(), !text("role").is_empty());
        types.extend(bad_type.map(str::to_owned));
        user |= sets_user;
        role |= sets_role;
        (bad_type.is_some() || sets_user || sets_role).then_some("")
    });
    let who = setters(by_pod, &names)?;
    let mut bad = Vec::new();
    if !types.is_empty() {
        bad.push(format!("{} {}", plural("type", "types", types.len()), quoted(&types)));
    }
    if user {
        bad.push("user may not be set".to_owned());
    }
    if role {
        bad.push("role may not be set".to_owned());
    }
    Some(Violation {
        reason: "seLinuxOptions",
        detail: format!("{who} set forbidden securityContext.seLinuxOptions: {}", bad.join("; ")),
    })
}

fn seccomp_annotations(pod: &Pod<'_>) -> Option<Violation> {
    let is_good = |profile: &str| {
        matches!(profile, "runtime/default" | "docker/default") || profile.starts_with("localhost/")
    };
    let of_containers = pod.containers().filter_map(|container| container["name"].as_str());
    let known: BTreeSet<String> = of_containers
        .map(|name| format!("{SECCOMP_OF_CONTAINER}{name}"))
        .chain([SECCOMP_OF_POD.to_owned()])
        .collect();
    let bad: BTreeSet<String> = pod
        .annotations()
        .filter(|(key, profile)| known.contains(*key) && !is_good(profile))
        .map(|(key, profile)| format!("{key}={}", quote(profile)))
        .collect();
    (!bad.is_empty()).then(|| Violation {
        reason: "seccompProfile",
        detail: format!(
            "forbidden {} {}",
            plural("annotation", "annotations", bad.len()),
            bad.into_iter().collect::<Vec<_>>().join(", ")
        ),
    })
}

pub(super) fn seccomp(pod: &Pod<'_>) -> Option<Violation> {
    let (by_pod, names, values) = bad_settings(pod, |context| bad_profile(context, "seccompProfile"));
    setters(by_pod, &names).map(|who| Violation {
        reason: "seccompProfile",
        detail: format!("{who} must not set securityContext.seccompProfile.type to {}", quoted(values)),
    })
}

fn sysctls(pod: &Pod<'_>, allowed: &[&str]) -> Option<Violation> {
    let set = context(pod.spec)["sysctls"].as_array().into_iter().flatten();
    let bad: Vec<_> =
        set.filter_map(|sysctl| sysctl["name"].as_str()).filter(|name| !allowed.contains(name)).collect();
    (!bad.is_empty()).then(|| Violation { reason: "forbidden sysctls", detail: bad.join(", ") })
}

fn host_process(pod: &Pod<'_>) -> Option<Violation> {
    let (by_pod, names, _) =
        bad_settings(pod, |context| (context["windowsOptions"]["hostProcess"] == true).then_some(""));
    setters(by_pod, &names).map(|who| Violation {
        reason: "hostProcess",
        detail: format!("{who} must not set securityContext.windowsOptions.hostProcess=true"),
    })
}
