//! When a certificate is renewed, and how: the part that both of an agent's certificates share.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::Client;
use quarterdeck_core::clock::Clock;
use quarterdeck_core::random::Random;

use super::credential::Credential;
use super::error::JoinError;
use super::figures::Figures;
use super::order::Order;
use super::request;
use super::store::Store;

/// How often the date is looked at: a machine that slept has another than its timers.
const LOOK: Duration = Duration::from_secs(60);
/// How long to wait before a certificate is asked for again after a failure, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(300));

/// One of an agent's certificates: what it is, where it is kept, and when it is renewed.
#[derive(Debug, Clone)]
pub(super) struct Renewal {
    pub(super) order: Order,
    pub(super) store: Store,
    pub(super) clock: Clock,
    pub(super) random: Random,
    pub(super) figures: Figures,
}

impl Renewal {
    /// Returns the certificate that is kept, if it is the one that is wanted and good now.
    ///
    /// # Errors
    ///
    /// [`JoinError::File`].
    pub(super) fn stored(&self) -> Result<Option<Credential>, JoinError> {
        let Some(credential) = self.store.load()? else { return Ok(None) };
        match self.order.check(&credential, self.clock.now()) {
            Ok(()) => Ok(Some(credential)),
            Err(reason) => {
                let directory = self.store.directory().display();
                tracing::warn!(%directory, reason, "the certificate that is kept cannot be used");
                Ok(None)
            }
        }
    }

    /// Asks for a certificate, waits for it and keeps it. `told` hears the name of the request.
    ///
    /// # Errors
    ///
    /// [`JoinError`].
    pub(super) async fn ask(
        &self,
        client: &Client,
        told: impl FnOnce(&str),
    ) -> Result<Credential, JoinError> {
        let key = self.store.pending_key()?;
        let request = self.order.request(&key).map_err(JoinError::Request)?;
        let name = request::name(&request).to_owned();
        told(&name);
        let certificate = request::issue(client, &request).await?;
        let now = self.clock.now();
        let credential = Credential::read(&certificate, &key.serialize_pem());
        let checked = credential.and_then(|credential| {
            self.order.check(&credential, now)?;
            Ok(credential)
        });
        let credential = match checked {
            Ok(credential) => credential,
            Err(message) => {
                // This request would be answered with the same again.
                self.store.forget_pending_key()?;
                return Err(JoinError::Unusable { name, message });
            }
        };
        self.store.save(&credential, now)?;
        self.store.forget_pending_key()?;
        Ok(credential)
    }

    /// Does what [`ask`](Self::ask) does until it succeeds.
    pub(super) async fn ask_until_issued(&self, client: &Client, told: impl Fn(&str)) -> Credential {
        let mut wait = RETRY.0;
        loop {
            let error = match self.ask(client, &told).await {
                Ok(credential) => return credential,
                Err(error) => error,
            };
            self.figures.failed();
            let reason = crate::host::chain(&error);
            match error {
                JoinError::Denied { name, .. } | JoinError::Failed { name, .. } => {
                    tracing::warn!(
                        reason,
                        "no certificate: the next request follows when this one is deleted, which takes an hour or `kubectl delete csr`"
                    );
                    if request::until_gone(client, &name).await.is_ok() {
                        continue;
                    }
                }
                _ => tracing::warn!(reason, "no certificate, asking again"),
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(RETRY.1);
        }
    }

    /// Waits until a certificate is to be renewed: until 70 to 90 % of its life are over, as upstream, so that the agents of a
    /// cluster do not all ask at once.
    pub(super) async fn wait(&self, credential: &Credential) {
        let at = self.due(credential);
        tracing::info!(name = credential.common_name(), %at, "the certificate is renewed then");
        self.wait_until(at).await;
    }

    fn due(&self, credential: &Credential) -> Timestamp {
        const MOST: usize = 1 << 16;
        let life = credential.not_after().duration_since(credential.not_before());
        let drawn = self.random.below(MOST) as f64 / MOST as f64;
        let share = 0.7 + 0.2 * drawn;
        credential.not_before() + SignedDuration::from_secs_f64(life.as_secs_f64() * share)
    }

    /// Waits until a date.
    pub(super) async fn wait_until(&self, at: Timestamp) {
        while let Some(left) = self.left(at) {
            tokio::time::sleep(left.min(LOOK)).await;
        }
    }

    /// Returns how long it is until a date; nothing if it is past.
    pub(super) fn left(&self, at: Timestamp) -> Option<Duration> {
        let left = at.duration_since(self.clock.now());
        Duration::try_from(left).ok().filter(|left| !left.is_zero())
    }
}
