//! Changing an object.

use std::sync::Arc;

use quarterdeck_core::storage::{Expect, Key, Transaction};
use serde_json::Value;

use super::turns::Turn;
use super::{
    ATTEMPTS, Failure, Target, Written, contention, failure, has_finalizers, metadata, ownership,
    revision_of, with_claims, with_companions,
};
use crate::admission::{Companion, Operation};
use crate::cache::World;
use crate::object::{Draft, Object};
use crate::registry::Registry;
use crate::resource::Subresource;
use crate::status::{Result, Status};
use crate::strategy::Claims;
use crate::validation::{FieldError, Shown};

/// What an update makes of the present object.
pub trait Change: Send + Sync {
    /// Returns the object as it is to be: decoded, pruned and defaulted.
    ///
    /// # Errors
    ///
    /// The Status that the client gets.
    fn apply(&self, present: &Value) -> Result<Value>;

    /// Returns the object to make if there is none; absent if the change needs one.
    fn replacement(&self) -> Option<&Value>;

    /// Returns why whoever asks may not put the replacement where nothing is, if that is so.
    ///
    /// # Errors
    ///
    /// The refusal of a creation.
    fn may_create(&self) -> Result<()> {
        Ok(())
    }

    /// Returns the object to make if there is none, with its owners, however its kind is updated (default: none).
    fn creation(&self) -> Option<Result<Value>> {
        None
    }

    /// Returns whether the changed object says who owns what. If not, who writes comes to own what the write changes.
    fn decides_owners(&self) -> bool {
        false
    }

    /// Returns the key that all changes write that must not be decided on the same state as this one (default: none, the
    /// object alone decides).
    fn guard(&self, new: &Value) -> Option<Key> {
        let _ = new;
        None
    }

    /// Checks a change that has a guard against what else is stored, which is as new as the guard.
    ///
    /// # Errors
    ///
    /// The Status that the client gets.
    fn check(&self, new: &Value, world: &World) -> Result<()> {
        let _ = (new, world);
        Ok(())
    }
}

/// One attempt at a write.
struct Attempt<'a> {
    /// How many there were before.
    number: usize,
    /// What it sees of the rest; absent if any world will do.
    fresh: Option<Arc<World>>,
    /// The write's turn, once it has to wait for one.
    turn: &'a mut Option<Turn>,
    /// What must not change until the commit.
    guard: Option<(Key, Expect)>,
    /// Whether the change says who owns what.
    decides: bool,
}

/// What is committed along with an object.
struct Along {
    claims: Claims,
    companions: Vec<Companion>,
    guard: Option<(Key, Expect)>,
}

/// The present object, as a write finds it.
pub(super) struct Present {
    pub(super) object: Arc<Object>,
    pub(super) value: Value,
}

impl Registry {
    /// Reads the present object from the store; its header from the cache, if that shows the same revision.
    pub(super) async fn present(&self, target: &Target<'_>, key: &Key) -> Result<Option<Present>> {
        let Some(entry) = self.storage.get(key).await? else { return Ok(None) };
        let world = self.cache.world();
        let object = match world.get(key.as_str()).filter(|object| object.revision == entry.modified) {
            Some(object) => object.clone(),
            None => {
                let object = Object::load(target.resource, key, entry.value, entry.modified);
                Arc::new(object.map_err(|error| Status::internal(error.to_string()))?)
            }
        };
        // What the server deletes unasked needs no webhook: a broken one must not keep a definition from going.
        let object = match target.notes {
            Some(_) => self.converted_one(target.resource, &object).await?,
            None => object,
        };
        let value = target.resource.value_of(&object);
        Ok(Some(Present { object, value }))
    }

    /// Changes an object.
    ///
    /// # Errors
    ///
    /// The Status that the client gets.
    pub async fn update(&self, target: &Target<'_>, change: &dyn Change) -> Result<Written> {
        let resource = target.resource;
        let key = resource.key(target.namespace, target.name);
        if let Some(object) = change.replacement() {
            metadata::check_name(object, target)?;
        }
        let mut turn = None;
        for number in 0..ATTEMPTS {
            // Who starts over has to see why; before the object is read, so that others have no time to change it again.
            let fresh = if number == 0 { None } else { Some(self.latest().await?) };
            let Some(present) = self.present(target, &key).await? else {
                check_uid(change, "", &key, target)?;
                match self.create_instead(target, change).await {
                    // Somebody made it meanwhile.
                    Err(status) if status.reason == "AlreadyExists" && change.creation().is_some() => {
                        continue;
                    }
                    outcome => return outcome,
                }
            };
            check_uid(change, &present.object.header.uid, &key, target)?;
            let mut new = change.apply(&present.value)?;
            metadata::check_identity(&mut new, target)?;
            let unconditional = check_version(&new, &present, target, change)?;
            let guard = self.guarded(change, &new).await?;
            let attempt = Attempt { number, fresh, turn: &mut turn, guard, decides: change.decides_owners() };
            match self.replace(target, &key, &present, new, attempt).await? {
                Ok(written) => return Ok(written),
                Err(Failure::Refused(status)) => return Err(status),
                Err(Failure::Contended) if !unconditional => {
                    return Err(Status::modified(resource, target.name));
                }
                Err(Failure::Contended | Failure::Again) => {}
            }
        }
        Err(contention())
    }

