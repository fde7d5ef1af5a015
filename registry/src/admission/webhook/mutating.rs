//! Webhooks that change what is written.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::refusal::Failure;
use super::{Caller, Hook, PATIENCE, concerns, failed, passed_over};
use crate::admission::matching::{Event, is_same, timed_out};
use crate::admission::{Admission, Attributes, Operation};
use crate::figures::Sort;
use crate::layers::authorization::Authorization;
use crate::resource::{Resource, Subresource};
use crate::schema;
use crate::status::{Result, Status};
use crate::verbs::json_patch;
use crate::verbs::subresources::set_replicas;

const PREFIX: &str = "/registry/mutatingwebhookconfigurations/";

/// Upstream's `MutatingAdmissionWebhook`: asks the webhooks of `MutatingWebhookConfiguration`s, one after the other.
///
/// When one has changed the object, the admission before is asked once more, and so are webhooks with the reinvocation policy
/// `IfNeeded` whose work was changed.
#[derive(Debug)]
pub struct MutatingWebhooks {
    caller: Arc<Caller>,
    before: Vec<Arc<dyn Admission>>,
}

/// Which webhooks are asked once more.
#[derive(Debug, Default)]
struct Again {
    /// Those that want to be, if somebody else changes the object.
    asked: BTreeSet<usize>,
    due: BTreeSet<usize>,
}

/// What became of a webhook's call.
enum Outcome {
    NotAsked,
    Unchanged,
    Changed(Value),
}

impl Again {
    fn object_changed(&mut self) {
        self.due.append(&mut self.asked);
    }
}

impl MutatingWebhooks {
    pub(super) fn new(caller: Arc<Caller>, before: Vec<Arc<dyn Admission>>) -> Self {
        Self { caller, before }
    }

    /// Asks all webhooks. Returns whether one has changed the object.
    async fn round(
        &self,
        attributes: &Attributes<'_>,
        object: &mut Option<Value>,
        round: usize,
        again: &mut Again,
        until: Instant,
    ) -> Result<bool> {
        let mut any = false;
        for hook in Hook::all(attributes, PREFIX) {
            match self.call(hook, attributes, object.as_ref(), round, again, until).await? {
                Outcome::NotAsked => continue,
                Outcome::Unchanged => {}
                Outcome::Changed(patched) => {
                    any = true;
                    again.object_changed();
                    *object = Some(patched);
                }
            }
            if hook.value["reinvocationPolicy"] == "IfNeeded" {
                again.asked.insert(hook.index);
            }
        }
        Ok(any)
    }

    /// Asks one webhook, if it is to be asked.
    async fn call(
        &self,
        hook: Hook<'_>,
        attributes: &Attributes<'_>,
        object: Option<&Value>,
        round: usize,
        again: &mut Again,
        until: Instant,
    ) -> Result<Outcome> {
        let event = Event::new(attributes, object);
        let Some(version) = hook.version(&event, &self.caller).await? else {
            return Ok(Outcome::NotAsked);
        };
        // Who was not asked before is not asked now either.
        if round > 0 && !again.due.remove(&hook.index) {
            return Ok(Outcome::NotAsked);
        }
        let (seen, old) = event.seen_as(version);
        let began = Instant::now();
        let answer = self.caller.ask(hook, &event, version, (&seen, &old), until, true).await;
        let outcome = match answer {
            Ok(answer) => change(hook, &event, version, (object, seen), answer.into_patch()),
            Err(failure) => Err(failure),
        };
        self.caller.count((Sort::Mutating, hook), &event, &outcome, began);
        let changed = matches!(&outcome, Ok(Some(_)));
        annotate(hook, attributes, round, changed);
        match outcome {
            Ok(patched) => Ok(patched.map_or(Outcome::Unchanged, Outcome::Changed)),
            Err(Failure::Refused(status) | Failure::Internal(status)) => Err(status),
            Err(Failure::Calling(_)) if hook.is_lenient() && Instant::now() >= until => Err(timed_out()),
            Err(Failure::Calling(why)) if hook.is_lenient() => {
                passed_over(hook, &why, &event, "mutation", round);
                Ok(Outcome::Unchanged)
            }
            Err(Failure::Calling(why)) => Err(failed(hook, &why)),
        }
    }
}

/// Tells the audit log what became of a call.
fn annotate(hook: Hook<'_>, attributes: &Attributes<'_>, round: usize, changed: bool) {
    let text = |text: &str| Value::from(text).to_string();
    attributes.annotate(
        format!("mutation.webhook.admission.k8s.io/round_{round}_index_{}", hook.index),
        format!(
            "{{\"configuration\":{},\"webhook\":{},\"mutated\":{changed}}}",
            text(hook.configuration),
            text(hook.name())
        ),
    );
}

