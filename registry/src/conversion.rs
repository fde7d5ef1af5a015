//! Objects of custom kinds whose versions are converted by a webhook (`spec.conversion.strategy: Webhook`).
//!
//! Whoever reads such a kind brings the stored objects into the version that is served before anything else looks at them
//! ([`Registry::converted`]), and whoever writes one takes it to the version that is stored before it is encoded
//! ([`Registry::draft`]). In between, an object of a version is like any other. An object's own `apiVersion` says what it
//! is converted from: one that was stored when another version was the one to store stays as it is until it is written.
//!
//! What a webhook may answer is in `review`; how it is called is in [`admission`](crate::admission), as for other webhooks.

mod kept;
mod review;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use crate::admission::Why;
use crate::custom::numbers;
use crate::object::{Draft, Object};
use crate::registry::Registry;
use crate::resource::Resource;
use crate::schema::{self, Seq, StructureRef, Text};
use crate::selector::SelectableField;
use crate::status::{Result, Status};
use crate::stored::Layout;

use kept::Kept;

/// How long a call may take: as upstream's.
const PATIENCE: Duration = Duration::from_secs(30);
/// How many objects are sent together at most.
const AT_ONCE: usize = 500;
/// About how many bytes of objects are sent together: what comes back may be larger, and is bounded.
const BYTES_AT_ONCE: usize = 1 << 20;

/// How the versions of a kind are converted.
#[derive(Debug)]
pub(crate) struct ConversionWebhook {
    /// `spec.conversion.webhook`.
    configuration: Value,
    /// The kind, as messages tell it, without its version.
    group: Text,
    kind: Text,
    /// The version that is stored.
    storage: Text,
    /// All versions that objects may be stored in.
    forms: Vec<Form>,
    /// What was converted lately. It goes with the definition that the conversion is part of.
    kept: Kept,
    /// Held by who asks.
    turn: Mutex<()>,
}

/// What there is to know about the objects of a version.
#[derive(Debug, Clone)]
pub(crate) struct Form {
    pub version: Text,
    pub structure: StructureRef,
    pub fields: Seq<SelectableField>,
}

impl ConversionWebhook {
    pub(crate) fn new(
        configuration: Value,
        group: Text,
        kind: Text,
        storage: Text,
        forms: Vec<Form>,
    ) -> Self {
        let (kept, turn) = (Kept::default(), Mutex::default());
        Self { configuration, group, kind, storage, forms, kept, turn }
    }

    /// Returns what is known about a version by its `apiVersion`.
    pub(crate) fn form(&self, api_version: &str) -> Option<&Form> {
        let (group, version) = api_version.rsplit_once('/')?;
        self.forms.iter().find(|form| group == self.group && form.version == version)
    }

    /// Returns what is known about the version that is stored.
    pub(crate) fn storage(&self) -> Option<&Form> {
        self.forms.iter().find(|form| form.version == self.storage)
    }

    fn api_version(&self, form: &Form) -> String {
        format!("{}/{}", self.group, form.version)
    }

    fn layout<'a>(&'a self, form: &'a Form) -> Layout<'a> {
        Layout { group: &self.group, version: &form.version, kind: &self.kind, fields: &form.fields }
    }

    /// Reads a stored object in the version that it says it is of. What is of none that is known is taken for one of the
    /// version that is stored.
    pub(crate) fn read(&self, value: Value) -> Option<Draft> {
        let form = self.form(value["apiVersion"].as_str().unwrap_or_default()).or_else(|| self.storage())?;
        let mut value = pruned(form, value);
        schema::apply_defaults(&form.structure, &mut value);
        numbers::make_whole(&mut value);
        Some(Draft::of_stored(self.layout(form), &value))
    }

