//! Making an object.

use quarterdeck_core::storage::{Expect, Key, Transaction};
use serde_json::Value;

use super::{
    ATTEMPTS, Failure, Target, Written, contention, failure, metadata, revision_of, with_claims,
    with_companions,
};
use crate::admission::{Companion, Operation};
use crate::cache::World;
use crate::registry::Registry;
use crate::resource::Resource;
use crate::status::{Result, Status};
use crate::strategy::StrategyContext;

/// How many random characters end a generated name.
const SUFFIX: usize = 5;

impl Registry {
    /// Makes an object: decoded, pruned and defaulted, in the namespace of `target`.
    ///
    /// # Errors
    ///
    /// The Status that the client gets.
    pub async fn create(&self, target: &Target<'_>, mut object: Value) -> Result<Written> {
        self.own_new(target, &mut object);
        self.create_owned(target, object).await
    }

    /// Makes an object whose owners are known.
    pub(super) async fn create_owned(&self, target: &Target<'_>, object: Value) -> Result<Written> {
        let mut turn = None;
        let is_versioned = matches!(revision_of(&object), Ok(Some(_)));
        let has_base = object["metadata"]["generateName"].as_str().is_some_and(|base| !base.is_empty());
        for attempt in 0..ATTEMPTS {
            let world = self.latest().await?;
            let mut object = object.clone();
            let name = name_so_far(&object);
            let context = self.strategy_context(target.user, &world, attempt);
            let attributes = target.attributes(Operation::Create, &name, None, &context);
            let admission = self.handlers(&attributes);
            admission.mutate(&attributes, &mut object).await?;
            let resource = target.resource;
            metadata::prepare_new(&mut object, resource, self.random.uuid(), context.now);
            reset_status(&mut object, resource);
            let generated = self.name_new(&mut object);
            resource.strategy.prepare_for_create(&mut object, &context);
            let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            let errors = self.check(resource, None, &object, None).await;
            if !errors.is_empty() {
                return Err(target.invalid(&name, &errors));
            }
            metadata::settle_numbers(&mut object, resource);
            let attributes = target.attributes(Operation::Create, &name, None, &context);
            admission.validate(&attributes, Some(&object)).await?;
            let companions = admission.companions(&attributes, &object).await?;
            if !companions.is_empty() && turn.is_none() {
                // What was read may have changed when it is this write's turn.
                turn = Some(self.turns.take(target.namespace.unwrap_or_default()).await);
                continue;
            }
            if is_versioned && !target.dry_run {
                return Err(Status::server_error(
                    "resourceVersion should not be set on objects to be created",
                ));
            }
            match self.insert(target, &name, object, &companions, &context).await? {
                Ok(written) => return Ok(written),
                Err(Failure::Refused(status)) => return Err(status),
                Err(Failure::Contended) if !generated => {
                    return Err(self.exists(target, &name, has_base).await);
                }
                Err(Failure::Contended | Failure::Again) => {}
            }
        }
        Err(contention())
    }

    /// Gives an object without a name one of its `generateName`.
    fn name_new(&self, object: &mut Value) -> bool {
        let metadata = metadata::of(object);
        let text = |field: &str| metadata.get(field).and_then(Value::as_str).unwrap_or_default();
        let (name, base) = (text("name"), text("generateName"));
        if !name.is_empty() || base.is_empty() {
            return false;
        }
        let name = metadata::generate(base, &self.random.suffix(SUFFIX));
        metadata.insert("name".into(), name.into());
        true
    }

