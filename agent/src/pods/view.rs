//! What runs of a pod, as far as its worker knows.
//!
//! It is what the runtime listed once, and what it told since: events have no gap, so nothing is listed again while they
//! come.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use quarterdeck_core::runtime::{
    ContainerState, ContainerStatus, Event, EventKind, Exit, ExitReason, PodState, PodStatus, PortMapping,
};

use crate::figures::Tally;

/// A pod, as it runs.
#[derive(Debug, Default)]
pub(crate) struct View {
    /// Its sandbox, if it has one that containers can be started in.
    pub(crate) sandbox: Option<Sandbox>,
    /// Whether the runtime holds anything of it.
    pub(crate) is_held: bool,
    containers: BTreeMap<String, Attempts>,
    /// The newest attempts from before the sandbox. Dates alone do not tell: they may be equal.
    before_sandbox: BTreeMap<String, u32>,
}

/// What the containers of a pod share.
#[derive(Debug, Clone)]
pub(crate) struct Sandbox {
    /// When it was made.
    pub(crate) created_at: Timestamp,
    /// The pod's addresses; none on the host's network.
    pub(crate) ips: Vec<IpAddr>,
    /// Where its ports really are, if not at its addresses.
    pub(crate) ports: Vec<PortMapping>,
}

/// The attempts of a container that are known.
#[derive(Debug)]
pub(crate) struct Attempts {
    /// The newest.
    pub(crate) newest: ContainerStatus,
    /// The one before it that ended last.
    pub(crate) before: Option<ContainerStatus>,
}

impl View {
    /// Makes a view of what the runtime lists.
    pub(crate) fn of(status: PodStatus) -> Self {
        let mut view = Self { is_held: true, ..Self::default() };
        view.set_sandbox(&status);
        for container in status.containers {
            view.put(container);
        }
        view
    }

    /// Takes over what the runtime lists, and keeps what it does not know: attempts that could not be run.
    pub(crate) fn refresh(&mut self, status: Option<PodStatus>) {
        let fresh = status.map(Self::of).unwrap_or_default();
        let old = std::mem::replace(self, fresh);
        self.before_sandbox = old.before_sandbox;
        for (name, attempts) in old.containers {
            if let Some(exit) = attempts.newest.exit().filter(|exit| !exit.message.is_empty()) {
                self.explain(&name, attempts.newest.attempt, exit.message.clone());
            }
            if attempts.newest.exit().is_none() {
                // It ran when it was seen last, and is not listed: its end was missed, and so was its code.
                let newest = lost(attempts.newest);
                self.keep(name, Attempts { newest, before: attempts.before });
            } else {
                self.keep(name, attempts);
            }
        }
    }

    fn keep(&mut self, name: String, attempts: Attempts) {
        let is_newer = self.newest(&name).is_none_or(|known| known.attempt < attempts.newest.attempt);
        if is_newer {
            self.containers.insert(name, attempts);
        }
    }

    /// Notes that a new sandbox was made: what was started before does not run in it.
    pub(crate) fn renew_sandbox(&mut self, status: &PodStatus) {
        let newest = self.containers.iter().map(|(name, known)| (name.clone(), known.newest.attempt));
        self.before_sandbox = newest.collect();
        self.set_sandbox(status);
    }

    fn set_sandbox(&mut self, status: &PodStatus) {
        self.is_held = true;
        let is_ready = status.state == PodState::Ready;
        self.sandbox = is_ready.then(|| Sandbox {
            created_at: status.created_at,
            ips: status.ips.clone(),
            ports: status.port_map.clone(),
        });
    }

    /// Notes the present state of an attempt.
    pub(crate) fn put(&mut self, status: ContainerStatus) {
        let Some(known) = self.containers.get_mut(&*status.name) else {
            self.containers.insert(status.name.to_string(), Attempts { newest: status, before: None });
            return;
        };
        if known.newest.attempt > status.attempt {
            if status.exit().is_some() {
                known.before = Some(status);
            }
        } else if known.newest.attempt == status.attempt {
            // An end is final: what is told later of a start was seen before it.
            if known.newest.exit().is_none() {
                known.newest = status;
            }
        } else {
            let old = std::mem::replace(&mut known.newest, status);
            if old.exit().is_some() {
                known.before = Some(old);
            }
        }
    }

