//! By which fields each kind is selected, and how a field becomes the text that is compared.

use std::borrow::Cow;

use quarterdeck_core::labels::quote;
use serde_json::Value;

/// A field that a kind is selected by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectableField {
    /// The name in selectors, such as `spec.nodeName`.
    pub name: Cow<'static, str>,
    /// Older names that mean the same.
    pub aliases: &'static [&'static str],
    /// Where the value is, as names separated by dots; the first path that leads to a value that is not empty counts.
    pub paths: Cow<'static, [Cow<'static, str>]>,
    /// The value where there is none: empty, or what Go takes a missing number or truth value for.
    pub missing: &'static str,
}

impl SelectableField {
    /// Makes a field that is selected by its own path, empty where it is missing: what custom kinds have.
    #[must_use]
    pub fn at(path: impl Into<Cow<'static, str>>) -> Self {
        let path = path.into();
        Self { name: path.clone(), aliases: &[], paths: Cow::Owned(vec![path]), missing: "" }
    }

    /// Returns the value of the field in `object`, as selectors compare it: truth values as `true` and `false`, numbers
    /// in decimal.
    #[must_use]
    pub fn value<'a>(&self, object: &'a Value) -> Cow<'a, str> {
        let mut values = self.paths.iter().filter_map(|path| text_at(object, path));
        values.find(|value| !value.is_empty()).unwrap_or(Cow::Borrowed(self.missing))
    }
}

/// The text at a path of names separated by dots. Lists and maps have none.
pub(super) fn text_at<'a>(object: &'a Value, path: &str) -> Option<Cow<'a, str>> {
    match path.split('.').try_fold(object, |value, name| value.get(name))? {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Bool(truth) => Some(Cow::Borrowed(if *truth { "true" } else { "false" })),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Writes the table of one kind: `name` for a field at its own path, `name | alias` for one with an older name,
/// `name = path else path` for one elsewhere, `or` what it is where it is missing.
macro_rules! fields {
    ($($name:literal $(| $alias:literal)? $(= $path:literal $(else $other:literal)?)? $(or $missing:literal)?),+ $(,)?) => {
        &[$(SelectableField {
            name: Cow::Borrowed($name),
            aliases: &[$($alias)?],
            paths: Cow::Borrowed(fields!(@paths $name $($path $($other)?)?)),
            missing: fields!(@missing $($missing)?),
        }),+]
    };
    (@paths $name:literal) => { &[Cow::Borrowed($name)] };
    (@paths $name:literal $($path:literal)+) => { &[$(Cow::Borrowed($path)),+] };
    (@missing) => { "" };
    (@missing $missing:literal) => { $missing };
}

const POD: &[SelectableField] = fields![
    "spec.nodeName" | "spec.host",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork" or "false",
    "status.phase",
    "status.podIP",
    "status.podIPs" = "status.podIP",
    "status.nominatedNodeName",
];
const NODE: &[SelectableField] = fields!["spec.unschedulable" or "false"];
const NAMESPACE: &[SelectableField] = fields!["status.phase"];
const SECRET: &[SelectableField] = fields!["type"];
const SERVICE: &[SelectableField] = fields!["spec.clusterIP", "spec.type"];
const REPLICAS: &[SelectableField] = fields!["status.replicas" or "0"];
const JOB: &[SelectableField] = fields!["status.successful" = "status.succeeded" or "0"];
const SIGNING_REQUEST: &[SelectableField] = fields!["spec.signerName"];
const RESOURCE_SLICE: &[SelectableField] = fields!["spec.nodeName", "spec.driver"];
const CORE_EVENT: &[SelectableField] = fields![
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source" = "source.component" else "reportingComponent",
    "type",
];
/// The paths are those of the core group: its events are what is stored.
const EVENT: &[SelectableField] = fields![
    "regarding.kind" = "involvedObject.kind",
    "regarding.namespace" = "involvedObject.namespace",
    "regarding.name" = "involvedObject.name",
    "regarding.uid" = "involvedObject.uid",
    "regarding.apiVersion" = "involvedObject.apiVersion",
    "regarding.resourceVersion" = "involvedObject.resourceVersion",
    "regarding.fieldPath" = "involvedObject.fieldPath",
    "reason",
    "reportingController" = "reportingComponent",
    "type",
];

/// Returns by which fields of its own a built-in kind is selected. Name and namespace come for free.
#[must_use]
pub fn selectable_fields(group: &str, kind: &str) -> &'static [SelectableField] {
    match (group, kind) {
        ("", "Pod") => POD,
        ("", "Node") => NODE,
        ("", "Namespace") => NAMESPACE,
        ("", "Secret") => SECRET,
        ("", "Service") => SERVICE,
        ("", "Event") => CORE_EVENT,
        ("", "ReplicationController") | ("apps", "ReplicaSet") => REPLICAS,
        ("batch", "Job") => JOB,
        ("certificates.k8s.io", "CertificateSigningRequest") => SIGNING_REQUEST,
        ("events.k8s.io", "Event") => EVENT,
        ("resource.k8s.io", "ResourceSlice") => RESOURCE_SLICE,
        _ => &[],
    }
}

/// Returns whether `name` is one of the fields that nearly all kinds are selected by.
pub(super) fn is_common(group: &str, kind: &str, name: &str) -> bool {
    match name {
        "metadata.name" => true,
        // Some kinds of the cluster list their fields, and leave this one out.
        "metadata.namespace" => !matches!(
            (group, kind),
            ("", "Node" | "Namespace")
                | ("certificates.k8s.io", "CertificateSigningRequest")
                | ("resource.k8s.io", "ResourceSlice")
        ),
        _ => false,
    }
}

/// Returns how a field that the kind is not selected by is refused: kinds with fields of their own word it otherwise.
pub(super) fn refusal(group: &str, kind: &str, name: &str) -> String {
    match (group, kind) {
        ("batch", "Job") => format!("field label {} not supported for batchv1.Job", quote(name)),
        ("resource.k8s.io", "ResourceSlice") => format!("field label not supported for {kind}: {name}"),
        ("apps", "ReplicaSet") => super::only_common(name),
        _ if selectable_fields(group, kind).is_empty() => super::only_common(name),
        _ => format!("field label not supported: {name}"),
    }
}
