//! How a definition goes: its names are accepted, its kind is established, and when it is deleted its objects go first.
//!
//! [`Lifecycle`] is one task of the server. It follows the definitions through the watch cache and writes through the
//! registry, as any client would; what follows from a definition that is established, the cache does by itself. Several
//! servers of one store may do this at once: each decides the same, and of two writes one conflicts.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use quarterdeck_core::component::Stop;
use quarterdeck_core::storage::{Entry, Expect, Key, List, Transaction};
use serde_json::{Value, json};

use super::names;
use crate::admission::Operation;
use crate::cache::{Read, World};
use crate::object::Object;
use crate::registry::Registry;
use crate::resource::{Resource, Subresource};
use crate::status::Result;
use crate::user::User;
use crate::validation::{Approval, approval, is_protected};
use crate::write::{Change, DeleteOptions, Target};

/// What the keys of definitions begin with.
pub(crate) const PREFIX: &str = "/registry/apiextensions.k8s.io/customresourcedefinitions/";
/// Holds a definition that is being deleted until its objects are gone.
pub(crate) const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";
/// How long a write that failed waits to be tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// How many changes of definitions are looked at together.
const BATCH: usize = 256;

/// Returns the name of the version that a definition stores objects in.
pub(crate) fn storage_version(definition: &Value) -> Option<Value> {
    let versions = definition["spec"]["versions"].as_array()?;
    versions.iter().find(|version| version["storage"] == true).map(|version| version["name"].clone())
}

/// Sets a condition in an object's status. The time of its last transition changes with its status only.
pub(crate) fn set_condition(
    object: &mut Value,
    kind: &str,
    holds: bool,
    reason: &str,
    message: &str,
    now: &Value,
) {
    let status = if holds { "True" } else { "False" };
    let condition = json!({
        "type": kind, "status": status, "lastTransitionTime": now, "reason": reason, "message": message,
    });
    let conditions = &mut object["status"]["conditions"];
    let Some(conditions) = conditions.as_array_mut() else {
        *conditions = json!([condition]);
        return;
    };
    match conditions.iter_mut().find(|known| known["type"] == kind) {
        None => conditions.push(condition),
        Some(known) => {
            let since =
                if known["status"] == status { known["lastTransitionTime"].take() } else { now.clone() };
            *known = condition;
            known["lastTransitionTime"] = since;
        }
    }
}

/// Follows the definitions of a server.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    registry: Arc<Registry>,
    user: User,
    /// The definitions to look at.
    waiting: BTreeSet<String>,
    /// The definitions that are being deleted.
    ending: BTreeSet<String>,
}

impl Lifecycle {
    pub(crate) fn new(registry: Arc<Registry>) -> Self {
        let user = User {
            name: "system:apiserver".into(),
            groups: vec!["system:masters".into()],
            ..User::default()
        };
        Self { registry, user, waiting: BTreeSet::new(), ending: BTreeSet::new() }
    }

    /// Follows the definitions until it is time to stop. Ends at once if the server has none.
    pub(crate) async fn run(mut self, mut stop: Stop) {
        let resources = self.registry.resources();
        let Some(kind) = resources.get("apiextensions.k8s.io", "v1", "customresourcedefinitions") else {
            return;
        };
        let mut published = self.registry.cache.published();
        let mut defined = self.registry.cache.defined();
        let mut position = None;
        loop {
            let _seen = (*defined.borrow_and_update(), *published.borrow_and_update());
            let world = self.registry.cache.world();
            let log = self.registry.cache.log(kind);
            let mut is_more = false;
            let read = position.and_then(|position| Some(log.as_ref()?.next(position, BATCH, usize::MAX)));
            match read {
                Some(Read::Events(mut events, next)) => {
                    // While commits are applied, the log is ahead of the world. What it tells of them is looked at with the next world.
                    let shown = events.partition_point(|event| event.object.revision <= world.revision);
                    position = match events.len() - shown {
                        0 => Some(next),
                        _ => log.as_ref().and_then(|log| log.after(world.revision).ok()),
                    };
                    is_more = shown == BATCH;
                    events.truncate(shown);
                    self.waiting.extend(events.iter().map(|event| event.object.header.name.to_string()));
                    for event in events.iter().filter(|event| event.previous.is_some()) {
                        self.reconsider_group(&world, &event.object.value()["spec"]["group"]);
                    }
                }
                Some(Read::Lost) | None => {
                    position = log.as_ref().and_then(|log| log.after(world.revision).ok());
                    let all =
                        world.range(PREFIX, None).map(|(_, definition)| definition.header.name.to_string());
                    self.waiting.extend(all);
                }
            }
            let done = self.work(kind, &world).await;
            let wait = async {
                match (done, self.ending.is_empty()) {
                    (true, _) if is_more => {}
                    (false, _) => tokio::time::sleep(PAUSE).await,
                    (true, true) => drop(defined.changed().await),
                    // Whatever is deleted may be the last object that a definition waits for.
                    (true, false) => drop(published.changed().await),
                }
            };
            if stop.or(wait).await.is_none() {
                return;
            }
        }
    }

