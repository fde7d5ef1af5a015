//! Real etcd servers, for as long as a test runs.
#![allow(dead_code, reason = "no test uses all of it")]

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::time::Instant;

/// A cluster that has no leader for so long is broken.
const PATIENCE: Duration = Duration::from_secs(30);

/// An etcd cluster on loopback, with a directory of its own. It is gone when the value is dropped.
#[derive(Debug)]
pub(crate) struct Etcd {
    members: Vec<Member>,
    /// What every member is given besides.
    arguments: Vec<String>,
    scheme: &'static str,
    directory: TempDir,
}

#[derive(Debug)]
struct Member {
    name: String,
    client: u16,
    peer: u16,
    child: Option<Child>,
}

impl Etcd {
    /// Starts a server that was never written.
    pub(crate) fn single() -> Self {
        // Alone, it need not wait for others before it leads.
        Self::cluster(1, "http", &["--heartbeat-interval", "10", "--election-timeout", "100"])
    }

    /// Starts a cluster of so many members, without waiting for its leader.
    pub(crate) fn cluster(members: usize, scheme: &'static str, arguments: &[&str]) -> Self {
        // What the tests are about is not the disk.
        let shared = Path::new("/dev/shm");
        let directory = if shared.is_dir() { TempDir::new_in(shared) } else { TempDir::new() };
        let directory = directory.expect("a directory can be made");
        let ports = free_ports(members * 2);
        let member = |(index, ports): (usize, &[u16])| Member {
            name: format!("m{index}"),
            client: ports[0],
            peer: ports[1],
            child: None,
        };
        let members = ports.chunks(2).enumerate().map(member).collect();
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let mut etcd = Self { members, arguments, scheme, directory };
        (0..etcd.members.len()).for_each(|index| etcd.start(index));
        etcd
    }

    /// Starts a member that does not run.
    pub(crate) fn start(&mut self, index: usize) {
        let peers: Vec<_> =
            self.members.iter().map(|one| format!("{}=http://127.0.0.1:{}", one.name, one.peer)).collect();
        let member = &self.members[index];
        let (client, peer) = (self.endpoint(index), format!("http://127.0.0.1:{}", member.peer));
        let mut log = File::options();
        log.create(true).append(true);
        let log = log.open(self.log(index)).expect("a log can be written");
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "etcd", "--name", &member.name])
            .arg("--data-dir")
            .arg(self.directory.path().join(&member.name))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &peers.join(",")])
            .args(["--heartbeat-interval", "50", "--election-timeout", "500"])
            .args(["--logger", "zap", "--log-level", "error"])
            .args(&self.arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be opened twice"))
            .stderr(log)
            .spawn()
            .expect("etcd (Debian: etcd-server) and setpriv (util-linux) can be started");
        self.members[index].child = Some(child);
    }

    fn log(&self, index: usize) -> std::path::PathBuf {
        self.directory.path().join(format!("{}.log", self.members[index].name))
    }

    /// Returns a member's address.
    pub(crate) fn endpoint(&self, index: usize) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.members[index].client)
    }

    /// Returns the addresses of all members.
    pub(crate) fn endpoints(&self) -> Vec<String> {
        (0..self.members.len()).map(|index| self.endpoint(index)).collect()
    }

    /// Returns what the members wrote to their logs, for who wonders why a test failed.
    pub(crate) fn logs(&self) -> String {
        (0..self.members.len()).map(|index| fs::read_to_string(self.log(index)).unwrap_or_default()).collect()
    }

    /// Waits for something of the cluster.
    pub(crate) async fn until<T>(&self, what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(value) = attempt().await {
                return value;
            }
            assert!(Instant::now() < deadline, "{what} does not happen; etcd says:\n{}", self.logs());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Kills a member.
    pub(crate) fn kill(&mut self, index: usize) {
        if let Some(mut child) = self.members[index].child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Stops a member's process where it is.
    pub(crate) fn pause(&self, index: usize) {
        self.signal(index, Signal::STOP);
    }

    /// Lets a stopped member go on.
    pub(crate) fn go_on(&self, index: usize) {
        self.signal(index, Signal::CONT);
    }

    fn signal(&self, index: usize, signal: Signal) {
        let child = self.members[index].child.as_ref().expect("the member runs");
        kill_process(Pid::from_child(child), signal).expect("a child can be sent a signal");
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        (0..self.members.len()).for_each(|index| self.kill(index));
    }
}

/// Returns ports that were free a moment ago.
fn free_ports(count: usize) -> Vec<u16> {
    let listeners: Vec<_> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0").expect("there are free ports")).collect();
    listeners.iter().map(|one| one.local_addr().expect("a listener has an address").port()).collect()
}
