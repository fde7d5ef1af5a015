//! Taking over what an earlier run of the agent left, and clearing away what it left half.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use quarterdeck_core::runtime::{ContainerKey, PodState, PodUid, RuntimeError};
use rustix::fs::FlockOperation;
use rustix::io::Errno;
use tokio::sync::watch;

use super::ability::Abilities;
use super::alive::{Ended, Process};
use super::cgroups::Cgroups;
use super::logs;
use super::network::{PodNetwork, gateway};
use super::node::{Container, Node, Pod, State, group_name};
use super::places::{ContainerRecord, Places, PodRecord, make_directory, read_record, remove};
use super::settings::{Isolation, ProcessBuilder};
use crate::runtime::addresses::AddressPool;
use crate::runtime::machine;
use crate::runtime::tasks::Tasks;

/// How long the runtime waits for an earlier one to let go of the node.
const PATIENCE: Duration = Duration::from_secs(5);

/// Opens a node: takes its lock, and takes over the pods that it has.
pub(super) async fn open(settings: ProcessBuilder, tasks: Weak<Tasks>) -> Result<Arc<Node>, RuntimeError> {
    let places = Places::new(settings.state_dir.clone());
    make_directory(&places.pods()).map_err(|error| failed(&places, error))?;
    let lock = lock(&places).await?;
    let opened = tokio::task::spawn_blocking(move || prepare(settings, places, lock, tasks));
    let node = opened.await.map_err(RuntimeError::unavailable)??;
    let uids = node.places.held().map_err(RuntimeError::unavailable)?;
    for uid in uids {
        node.adopt(&uid).await.map_err(RuntimeError::unavailable)?;
    }
    node.clear_away().await.map_err(RuntimeError::unavailable)?;
    let janitor = Arc::downgrade(&node);
    node.spawn(logs::keep_short(janitor));
    Ok(node)
}

fn failed(places: &Places, error: io::Error) -> RuntimeError {
    RuntimeError::unavailable(io::Error::new(error.kind(), format!("{}: {error}", places.root().display())))
}

/// Takes the lock of a node, so that no other process works on it.
async fn lock(places: &Places) -> Result<File, RuntimeError> {
    let file = fs::OpenOptions::new().create(true).truncate(false).write(true).open(places.lock());
    let file = file.map_err(|error| failed(places, error))?;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(Errno::WOULDBLOCK) if tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(Errno::WOULDBLOCK) => {
                let message = format!("{} is in use by another agent", places.root().display());
                return Err(RuntimeError::unavailable(message));
            }
            Err(errno) => return Err(failed(places, errno.into())),
        }
    }
}

fn prepare(
    settings: ProcessBuilder,
    places: Places,
    lock: File,
    tasks: Weak<Tasks>,
) -> Result<Arc<Node>, RuntimeError> {
    let missing = PodNetwork::missing();
    let namespaces = match (settings.isolation, missing) {
        (Isolation::None, _) => false,
        (_, None) => true,
        (Isolation::Auto, Some(_)) => false,
        (Isolation::Namespaces, Some(missing)) => return Err(RuntimeError::unsupported(missing)),
    };
    let name = format!("quarterdeck-{}", places.node());
    let cgroups = Cgroups::detect(&name);
    let wide = settings.pod_cidr.prefix_len().min(16);
    let around = ipnet::Ipv4Net::new(settings.pod_cidr.addr(), wide).expect("it is at most 16").trunc();
    let network = namespaces.then(|| PodNetwork {
        bridge: settings.bridge.clone(),
        cluster: settings.cluster_cidr.unwrap_or(around),
        gateway: gateway(settings.pod_cidr),
        prefix: format!("qd-{}-", places.node()),
    });
    let abilities = Abilities {
        root: rustix::process::geteuid().is_root(),
        namespaces,
        cpu_limits: cgroups.cpu(),
        memory_limits: cgroups.memory(),
    };
    let addresses = AddressPool::new(settings.pod_cidr.into());
    Ok(Arc::new(Node {
        settings,
        places,
        cgroups,
        network,
        abilities,
        boot: machine::boot_id(),
        hub: Default::default(),
        tasks,
        tokio: tokio::runtime::Handle::current(),
        state: Mutex::new(State::new(addresses)),
        turns: Default::default(),
        _lock: lock,
    }))
}

