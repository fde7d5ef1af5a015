//! What a container sees of the host's files, worked out before it starts.
//!
//! A container sees the host's file system, and its mounts in it. Where there is nothing on the host to mount over, the
//! mount point is made in memory: the nearest directory that exists is replaced, for the container alone, by one in memory
//! that holds everything that is in it, and the mount point. So nothing is made on the host. To replace `/` and directories in use, the
//! container gets a root of its own, put together from the host's top-level directories.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fmt;
use std::fs::Metadata;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use quarterdeck_core::runtime::Mount;
use rustix::fs::StatVfsMountFlags;
use rustix::mount::MountFlags;

/// One thing that the child does in its mount namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Mounts memory.
    Tmpfs { at: CString, options: CString },
    /// Mounts a file or a directory with all that is mounted below it.
    Bind { from: CString, at: CString },
    /// Makes a directory, unless there is one.
    Directory { at: CString },
    /// Makes an empty file, unless there is one.
    File { at: CString },
    /// Makes a symbolic link.
    Link { to: CString, at: CString },
    /// Makes a mount read-only, and leaves its other flags.
    ReadOnly { at: CString, flags: MountFlags },
    /// Makes this mount the root.
    Root { at: CString },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind { from, at } => write!(f, "{from:?} at {at:?}"),
            Self::Tmpfs { at, .. } => write!(f, "memory at {at:?}"),
            Self::Directory { at } | Self::File { at } | Self::Link { at, .. } => write!(f, "at {at:?}"),
            Self::ReadOnly { at, .. } => write!(f, "{at:?} read-only"),
            Self::Root { at } => write!(f, "{at:?} as root"),
        }
    }
}

/// Memory for what is written beside mount points that were made in memory.
const MEMORY: &str = "64m";

/// Works out how a container sees `mounts`, and whether it may only read everything else. `staging` is an empty
/// directory of the host, for the container alone.
pub(super) fn plan(mounts: &[Mount], read_only_root: bool, staging: &Path) -> Result<Vec<Step>, PlanError> {
    let mut placed = Vec::new();
    for mount in mounts {
        let metadata = std::fs::metadata(&mount.host_path)
            .map_err(|error| PlanError { path: mount.host_path.clone(), error })?;
        placed.push((mount, Place::find(&mount.container_path)?, metadata));
    }
    // A mount below another comes after it.
    placed.sort_by_key(|(_, place, _)| place.path().components().count());

    let mut plan = Plan::default();
    let mut replaced = BTreeSet::new();
    for (number, (_, place, _)) in placed.iter().enumerate() {
        let inside = placed[..number].iter().any(|(_, outer, _)| place.path().starts_with(outer.path()));
        if !inside && !place.missing.as_os_str().is_empty() {
            replaced.insert(place.existing.clone());
        }
    }
    if !replaced.is_empty() || read_only_root {
        plan.root = staging.to_owned();
        plan.replace(Path::new("/"))?;
        replaced.remove(Path::new("/"));
        for directory in &replaced {
            plan.replace(directory)?;
        }
    }
    for (mount, place, metadata) in &placed {
        plan.mount(mount, place, metadata.is_dir())?;
    }
    if read_only_root {
        let kept: Vec<_> = placed.iter().map(|(_, place, _)| place.path()).collect();
        plan.make_read_only(&replaced, &kept)?;
    }
    if plan.root.as_os_str() != "" {
        plan.steps.push(Step::Root { at: c_string(&plan.root)? });
    }
    Ok(plan.steps)
}

/// A path that cannot be mounted, and why.
#[derive(Debug, thiserror::Error)]
#[error("cannot mount {path:?}: {error}")]
pub(super) struct PlanError {
    path: PathBuf,
    error: io::Error,
}

/// Where a path leads on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    /// The nearest directory that exists, without symbolic links; the path itself if it exists.
    existing: PathBuf,
    /// What is missing below it; empty if nothing is.
    missing: PathBuf,
}

impl Place {
    fn find(path: &Path) -> Result<Self, PlanError> {
        let invalid =
            || PlanError { path: path.to_owned(), error: io::Error::from(io::ErrorKind::InvalidInput) };
        let root = path.parent().is_none();
        if root || !path.is_absolute() || path.components().any(|part| part == Component::ParentDir) {
            return Err(invalid());
        }
        let mut missing = PathBuf::new();
        for ancestor in path.ancestors() {
            match ancestor.canonicalize() {
                Ok(existing) => return Ok(Self { existing, missing }),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let name = ancestor.file_name().ok_or_else(invalid)?;
                    missing = if missing.as_os_str().is_empty() {
                        name.into()
                    } else {
                        Path::new(name).join(missing)
                    };
                }
                Err(error) => return Err(PlanError { path: ancestor.to_owned(), error }),
            }
        }
        Err(invalid())
    }

    fn path(&self) -> PathBuf {
        if self.missing.as_os_str().is_empty() {
            self.existing.clone()
        } else {
            self.existing.join(&self.missing)
        }
    }
}

#[derive(Debug, Default)]
struct Plan {
    /// Where the container's root is put together; empty if it keeps the host's.
    root: PathBuf,
    steps: Vec<Step>,
}

