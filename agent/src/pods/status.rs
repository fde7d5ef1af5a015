//! A pod's status, as the API gets it: a pure function of what is wanted and what runs.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerState as ApiState, ContainerStateRunning, ContainerStateTerminated,
    ContainerStateWaiting, ContainerStatus as ApiStatus, HostIP, Pod, PodIP, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use quarterdeck_core::runtime::{ContainerState, ContainerStatus, Exit};

use super::conditions;
use super::plan::{Waiting, init_containers, is_init_done, main_containers, succeeded};
use super::view::View;

/// What lost its exit code reports this one, with a reason that says so: the field is not optional.
const UNKNOWN_EXIT: i32 = 137;

/// What a status is made of.
pub(super) struct Facts<'a> {
    pub(super) pod: &'a Pod,
    pub(super) view: &'a View,
    /// Why containers wait.
    pub(super) waiting: &'a BTreeMap<String, Waiting>,
    /// Why the pod is not run at all, if it is not.
    pub(super) refused: Option<&'a str>,
    /// What the probes of containers say, of those that have any.
    pub(super) probed: &'a BTreeMap<String, Probed>,
    /// The runtime's name.
    pub(super) runtime: &'a str,
    /// The node's addresses.
    pub(super) node: &'a [IpAddr],
    /// Why the pod as a whole failed, if it did: reason and message.
    pub(super) failed: Option<&'a (String, String)>,
    /// Whether it will not be run any more.
    pub(super) is_ending: bool,
    /// Whether all that can be said has been said: nothing of it will run again.
    pub(super) is_finished: bool,
    pub(super) now: Timestamp,
}

/// What the probes of a container say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Probed {
    /// Whether it has started.
    pub(crate) started: bool,
    /// Whether it is ready.
    pub(crate) ready: bool,
}

/// The phases of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Pending,
    Running,
    Succeeded,
    Failed,
}

impl Phase {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
        }
    }

    /// Returns whether a pod in this phase never leaves it.
    pub(super) fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }

    /// Returns the phase that the API has.
    pub(super) fn of(pod: &Pod) -> Self {
        match pod.status.as_ref().and_then(|status| status.phase.as_deref()) {
            Some("Running") => Self::Running,
            Some("Succeeded") => Self::Succeeded,
            Some("Failed") => Self::Failed,
            _ => Self::Pending,
        }
    }
}