    /// Claims what the object needs and commits it.
    async fn insert(
        &self,
        target: &Target<'_>,
        name: &str,
        mut object: Value,
        companions: &[Companion],
        context: &StrategyContext<'_>,
    ) -> Result<std::result::Result<Written, Failure>> {
        let resource = target.resource;
        let world = context.world;
        let key = resource.key(target.namespace, name);
        let claims = resource.strategy.claim(&mut object, None, context);
        let claims = claims.map_err(|errors| target.invalid(name, &errors))?;
        let definition = match definition_of(world, resource, name) {
            Ok(definition) => definition,
            Err(status) => return Ok(Err(Failure::Refused(status))),
        };
        if target.dry_run {
            return Ok(Self::dry_insert(&key, object, world));
        }
        let draft = match self.draft(resource, &mut object).await {
            Ok(draft) => draft,
            Err(status) => return Ok(Err(Failure::Refused(status))),
        };
        let mut transaction =
            Transaction::new().expect(key.clone(), Expect::Absent).put(key.clone(), draft.bytes().clone());
        if let Some(namespace) =
            target.namespace.and_then(|name| world.get(&format!("/registry/namespaces/{name}")))
        {
            // Nothing is made in a namespace that somebody starts deleting meanwhile.
            let at = Expect::Modified(namespace.revision);
            transaction = transaction.expect(format!("/registry/namespaces/{}", namespace.header.name), at);
        }
        if let Some((definition, expected)) = definition {
            // Nor is anything made of a kind that somebody stops defining meanwhile.
            transaction = transaction.expect(definition, expected);
        }
        let transaction = with_companions(with_claims(transaction, &claims, &key), companions);
        match self.commit(transaction, draft, (resource, Operation::Create)).await {
            Ok(stored) => {
                metadata::of(&mut object)
                    .insert("resourceVersion".into(), stored.revision.to_string().into());
                let stored = self.written(resource, &object, stored);
                Ok(Ok(Written::stored(object, stored, true)))
            }
            Err(error) => Ok(Err(failure(error, &key, &claims, target, name))),
        }
    }

    /// Says what a creation would come to. Whether its claims are free is not looked at: as in Kubernetes, a dry run neither
    /// holds nor asks for addresses and ports.
    fn dry_insert(key: &Key, object: Value, world: &World) -> std::result::Result<Written, Failure> {
        match world.get(key.as_str()) {
            Some(_) => Err(Failure::Contended),
            None => Ok(Written::dry(object, true)),
        }
    }

    /// Says that the object exists already; in upstream's words, as if the server had chosen the name, if it could have.
    async fn exists(&self, target: &Target<'_>, name: &str, has_base: bool) -> Status {
        let world = match self.latest().await {
            Ok(world) => world,
            Err(status) => return status,
        };
        let key = target.resource.key(target.namespace, name);
        let there = world.get(key.as_str()).map(|object| object.value());
        let being_deleted = there.is_some_and(|there| !there["metadata"]["deletionTimestamp"].is_null());
        let mut status = Status::already_exists(target.resource, name, being_deleted);
        if has_base {
            status.message.push_str(", the server was not able to generate a unique name for the object");
            status = status.retry_after(1);
        }
        status
    }
}

/// Returns the definition of a custom kind, and that it is as it is in a world; absent if the kind has none there.
///
/// # Errors
///
/// The Status that the client gets if no objects of the kind may be made any more.
fn definition_of(world: &World, resource: &Resource, name: &str) -> Result<Option<(Key, Expect)>> {
    let definition = resource.custom.as_ref().and_then(|custom| custom.definition.as_ref());
    let Some(definition) = definition else { return Ok(None) };
    let served = world.resources().get(&resource.group, &resource.version, &resource.plural);
    let served = served.and_then(|served| served.custom.as_ref());
    match (world.get(definition.as_str()), served) {
        (Some(_), Some(custom)) if custom.is_ending => Err(Status::kind_is_ending(resource)),
        (Some(present), Some(_)) => Ok(Some((definition.clone(), Expect::Modified(present.revision)))),
        _ => Err(Status::not_found(resource, name)),
    }
}

/// Returns the name of an object, or what it will begin with.
fn name_so_far(object: &Value) -> String {
    let names = ["name", "generateName"].map(|field| object["metadata"][field].as_str().unwrap_or_default());
    names.into_iter().find(|name| !name.is_empty()).unwrap_or_default().to_owned()
}

/// Gives an object whose status is the server's an empty one.
fn reset_status(object: &mut Value, resource: &Resource) {
    let Some(initial) = &resource.initial_status else { return };
    if initial.is_null() {
        if let Some(fields) = object.as_object_mut() {
            fields.remove("status");
        }
    } else {
        object["status"] = initial.clone();
    }
}