    /// Checks a change against what else is stored, and returns the condition under which that holds until the commit.
    async fn guarded(&self, change: &dyn Change, new: &Value) -> Result<Option<(Key, Expect)>> {
        let Some(key) = change.guard(new) else { return Ok(None) };
        let found = self.storage.get(&key).await?;
        change.check(new, &*self.latest().await?)?;
        Ok(Some((key, found.map_or(Expect::Absent, |entry| Expect::Modified(entry.modified)))))
    }

    /// Makes what an update does not find, if its kind does so.
    async fn create_instead(&self, target: &Target<'_>, change: &dyn Change) -> Result<Written> {
        let resource = target.resource;
        if let Some(object) = change.creation().filter(|_| target.subresource.is_none()) {
            let mut object = object?;
            let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
            if !uid.is_empty() {
                let why = format!(
                    "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
                );
                return Err(Status::conflict(resource, target.name, why));
            }
            metadata::check_identity(&mut object, target)?;
            metadata::of(&mut object).remove("resourceVersion");
            return self.create_owned(target, object).await;
        }
        match change.replacement() {
            Some(object) if resource.strategy.creates_on_update() && target.subresource.is_none() => {
                let mut object = object.clone();
                metadata::check_identity(&mut object, target)?;
                change.may_create()?;
                metadata::of(&mut object).remove("resourceVersion");
                self.create(target, object).await
            }
            Some(object) => {
                // As upstream, admission sees what it would be before anybody says that it is not there.
                let world = self.latest().await?;
                let context = self.strategy_context(target.user, &world, 0);
                let attributes = target.attributes(Operation::Create, target.name, None, &context);
                self.handlers(&attributes).mutate(&attributes, &mut object.clone()).await?;
                Err(Status::not_found(resource, target.name))
            }
            None => Err(Status::not_found(resource, target.name)),
        }
    }

    async fn replace(
        &self,
        target: &Target<'_>,
        key: &Key,
        present: &Present,
        mut new: Value,
        attempt: Attempt<'_>,
    ) -> Result<std::result::Result<Written, Failure>> {
        let resource = target.resource;
        let old = &present.value;
        let world = attempt.fresh.unwrap_or_else(|| self.cache.world());
        let context = self.strategy_context(target.user, &world, attempt.number);
        let attributes = target.attributes(Operation::Update, target.name, Some(old), &context);
        let admission = self.handlers(&attributes);
        admission.check_sent(&attributes, &new)?;
        let decided = attempt.decides.then(|| new["metadata"][ownership::MANAGED].take());
        metadata::restore(&mut new, old, target);
        match target.subresource {
            Some(Subresource::Status) => {
                resource.strategy.prepare_for_status_update(&mut new, old, &context);
                self.own(target, &mut new, old, decided);
            }
            Some(Subresource::Approval) => {
                resource.strategy.prepare_for_approval(&mut new, old, &context);
                self.own(target, &mut new, old, decided);
            }
            // Only the finalizers are new, and they are what this is for.
            Some(Subresource::Finalize) => self.own(target, &mut new, old, decided),
            _ => {
                self.own(target, &mut new, old, decided);
                resource.strategy.prepare_for_update(&mut new, old, &context);
            }
        }
        admission.mutate(&attributes, &mut new).await?;
        let errors = self.check(resource, target.subresource, &new, Some(old)).await;
        if !errors.is_empty() {
            return Err(target.invalid(target.name, &errors));
        }
        metadata::settle_numbers(&mut new, resource);
        metadata::count_generation(&mut new, old, resource);
        admission.validate(&attributes, Some(&new)).await?;
        let companions = admission.companions(&attributes, &new).await?;
        if !companions.is_empty() && attempt.turn.is_none() {
            // What was read may have changed when it is this write's turn.
            *attempt.turn = Some(self.turns.take(target.namespace.unwrap_or_default()).await);
            return Ok(Err(Failure::Again));
        }
        let claims = resource.strategy.claim(&mut new, Some(old), &context);
        let claims = claims.map_err(|errors| target.invalid(target.name, &errors))?;
        if is_gone(&new, old) && !resource.strategy.outlives_finalizers(&new) {
            return self.remove_updated(target, key, present, new).await;
        }
        let along = Along { claims, companions, guard: attempt.guard };
        self.commit_update(target, key, present, new, along).await
    }

