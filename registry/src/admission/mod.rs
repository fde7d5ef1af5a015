//! What may change or refuse a write between authorisation and the store.
//!
//! An [`Admission`] sees every write with the object as it will be, as it was, and who asks. Built-in ones are each in
//! a file; the server runs them in the order of [`builtin`].

mod default_toleration_seconds;
mod namespace_lifecycle;
mod priority;
mod service_account;

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

pub use default_toleration_seconds::DefaultTolerationSeconds;
pub use namespace_lifecycle::NamespaceLifecycle;
pub use priority::Priority;
pub use service_account::ServiceAccount;

use crate::cache::World;
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
    /// The object's name; empty while the server has still to generate it.
    pub name: &'a str,
    /// The object as it was, for updates and deletions.
    pub old: Option<&'a Value>,
    /// Who asks.
    pub user: &'a User,
    /// Whether nothing will be written.
    pub dry_run: bool,
    /// All that is stored, as fresh as the server has it.
    pub world: &'a World,
}

impl Attributes<'_> {
    /// Returns whether objects of this kind of the core group are written themselves, not a path below them.
    #[must_use]
    pub fn is_core(&self, plural: &str) -> bool {
        self.subresource.is_none() && self.resource.group.is_empty() && self.resource.plural == plural
    }
}

/// Changes or refuses writes.
#[async_trait]
pub trait Admission: Debug + Send + Sync + 'static {
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
}

const _: Option<&dyn Admission> = None; // object safety is API: losing it must not compile

/// Returns the built-in admission, in order.
#[must_use]
pub fn builtin() -> Vec<Arc<dyn Admission>> {
    vec![
        Arc::new(NamespaceLifecycle),
        Arc::new(ServiceAccount),
        Arc::new(DefaultTolerationSeconds),
        Arc::new(Priority),
    ]
}
