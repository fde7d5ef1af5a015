//! Parts of which several processes run and one works: the others stand by.

use quarterdeck_core::client::{Context, LeaseElector, LeaseSettings};
use quarterdeck_core::component::{BoxError, Component, Stop, Supervisor};

use crate::cli::ElectionOptions;
use crate::error::{Failure, Result};
use crate::up::report;

/// Has components work only while this process holds a Lease, if that is asked for.
pub(crate) fn elected(
    context: &Context,
    options: &ElectionOptions,
    lease: &str,
    components: Vec<Box<dyn Component>>,
) -> Result<Vec<Box<dyn Component>>> {
    if !options.leader_elect {
        return Ok(components);
    }
    let elector = LeaseElector::new(context, settings(context, options, lease)?);
    Ok(vec![Box::new(Elected { elector, components })])
}

fn settings(context: &Context, options: &ElectionOptions, lease: &str) -> Result<LeaseSettings> {
    let (duration, deadline, period) = (
        options.leader_elect_lease_duration,
        options.leader_elect_renew_deadline,
        options.leader_elect_retry_period,
    );
    if duration <= deadline || deadline <= period || period.is_zero() {
        return Err(Failure::new(format!(
            "the times of the leader election do not fit together: --leader-elect-lease-duration ({duration:?}) has to be longer than \
             --leader-elect-renew-deadline ({deadline:?}), and that longer than --leader-elect-retry-period ({period:?})"
        )));
    }
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    // Two processes of one host are two.
    let identity = format!("{host}_{:016x}", context.random.fork("leader-election").u64());
    let name = options.leader_elect_resource_name.as_deref().unwrap_or(lease);
    let settings = LeaseSettings::new(&options.leader_elect_resource_namespace, name, identity);
    Ok(settings.times(duration, deadline, period))
}

/// Components that start when this process leads, and end with that.
struct Elected {
    elector: LeaseElector,
    components: Vec<Box<dyn Component>>,
}

#[async_trait::async_trait]
impl Component for Elected {
    fn name(&self) -> String {
        "leader election".into()
    }

    async fn run(self: Box<Self>, stop: Stop) -> std::result::Result<(), BoxError> {
        let Self { elector, components } = *self;
        let work = async |stop| {
            let mut supervisor = Supervisor::new();
            components.into_iter().for_each(|component| supervisor.push(component));
            supervisor.run(stop).await
        };
        match elector.run(stop, work).await? {
            Some(ended) => Ok(report(&ended)?),
            None => Ok(()),
        }
    }
}
