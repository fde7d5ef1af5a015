//! A runtime that runs programs of the host.
//!
//! Start at [`ProcessRuntime`]. A container is a process (with whatever it starts) in a session and control group of its own; it writes
//! its log to a file itself, so that nothing depends on the agent being there. What the agent has to remember is on
//! disk; it can be killed and started again, and finds every process by its number and start time.
//!
//! # What a container gets
//!
//! | | as root, with `ip` (iproute2) | otherwise ([`Isolation::None`]) |
//! | --- | --- | --- |
//! | network | a namespace with an address on a bridge of the host | the host's |
//! | a pod's address | reachable from the host and from pods on the same bridge | a name: [`PodStatus::port_map`] says which loopback port each declared port is |
//! | host name, `/etc/hosts`, `resolv.conf` | its own | the host's |
//! | files | the host's, and its volumes where they belong, unseen by the host | the host's; volumes are below `$QUARTERDECK_VOLUMES` |
//! | CPU and memory limits | where control groups can be written | where control groups can be written |
//! | users, capabilities | as asked; without asking, root with all capabilities | those of the agent |
//!
//! A program has to listen where the table above says. It finds the port in its environment: `PORT` for the first port that its pod
//! declares, `PORT_8080` for the declared port 8080. As root these are the declared numbers themselves, so that a program that
//! heeds them runs either way. Without a network of its own it is best to listen on 127.0.0.1.
//!
//! Host ports are led to pods by the agent itself, and close while it does not run.
//!
//! A runtime in use needs a tokio runtime with time and I/O enabled.
//!
//! The only image is `host`, with any tag. What is not in the table (terminals, seccomp profiles, …) is refused.
//!
//! [`PodStatus::port_map`]: quarterdeck_core::runtime::PodStatus::port_map

mod ability;
mod adopt;
mod alive;
mod cgroups;
mod etc;
mod launch;
mod logs;
mod mounts;
mod network;
mod node;
mod places;
mod ports;
mod sandbox;
mod settings;
mod start;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use quarterdeck_core::runtime::{
    ContainerKey, ContainerSpec, Credentials, Events, Image, Images, Logs, MountSupport, PodSandbox,
    PodStatus, PodUid, Runtime, RuntimeError, RuntimeInfo, Started,
};
use rustix::process::Signal;

use super::machine;
use super::tasks::Tasks;
use node::Node;
pub use settings::{Isolation, ProcessBuilder};

/// The id of the one image that there is.
const HOST_IMAGE: &str = "host";

/// The environment variable in which a container without a mount namespace finds where its volumes are.
const VOLUMES: &str = "QUARTERDECK_VOLUMES";

/// A runtime that runs a program of the host for each container. See the [module](self) for what a container gets.
///
/// Everything is kept below one directory, which belongs to one runtime at a time. Dropping the runtime leaves the
/// processes running; the next one over the same directory takes them over.
///
/// # Examples
///
/// ```
/// use quarterdeck_agent::runtime::ProcessRuntime;
///
/// let runtime = ProcessRuntime::builder("/var/lib/quarterdeck/node-1")
///     .pod_cidr("10.244.1.0/24".parse().unwrap())
///     .build();
/// # let _ = runtime;
/// ```
#[derive(Debug)]
pub struct ProcessRuntime {
    settings: ProcessBuilder,
    node: tokio::sync::Mutex<Option<Arc<Node>>>,
    tasks: Arc<Tasks>,
}

impl ProcessRuntime {
    /// Makes a runtime that keeps its pods in `state_dir`. Nothing is touched before its first use.
    #[must_use]
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        Self::builder(state_dir).build()
    }

    /// Starts to set up a runtime that keeps its pods in `state_dir`.
    pub fn builder(state_dir: impl Into<PathBuf>) -> ProcessBuilder {
        ProcessBuilder::new(state_dir.into())
    }

    fn of(settings: ProcessBuilder) -> Self {
        Self { settings, node: tokio::sync::Mutex::default(), tasks: Arc::default() }
    }

    /// Returns the node, and opens it first if that was not done.
    async fn node(&self) -> Result<Arc<Node>, RuntimeError> {
        let mut opened = self.node.lock().await;
        if let Some(node) = &*opened {
            return Ok(node.clone());
        }
        let node = adopt::open(self.settings.clone(), Arc::downgrade(&self.tasks)).await?;
        *opened = Some(node.clone());
        Ok(node)
    }
}

