//! The table of a simulated node: pods, containers, and what is due when.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use quarterdeck_core::clock::moment_in;
use quarterdeck_core::runtime::{
    ContainerKey, ContainerSpec, ContainerState, ContainerStatus, Event, EventKind, Exit, ExitReason,
    PodSandbox, PodState, PodStatus, PodUid,
};
use tokio::time::Instant;

use super::script::{Ending, Script};
use crate::runtime::addresses::AddressPool;

/// How many lines that were not in the script are kept of one container.
const EXTRA_LINES: usize = 1000;

#[derive(Debug)]
pub(super) struct State {
    pub(super) pods: BTreeMap<PodUid, Pod>,
    pub(super) addresses: AddressPool,
    pub(super) available: bool,
    /// Images that were pulled.
    pub(super) pulled: BTreeSet<String>,
    /// What is due, in order. The number keeps apart what is due at the same time, first planned first.
    timeline: BTreeMap<(Instant, u64), ContainerKey>,
    planned: u64,
}

#[derive(Debug)]
pub(super) struct Pod {
    pub(super) sandbox: PodSandbox,
    pub(super) created_at: Timestamp,
    pub(super) state: PodState,
    pub(super) ip: Option<IpAddr>,
    pub(super) containers: BTreeMap<(Arc<str>, u32), Container>,
}

#[derive(Debug)]
pub(super) struct Container {
    spec: ContainerSpec,
    pub(super) script: Arc<Script>,
    created_at: Timestamp,
    pub(super) state: ContainerState,
    /// When it started, or will.
    pub(super) start: Instant,
    /// When and how it ends, if that is known.
    pub(super) end: Option<(Instant, Ending)>,
    /// Its entry in the timeline.
    due: Option<(Instant, u64)>,
    /// Lines that were not in the script, by the time since its start.
    extra: Vec<(Duration, String)>,
}

impl State {
    pub(super) fn new(addresses: AddressPool) -> Self {
        Self {
            pods: BTreeMap::new(),
            addresses,
            available: true,
            pulled: BTreeSet::new(),
            timeline: BTreeMap::new(),
            planned: 0,
        }
    }

    /// Returns when something happens next.
    pub(super) fn next(&self) -> Option<Instant> {
        self.timeline.first_key_value().map(|((at, _), _)| *at)
    }

    /// Does everything that is due by `now`, in order.
    pub(super) fn advance(&mut self, now: Instant) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(entry) = self.timeline.first_entry().filter(|entry| entry.key().0 <= now) {
            let key = entry.remove();
            let Some(container) = self.container_mut(&key) else { continue };
            container.due = None;
            if let ContainerState::Created = container.state {
                container.state = ContainerState::Running { started_at: container.time(container.start) };
                events.push(event(&key, None));
            } else if let Some((at, ending)) = container.end {
                let exit = container.exit(at, ending);
                container.state = ContainerState::Exited(exit.clone());
                events.push(event(&key, Some(exit)));
                self.forget_older(&key);
            }
            self.plan(&key);
        }
        events
    }

    pub(super) fn container(&self, key: &ContainerKey) -> Option<&Container> {
        self.pods.get(&key.pod)?.containers.get(&(key.name.clone(), key.attempt))
    }

    pub(super) fn container_mut(&mut self, key: &ContainerKey) -> Option<&mut Container> {
        self.pods.get_mut(&key.pod)?.containers.get_mut(&(key.name.clone(), key.attempt))
    }

    /// Adds a container that follows `script` from `now` on.
    pub(super) fn add(
        &mut self,
        key: &ContainerKey,
        spec: &ContainerSpec,
        script: Arc<Script>,
        now: (Instant, Timestamp),
    ) {
        let start = now.0 + script.start_after;
        let end = script.exit.map(|(after, ending)| (start + after, ending));
        let container = Container {
            spec: ContainerSpec {
                name: spec.name.clone(),
                attempt: spec.attempt,
                image: spec.image.clone(),
                labels: spec.labels.clone(),
                ..ContainerSpec::default()
            },
            script,
            created_at: now.1,
            state: ContainerState::Created,
            start,
            end,
            due: None,
            extra: Vec::new(),
        };
        if let Some(pod) = self.pods.get_mut(&key.pod) {
            pod.containers.insert((key.name.clone(), key.attempt), container);
        }
        self.plan(key);
    }

    /// Ends a container at `at` in this way, unless it ends earlier.
    pub(super) fn end(&mut self, key: &ContainerKey, at: Instant, ending: Ending) {
        let Some(container) = self.container_mut(key) else { return };
        let at = at.max(container.start);
        if container.end.is_none_or(|(earlier, _)| at < earlier) {
            container.end = Some((at, ending));
            self.plan(key);
        }
    }

    /// Asks a container to end, as SIGTERM does, and ends it by force after the grace period.
    pub(super) fn stop(&mut self, key: &ContainerKey, now: Instant, grace: Duration) {
        let Some(container) = self.container(key) else { return };
        let script = container.script.clone();
        match script.stop_after {
            Some(after) if after < grace => self.end(key, now + after, script.stop),
            _ => self.end(key, moment_in(grace), Ending::Signal(9)),
        }
    }

    /// Removes a pod with everything in it.
    pub(super) fn remove(&mut self, uid: &PodUid) {
        let Some(pod) = self.pods.remove(uid) else { return };
        for container in pod.containers.values() {
            if let Some(due) = container.due {
                self.timeline.remove(&due);
            }
        }
        if let Some(ip) = pod.ip {
            self.addresses.give_back(ip);
        }
    }

    /// Puts what happens next to a container into the timeline.
    fn plan(&mut self, key: &ContainerKey) {
        self.planned += 1;
        let number = self.planned;
        let Some(container) = self.container_mut(key) else { return };
        let at = match container.state {
            ContainerState::Created => Some(container.start),
            ContainerState::Running { .. } => container.end.map(|(at, _)| at),
            ContainerState::Exited(_) => None,
        };
        let earlier = std::mem::replace(&mut container.due, at.map(|at| (at, number)));
        if let Some(earlier) = earlier {
            self.timeline.remove(&earlier);
        }
        if let Some(at) = at {
            self.timeline.insert((at, number), key.clone());
        }
    }

    /// Drops the attempts that ended before this one.
    fn forget_older(&mut self, key: &ContainerKey) {
        if let Some(pod) = self.pods.get_mut(&key.pod) {
            pod.containers.retain(|(name, attempt), _| *name != key.name || *attempt >= key.attempt);
        }
    }
}

