//! Making many objects of the server's own at once.

use std::sync::Arc;
use std::time::Duration;

use quarterdeck_core::storage::{Expect, StorageError, Transaction};
use serde_json::Value;
use tokio::time::Instant;

use super::{Target, metadata};
use crate::admission::Operation;
use crate::object::Draft;
use crate::registry::Registry;
use crate::resource::Resource;
use crate::status::{Result, Status};
use crate::user::User;

/// How many objects go into one commit: stores bound how much that may be.
const AT_ONCE: usize = 64;

/// An object that is known to be good: of its kind's fields only, defaults filled in, with its name.
pub(crate) struct Ready {
    pub(crate) resource: Arc<Resource>,
    pub(crate) namespace: Option<&'static str>,
    pub(crate) object: Value,
}

impl Registry {
    /// Makes objects that need no checks, no claims and no admission. Returns whether all are new; if not, some of them were
    /// not made.
    ///
    /// # Errors
    ///
    /// A Status if the store does not take them.
    pub(crate) async fn install(&self, objects: &[Ready]) -> Result<bool> {
        for objects in objects.chunks(AT_ONCE) {
            if !self.install_some(objects).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn install_some(&self, objects: &[Ready]) -> Result<bool> {
        let (user, now) = (User::admin(), self.clock.now());
        let (mut transaction, mut drafts) = (Transaction::new(), Vec::with_capacity(objects.len()));
        for Ready { resource, namespace, object } in objects {
            let (target, mut object) = (Target::unasked(resource, *namespace, "", &user), object.clone());
            self.own_new(&target, &mut object);
            metadata::prepare_new(&mut object, resource, self.random.uuid(), now);
            let key = resource.key(*namespace, object["metadata"]["name"].as_str().unwrap_or_default());
            let draft = Draft::new(resource, &object);
            transaction = transaction.expect(key.clone(), Expect::Absent).put(key, draft.bytes().clone());
            drafts.push(draft);
        }
        drafts.iter().for_each(|draft| self.cache.announce(draft));
        let began = Instant::now();
        let committed = self.storage.commit(transaction).await;
        self.installed(objects, began.elapsed());
        if committed.is_err() {
            drafts.iter().for_each(|draft| self.cache.withdraw(draft));
        }
        match committed {
            Ok(_) => Ok(true),
            Err(StorageError::Conflict { .. }) => Ok(false),
            Err(error) => {
                self.say_if_full(&error);
                Err(Status::from(error))
            }
        }
    }

    /// Counts how long a commit took, once for each kind that it made.
    fn installed(&self, objects: &[Ready], took: Duration) {
        let resources = self.resources();
        let mut counted: Vec<&Arc<Resource>> = Vec::new();
        for Ready { resource, .. } in objects {
            if !counted.iter().any(|known| Arc::ptr_eq(known, resource)) {
                self.figures.committed(&resources, resource, Operation::Create, took);
                counted.push(resource);
            }
        }
    }
}
