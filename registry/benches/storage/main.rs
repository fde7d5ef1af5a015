//! What a durable write costs: in process, through the API over loopback, and in others' stores on the same disk.
//!
//! `cargo bench --package quarterdeck-registry --bench storage` runs [`ROUNDS`] rounds, in each of which everything is measured once, and
//! prints tables of medians; `-- embedded api` runs some of the parts alone ([`PARTS`]), `--rounds 1` makes it one round. Servers and load generators are processes of their own (this program again, in another [`Role`]).
//! Without `--bench`, as `cargo test --benches` runs it, one short round shows that it works and measures nothing.
//!
//! `docs/benchmarks.md` and `docs/storage.md` say what the figures mean.

#![allow(clippy::disallowed_methods, reason = "what is measured here is real time, which no test pauses")]

mod etcd;
mod in_process;
mod peers;
mod recovery;
mod report;
#[path = "../shared/mod.rs"]
mod shared;
mod snapshots;
mod through_api;

use std::path::Path;
use std::time::Duration;

use quarterdeck_core::component::BoxError;

use etcd::Puts;
use load::Load;
use recovery::OldLogs;
use report::Report;
use shared::{access, connection, disk, http2, load, metrics, objects, process, rate, serve};

/// The allocator of the reference cluster.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How many rounds there are.
const ROUNDS: usize = 5;
/// How many bytes are written at a time, where that is a choice.
const VALUE: usize = 1024;

/// How many writes are under way at a time, and how many there are where they go over loopback.
const IN_FLIGHT: [(usize, usize); 4] = [(1, 2000), (16, 12_000), (64, 24_000), (256, 32_000)];

/// The parts of a round.
const PARTS: [&str; 8] = ["memory", "embedded", "redb", "sqlite", "api", "etcd", "snapshots", "recovery"];

/// What a process of this program does.
enum Role<'a> {
    /// Starts the others and reports.
    Measure(Plan),
    /// Is an API server: what clients need goes into a directory, what is stored into another.
    Serve(&'a Path, &'a Path),
    /// Sends requests to an API server.
    Load(Load),
    /// Sends requests to etcd.
    Put(Puts),
}

/// How much is measured.
#[derive(Debug, Clone)]
struct Plan {
    rounds: usize,
    /// The parts that were asked for; all if it is empty.
    parts: Vec<String>,
    /// How long a store in this process is written.
    time: Duration,
    /// By what numbers of requests and sizes are divided.
    divisor: usize,
}

impl Plan {
    fn is_real(&self) -> bool {
        self.divisor == 1
    }

    fn has(&self, part: &str) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|asked| asked == part)
    }
}

fn main() -> Result<(), BoxError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match role(&arguments)? {
        Role::Measure(plan) => measure(&plan),
        Role::Serve(directory, store) => serve::serve(directory, Some(store)),
        Role::Load(load) => load::run(&load),
        Role::Put(puts) => etcd::put(&puts),
    }
}

fn role(arguments: &[String]) -> Result<Role<'_>, BoxError> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Ok(match words[..] {
        ["serve", directory, store] => Role::Serve(Path::new(directory), Path::new(store)),
        ["load", ..] => Role::Load(Load::parse(&arguments[1..])?),
        ["put", ..] => Role::Put(Puts::parse(&arguments[1..])?),
        _ => Role::Measure(plan(&words)?),
    })
}

fn plan(words: &[&str]) -> Result<Plan, BoxError> {
    let mut plan = Plan { rounds: 1, parts: Vec::new(), time: Duration::from_millis(5), divisor: 1000 };
    if words.contains(&"--bench") {
        (plan.rounds, plan.time, plan.divisor) = (ROUNDS, Duration::from_secs(1), 1);
    }
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "--rounds" => {
                plan.rounds = words.next().ok_or("--rounds needs a number")?.parse::<usize>()?.max(1)
            }
            option if option.starts_with('-') => {}
            part if PARTS.contains(&part) => plan.parts.push(part.to_owned()),
            other => return Err(format!("there is no part {other:?}; there are {}", PARTS.join(", ")).into()),
        }
    }
    Ok(plan)
}

/// Runs the rounds and prints what came of them.
fn measure(plan: &Plan) -> Result<(), BoxError> {
    let has_etcd = etcd::is_installed();
    if !has_etcd && plan.is_real() && plan.has("etcd") {
        return Err("there is no etcd to compare with: install Debian's etcd-server".into());
    }
    if !has_etcd {
        println!("etcd is left out: it is not installed (Debian: etcd-server)");
    }
    let parent = tempfile::tempdir_in(disk::parent())?;
    let mut report = Report::new(parent.path(), plan.rounds);
    let old_logs = OldLogs::write(&parent.path().join("recovery"), plan)?;
    for round in 1..=plan.rounds {
        eprintln!("round {round} of {}", plan.rounds);
        let directory = tempfile::tempdir_in(&parent)?;
        disk_alone(&mut report, directory.path(), plan)?;
        in_process::measure(&mut report, directory.path(), plan)?;
        through_api::measure(&mut report, directory.path(), plan)?;
        if has_etcd {
            etcd::measure(&mut report, directory.path(), plan)?;
        }
        snapshots::measure(&mut report, directory.path(), plan)?;
        old_logs.measure(&mut report)?;
    }
    print!("{report}");
    Ok(())
}

/// Returns how many objects are made over loopback, by how many at a time.
fn creates(plan: &Plan) -> impl Iterator<Item = (usize, usize)> {
    IN_FLIGHT.into_iter().map(|(in_flight, count)| (in_flight, (count / plan.divisor).max(in_flight)))
}

/// What the disk takes for a write that is synced alone.
fn disk_alone(report: &mut Report, directory: &Path, plan: &Plan) -> Result<(), BoxError> {
    let times = disk::fdatasync(&directory.join("probe"), VALUE, (2000 / plan.divisor) as u64)?;
    report.disk(disk::percentile(&times, 50), disk::percentile(&times, 99));
    Ok(())
}
