//! Writing objects: create, update and delete, between a decoded object and a commit.
//!
//! A write is: admission that may change it, the kind's strategy, validation, admission that may refuse it, claims of values
//! that must be unique, and one transaction with the conditions under which all of that holds. When a condition
//! fails because somebody else was faster, the write starts over with what is there now.

mod check;
mod create;
mod delete;
pub(crate) mod install;
pub(crate) mod metadata;
mod ownership;
mod turns;
mod update;

use std::sync::Arc;

use quarterdeck_core::storage::{Key, Revision, StorageError, Transaction};
use serde_json::Value;
use tokio::time::Instant;

pub(crate) use delete::check_preconditions;
pub use delete::{DeleteOptions, Deleted, Preconditions, Propagation};
pub(crate) use turns::Turns;
pub use update::Change;

use crate::admission::{Admission, Attributes, Companion, Operation};
use crate::notes::Notes;
use crate::numbers;
use crate::object::{Draft, Object};
use crate::registry::Registry;
use crate::resource::{Resource, Subresource};
use crate::status::{Result, Status, chain};
use crate::strategy::{Claims, StrategyContext};
use crate::user::User;
use crate::validation::FieldError;

/// How often a write starts over before the client is told that there is too much contention.
const ATTEMPTS: usize = 16;

/// The field manager of what the server writes unasked.
const SERVER_MANAGER: &str = "kube-apiserver";

/// What is written, and by whom.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The kind.
    pub resource: &'a Arc<Resource>,
    /// The path below the object, if any.
    pub subresource: Option<Subresource>,
    /// The namespace, if the kind has one.
    pub namespace: Option<&'a str>,
    /// The name; empty for a creation.
    pub name: &'a str,
    /// Who asks.
    pub user: &'a User,
    /// Who comes to own the fields that the write changes; `unknown` if empty.
    pub manager: &'a str,
    /// Whether nothing is to be written.
    pub dry_run: bool,
    /// Where admission warns the client and annotates the audit event; absent for what the server writes unasked.
    pub notes: Option<&'a Notes>,
}

/// An object after a write.
#[derive(Debug, Clone)]
pub struct Written {
    /// The object; without a new resourceVersion after a dry run.
    pub value: Value,
    /// The object as it is stored; absent after a dry run.
    pub object: Option<Arc<Object>>,
    /// Whether it is new.
    pub created: bool,
}

impl Written {
    fn stored(value: Value, object: Object, created: bool) -> Self {
        Self { value, object: Some(Arc::new(object)), created }
    }

    fn dry(value: Value, created: bool) -> Self {
        Self { value, object: None, created }
    }
}

impl<'a> Target<'a> {
    /// Returns the target of a write that the server makes unasked.
    pub(crate) fn unasked(
        resource: &'a Arc<Resource>,
        namespace: Option<&'a str>,
        name: &'a str,
        user: &'a User,
    ) -> Self {
        Self {
            resource,
            subresource: None,
            namespace,
            name,
            user,
            manager: SERVER_MANAGER,
            dry_run: false,
            notes: None,
        }
    }

    fn attributes(
        &self,
        operation: Operation,
        name: &'a str,
        old: Option<&'a Value>,
        context: &StrategyContext<'a>,
    ) -> Attributes<'a> {
        Attributes {
            resource: self.resource,
            subresource: self.subresource,
            operation,
            namespace: self.namespace,
            name,
            old,
            user: self.user,
            dry_run: self.dry_run,
            notes: self.notes,
            world: context.world,
            now: context.now,
        }
    }

    fn invalid(&self, name: &str, errors: &[FieldError]) -> Status {
        // As upstream, in the words of the group that is stored: events of `events.k8s.io` are those of the core group.
        Status::invalid(self.resource.layout().group, &self.resource.kind, name, errors)
    }
}

/// The admission that handles a write, in order.
struct Handlers<'a>(Vec<&'a dyn Admission>);

impl Handlers<'_> {
    fn check_sent(&self, attributes: &Attributes<'_>, object: &Value) -> Result<()> {
        self.0.iter().try_for_each(|admission| admission.check_sent(attributes, object))
    }

    async fn mutate(&self, attributes: &Attributes<'_>, object: &mut Value) -> Result<()> {
        for admission in &self.0 {
            admission.mutate(attributes, object).await?;
        }
        Ok(())
    }

    async fn validate(&self, attributes: &Attributes<'_>, object: Option<&Value>) -> Result<()> {
        for admission in &self.0 {
            admission.validate(attributes, object).await?;
        }
        Ok(())
    }

    async fn companions(&self, attributes: &Attributes<'_>, object: &Value) -> Result<Vec<Companion>> {
        let mut all = Vec::new();
        for admission in &self.0 {
            all.extend(admission.companions(attributes, object).await?);
        }
        Ok(all)
    }
}

