//! What a [`Runtime`](super::Runtime) tells.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use jiff::Timestamp;

use super::{ContainerKey, PodUid, Protocol};

/// What a runtime is and what the machine that it runs pods on has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeInfo {
    /// The runtime's name as in a container's id: `docker` of `docker://0f3a…`.
    pub name: String,
    /// The runtime's version.
    pub version: String,
    /// The machine.
    pub machine: Machine,
    /// How containers see their mounts.
    pub mounts: MountSupport,
}

/// What a machine has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// CPU time, in thousandths of a CPU.
    pub cpu: u64,
    /// Memory, in bytes.
    pub memory: u64,
    /// How many pods can run at a time.
    pub pods: u64,
    /// Room for files of containers (`ephemeral-storage`), in bytes.
    pub storage: u64,
    /// The operating system as Kubernetes names it: `linux`.
    pub operating_system: String,
    /// The architecture as Kubernetes names it: `amd64`, `arm64`.
    pub architecture: String,
    /// The operating system's full name, as `Debian GNU/Linux 12 (bookworm)`.
    pub os_image: String,
    /// The kernel's version.
    pub kernel_version: String,
    /// What identifies the installation of the operating system (`/etc/machine-id`); empty if unknown.
    pub machine_id: String,
    /// What identifies the run of the kernel since it was started; empty if unknown.
    pub boot_id: String,
}

/// How containers see their mounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountSupport {
    /// At the paths that were asked for.
    InPlace,
    /// Below a directory of the container, which its program finds in an environment variable: a mount at `/data` is
    /// `$VARIABLE/data`. `read_only` is not enforced. [`Started::warnings`] says so for each container that has mounts.
    Linked {
        /// The variable's name.
        variable: String,
    },
}

/// A pod that a runtime holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodStatus {
    /// The pod's uid.
    pub uid: PodUid,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// The labels that it was started with.
    pub labels: BTreeMap<String, String>,
    /// When its present sandbox was made.
    pub created_at: Timestamp,
    /// Whether containers can be started in it.
    pub state: PodState,
    /// Its addresses, the main one first. Empty if it is on the host's network: then they are the node's.
    pub ips: Vec<IpAddr>,
    /// Where its ports really are, if its addresses are only names for them. A port that is not listed is at the address itself.
    pub port_map: Vec<PortMapping>,
    /// Its containers: of each the newest attempt, and the newest that has ended; ordered by name and attempt.
    pub containers: Vec<ContainerStatus>,
}

impl PodStatus {
    /// Returns what is known of one attempt.
    #[must_use]
    pub fn container(&self, name: &str, attempt: u32) -> Option<&ContainerStatus> {
        self.containers.iter().find(|container| &*container.name == name && container.attempt == attempt)
    }

    /// Returns the newest attempt of a container.
    #[must_use]
    pub fn newest(&self, name: &str) -> Option<&ContainerStatus> {
        self.containers.iter().filter(|container| &*container.name == name).max_by_key(|c| c.attempt)
    }
}

/// Whether containers can be started in a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodState {
    /// They can.
    Ready,
    /// Its sandbox is gone, and its containers have ended with it. Start it again, or remove it.
    Lost,
}

/// A port of a pod whose address is only a name for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortMapping {
    /// The protocol.
    pub protocol: Protocol,
    /// What clients are told: the pod's address and port.
    pub pod: SocketAddr,
    /// Where connections to it must go, on this machine.
    pub local: SocketAddr,
}

/// The condition of a pod by which its agent tells proxies in other processes of its [`PortMapping`]s: true, and a message
/// that lists them, separated by [`PORT_MAP_SEPARATOR`]. It is in the status, which only those write who may.
pub const PORT_MAP_CONDITION: &str = "quarterdeck.io/PortMap";

/// What separates the mappings in the message of [`PORT_MAP_CONDITION`].
pub const PORT_MAP_SEPARATOR: &str = ", ";

/// As the message of [`PORT_MAP_CONDITION`] has it: `10.1.0.7:80/TCP at 127.0.0.1:40123`.
impl fmt::Display for PortMapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} at {}", self.pod, self.protocol, self.local)
    }
}

