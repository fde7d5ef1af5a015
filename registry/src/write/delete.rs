//! Deleting an object.

use jiff::{SignedDuration, Timestamp};
use quarterdeck_core::clock::later;
use quarterdeck_core::storage::{Expect, Key, Transaction};
use serde_json::Value;

use super::update::Present;
use super::{ATTEMPTS, Failure, Target, contention, failure, has_finalizers, metadata};
use crate::admission::Operation;
use crate::object::Object;
use crate::registry::Registry;
use crate::resource::Resource;
use crate::status::{Result, Status};
use crate::strategy::{Claims, Deletion, Strategy};

/// What happens to an object's dependents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// They are deleted after it.
    Background,
    /// It stays until they are deleted.
    Foreground,
    /// They stay, without an owner.
    Orphan,
}

/// What must hold for a deletion.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Preconditions {
    /// The object has this uid.
    pub uid: Option<String>,
    /// The object has this resourceVersion.
    pub resource_version: Option<String>,
}

/// How to delete.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct DeleteOptions {
    /// For how many seconds the object may go on; the kind's default if absent.
    pub grace_period_seconds: Option<i64>,
    /// What happens to dependents; what the object's finalizers say if absent.
    pub propagation: Option<Propagation>,
    /// What must hold.
    pub preconditions: Preconditions,
}

/// What became of an object.
#[derive(Debug, Clone)]
pub enum Deleted {
    /// It is gone; its uid.
    Gone {
        /// The uid that it had.
        uid: String,
    },
    /// It is gone, and its kind answers deletions with the object; how it was last.
    Last(Value),
    /// It stays for a while, marked as being deleted; how it is.
    Marked(Value),
}

impl Registry {
    /// Deletes an object, or marks it as being deleted.
    ///
    /// # Errors
    ///
    /// The Status that the client gets.
    pub async fn delete(&self, target: &Target<'_>, options: &DeleteOptions) -> Result<Deleted> {
        let resource = target.resource;
        let key = resource.key(target.namespace, target.name);
        for _ in 0..ATTEMPTS {
            let Some(Present { object, value }) = self.present(target, &key).await? else {
                return Err(Status::not_found(resource, target.name));
            };
            let deletable = resource.strategy.check_delete(target.name);
            deletable.map_err(|why| Status::forbidden_object(resource, target.name, why))?;
            check_preconditions(&value, target, &options.preconditions)?;
            let world = self.cache.world();
            let context = self.strategy_context(target.user, &world, 0);
            let attributes = target.attributes(Operation::Delete, target.name, Some(&value), &context);
            self.handlers(&attributes).validate(&attributes, None).await?;
            match self.try_delete(target, &key, &object, value, options).await {
                Ok(deleted) => return Ok(deleted),
                Err(Failure::Refused(status)) => return Err(status),
                Err(Failure::Contended | Failure::Again) => {}
            }
        }
        Err(contention())
    }

    async fn try_delete(
        &self,
        target: &Target<'_>,
        key: &Key,
        object: &Object,
        value: Value,
        options: &DeleteOptions,
    ) -> std::result::Result<Deleted, Failure> {
        let strategy = &target.resource.strategy;
        let mut marked = value.clone();
        if strategy.may_own() {
            set_finalizers(
                &mut marked,
                options.propagation.or_else(|| default_propagation(&value, strategy.as_ref())),
            );
        }
        let deletion = strategy.deletion(&marked, options.grace_period_seconds);
        let seconds = match deletion {
            Deletion::Immediate => 0,
            Deletion::Graceful { seconds } => seconds,
        };
        let stays = has_finalizers(&marked) || seconds > 0 || strategy.outlives_finalizers(&marked);
        if stays {
            mark(&mut marked, seconds, self.clock.now());
            strategy.prepare_for_delete(&mut marked);
            return self.commit_mark(target, key, object, &value, marked).await;
        }
        if target.dry_run {
            return Ok(gone(target.resource, deletion, object, value));
        }
        let revision = self.remove(target, key, object, &value).await?;
        let mut last = value;
        if deletion != Deletion::Immediate {
            mark(&mut last, 0, self.clock.now());
        }
        metadata::of(&mut last).insert("resourceVersion".into(), revision.to_string().into());
        Ok(gone(target.resource, deletion, object, last))
    }

    async fn commit_mark(
        &self,
        target: &Target<'_>,
        key: &Key,
        object: &Object,
        value: &Value,
        mut marked: Value,
    ) -> std::result::Result<Deleted, Failure> {
        if target.dry_run || marked == *value {
            return Ok(Deleted::Marked(marked));
        }
        let draft = self.draft(target.resource, &mut marked).await.map_err(Failure::Refused)?;
        let transaction = Transaction::new()
            .expect(key.clone(), Expect::Modified(object.revision))
            .put(key.clone(), draft.bytes().clone());
        match self.commit(transaction, draft, (target.resource, Operation::Update)).await {
            Ok(stored) => {
                metadata::of(&mut marked)
                    .insert("resourceVersion".into(), stored.revision.to_string().into());
                Ok(Deleted::Marked(marked))
            }
            Err(error) => Err(failure(error, key, &Claims::default(), target, target.name)),
        }
    }
}

