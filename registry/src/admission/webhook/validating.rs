//! Webhooks that refuse what is written.

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::join_all;
use serde_json::Value;
use tokio::time::Instant;

use super::refusal::Failure;
use super::{Caller, Hook, PATIENCE, concerns, failed, passed_over};
use crate::admission::matching::{Event, timed_out};
use crate::admission::{Admission, Attributes};
use crate::figures::Sort;
use crate::layers::authorization::Authorization;
use crate::resource::Resource;
use crate::status::Result;

const PREFIX: &str = "/registry/validatingwebhookconfigurations/";

/// Upstream's `ValidatingAdmissionWebhook`: asks the webhooks of `ValidatingWebhookConfiguration`s, all at once.
#[derive(Debug)]
pub struct ValidatingWebhooks {
    caller: Arc<Caller>,
}

impl ValidatingWebhooks {
    pub(super) fn new(caller: Arc<Caller>) -> Self {
        Self { caller }
    }

    async fn call(
        &self,
        hook: Hook<'_>,
        event: &Event<'_>,
        version: &Resource,
        until: Instant,
    ) -> Result<()> {
        let (object, old) = event.seen_as(version);
        let began = Instant::now();
        let answer = self.caller.ask(hook, event, version, (&object, &old), until, false).await;
        self.caller.count((Sort::Validating, hook), event, &answer, began);
        match answer {
            Ok(_) => Ok(()),
            Err(Failure::Refused(status) | Failure::Internal(status)) => Err(status),
            Err(Failure::Calling(_)) if hook.is_lenient() && Instant::now() >= until => Err(timed_out()),
            Err(Failure::Calling(why)) if hook.is_lenient() => {
                passed_over(hook, &why, event, "validating", 0);
                Ok(())
            }
            Err(Failure::Calling(why)) => Err(failed(hook, &why)),
        }
    }
}

#[async_trait]
impl Admission for ValidatingWebhooks {
    fn start(&self, authorization: &Authorization) {
        let _ = self.caller.authorization.set(authorization.clone());
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        concerns(attributes, PREFIX)
    }

    async fn validate(&self, attributes: &Attributes<'_>, object: Option<&Value>) -> Result<()> {
        let event = Event::new(attributes, object);
        let mut asked = Vec::new();
        for hook in Hook::all(attributes, PREFIX) {
            if let Some(version) = hook.version(&event, &self.caller).await? {
                asked.push((hook, version));
            }
        }
        let until = Instant::now() + PATIENCE;
        let calls = asked.into_iter().map(|(hook, version)| self.call(hook, &event, version, until));
        join_all(calls).await.into_iter().collect()
    }
}
