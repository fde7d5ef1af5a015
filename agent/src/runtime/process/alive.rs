//! Processes that are looked after without being their parent.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A process that runs, or has ended and was not collected yet. A process id may come to mean another process, this
/// never does.
#[derive(Debug, Clone)]
pub(super) struct Process {
    handle: Arc<OwnedFd>,
    pid: Pid,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Code(i32),
    Signal(i32),
    /// Somebody else collected it.
    Unseen,
}

impl Process {
    /// Finds a child of this process.
    pub(super) fn child(pid: Pid) -> io::Result<Self> {
        Ok(Self { handle: Arc::new(rustix::process::pidfd_open(pid, PidfdFlags::NONBLOCK)?), pid })
    }

    /// Finds the process that wrote this line of `/proc/self/stat` about itself, if it runs or was not collected yet.
    pub(super) fn find(stat: &str) -> Option<Self> {
        let (pid, started) = identity(stat)?;
        let process = Self::child(pid).ok()?;
        // Looked at after the handle was opened: what is found now is what the handle means, or has ended.
        let now = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
        (identity(&now)? == (pid, started)).then_some(process)
    }

    pub(super) fn signal(&self, signal: Signal) {
        // One that has ended is what a signal is sent for.
        let _ = rustix::process::pidfd_send_signal(self.handle.as_fd(), signal);
    }

    /// Waits until it has ended, and leaves it to be collected.
    pub(super) async fn ended(&self) -> io::Result<()> {
        #[expect(
            deprecated,
            reason = "an owned descriptor stays the same, which the successor is unsafe about"
        )]
        let handle = AsyncFd::with_interest(self.handle.clone(), Interest::READABLE)?;
        handle.readable().await?.retain_ready();
        Ok(())
    }

    /// Collects it, if it is this process's child and has ended.
    pub(super) fn collect(&self) -> Ended {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        loop {
            match rustix::process::waitid(WaitId::PidFd(self.handle.as_fd()), options) {
                Err(Errno::INTR) => {}
                Ok(Some(status)) => {
                    let signal = status.terminating_signal().map(Ended::Signal);
                    return status.exit_status().map(Ended::Code).or(signal).unwrap_or(Ended::Unseen);
                }
                _ => return Ended::Unseen,
            }
        }
    }

    /// Kills its process group, in which everything is that it started and that did not leave. To be called before it is
    /// collected: until then no other group can have its number.
    pub(super) fn kill_group(&self) {
        let _ = rustix::process::kill_process_group(self.pid, Signal::KILL);
        self.signal(Signal::KILL);
    }
}

/// Kills what is left of a session whose leader has ended. `marker` is a variable that all of it has in its environment: by
/// now another session could have the number.
pub(super) fn kill_session(stat: &str, marker: &str) {
    let Some((leader, _)) = identity(stat) else { return };
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let path = entry.path();
        let Some(pid) = entry.file_name().to_str().and_then(|name| Pid::from_raw(name.parse().ok()?)) else {
            continue;
        };
        let Some(process) = Process::child(pid).ok().filter(|_| belongs(&path, leader, marker)) else {
            continue;
        };
        process.signal(Signal::KILL);
    }
}

fn belongs(process: &Path, session: Pid, marker: &str) -> bool {
    let stat = fs::read_to_string(process.join("stat")).unwrap_or_default();
    let of_session = fields(&stat).and_then(|mut fields| fields.nth(3)?.parse().ok());
    of_session == Some(session.as_raw_nonzero().get())
        && fs::read(process.join("environ")).is_ok_and(|environment| {
            environment.split(|byte| *byte == 0).any(|variable| variable == marker.as_bytes())
        })
}

/// Returns the id and the start time of the process that a line of `stat` is about.
fn identity(stat: &str) -> Option<(Pid, u64)> {
    let pid = Pid::from_raw(stat.split_once(' ')?.0.parse().ok()?)?;
    Some((pid, fields(stat)?.nth(19)?.parse().ok()?))
}

/// Returns the fields of a line of `stat` behind the program's name, which may contain anything.
fn fields(stat: &str) -> Option<impl Iterator<Item = &str>> {
    Some(stat.rsplit_once(')')?.1.split_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_from_a_later_one_with_its_number() {
        let stat = fs::read_to_string("/proc/self/stat").unwrap();
        let (pid, started) = identity(&stat).unwrap();
        let later = stat.replace(&format!(" {started} "), &format!(" {} ", started + 1));

        assert!(Process::find(&stat).is_some());
        assert!(Process::find(&later).is_none());
        assert_eq!(pid, rustix::process::getpid());
    }

    #[test]
    fn a_name_with_blanks_and_brackets_does_not_confuse() {
        let stat = "42 (a) b (c) S 1 42 43 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 777 0 0";

        assert_eq!(identity(stat), Some((Pid::from_raw(42).unwrap(), 777)));
        assert_eq!(fields(stat).unwrap().next(), Some("S"));
        assert_eq!(fields(stat).unwrap().nth(3), Some("43"));
    }
}
