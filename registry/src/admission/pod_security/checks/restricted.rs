//! What the level `restricted` forbids beside what `baseline` does.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    Check, Look, Pod, Violation, bad_settings, baseline, containers, context, plural, quoted, setters,
};

/// In the order of their names.
pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "allowPrivilegeEscalation",
        overrides: None,
        versions: &[(8, privilege_escalation), (25, |pod| unless_windows(pod, privilege_escalation))],
    },
    Check {
        id: "capabilities_restricted",
        overrides: Some("capabilities_baseline"),
        versions: &[(22, capabilities), (25, |pod| unless_windows(pod, capabilities))],
    },
    Check { id: "restrictedVolumes", overrides: Some("hostPathVolumes"), versions: &[(0, volumes)] },
    Check { id: "runAsNonRoot", overrides: None, versions: &[(0, non_root)] },
    Check { id: "runAsUser", overrides: None, versions: &[(23, user)] },
    Check {
        id: "seccompProfile_restricted",
        overrides: Some("seccompProfile_baseline"),
        versions: &[(19, seccomp), (25, |pod| unless_windows(pod, seccomp))],
    },
];

/// The volumes that pods may have; as upstream, `image` in all versions, although it came with 1.33.
const VOLUMES: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

/// Kinds of volumes that have a name in messages.
const OTHER_VOLUMES: [&str; 20] = [
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "gitRepo",
    "nfs",
    "iscsi",
    "glusterfs",
    "rbd",
    "flexVolume",
    "cinder",
    "cephfs",
    "flocker",
    "fc",
    "azureFile",
    "vsphereVolume",
    "quobyte",
    "azureDisk",
    "photonPersistentDisk",
    "portworxVolume",
    "scaleIO",
];

/// Windows has none of this, and validation lets pods for it set none of it.
fn unless_windows(pod: &Pod<'_>, look: Look) -> Option<Violation> {
    if pod.is_windows() { None } else { look(pod) }
}

fn privilege_escalation(pod: &Pod<'_>) -> Option<Violation> {
    let names = pod.containers_that(|container| context(container)["allowPrivilegeEscalation"] != false);
    (!names.is_empty()).then(|| Violation {
        reason: "allowPrivilegeEscalation != false",
        detail: format!("{} must set securityContext.allowPrivilegeEscalation=false", containers(&names)),
    })
}

fn capabilities(pod: &Pod<'_>) -> Option<Violation> {
    let drops_all = |container: &Value| {
        let dropped = context(container)["capabilities"]["drop"].as_array();
        dropped.is_some_and(|dropped| dropped.iter().any(|capability| capability == "ALL"))
    };
    let keeping = pod.containers_that(|container| !drops_all(container));
    let (adding, added) = baseline::added(pod, &["NET_BIND_SERVICE"]);
    let mut details = Vec::new();
    if !keeping.is_empty() {
        details
            .push(format!("{} must set securityContext.capabilities.drop=[\"ALL\"]", containers(&keeping)));
    }
    if !adding.is_empty() {
        details.push(format!(
            "{} must not include {} in securityContext.capabilities.add",
            containers(&adding),
            quoted(added)
        ));
    }
    (!details.is_empty())
        .then(|| Violation { reason: "unrestricted capabilities", detail: details.join("; ") })
}

fn volumes(pod: &Pod<'_>) -> Option<Violation> {
    let has = |volume: &Value, kind: &&&str| !volume[**kind].is_null();
    let (mut names, mut kinds) = (Vec::new(), BTreeSet::new());
    for volume in pod.spec["volumes"].as_array().into_iter().flatten() {
        if VOLUMES.iter().any(|kind| has(volume, &kind)) {
            continue;
        }
        names.push(volume["name"].as_str().unwrap_or_default());
        let kind = OTHER_VOLUMES.iter().chain(&["storageos"]).find(|kind| has(volume, kind));
        kinds.insert(kind.copied().unwrap_or("unknown"));
    }
    (!names.is_empty()).then(|| Violation {
        reason: "restricted volume types",
        detail: format!(
            "{} {} {} {} {}",
            plural("volume", "volumes", names.len()),
            quoted(&names),
            plural("uses", "use", names.len()),
            plural("restricted volume type", "restricted volume types", kinds.len()),
            quoted(kinds)
        ),
    })
}

fn non_root(pod: &Pod<'_>) -> Option<Violation> {
    const REASON: &str = "runAsNonRoot != true";
    let (by_pod, names, _) = bad_settings(pod, |context| (context["runAsNonRoot"] == false).then_some(""));
    if let Some(who) = setters(by_pod, &names) {
        let detail = format!("{who} must not set securityContext.runAsNonRoot=false");
        return Some(Violation { reason: REASON, detail });
    }
    if context(pod.spec)["runAsNonRoot"] == true {
        return None;
    }
    let names = pod.containers_that(|container| context(container)["runAsNonRoot"].is_null());
    (!names.is_empty()).then(|| Violation {
        reason: REASON,
        detail: format!("pod or {} must set securityContext.runAsNonRoot=true", containers(&names)),
    })
}

fn user(pod: &Pod<'_>) -> Option<Violation> {
    let (by_pod, names, _) = bad_settings(pod, |context| (context["runAsUser"] == 0).then_some(""));
    setters(by_pod, &names)
        .map(|who| Violation { reason: "runAsUser=0", detail: format!("{who} must not set runAsUser=0") })
}

fn seccomp(pod: &Pod<'_>) -> Option<Violation> {
    if let Some(bad) = baseline::seccomp(pod) {
        return Some(bad);
    }
    if !context(pod.spec)["seccompProfile"].is_null() {
        return None;
    }
    let names = pod.containers_that(|container| context(container)["seccompProfile"].is_null());
    (!names.is_empty()).then(|| Violation {
        reason: "seccompProfile",
        detail: format!(
            "pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"",
            containers(&names)
        ),
    })
}
