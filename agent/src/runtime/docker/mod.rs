//! A runtime that runs containers of a Docker engine.
//!
//! Start at [`DockerRuntime`]. A pod is a container that does nothing but hold the pod's network, ports and host name; the pod's
//! containers join it. Everything that has to be remembered is in labels of the containers, so that a runtime finds what
//! an earlier one left, whoever started it and wherever it ran. Containers are named as Kubernetes' agent named its own:
//! `k8s_<container>_<pod>_<namespace>_<uid>_<attempt>`, the first `k8s_POD_…`.
//!
//! The program in a pod's first container is made here, byte by byte, and imported: nothing is fetched for it.
//!
//! Tried with engine 20.10 (API 1.41) and control groups of version 1. Podman answers the same API; it is not tried.

mod body;
mod engine;
mod events;
mod images;
mod labels;
mod logs;
mod node;
mod pause;
mod settings;
mod status;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use quarterdeck_core::runtime::{
    ContainerKey, ContainerSpec, Events, Images, Logs, Machine, MountSupport, PodSandbox, PodStatus, PodUid,
    Runtime, RuntimeError, RuntimeInfo, Started,
};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::machine;
use super::tasks::Tasks;
use engine::Engine;
use node::Node;
pub use settings::DockerBuilder;

/// A runtime that runs containers of a Docker engine. See the [module](self) for how.
///
/// Several nodes can share an engine: each sees only the containers that have its name, which has to be unique on the engine. Dropping the runtime leaves the
/// containers running; the next one of the same name takes them over.
///
/// # Examples
///
/// ```
/// use quarterdeck_agent::runtime::DockerRuntime;
///
/// let runtime = DockerRuntime::builder("node-1").endpoint("unix:///var/run/docker.sock").build();
/// # let _ = runtime;
/// ```
#[derive(Debug)]
pub struct DockerRuntime {
    settings: DockerBuilder,
    node: tokio::sync::Mutex<Option<Arc<Node>>>,
    tasks: Arc<Tasks>,
}

impl DockerRuntime {
    /// Makes a runtime for the node of this name, on the engine that `DOCKER_HOST` names, or else on this machine's. The
    /// engine is not asked before its first use.
    #[must_use]
    pub fn new(node: impl Into<String>) -> Self {
        Self::builder(node).build()
    }

    /// Starts to set up a runtime for the node of this name.
    pub fn builder(node: impl Into<String>) -> DockerBuilder {
        DockerBuilder::new(node.into())
    }

    fn of(settings: DockerBuilder) -> Self {
        Self { settings, node: tokio::sync::Mutex::default(), tasks: Arc::default() }
    }

    /// Returns the node, and connects to the engine first if that was not done.
    async fn node(&self) -> Result<Arc<Node>, RuntimeError> {
        let mut opened = self.node.lock().await;
        if let Some(node) = &*opened {
            return Ok(node.clone());
        }
        let engine = Engine::connect(&self.settings.address(), self.settings.node.clone()).await?;
        let node = Arc::new(Node {
            engine,
            pause_image: self.settings.pause_image.clone(),
            hub: Default::default(),
            turns: Default::default(),
            listening: watch::Sender::new(true),
        });
        let since = events::now(&node).await?;
        self.tasks.spawn(&Handle::current(), events::pump(node.clone(), since));
        *opened = Some(node.clone());
        Ok(node)
    }
}

#[async_trait]
impl Runtime for DockerRuntime {
    async fn info(&self) -> Result<RuntimeInfo, RuntimeError> {
        let info = self.node().await?.engine.info().await?;
        let number =
            |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok()).unwrap_or_default();
        let root = info.docker_root_dir.unwrap_or_default();
        let here = machine::local(root.as_ref(), self.settings.max_pods);
        let text = |text: Option<String>| text.unwrap_or_default();
        Ok(RuntimeInfo {
            name: "docker".to_owned(),
            version: text(info.server_version),
            machine: Machine {
                cpu: number(info.ncpu) * 1000,
                memory: number(info.mem_total),
                operating_system: text(info.os_type),
                architecture: machine::architecture(&text(info.architecture)).to_owned(),
                os_image: text(info.operating_system),
                kernel_version: text(info.kernel_version),
                ..here
            },
            mounts: MountSupport::InPlace,
        })
    }

    async fn pods(&self) -> Result<Vec<PodStatus>, RuntimeError> {
        self.node().await?.pods().await
    }

    async fn start_pod(&self, pod: &PodSandbox) -> Result<PodStatus, RuntimeError> {
        let (node, pod) = (self.node().await?, pod.clone());
        let turn = node.turns.take(&pod.uid).await;
        let work = async move {
            let _turn = turn;
            node.start_pod(&pod).await
        };
        self.tasks.see_through(&Handle::current(), work).await
    }

    async fn start_container(&self, pod: &PodUid, spec: &ContainerSpec) -> Result<Started, RuntimeError> {
        let (node, key, spec) = (self.node().await?, spec.key(pod), spec.clone());
        let turn = node.turns.take(pod).await;
        let work = async move {
            let _turn = turn;
            node.start_container(&key, &spec).await
        };
        self.tasks.see_through(&Handle::current(), work).await
    }

    async fn stop_container(&self, container: &ContainerKey, grace: Duration) -> Result<(), RuntimeError> {
        let node = self.node().await?;
        // A start that was given up may still be going on.
        drop(node.turns.take(&container.pod).await);
        node.stop(container, grace).await
    }

    async fn remove_pod(&self, pod: &PodUid) -> Result<(), RuntimeError> {
        let (node, pod) = (self.node().await?, pod.clone());
        let turn = node.turns.take(&pod).await;
        let work = async move {
            let _turn = turn;
            node.remove_pod(&pod).await
        };
        self.tasks.see_through(&Handle::current(), work).await
    }

    async fn events(&self) -> Result<Events, RuntimeError> {
        let node = self.node().await?;
        node.heard().await?;
        Ok(node.hub.subscribe().boxed())
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
        if let Some(node) = opened.take() {
            node.hub.interrupt();
            node.engine.prune_pauses().await;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
