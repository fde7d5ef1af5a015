//! Webhooks: servers of others that change and refuse writes.
//!
//! [`MutatingWebhooks`] and [`ValidatingWebhooks`] follow the configurations that are stored. Which writes a webhook is asked
//! about is in `matching` (shared with policies), what it is sent and what it may answer in `review`, where it is and how it is
//! called in `target` and `client`, and what the client of a refused write is told in `refusal`.

mod client;
mod mutating;
mod refusal;
mod review;
mod target;
#[cfg(test)]
mod tests;
mod validating;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::time::{Instant, timeout_at};

pub use mutating::MutatingWebhooks;
pub use validating::ValidatingWebhooks;

use super::Attributes;
use super::expressions::{Checks, Expressions};
use super::matching::{self, Event, timed_out};
use crate::cache::World;
use crate::figures::{AdmissionFigures, Call, Sort};
use crate::layers::authorization::Authorization;
use crate::resource::Resource;
use crate::status::{Result, Status};
use client::Client;
use refusal::Failure;
pub(crate) use refusal::Why;
use review::Answer;

/// How long the webhooks of one write may take together: as long as upstream's requests.
const PATIENCE: Duration = Duration::from_secs(34);
/// How many seconds a webhook has that says nothing of it.
const TIMEOUT: u64 = 10;
/// The kinds whose objects no webhook is asked about: it could not be got rid of.
const EXEMPT: [&str; 4] = [
    "MutatingWebhookConfiguration",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "ValidatingWebhookConfiguration",
];

/// What both kinds of webhooks are called by.
#[derive(Debug, Default)]
pub(super) struct Caller {
    client: Client,
    expressions: Expressions,
    calls: AtomicU64,
    authorization: OnceLock<Authorization>,
    figures: AdmissionFigures,
}

/// Calls webhooks that are asked about other things than writes.
#[derive(Debug, Default)]
pub(crate) struct WebhookClient(Client);

impl WebhookClient {
    /// Sends a body to where a `clientConfig` says, and returns what it answers.
    ///
    /// # Errors
    ///
    /// What went wrong, in upstream's words.
    pub(crate) async fn post(
        &self,
        config: &Value,
        world: &World,
        body: Bytes,
        until: Instant,
    ) -> std::result::Result<Value, Why> {
        let place = target::Place::of(config)?;
        let turn = timeout_at(until, self.0.place()).await;
        let _turn = turn.map_err(|_| "context deadline exceeded".to_owned())?;
        self.0.post(&place, world, body, until).await
    }
}

/// One webhook of a configuration.
#[derive(Debug, Clone, Copy)]
struct Hook<'w> {
    configuration: &'w str,
    /// Where it stands among all of its sort, which annotations tell.
    index: usize,
    value: &'w Value,
}

impl<'w> Hook<'w> {
    /// Returns all webhooks below a prefix, by the names of their configurations.
    fn all(attributes: &'w Attributes<'_>, prefix: &str) -> Vec<Self> {
        let configurations = attributes.world.range(prefix, None).map(|(_, configuration)| configuration);
        let hooks = configurations.flat_map(|configuration| {
            let hooks = configuration.parsed()["webhooks"].as_array().into_iter().flatten();
            hooks.map(|value| (&*configuration.header.name, value))
        });
        hooks
            .enumerate()
            .map(|(index, (configuration, value))| Self { configuration, index, value })
            .collect()
    }

    fn name(&self) -> &'w str {
        self.value["name"].as_str().unwrap_or_default()
    }

    /// Whether a write is let through that the webhook could not be asked about.
    fn is_lenient(&self) -> bool {
        self.value["failurePolicy"] == "Ignore"
    }

    /// The version in which the webhook wants to see a write; absent if it is not asked about it.
    async fn version<'a>(&self, event: &Event<'a>, caller: &Caller) -> Result<Option<&'a Resource>> {
        let hook = self.value;
        // Selectors that cannot be evaluated concern those only whom the rules are about.
        let in_namespace = matching::in_namespace(event, &hook["namespaceSelector"]);
        let selects = matching::selects_object(event, &hook["objectSelector"]);
        if matches!(in_namespace, Ok(false)) || matches!(selects, Ok(false)) {
            return Ok(None);
        }
        let equivalent = hook["matchPolicy"] != "Exact";
        let Some(version) = matching::version_for(event, &hook["rules"], equivalent, |_| true) else {
            return Ok(None);
        };
        in_namespace.and(selects)?;
        matching::refuse_unconverted(event, version)?;
        let conditions = &hook["matchConditions"];
        if conditions.as_array().is_none_or(Vec::is_empty) {
            return Ok(Some(version));
        }
        let inputs = matching::inputs(event, version).with("namespaceObject", None);
        let (fails, checks) = (!self.is_lenient(), Checks::about(event));
        let holds = loop {
            let holds =
                matching::conditions_hold_for(conditions, fails, &caller.expressions, &inputs, &checks);
            // What authorizers have to decide first is evaluated again.
            if !checks.decide(caller.authorization.get(), event.attributes.user).await {
                break holds;
            }
        };
        let holds = holds.map_err(|why| {
            // Why may quote what is written, such as a secret: that is for its writer alone.
            tracing::warn!(
                webhook = self.name(),
                "a match condition failed, and with it the request: its writer is told why"
            );
            matching::forbidden(event, why)
        })?;
        Ok(holds.then_some(version))
    }
}

