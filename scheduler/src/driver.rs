//! The driver: keeps the cluster in view, asks schedulers about pods that wait, and carries out what they decide.
//!
//! Start at [`SchedulerDriver`]. One task owns everything (the snapshot, the queue, the schedulers) and does one thing at a
//! time: takes in changes, or decides about one pod. What a decision costs in requests (bind, evict, report) runs beside it,
//! a bounded number at a time; meanwhile the snapshot shows a pod where it is about to be.

mod actions;
mod figures;
mod inbox;
mod queue;
mod view;
mod work;

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;
use quarterdeck_core::client::{Context, ObjectKey, Recorder, Selector};
use quarterdeck_core::component::{BoxError, Component, Stop};
use quarterdeck_core::scheduling::Scheduler;

use crate::DefaultScheduler;
use crate::digest::{WatchedNode, WatchedPod};
use inbox::{Change, Inbox};
use work::Work;

/// The name of the scheduler that pods ask for if they ask for none.
const DEFAULT_NAME: &str = "default-scheduler";

/// Runs one or several schedulers over one view of the cluster.
///
/// Each pod that has no node is decided about by the scheduler that its `spec.schedulerName` names; pods of unknown
/// schedulers are left to others. The most important go first, then those that came first. A pod that can go nowhere gets an
/// event and a condition that say why, and is tried again when a node changes where it might fit, and anyway after a
/// back-off of 1 second that doubles up to 60. A bind that fails is undone in the view and tried again likewise.
///
/// # Examples
///
/// ```no_run
/// use quarterdeck_core::client::Context;
/// use quarterdeck_core::component::{Stop, Supervisor};
/// use quarterdeck_scheduler::{DefaultScheduler, SchedulerDriver};
///
/// # async fn run(context: Context, stop: Stop) {
/// let driver = SchedulerDriver::new(&context)
///     .scheduler("default-scheduler", DefaultScheduler::new(context.random.fork("default-scheduler")))
///     .scheduler("another", DefaultScheduler::new(context.random.fork("another")));
///
/// Supervisor::new().with(driver).run(stop).await;
/// # }
/// ```
pub struct SchedulerDriver {
    context: Context,
    schedulers: BTreeMap<String, Box<dyn Scheduler>>,
    actions: usize,
}

impl SchedulerDriver {
    /// Makes a driver. If no scheduler is added, it runs a [`DefaultScheduler`] as `default-scheduler`.
    #[must_use]
    pub fn new(context: &Context) -> Self {
        Self { context: context.clone(), schedulers: BTreeMap::new(), actions: 64 }
    }

    /// Adds the scheduler for pods whose `spec.schedulerName` is `name`, in place of an earlier one of that name.
    #[must_use]
    pub fn scheduler(mut self, name: &str, scheduler: impl Scheduler) -> Self {
        self.schedulers.insert(name.into(), Box::new(scheduler));
        self
    }

    /// Sets how many binds and other requests may be under way at once (default: 64). No pod is decided about while there
    /// are as many.
    #[must_use]
    pub fn concurrent_actions(mut self, actions: usize) -> Self {
        self.actions = actions.max(1);
        self
    }
}

impl fmt::Debug for SchedulerDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SchedulerDriver").field("schedulers", &self.schedulers).finish_non_exhaustive()
    }
}

#[async_trait]
impl Component for SchedulerDriver {
    fn name(&self) -> String {
        "scheduler".into()
    }

    async fn run(mut self: Box<Self>, mut stop: Stop) -> Result<(), BoxError> {
        if self.schedulers.is_empty() {
            let random = self.context.random.fork(DEFAULT_NAME);
            self.schedulers.insert(DEFAULT_NAME.into(), Box::new(DefaultScheduler::new(random)));
        }
        // A pod that ran to its end takes no room, and there may be many.
        let unfinished = Selector::all().fields("status.phase!=Succeeded,status.phase!=Failed");
        let nodes = self.context.informers.of::<WatchedNode>();
        let pods = self.context.informers.selected::<WatchedPod>(unfinished);

        let inbox = Inbox::new();
        let _node_changes = nodes.subscribe({
            let inbox = inbox.clone();
            move |event| inbox.put(Change::Node(ObjectKey::of(&**event.object())))
        });
        let _pod_changes = pods.subscribe({
            let inbox = inbox.clone();
            move |event| inbox.put(Change::Pod(ObjectKey::of(&**event.object())))
        });
        let synced = async {
            nodes.synced().await;
            pods.synced().await;
        };
        if stop.or(synced).await.is_none() {
            return Ok(());
        }

        let recorders: Vec<Recorder> =
            self.schedulers.keys().map(|name| self.context.recorder(name)).collect();
        let work = Work::new(*self, nodes.store().clone(), pods.store().clone(), inbox, recorders);
        work.run(stop).await
    }
}

#[cfg(test)]
mod tests;
