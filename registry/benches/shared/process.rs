//! Processes of this program in other roles. None outlives the one that started it.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{self, ChildStdout, Command, Stdio};
use std::time::Duration;

use quarterdeck_core::component::BoxError;
use tempfile::TempDir;

use crate::access::{self, Access, How};
use crate::load::Work;
use crate::rate::Rate;

/// A server: ends when it is dropped, or when this process dies, because then its standard input ends.
pub(crate) struct Child {
    process: process::Child,
    plain: SocketAddr,
    encrypted: SocketAddr,
    /// What clients need to be known.
    directory: TempDir,
    /// Kept open: a server that cannot write would end.
    _output: BufReader<ChildStdout>,
}

impl Child {
    /// Starts a server and waits until it says where it is. `store` is where it keeps what it stores, if not in memory.
    pub(crate) fn server(role: &str, store: Option<&Path>) -> Result<Self, BoxError> {
        let directory = tempfile::tempdir()?;
        let mut command = command(role)?;
        command.arg(directory.path()).args(store);
        let (mut process, mut output) = start(command)?;
        let mut line = String::new();
        output.read_line(&mut line)?;
        let mut addresses = line.split_whitespace().map(str::parse);
        match (addresses.next(), addresses.next()) {
            (Some(Ok(plain)), Some(Ok(encrypted))) => {
                Ok(Self { process, plain, encrypted, directory, _output: output })
            }
            _ => {
                process.kill()?;
                process.wait()?;
                Err(format!("the server did not start: {line}").into())
            }
        }
    }

    /// Returns how one kind of client reaches the server.
    pub(crate) fn access(&self, how: How) -> Access {
        let address = if how == How::Plain { self.plain } else { self.encrypted };
        Access::new(how, address, self.directory.path())
    }

    /// Returns where the server is without TLS.
    pub(crate) fn plain_address(&self) -> SocketAddr {
        self.plain
    }

    /// Returns how the agent of a node reaches the server.
    pub(crate) fn agent(&self) -> Access {
        Access::new(How::Certificate, self.encrypted, &self.directory.path().join(access::AGENT))
    }

    /// Has another process work against the server, until what is returned is dropped.
    pub(crate) fn aside(&self, role: &str, how: How) -> Result<Holder, BoxError> {
        let mut command = command(role)?;
        command.args(self.access(how).arguments());
        hold(command)
    }

    /// Returns how another user than the client reaches the server.
    pub(crate) fn neighbour(&self) -> Access {
        Access::new(How::Certificate, self.encrypted, &self.directory.path().join(access::NEIGHBOUR))
    }

    /// Has another process send requests, and returns what it measured.
    pub(crate) fn load(&self, how: How, what: &str, work: Work) -> Result<Rate, BoxError> {
        self.load_by(&self.access(how), what, work)
    }

    /// Has another process send requests as somebody, and returns what it measured.
    pub(crate) fn load_by(&self, access: &Access, what: &str, work: Work) -> Result<Rate, BoxError> {
        let mut command = command("load")?;
        command.arg(what).args(access.arguments()).args(work.arguments());
        self.measured(command, what, work.count)
    }

    /// Has another process watch, and write at a pace, and returns what it measured.
    pub(crate) fn watched(
        &self,
        how: How,
        pace: &str,
        watches: usize,
        writes: usize,
    ) -> Result<Rate, BoxError> {
        let mut command = command("watch")?;
        command.arg(pace).args(self.access(how).arguments()).args([watches, writes].map(|n| n.to_string()));
        self.measured(command, pace, watches * writes)
    }

    fn measured(&self, command: Command, what: &str, count: usize) -> Result<Rate, BoxError> {
        measured(self.process.id(), command, what, count)
    }

    /// Has another process hold watches on which nothing happens, until what is returned is dropped.
    pub(crate) fn hold(&self, how: How, watches: usize) -> Result<Holder, BoxError> {
        let mut command = command("watch")?;
        command.arg("never").args(self.access(how).arguments()).args([watches.to_string(), "0".into()]);
        hold(command)
    }

    /// Returns how many files the server has open, connections among them.
    pub(crate) fn open_files(&self) -> Result<usize, BoxError> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.process.id()))?.count())
    }

    /// Returns how much memory of the server is resident, in KiB.
    pub(crate) fn resident(&self) -> Result<f64, BoxError> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix("kB")).ok_or("no resident size in /proc")?;
        Ok(kib.trim().parse()?)
    }

    /// Ends the server, and says if it had ended before.
    pub(crate) fn stop(mut self) -> Result<(), BoxError> {
        match self.process.try_wait()? {
            Some(status) => Err(format!("the server ended by itself: {status}").into()),
            None => Ok(()),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Both fail only for a process that has ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A process that goes on until this is dropped.
pub(crate) struct Holder(process::Child);

impl Holder {
    /// Returns the process's number.
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // Both fail only for a process that has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a process that says when it is ready.
fn hold(command: Command) -> Result<Holder, BoxError> {
    let (process, mut output) = start(command)?;
    let holder = Holder(process);
    let mut line = String::new();
    output.read_line(&mut line)?;
    if line.trim() == "ready" { Ok(holder) } else { Err("a process did not begin".into()) }
}

fn start(mut command: Command) -> Result<(process::Child, BufReader<ChildStdout>), BoxError> {
    let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let output = BufReader::new(process.stdout.take().ok_or("a process has no output")?);
    Ok((process, output))
}

/// Has a load generator send so many requests to the server that has this process number, and returns what it measured.
pub(crate) fn measured(
    server: u32,
    mut command: Command,
    what: &str,
    count: usize,
) -> Result<Rate, BoxError> {
    let before = worked(server)?;
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("the load generator failed at {what}").into());
    }
    let rate = Rate::parse(&String::from_utf8(output.stdout)?)?;
    Ok(Rate { cpu: worked(server)?.saturating_sub(before).div_f64(count as f64), ..rate })
}

/// Returns for how long the threads of a process were on a core.
pub(crate) fn worked(process: u32) -> Result<Duration, BoxError> {
    let mut worked = 0;
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        // A thread may have ended since.
        let Ok(text) = fs::read_to_string(thread?.path().join("schedstat")) else { continue };
        worked += text.split_whitespace().next().ok_or("an empty schedstat in /proc")?.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(worked))
}

/// Makes the command that runs this program in another role.
pub(crate) fn command(role: &str) -> Result<Command, BoxError> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(role);
    Ok(command)
}

/// Returns how many cores there are.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, Into::into)
}
