//! The pods that a process runtime holds, and what happens to them.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use jiff::Timestamp;
use quarterdeck_core::runtime::{
    ContainerKey, ContainerState, ContainerStatus, Event, EventKind, Exit, ExitReason, PodState, PodStatus,
    PodUid, PortMapping, Protocol, RuntimeError,
};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::ability::Abilities;
use super::alive::{Ended, Process, kill_session};
use super::cgroups::Cgroups;
use super::network::PodNetwork;
use super::places::{ContainerRecord, ExitRecord, Places, PodRecord, hash, remove, write_record};
use super::settings::ProcessBuilder;
use crate::runtime::addresses::AddressPool;
use crate::runtime::hub::Hub;
use crate::runtime::tasks::{Owned, Tasks, Turns};

/// How long something may take that the kernel does by itself.
const SOON: Duration = Duration::from_secs(10);

/// A node that is in use: it holds the lock of its directory.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) settings: ProcessBuilder,
    pub(super) places: Places,
    pub(super) cgroups: Cgroups,
    /// Absent if pods share the host's network.
    pub(super) network: Option<PodNetwork>,
    pub(super) abilities: Abilities,
    pub(super) boot: String,
    pub(super) hub: Hub,
    pub(super) tasks: Weak<Tasks>,
    pub(super) tokio: tokio::runtime::Handle,
    pub(super) state: Mutex<State>,
    pub(super) turns: Turns,
    pub(super) _lock: File,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) pods: BTreeMap<PodUid, Pod>,
    pub(super) addresses: AddressPool,
}

#[derive(Debug)]
pub(super) struct Pod {
    pub(super) record: PodRecord,
    pub(super) state: PodState,
    pub(super) containers: BTreeMap<(Arc<str>, u32), Container>,
    /// The tasks that lead host ports to it.
    pub(super) forwards: Vec<Owned>,
}

#[derive(Debug)]
pub(super) struct Container {
    pub(super) record: ContainerRecord,
    /// Absent if it has ended.
    pub(super) process: Option<Process>,
    /// Turns true when it has ended and everybody may know.
    pub(super) ended: watch::Sender<bool>,
}

impl State {
    pub(super) fn new(addresses: AddressPool) -> Self {
        Self { pods: BTreeMap::new(), addresses }
    }

    pub(super) fn container(&self, key: &ContainerKey) -> Option<&Container> {
        self.pods.get(&key.pod)?.containers.get(&(key.name.clone(), key.attempt))
    }

    pub(super) fn container_mut(&mut self, key: &ContainerKey) -> Option<&mut Container> {
        self.pods.get_mut(&key.pod)?.containers.get_mut(&(key.name.clone(), key.attempt))
    }
}

impl Pod {
    pub(super) fn status(&self, node: &str) -> PodStatus {
        let PodRecord { sandbox, address, ports, .. } = &self.record;
        let mapping = |(protocol, port, local): &(Protocol, u16, u16)| {
            Some(PortMapping {
                protocol: *protocol,
                pod: SocketAddr::new(IpAddr::V4((*address)?), *port),
                local: SocketAddr::from((Ipv4Addr::LOCALHOST, *local)),
            })
        };
        PodStatus {
            uid: sandbox.uid.clone(),
            namespace: sandbox.namespace.clone(),
            name: sandbox.name.clone(),
            labels: sandbox.labels.clone(),
            created_at: self.record.created_at,
            state: self.state,
            ips: address.iter().map(|address| IpAddr::V4(*address)).collect(),
            port_map: ports.iter().filter_map(mapping).collect(),
            containers: self
                .containers
                .iter()
                .map(|((name, attempt), container)| {
                    container.status(node, &ContainerKey::new(sandbox.uid.clone(), name.clone(), *attempt))
                })
                .collect(),
        }
    }
}

impl Container {
    pub(super) fn status(&self, node: &str, key: &ContainerKey) -> ContainerStatus {
        let created = self.record.created_at.to_string();
        let id = hash(&[
            node.as_bytes(),
            key.pod.as_str().as_bytes(),
            key.name.as_bytes(),
            &key.attempt.to_le_bytes(),
            created.as_bytes(),
        ]);
        let state = match (&self.record.exit, self.record.started_at) {
            (Some(exit), started_at) => ContainerState::Exited(exit.exit(started_at)),
            (None, Some(started_at)) => ContainerState::Running { started_at },
            (None, None) => ContainerState::Created,
        };
        ContainerStatus {
            name: key.name.clone(),
            attempt: key.attempt,
            id: format!("{id:016x}"),
            image: self.record.image.clone(),
            image_id: super::HOST_IMAGE.to_owned(),
            labels: self.record.labels.clone(),
            created_at: self.record.created_at,
            state,
        }
    }
}

