//! What to do next for a pod: a pure function of what is wanted, what runs and what is being waited for.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use quarterdeck_core::runtime::ContainerStatus;

use super::view::View;
use crate::backoff::{Backoff, go_duration};

/// Why a container does not run, as its status says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// One word in CamelCase.
    pub(crate) reason: String,
    /// More, for the user; may be empty.
    pub(crate) message: String,
}

/// A container that is not tried again before a time.
#[derive(Debug, Clone)]
pub(crate) struct Hold {
    /// The time.
    pub(crate) until: Timestamp,
    /// Why.
    pub(crate) waiting: Waiting,
}

/// What keeps the containers of a pod from being started, each by its name.
#[derive(Debug, Default)]
pub(crate) struct Holds {
    /// Those whose start failed.
    pub(crate) containers: BTreeMap<String, Hold>,
    /// Those that ended, and how often.
    pub(crate) crashes: BTreeMap<String, Backoff>,
    /// Those that run, and whose startup probe has not succeeded yet.
    pub(crate) starting: BTreeSet<String>,
}

/// The next step.
#[derive(Debug, PartialEq)]
pub(crate) enum Step<'a> {
    /// Nothing can be done before something happens.
    Wait,
    /// The pod needs a sandbox.
    Sandbox,
    /// A container is to be started.
    Start {
        /// The container.
        container: &'a Container,
        /// The number of the attempt.
        attempt: u32,
    },
    /// All is done: the pod has ended, and what still runs of it is to be stopped.
    Finished,
}

/// What to do next, and what is being waited for.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    /// The next step.
    pub(crate) step: Step<'a>,
    /// Why containers wait that are not to be started now.
    pub(crate) waiting: BTreeMap<String, Waiting>,
    /// When to plan again at the latest.
    pub(crate) until: Option<Timestamp>,
}

/// Returns the init containers of a pod.
pub(crate) fn init_containers(pod: &Pod) -> &[Container] {
    pod.spec.as_ref().and_then(|spec| spec.init_containers.as_deref()).unwrap_or_default()
}

/// Returns the main containers of a pod.
pub(crate) fn main_containers(pod: &Pod) -> &[Container] {
    pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default()
}

/// Returns whether an init container goes on beside the main ones.
pub(crate) fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// Returns whether a container that ended like this is started again.
pub(crate) fn restarts(pod: &Pod, ended: &ContainerStatus) -> bool {
    let policy = pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref());
    match policy.unwrap_or("Always") {
        "Never" => false,
        "OnFailure" => !succeeded(ended),
        _ => true,
    }
}

/// Returns whether a container ended well.
pub(crate) fn succeeded(ended: &ContainerStatus) -> bool {
    ended.exit().is_some_and(|exit| exit.exit_code == Some(0))
}

/// Returns whether an init container has done its work, since the sandbox is there.
pub(crate) fn is_init_done(pod: &Pod, view: &View, container: &Container) -> bool {
    let is_of_sandbox = |status: &ContainerStatus| view.is_of_sandbox(status);
    if is_sidecar(container) {
        return view
            .newest(&container.name)
            .is_some_and(|newest| is_of_sandbox(newest) && newest.is_running())
            || has_started(pod, view);
    }
    view.newest(&container.name).is_some_and(|newest| is_of_sandbox(newest) && succeeded(newest))
        || has_started(pod, view)
}

/// Returns whether a main container was started since the sandbox is there.
fn has_started(pod: &Pod, view: &View) -> bool {
    main_containers(pod)
        .iter()
        .filter_map(|main| view.newest(&main.name))
        .any(|status| view.is_of_sandbox(status))
}

/// Returns whether no main container runs or will run any more, or an init container failed for good.
pub(crate) fn is_finished(pod: &Pod, view: &View) -> bool {
    let ended = |container: &Container| {
        view.newest(&container.name).is_some_and(|newest| newest.exit().is_some() && !restarts(pod, newest))
    };
    main_containers(pod).iter().all(ended) || has_failed_init(pod, view)
}