/// Applies a webhook's patch to what it has seen of an object. Returns the object if it is another than before.
fn change(
    hook: Hook<'_>,
    event: &Event<'_>,
    version: &Resource,
    (object, seen): (Option<&Value>, Option<Value>),
    patch: Vec<json_patch::Operation>,
) -> std::result::Result<Option<Value>, Failure> {
    if patch.is_empty() {
        return Ok(None);
    }
    let refuse = |why: String| Failure::Internal(Status::internal(why));
    let is_binding = event.attributes.subresource == Some(Subresource::Binding);
    let (Some(before), Some(seen)) = (object, seen.filter(|_| !is_binding)) else {
        return Err(refuse(format!(
            "admission webhook \"{}\" attempted to modify the object, which is not supported for this operation",
            hook.name()
        )));
    };
    let patched = json_patch::apply(&seen, &patch).map_err(|status| refuse(status.message))?;
    let own = event.attributes.resource;
    if let Some((group, version, kind)) = event.attributes.subresource.and_then(Subresource::kind) {
        let structure = schema::builtin(group, version, kind).expect("the tables have what is served");
        let decoded = schema::decode_value(structure, patched).map_err(|error| refuse(error.to_string()))?;
        let mut changed = decoded.value;
        if kind == "Scale" {
            let replicas = changed["spec"]["replicas"].as_i64().unwrap_or_default();
            changed = before.clone();
            set_replicas(own, &mut changed, replicas);
        }
        return Ok((changed != *before).then_some(changed));
    }
    // What the versions of a custom kind do not have in common is there too, and known to the one that is written.
    let structure = if own.custom.is_some() { &own.structure } else { &version.structure };
    let decoded = schema::decode_value(structure, patched).map_err(|error| refuse(error.to_string()))?;
    let mut patched = decoded.value;
    schema::apply_defaults(structure, &mut patched);
    patched["kind"] = version.kind.as_ref().into();
    patched["apiVersion"] = version.api_version().into();
    if patched == seen {
        return Ok(None);
    }
    if own.custom.is_some() {
        patched["apiVersion"] = own.api_version().into();
    } else if !is_same(version, own) {
        patched = own.converted_from(version, &patched);
    }
    restore(&mut patched, before, event.attributes);
    Ok(Some(patched))
}

/// What of an object's metadata is the server's, or what the object is known by.
const FIXED: [&str; 8] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "namespace",
    "resourceVersion",
    "uid",
];

/// Puts back what no webhook may change, as the write itself may not.
fn restore(object: &mut Value, before: &Value, attributes: &Attributes<'_>) {
    let is_update = attributes.operation == Operation::Update;
    let resource = attributes.resource;
    if let Some(subresource) = attributes.subresource {
        let (status, metadata) = (object["status"].take(), object["metadata"].take());
        *object = before.clone();
        if matches!(subresource, Subresource::Status | Subresource::Approval) {
            put(object, "status", status);
        }
        if resource.custom.is_none() {
            put(object, "metadata", metadata);
        }
    } else if is_update && resource.has(Subresource::Status) {
        put(object, "status", before["status"].clone());
    }
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    let fixed = FIXED.into_iter().chain(is_update.then_some("name"));
    for name in fixed {
        put(&mut object["metadata"], name, before["metadata"][name].clone());
    }
}

/// Sets a member, or takes it away if it is null.
fn put(object: &mut Value, name: &str, value: Value) {
    let Some(members) = object.as_object_mut() else { return };
    match value {
        Value::Null => drop(members.remove(name)),
        value => drop(members.insert(name.to_owned(), value)),
    }
}

#[async_trait]
impl Admission for MutatingWebhooks {
    fn start(&self, authorization: &Authorization) {
        let _ = self.caller.authorization.set(authorization.clone());
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        concerns(attributes, PREFIX)
    }

    async fn mutate(&self, attributes: &Attributes<'_>, object: &mut Value) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        let mut again = Again::default();
        let mut present = Some(std::mem::take(object));
        let changed = self.round(attributes, &mut present, 0, &mut again, until).await?;
        *object = present.take().unwrap_or_default();
        if !changed {
            return Ok(());
        }
        let before = object.clone();
        for admission in self.before.iter().filter(|admission| admission.handles(attributes)) {
            admission.mutate(attributes, object).await?;
        }
        if *object != before {
            again.object_changed();
        }
        present = Some(std::mem::take(object));
        self.round(attributes, &mut present, 1, &mut again, until).await?;
        *object = present.unwrap_or_default();
        Ok(())
    }

    /// Deletions have nothing to change, but webhooks that refuse them.
    async fn validate(&self, attributes: &Attributes<'_>, _object: Option<&Value>) -> Result<()> {
        if attributes.operation != Operation::Delete {
            return Ok(());
        }
        let until = Instant::now() + PATIENCE;
        self.round(attributes, &mut None, 0, &mut Again::default(), until).await.map(|_| ())
    }
}
