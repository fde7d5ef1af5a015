use std::time::Duration;

use futures::future::{Either, select};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Api, PostParams};
use tokio::time::Instant;

use super::Context;
use crate::clock::Clock;
use crate::component::Stop;
use crate::metrics::Gauge;

/// Which Lease decides, who asks, and how long everything takes.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LeaseSettings {
    /// The Lease's namespace.
    pub namespace: String,
    /// The Lease's name.
    pub name: String,
    /// What distinguishes this instance from the others.
    pub identity: String,
    /// How long others wait after they saw the last renewal before they take over, in whole seconds (default: 15 s).
    pub lease_duration: Duration,
    /// How long the leader tries to renew before it gives up; shorter than `lease_duration` (default: 10 s). It counts from when
    /// the last renewal was asked for. One attempt to become the leader takes no longer, either.
    pub renew_deadline: Duration,
    /// How long to wait between tries (default: 2 s).
    pub retry_period: Duration,
}

impl LeaseSettings {
    /// Makes settings with upstream's times.
    #[must_use]
    pub fn new(namespace: impl Into<String>, name: impl Into<String>, identity: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
            identity: identity.into(),
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }

    /// Replaces the three times; see the fields.
    #[must_use]
    pub fn times(
        mut self,
        lease_duration: Duration,
        renew_deadline: Duration,
        retry_period: Duration,
    ) -> Self {
        self.lease_duration = lease_duration;
        self.renew_deadline = renew_deadline;
        self.retry_period = retry_period;
        self
    }
}

/// The leader could not renew its Lease in time, or found another's name in it; its work was dropped, for another instance may
/// have begun.
#[derive(Debug, thiserror::Error)]
#[error("lost the lease {namespace}/{name}")]
pub struct LeaseLost {
    /// The Lease's namespace.
    pub namespace: String,
    /// The Lease's name.
    pub name: String,
}

/// Lets one of several instances work at a time, by a `coordination.k8s.io/v1` Lease.
///
/// A holder counts as gone when this instance has seen no renewal for the duration that the Lease names, on its own timer: the
/// dates in the Lease are for humans, and clocks of different hosts are never compared.
#[derive(Debug)]
pub struct LeaseElector {
    leases: Api<Lease>,
    clock: Clock,
    settings: LeaseSettings,
    observed: Option<Observed>,
    /// 1 while this instance leads.
    leads: Gauge,
}

#[derive(Debug)]
struct Observed {
    lease: Lease,
    at: Instant,
}

/// What came of an attempt to hold the Lease.
enum Attempt {
    Holds,
    IsAnothers,
    Failed,
}

/// Leads until it is dropped, as the gauge tells.
struct Leading(Gauge);

impl Drop for Leading {
    fn drop(&mut self) {
        self.0.set(0);
    }
}

impl LeaseElector {
    /// Makes an elector. It does nothing until it runs.
    #[must_use]
    pub fn new(context: &Context, settings: LeaseSettings) -> Self {
        let leases = Api::namespaced(context.client.clone(), &settings.namespace);
        let help = "Gauge of if the reporting system is master of the relevant lease, 0 indicates backup, 1 indicates master. 'name' is the string used to identify the lease. Please make sure to group by name.";
        let leads = context.metrics.gauges("leader_election_master_status", help, &["name"]);
        let leads = leads.with(&[&settings.name]);
        Self { leases, clock: context.clock.clone(), settings, observed: None, leads }
    }

    /// Waits to become the leader, then runs `work` and renews the Lease until the work ends; then releases it.
    ///
    /// `work` gets a [`Stop`] that fires with `stop`, and may take its time to end. Returns what it returned, or `None` if
    /// `stop` fired before this instance led.
    ///
    /// # Errors
    ///
    /// [`LeaseLost`] if the Lease could not be renewed in time or is another's; `work` was dropped where it stood.
    pub async fn run<T, W: Future<Output = T>>(
        mut self,
        mut stop: Stop,
        work: impl FnOnce(Stop) -> W,
    ) -> Result<Option<T>, LeaseLost> {
        let Some(held) = stop.or(self.acquire()).await else { return Ok(None) };
        tracing::info!(lease = self.settings.name, identity = self.settings.identity, "leading");
        self.leads.set(1);
        let leads = Leading(self.leads.clone());
        let output = {
            let work = std::pin::pin!(work(stop));
            let renew = std::pin::pin!(self.renew(held));
            match select(work, renew).await {
                Either::Left((output, _)) => Some(output),
                Either::Right(((), _)) => None,
            }
        };
        drop(leads);
        match output {
            Some(output) => {
                self.release().await;
                Ok(Some(output))
            }
            None => Err(LeaseLost { namespace: self.settings.namespace, name: self.settings.name }),
        }
    }

