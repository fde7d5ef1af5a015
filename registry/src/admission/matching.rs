//! Which writes a webhook or a policy is about: rules, selectors, and the other versions of the same object.

use std::borrow::Cow;

use http::StatusCode;
use quarterdeck_core::labels::Selector;
use serde_json::{Value, json};

use super::expressions::{Checks, Evaluation, EvaluationError, Expressions, Inputs, Outcome, PER_CONDITIONS};
use super::{Attributes, Operation};
use crate::resource::{Resource, Subresource};
use crate::status::{Result, Status};
use crate::user::User;
use crate::verbs::subresources::scale_of;

/// A write as those see it who are asked about it: for some paths that is another object than the one that is stored.
#[derive(Debug, Clone)]
pub(super) struct Event<'a> {
    pub(super) attributes: &'a Attributes<'a>,
    pub(super) operation: &'static str,
    /// The object as it will be; absent for deletions.
    pub(super) object: Option<Cow<'a, Value>>,
    pub(super) old: Option<Cow<'a, Value>>,
}

impl<'a> Event<'a> {
    pub(super) fn new(attributes: &'a Attributes<'a>, object: Option<&'a Value>) -> Self {
        let operation = match attributes.operation {
            Operation::Create => "CREATE",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
        };
        let (object, old) = (object.map(Cow::Borrowed), attributes.old.map(Cow::Borrowed));
        match attributes.subresource {
            Some(Subresource::Binding) => {
                let object = object.map(|pod| Cow::Owned(binding(&pod, attributes.old)));
                Self { attributes, operation: "CREATE", object, old: None }
            }
            Some(Subresource::Scale) => {
                let show = |object: Cow<'a, Value>| Cow::Owned(scale_of(attributes.resource, &object));
                Self { attributes, operation, object: object.map(show), old: old.map(show) }
            }
            _ => Self { attributes, operation, object, old },
        }
    }

    /// Whether what is written is the stored object, in its own version.
    pub(super) fn is_stored_object(&self) -> bool {
        self.attributes.subresource.and_then(Subresource::kind).is_none()
    }

    /// The namespace; a namespace lies in itself.
    pub(super) fn namespace(&self) -> Option<&'a str> {
        let is_namespace = self.is_namespace();
        self.attributes
            .namespace
            .or_else(|| is_namespace.then_some(self.attributes.name))
            .filter(|it| !it.is_empty())
    }

    /// The name; empty while the server has still to make one up.
    pub(super) fn name(&self) -> &str {
        match &self.object {
            Some(object) if self.operation == "CREATE" => {
                object["metadata"]["name"].as_str().unwrap_or_default()
            }
            _ => self.attributes.name,
        }
    }

    pub(super) fn subresource(&self) -> &'static str {
        self.attributes.subresource.map_or("", Subresource::name)
    }

    fn is_namespace(&self) -> bool {
        let resource = self.attributes.resource;
        resource.group.is_empty() && resource.plural == "namespaces"
    }

    /// The object, and the one before, as another version shows them.
    pub(super) fn seen_as(&self, version: &Resource) -> (Option<Value>, Option<Value>) {
        let resource = self.attributes.resource;
        let show = |value: &Value| {
            if !self.is_stored_object() || is_same(version, resource) {
                return value.clone();
            }
            if resource.custom.is_none() {
                return version.converted_from(resource, value);
            }
            // Versions of a custom kind differ in their names; what one does not know is not lost on the way.
            let mut value = value.clone();
            value["apiVersion"] = version.api_version().into();
            value
        };
        (self.object.as_deref().map(show), self.old.as_deref().map(show))
    }

    /// The namespace's object, if the write is in one.
    pub(super) fn namespace_object(&self) -> Result<Option<Value>> {
        let Some(namespace) = self.namespace().filter(|_| !self.is_namespace()) else { return Ok(None) };
        let found = namespace_of(self.attributes, namespace)?;
        let mut object = found.into_owned();
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("managedFields");
            metadata.remove("ownerReferences");
        }
        Ok(Some(object))
    }

    /// What is asked, as `AdmissionReview` and expressions tell it, without the objects.
    pub(super) fn request(&self, version: &Resource) -> Value {
        let attributes = self.attributes;
        let mut request = json!({
            "kind": kind(version, attributes.subresource), "resource": place(version),
            "requestKind": kind(attributes.resource, attributes.subresource),
            "requestResource": place(attributes.resource),
            "operation": self.operation, "userInfo": user_info(attributes.user), "dryRun": attributes.dry_run,
            "options": options(self.operation, attributes.dry_run),
        });
        let texts = [
            ("subResource", self.subresource()),
            ("requestSubResource", self.subresource()),
            ("name", self.name()),
            ("namespace", self.namespace().unwrap_or_default()),
        ];
        for (name, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
            request[name] = text.into();
        }
        request
    }
}

