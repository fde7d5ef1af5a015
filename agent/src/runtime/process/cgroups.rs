//! Control groups, version 1 and 2: how much a container uses, and which processes are in it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use quarterdeck_core::runtime::Resources;
use rustix::process::{Pid, Signal};

/// A period of the CPU quota, in microseconds.
const PERIOD: u64 = 100_000;

/// The control groups that a node may make its groups in. Empty if it may not make any.
#[derive(Debug, Clone, Default)]
pub(super) struct Cgroups {
    hierarchies: Vec<Hierarchy>,
}

#[derive(Debug, Clone)]
struct Hierarchy {
    /// The node's own directory, in which each container has one.
    base: PathBuf,
    version: Version,
    cpu: bool,
    memory: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// One container's control groups.
#[derive(Debug, Clone, Default)]
pub(super) struct Group {
    directories: Vec<(PathBuf, Version)>,
}

impl Cgroups {
    /// Finds out where groups can be made, and makes the node's directory called `name` there.
    pub(super) fn detect(name: &str) -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Self::find(&mounts, &own, name)
    }

    fn find(mounts: &str, own: &str, name: &str) -> Self {
        let mut hierarchies = Vec::new();
        for line in mounts.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let (Some(root), Some(path)) = (left.split(' ').nth(3), left.split(' ').nth(4)) else { continue };
            let mut right = right.split(' ');
            let (kind, options) = (right.next().unwrap_or_default(), right.nth(1).unwrap_or_default());
            let path = Path::new(path);
            match kind {
                "cgroup" => {
                    let has = |controller: &str| options.split(',').any(|option| option == controller);
                    if has("cpu") || has("memory") || has("pids") {
                        let (cpu, memory) = (has("cpu"), has("memory"));
                        let found = Hierarchy { base: path.join(name), version: Version::One, cpu, memory };
                        hierarchies.extend(found.made());
                    }
                }
                "cgroup2" => hierarchies.extend(Hierarchy::second(path, root, own, name)),
                _ => {}
            }
        }
        // Where both versions are mounted, the first has the controllers, and the second may still tell who is in a group.
        Self { hierarchies }
    }

    /// Whether CPU time can be limited.
    pub(super) fn cpu(&self) -> bool {
        self.hierarchies.iter().any(|hierarchy| hierarchy.cpu)
    }

    /// Whether memory can be limited.
    pub(super) fn memory(&self) -> bool {
        self.hierarchies.iter().any(|hierarchy| hierarchy.memory)
    }

    /// Returns a container's group, whether it was made or not.
    pub(super) fn group(&self, container: &str) -> Group {
        let directories =
            self.hierarchies.iter().map(|hierarchy| (hierarchy.base.join(container), hierarchy.version));
        Group { directories: directories.collect() }
    }

    /// Makes a container's group with these limits, and opens the files by which a process enters it.
    pub(super) fn make(&self, container: &str, resources: &Resources) -> io::Result<Vec<File>> {
        let mut entrances = Vec::new();
        for hierarchy in &self.hierarchies {
            let directory = hierarchy.base.join(container);
            ignore(fs::create_dir(&directory), io::ErrorKind::AlreadyExists)?;
            hierarchy.limit(&directory, resources)?;
            entrances.push(fs::OpenOptions::new().write(true).open(directory.join("cgroup.procs"))?);
        }
        Ok(entrances)
    }

    /// Returns the names of all groups that there are.
    pub(super) fn names(&self) -> Vec<String> {
        let entries =
            self.hierarchies.iter().filter_map(|hierarchy| fs::read_dir(&hierarchy.base).ok()).flatten();
        let mut names: Vec<_> = entries
            .filter_map(|entry| {
                entry.ok().filter(|entry| entry.path().is_dir())?.file_name().into_string().ok()
            })
            .collect();
        names.sort();
        names.dedup();
        names
    }

    /// Removes the node's directories, if they are empty.
    pub(super) fn remove(&self) {
        for hierarchy in &self.hierarchies {
            let _ = fs::remove_dir(&hierarchy.base);
        }
    }
}

impl Hierarchy {
    /// Makes the node's directory, or gives up the hierarchy.
    fn made(self) -> Option<Self> {
        ignore(fs::create_dir(&self.base), io::ErrorKind::AlreadyExists).ok()?;
        // Having made a directory proves little: the files in it may belong to somebody else.
        let writable = fs::OpenOptions::new().write(true).open(self.base.join("cgroup.procs")).is_ok();
        if !writable {
            let _ = fs::remove_dir(&self.base);
        }
        writable.then_some(self)
    }

