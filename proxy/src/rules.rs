use std::sync::Arc;
use std::time::Duration;

use quarterdeck_core::client::ObjectKey;
use tokio::time::Instant;

use crate::config::ServicePortConfig;
use crate::figures::Figures;
use crate::nftables::{Destination, NftError, Nftables, Wish};
use crate::userspace::Scope;

/// How long to wait after a failure: at first, and at most.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Writes the rules of a proxy when it is time to.
pub(crate) struct Rules {
    nftables: Nftables,
    interval: Duration,
    /// When to look next whether everything is as it should be.
    next: Instant,
    pause: Duration,
    /// Why the latest attempt failed, if it did.
    failure: Option<String>,
    /// Whether it was said that another proxy has the table.
    is_waiting: bool,
}

impl Rules {
    /// Prepares rules in `table`, to be looked at every `interval`.
    pub(crate) fn new(table: &str, interval: Duration) -> Result<Self, NftError> {
        let nftables = Nftables::new(table)?;
        Ok(Self { nftables, interval, next: Instant::now(), pause: PAUSE, failure: None, is_waiting: false })
    }

    /// Notes what a service wants, whose local ports `local` tells.
    pub(crate) fn set(
        &mut self,
        service: &ObjectKey,
        configs: &[ServicePortConfig],
        local: impl Fn(&Arc<str>, Scope) -> Option<u16>,
    ) {
        let mut wish = Wish::default();
        for config in configs {
            wish.refused.extend(&config.cluster_ips);
            let text = if config.name.is_empty() {
                service.to_string()
            } else {
                format!("{service}:{}", config.name)
            };
            let mut redirect = |addresses: &[std::net::IpAddr], scope, is_served: bool| {
                // Without a backend, a connection is refused at once, which says more than a proxy that resets it.
                let Some(port) = local(&config.name, scope).filter(|_| is_served) else { return };
                wish.redirects.extend(addresses.iter().map(|address| {
                    let destination =
                        Destination { address: *address, protocol: config.protocol, port: config.port };
                    (destination, (port, text.clone()))
                }));
            };
            let is_served = !config.backends.as_slice().is_empty();
            redirect(&config.cluster_ips, Scope::Internal, is_served);
            match &config.external_backends {
                None => redirect(&config.external_ips, Scope::Internal, is_served),
                Some(backends) => {
                    redirect(&config.external_ips, Scope::External, !backends.as_slice().is_empty());
                }
            }
        }
        self.nftables.set(service, wish);
    }

    /// Returns why rules are not as they should be, if so.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Waits until it is time to [`look`](Self::look).
    pub(crate) async fn due(&self) {
        tokio::time::sleep_until(self.next).await;
    }

    /// Writes what changed.
    ///
    /// # Errors
    ///
    /// [`NftError::Missing`], which does not change by itself. All else is told, and tried again.
    pub(crate) async fn write(&mut self, figures: &Figures) -> Result<(), NftError> {
        // After a failure, all waits until it is time to look again.
        if self.failure.is_none() { self.attempt(false, figures).await } else { Ok(()) }
    }

    /// Writes what changed, here or by others.
    ///
    /// # Errors
    ///
    /// As of [`write`](Self::write).
    pub(crate) async fn look(&mut self, figures: &Figures) -> Result<(), NftError> {
        self.attempt(true, figures).await
    }

    /// Removes all rules.
    pub(crate) async fn remove(self) {
        if let Err(error) = self.nftables.remove().await {
            tracing::warn!(reason = crate::proxy::reason(&error), "rules are left behind");
        }
    }

    async fn attempt(&mut self, check: bool, figures: &Figures) -> Result<(), NftError> {
        match self.try_write(check).await {
            Ok(()) => {
                self.pause = PAUSE;
                self.next = if check { Instant::now() + self.interval } else { self.next };
                self.failure = None;
            }
            Err(error @ NftError::Missing(_)) => return Err(error),
            Err(error) => {
                let reason = crate::proxy::reason(&error);
                figures.failed();
                tracing::warn!(reason, "cannot write rules, trying again");
                self.failure = Some(reason);
                self.next = Instant::now() + self.pause;
                self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            }
        }
        Ok(())
    }

    async fn try_write(&mut self, check: bool) -> Result<(), NftError> {
        if !self.nftables.own()? {
            if !self.is_waiting {
                tracing::warn!(
                    "another proxy writes the rules of this machine: services' addresses lead to its cluster until it ends"
                );
            }
            self.is_waiting = true;
            return Ok(());
        }
        self.is_waiting = false;
        self.nftables.write().await?;
        if check && !self.nftables.check().await? {
            tracing::warn!("somebody else changed the rules; they were written again");
        }
        Ok(())
    }
}