    /// Has the webhook convert objects, none of which is of the version that they are to be of.
    async fn ask(
        &self,
        registry: &Registry,
        objects: &[Value],
        desired: &str,
        until: Instant,
    ) -> Result<Vec<Value>> {
        let uid = registry.random.uuid();
        let from = objects.first().and_then(|object| object["apiVersion"].as_str()).unwrap_or_default();
        let converted = async {
            let (version, body) = review::request(&self.configuration, &uid, objects, desired)?;
            let world = registry.cache.world();
            let client = &self.configuration["clientConfig"];
            let answer = registry.webhooks.post(client, &world, body, until).await;
            let converted = answer.and_then(|answer| review::converted(&answer, version, &uid));
            let converted = converted.map_err(|why| why.of("failed"))?;
            let checked = review::checked(objects, converted, desired);
            checked.map_err(|why| Why::quoting(why, "returned other objects than it was asked for"))
        };
        converted.await.map_err(|why: Why| {
            let of = format!("conversion webhook for {from}, Kind={}", self.kind);
            tracing::warn!(
                why = format!("{of} {}", why.logged),
                "objects could not be converted: look at the webhook and at spec.conversion of the definition"
            );
            Status::server_error(format!("{of} {}", why.shown))
        })
    }

    /// Converts objects that are not kept yet, in as few calls as their sizes allow, and keeps them.
    async fn convert(&self, registry: &Registry, objects: &[Arc<Object>], form: &Form) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        // One after the other: who waits finds what the one before asked for.
        let turn = timeout_at(until, self.turn.lock()).await;
        let _turn = turn.map_err(|_| {
            let (api_version, kind) = (self.api_version(form), &self.kind);
            Status::server_error(format!(
                "conversion webhook for {api_version}, Kind={kind} failed: context deadline exceeded"
            ))
        })?;
        let desired = self.api_version(form);
        // A watch has each state of an object twice: as it was before one change, and as it was after another.
        let mut seen = BTreeSet::new();
        let mut is_missing = |object: &&Arc<Object>| {
            !self.kept.has(object, &form.version) && seen.insert((object.header.uid.clone(), object.revision))
        };
        let missing: Vec<&Arc<Object>> = objects.iter().filter(|object| is_missing(object)).collect();
        let mut missing = missing.as_slice();
        while !missing.is_empty() {
            let (mut count, mut bytes) = (0, 0);
            while count < missing.len().min(AT_ONCE)
                && (count == 0 || bytes + missing[count].len() <= BYTES_AT_ONCE)
            {
                bytes += missing[count].len();
                count += 1;
            }
            let (batch, rest) = missing.split_at(count);
            let values: Vec<Value> = batch.iter().map(|object| object.value()).collect();
            for (object, value) in batch.iter().zip(self.ask(registry, &values, &desired, until).await?) {
                let draft = Draft::of_stored(self.layout(form), &pruned(form, value));
                self.kept.keep(&form.version, Arc::new(draft.committed(object.revision)));
            }
            missing = rest;
        }
        Ok(())
    }
}

/// Drops what a version does not have. What cannot be read by its structure is shown as it is: its next writer is told.
fn pruned(form: &Form, value: Value) -> Value {
    match schema::decode_value(&form.structure, value.clone()) {
        Ok(decoded) => decoded.value,
        Err(_) => value,
    }
}

impl Resource {
    /// Returns how the kind's versions are converted, if a webhook does it.
    pub(crate) fn webhook(&self) -> Option<&Arc<ConversionWebhook>> {
        self.stored.as_ref()?.webhook.as_ref()
    }

    /// Returns the version that is stored.
    pub(crate) fn storage_version(&self) -> &str {
        self.webhook().map_or(self.layout().version, |webhook| &webhook.storage)
    }
}

impl Registry {
    /// Returns how a kind is converted today: a watch may be older than its definition is now.
    fn webhook_of(&self, resource: &Resource) -> Option<Arc<ConversionWebhook>> {
        let own = resource.webhook()?;
        let resources = self.resources();
        let today = resources.get(&resource.group, &resource.version, &resource.plural);
        Some(today.and_then(|today| today.webhook()).unwrap_or(own).clone())
    }

