//! Rules for annotations of pods that mean something: some are older forms of fields.

use super::super::at::{At, Errors};
use super::volumes::no_backsteps;

/// The annotation that says how dear a pod is to be deleted.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// The annotation on pods that an agent made without being asked by the API.
const MIRROR: &str = "kubernetes.io/config.mirror";

const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

/// How annotations write a profile: none, the runtime's own, and the beginning of one of the node.
struct Spelling {
    unconfined: &'static str,
    default: &'static [&'static str],
    local: &'static str,
}

const SECCOMP: Spelling = Spelling {
    unconfined: "unconfined",
    default: &["runtime/default", "docker/default"],
    local: "localhost/",
};
const ARMOR: Spelling =
    Spelling { unconfined: "unconfined", default: &["runtime/default"], local: "localhost/" };

impl Spelling {
    fn is_known(&self, profile: &str) -> bool {
        profile == self.unconfined || self.default.contains(&profile) || profile.starts_with(self.local)
    }
}

/// Checks the annotations that mean something, on a pod with this `spec` or in the template of one.
pub(super) fn known(annotations: &At, spec: &At, errors: &mut Errors) {
    let mirror = annotations.key(MIRROR);
    if mirror.is_set() && spec.child("nodeName").is_empty() {
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
    for (key, value) in annotations.entries() {
        if key == SECCOMP_POD || key.starts_with(SECCOMP_CONTAINER) {
            seccomp(&annotations.moved(value.value(), key), errors);
        }
    }
    for (key, value) in annotations.entries() {
        let Some(container) = key.strip_prefix(APP_ARMOR) else { continue };
        if !containers(spec, |name, _| name == container) {
            value.invalid_shown(errors, container, "container not found");
        }
        let profile = value.str();
        if !profile.is_empty() && !ARMOR.is_known(profile) {
            value.invalid(errors, &format!("invalid AppArmor profile name: {profile:?}"));
        }
    }
}

fn seccomp(at: &At, errors: &mut Errors) {
    let Some(path) = at.str().strip_prefix(SECCOMP.local) else {
        if !SECCOMP.is_known(at.str()) {
            at.invalid(errors, "must be a valid seccomp profile");
        }
        return;
    };
    if path.starts_with('/') {
        at.invalid_shown(errors, path, "must be a relative path");
    }
    if !no_backsteps(path) {
        at.invalid_shown(errors, path, "must not contain '..'");
    }
}

/// Visits the containers of all sorts with their names, until one is found.
fn containers(spec: &At, mut found: impl FnMut(&str, &At) -> bool) -> bool {
    ["initContainers", "containers", "ephemeralContainers"].iter().any(|list| {
        spec.child(list).items().any(|container| found(container.child("name").str(), &container))
    })
}

/// Checks that fields and annotations of profiles say the same where both are there.
pub(super) fn agree(annotations: &At, spec: &At, errors: &mut Errors) {
    let context = spec.child("securityContext");
    same(&context.child("seccompProfile"), annotations.key(SECCOMP_POD).value().as_str(), "seccomp", errors);
    containers(spec, |name, container| {
        let key = format!("{SECCOMP_CONTAINER}{name}");
        let context = container.child("securityContext");
        same(&context.child("seccompProfile"), annotations.key(&key).value().as_str(), "seccomp", errors);
        false
    });
    if spec.child("os").child("name").str() == "windows" {
        return;
    }
    containers(spec, |name, container| {
        let key = format!("{APP_ARMOR}{name}");
        let own = container.child("securityContext");
        let own = own.child("appArmorProfile");
        let profile = if own.is_set() { own.value() } else { context.child("appArmorProfile").value() };
        let place = container.child("securityContext");
        let place = place.moved(profile, "appArmorProfile");
        same(&place, annotations.key(&key).value().as_str(), "apparmor", errors);
        false
    });
}

fn same(profile: &At, annotation: Option<&str>, kind: &str, errors: &mut Errors) {
    let Some(annotation) = annotation.filter(|_| profile.is_set()) else { return };
    let spelling = if kind == "seccomp" { &SECCOMP } else { &ARMOR };
    let (mode, local) = (profile.child("type"), profile.child("localhostProfile"));
    let agree = match mode.str() {
        "Unconfined" => annotation == spelling.unconfined,
        "RuntimeDefault" => spelling.default.contains(&annotation),
        "Localhost" => match annotation.strip_prefix(spelling.local) {
            Some(path) if local.value().as_str() != Some(path) => {
                local.forbidden(errors, &format!("{kind} profile in annotation and field must match"));
                true
            }
            path => path.is_some(),
        },
        _ => true,
    };
    if !agree {
        mode.forbidden(errors, &format!("{kind} type in annotation and field must match"));
    }
}

/// Checks how annotations that mean something change: those on mirror pods and for AppArmor do not.
pub(super) fn changes(new: &At, old: &At, errors: &mut Errors) {
    let fixed = |key: &str| match key {
        MIRROR => Some("mirror pod annotation"),
        key if key.starts_with(APP_ARMOR) => Some("AppArmor annotations"),
        _ => None,
    };
    for (key, was) in old.entries() {
        if let Some(what) = fixed(key).filter(|_| new.key(key).value() != was.value()) {
            new.key(key).forbidden(errors, &format!("may not remove or update {what}"));
        }
    }
    for (key, now) in new.entries() {
        if let Some(what) = fixed(key).filter(|_| !old.key(key).is_set()) {
            now.forbidden(errors, &format!("may not add {what}"));
        }
    }
}
