//! What a [`Runtime`](super::Runtime) is asked for.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::protocol::Protocol;

/// What tells pods apart: `metadata.uid`. Cloning it is cheap.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PodUid(Arc<str>);

impl PodUid {
    /// Makes a uid of this text.
    #[must_use]
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// Returns the uid's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for PodUid {
    fn default() -> Self {
        Self::new("")
    }
}

impl From<&str> for PodUid {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for PodUid {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl fmt::Display for PodUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One attempt of one container of one pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ContainerKey {
    /// The pod.
    pub pod: PodUid,
    /// The container's name in the pod.
    pub name: Arc<str>,
    /// The number of the attempt; 0 is the first, later ones are greater.
    pub attempt: u32,
}

impl ContainerKey {
    /// Names an attempt.
    #[must_use]
    pub fn new(pod: impl Into<PodUid>, name: impl Into<Arc<str>>, attempt: u32) -> Self {
        Self { pod: pod.into(), name: name.into(), attempt }
    }
}

impl fmt::Display for ContainerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}:{}", self.pod, self.name, self.attempt)
    }
}

/// A pod without its containers: what they share.
///
/// # Examples
///
/// ```
/// use quarterdeck_core::runtime::PodSandbox;
///
/// let pod = PodSandbox {
///     uid: "0b5f".into(),
///     namespace: "default".into(),
///     name: "web".into(),
///     hostname: "web".into(),
///     ..PodSandbox::default()
/// };
///
/// assert!(!pod.host_network);
/// ```
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodSandbox {
    /// The pod's uid.
    pub uid: PodUid,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// The name of the host that its programs see.
    pub hostname: String,
    /// Whether it uses the host's network instead of one of its own.
    pub host_network: bool,
    /// The ports that its containers declare.
    pub ports: Vec<PodPort>,
    /// How its programs resolve names; the host's way if absent.
    pub dns: Option<Dns>,
    /// Names that its programs resolve without asking (`hostAliases`), each with an address.
    pub host_aliases: Vec<(IpAddr, String)>,
    /// Whatever the caller wants to find again in [`PodStatus::labels`](super::PodStatus::labels).
    pub labels: BTreeMap<String, String>,
}

/// A port that a container of a pod declares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodPort {
    /// The port in the pod.
    pub container_port: u16,
    /// The port of the host that leads to it, if any.
    pub host_port: Option<u16>,
    /// The host's address that `host_port` is open on; every one if absent.
    pub host_ip: Option<IpAddr>,
    /// The protocol.
    pub protocol: Protocol,
}

/// How a pod's programs resolve names: the content of its `resolv.conf`.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dns {
    /// The servers to ask.
    pub servers: Vec<IpAddr>,
    /// The domains in which short names are looked up.
    pub searches: Vec<String>,
    /// Options, as `ndots:5`.
    pub options: Vec<String>,
}

/// One attempt of a container, with everything worked out: plain values and paths of the host.
///
/// # Examples
///
/// ```
/// use quarterdeck_core::runtime::ContainerSpec;
///
/// let container = ContainerSpec {
///     name: "main".into(),
///     image: "host".into(),
///     command: vec!["sleep".into(), "60".into()],
///     ..ContainerSpec::default()
/// };
///
/// assert_eq!(container.attempt, 0);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// The container's name in the pod.
    pub name: Arc<str>,
    /// The number of the attempt; 0 is the first, later ones are greater.
    pub attempt: u32,
    /// The image.
    pub image: String,
    /// The program and its first arguments; the image's if empty.
    pub command: Vec<String>,
    /// The arguments behind `command`; the image's if both are empty.
    pub args: Vec<String>,
    /// Environment variables.
    pub env: BTreeMap<String, String>,
    /// The working directory; the image's if absent.
    pub working_dir: Option<String>,
    /// What is mounted into the container.
    pub mounts: Vec<Mount>,
    /// How much it may use.
    pub resources: Resources,
    /// What it may do, and as whom.
    pub security: Security,
    /// Whether its standard streams are a terminal.
    pub tty: bool,
    /// Whether its standard input stays open for an attach.
    pub stdin: bool,
    /// Whatever the caller wants to find again in [`ContainerStatus::labels`](super::ContainerStatus::labels).
    pub labels: BTreeMap<String, String>,
}

impl Default for ContainerSpec {
    fn default() -> Self {
        Self {
            name: "".into(),
            attempt: 0,
            image: String::new(),
            command: Vec::new(),
            args: Vec::new(),
            env: BTreeMap::new(),
            working_dir: None,
            mounts: Vec::new(),
            resources: Resources::default(),
            security: Security::default(),
            tty: false,
            stdin: false,
            labels: BTreeMap::new(),
        }
    }
}

impl ContainerSpec {
    /// Returns the name of this attempt in a pod.
    #[must_use]
    pub fn key(&self, pod: &PodUid) -> ContainerKey {
        ContainerKey { pod: pod.clone(), name: self.name.clone(), attempt: self.attempt }
    }
}

/// A file or directory of the host that a container sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// The absolute path on the host. It must exist.
    pub host_path: PathBuf,
    /// The absolute path in the container.
    pub container_path: PathBuf,
    /// Whether the container may only read it.
    pub read_only: bool,
}

/// How much of the machine a container may use.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// The share of CPU time that it gets when there is not enough, in thousandths of a CPU.
    pub cpu_request: Option<u64>,
    /// The CPU time that it never exceeds, in thousandths of a CPU.
    pub cpu_limit: Option<u64>,
    /// The memory that it never exceeds, in bytes. A container that needs more is killed.
    pub memory_limit: Option<u64>,
}

/// What a container's program may do, and as whom.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Security {
    /// The user's number; the image's if absent.
    pub run_as_user: Option<u32>,
    /// The group's number; the image's if absent.
    pub run_as_group: Option<u32>,
    /// The numbers of further groups.
    pub supplemental_groups: Vec<u32>,
    /// Whether everything but mounts is read-only.
    pub read_only_root: bool,
    /// Whether it may do everything that root of the host may.
    pub privileged: bool,
    /// Whether programs that it runs can have no more rights than it (`allowPrivilegeEscalation: false`).
    pub no_new_privileges: bool,
    /// Capabilities beside or without those that the runtime gives.
    pub capabilities: Capabilities,
    /// Which system calls it may make; what the runtime does by itself if absent.
    pub seccomp: Option<Seccomp>,
}

/// Changes to the capabilities that a runtime gives to containers, named as `NET_ADMIN`; `ALL` is all of them.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Those that are added.
    pub add: Vec<String>,
    /// Those that are taken away.
    pub drop: Vec<String>,
}

/// Which system calls a container may make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Seccomp {
    /// All.
    Unconfined,
    /// Those that the runtime deems harmless.
    RuntimeDefault,
    /// Those of a profile: the path of a file on the host.
    Localhost(PathBuf),
}