impl Node {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds the lock")
    }

    pub(super) fn now(&self) -> Timestamp {
        self.settings.clock.now()
    }

    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> Option<AbortHandle> {
        Some(self.tasks.upgrade()?.spawn(&self.tokio, task))
    }

    /// Returns when a container is seen to have ended, or is not held.
    pub(super) async fn ended(&self, key: &ContainerKey) -> Result<(), RuntimeError> {
        let mut ended = {
            let state = self.state();
            match state.container(key) {
                Some(container) => container.ended.subscribe(),
                None => return Ok(()),
            }
        };
        // The sender is dropped with the container.
        let _ = ended.wait_for(|ended| *ended).await;
        Ok(())
    }

    /// Kills everything of a container.
    pub(super) fn kill(&self, key: &ContainerKey) {
        let process = self.state().container(key).and_then(|container| container.process.clone());
        self.cgroups.group(&group_name(key)).kill();
        if let Some(process) = process {
            process.kill_group();
        }
    }

    /// Kills everything of a container and waits until it has ended.
    pub(super) async fn end(&self, key: &ContainerKey) -> Result<(), RuntimeError> {
        self.kill(key);
        let ended = tokio::time::timeout(SOON, self.ended(key)).await;
        ended.map_err(|_| {
            RuntimeError::unavailable(format!("{key} was killed, and did not end in {SOON:?}"))
        })?
    }

    /// Waits for the end of a container's process, and then tells it.
    pub(super) async fn look_after(self: Arc<Self>, key: ContainerKey, process: Process) {
        if let Err(error) = process.ended().await {
            tracing::error!(container = %key, %error, "cannot wait for a process; taking it for ended");
        }
        // Before it is collected its number is nobody else's.
        process.kill_group();
        if let Some(container) = self.state().container_mut(&key) {
            container.process = None;
        }
        self.finish(&key, process.collect()).await;
    }

    /// Tidies up after a container whose process has ended, and tells everybody.
    pub(super) async fn finish(&self, key: &ContainerKey, ended: Ended) {
        let group = self.cgroups.group(&group_name(key));
        let out_of_memory = group.out_of_memory();
        let deadline = tokio::time::Instant::now() + SOON;
        while group.exists() {
            group.kill();
            match group.remove() {
                Ok(()) => break,
                Err(error) if tokio::time::Instant::now() > deadline => {
                    tracing::warn!(container = %key, %error, "cannot remove a control group");
                    break;
                }
                // The kernel takes a moment to empty it.
                Err(_) => tokio::time::sleep(Duration::from_millis(2)).await,
            }
        }
        self.record_end(key, ended, out_of_memory);
    }

    fn record_end(&self, key: &ContainerKey, ended: Ended, out_of_memory: bool) {
        let (exit_code, signal) = match ended {
            Ended::Code(code) => (Some(code), None),
            Ended::Signal(signal) => (Some(128 + signal), Some(signal)),
            Ended::Unseen => (None, None),
        };
        let reason = match exit_code {
            Some(137) if out_of_memory => ExitReason::OomKilled,
            code => ExitReason::of_code(code),
        };
        let message = match reason {
            ExitReason::Unknown => "nobody saw the process end, so its exit code is lost".to_owned(),
            _ => String::new(),
        };
        let mut state = self.state();
        let Some(container) = state.container_mut(key) else { return };
        let exit = Exit {
            exit_code,
            signal,
            started_at: container.record.started_at,
            finished_at: self.now(),
            reason,
            message,
        };
        container.record.exit = Some(ExitRecord::of(&exit));
        container.process = None;
        if let Err(error) = write_record(&self.places.container_record(key), &container.record) {
            tracing::warn!(container = %key, %error, "cannot write down the end of a container");
        }
        container.ended.send_replace(true);
        // Under the lock, so that events come in the order in which things happened.
        self.publish(key, EventKind::Exited { name: key.name.clone(), attempt: key.attempt, exit });
        self.forget_older(&mut state, key);
    }

    pub(super) fn publish(&self, key: &ContainerKey, kind: EventKind) {
        self.hub.publish(&Event { pod: key.pod.clone(), kind });
    }

    /// Drops the attempts that ended before this one.
    fn forget_older(&self, state: &mut State, key: &ContainerKey) {
        let Some(pod) = state.pods.get_mut(&key.pod) else { return };
        let older: Vec<_> = pod
            .containers
            .keys()
            .filter(|(name, attempt)| *name == key.name && *attempt < key.attempt)
            .cloned()
            .collect();
        for (name, attempt) in older {
            pod.containers.remove(&(name.clone(), attempt));
            let older = ContainerKey { pod: key.pod.clone(), name, attempt };
            if let Err(error) = remove(&self.places.container(&older)) {
                tracing::warn!(container = %older, %error, "cannot remove an old attempt");
            }
        }
    }

    /// Ends what is left of a container that ended unseen.
    pub(super) fn kill_rest(&self, key: &ContainerKey) {
        self.cgroups.group(&group_name(key)).kill();
        let stat = std::fs::read_to_string(self.places.stat(key)).unwrap_or_default();
        kill_session(&stat, &self.marker(key));
    }

    /// Returns the environment variable that all processes of a container have.
    pub(super) fn marker(&self, key: &ContainerKey) -> String {
        format!("QUARTERDECK_CONTAINER={}/{}/{}/{}", self.places.node(), key.pod, key.name, key.attempt)
    }
}

/// Returns the name of a container's control group.
pub(super) fn group_name(key: &ContainerKey) -> String {
    format!("{}_{}_{}", key.pod, key.name, key.attempt)
}