    /// Looks at definitions whose names may be free now.
    fn reconsider_group(&mut self, world: &World, group: &Value) {
        for (_, definition) in world.range(PREFIX, None) {
            let value = definition.value();
            if value["spec"]["group"] == *group && value["spec"]["names"] != value["status"]["acceptedNames"]
            {
                self.waiting.insert(definition.header.name.to_string());
            }
        }
    }

    /// Does what there is to do. Returns whether all of it succeeded.
    async fn work(&mut self, kind: &Arc<Resource>, world: &World) -> bool {
        let mut done = true;
        for name in std::mem::take(&mut self.waiting) {
            let outcome = self.settle(kind, world, &name).await;
            done &= self.note(&name, outcome);
        }
        for name in std::mem::take(&mut self.ending) {
            let outcome = self.tear_down(kind, &name).await;
            if !matches!(outcome, Ok(true)) {
                self.ending.insert(name.clone());
            }
            done &= self.note(&name, outcome.map(|_| ()));
        }
        done
    }

    /// Returns whether a write succeeded, or failed because the definition changed: then there is news of it to come.
    fn note(&mut self, name: &str, outcome: Result<()>) -> bool {
        match outcome {
            Err(status) if matches!(status.code, StatusCode::CONFLICT | StatusCode::NOT_FOUND) => true,
            Err(status) => {
                tracing::warn!(definition = name, error = %status, "the definition waits to be looked at again");
                self.waiting.insert(name.to_owned());
                false
            }
            Ok(()) => true,
        }
    }