    /// Applies an event. Returns whether it needs to be [refreshed](Self::refresh).
    pub(crate) fn apply(&mut self, event: &Event) -> bool {
        let (name, attempt, exit) = match &event.kind {
            EventKind::Started { name, attempt } => (name, *attempt, None),
            EventKind::Exited { name, attempt, exit } => (name, *attempt, Some(exit)),
            _ => return true,
        };
        let Some(known) = self.containers.get_mut(&**name).filter(|known| known.newest.attempt >= attempt)
        else {
            return true;
        };
        if let (Some(exit), true) = (exit, known.newest.attempt == attempt && known.newest.exit().is_none()) {
            known.newest.state = ContainerState::Exited(exit.clone());
        }
        false
    }

    /// Says why an attempt ended, if the runtime did not.
    pub(crate) fn explain(&mut self, name: &str, attempt: u32, message: String) {
        let newest = self.containers.get_mut(name).map(|attempts| &mut attempts.newest);
        if let Some(newest) = newest.filter(|newest| newest.attempt == attempt)
            && let ContainerState::Exited(exit) = &mut newest.state
            && exit.message.is_empty()
        {
            exit.message = message;
        }
    }

    /// Notes an attempt that could not be run.
    pub(crate) fn failed(&mut self, name: &str, attempt: u32, image: &str, message: String, now: Timestamp) {
        self.put(ContainerStatus {
            name: Arc::from(name),
            attempt,
            id: String::new(),
            image: image.to_owned(),
            image_id: String::new(),
            labels: BTreeMap::new(),
            created_at: now,
            state: ContainerState::Exited(Exit {
                exit_code: Some(128),
                signal: None,
                started_at: None,
                finished_at: now,
                reason: ExitReason::CannotRun,
                message,
            }),
        });
    }

    /// Returns the attempts of a container.
    pub(crate) fn attempts(&self, name: &str) -> Option<&Attempts> {
        self.containers.get(name)
    }

    /// Returns the newest attempt of a container.
    pub(crate) fn newest(&self, name: &str) -> Option<&ContainerStatus> {
        self.containers.get(name).map(|attempts| &attempts.newest)
    }

    /// Returns the containers that have not ended.
    pub(crate) fn alive(&self) -> impl Iterator<Item = &ContainerStatus> {
        self.containers.values().map(|attempts| &attempts.newest).filter(|newest| newest.exit().is_none())
    }

    /// Counts what is there.
    pub(crate) fn tally(&self) -> Tally {
        let mut tally = Tally { has_sandbox: self.sandbox.is_some(), ..Tally::default() };
        for attempts in self.containers.values() {
            let state = match attempts.newest.state {
                ContainerState::Created => 0,
                ContainerState::Running { .. } => 1,
                ContainerState::Exited(_) => 2,
            };
            tally.containers[state] += 1;
        }
        tally
    }

    /// Returns the newest attempts that have ended and do not say why: name, number, and whether it failed.
    pub(crate) fn unexplained(&self) -> Vec<(Arc<str>, u32, bool)> {
        let newest = self.containers.values().map(|attempts| &attempts.newest);
        let ended = newest.filter_map(|newest| Some((newest, newest.exit()?)));
        let silent = ended.filter(|(_, exit)| exit.message.is_empty());
        silent
            .map(|(newest, exit)| (newest.name.clone(), newest.attempt, exit.exit_code != Some(0)))
            .collect()
    }

    /// Returns whether a container was started since the sandbox is there.
    pub(crate) fn is_of_sandbox(&self, status: &ContainerStatus) -> bool {
        let is_older = self.before_sandbox.get(&*status.name).is_some_and(|last| status.attempt <= *last);
        !is_older && self.sandbox.as_ref().is_some_and(|sandbox| status.created_at >= sandbox.created_at)
    }
}

/// Returns what is left to say of a container that is gone.
fn lost(mut status: ContainerStatus) -> ContainerStatus {
    let started_at = match status.state {
        ContainerState::Running { started_at } => Some(started_at),
        _ => None,
    };
    status.state = ContainerState::Exited(Exit {
        exit_code: None,
        signal: None,
        started_at,
        finished_at: started_at.unwrap_or(status.created_at),
        reason: ExitReason::Unknown,
        message: "The container is gone, and nobody saw it end".to_owned(),
    });
    status
}