/// A text that is no mapping of a port.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no mapping of a port: write it as 10.1.0.7:80/TCP at 127.0.0.1:40123")]
pub struct NoPortMapping(String);

impl FromStr for PortMapping {
    type Err = NoPortMapping;

    fn from_str(text: &str) -> Result<Self, NoPortMapping> {
        let parse = || {
            let (pod, local) = text.split_once(" at ")?;
            let (pod, protocol) = pod.split_once('/')?;
            let protocol = protocol.parse().ok()?;
            Some(Self { protocol, pod: pod.parse().ok()?, local: local.parse().ok()? })
        };
        parse().ok_or_else(|| NoPortMapping(text.to_owned()))
    }
}

/// A container that a runtime holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerStatus {
    /// Its name in the pod.
    pub name: Arc<str>,
    /// The number of the attempt.
    pub attempt: u32,
    /// What the runtime calls the attempt, without the runtime's name.
    pub id: String,
    /// The image, as it was asked for.
    pub image: String,
    /// What identifies the image's content.
    pub image_id: String,
    /// The labels that it was started with.
    pub labels: BTreeMap<String, String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// What it does.
    pub state: ContainerState,
}

impl ContainerStatus {
    /// Returns whether it runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(self.state, ContainerState::Running { .. })
    }

    /// Returns how it ended, if it did.
    #[must_use]
    pub fn exit(&self) -> Option<&Exit> {
        match &self.state {
            ContainerState::Exited(exit) => Some(exit),
            _ => None,
        }
    }
}

/// What a container does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerState {
    /// It was made, and does not run yet.
    Created,
    /// It runs.
    Running {
        /// Since when.
        started_at: Timestamp,
    },
    /// It has ended.
    Exited(Exit),
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// The code that the program returned; 128 and the signal's number if a signal ended it; absent if nobody saw it.
    pub exit_code: Option<i32>,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
    /// When it was started; absent if it never ran.
    pub started_at: Option<Timestamp>,
    /// When it ended, or when that was noticed.
    pub finished_at: Timestamp,
    /// Why.
    pub reason: ExitReason,
    /// More about why, for the user; may be empty.
    pub message: String,
}

/// Why a container ended. Its text form is Kubernetes' (`OOMKilled`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExitReason {
    /// Its program returned 0.
    Completed,
    /// Its program failed, or was ended by a signal.
    Error,
    /// It needed more memory than it may use.
    OomKilled,
    /// Its program could not be run.
    CannotRun,
    /// It ended unseen.
    Unknown,
}

impl ExitReason {
    /// Returns the reason that belongs to an exit code, if nothing else is known.
    #[must_use]
    pub fn of_code(code: Option<i32>) -> Self {
        match code {
            Some(0) => Self::Completed,
            Some(_) => Self::Error,
            None => Self::Unknown,
        }
    }

    /// Returns the text that Kubernetes has for it in `terminated.reason`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "Completed",
            Self::Error => "Error",
            Self::OomKilled => "OOMKilled",
            Self::CannotRun => "ContainerCannotRun",
            Self::Unknown => "ContainerStatusUnknown",
        }
    }
}

/// What a start gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// The container.
    pub status: ContainerStatus,
    /// What the user should know of it, a sentence each. Empty if it was held already.
    pub warnings: Vec<String>,
}

/// Something that happened to a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The pod.
    pub pod: PodUid,
    /// What happened.
    pub kind: EventKind,
}

impl Event {
    /// Returns the attempt that the event is about, if it is about one.
    #[must_use]
    pub fn container(&self) -> Option<ContainerKey> {
        match &self.kind {
            EventKind::Started { name, attempt } | EventKind::Exited { name, attempt, .. } => {
                Some(ContainerKey { pod: self.pod.clone(), name: name.clone(), attempt: *attempt })
            }
            EventKind::PodChanged => None,
        }
    }
}

/// What happened to a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// A container runs.
    Started {
        /// The container's name.
        name: Arc<str>,
        /// The number of the attempt.
        attempt: u32,
    },
    /// A container has ended.
    Exited {
        /// The container's name.
        name: Arc<str>,
        /// The number of the attempt.
        attempt: u32,
        /// How.
        exit: Exit,
    },
    /// Something else: the sandbox was lost, or somebody removed a container from outside. Read `pods`.
    PodChanged,
}
