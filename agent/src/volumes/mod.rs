//! Volumes: what a pod's containers find in directories of their own.
//!
//! They lie below the agent's root directory, at `pods/UID/volumes/KIND/NAME`. An agent without one works out what volumes
//! hold, so that a pod waits for a config map that is not there, and writes nothing.
//!
//! | kind | made by |
//! | --- | --- |
//! | `emptyDir`, `hostPath` | [`directories`] |
//! | the files of last messages, at `pods/UID/containers` | [`messages`] |
//! | `configMap`, `secret`, `downwardAPI`, `projected` | [`content`] works it out, [`writer`] writes it, all or nothing |

mod content;
mod directories;
mod messages;
mod mounts;
mod token;
mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, Pod, Volume};
use quarterdeck_core::runtime::{Mount, PodUid};

use self::token::Tokens;
use crate::env;
use crate::host::Host;

/// How often to look whether what volumes hold has changed.
const REFRESH: SignedDuration = SignedDuration::from_mins(1);
/// Where containers write their last words, unless told otherwise.
const TERMINATION_LOG: &str = "/dev/termination-log";
/// Where volumes would lie that are not written.
const UNWRITTEN: &str = "/var/lib/quarterdeck/unwritten";

/// The volumes of one pod.
#[derive(Debug)]
pub(crate) struct Volumes {
    /// The pod's directory; `None` if nothing is written.
    directory: Option<PathBuf>,
    tokens: Tokens,
    /// Where the volumes lie that were made.
    made: BTreeMap<String, Made>,
    /// When to look at what they hold again.
    due: Option<Timestamp>,
}

/// A volume that is there.
#[derive(Debug)]
struct Made {
    path: PathBuf,
    /// Whether containers may only read it, whatever they ask for.
    is_read_only: bool,
}

/// Why a volume cannot be had.
#[derive(Debug)]
pub(crate) struct Problem {
    /// The volume's name.
    pub(crate) volume: String,
    /// What is wrong, for the user.
    pub(crate) message: String,
}

impl Volumes {
    /// Describes the volumes of a pod; none is made yet, though an earlier agent may have.
    pub(crate) fn new(host: &Host, pod: &Pod) -> Self {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let directory = host.root.as_ref().map(|root| directory(root, uid));
        let due = (directory.is_some() && volumes(pod).iter().any(changes)).then(|| host.context.clock.now());
        Self { directory, tokens: Tokens::default(), made: BTreeMap::new(), due }
    }

    /// Returns whether all volumes were made by this agent.
    pub(crate) fn are_made(&self, pod: &Pod) -> bool {
        volumes(pod).iter().all(|volume| self.made.contains_key(&volume.name))
    }

    /// Returns when to [set up](Self::set_up) again, to bring what they hold up to date.
    pub(crate) fn due(&self) -> Option<Timestamp> {
        self.due
    }

    /// Makes all volumes, or brings them up to date.
    ///
    /// # Errors
    ///
    /// The first [`Problem`]; the other volumes may have been made.
    pub(crate) async fn set_up(&mut self, host: &Host, pod: &Pod, ips: &[IpAddr]) -> Result<(), Problem> {
        let now = host.context.clock.now();
        if self.due.is_some() {
            self.due = Some(now + REFRESH);
        }
        for volume in volumes(pod) {
            let made = self.make(host, pod, ips, volume).await;
            let made = made.map_err(|message| Problem { volume: volume.name.clone(), message })?;
            self.made.insert(volume.name.clone(), made);
        }
        Ok(())
    }

    async fn make(
        &mut self,
        host: &Host,
        pod: &Pod,
        ips: &[IpAddr],
        volume: &Volume,
    ) -> Result<Made, String> {
        if let Some(source) = &volume.host_path {
            if self.directory.is_some() {
                directories::check_host_path(source)?;
            }
            return Ok(Made { path: source.path.clone().into(), is_read_only: false });
        }
        let Some(kind) = kind(volume) else {
            return Err("volumes of this kind are not supported".to_owned());
        };
        let path = match &self.directory {
            Some(directory) => directory.join("volumes").join(kind).join(&volume.name),
            None => {
                Path::new(UNWRITTEN).join(pod.metadata.uid.as_deref().unwrap_or_default()).join(&volume.name)
            }
        };
        let group = group(pod)?;
        if let Some(source) = &volume.empty_dir {
            if self.directory.is_some() {
                directories::make_empty_dir(&path, source, group)?;
            }
            return Ok(Made { path, is_read_only: false });
        }
        let info = host.info();
        let facts =
            env::Facts { pod, ips, node: &host.addresses, machine: info.as_ref().map(|info| &info.machine) };
        let tokens = self.directory.is_some().then_some(&mut self.tokens);
        let content = content::content(host, &facts, volume, tokens).await?;
        if self.directory.is_some() {
            make_directory(&path)
                .and_then(|()| writer::write(&path, &content, group, host.context.clock.now()))
                .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        }
        Ok(Made { path, is_read_only: true })
    }

