//! What a server does unasked: it forgets old history and old events, and keeps what every cluster has.
//!
//! All are conditional writes that any server of a cluster may try; two that do it at once do no harm.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use quarterdeck_core::component::Stop;
use quarterdeck_core::storage::{Expect, Revision, StorageError, Transaction};
use serde_json::Value;

use super::bootstrap::restore;
use crate::admission::Operation;
use crate::registry::Registry;

/// How often it is looked whether all is there that every cluster has.
const LOOK: Duration = Duration::from_secs(10);
/// How often history is forgotten, and how much of it stays.
const COMPACTION: Duration = Duration::from_secs(300);
/// How often events are looked through.
const EXPIRY: Duration = Duration::from_secs(60);
/// For how long an event stays after it last happened.
const EVENT_TTL: SignedDuration = SignedDuration::from_hours(1);
/// What keys of events begin with.
const EVENTS: &str = "/registry/events/";

/// Forgets what is old, and makes again what must be there.
#[derive(Debug)]
pub(super) struct Housekeeping {
    registry: Arc<Registry>,
    /// Where the cluster finds the server.
    advertise: Option<SocketAddr>,
    /// The revision of the last round: what came before it may go in the next.
    last: Revision,
}

impl Housekeeping {
    pub(super) fn new(registry: Arc<Registry>, advertise: Option<SocketAddr>) -> Self {
        let last = registry.cache.world().revision;
        Self { registry, advertise, last }
    }

    /// Runs until the server stops.
    pub(super) async fn run(mut self, mut stop: Stop) {
        let mut rounds = 0;
        while stop.or(tokio::time::sleep(LOOK)).await.is_some() {
            rounds += 1;
            let is_time = |interval: Duration| rounds % (interval.as_secs() / LOOK.as_secs()) == 0;
            if let Err(status) = restore(&self.registry, self.advertise).await {
                tracing::warn!(%status, "something that every cluster has is gone and could not be made again");
            }
            self.registry.figures.admission().sweep(&self.registry.cache.world());
            if is_time(EXPIRY) {
                self.expire_events().await;
            }
            if is_time(COMPACTION) {
                self.compact().await;
            }
        }
    }

    async fn compact(&mut self) {
        let now = self.registry.cache.world().revision;
        match self.registry.storage.compact(self.last).await {
            Ok(()) => self.registry.cache.forget(self.last),
            Err(error) => tracing::warn!(%error, "old history could not be forgotten: it grows until it can"),
        }
        self.last = now;
    }

    async fn expire_events(&self) {
        let world = self.registry.cache.world();
        let now = self.registry.clock.now();
        let Some(kind) = self.registry.resources().by_kind("", "Event").cloned() else { return };
        for (key, event) in world.range(EVENTS, None) {
            if !is_over(&event.value(), now) {
                continue;
            }
            let removal =
                Transaction::new().expect(key.clone(), Expect::Modified(event.revision)).delete(key.clone());
            match self.registry.store(removal, (&kind, Operation::Delete)).await {
                // A conflict means that the event happened again.
                Ok(_) | Err(StorageError::Conflict { .. }) => {}
                Err(error) => tracing::warn!(%error, %key, "an old event could not be removed"),
            }
        }
    }
}

/// Whether an event has not happened for its time to live.
fn is_over(event: &Value, now: Timestamp) -> bool {
    let times = [
        &event["series"]["lastObservedTime"],
        &event["lastTimestamp"],
        &event["eventTime"],
        &event["metadata"]["creationTimestamp"],
    ];
    let last = times.iter().filter_map(|time| time.as_str()?.parse::<Timestamp>().ok()).max();
    last.is_some_and(|last| now.duration_since(last) > EVENT_TTL)
}