impl Plan {
    /// Returns where a path of the container is while its root is being put together.
    fn at(&self, path: &Path) -> Result<CString, PlanError> {
        if self.root.as_os_str().is_empty() {
            return c_string(path);
        }
        c_string(&self.root.join(path.strip_prefix("/").unwrap_or(path)))
    }

    /// Puts a directory in memory in the place of one of the host, with everything that is in that one.
    fn replace(&mut self, directory: &Path) -> Result<(), PlanError> {
        let failed = |error| PlanError { path: directory.to_owned(), error };
        let metadata = std::fs::metadata(directory).map_err(failed)?;
        if !metadata.is_dir() {
            return Err(failed(io::ErrorKind::NotADirectory.into()));
        }
        let options = format!(
            "mode={:o},uid={},gid={},size={MEMORY}",
            metadata.mode() & 0o7777,
            metadata.uid(),
            metadata.gid()
        );
        let options = CString::new(options).expect("numbers have no NUL");
        self.steps.push(Step::Tmpfs { at: self.at(directory)?, options });
        for entry in std::fs::read_dir(directory).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            // What vanishes meanwhile was not there.
            let Ok(metadata) = path.symlink_metadata() else { continue };
            self.copy(&path, &metadata)?;
        }
        Ok(())
    }

    /// Makes an entry of a replaced directory what it is on the host.
    fn copy(&mut self, path: &Path, metadata: &Metadata) -> Result<(), PlanError> {
        let at = self.at(path)?;
        if metadata.is_symlink() {
            let to = std::fs::read_link(path).map_err(|error| PlanError { path: path.to_owned(), error })?;
            self.steps.push(Step::Link { to: c_string(&to)?, at });
            return Ok(());
        }
        self.steps.push(if metadata.is_dir() {
            Step::Directory { at: at.clone() }
        } else {
            Step::File { at: at.clone() }
        });
        self.steps.push(Step::Bind { from: c_string(path)?, at });
        Ok(())
    }

    fn mount(&mut self, mount: &Mount, place: &Place, directory: bool) -> Result<(), PlanError> {
        let mut path = place.existing.clone();
        let mut missing = place.missing.components().peekable();
        while let Some(part) = missing.next() {
            path.push(part);
            let at = self.at(&path)?;
            let last = missing.peek().is_none();
            self.steps.push(if last && !directory { Step::File { at } } else { Step::Directory { at } });
        }
        let (from, at) = (c_string(&mount.host_path)?, self.at(&path)?);
        self.steps.push(Step::Bind { from, at: at.clone() });
        if mount.read_only {
            self.steps.push(Step::ReadOnly { at, flags: flags_of(&mount.host_path)? });
        }
        Ok(())
    }

    /// Makes everything read-only but `kept`, and but the kernel's own file systems.
    fn make_read_only(&mut self, replaced: &BTreeSet<PathBuf>, kept: &[PathBuf]) -> Result<(), PlanError> {
        let path = Path::new("/proc/self/mountinfo");
        let mounted =
            std::fs::read_to_string(path).map_err(|error| PlanError { path: path.to_owned(), error })?;
        let mounted = mounted.lines().filter_map(|line| Some(unescape(line.split(' ').nth(4)?)));
        let mut paths: BTreeSet<PathBuf> = mounted.collect();
        for directory in replaced.iter().map(PathBuf::as_path).chain([Path::new("/")]) {
            // Each entry of a replaced directory is a mount of its own.
            paths.insert(directory.to_owned());
            let failed = |error| PlanError { path: directory.to_owned(), error };
            for entry in std::fs::read_dir(directory).map_err(failed)? {
                let path = entry.map_err(failed)?.path();
                if !path.is_symlink() {
                    paths.insert(path);
                }
            }
        }
        let kernel = ["/proc", "/sys", "/dev", "/run/netns"];
        paths.retain(|path| {
            path.exists()
                && !kernel.iter().any(|kernel| path.starts_with(kernel))
                && !kept.iter().any(|kept| path.starts_with(kept))
                && !path.starts_with(&self.root)
        });
        for path in paths {
            let flags = flags_of(&path)?;
            self.steps.push(Step::ReadOnly { at: self.at(&path)?, flags });
        }
        Ok(())
    }
}

/// Returns the flags that a mount keeps when it becomes read-only.
fn flags_of(path: &Path) -> Result<MountFlags, PlanError> {
    let stat = rustix::fs::statvfs(path)
        .map_err(|errno| PlanError { path: path.to_owned(), error: errno.into() })?;
    let mut flags = MountFlags::empty();
    flags.set(MountFlags::NOSUID, stat.f_flag.contains(StatVfsMountFlags::NOSUID));
    flags.set(MountFlags::NODEV, stat.f_flag.contains(StatVfsMountFlags::NODEV));
    flags.set(MountFlags::NOEXEC, stat.f_flag.contains(StatVfsMountFlags::NOEXEC));
    Ok(flags)
}

/// Undoes how the kernel writes blanks in mount points.
fn unescape(text: &str) -> PathBuf {
    PathBuf::from(
        text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\"),
    )
}

fn c_string(path: &Path) -> Result<CString, PlanError> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| PlanError { path: path.to_owned(), error: io::ErrorKind::InvalidInput.into() })
}
