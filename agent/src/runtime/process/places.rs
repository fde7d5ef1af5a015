//! Where a node keeps its pods on disk, and what it writes down of them.
//!
//! ```text
//! STATE/lock                                  held by the runtime that has the node
//! STATE/pods/UID/pod.json                     the pod
//! STATE/pods/UID/etc/…                        its hosts, hostname and resolv.conf
//! STATE/pods/UID/containers/NAME/N/           an attempt:
//!     container.json                          what it is, when it began, how it ended
//!     stat                                    /proc/self/stat of its process, written by the process itself
//!     log                                     what it wrote
//!     root/                                   where its root is put together, or links to its volumes
//! ```
//!
//! No value of an environment variable is written down: it may be a secret.

use std::fs::{self, File};
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use quarterdeck_core::runtime::{ContainerKey, Exit, ExitReason, PodSandbox, PodUid, Protocol};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The directories of a node.
#[derive(Debug, Clone)]
pub(super) struct Places {
    root: PathBuf,
}

/// What is written down of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PodRecord {
    pub(super) sandbox: PodSandbox,
    #[serde(with = "time")]
    pub(super) created_at: Timestamp,
    /// Its address, unless it is on the host's network.
    pub(super) address: Option<Ipv4Addr>,
    /// Whether it has a network namespace.
    pub(super) isolated: bool,
    /// Ports of the pod and the ports of this machine's loopback address that are theirs.
    pub(super) ports: Vec<(Protocol, u16, u16)>,
    /// The run of the kernel that the pod was started in.
    pub(super) boot: String,
}

/// What is written down of an attempt of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ContainerRecord {
    pub(super) image: String,
    pub(super) labels: std::collections::BTreeMap<String, String>,
    #[serde(with = "time")]
    pub(super) created_at: Timestamp,
    /// When it was started; absent while it is being started.
    #[serde(with = "optional_time")]
    pub(super) started_at: Option<Timestamp>,
    pub(super) exit: Option<ExitRecord>,
}

/// What is written down of how a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ExitRecord {
    code: Option<i32>,
    signal: Option<i32>,
    #[serde(with = "time")]
    finished_at: Timestamp,
    out_of_memory: bool,
    message: String,
}

impl ExitRecord {
    pub(super) fn of(exit: &Exit) -> Self {
        Self {
            code: exit.exit_code,
            signal: exit.signal,
            finished_at: exit.finished_at,
            out_of_memory: exit.reason == ExitReason::OomKilled,
            message: exit.message.clone(),
        }
    }

    pub(super) fn exit(&self, started_at: Option<Timestamp>) -> Exit {
        let reason = if self.out_of_memory { ExitReason::OomKilled } else { ExitReason::of_code(self.code) };
        Exit {
            exit_code: self.code,
            signal: self.signal,
            started_at,
            finished_at: self.finished_at,
            reason,
            message: self.message.clone(),
        }
    }
}

impl Places {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Returns what tells this node from others of the machine: eight letters that stay the same.
    pub(super) fn node(&self) -> String {
        let root = self.root.canonicalize().unwrap_or_else(|_| self.root.clone());
        format!("{:08x}", hash(&[root.as_os_str().as_encoded_bytes()]) & 0xffff_ffff)
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    pub(super) fn pods(&self) -> PathBuf {
        self.root.join("pods")
    }

    pub(super) fn pod(&self, uid: &PodUid) -> PathBuf {
        self.pods().join(uid.as_str())
    }

    pub(super) fn pod_record(&self, uid: &PodUid) -> PathBuf {
        self.pod(uid).join("pod.json")
    }

    pub(super) fn etc(&self, uid: &PodUid, file: &str) -> PathBuf {
        self.pod(uid).join("etc").join(file)
    }

    pub(super) fn containers(&self, uid: &PodUid) -> PathBuf {
        self.pod(uid).join("containers")
    }

    pub(super) fn container(&self, key: &ContainerKey) -> PathBuf {
        self.containers(&key.pod).join(&*key.name).join(key.attempt.to_string())
    }

    pub(super) fn container_record(&self, key: &ContainerKey) -> PathBuf {
        self.container(key).join("container.json")
    }

    pub(super) fn stat(&self, key: &ContainerKey) -> PathBuf {
        self.container(key).join("stat")
    }

    pub(super) fn log(&self, key: &ContainerKey) -> PathBuf {
        self.container(key).join("log")
    }

    pub(super) fn staging(&self, key: &ContainerKey) -> PathBuf {
        self.container(key).join("root")
    }

    /// Returns the pods that there are directories of.
    pub(super) fn held(&self) -> io::Result<Vec<PodUid>> {
        Ok(names(&self.pods())?.into_iter().map(PodUid::from).collect())
    }

    /// Returns the attempts that there are directories of.
    pub(super) fn attempts(&self, uid: &PodUid) -> io::Result<Vec<ContainerKey>> {
        let mut attempts = Vec::new();
        for name in names(&self.containers(uid))? {
            for attempt in names(&self.containers(uid).join(&name))? {
                if let Ok(attempt) = attempt.parse() {
                    attempts.push(ContainerKey::new(uid.clone(), &*name, attempt));
                }
            }
        }
        Ok(attempts)
    }
}

/// Makes a directory, and those above it, that only its owner may look into.
pub(super) fn make_directory(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Removes a file or directory, if it is there.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Writes a record in one step: a reader finds the one before or this one.
pub(super) fn write_record(path: &Path, record: &impl Serialize) -> io::Result<()> {
    let beside = path.with_extension("new");
    serde_json::to_writer(File::create(&beside)?, record)?;
    fs::rename(beside, path)
}

/// Reads a record; `None` if there is none.
pub(super) fn read_record<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn names(directory: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

/// Returns a number for these bytes that is the same on every machine and in every version.
pub(super) fn hash(parts: &[&[u8]]) -> u64 {
    // The separator keeps `a`, `bc` and `ab`, `c` apart.
    let bytes = parts.iter().flat_map(|part| part.iter().copied().chain([0xff]));
    quarterdeck_core::hash::fnv1a(bytes)
}

/// Timestamps as text.
mod time {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(time)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// Timestamps as text, or nothing.
mod optional_time {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(
        time: &Option<Timestamp>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        time.map(|time| time.to_string()).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| text.parse().map_err(D::Error::custom)).transpose()
    }
}
