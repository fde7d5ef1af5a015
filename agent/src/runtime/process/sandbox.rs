//! Making pods' sandboxes, and removing them.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use quarterdeck_core::runtime::{PodSandbox, PodState, PodStatus, PodUid, Protocol, RuntimeError};

use super::ability::check_pod;
use super::network::v4;
use super::node::{Node, Pod};
use super::places::{PodRecord, make_directory, remove, write_record};
use super::{etc, ports};
use crate::runtime::forward;
use crate::runtime::tasks::{Owned, Turn};

impl Node {
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