impl Node {
    /// Takes over a pod with its containers.
    async fn adopt(self: &Arc<Self>, uid: &PodUid) -> io::Result<()> {
        let record = read_record::<PodRecord>(&self.places.pod_record(uid));
        let record = match record {
            Ok(Some(record)) => record,
            Ok(None) => return self.destroy(uid),
            Err(error) => {
                tracing::error!(pod = %uid, %error, "the record of a pod cannot be read; removing the pod");
                return self.destroy(uid);
            }
        };
        let same_boot = record.boot == self.boot;
        let connected = match &self.network {
            Some(network) => !record.isolated || network.exists(uid.as_str()),
            None => !record.isolated,
        };
        let ready = same_boot && connected;
        let mut pod = Pod {
            record,
            state: if ready { PodState::Ready } else { PodState::Lost },
            containers: BTreeMap::new(),
            forwards: Vec::new(),
        };
        if ready {
            if let Some(address) = pod.record.address {
                self.state().addresses.adopt(address.into());
            }
            if let Err(error) = self.open_ports(&mut pod) {
                tracing::error!(pod = %uid, %error, "cannot open the host ports of a pod again");
            }
        } else {
            pod.record.address = None;
            pod.record.ports.clear();
        }
        self.state().pods.insert(uid.clone(), pod);
        for key in self.places.attempts(uid)? {
            self.adopt_container(&key, same_boot, ready).await?;
        }
        Ok(())
    }

    async fn adopt_container(
        self: &Arc<Self>,
        key: &ContainerKey,
        same_boot: bool,
        ready: bool,
    ) -> io::Result<()> {
        let Ok(Some(mut record)) = read_record::<ContainerRecord>(&self.places.container_record(key)) else {
            self.kill_rest(key);
            return remove(&self.places.container(key));
        };
        let ended = record.exit.is_some();
        let stat = fs::read_to_string(self.places.stat(key)).unwrap_or_default();
        let process = if same_boot && !ended { Process::find(&stat) } else { None };
        if process.is_some() && record.started_at.is_none() {
            // The agent was killed between the start and writing it down.
            record.started_at = Some(record.created_at);
        }
        let container = Container { record, process: process.clone(), ended: watch::Sender::new(ended) };
        if let Some(pod) = self.state().pods.get_mut(&key.pod) {
            pod.containers.insert((key.name.clone(), key.attempt), container);
        }
        match process {
            Some(process) => {
                if !ready {
                    process.kill_group();
                }
                self.spawn(self.clone().look_after(key.clone(), process));
            }
            None if !ended => {
                if same_boot {
                    self.kill_rest(key);
                }
                self.finish(key, Ended::Unseen).await;
            }
            None => {}
        }
        Ok(())
    }

    /// Removes a pod that nothing is known of but its directory.
    fn destroy(&self, uid: &PodUid) -> io::Result<()> {
        for key in self.places.attempts(uid)? {
            self.kill_rest(&key);
        }
        if let Some(network) = &self.network {
            network.remove(uid.as_str())?;
        }
        remove(&self.places.pod(uid))
    }

    /// Clears away networks and control groups that belong to no pod.
    async fn clear_away(&self) -> io::Result<()> {
        let (pods, groups) = {
            let state = self.state();
            let pods: BTreeSet<_> = state.pods.keys().map(|uid| uid.as_str().to_owned()).collect();
            let keys = state.pods.iter().flat_map(|(uid, pod)| {
                let running = pod.containers.iter().filter(|(_, container)| container.record.exit.is_none());
                running.map(|((name, attempt), _)| ContainerKey::new(uid.clone(), name.clone(), *attempt))
            });
            (pods, keys.map(|key| group_name(&key)).collect::<BTreeSet<_>>())
        };
        if let Some(network) = &self.network {
            for pod in network.pods().iter().filter(|pod| !pods.contains(*pod)) {
                network.remove(pod)?;
            }
        }
        for name in self.cgroups.names().iter().filter(|name| !groups.contains(*name)) {
            let group = self.cgroups.group(name);
            // The kernel takes a moment to empty it.
            for _ in 0..500 {
                group.kill();
                if group.remove().is_ok() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
        Ok(())
    }
}