fn gone(resource: &Resource, deletion: Deletion, object: &Object, last: Value) -> Deleted {
    match deletion {
        Deletion::Immediate if resource.answers_with_deleted => Deleted::Last(last),
        Deletion::Immediate => Deleted::Gone { uid: object.header.uid.to_string() },
        Deletion::Graceful { .. } => Deleted::Last(last),
    }
}

/// Marks an object as being deleted. A second deletion may shorten the time that it has, never lengthen it.
fn mark(object: &mut Value, seconds: i64, now: Timestamp) {
    let known = &object["metadata"];
    let is_marked = !known["deletionTimestamp"].is_null();
    let present = known["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
    if is_marked && present <= seconds {
        return;
    }
    // The time that it has begins with the first deletion.
    let begun = if is_marked {
        let due = known["deletionTimestamp"].as_str().and_then(|due| due.parse().ok()).unwrap_or(now);
        later(due, SignedDuration::from_secs(present.saturating_neg()))
    } else {
        now
    };
    let due = later(begun, SignedDuration::from_secs(seconds));
    if !is_marked && object["metadata"]["generation"].as_i64().is_some_and(|generation| generation > 0) {
        metadata::bump_generation(object);
    }
    let metadata = metadata::of(object);
    metadata.insert("deletionTimestamp".into(), metadata::seconds(due));
    metadata.insert("deletionGracePeriodSeconds".into(), seconds.into());
}

/// The finalizers that the collector removes when it has done its work.
const COLLECTED: [&str; 2] = ["orphan", "foregroundDeletion"];

/// What becomes of the dependents of an object whose deletion says nothing of them: what its finalizers say already, else
/// what its kind does.
fn default_propagation(object: &Value, strategy: &dyn Strategy) -> Option<Propagation> {
    let finalizers = object["metadata"]["finalizers"].as_array();
    let is_decided = finalizers.is_some_and(|finalizers| {
        finalizers.iter().any(|finalizer| COLLECTED.iter().any(|collected| finalizer == collected))
    });
    (strategy.orphans_by_default() && !is_decided).then_some(Propagation::Orphan)
}

/// Sets the finalizers that say what becomes of dependents.
fn set_finalizers(object: &mut Value, propagation: Option<Propagation>) {
    let Some(propagation) = propagation else { return };
    let present = object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    let mut finalizers: Vec<Value> = present
        .iter()
        .filter(|finalizer| !COLLECTED.iter().any(|collected| *finalizer == collected))
        .cloned()
        .collect();
    match propagation {
        Propagation::Background => {}
        Propagation::Foreground => finalizers.push("foregroundDeletion".into()),
        Propagation::Orphan => finalizers.push("orphan".into()),
    }
    if finalizers != present {
        let metadata = metadata::of(object);
        if finalizers.is_empty() {
            metadata.remove("finalizers");
        } else {
            metadata.insert("finalizers".into(), finalizers.into());
        }
    }
}

/// Checks what must hold for a deletion.
pub(crate) fn check_preconditions(
    value: &Value,
    target: &Target<'_>,
    preconditions: &Preconditions,
) -> Result<()> {
    let found = |field: &str| value["metadata"][field].as_str().unwrap_or_default().to_owned();
    if target.resource.strategy.checks_preconditions_itself() {
        let pairs = [
            ("UID", "uid", &preconditions.uid),
            ("ResourceVersion", "resourceVersion", &preconditions.resource_version),
        ];
        let differs = |(_, field, wanted): &(&str, &str, &Option<String>)| {
            wanted.as_ref().is_some_and(|wanted| *wanted != found(field))
        };
        let Some((name, field, wanted)) = pairs.into_iter().find(differs) else { return Ok(()) };
        let (wanted, found) = (wanted.as_deref().unwrap_or_default(), found(field));
        let why =
            format!("Precondition failed: {name} in precondition: {wanted}, {name} in object meta: {found}");
        return Err(Status::conflict(target.resource, target.name, why));
    }
    let why = match preconditions {
        Preconditions { uid: Some(uid), .. } if *uid != found("uid") => format!(
            "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been \
             deleted and then recreated",
            found("uid")
        ),
        Preconditions { resource_version: Some(version), .. } if *version != found("resourceVersion") => {
            format!(
                "the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record ({}). \
             The object might have been modified",
                found("resourceVersion")
            )
        }
        _ => return Ok(()),
    };
    Err(Status::conflict_of_kind(target.resource, target.name, why))
}
