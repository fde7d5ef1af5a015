//! Starting a program: what happens between `fork` and `exec`.
//!
//! This is the one module of the agent with `unsafe` code. `std::process::Command` cannot enter namespaces or mount anything, so
//! that is done by a closure that the child runs before it becomes the program. The child is a copy of one thread of a
//! process with many, so the closure must not allocate or take a lock: it only makes system calls (rustix' raw ones, not the C
//! library's) on what [`launch`] prepared before the fork. That is the whole of what `unsafe` vouches for here. The alternative, a chain of `nsenter`,
//! `unshare` and `setpriv`, costs four more programs per start and says less about what failed.
#![allow(unsafe_code)]

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::process::{Gid, Pid, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets, LinkNameSpaceType, UnshareFlags};

use super::mounts::Step;

/// A program to start, with everything worked out and opened.
#[derive(Debug)]
pub(super) struct Launch {
    /// The program and its arguments; not empty.
    pub(super) argv: Vec<String>,
    pub(super) env: Vec<(OsString, OsString)>,
    /// Where standard output and standard error go.
    pub(super) output: File,
    /// Where the child writes its `/proc/self/stat`, by which it is found again.
    pub(super) stat: File,
    /// `cgroup.procs` files, open for writing.
    pub(super) cgroups: Vec<File>,
    /// The network namespace to enter.
    pub(super) network: Option<OwnedFd>,
    /// The host name to have, in a UTS namespace of its own.
    pub(super) hostname: Option<String>,
    /// What to mount, in a mount namespace of its own.
    pub(super) mounts: Option<Vec<Step>>,
    /// Whom to become.
    pub(super) user: Option<User>,
    /// Capabilities to lose for good.
    pub(super) drop: CapabilitySet,
    pub(super) no_new_privileges: bool,
    /// Where to be.
    pub(super) directory: String,
}

/// Whom a program runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) groups: Vec<u32>,
}

/// What the child does, in order; the first number of a report says which failed.
const STAGES: [&str; 11] = [
    "cannot record the process",
    "cannot make a session",
    "cannot enter the cgroup",
    "cannot enter the pod's network",
    "cannot make namespaces",
    "cannot mount",
    "cannot set the host name",
    "cannot drop capabilities",
    "cannot change the user",
    "cannot renounce privileges",
    "cannot change to the working directory",
];

/// Starts the program and returns its process, which is a child of this one. The error is for the user.
pub(super) fn launch(launch: Launch) -> Result<Pid, String> {
    let (reports, report) = io::pipe().map_err(|error| format!("cannot make a pipe: {error}"))?;
    let program = launch.argv[0].clone();
    let error_output = launch.output.try_clone().map_err(|error| format!("cannot open the log: {error}"))?;
    let output = launch.output.try_clone().map_err(|error| format!("cannot open the log: {error}"))?;
    let described =
        launch.mounts.as_ref().map(|steps| steps.iter().map(ToString::to_string).collect::<Vec<_>>());
    let directory = launch.directory.clone();
    let mut command = Command::new(&program);
    command.args(&launch.argv[1..]).env_clear().envs(launch.env.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::null()).stdout(output).stderr(error_output);
    let child = Child::prepare(launch)?;
    // SAFETY: `Child::run` and `tell` make system calls on prepared values; they neither allocate nor lock.
    unsafe {
        command.pre_exec(move || {
            child.run().map_err(|(stage, step, errno)| {
                tell(&report, stage, step);
                errno.into()
            })
        });
    }

    let spawned = command.spawn();
    drop(command); // and with it the last writer of reports
    match spawned {
        Ok(child) => {
            let pid = i32::try_from(child.id()).expect("a process id is positive");
            Ok(Pid::from_raw(pid).expect("a process id is not 0"))
        }
        Err(error) => {
            let mut report = Vec::new();
            let _ = { reports }.read_to_end(&mut report);
            Err(match report[..] {
                [stage, low, high] => {
                    let step = usize::from(u16::from_le_bytes([low, high]));
                    let what = described.and_then(|steps| steps.get(step).cloned()).filter(|_| stage == 5);
                    let what = what.or_else(|| (stage == 10).then_some(directory)).unwrap_or_default();
                    format!("{} {what}: {error}", STAGES[usize::from(stage)])
                }
                _ => format!("exec {program:?}: {error}"),
            })
        }
    }
}

/// Writes which stage failed where the parent reads it. If that fails too, the parent has the error number.
fn tell(report: &io::PipeWriter, stage: u8, step: u16) {
    let [low, high] = step.to_le_bytes();
    let _ = rustix::io::write(report, &[stage, low, high]);
}

/// What the child needs, so that it does not have to allocate.
struct Child {
    launch: Launch,
    directory: CString,
    groups: Vec<Gid>,
}

type Failure = (u8, u16, Errno);

impl Child {
    fn prepare(launch: Launch) -> Result<Self, String> {
        let directory = CString::new(launch.directory.clone())
            .map_err(|_| "the working directory has a NUL in its name".to_owned())?;
        let groups = launch
            .user
            .iter()
            .flat_map(|user| user.groups.iter().map(|group| Gid::from_raw(*group)))
            .collect();
        Ok(Self { launch, directory, groups })
    }