    /// Returns what is mounted into a container.
    ///
    /// # Errors
    ///
    /// What is wrong, for the user.
    pub(crate) fn mounts(
        &self,
        container: &Container,
        env: &BTreeMap<String, String>,
    ) -> Result<Vec<Mount>, String> {
        let mounts = container.volume_mounts.iter().flatten();
        mounts.map(|mount| mounts::mount(&self.made, mount, env, self.directory.is_some())).collect()
    }

    /// Makes the file that an attempt of a container writes its last words into, and returns how it is mounted. There is none
    /// where the agent keeps no files.
    ///
    /// # Errors
    ///
    /// What is wrong, for the user.
    pub(crate) fn message_mount(&self, container: &Container, attempt: u32) -> Result<Option<Mount>, String> {
        let Some(pod) = &self.directory else { return Ok(None) };
        let path = container.termination_message_path.as_deref().filter(|path| !path.is_empty());
        let made = messages::make(pod, &container.name, attempt);
        let host_path = made.map_err(|error| format!("cannot make the file of the last message: {error}"))?;
        let container_path = Path::new("/").join(path.unwrap_or(TERMINATION_LOG));
        Ok(Some(Mount { host_path, container_path, read_only: false }))
    }

    /// Returns what an attempt of a container wrote into its file.
    pub(crate) fn message(&self, container: &str, attempt: u32) -> String {
        self.directory.as_ref().map(|pod| messages::read(pod, container, attempt)).unwrap_or_default()
    }

    /// Removes the volumes, whoever made them.
    pub(crate) fn tear_down(&mut self) {
        if let Some(directory) = &self.directory {
            clear(directory);
        }
        self.made.clear();
    }

    /// Removes the volumes of a pod of which only the uid is known.
    pub(crate) fn remove(host: &Host, uid: &PodUid) {
        if let Some(root) = &host.root {
            clear(&directory(root, uid.as_str()));
        }
    }

    /// Removes the volumes of all pods but these.
    pub(crate) fn sweep(host: &Host, keep: &BTreeSet<PodUid>) {
        let Some(pods) = host.root.as_ref().map(|root| root.join("pods")) else { return };
        let Ok(found) = fs::read_dir(pods) else { return };
        for entry in found.flatten() {
            let is_kept = entry.file_name().to_str().is_some_and(|name| keep.contains(&PodUid::from(name)));
            if !is_kept {
                clear(&entry.path());
            }
        }
    }
}

fn volumes(pod: &Pod) -> &[Volume] {
    pod.spec.as_ref().and_then(|spec| spec.volumes.as_deref()).unwrap_or_default()
}

fn directory(root: &Path, uid: &str) -> PathBuf {
    root.join("pods").join(uid)
}

/// Names the directory of a kind of volume, as upstream does.
fn kind(volume: &Volume) -> Option<&'static str> {
    let kinds = [
        (volume.empty_dir.is_some(), "kubernetes.io~empty-dir"),
        (volume.config_map.is_some(), "kubernetes.io~configmap"),
        (volume.secret.is_some(), "kubernetes.io~secret"),
        (volume.projected.is_some(), "kubernetes.io~projected"),
        (volume.downward_api.is_some(), "kubernetes.io~downward-api"),
    ];
    kinds.into_iter().find(|(is, _)| *is).map(|(_, kind)| kind)
}

/// Returns whether what a volume holds may change.
fn changes(volume: &Volume) -> bool {
    volume.empty_dir.is_none() && volume.host_path.is_none()
}

/// Returns the group that volumes of a pod belong to, if it names one.
fn group(pod: &Pod) -> Result<Option<u32>, String> {
    let context = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
    let group = context.and_then(|context| context.fs_group);
    group
        .map(|group| u32::try_from(group).map_err(|_| format!("fsGroup {group} is out of range")))
        .transpose()
}

/// Makes a directory and those above it; what is above is for the agent's user and group alone.
fn make_directory(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o750).create(parent)?;
    }
    fs::DirBuilder::new().recursive(true).mode(0o755).create(path)
}

/// Removes a pod's directory, and unmounts what the agent has mounted there.
fn clear(directory: &Path) {
    let empty = directory.join("volumes/kubernetes.io~empty-dir");
    for entry in fs::read_dir(empty).into_iter().flatten().flatten() {
        directories::unmount(&entry.path());
    }
    if let Err(error) = fs::remove_dir_all(directory)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(directory = %directory.display(), %error, "cannot remove a pod's volumes");
    }
}

#[cfg(test)]
mod tests;