    /// Finds a place in the version 2 hierarchy: at its root, or beside the group that this process is in, as a service
    /// that systemd delegated a group to.
    fn second(mount: &Path, root: &str, own: &str, name: &str) -> Option<Self> {
        let own = own.lines().find_map(|line| line.strip_prefix("0::"))?;
        let own = Path::new(own.strip_prefix(root).unwrap_or(own)).parent().map(Path::to_owned);
        let beside = own.map(|parent| mount.join(parent.strip_prefix("/").unwrap_or(&parent)));
        let mut best: Option<Self> = None;
        for parent in std::iter::once(mount.to_owned()).chain(beside) {
            let _ = fs::write(parent.join("cgroup.subtree_control"), "+cpu +memory +pids");
            let place = Self { base: parent.join(name), version: Version::Two, cpu: false, memory: false };
            let Some(mut place) = place.made() else { continue };
            let given = fs::read_to_string(place.base.join("cgroup.controllers")).unwrap_or_default();
            if fs::write(place.base.join("cgroup.subtree_control"), "+cpu +memory +pids").is_ok() {
                place.cpu = given.split_whitespace().any(|controller| controller == "cpu");
                place.memory = given.split_whitespace().any(|controller| controller == "memory");
            }
            if place.cpu && place.memory {
                if let Some(worse) = best {
                    let _ = fs::remove_dir(worse.base);
                }
                return Some(place);
            }
            match &best {
                Some(_) => drop(fs::remove_dir(&place.base)),
                None => best = Some(place),
            }
        }
        best
    }

    fn limit(&self, group: &Path, resources: &Resources) -> io::Result<()> {
        let write = |file: &str, value: String| fs::write(group.join(file), value);
        // What Kubernetes' own agent makes of requests: 1 CPU is 1024 shares, and nothing has less than 2.
        let shares =
            resources.cpu_request.or(resources.cpu_limit).map(|cpu| (cpu * 1024 / 1000).clamp(2, 262_144));
        let quota = resources.cpu_limit.map(|cpu| (cpu * PERIOD / 1000).max(1000));
        match self.version {
            Version::One => {
                if let Some(shares) = shares.filter(|_| self.cpu) {
                    write("cpu.shares", shares.to_string())?;
                }
                if let Some(quota) = quota.filter(|_| self.cpu) {
                    write("cpu.cfs_period_us", PERIOD.to_string())?;
                    write("cpu.cfs_quota_us", quota.to_string())?;
                }
                if let Some(limit) = resources.memory_limit.filter(|_| self.memory) {
                    write("memory.limit_in_bytes", limit.to_string())?;
                    // Absent where swap is not accounted.
                    ignore(write("memory.memsw.limit_in_bytes", limit.to_string()), io::ErrorKind::NotFound)?;
                }
            }
            Version::Two => {
                if let Some(shares) = shares.filter(|_| self.cpu) {
                    write("cpu.weight", (1 + (shares - 2) * 9999 / 262_142).to_string())?;
                }
                if let Some(quota) = quota.filter(|_| self.cpu) {
                    write("cpu.max", format!("{quota} {PERIOD}"))?;
                }
                if let Some(limit) = resources.memory_limit.filter(|_| self.memory) {
                    write("memory.max", limit.to_string())?;
                    ignore(write("memory.swap.max", "0".to_owned()), io::ErrorKind::NotFound)?;
                    ignore(write("memory.oom.group", "1".to_owned()), io::ErrorKind::NotFound)?;
                }
            }
        }
        Ok(())
    }
}

impl Group {
    /// Whether it can tell who is in it.
    pub(super) fn exists(&self) -> bool {
        self.directories.iter().any(|(directory, _)| directory.exists())
    }

    /// Kills everything in it. Returns whether there was anything.
    pub(super) fn kill(&self) -> bool {
        let mut any = false;
        for (directory, version) in &self.directories {
            let members = members(directory);
            any |= !members.is_empty();
            if *version == Version::Two && fs::write(directory.join("cgroup.kill"), "1").is_ok() {
                continue;
            }
            for member in members {
                // One that is gone by now is what is wanted.
                let _ = rustix::process::kill_process(member, Signal::KILL);
            }
        }
        any
    }