    fn run(&self) -> Result<(), Failure> {
        let at = |stage: u8| move |errno: Errno| (stage, 0, errno);
        self.record().map_err(at(0))?;
        rustix::process::setsid().map_err(at(1))?;
        for cgroup in &self.launch.cgroups {
            rustix::io::write(cgroup, b"0").map_err(at(2))?;
        }
        if let Some(network) = &self.launch.network {
            rustix::thread::move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))
                .map_err(at(3))?;
        }
        let mut namespaces = UnshareFlags::empty();
        namespaces.set(UnshareFlags::NEWNS, self.launch.mounts.is_some());
        namespaces.set(UnshareFlags::NEWUTS, self.launch.hostname.is_some());
        if !namespaces.is_empty() {
            // SAFETY: file descriptors stay shared with nobody: the flags have no FILES, and a child has one thread.
            unsafe { rustix::thread::unshare_unsafe(namespaces) }.map_err(at(4))?;
        }
        if let Some(steps) = &self.launch.mounts {
            mount(steps)?;
        }
        if let Some(hostname) = &self.launch.hostname {
            rustix::system::sethostname(hostname.as_bytes()).map_err(at(6))?;
        }
        self.bound_capabilities().map_err(at(7))?;
        if let Some(user) = &self.launch.user {
            let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
            rustix::thread::set_thread_groups(&self.groups).map_err(at(8))?;
            rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(at(8))?;
            rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(at(8))?;
        }
        self.lose_capabilities().map_err(at(7))?;
        if self.launch.no_new_privileges {
            rustix::thread::set_no_new_privs(true).map_err(at(9))?;
        }
        rustix::process::umask(Mode::from_raw_mode(0o022));
        rustix::process::chdir(&*self.directory).map_err(at(10))
    }

    /// Leaves behind who this is, for whoever looks after the process when its parent is gone.
    fn record(&self) -> Result<(), Errno> {
        let mut line = [0; 1024];
        let stat = rustix::fs::open(c"/proc/self/stat", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let length = rustix::io::read(&stat, &mut line)?;
        rustix::io::write(&self.launch.stat, &line[..length])?;
        Ok(())
    }

    /// Sees to it that no program that is run later can get the dropped capabilities.
    fn bound_capabilities(&self) -> Result<(), Errno> {
        for number in 0..u64::BITS {
            let capability = CapabilitySet::from_bits_retain(1 << number);
            // What the kernel does not know is not there to drop.
            if self.launch.drop.contains(capability)
                && rustix::thread::capability_is_in_bounding_set(capability).unwrap_or_default()
            {
                rustix::thread::remove_capability_from_bounding_set(capability)?;
            }
        }
        Ok(())
    }

    fn lose_capabilities(&self) -> Result<(), Errno> {
        if self.launch.drop.is_empty() {
            return Ok(());
        }
        let had = rustix::thread::capabilities(None)?;
        let keep =
            |set: CapabilitySet| CapabilitySet::from_bits_retain(set.bits() & !self.launch.drop.bits());
        let sets = CapabilitySets {
            effective: keep(had.effective),
            permitted: keep(had.permitted),
            inheritable: keep(had.inheritable),
        };
        rustix::thread::set_capabilities(None, sets)
    }
}

/// Does the steps in a mount namespace that the host does not see.
fn mount(steps: &[Step]) -> Result<(), Failure> {
    let none = |errno| (5, u16::MAX, errno);
    // What the host mounts later appears here, what is mounted here stays here.
    rustix::mount::mount_change(c"/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
        .map_err(none)?;
    // The handles of other pods' networks would keep them alive.
    let _ = rustix::mount::unmount(c"/run/netns", UnmountFlags::DETACH);
    for (number, step) in steps.iter().enumerate() {
        let number = u16::try_from(number).unwrap_or(u16::MAX);
        do_step(step).map_err(|errno| (5, number, errno))?;
    }
    Ok(())
}

fn do_step(step: &Step) -> Result<(), Errno> {
    match step {
        Step::Tmpfs { at, options } => {
            let flags = MountFlags::NOSUID | MountFlags::NODEV;
            rustix::mount::mount(c"tmpfs", &**at, c"tmpfs", flags, &**options)?;
            rustix::mount::mount_change(&**at, MountPropagationFlags::UNBINDABLE)
        }
        Step::Bind { from, at } => rustix::mount::mount_bind_recursive(&**from, &**at),
        Step::Directory { at } => ignore_existing(rustix::fs::mkdir(&**at, Mode::from_raw_mode(0o755))),
        Step::File { at } => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            ignore_existing(rustix::fs::open(&**at, flags, Mode::from_raw_mode(0o644)).map(drop))
        }
        Step::Link { to, at } => rustix::fs::symlink(&**to, &**at),
        Step::ReadOnly { at, flags } => {
            rustix::mount::mount_remount(&**at, MountFlags::BIND | MountFlags::RDONLY | *flags, c"")
        }
        Step::Root { at } => {
            rustix::process::chdir(&**at)?;
            rustix::process::pivot_root(c".", c".")?;
            rustix::mount::unmount(c".", UnmountFlags::DETACH)?;
            rustix::process::chdir(c"/")?;
            rustix::mount::mount_change(c"/", MountPropagationFlags::PRIVATE)
        }
    }
}

fn ignore_existing(made: Result<(), Errno>) -> Result<(), Errno> {
    match made {
        Err(Errno::EXIST) => Ok(()),
        made => made,
    }
}