    fn target<'a>(
        &'a self,
        kind: &'a Arc<Resource>,
        name: &'a str,
        subresource: Option<Subresource>,
    ) -> Target<'a> {
        Target { subresource, ..Target::unasked(kind, None, name, &self.user) }
    }

    /// Accepts names and establishes the kind.
    async fn settle(&mut self, kind: &Arc<Resource>, world: &World, name: &str) -> Result<()> {
        let Some(definition) = world.get(&format!("{PREFIX}{name}")) else { return Ok(()) };
        let present = definition.value();
        if !present["metadata"]["deletionTimestamp"].is_null() {
            self.ending.insert(name.to_owned());
        }
        let now = crate::write::metadata::seconds(self.registry.clock.now());
        let mut settled = present.clone();
        names::accept(&mut settled, world, &now);
        set_approval(&mut settled, &now);
        if settled["status"] == present["status"] {
            return Ok(());
        }
        let target = self.target(kind, name, Some(Subresource::Status));
        self.registry.update(&target, &Set(settled)).await.map(|_| ())
    }

    /// Deletes the objects of a definition that is being deleted, and lets it go when none is left. Returns whether it went.
    async fn tear_down(&self, kind: &Arc<Resource>, name: &str) -> Result<bool> {
        let world = self.registry.latest().await?;
        let Some(definition) = world.get(&format!("{PREFIX}{name}")) else { return Ok(true) };
        let definition = definition.value();
        let finalizers = definition["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
        if !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
            return Ok(true);
        }
        let mut definition = definition;
        if begin_deletion(&mut definition, &crate::write::metadata::seconds(self.registry.clock.now())) {
            let target = self.target(kind, name, Some(Subresource::Status));
            definition = self.registry.update(&target, &Set(definition)).await?.value;
        }
        if let Some(resource) = world.defined(&format!("{PREFIX}{name}"))
            && !self.delete_all(resource, &world).await?
        {
            return Ok(false);
        }
        let mut left = definition;
        let others: Vec<Value> = finalizers.into_iter().filter(|finalizer| finalizer != FINALIZER).collect();
        left["metadata"]["finalizers"] = others.into();
        self.registry.update(&self.target(kind, name, None), &Set(left)).await?;
        Ok(true)
    }

    /// Deletes all objects of a kind. Returns whether none is left.
    async fn delete_all(&self, resource: &Arc<Resource>, world: &World) -> Result<bool> {
        let mut is_empty = true;
        for (_, object) in
            world.range(&resource.prefix, None).filter(|(key, object)| fits(resource, key, object))
        {
            is_empty = false;
            let value = object.value();
            if !value["metadata"]["deletionTimestamp"].is_null() {
                continue;
            }
            let (namespace, name) = (namespace(object), &*object.header.name);
            let target = Target::unasked(resource, namespace, name, &self.user);
            match self.registry.delete(&target, &DeleteOptions::default()).await {
                Err(status) if status.code != StatusCode::NOT_FOUND => return Err(status),
                _ => {}
            }
        }
        Ok(is_empty && self.sweep(resource).await?)
    }

    /// Deletes what the store holds of a kind and no request reaches: what is no object, and what was written when the
    /// kind had another scope. Returns whether the store held nothing at all.
    async fn sweep(&self, resource: &Arc<Resource>) -> Result<bool> {
        let page = self.registry.storage.list(List::prefix(&*resource.prefix).limit(BATCH)).await?;
        let is_empty = page.entries.is_empty();
        for Entry { key, value, modified, .. } in page.entries {
            let object = Object::load(resource, &key, value, modified);
            // The cache is about to show an object that fits.
            if !object.is_ok_and(|object| fits(resource, &key, &object)) {
                let only = Transaction::new().expect(key.clone(), Expect::Modified(modified)).delete(key);
                self.registry.store(only, (resource, Operation::Delete)).await?;
            }
        }
        Ok(is_empty)
    }
}

/// Says of a definition that its objects are being deleted. Returns whether it did not say so yet.
fn begin_deletion(definition: &mut Value, now: &Value) -> bool {
    const REASON: &str = "InstanceDeletionInProgress";
    let conditions = definition["status"]["conditions"].as_array().into_iter().flatten();
    if conditions
        .into_iter()
        .any(|condition| condition["type"] == "Terminating" && condition["reason"] == REASON)
    {
        return false;
    }
    set_condition(definition, "Terminating", true, REASON, "CustomResource deletion is in progress", now);
    true
}

/// The namespace that an object says it is in.
fn namespace(object: &Object) -> Option<&str> {
    Some(&*object.header.namespace).filter(|namespace| !namespace.is_empty())
}

/// Whether an object is where requests look for it.
fn fits(resource: &Resource, key: &Key, object: &Object) -> bool {
    let namespace = namespace(object);
    namespace.is_some() == resource.is_namespaced() && resource.key(namespace, &object.header.name) == *key
}

/// Says of an API of the community whether it is approved.
fn set_approval(definition: &mut Value, now: &Value) {
    const CONDITION: &str = "KubernetesAPIApprovalPolicyConformant";
    if !is_protected(definition["spec"]["group"].as_str().unwrap_or_default()) {
        return;
    }
    let (state, message) = approval(definition);
    let (holds, reason) = match state {
        Approval::Approved => (true, "ApprovedAnnotation"),
        Approval::Bypassed => (false, "UnapprovedAnnotation"),
        Approval::Missing => (false, "MissingAnnotation"),
        Approval::Invalid => (false, "InvalidAnnotation"),
    };
    set_condition(definition, CONDITION, holds, reason, &message, now);
}

/// Sets an object to this, if it is still what this was made of.
struct Set(Value);

impl Change for Set {
    fn apply(&self, _present: &Value) -> Result<Value> {
        Ok(self.0.clone())
    }

    fn replacement(&self) -> Option<&Value> {
        Some(&self.0)
    }
}