/// Does what blocks where it may. What was begun is done to its end, whether anybody waits for it or not.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, RuntimeError> {
    tokio::task::spawn_blocking(work).await.map_err(RuntimeError::unavailable)
}

#[async_trait]
impl Runtime for ProcessRuntime {
    async fn info(&self) -> Result<RuntimeInfo, RuntimeError> {
        let node = self.node().await?;
        let mounts = if node.abilities.namespaces {
            MountSupport::InPlace
        } else {
            MountSupport::Linked { variable: VOLUMES.to_owned() }
        };
        Ok(RuntimeInfo {
            name: "process".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            machine: machine::local(node.places.root(), node.settings.max_pods),
            mounts,
        })
    }

    async fn pods(&self) -> Result<Vec<PodStatus>, RuntimeError> {
        let node = self.node().await?;
        let name = node.places.node();
        let state = node.state();
        Ok(state.pods.values().map(|pod| pod.status(&name)).collect())
    }

    async fn start_pod(&self, pod: &PodSandbox) -> Result<PodStatus, RuntimeError> {
        let node = self.node().await?;
        let turn = node.turns.take(&pod.uid).await;
        let pod = pod.clone();
        blocking(move || node.start_pod(&pod, &turn)).await?
    }

    async fn start_container(&self, pod: &PodUid, spec: &ContainerSpec) -> Result<Started, RuntimeError> {
        let node = self.node().await?;
        let turn = node.turns.take(pod).await;
        let (key, spec) = (spec.key(pod), spec.clone());
        blocking(move || node.start_container(&key, &spec, &turn)).await?
    }

    async fn stop_container(&self, container: &ContainerKey, grace: Duration) -> Result<(), RuntimeError> {
        let node = self.node().await?;
        // A start that was given up may still be going on.
        drop(node.turns.take(&container.pod).await);
        let process = node.state().container(container).and_then(|container| container.process.clone());
        if let Some(process) = process {
            process.signal(Signal::TERM);
        }
        match tokio::time::timeout(grace, node.ended(container)).await {
            Ok(ended) => ended,
            Err(_) => node.end(container).await,
        }
    }

    async fn remove_pod(&self, pod: &PodUid) -> Result<(), RuntimeError> {
        let node = self.node().await?;
        let turn = node.turns.take(pod).await;
        let keys: Vec<_> = {
            let state = node.state();
            let containers = state.pods.get(pod).into_iter().flat_map(|pod| pod.containers.keys());
            containers.map(|(name, attempt)| ContainerKey::new(pod.clone(), name.clone(), *attempt)).collect()
        };
        keys.iter().for_each(|key| node.kill(key));
        for key in &keys {
            node.end(key).await?;
        }
        let pod = pod.clone();
        blocking(move || node.remove_pod(&pod, &turn)).await?.map_err(RuntimeError::unavailable)
    }

    async fn events(&self) -> Result<Events, RuntimeError> {
        Ok(self.node().await?.hub.subscribe().boxed())
    }

    fn images(&self) -> Option<&dyn Images> {
        Some(self)
    }

    fn logs(&self) -> Option<&dyn Logs> {
        Some(self)
    }

    async fn close(&self) -> Result<(), RuntimeError> {
        let mut opened = self.node.lock().await;
        self.tasks.shut_down().await;
        let Some(node) = opened.take() else { return Ok(()) };
        node.hub.interrupt();
        if !node.state().pods.is_empty() {
            return Ok(());
        }
        node.cgroups.remove();
        let torn_down =
            blocking(move || node.network.as_ref().map_or(Ok(()), |network| network.tear_down())).await?;
        torn_down.map_err(RuntimeError::unavailable)
    }
}

#[async_trait]
impl Images for ProcessRuntime {
    async fn present(&self, image: &str) -> Result<Option<Image>, RuntimeError> {
        ability::check_image(image)?;
        Ok(Some(Image { id: HOST_IMAGE.to_owned(), user: None, size: 0 }))
    }

    async fn pull(&self, image: &str, _: Option<&Credentials>) -> Result<Image, RuntimeError> {
        ability::check_image(image)?;
        Ok(Image { id: HOST_IMAGE.to_owned(), user: None, size: 0 })
    }
}

#[cfg(test)]
mod tests;
