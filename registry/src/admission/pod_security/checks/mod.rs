//! What each level forbids, from which release on, in upstream's words.

mod baseline;
mod restricted;

use std::collections::BTreeSet;

use serde_json::Value;

use super::policy::{Level, LevelVersion, Version};

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Violation {
    /// What is forbidden, in few words.
    pub reason: &'static str,
    /// Where, and what would be right.
    pub detail: String,
}

/// Looks at a pod.
type Look = fn(&Pod<'_>) -> Option<Violation>;

/// One rule, in all its versions.
struct Check {
    id: &'static str,
    /// The looser check that this one makes needless.
    overrides: Option<&'static str>,
    /// From which minor release on which form holds; the oldest first.
    versions: &'static [(u64, Look)],
}

/// A pod, or what a pod is to be made from.
#[derive(Clone, Copy)]
pub(super) struct Pod<'v> {
    pub metadata: &'v Value,
    pub spec: &'v Value,
}

impl Check {
    /// Returns the form that holds in a version.
    fn at(&self, version: Version) -> Option<Look> {
        let holds = |(since, _): &&(u64, Look)| Version::Minor(*since) <= version;
        self.versions.iter().rev().find(holds).map(|(_, look)| *look)
    }
}

/// Returns what a level forbids of a pod: the looser rules first, each sort in the order of its names.
pub(super) fn violations(asked: LevelVersion, pod: &Pod<'_>) -> Vec<Violation> {
    let LevelVersion { level, version } = asked;
    let baseline = if level >= Level::Baseline { baseline::CHECKS } else { &[] };
    let restricted = if level >= Level::Restricted { restricted::CHECKS } else { &[] };
    let is_overridden = |check: &Check| {
        restricted
            .iter()
            .any(|stricter| stricter.overrides == Some(check.id) && stricter.at(version).is_some())
    };
    let checks = baseline.iter().filter(|check| !is_overridden(check)).chain(restricted);
    checks.filter_map(|check| check.at(version)?(pod)).collect()
}

/// Says what is forbidden, and where.
pub(super) fn details(violations: &[Violation]) -> String {
    let shown = violations.iter().map(|Violation { reason, detail }| format!("{reason} ({detail})"));
    shown.collect::<Vec<_>>().join(", ")
}

/// Says what is forbidden, in few words.
pub(super) fn reasons(violations: &[Violation]) -> String {
    violations.iter().map(|violation| violation.reason).collect::<Vec<_>>().join(", ")
}

impl<'v> Pod<'v> {
    /// All containers: those that run first, the others, and those that were added to look around.
    fn containers(&self) -> impl Iterator<Item = &'v Value> + use<'v> {
        let spec = self.spec;
        ["initContainers", "containers", "ephemeralContainers"]
            .into_iter()
            .flat_map(move |list| spec[list].as_array().into_iter().flatten())
    }

    /// The names of the containers of which something holds.
    fn containers_that(&self, is: impl FnMut(&&'v Value) -> bool) -> Vec<&'v str> {
        self.containers().filter(is).map(|container| container["name"].as_str().unwrap_or_default()).collect()
    }

    fn annotations(&self) -> impl Iterator<Item = (&'v str, &'v str)> + use<'v> {
        let annotations = self.metadata["annotations"].as_object().into_iter().flatten();
        annotations.map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default()))
    }

    fn is_windows(&self) -> bool {
        self.spec["os"]["name"] == "windows"
    }
}

/// The security context of a pod's spec or of a container.
fn context(of: &Value) -> &Value {
    &of["securityContext"]
}

fn plural(one: &'static str, several: &'static str, count: usize) -> &'static str {
    if count == 1 { one } else { several }
}

/// `"a", "b"`.
fn quoted<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> String {
    let texts: Vec<_> = texts.into_iter().map(|text| format!("\"{}\"", text.as_ref())).collect();
    texts.join(", ")
}

/// `container "a"`.
fn containers(names: &[&str]) -> String {
    format!("{} {}", plural("container", "containers", names.len()), quoted(names))
}

/// `pod and containers "a", "b"`: who sets what nobody may; absent if nobody does.
fn setters(pod: bool, names: &[&str]) -> Option<String> {
    match (pod, names.is_empty()) {
        (false, true) => None,
        (true, true) => Some("pod".to_owned()),
        (false, false) => Some(containers(names)),
        (true, false) => Some(format!("pod and {}", containers(names))),
    }
}

/// Collects who sets a field of its security context to what nobody may, and to what: the pod, containers, and the values.
fn bad_settings<'v>(
    pod: &Pod<'v>,
    mut bad: impl FnMut(&'v Value) -> Option<&'v str>,
) -> (bool, Vec<&'v str>, BTreeSet<&'v str>) {
    let mut values = BTreeSet::new();
    let mut is_bad = |of: &'v Value| {
        let value = bad(context(of));
        values.extend(value);
        value.is_some()
    };
    let by_pod = is_bad(pod.spec);
    let names = pod.containers_that(|container| is_bad(container));
    (by_pod, names, values)
}