/// The Binding that a pod that is being assigned came of, with those of its annotations that the pod did not have before.
fn binding(pod: &Value, before: Option<&Value>) -> Value {
    let metadata = &pod["metadata"];
    let mut binding = json!({
        "kind": "Binding", "apiVersion": "v1",
        "metadata": {"name": metadata["name"], "namespace": metadata["namespace"]},
        "target": {"kind": "Node", "name": pod["spec"]["nodeName"]},
    });
    let had = before.map(|before| &before["metadata"]["annotations"]);
    for (key, value) in metadata["annotations"].as_object().into_iter().flatten() {
        if had.is_none_or(|had| had[key] != *value) {
            binding["metadata"]["annotations"][key] = value.clone();
        }
    }
    binding
}

fn kind(resource: &Resource, subresource: Option<Subresource>) -> Value {
    let own = (&*resource.group, &*resource.version, &*resource.kind);
    let (group, version, kind) = subresource.and_then(Subresource::kind).unwrap_or(own);
    json!({"group": group, "version": version, "kind": kind})
}

fn place(resource: &Resource) -> Value {
    json!({"group": resource.group, "version": resource.version, "resource": resource.plural})
}

fn user_info(user: &User) -> Value {
    let mut info = json!({"username": user.name});
    if !user.uid.is_empty() {
        info["uid"] = user.uid.as_str().into();
    }
    if !user.groups.is_empty() {
        info["groups"] = user.groups.clone().into();
    }
    if !user.extra.is_empty() {
        info["extra"] = json!(*user.extra);
    }
    info
}

fn options(operation: &str, dry_run: bool) -> Value {
    let kind = match operation {
        "CREATE" => "CreateOptions",
        "UPDATE" => "UpdateOptions",
        _ => "DeleteOptions",
    };
    let mut options = json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"});
    if dry_run {
        options["dryRun"] = json!(["All"]);
    }
    options
}

/// Whether these are the same version of the same kind.
pub(super) fn is_same(one: &Resource, other: &Resource) -> bool {
    (&one.group, &one.version, &one.plural) == (&other.group, &other.version, &other.plural)
}

fn strings(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// Whether a rule is about a write, if its object is of this version.
pub(super) fn rule_matches(rule: &Value, event: &Event<'_>, version: &Resource) -> bool {
    let any = |name: &str, wanted: &str| strings(&rule[name]).any(|item| item == "*" || item == wanted);
    let has_namespace = event.namespace().is_some() && !event.is_namespace();
    let in_scope = match rule["scope"].as_str().unwrap_or("*") {
        "*" => true,
        "Namespaced" => has_namespace,
        "Cluster" => !has_namespace,
        _ => false,
    };
    let names_resource = || {
        strings(&rule["resources"]).any(|resource| {
            let (plural, part) = resource.split_once('/').unwrap_or((resource, ""));
            (plural == "*" || plural == version.plural) && (part == "*" || part == event.subresource())
        })
    };
    in_scope
        && any("operations", event.operation)
        && any("apiGroups", &version.group)
        && any("apiVersions", &version.version)
        && names_resource()
}

/// Returns in which version somebody with these rules wants to see a write; absent if the rules are not about it.
pub(super) fn version_for<'a>(
    event: &Event<'a>,
    rules: &Value,
    equivalent: bool,
    fits: impl Fn(&Value) -> bool,
) -> Option<&'a Resource> {
    let own = event.attributes.resource;
    let rules = || rules.as_array().into_iter().flatten();
    if rules().any(|rule| rule_matches(rule, event, own) && fits(rule)) {
        return Some(own);
    }
    if !equivalent || !event.is_stored_object() {
        return None;
    }
    let others = event.attributes.world.resources().all().iter().filter(|other| {
        other.prefix == own.prefix
            && !is_same(other, own)
            && event.attributes.subresource.is_none_or(|subresource| other.has(subresource))
    });
    let others: Vec<&'a Resource> = others.map(AsRef::as_ref).collect();
    rules()
        .find_map(|rule| others.iter().copied().find(|other| rule_matches(rule, event, other) && fits(rule)))
}

/// Refuses a write that somebody wants to see in a version that only a webhook could make of it: not to ask would let it
/// through unseen.
pub(super) fn refuse_unconverted(event: &Event<'_>, version: &Resource) -> Result<()> {
    let own = event.attributes.resource;
    if own.webhook().is_none() || is_same(version, own) {
        return Ok(());
    }
    Err(Status::internal(format!(
        "admission asks about {} in version {}, and objects of version {} are not converted for it: name all versions in \
         its rules",
        own.qualified_plural(),
        version.version,
        own.version
    )))
}