    async fn commit_update(
        &self,
        target: &Target<'_>,
        key: &Key,
        present: &Present,
        mut new: Value,
        along: Along,
    ) -> Result<std::result::Result<Written, Failure>> {
        let resource = target.resource;
        ownership::settle(&mut new, &present.value);
        if new == present.value {
            let unchanged = Written { value: new, object: Some(present.object.clone()), created: false };
            return Ok(Ok(unchanged));
        }
        if target.dry_run {
            return Ok(Ok(Written::dry(new, false)));
        }
        let draft = self.draft(resource, &mut new).await?;
        let mut transaction = Transaction::new()
            .expect(key.clone(), Expect::Modified(present.object.revision))
            .put(key.clone(), draft.bytes().clone());
        if let Some((guard, found)) = along.guard {
            transaction =
                transaction.expect(guard.clone(), found).put(guard, key.as_str().as_bytes().to_vec());
        }
        let transaction = with_companions(with_claims(transaction, &along.claims, key), &along.companions);
        match self.commit(transaction, draft, (resource, Operation::Update)).await {
            Ok(stored) => {
                metadata::of(&mut new).insert("resourceVersion".into(), stored.revision.to_string().into());
                let stored = self.written(resource, &new, stored);
                Ok(Ok(Written::stored(new, stored, false)))
            }
            Err(error) => Ok(Err(failure(error, key, &along.claims, target, target.name))),
        }
    }

    /// Removes an object that is being deleted and has nothing left to wait for. The client gets it as it was last.
    async fn remove_updated(
        &self,
        target: &Target<'_>,
        key: &Key,
        present: &Present,
        mut new: Value,
    ) -> Result<std::result::Result<Written, Failure>> {
        if target.dry_run {
            return Ok(Ok(Written::dry(new, false)));
        }
        match self.remove(target, key, &present.object, &present.value).await {
            Ok(revision) => {
                metadata::of(&mut new).insert("resourceVersion".into(), revision.to_string().into());
                let stored = Draft::new(target.resource, &new).committed(revision);
                Ok(Ok(Written::stored(new, stored, false)))
            }
            Err(failure) => Ok(Err(failure)),
        }
    }

    /// Commits the removal of an object and of its claims.
    pub(super) async fn remove(
        &self,
        target: &Target<'_>,
        key: &Key,
        object: &Object,
        value: &Value,
    ) -> std::result::Result<quarterdeck_core::storage::Revision, Failure> {
        let mut transaction =
            Transaction::new().expect(key.clone(), Expect::Modified(object.revision)).delete(key.clone());
        for claim in target.resource.strategy.release(value) {
            transaction = transaction.delete(claim);
        }
        let committed = self.store(transaction, (target.resource, Operation::Delete)).await;
        committed.map_err(|error| failure(error, key, &Claims::default(), target, target.name))
    }
}

/// Whether an object that is being deleted has nothing left to wait for.
fn is_gone(new: &Value, old: &Value) -> bool {
    !new["metadata"]["deletionTimestamp"].is_null()
        && !has_finalizers(new)
        && old["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0
}

/// Checks the revision that an update carries. Returns whether it may be tried again on a newer object.
fn check_version(new: &Value, present: &Present, target: &Target<'_>, change: &dyn Change) -> Result<bool> {
    let resource = target.resource;
    let is_put = change.replacement().is_some();
    let given = revision_of(new)?;
    if given.is_some_and(|given| given != present.object.revision) {
        return Err(Status::modified(resource, target.name));
    }
    if given.is_none() && !resource.strategy.allows_unconditional_update() {
        let error = FieldError::invalid(
            "metadata.resourceVersion",
            Shown::verbatim("0x0"),
            "must be specified for an update",
        );
        return Err(Status::invalid(&resource.group, &resource.plural, target.name, &[error]));
    }
    Ok(!is_put || given.is_none())
}

/// Checks that an update is of the object that it names by its uid: one that was made anew since is another.
fn check_uid(change: &dyn Change, found: &str, key: &Key, target: &Target<'_>) -> Result<()> {
    let Some(object) = change.replacement() else { return Ok(()) };
    let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
    if uid.is_empty() || uid == found {
        return Ok(());
    }
    let why = format!(
        "StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: \
         UID in precondition: {uid}, UID in object meta: {found}"
    );
    Err(Status::conflict(target.resource, target.name, why))
}
