//! The certificates that a cluster makes for its own parts, and makes again before they end.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use quarterdeck_core::clock::Clock;
use quarterdeck_core::component::{BoxError, Component, Stop};

use crate::error::Result;

/// How often the date is looked at: a machine that slept has another than its timers.
const LOOK: Duration = Duration::from_secs(60);
/// How long to wait after a failure, such as a full disk.
const RETRY: Duration = Duration::from_secs(60);

/// Makes certificates again when four fifths of their life are over, and puts them in the place of the old ones. Who holds a
/// connection keeps it; who reads the files anew shows the new ones.
pub(crate) struct Renewal {
    clock: Clock,
    made: Timestamp,
    end: Timestamp,
    /// Makes them, and returns when the first of them ends.
    make: Box<dyn Fn() -> Result<Timestamp> + Send>,
}

impl Renewal {
    /// Goes on from certificates that were made now and end at `end`.
    pub(crate) fn new(
        clock: Clock,
        end: Timestamp,
        make: impl Fn() -> Result<Timestamp> + Send + 'static,
    ) -> Self {
        Self { made: clock.now(), clock, end, make: Box::new(make) }
    }

    /// When they are made again.
    fn due(&self) -> Timestamp {
        self.made + self.end.duration_since(self.made) * 4 / 5
    }

    async fn keep(mut self) {
        loop {
            while self.clock.now() < self.due() {
                let left =
                    Duration::try_from(self.due().duration_since(self.clock.now())).unwrap_or_default();
                tokio::time::sleep(left.min(LOOK)).await;
            }
            let now = self.clock.now();
            match (self.make)() {
                Ok(end) => {
                    tracing::info!(until = %end, "the cluster's certificates were made again");
                    (self.made, self.end) = (now, end);
                }
                Err(error) => {
                    tracing::error!(%error, until = %self.end, "the cluster's certificates cannot be made again: trying again");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }
}

#[async_trait]
impl Component for Renewal {
    fn name(&self) -> String {
        "renewal of certificates".into()
    }

    async fn run(self: Box<Self>, mut stop: Stop) -> std::result::Result<(), BoxError> {
        stop.or(self.keep()).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
