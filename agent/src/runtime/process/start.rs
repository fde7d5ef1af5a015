//! Starting containers.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, fchown};
use std::path::Path;
use std::sync::Arc;

use quarterdeck_core::runtime::{ContainerKey, ContainerSpec, EventKind, PodState, RuntimeError, Started};
use rustix::process::Pid;
use tokio::sync::watch;

use super::alive::Process;
use super::launch::{Launch, launch};
use super::node::{Container, Node, Pod, State, group_name};
use super::places::{ContainerRecord, PodRecord, make_directory, remove, write_record};
use super::{VOLUMES, etc, mounts};
use crate::runtime::tasks::Turn;

/// Where programs are looked for, unless the container says otherwise.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl Node {
    /// Starts an attempt, or returns what is there of it. Blocks.
    pub(super) fn start_container(
        self: &Arc<Self>,
        key: &ContainerKey,
        spec: &ContainerSpec,
        _turn: &Turn,
    ) -> Result<Started, RuntimeError> {
        let record = {
            let state = self.state();
            let pod = state.pods.get(&key.pod).filter(|pod| pod.state == PodState::Ready);
            let pod = pod.ok_or_else(|| RuntimeError::PodNotRunning(key.pod.clone()))?;
            if let Some(held) = state.container(key) {
                return Ok(Started { status: held.status(&self.places.node(), key), warnings: Vec::new() });
            }
            if let Some(held) = in_the_way(&state, key) {
                return Err(RuntimeError::Conflict { container: key.clone(), held });
            }
            self.abilities.check(spec)?;
            pod.record.clone()
        };
        match self.run(key, spec, &record) {
            Ok(started) => Ok(started),
            Err(error) => {
                self.take_back(key);
                Err(error)
            }
        }
    }

    /// Runs a container's program and begins to look after it.
    fn run(
        self: &Arc<Self>,
        key: &ContainerKey,
        spec: &ContainerSpec,
        pod: &PodRecord,
    ) -> Result<Started, RuntimeError> {
        make_directory(&self.places.staging(key)).map_err(RuntimeError::unavailable)?;
        let mut record = ContainerRecord {
            image: spec.image.clone(),
            labels: spec.labels.clone(),
            created_at: self.now(),
            started_at: None,
            exit: None,
        };
        write_record(&self.places.container_record(key), &record).map_err(RuntimeError::unavailable)?;
        let (prepared, warnings) = self.prepare(key, spec, pod)?;
        let cannot_run = |message| RuntimeError::CannotRun { container: key.clone(), message };
        let pid: Pid = launch(prepared).map_err(cannot_run)?;
        let process = Process::child(pid).map_err(RuntimeError::unavailable)?;
        record.started_at = Some(self.now());
        if let Err(error) = write_record(&self.places.container_record(key), &record) {
            // It runs: the record without this time is good enough to find it again.
            tracing::warn!(container = %key, %error, "cannot write down the start of a container");
        }
        let container =
            Container { record, process: Some(process.clone()), ended: watch::Sender::new(false) };
        let status = container.status(&self.places.node(), key);
        {
            let mut state = self.state();
            if let Some(pod) = state.pods.get_mut(&key.pod) {
                pod.containers.insert((key.name.clone(), key.attempt), container);
            }
            self.publish(key, EventKind::Started { name: key.name.clone(), attempt: key.attempt });
        }
        self.spawn(self.clone().look_after(key.clone(), process));
        Ok(Started { status, warnings })
    }

    /// Opens and works out everything that a container's program needs. Also returns what the user should know.
    fn prepare(
        &self,
        key: &ContainerKey,
        spec: &ContainerSpec,
        pod: &PodRecord,
    ) -> Result<(Launch, Vec<String>), RuntimeError> {
        let user = self.abilities.user(&spec.security);
        let output = open_log(&self.places.log(key)).map_err(RuntimeError::unavailable)?;
        if let Some(user) = &user {
            // So that the program can open /dev/stdout again.
            fchown(&output, Some(user.uid), Some(user.gid)).map_err(RuntimeError::unavailable)?;
        }
        let cgroups =
            self.cgroups.make(&group_name(key), &spec.resources).map_err(RuntimeError::unavailable)?;
        let network = match &self.network {
            Some(network) if pod.isolated => {
                Some(network.open(key.pod.as_str()).map_err(RuntimeError::unavailable)?)
            }
            _ => None,
        };
        let staging = self.places.staging(key);
        let (mounts, warnings) = if self.abilities.namespaces {
            let mut wanted = etc::mounts(&self.places, pod, &spec.mounts);
            wanted.extend(spec.mounts.iter().cloned());
            let steps = mounts::plan(&wanted, spec.security.read_only_root, &staging);
            let cannot_run = |error: mounts::PlanError| RuntimeError::CannotRun {
                container: key.clone(),
                message: error.to_string(),
            };
            (Some(steps.map_err(cannot_run)?), Vec::new())
        } else {
            (None, link_volumes(key, spec, &staging)?)
        };
        let prepared = Launch {
            argv: spec.command.iter().chain(&spec.args).cloned().collect(),
            env: self.environment(key, spec, pod),
            output,
            stat: File::create(self.places.stat(key)).map_err(RuntimeError::unavailable)?,
            cgroups,
            network,
            hostname: pod.isolated.then(|| pod.sandbox.hostname.clone()),
            mounts,
            user,
            drop: self.abilities.dropped(&spec.security),
            no_new_privileges: spec.security.no_new_privileges,
            directory: spec.working_dir.clone().unwrap_or_else(|| "/".to_owned()),
        };
        Ok((prepared, warnings))
    }

    /// Returns the environment of a container: what every program expects, where its ports and volumes are, what it asked
    /// for, and the mark by which it is found again. What it asked for wins but over the mark.
    fn environment(
        &self,
        key: &ContainerKey,
        spec: &ContainerSpec,
        pod: &PodRecord,
    ) -> Vec<(OsString, OsString)> {
        let home = match spec.security.run_as_user {
            None => std::env::var("HOME").unwrap_or_else(|_| "/".to_owned()),
            Some(0) => "/root".to_owned(),
            Some(_) => "/".to_owned(),
        };
        let mut env: BTreeMap<String, String> = BTreeMap::new();
        env.insert("PATH".to_owned(), PATH.to_owned());
        env.insert("HOME".to_owned(), home);
        env.insert("HOSTNAME".to_owned(), pod.sandbox.hostname.clone());
        for port in pod.sandbox.ports.iter().rev() {
            let local = pod
                .ports
                .iter()
                .find(|(protocol, number, _)| (*protocol, *number) == (port.protocol, port.container_port));
            let number = local.map_or(port.container_port, |(_, _, local)| *local);
            env.insert(format!("PORT_{}", port.container_port), number.to_string());
            env.insert("PORT".to_owned(), number.to_string());
        }
        if !self.abilities.namespaces && !spec.mounts.is_empty() {
            env.insert(VOLUMES.to_owned(), self.places.staging(key).to_string_lossy().into_owned());
        }
        env.extend(spec.env.clone());
        let marker = self.marker(key);
        if let Some((name, value)) = marker.split_once('=') {
            env.insert(name.to_owned(), value.to_owned());
        }
        env.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    /// Takes back what was made of an attempt that could not be started.
    fn take_back(&self, key: &ContainerKey) {
        self.kill_rest(key);
        let group = self.cgroups.group(&group_name(key)).remove();
        if let Err(error) = group.and(remove(&self.places.container(key))) {
            tracing::warn!(container = %key, %error, "something is left of a container that could not be started");
        }
    }
}

