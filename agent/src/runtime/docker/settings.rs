//! How a Docker runtime is set up.

use super::DockerRuntime;
use crate::runtime::machine;

/// Sets up a [`DockerRuntime`].
#[derive(Debug, Clone)]
#[must_use]
pub struct DockerBuilder {
    pub(super) node: String,
    pub(super) endpoint: Option<String>,
    pub(super) pause_image: String,
    pub(super) max_pods: u64,
}

impl DockerBuilder {
    pub(super) fn new(node: String) -> Self {
        Self {
            node,
            endpoint: None,
            pause_image: "quarterdeck/pause:1".to_owned(),
            max_pods: machine::MAX_PODS,
        }
    }

    /// Uses the engine at this address, as `unix:///var/run/docker.sock` or `tcp://192.168.1.201:2375` (default: what
    /// the environment variable `DOCKER_HOST` says, or else the first of these).
    pub fn endpoint(mut self, address: impl Into<String>) -> Self {
        self.endpoint = Some(address.into());
        self
    }

    /// Holds pods' networks by containers of this image (default: `quarterdeck/pause:1`). It is made if it is not there.
    pub fn pause_image(mut self, name: impl Into<String>) -> Self {
        self.pause_image = name.into();
        self
    }

    /// Runs at most so many pods (default: 110). The scheduler is told, and keeps to it.
    pub fn max_pods(mut self, pods: u64) -> Self {
        self.max_pods = pods;
        self
    }

    /// Makes the runtime. The engine is not asked before its first use.
    #[must_use]
    pub fn build(self) -> DockerRuntime {
        DockerRuntime::of(self)
    }

    /// Returns where the engine is.
    pub(super) fn address(&self) -> String {
        let variable = || std::env::var("DOCKER_HOST").ok().filter(|host| !host.is_empty());
        self.endpoint.clone().or_else(variable).unwrap_or_else(|| "unix:///var/run/docker.sock".to_owned())
    }
}