impl Pod {
    pub(super) fn status(&self) -> PodStatus {
        PodStatus {
            uid: self.sandbox.uid.clone(),
            namespace: self.sandbox.namespace.clone(),
            name: self.sandbox.name.clone(),
            labels: self.sandbox.labels.clone(),
            created_at: self.created_at,
            state: self.state,
            ips: self.ip.into_iter().collect(),
            port_map: Vec::new(),
            containers: self.containers.values().map(|c| c.status(&self.sandbox.uid)).collect(),
        }
    }
}

impl Container {
    pub(super) fn status(&self, pod: &PodUid) -> ContainerStatus {
        ContainerStatus {
            name: self.spec.name.clone(),
            attempt: self.spec.attempt,
            id: format!("{pod}-{}-{}", self.spec.name, self.spec.attempt),
            image: self.spec.image.clone(),
            image_id: super::image_id(&self.spec.image),
            labels: self.spec.labels.clone(),
            created_at: self.created_at,
            state: self.state.clone(),
        }
    }

    /// Writes a line that is not in the script.
    pub(super) fn say(&mut self, now: Instant, line: String) {
        if self.extra.len() == EXTRA_LINES {
            self.extra.remove(0);
        }
        self.extra.push((now.saturating_duration_since(self.start), line));
    }

    /// Returns the lines written by `now`, with their times.
    pub(super) fn log(&self, now: Instant) -> Vec<(Timestamp, String)> {
        let end = match &self.state {
            ContainerState::Created => return Vec::new(),
            ContainerState::Running { .. } => now,
            ContainerState::Exited(_) => self.end.map_or(now, |(at, _)| at),
        };
        let age = end.saturating_duration_since(self.start);
        let written = self.script.log.iter().filter(|(after, _)| *after <= age);
        let mut lines: Vec<_> = written.chain(&self.extra).collect();
        lines.sort_by_key(|(after, _)| *after);
        lines.into_iter().map(|(after, line)| (self.time(self.start + *after), line.clone())).collect()
    }

    /// Returns when the next line of the script is due.
    pub(super) fn next_line(&self, now: Instant) -> Option<Instant> {
        let due = self.script.log.iter().map(|(after, _)| self.start + *after);
        due.filter(|at| *at > now).min()
    }

    /// Returns the time of day at an instant not before its creation.
    fn time(&self, at: Instant) -> Timestamp {
        let made = self.start - self.script.start_after;
        self.created_at + SignedDuration::try_from(at - made).expect("a script's times fit a signed duration")
    }

    fn exit(&self, at: Instant, ending: Ending) -> Exit {
        let (exit_code, signal, reason) = match ending {
            Ending::Code(code) => (Some(code), None, ExitReason::of_code(Some(code))),
            Ending::Signal(signal) => (Some(128 + signal), Some(signal), ExitReason::Error),
            Ending::OutOfMemory => (Some(137), Some(9), ExitReason::OomKilled),
            Ending::Unseen => (None, None, ExitReason::Unknown),
        };
        Exit {
            exit_code,
            signal,
            started_at: Some(self.time(self.start)),
            finished_at: self.time(at),
            reason,
            message: String::new(),
        }
    }
}

fn event(key: &ContainerKey, exit: Option<Exit>) -> Event {
    let (name, attempt) = (key.name.clone(), key.attempt);
    let kind = match exit {
        None => EventKind::Started { name, attempt },
        Some(exit) => EventKind::Exited { name, attempt, exit },
    };
    Event { pod: key.pod.clone(), kind }
}
