//! What may change or refuse a write between authorisation and the store.
//!
//! An [`Admission`] sees every write with the object as it will be, as it was, and who asks. Built-in ones are each in
//! a file; the server runs them in the order of [`builtin`]. [`mutate_fn`] and [`validate_fn`] make one of an async closure.

pub(crate) mod certificates;
#[cfg(feature = "cel")]
mod checks;
mod claim_resize;
mod default_class;
mod default_toleration_seconds;
#[cfg_attr(not(feature = "cel"), path = "expressions_absent.rs")]
pub(crate) mod expressions;
mod from_fn;
mod limit_ranger;
mod matching;
mod namespace_lifecycle;
mod node_restriction;
pub(crate) mod parameter_rights;
mod pod_security;
mod priority;
mod resource_quota;
mod runtime_class;
mod service_account;
mod storage_protection;
mod taint_nodes;
mod validating_policy;
mod webhook;

use std::borrow::Cow;
use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use quarterdeck_core::storage::{Key, Revision};
use serde_json::Value;

pub use claim_resize::PersistentVolumeClaimResize;
pub use default_class::{DefaultIngressClass, DefaultStorageClass};
pub use default_toleration_seconds::DefaultTolerationSeconds;
pub use from_fn::{AdmissionFn, mutate_fn, mutate_fn_with, validate_fn, validate_fn_with};
pub use limit_ranger::LimitRanger;
pub use namespace_lifecycle::NamespaceLifecycle;
pub use node_restriction::NodeRestriction;
pub use pod_security::{Exemptions, Level, LevelVersion, PodSecurity, Policy, Version};
pub use priority::Priority;
pub use resource_quota::ResourceQuota;
pub use runtime_class::RuntimeClass;
pub use service_account::ServiceAccount;
pub use storage_protection::StorageObjectInUseProtection;
pub use taint_nodes::TaintNodesByCondition;
pub use validating_policy::ValidatingPolicies;
pub use webhook::{MutatingWebhooks, ValidatingWebhooks};
pub(crate) use webhook::{WebhookClient, Why};

use crate::cache::World;
use crate::figures::AdmissionFigures;
use crate::layers::authorization::Authorization;
use crate::notes::Notes;
use crate::resource::{Resource, Subresource};
use crate::status::Result;
use crate::user::User;

/// What a write does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// It makes an object.
    Create,
    /// It changes an object.
    Update,
    /// It deletes an object.
    Delete,
}

/// A write, as admission sees it.
#[derive(Debug, Clone, Copy)]
pub struct Attributes<'a> {
    /// The kind that is written.
    pub resource: &'a Resource,
    /// The path below the object that is written, if any.
    pub subresource: Option<Subresource>,
    /// What the write does.
    pub operation: Operation,
    /// The object's namespace, if it has one.
    pub namespace: Option<&'a str>,
    /// The object's name; while the server has still to generate it, what it begins with.
    pub name: &'a str,
    /// The object as it was, for updates and deletions.
    pub old: Option<&'a Value>,
    /// Who asks.
    pub user: &'a User,
    /// Whether nothing will be written.
    pub dry_run: bool,
    /// Where to warn the client and annotate the audit event; absent for what the server writes unasked.
    pub notes: Option<&'a Notes>,
    /// All that is stored, as fresh as the server has it.
    pub world: &'a World,
    /// The present time.
    pub now: Timestamp,
}

/// An object that changes with the one that is written, in the same commit: both or neither.
#[derive(Debug, Clone)]
pub struct Companion {
    /// The kind.
    pub resource: Arc<Resource>,
    /// Where it is.
    pub key: Key,
    /// The revision that the change stands on. If it is another by then, the write starts over.
    pub revision: Revision,
    /// The object as it will be.
    pub value: Value,
}