impl Registry {
    /// Asks all admission whether it handles a write: once, for most handles few writes.
    fn handlers(&self, attributes: &Attributes<'_>) -> Handlers<'_> {
        let all = self.admission.iter().map(|admission| &**admission);
        Handlers(all.filter(|admission| admission.handles(attributes)).collect())
    }

    /// Shows admission what is made below an object and stored nowhere: the request for a token, or an eviction.
    pub(crate) async fn admit_below(&self, target: &Target<'_>, request: &mut Value) -> Result<()> {
        let world = self.latest().await?;
        let context = self.strategy_context(target.user, &world, 0);
        let attributes = target.attributes(Operation::Create, target.name, None, &context);
        let admission = self.handlers(&attributes);
        admission.mutate(&attributes, request).await?;
        admission.validate(&attributes, Some(request)).await
    }
}

impl Registry {
    /// Commits a transaction that writes this draft.
    async fn commit(
        &self,
        transaction: Transaction,
        draft: Draft,
        of: (&Resource, Operation),
    ) -> std::result::Result<Object, StorageError> {
        self.cache.announce(&draft);
        match self.store(transaction, of).await {
            Ok(revision) => Ok(draft.committed(revision)),
            Err(error) => {
                self.cache.withdraw(&draft);
                Err(error)
            }
        }
    }
}

impl Registry {
    /// Commits a transaction that writes an object of this kind, and counts how long that takes.
    pub(crate) async fn store(
        &self,
        transaction: Transaction,
        (resource, operation): (&Resource, Operation),
    ) -> std::result::Result<Revision, StorageError> {
        let began = Instant::now();
        let committed = self.storage.commit(transaction).await;
        self.figures.committed(&self.resources(), resource, operation, began.elapsed());
        match &committed {
            Ok(revision) => tracing::debug!(%revision, kind = %resource.kind, ?operation, "committed"),
            Err(error) => {
                tracing::debug!(%error, kind = %resource.kind, ?operation, "not committed");
                self.say_if_full(error);
            }
        }
        committed
    }

    /// Says it if a commit failed because there is no room.
    fn say_if_full(&self, error: &StorageError) {
        let StorageError::Full(source) = error else { return };
        self.full.say(|left_out| {
            let error = chain(source.as_ref());
            tracing::error!(error, left_out, "storage is full: free space or move it, then writes resume");
        });
    }
}

/// What a failed commit means for a write.
enum Failure {
    /// Somebody changed what the write stands on: start over.
    Again,
    /// The object's own condition failed; what is there now.
    Contended,
    /// The client gets this.
    Refused(Status),
}

/// Adds claims to a transaction.
fn with_claims(mut transaction: Transaction, claims: &Claims, owner: &Key) -> Transaction {
    use quarterdeck_core::storage::Expect;
    for claim in &claims.take {
        transaction = transaction
            .expect(claim.key.clone(), Expect::Absent)
            .put(claim.key.clone(), owner.as_str().as_bytes().to_vec());
    }
    for key in &claims.release {
        transaction = transaction.delete(key.clone());
    }
    transaction
}

/// Adds the objects that change with another to a transaction.
fn with_companions(mut transaction: Transaction, companions: &[Companion]) -> Transaction {
    use quarterdeck_core::storage::Expect;
    for Companion { resource, key, revision, value } in companions {
        transaction = transaction
            .expect(key.clone(), Expect::Modified(*revision))
            .put(key.clone(), Draft::new(resource, value).bytes().clone());
    }
    transaction
}

/// Says what the failure of a commit means.
fn failure(error: StorageError, own: &Key, claims: &Claims, target: &Target<'_>, name: &str) -> Failure {
    let StorageError::Conflict { key, .. } = &error else {
        return Failure::Refused(Status::of_commit(error));
    };
    if key == own {
        return Failure::Contended;
    }
    match claims.take.iter().find(|claim| claim.key == *key).and_then(|claim| claim.taken.clone()) {
        Some(taken) => Failure::Refused(target.invalid(name, &[taken])),
        None => Failure::Again,
    }
}

/// Says that a write met too much contention.
fn contention() -> Status {
    Status::server_error("the server could not commit the write: too many others wrote at the same time")
        .retry_after(1)
}

/// Reads the revision that an object carries; absent if it carries none, or zero, which is as good.
fn revision_of(value: &Value) -> Result<Option<Revision>> {
    let text = value["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    if text.is_empty() {
        return Ok(None);
    }
    let number = numbers::parse_uint(text).map_err(Status::server_error)?;
    Ok(Some(Revision(number)).filter(|_| number != 0))
}

/// Whether a list of an object's metadata is empty or absent.
fn has_finalizers(value: &Value) -> bool {
    value["metadata"]["finalizers"].as_array().is_some_and(|finalizers| !finalizers.is_empty())
}