    /// Returns stored objects in the version that a resource serves. A kind without a webhook makes that when it is written.
    ///
    /// # Errors
    ///
    /// What is wrong with the webhook.
    pub(crate) async fn converted(
        &self,
        resource: &Resource,
        objects: Vec<Arc<Object>>,
    ) -> Result<Vec<Arc<Object>>> {
        let Some(webhook) = self.webhook_of(resource) else { return Ok(objects) };
        let desired = resource.api_version();
        let Some(form) = webhook.form(&desired) else { return Ok(objects) };
        let mut done = Vec::with_capacity(objects.len());
        let mut objects = objects.as_slice();
        while !objects.is_empty() {
            // What is kept may be dropped while more is converted: so a part of them at a time.
            let (batch, rest) = objects.split_at(objects.len().min(AT_ONCE));
            let others: Vec<Arc<Object>> =
                batch.iter().filter(|object| object.api_version() != desired).cloned().collect();
            let known = self.looked_up(&webhook, form, &others).await?;
            let mut known = known.into_iter();
            for object in batch {
                match object.api_version() == desired {
                    true => done.push(object.clone()),
                    false => done.extend(known.next()),
                }
            }
            objects = rest;
        }
        Ok(done)
    }

    /// Returns objects from what is kept, and has converted those that are not.
    async fn looked_up(
        &self,
        webhook: &ConversionWebhook,
        form: &Form,
        objects: &[Arc<Object>],
    ) -> Result<Vec<Arc<Object>>> {
        let mut found = webhook.kept.all(objects, &form.version);
        if found.is_none() {
            webhook.convert(self, objects, form).await?;
            found = webhook.kept.all(objects, &form.version);
        }
        if let Some(found) = found {
            return Ok(found);
        }
        // Too large to be kept together.
        let mut all = Vec::with_capacity(objects.len());
        for object in objects {
            let values = [object.value()];
            let until = Instant::now() + PATIENCE;
            for value in webhook.ask(self, &values, &webhook.api_version(form), until).await? {
                let draft = Draft::of_stored(webhook.layout(form), &pruned(form, value));
                all.push(Arc::new(draft.committed(object.revision)));
            }
        }
        Ok(all)
    }

    /// As [`converted`](Self::converted), of one object.
    pub(crate) async fn converted_one(
        &self,
        resource: &Resource,
        object: &Arc<Object>,
    ) -> Result<Arc<Object>> {
        let found = self.converted(resource, vec![object.clone()]).await?.pop();
        Ok(found.unwrap_or_else(|| object.clone()))
    }

    /// Encodes an object for the store, in the version that is stored. What a webhook makes of it on the way there and back
    /// is what the object is from now on.
    ///
    /// # Errors
    ///
    /// What is wrong with the webhook.
    pub(crate) async fn draft(&self, resource: &Resource, value: &mut Value) -> Result<Draft> {
        let Some(webhook) = self.webhook_of(resource) else { return Ok(Draft::new(resource, value)) };
        let own = value["apiVersion"].as_str().unwrap_or_default().to_owned();
        let (Some(from), Some(to)) = (webhook.form(&own), webhook.storage()) else {
            return Ok(Draft::new(resource, value));
        };
        // What the server deletes by itself stays in whatever version it was stored in.
        if from.version == to.version || own != resource.api_version() {
            return Ok(Draft::of_stored(webhook.layout(from), value));
        }
        let until = Instant::now() + PATIENCE;
        let given = [value.clone()];
        let stored = webhook.ask(self, &given, &webhook.api_version(to), until).await?;
        let stored: Vec<Value> = stored.into_iter().map(|stored| pruned(to, stored)).collect();
        let shown = webhook.ask(self, &stored, &own, until).await?;
        for shown in shown {
            *value = pruned(from, shown);
        }
        let stored = stored.first().ok_or_else(|| Status::server_error("the webhook returned no object"))?;
        Ok(Draft::of_stored(webhook.layout(to), stored))
    }

    /// Returns an object that was committed, as the version shows it in which it was written.
    pub(crate) fn written(&self, resource: &Resource, value: &Value, stored: Object) -> Object {
        match self.webhook_of(resource) {
            Some(webhook) if stored.api_version() != resource.api_version() => {
                let shown = Draft::new(resource, value).committed(stored.revision);
                webhook.kept.keep(&resource.version, Arc::new(shown.clone()));
                shown
            }
            _ => stored,
        }
    }
}