/// Returns whether an init container failed for good.
pub(crate) fn has_failed_init(pod: &Pod, view: &View) -> bool {
    init_containers(pod).iter().filter(|container| !is_sidecar(container)).any(|container| {
        view.newest(&container.name)
            .is_some_and(|newest| newest.exit().is_some() && !succeeded(newest) && !restarts(pod, newest))
    })
}

/// Plans the next step of a pod that is wanted.
pub(crate) fn plan<'a>(pod: &'a Pod, view: &View, holds: &Holds, now: Timestamp) -> Plan<'a> {
    let mut plan = Plan { step: Step::Wait, waiting: BTreeMap::new(), until: None };
    if is_finished(pod, view) {
        plan.step = Step::Finished;
        return plan;
    }
    if view.sandbox.is_none() {
        plan.step = Step::Sandbox;
        return plan;
    }
    let planner = Planner { pod, view, holds, now };
    let mut blocked = false;
    let has_started = has_started(pod, view);
    for init in init_containers(pod) {
        if is_sidecar(init) {
            let waits = planner.consider(init, &mut plan) || holds.starting.contains(&init.name);
            blocked = waits && !has_started;
        } else if !is_init_done(pod, view, init) {
            planner.consider(init, &mut plan);
            blocked = true;
        }
        if blocked || plan.step != Step::Wait {
            return plan;
        }
    }
    for main in main_containers(pod) {
        let restarts =
            view.newest(&main.name).is_none_or(|newest| newest.exit().is_none() || restarts(pod, newest));
        if restarts {
            planner.consider(main, &mut plan);
        }
        if plan.step != Step::Wait {
            break;
        }
    }
    plan
}

struct Planner<'a, 'b> {
    pod: &'a Pod,
    view: &'b View,
    holds: &'b Holds,
    now: Timestamp,
}

impl<'a> Planner<'a, '_> {
    /// Has a container started that should run and does not, or says why that must wait. Returns whether it does not run.
    fn consider(&self, container: &'a Container, plan: &mut Plan<'a>) -> bool {
        let name = &container.name;
        let newest = self.view.newest(name);
        if newest.is_some_and(ContainerStatus::is_running) {
            return false;
        }
        if let Some(hold) = self.holds.containers.get(name).filter(|hold| hold.until > self.now) {
            plan.wait(name, hold.waiting.clone(), hold.until);
            return true;
        }
        let crashed = newest.and_then(|newest| newest.exit()).map(|exit| exit.finished_at);
        let backoff = self.holds.crashes.get(name).copied().unwrap_or_default();
        if let Some((until, delay)) =
            crashed.and_then(|at| backoff.until(at)).filter(|(until, _)| *until > self.now)
        {
            plan.wait(name, self.crash_loop(name, delay), until);
            return true;
        }
        let attempt = match newest {
            Some(newest) => newest.attempt + u32::from(newest.exit().is_some()),
            None => 0,
        };
        plan.step = Step::Start { container, attempt };
        true
    }

    fn crash_loop(&self, name: &str, delay: std::time::Duration) -> Waiting {
        let message = format!(
            "back-off {} restarting failed container={name} pod={}",
            go_duration(delay),
            full_name(self.pod)
        );
        Waiting { reason: "CrashLoopBackOff".to_owned(), message }
    }
}

impl Plan<'_> {
    fn wait(&mut self, name: &str, waiting: Waiting, until: Timestamp) {
        self.waiting.insert(name.to_owned(), waiting);
        self.until = Some(self.until.map_or(until, |known| known.min(until)));
    }
}

/// Names a pod as `name_namespace(uid)`.
pub(crate) fn full_name(pod: &Pod) -> String {
    let meta = &pod.metadata;
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    format!("{}_{}({})", text(&meta.name), text(&meta.namespace), text(&meta.uid))
}
