//! How a simulated node is described.

use std::fmt::{self, Debug};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};
use quarterdeck_core::clock::Clock;
use quarterdeck_core::runtime::{ContainerSpec, Image, Machine, PodSandbox, RuntimeError};

use super::script::Script;
use super::state::State;
use super::{Shared, SimulatedRuntime, image_id};
use crate::runtime::addresses::AddressPool;
use crate::runtime::hub::Hub;

type ScriptOf = dyn Fn(&PodSandbox, &ContainerSpec) -> Script + Send + Sync;
type ImageScriptOf = dyn Fn(&str) -> ImageScript + Send + Sync;

/// Describes a node for [`SimulatedRuntime`].
#[derive(Clone)]
#[must_use]
pub struct SimulatedBuilder {
    clock: Clock,
    pod_cidr: IpNet,
    machine: Machine,
    scripts: Scripts,
    images: ImageScripts,
}

/// What happens when an image is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageScript {
    /// It is there.
    Present,
    /// It is not there; pulling it takes so long each time.
    Pulled(Duration),
    /// It is not there, and pulling it fails with this message.
    Missing(String),
}

impl Default for SimulatedBuilder {
    fn default() -> Self {
        let pod_cidr = Ipv4Net::new(Ipv4Addr::new(10, 244, 0, 0), 24).expect("24 bits are at most 32");
        Self {
            clock: Clock::system(),
            pod_cidr: pod_cidr.into(),
            machine: Machine {
                cpu: 8_000,
                memory: 32 << 30,
                pods: 110,
                storage: 100 << 30,
                operating_system: "linux".to_owned(),
                architecture: "amd64".to_owned(),
                os_image: "Quarterdeck simulation".to_owned(),
                kernel_version: "simulated".to_owned(),
                machine_id: String::new(),
                boot_id: String::new(),
            },
            scripts: Scripts::Same(Arc::new(Script::default())),
            images: ImageScripts(None),
        }
    }
}

impl Debug for SimulatedBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedBuilder")
            .field("clock", &self.clock)
            .field("pod_cidr", &self.pod_cidr)
            .field("machine", &self.machine)
            .finish_non_exhaustive()
    }
}

impl SimulatedBuilder {
    /// Reads dates from this clock (default: the system's). For paused time it must follow tokio's.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Gives pods addresses of this network (default: 10.244.0.0/24).
    pub fn pod_cidr(mut self, network: impl Into<IpNet>) -> Self {
        self.pod_cidr = network.into();
        self
    }

    /// Has this machine (default: 8 CPUs, 32 GiB of memory, 110 pods).
    pub fn machine(mut self, machine: Machine) -> Self {
        self.machine = machine;
        self
    }

    /// Has so much CPU (in thousandths), memory (in bytes) and room for pods (default: 8000, 32 GiB, 110).
    pub fn capacity(mut self, cpu: u64, memory: u64, pods: u64) -> Self {
        self.machine = Machine { cpu, memory, pods, ..self.machine };
        self
    }

    /// Asks `script` what each attempt of a container does (default: runs for ever and says one line).
    pub fn script(
        mut self,
        script: impl Fn(&PodSandbox, &ContainerSpec) -> Script + Send + Sync + 'static,
    ) -> Self {
        self.scripts = Scripts::Each(Arc::new(script));
        self
    }

    /// Asks `image` what happens when an image is wanted (default: every image is there).
    pub fn image(mut self, image: impl Fn(&str) -> ImageScript + Send + Sync + 'static) -> Self {
        self.images = ImageScripts(Some(Arc::new(image)));
        self
    }

    /// Makes the node.
    #[must_use]
    pub fn build(self) -> SimulatedRuntime {
        SimulatedRuntime(Arc::new(Shared {
            clock: self.clock,
            machine: self.machine,
            scripts: self.scripts,
            images: self.images,
            hub: Hub::default(),
            changed: tokio::sync::Notify::new(),
            state: Mutex::new(State::new(AddressPool::new(self.pod_cidr))),
        }))
    }
}

/// Where scripts come from.
#[derive(Clone)]
pub(super) enum Scripts {
    Same(Arc<Script>),
    Each(Arc<ScriptOf>),
}

impl Scripts {
    pub(super) fn of(&self, pod: &PodSandbox, container: &ContainerSpec) -> Arc<Script> {
        match self {
            Self::Same(script) => script.clone(),
            Self::Each(script) => Arc::new(script(pod, container)),
        }
    }
}

/// What happens when images are wanted; if nothing was said, they are there.
#[derive(Clone)]
pub(super) struct ImageScripts(Option<Arc<ImageScriptOf>>);

impl ImageScripts {
    pub(super) fn of(&self, image: &str) -> ImageScript {
        self.0.as_ref().map_or(ImageScript::Present, |script| script(image))
    }

    /// Pulls an image, as long as that takes.
    pub(super) async fn pull(&self, image: &str) -> Result<Image, RuntimeError> {
        match self.of(image) {
            ImageScript::Present => {}
            ImageScript::Pulled(delay) => tokio::time::sleep(delay).await,
            ImageScript::Missing(message) => {
                return Err(RuntimeError::PullFailed { image: image.to_owned(), source: message.into() });
            }
        }
        Ok(found(image))
    }
}

/// Returns what a simulated image is.
pub(super) fn found(image: &str) -> Image {
    Image { id: image_id(image), user: None, size: 0 }
}
