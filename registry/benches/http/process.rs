//! Processes of this program in other roles. None outlives the one that started it.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{self, ChildStdout, Command, Stdio};
use std::time::Duration;

use quarterdeck_core::component::BoxError;

use crate::figures::Rate;
use crate::load::Work;

/// A server: ends when it is dropped, or when this process dies, because then its standard input ends.
pub(crate) struct Child {
    process: process::Child,
    address: SocketAddr,
    /// Kept open: a server that cannot write would end.
    _output: BufReader<ChildStdout>,
}

impl Child {
    /// Starts a server and waits until it says where it is.
    pub(crate) fn server(role: &str) -> Result<Self, BoxError> {
        let mut process = command(role)?.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut output = BufReader::new(process.stdout.take().ok_or("a server has no output")?);
        let mut line = String::new();
        output.read_line(&mut line)?;
        match line.trim().parse() {
            Ok(address) => Ok(Self { process, address, _output: output }),
            Err(_) => {
                process.kill()?;
                process.wait()?;
                Err(format!("the server did not start: {line}").into())
            }
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Has another process send requests, and returns what it measured.
    pub(crate) fn load(&self, what: &str, work: Work) -> Result<Rate, BoxError> {
        let before = self.worked()?;
        let output = command("load")?
            .args([what, &self.address.to_string(), &work.count.to_string(), &work.in_flight.to_string()])
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()?;
        if !output.status.success() {
            return Err(format!("the load generator failed at {what}").into());
        }
        let text = String::from_utf8(output.stdout)?;
        let mut numbers = text.split_whitespace();
        let mut next = || numbers.next().ok_or("the load generator said too little");
        Ok(Rate {
            per_second: next()?.parse()?,
            p50: Duration::from_nanos(next()?.parse()?),
            p99: Duration::from_nanos(next()?.parse()?),
            cpu: (self.worked()? - before).div_f64(work.count as f64),
        })
    }

    /// Returns for how long the server's threads were on a core.
    fn worked(&self) -> Result<Duration, BoxError> {
        let mut worked = 0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.process.id()))? {
            let text = fs::read_to_string(thread?.path().join("schedstat"))?;
            worked += text.split_whitespace().next().ok_or("an empty schedstat in /proc")?.parse::<u64>()?;
        }
        Ok(Duration::from_nanos(worked))
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

fn command(role: &str) -> Result<Command, BoxError> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(role);
    Ok(command)
}

/// Returns how many cores there are.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, Into::into)
}