/// Returns the attempt because of which another may not start.
fn in_the_way(state: &State, key: &ContainerKey) -> Option<u32> {
    let containers = state.pods.get(&key.pod).map(|pod: &Pod| &pod.containers);
    let others = containers.into_iter().flatten().filter(|((name, _), _)| *name == key.name);
    others
        .filter(|((_, attempt), other)| *attempt > key.attempt || other.record.exit.is_none())
        .map(|((_, attempt), _)| *attempt)
        .max()
}

fn open_log(path: &Path) -> io::Result<File> {
    fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

/// Puts links to a container's volumes where they would be mounted, below a directory of its own.
fn link_volumes(key: &ContainerKey, spec: &ContainerSpec, root: &Path) -> Result<Vec<String>, RuntimeError> {
    for mount in &spec.mounts {
        let below = mount.container_path.strip_prefix("/").unwrap_or(&mount.container_path);
        let escapes = below.components().any(|part| !matches!(part, std::path::Component::Normal(_)));
        let link = root.join(below);
        let linked = match (escapes, link.parent()) {
            (false, Some(parent)) => {
                make_directory(parent).and_then(|()| std::os::unix::fs::symlink(&mount.host_path, &link))
            }
            _ => Err(io::ErrorKind::InvalidInput.into()),
        };
        linked.map_err(|error| RuntimeError::CannotRun {
            container: key.clone(),
            message: format!("cannot link {:?} to {:?}: {error}", mount.container_path, mount.host_path),
        })?;
    }
    if spec.mounts.is_empty() {
        return Ok(Vec::new());
    }
    Ok(vec![format!(
        "volumes of container {:?} are below the directory in ${VOLUMES}, not in place, and not read-only: the agent does \
         not run as root",
        spec.name
    )])
}
