//! etcd itself, without an API server before it: puts of new keys, with values as large as the API's objects.

mod puts;

use std::fs::{File, read_to_string};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use quarterdeck_core::component::BoxError;

pub(crate) use puts::{Puts, put};

use crate::access::HOST;
use crate::load::Work;
use crate::metrics::{self, LOG_SYNCS};
use crate::process;
use crate::report::{Report, What};
use crate::{Plan, creates};

/// A server that has no leader for so long is broken.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often the database behind the log was committed, which takes two syncs each time: its pages, then its root.
const DATABASE_COMMITS: &str = "etcd_disk_backend_commit_duration_seconds_count";

/// Whether there is an etcd to be started.
pub(crate) fn is_installed() -> bool {
    Command::new("etcd").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// Measures a new etcd at every number of puts under way.
pub(crate) fn measure(report: &mut Report, directory: &Path, plan: &Plan) -> Result<(), BoxError> {
    if !plan.has("etcd") {
        return Ok(());
    }
    let etcd = Etcd::start(&directory.join("etcd"))?;
    let mut first = 0;
    for (in_flight, count) in creates(plan) {
        let before = etcd.syncs()?;
        let mut command = process::command("put")?;
        command.args(Puts::arguments(etcd.client, report.size, Work::new(count, in_flight).from(first)));
        let rate = process::measured(etcd.process.id(), command, "put", count)?;
        report.add(What::Etcd, in_flight, (rate, (etcd.syncs()? - before) / count as f64));
        first += count;
    }
    Ok(())
}

/// A cluster of one member, with etcd's own defaults. It is gone when this is dropped, or when this process dies.
struct Etcd {
    process: Child,
    client: SocketAddr,
    log: PathBuf,
}

impl Etcd {
    /// Starts a server that was never written, and waits until it takes writes.
    fn start(directory: &Path) -> Result<Self, BoxError> {
        let [client, peer] = [free_port()?, free_port()?];
        let [client_url, peer_url] = [client, peer].map(|address| format!("http://{address}"));
        let log = directory.with_extension("log");
        let output = File::create(&log)?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "etcd", "--name", "one", "--data-dir"]).arg(directory);
        command.args(["--listen-client-urls", &client_url, "--advertise-client-urls", &client_url]);
        command.args(["--listen-peer-urls", &peer_url, "--initial-advertise-peer-urls", &peer_url]);
        command.args([
            "--initial-cluster",
            &format!("one={peer_url}"),
            "--logger",
            "zap",
            "--log-level",
            "error",
        ]);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let mut etcd = Self { process: command.spawn()?, client, log };
        let deadline = Instant::now() + PATIENCE;
        while !metrics::get(client, "/health").is_ok_and(|answer| answer.contains(r#""health":"true""#)) {
            if etcd.process.try_wait()?.is_some() || Instant::now() > deadline {
                return Err(format!("etcd did not start: {}", read_to_string(&etcd.log)?).into());
            }
            sleep(Duration::from_millis(10));
        }
        Ok(etcd)
    }

    /// Returns how often it has synced its files.
    fn syncs(&self) -> Result<f64, BoxError> {
        let counter = |name| metrics::counter(self.client, name);
        Ok(counter(LOG_SYNCS)? + 2.0 * counter(DATABASE_COMMITS)?)
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        // Both fail only for a process that has ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Returns an address whose port was free a moment ago.
fn free_port() -> Result<SocketAddr, BoxError> {
    Ok(TcpListener::bind((HOST, 0))?.local_addr()?)
}