impl Facts<'_> {
    /// Makes the status.
    pub(super) fn status(&self) -> PodStatus {
        let old = self.pod.status.clone().unwrap_or_default();
        let is_initialized =
            init_containers(self.pod).iter().all(|init| is_init_done(self.pod, self.view, init));
        let default = if is_initialized { "ContainerCreating" } else { "PodInitializing" };
        let init: Vec<_> = init_containers(self.pod)
            .iter()
            .map(|container| self.container(container, true, "PodInitializing"))
            .collect();
        let main: Vec<_> = main_containers(self.pod)
            .iter()
            .map(|container| self.container(container, false, default))
            .collect();
        let phase = self.phase(&init, &main);
        let ips = self.ips(&old);
        let address = |ip: Option<&IpAddr>| ip.map(ToString::to_string);
        let mut status = PodStatus {
            phase: Some(phase.as_str().to_owned()),
            reason: self.failed.map(|(reason, _)| reason.clone()).or(old.reason.filter(|_| phase.is_final())),
            message: self
                .failed
                .map(|(_, message)| message.clone())
                .or(old.message.filter(|_| phase.is_final())),
            host_ip: address(self.node.first()),
            host_ips: some(self.node.iter().map(|ip| HostIP { ip: ip.to_string() }).collect()),
            pod_ip: ips.first().cloned(),
            pod_ips: some(ips.into_iter().map(|ip| PodIP { ip }).collect()),
            start_time: old.start_time.or(Some(Time(self.now))),
            qos_class: old.qos_class,
            container_statuses: some(main),
            init_container_statuses: some(init),
            ..PodStatus::default()
        };
        status.conditions = Some(conditions::conditions(self, &status, phase, is_initialized));
        status
    }

    fn ips(&self, old: &PodStatus) -> Vec<String> {
        let uses_host = self.pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true);
        match &self.view.sandbox {
            Some(_) if uses_host => self.node.iter().map(ToString::to_string).collect(),
            Some(sandbox) => sandbox.ips.iter().map(ToString::to_string).collect(),
            // What ended keeps the addresses that it had.
            None if self.is_ending || self.is_finished => {
                old.pod_ips.iter().flatten().map(|ip| ip.ip.clone()).collect()
            }
            None => Vec::new(),
        }
    }

    fn container(&self, container: &Container, is_init: bool, default: &str) -> ApiStatus {
        let attempts = self.view.attempts(&container.name);
        let newest = attempts.map(|attempts| &attempts.newest);
        let before =
            attempts.and_then(|attempts| attempts.before.as_ref()).and_then(|before| self.ended(before));
        let refused = self.refused.map(|message| Waiting {
            reason: "CreateContainerConfigError".to_owned(),
            message: message.to_owned(),
        });
        let waiting = refused.as_ref().or(self.waiting.get(&container.name));
        let wait = |waiting: Option<&Waiting>| ApiState {
            waiting: Some(ContainerStateWaiting {
                reason: Some(waiting.map_or(default, |waiting| &waiting.reason).to_owned()),
                message: waiting.map(|waiting| waiting.message.clone()).filter(|text| !text.is_empty()),
            }),
            ..ApiState::default()
        };
        let state = |terminated| ApiState { terminated: Some(terminated), ..ApiState::default() };
        let (now, last) = match newest.map(|newest| (&newest.state, newest)) {
            Some((ContainerState::Running { started_at }, _)) => {
                let running = ContainerStateRunning { started_at: Some(Time(*started_at)) };
                (ApiState { running: Some(running), ..ApiState::default() }, before)
            }
            Some((ContainerState::Exited(_), newest)) => match waiting {
                Some(waiting) => (wait(Some(waiting)), self.ended(newest)),
                None => (self.ended(newest).map(state).unwrap_or_default(), before),
            },
            Some((ContainerState::Created, _)) | None => (wait(waiting), before),
        };
        let is_running = now.running.is_some();
        let probed = self.probed.get(&container.name);
        let is_done = is_init && newest.is_some_and(succeeded);
        let started = is_running && probed.is_none_or(|probed| probed.started);
        let ready = (is_running && started && probed.is_none_or(|probed| probed.ready)) || is_done;
        let id = newest.filter(|newest| !newest.id.is_empty());
        ApiStatus {
            name: container.name.clone(),
            state: Some(now),
            last_state: Some(last.map(state).unwrap_or_default()),
            ready,
            started: Some(started),
            restart_count: newest.map_or(0, |newest| i32::try_from(newest.attempt).unwrap_or(i32::MAX)),
            image: newest
                .map_or_else(|| container.image.clone().unwrap_or_default(), |newest| newest.image.clone()),
            image_id: newest.map(|newest| newest.image_id.clone()).unwrap_or_default(),
            container_id: id.map(|newest| self.id(newest)),
            ..ApiStatus::default()
        }
    }

    fn id(&self, container: &ContainerStatus) -> String {
        format!("{}://{}", self.runtime, container.id)
    }

    fn ended(&self, container: &ContainerStatus) -> Option<ContainerStateTerminated> {
        let Exit { exit_code, signal, started_at, finished_at, reason, message } = container.exit()?;
        Some(ContainerStateTerminated {
            exit_code: exit_code.unwrap_or(UNKNOWN_EXIT),
            signal: *signal,
            started_at: started_at.map(Time),
            finished_at: Some(Time(*finished_at)),
            reason: Some(reason.as_str().to_owned()),
            message: Some(message.clone()).filter(|message| !message.is_empty()),
            container_id: Some(container.id.as_str()).filter(|id| !id.is_empty()).map(|_| self.id(container)),
        })
    }

    fn phase(&self, init: &[ApiStatus], main: &[ApiStatus]) -> Phase {
        let old = Phase::of(self.pod);
        if self.failed.is_some() {
            return Phase::Failed;
        }
        if old.is_final() {
            return old;
        }
        let phase = self.observed_phase(init, main);
        // A pod that ran does not become one that never did, and one that is stopped ends well or badly.
        match phase {
            Phase::Pending if old == Phase::Running && !self.is_finished => Phase::Running,
            Phase::Running | Phase::Pending if self.is_finished => Phase::Failed,
            other => other,
        }
    }

    fn observed_phase(&self, init: &[ApiStatus], main: &[ApiStatus]) -> Phase {
        let policy =
            self.pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()).unwrap_or("Always");
        if super::plan::has_failed_init(self.pod, self.view) {
            return Phase::Failed;
        }
        let pending_init = init_containers(self.pod).iter().zip(init).any(|(container, _)| {
            !is_init_done(self.pod, self.view, container) && !super::plan::is_finished(self.pod, self.view)
        });
        let (mut running, mut stopped, mut succeeded, mut waiting) = (0, 0, 0, 0);
        for status in main {
            let state = status.state.as_ref();
            let last = status.last_state.as_ref().and_then(|last| last.terminated.as_ref());
            let terminated = state.and_then(|state| state.terminated.as_ref());
            if state.is_some_and(|state| state.running.is_some()) {
                running += 1;
            } else if let Some(ended) = terminated {
                stopped += 1;
                succeeded += usize::from(ended.exit_code == 0);
            } else if last.is_some() {
                stopped += 1;
            } else {
                waiting += 1;
            }
        }
        match (pending_init, running, stopped, waiting) {
            (true, ..) | (_, _, _, 1..) => Phase::Pending,
            (_, 1.., _, _) => Phase::Running,
            (_, 0, 1.., _) if policy == "Always" && !self.is_finished => Phase::Running,
            (_, 0, 1.., _) if succeeded == stopped => Phase::Succeeded,
            (_, 0, 1.., _) if policy == "Never" || self.is_finished => Phase::Failed,
            (_, 0, 1.., _) => Phase::Running,
            _ => Phase::Pending,
        }
    }
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}
