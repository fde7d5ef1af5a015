//! The pods that a process runtime holds, and what happens to them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use jiff::Timestamp;
use quarterdeck_core::runtime::{
    ContainerKey, ContainerState, ContainerStatus, Event, EventKind, Exit, ExitReason, PodSandbox, PodState,
    PodStatus, PodUid, PortMapping, Protocol, RuntimeError,
};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::ability::{Abilities, check_pod};
use super::alive::{Ended, Process, kill_session};
use super::cgroups::Cgroups;
use super::network::{PodNetwork, v4};
use super::places::{
    ContainerRecord, ExitRecord, Places, PodRecord, hash, make_directory, remove, write_record,
};
use super::settings::ProcessBuilder;
use super::{etc, ports};
use crate::runtime::addresses::AddressPool;
use crate::runtime::forward;
use crate::runtime::hub::Hub;
use crate::runtime::tasks::{Owned, Tasks, Turn, Turns};

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

    /// Makes a pod, or gives one that was lost a new sandbox. Blocks.
    pub(super) fn start_pod(&self, sandbox: &PodSandbox, _turn: &Turn) -> Result<PodStatus, RuntimeError> {
        check_pod(sandbox, self.abilities)?;
        let new = match self.state().pods.get(&sandbox.uid) {
            Some(held) if held.state == PodState::Ready => return Ok(held.status(&self.places.node())),
            held => held.is_none(),
        };
        let made = self.make_pod(sandbox);
        if made.is_err() {
            self.undo(&sandbox.uid, new);
        }
        let mut pod = made?;
        let mut state = self.state();
        pod.containers = state.pods.remove(&sandbox.uid).map(|lost| lost.containers).unwrap_or_default();
        let status = pod.status(&self.places.node());
        state.pods.insert(sandbox.uid.clone(), pod);
        Ok(status)
    }

    fn make_pod(&self, sandbox: &PodSandbox) -> Result<Pod, RuntimeError> {
        let uid = &sandbox.uid;
        make_directory(&self.places.containers(uid)).map_err(RuntimeError::unavailable)?;
        let mut record = PodRecord {
            sandbox: sandbox.clone(),
            created_at: self.now(),
            address: None,
            isolated: !sandbox.host_network && self.network.is_some(),
            ports: Vec::new(),
            boot: self.boot.clone(),
        };
        if !sandbox.host_network {
            let taken = self.state().addresses.take().and_then(v4);
            let what = || format!("no address is left in {}", self.settings.pod_cidr);
            record.address = Some(taken.ok_or_else(|| RuntimeError::Exhausted { what: what() })?);
        }
        let made = self.connect(&mut record);
        let Some(address) = record.address.filter(|_| made.is_err()) else {
            return made;
        };
        self.state().addresses.give_back(address.into());
        made
    }

    /// Gives a pod its network, its files and its ports of the host.
    fn connect(&self, record: &mut PodRecord) -> Result<Pod, RuntimeError> {
        let sandbox = record.sandbox.clone();
        match (&self.network, record.address) {
            (Some(network), Some(address)) => {
                network.remove(sandbox.uid.as_str()).map_err(RuntimeError::unavailable)?;
                network.add(sandbox.uid.as_str(), address).map_err(RuntimeError::unavailable)?;
            }
            (None, Some(_)) => record.ports = self.loopback_ports(&sandbox)?,
            (_, None) => {}
        }
        etc::write(&self.places, record).map_err(RuntimeError::unavailable)?;
        let mut pod = Pod {
            record: record.clone(),
            state: PodState::Ready,
            containers: BTreeMap::new(),
            forwards: Vec::new(),
        };
        self.open_ports(&mut pod)?;
        write_record(&self.places.pod_record(&sandbox.uid), record).map_err(RuntimeError::unavailable)?;
        Ok(pod)
    }

    /// Opens the host ports of a pod.
    pub(super) fn open_ports(&self, pod: &mut Pod) -> Result<(), RuntimeError> {
        let record = &pod.record;
        let Some(address) = record.address else { return Ok(()) };
        for port in &record.sandbox.ports {
            let Some(opened) = forward::open(port)? else { continue };
            let local = record
                .ports
                .iter()
                .find(|(protocol, number, _)| (*protocol, *number) == (port.protocol, port.container_port));
            let target = match local {
                Some((_, _, local)) => SocketAddr::from((Ipv4Addr::LOCALHOST, *local)),
                None => SocketAddr::from((address, port.container_port)),
            };
            pod.forwards.extend(self.spawn(opened.lead(target)).map(Owned));
        }
        Ok(())
    }

    fn loopback_ports(&self, sandbox: &PodSandbox) -> Result<Vec<(Protocol, u16, u16)>, RuntimeError> {
        let mut found: Vec<(Protocol, u16, u16)> = Vec::new();
        for port in &sandbox.ports {
            let wanted = (port.protocol, port.container_port);
            if found.iter().any(|(protocol, number, _)| (*protocol, *number) == wanted) {
                continue;
            }
            let state = self.state();
            let others = || state.pods.values().flat_map(|pod| &pod.record.ports);
            let taken = |local| others().chain(&found).any(|(_, _, other)| *other == local);
            let local = ports::find(&sandbox.uid, port.container_port, port.protocol, taken);
            let what = || "no loopback port is left for pods".to_owned();
            let local = local.ok_or_else(|| RuntimeError::Exhausted { what: what() })?;
            drop(state);
            found.push((port.protocol, port.container_port, local));
        }
        Ok(found)
    }

    /// Takes back what was made of a pod that could not be made.
    fn undo(&self, pod: &PodUid, new: bool) {
        let network = self.network.as_ref().map_or(Ok(()), |network| network.remove(pod.as_str()));
        let files = if new { remove(&self.places.pod(pod)) } else { Ok(()) };
        if let Err(error) = network.and(files) {
            tracing::warn!(%pod, %error, "something is left of a pod that could not be started");
        }
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

    /// Removes a pod whose containers have ended. Blocks.
    pub(super) fn remove_pod(&self, uid: &PodUid, _turn: &Turn) -> io::Result<()> {
        if let Some(pod) = self.state().pods.get_mut(uid) {
            pod.forwards.clear();
        }
        if let Some(network) = &self.network {
            network.remove(uid.as_str())?;
        }
        remove(&self.places.pod(uid))?;
        let mut state = self.state();
        if let Some(address) = state.pods.remove(uid).and_then(|pod| pod.record.address) {
            state.addresses.give_back(address.into());
        }
        Ok(())
    }
}

/// Returns the name of a container's control group.
pub(super) fn group_name(key: &ContainerKey) -> String {
    format!("{}_{}_{}", key.pod, key.name, key.attempt)
}