/// Whether a selector chooses everything: an absent one does, too.
fn selector(value: &Value) -> Result<Option<Selector>> {
    if value.is_null() {
        return Ok(None);
    }
    let selector =
        Selector::from_label_selector(Some(value)).map_err(|error| Status::internal(error.to_string()))?;
    Ok(Some(selector).filter(|selector| !selector.is_everything()))
}

/// Whether a selector of namespaces chooses a write.
///
/// # Errors
///
/// A Status if the namespace is not there: only those get it whom the write concerns otherwise.
pub(super) fn in_namespace(event: &Event<'_>, value: &Value) -> Result<bool> {
    let Some(namespace) = event.namespace() else { return Ok(true) };
    let Some(selector) = selector(value)? else { return Ok(true) };
    if let Some(object) =
        event.object.as_deref().filter(|_| event.is_namespace() && event.subresource().is_empty())
    {
        return Ok(selector.matches_object(object));
    }
    Ok(selector.matches_object(&*namespace_of(event.attributes, namespace)?))
}

fn namespace_of<'a>(attributes: &'a Attributes<'_>, name: &str) -> Result<Cow<'a, Value>> {
    if let Some(namespace) = attributes.world.get(&format!("/registry/namespaces/{name}")) {
        return Ok(Cow::Borrowed(namespace.parsed()));
    }
    match attributes.world.resources().get("", "v1", "namespaces") {
        Some(namespaces) => Err(Status::not_found(namespaces, name)),
        // Without the kind, a namespace is a name.
        None => Ok(Cow::Owned(
            json!({"metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}}}),
        )),
    }
}

/// Whether a selector of objects chooses a write: by the object as it will be, or as it was.
pub(super) fn selects_object(event: &Event<'_>, value: &Value) -> Result<bool> {
    let Some(selector) = selector(value)? else { return Ok(true) };
    let objects = event.object.as_deref().into_iter().chain(event.old.as_deref());
    Ok(objects.into_iter().any(|object| selector.matches_object(object)))
}

/// The values that expressions about a write know, but for parameters.
pub(super) fn inputs(event: &Event<'_>, version: &Resource) -> Inputs {
    let (object, old) = event.seen_as(version);
    let inputs = Inputs::default().with("object", object).with("oldObject", old);
    inputs.with("request", Some(event.request(version)))
}

/// Whether all conditions hold; if some fail and none is false, it is for the failure policy.
///
/// # Errors
///
/// What went wrong, if failures count.
pub(super) fn conditions_hold(
    conditions: &Value,
    fails: bool,
    evaluate: &mut Evaluator<'_>,
) -> std::result::Result<bool, String> {
    let mut errors = Vec::new();
    for condition in conditions.as_array().into_iter().flatten() {
        match evaluate(condition["expression"].as_str().unwrap_or_default().trim()) {
            Ok(Outcome::Bool(true)) => {}
            Ok(Outcome::Bool(false)) => return Ok(false),
            // As upstream: what is neither is no reason not to ask.
            Ok(_) => {}
            Err(error @ EvaluationError::Failed(_)) => errors.push(error.to_string()),
            Err(error @ EvaluationError::Exhausted) => {
                return if fails { Err(error.to_string()) } else { Ok(false) };
            }
        }
    }
    match errors.as_slice() {
        [] => Ok(true),
        _ if !fails => Ok(false),
        [one] => Err(one.clone()),
        several => Err(format!("[{}]", several.join(", "))),
    }
}

/// What evaluates an expression.
pub(super) type Evaluator<'e> = dyn FnMut(&str) -> std::result::Result<Outcome, EvaluationError> + 'e;

/// As [`conditions_hold`], with a budget of their own and no variables beside the inputs.
///
/// # Errors
///
/// What went wrong, if failures count.
pub(super) fn conditions_hold_for(
    conditions: &Value,
    fails: bool,
    expressions: &Expressions,
    inputs: &Inputs,
    checks: &Checks,
) -> std::result::Result<bool, String> {
    let mut evaluation = Evaluation::new(expressions, inputs, checks, PER_CONDITIONS);
    conditions_hold(conditions, fails, &mut |text| evaluation.evaluate(text))
}

/// Refuses a write in the way of admission: 403, unless told otherwise.
pub(super) fn forbidden(event: &Event<'_>, why: impl std::fmt::Display) -> Status {
    let name = match event.attributes.name {
        "" => "Unknown",
        name => name,
    };
    Status::forbidden_object(event.attributes.resource, name, why)
}

/// The time ran out.
pub(super) fn timed_out() -> Status {
    let message = "Timeout: request did not complete within requested timeout";
    Status::new(StatusCode::GATEWAY_TIMEOUT, "Timeout", message)
}