/// Whether webhooks below a prefix may have a say in a write.
fn concerns(attributes: &Attributes<'_>, prefix: &str) -> bool {
    let resource = attributes.resource;
    let exempt = resource.group == "admissionregistration.k8s.io" && EXEMPT.contains(&&*resource.kind);
    !exempt && attributes.is_asked() && attributes.world.has(prefix)
}

impl Caller {
    /// Makes a uid for a call: no two are the same.
    fn uid(&self, event: &Event<'_>) -> String {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        let world = event.attributes.world.revision;
        let of = format!("{number} {world} {} {}", event.attributes.now, event.attributes.name);
        let mut bytes: [u8; 16] = Sha256::digest(of)[..16].try_into().expect("a digest has more bytes");
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
    }

    /// Counts a call of a webhook.
    fn count<T>(
        &self,
        (sort, hook): (Sort, Hook<'_>),
        event: &Event<'_>,
        outcome: &std::result::Result<T, Failure>,
        began: Instant,
    ) {
        let call = Call { sort, name: hook.name(), operation: event.operation };
        self.figures.called(call, refusal::called(outcome, hook.is_lenient()), began.elapsed());
    }

    /// Asks a webhook about a write, and returns its answer.
    async fn ask(
        &self,
        hook: Hook<'_>,
        event: &Event<'_>,
        version: &Resource,
        objects: (&Option<Value>, &Option<Value>),
        until: Instant,
        mutating: bool,
    ) -> std::result::Result<Answer, Failure> {
        let attributes = event.attributes;
        let effects = hook.value["sideEffects"].as_str().unwrap_or_default();
        if attributes.dry_run && !matches!(effects, "None" | "NoneOnDryRun") {
            return Err(Failure::Internal(refusal::dry_run(hook.name())));
        }
        let offered = review::version(&hook.value["admissionReviewVersions"]).ok_or_else(|| {
            let why = Why::from("webhook does not accept known AdmissionReview versions (v1, v1beta1)");
            Failure::Calling(why.counted_as(400))
        })?;
        let uid = self.uid(event);
        let mut request = event.request(version);
        let (object, old) = objects;
        request["uid"] = uid.as_str().into();
        request["object"] = object.clone().unwrap_or_default();
        request["oldObject"] = old.clone().unwrap_or_default();
        let body = review::request(offered, request);
        let seconds = hook.value["timeoutSeconds"].as_u64().unwrap_or(TIMEOUT);
        let place = target::Place::of(&hook.value["clientConfig"])
            .map_err(|why| Failure::Calling(Why::from(why).counted_as(500)))?;
        let Ok(_turn) = timeout_at(until, self.client.place()).await else {
            return Err(Failure::Internal(timed_out()));
        };
        let until = until.min(Instant::now() + Duration::from_secs(seconds));
        let answer = self.client.post(&place, attributes.world, body, until).await;
        let answer = answer.map_err(|why| Failure::Calling(why.of("failed to call webhook")))?;
        let answer = Answer::read(&answer, offered, &uid, mutating)?;
        for (key, value) in answer.audit_annotations() {
            attributes.annotate(format!("{}/{key}", hook.name()), value);
        }
        for warning in answer.warnings() {
            attributes.warn(warning);
        }
        match answer.refusal(hook.name()) {
            Some(status) => Err(Failure::Refused(status)),
            None => Ok(answer),
        }
    }
}

/// Tells of a webhook that failed and is passed over.
fn passed_over(hook: Hook<'_>, why: &Why, event: &Event<'_>, sort: &str, round: usize) {
    tracing::warn!(
        webhook = hook.name(),
        configuration = hook.configuration,
        why = why.logged,
        "a webhook failed and is passed over, as its failurePolicy says: look at it and at its clientConfig"
    );
    let key = format!("failed-open.{sort}.webhook.admission.k8s.io/round_{round}_index_{}", hook.index);
    event.attributes.annotate(key, hook.name());
}

/// Refuses a write because a webhook failed.
fn failed(hook: Hook<'_>, why: &Why) -> Status {
    tracing::warn!(
        webhook = hook.name(),
        configuration = hook.configuration,
        why = why.logged,
        "a webhook failed, and with it the request, as its failurePolicy says: look at it and at its clientConfig"
    );
    Status::internal(format!("failed calling webhook \"{}\": {}", hook.name(), why.shown))
}

/// Returns mutating and validating webhooks, which share connections. When a webhook has changed an object, `before` changes it
/// once more.
pub(super) fn webhooks(
    before: Vec<Arc<dyn super::Admission>>,
    figures: AdmissionFigures,
) -> (MutatingWebhooks, ValidatingWebhooks) {
    let caller = Arc::new(Caller { figures, ..Caller::default() });
    (MutatingWebhooks::new(caller.clone(), before), ValidatingWebhooks::new(caller))
}
