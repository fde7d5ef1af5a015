//! The reference cluster as its users have it: the built binary, kubectl as it is, real processes and containers.
//!
//! [`place`] is where things run, [`running`] what runs there, [`kubectl`] the way in. The walks are in [`process`],
//! [`unprivileged`], [`docker`], [`processes`] and [`bounds`]; [`crash`] kills, [`custom`] defines kinds, [`apply`] is about
//! kubectl's server-side apply, [`certificates`] about `kubectl certificate`, [`joining`] about agents
//! with bootstrap tokens, [`flags`] and [`refusals`] about what is asked of `up`,
//! [`observability`] about what is told, [`copies`] about backups, [`standby`] about parts
//! of which one works, `etcd` about several servers.
//!
//! Tests take turns, because they share the machine. Most need root; what a machine cannot do is said and left out.

mod apply;
mod bounds;
mod certificates;
mod copies;
mod crash;
mod custom;
mod docker;
#[cfg(feature = "etcd")]
mod etcd;
mod flags;
mod joining;
mod kubectl;
mod observability;
mod place;
mod process;
mod processes;
mod refusals;
mod running;
mod standby;
mod steps;
mod unprivileged;
mod versions;

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::Instant;

/// The machine is this test's alone as long as the file lives.
fn turn() -> File {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cluster.lock");
    let file = File::create(path).expect("Cargo makes a directory for tests");
    file.lock().expect("files can be locked");
    file
}

/// A directory that a test's cluster keeps its data in.
fn data() -> TempDir {
    tempfile::Builder::new()
        .prefix("quarterdeck-test-")
        .tempdir()
        .expect("there is a directory for temporary files")
}

/// Says that a part of the tests is left out, and why.
fn left_out(what: &str, why: &str) {
    eprintln!("LEFT OUT: {what}: {why}");
}

/// Asks again until the answer is `Ok`, and returns it.
async fn eventually<T>(what: &str, within: Duration, mut ask: impl AsyncFnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + within;
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(last) if Instant::now() >= deadline => panic!("{what}: not within {within:?}: {last}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}