    /// Whether the kernel killed something in it because it needed too much memory.
    pub(super) fn out_of_memory(&self) -> bool {
        self.directories.iter().any(|(directory, version)| {
            let file = match version {
                Version::One => "memory.oom_control",
                Version::Two => "memory.events",
            };
            let text = fs::read_to_string(directory.join(file)).unwrap_or_default();
            let kills = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
            kills.is_some_and(|kills| kills.trim() != "0")
        })
    }

    /// Removes it. Fails while something is in it.
    pub(super) fn remove(&self) -> io::Result<()> {
        self.directories.iter().try_for_each(|(directory, _)| remove(directory))
    }
}

/// Returns the processes in a group and in the groups that they made below it.
fn members(group: &Path) -> Vec<Pid> {
    let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    let mut members: Vec<_> = text.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)).collect();
    for below in below(group) {
        members.extend(self::members(&below));
    }
    members
}

fn remove(group: &Path) -> io::Result<()> {
    below(group).iter().try_for_each(|below| remove(below))?;
    ignore(fs::remove_dir(group), io::ErrorKind::NotFound)
}

fn below(group: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(group).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

fn ignore(result: io::Result<()>, kind: io::ErrorKind) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == kind => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes directories with the files that the kernel would have put there.
    fn fake(directory: &Path, files: &[(&str, &str)]) {
        fs::create_dir_all(directory).unwrap();
        for (file, content) in files {
            fs::write(directory.join(file), content).unwrap();
        }
    }

    #[test]
    fn limits_are_written_as_version_1_has_them() {
        let place = tempfile::tempdir().unwrap();
        let hierarchy =
            Hierarchy { base: place.path().to_owned(), version: Version::One, cpu: true, memory: true };
        let resources =
            Resources { cpu_request: Some(250), cpu_limit: Some(1500), memory_limit: Some(50_000_000) };

        hierarchy.limit(place.path(), &resources).unwrap();

        let read = |file: &str| fs::read_to_string(place.path().join(file)).unwrap();
        assert_eq!(read("cpu.shares"), "256");
        assert_eq!(read("cpu.cfs_quota_us"), "150000");
        assert_eq!(read("memory.limit_in_bytes"), "50000000");
    }

    #[test]
    fn limits_are_written_as_version_2_has_them() {
        let place = tempfile::tempdir().unwrap();
        let hierarchy =
            Hierarchy { base: place.path().to_owned(), version: Version::Two, cpu: true, memory: true };
        let resources =
            Resources { cpu_request: Some(1000), cpu_limit: Some(5), memory_limit: Some(1 << 20) };

        hierarchy.limit(place.path(), &resources).unwrap();

        let read = |file: &str| fs::read_to_string(place.path().join(file)).unwrap();
        assert_eq!(read("cpu.weight"), "39");
        assert_eq!(read("cpu.max"), "1000 100000");
        assert_eq!(read("memory.max"), "1048576");
    }

    #[test]
    fn a_group_beside_the_own_one_is_found_where_the_root_is_not_writable() {
        let place = tempfile::tempdir().unwrap();
        let mount = place.path();
        let slice = mount.join("user.slice/app.slice");
        fake(&slice, &[("cgroup.subtree_control", "cpu memory pids")]);
        fake(&slice.join("node"), &[("cgroup.procs", ""), ("cgroup.controllers", "cpu memory pids")]);
        let own = "0::/user.slice/app.slice/agent.service\n";
        let line = format!("41 31 0:38 / {} rw,relatime - cgroup2 cgroup2 rw\n", mount.display());

        let found = Cgroups::find(&line, own, "node");

        assert!(found.cpu() && found.memory());
        assert_eq!(found.hierarchies[0].base, slice.join("node"));
    }

    #[test]
    fn out_of_memory_is_read_from_either_version() {
        let place = tempfile::tempdir().unwrap();
        let (one, two) = (place.path().join("one"), place.path().join("two"));
        fake(&one, &[("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n")]);
        fake(&two, &[("memory.events", "low 0\nmax 3\noom 0\noom_kill 0\n")]);

        let group = |directory: &Path, version| Group { directories: vec![(directory.to_owned(), version)] };

        assert!(group(&one, Version::One).out_of_memory());
        assert!(!group(&two, Version::Two).out_of_memory());
    }
}