    /// Tries until this instance holds the Lease, and returns when the attempt began that got it.
    async fn acquire(&mut self) -> Instant {
        let LeaseSettings { renew_deadline, retry_period, .. } = self.settings;
        loop {
            let began = Instant::now();
            // A server that hangs holds nobody up for longer.
            if let Ok(Attempt::Holds) = tokio::time::timeout(renew_deadline, self.attempt()).await {
                return began;
            }
            tokio::time::sleep(retry_period).await;
        }
    }

    /// Renews for as long as that works. Others may have seen a renewal as soon as it was asked for, so that is where both
    /// their time and this one's begin.
    async fn renew(&mut self, held: Instant) {
        let LeaseSettings { renew_deadline, retry_period, .. } = self.settings;
        let (mut deadline, mut next) = (held + renew_deadline, held + retry_period);
        loop {
            let attempt = async {
                tokio::time::sleep_until(next).await;
                (Instant::now(), self.attempt().await)
            };
            match tokio::time::timeout_at(deadline, attempt).await {
                Ok((began, Attempt::Holds)) => {
                    (deadline, next) = (began + renew_deadline, began + retry_period);
                }
                Ok((_, Attempt::Failed)) => next = Instant::now() + retry_period,
                Ok((_, Attempt::IsAnothers)) | Err(_) => return,
            }
        }
    }

    /// Tries once to get or keep the Lease.
    async fn attempt(&mut self) -> Attempt {
        match self.try_hold().await {
            Ok(true) => Attempt::Holds,
            Ok(false) => Attempt::IsAnothers,
            Err(error) => {
                tracing::debug!(lease = self.settings.name, %error, "cannot hold the lease");
                Attempt::Failed
            }
        }
    }

    /// Returns whether this instance holds the Lease; if not, another does.
    async fn try_hold(&mut self) -> kube::Result<bool> {
        let Some(mut lease) = self.leases.get_opt(&self.settings.name).await? else {
            let lease = self.leases.create(&PostParams::default(), &self.first()).await?;
            self.observed = Some(Observed { lease, at: Instant::now() });
            return Ok(true);
        };
        if self.observed.as_ref().is_none_or(|observed| observed.lease.spec != lease.spec) {
            self.observed = Some(Observed { lease: lease.clone(), at: Instant::now() });
        }
        let spec = lease.spec.get_or_insert_default();
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        let mine = holder == self.settings.identity;
        if !mine && !holder.is_empty() && !self.expired() {
            return Ok(false);
        }
        let now = self.now();
        if !mine {
            spec.lease_transitions = Some(spec.lease_transitions.unwrap_or_default() + 1);
            spec.acquire_time = Some(now.clone());
            spec.holder_identity = Some(self.settings.identity.clone());
        }
        spec.renew_time = Some(now);
        spec.lease_duration_seconds = Some(self.seconds());
        let lease = self.leases.replace(&self.settings.name, &PostParams::default(), &lease).await?;
        self.observed = Some(Observed { lease, at: Instant::now() });
        Ok(true)
    }

    /// Whether the holder was not seen to renew for as long as it said: other instances may have other settings.
    fn expired(&self) -> bool {
        let Some(observed) = &self.observed else { return true };
        let seconds = observed.lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
        let duration = seconds.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs);
        observed.at.elapsed() >= duration.unwrap_or(self.settings.lease_duration)
    }

    fn first(&self) -> Lease {
        let now = self.now();
        Lease {
            metadata: ObjectMeta { name: Some(self.settings.name.clone()), ..ObjectMeta::default() },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.settings.identity.clone()),
                lease_duration_seconds: Some(self.seconds()),
                acquire_time: Some(now.clone()),
                renew_time: Some(now),
                lease_transitions: Some(0),
                ..LeaseSpec::default()
            }),
        }
    }

    /// Lets the next instance begin at once. If this fails, it begins when the Lease has expired.
    async fn release(&mut self) {
        let Some(observed) = self.observed.take() else { return };
        let mut lease = observed.lease;
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some(String::new());
        spec.lease_duration_seconds = Some(1);
        spec.renew_time = Some(self.now());
        let params = PostParams::default();
        let released = self.leases.replace(&self.settings.name, &params, &lease);
        match tokio::time::timeout(self.settings.retry_period, released).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::debug!(%error, "cannot release the lease"),
            Err(_) => tracing::debug!("cannot release the lease in time"),
        }
    }

    fn now(&self) -> MicroTime {
        // Leases keep microseconds; an exact copy must compare equal when it is read back.
        let now = self.clock.now();
        MicroTime(Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now))
    }

    fn seconds(&self) -> i32 {
        // Rounded up: others wait no shorter than the setting says.
        i32::try_from(self.settings.lease_duration.as_millis().div_ceil(1000)).unwrap_or(i32::MAX)
    }
}

#[cfg(test)]
mod tests;