impl Attributes<'_> {
    /// Warns the client.
    pub fn warn(&self, warning: impl Into<String>) {
        if let Some(notes) = self.notes {
            notes.warn(warning);
        }
    }

    /// Adds an annotation to the audit event.
    pub fn annotate(&self, key: impl Into<Cow<'static, str>>, value: impl Into<String>) {
        if let Some(notes) = self.notes {
            notes.annotate(key, value);
        }
    }

    /// Returns whether somebody asks for the write. What the server writes unasked, such as what every cluster has from its
    /// start, is not for webhooks and policies to judge: one that fails could keep the server from starting.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.notes.is_some()
    }

    /// Returns whether objects of this kind of the core group are written themselves, not a path below them.
    #[must_use]
    pub fn is_core(&self, plural: &str) -> bool {
        self.subresource.is_none() && self.resource.group.is_empty() && self.resource.plural == plural
    }
}

/// Changes or refuses writes.
#[async_trait]
pub trait Admission: Debug + Send + Sync + 'static {
    /// Gets to know who decides what users may do, before the first write.
    fn start(&self, authorization: &Authorization) {
        let _ = authorization;
    }

    /// Returns whether a write is any business of this admission: if not, nothing else is asked. Most writes are of kinds
    /// that most admission does not look at, and asking costs more than this. It is asked once, before anything changes.
    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        let _ = attributes;
        true
    }

    /// Refuses an update by what was sent (or, of a patch, by what it made of the object): what such a write does not change is
    /// not put back yet, such as the spec where the status is written. Runs first; not for creations and deletions.
    ///
    /// # Errors
    ///
    /// The Status that the client gets.
    fn check_sent(&self, attributes: &Attributes<'_>, object: &Value) -> Result<()> {
        let _ = (attributes, object);
        Ok(())
    }

    /// Changes what is written, or refuses it. Runs before validation; not for deletions.
    ///
    /// # Errors
    ///
    /// The Status that the client gets.
    async fn mutate(&self, attributes: &Attributes<'_>, object: &mut Value) -> Result<()> {
        let _ = (attributes, object);
        Ok(())
    }

    /// Refuses what is written. Runs when nothing changes any more; `object` is absent for deletions.
    ///
    /// # Errors
    ///
    /// The Status that the client gets.
    async fn validate(&self, attributes: &Attributes<'_>, object: Option<&Value>) -> Result<()> {
        let _ = (attributes, object);
        Ok(())
    }

    /// Returns what changes with the object in the same commit, or refuses it. Runs last; not for deletions.
    ///
    /// Writes with companions in one namespace wait for each other, so that they do not start over again and again.
    ///
    /// # Errors
    ///
    /// The Status that the client gets.
    async fn companions(&self, attributes: &Attributes<'_>, object: &Value) -> Result<Vec<Companion>> {
        let _ = (attributes, object);
        Ok(Vec::new())
    }
}

const _: Option<&dyn Admission> = None; // object safety is API: losing it must not compile

/// Returns the built-in admission, in order.
#[must_use]
pub fn builtin() -> Vec<Arc<dyn Admission>> {
    builtin_with(PodSecurity::default())
}

/// Returns the built-in admission, in order, with these settings of [`PodSecurity`].
#[must_use]
pub fn builtin_with(pod_security: PodSecurity) -> Vec<Arc<dyn Admission>> {
    builtin_counting(pod_security, &AdmissionFigures::default())
}

/// The same, whose webhooks and policies are counted.
pub(crate) fn builtin_counting(
    pod_security: PodSecurity,
    figures: &AdmissionFigures,
) -> Vec<Arc<dyn Admission>> {
    let mut admission: Vec<Arc<dyn Admission>> = vec![
        Arc::new(NamespaceLifecycle),
        Arc::new(LimitRanger),
        Arc::new(ServiceAccount),
        Arc::new(NodeRestriction),
        Arc::new(TaintNodesByCondition),
        Arc::new(pod_security),
        Arc::new(Priority),
        Arc::new(DefaultTolerationSeconds),
        Arc::new(DefaultStorageClass),
        Arc::new(StorageObjectInUseProtection),
        Arc::new(PersistentVolumeClaimResize),
        Arc::new(RuntimeClass),
        Arc::new(DefaultIngressClass),
    ];
    let (mutating, validating) = webhook::webhooks(admission.clone(), figures.clone());
    admission.push(Arc::new(mutating));
    admission.push(Arc::new(ValidatingPolicies::counting(figures.clone())));
    admission.push(Arc::new(validating));
    admission.push(Arc::new(ResourceQuota));
    admission
}
