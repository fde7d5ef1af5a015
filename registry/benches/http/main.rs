//! How fast the API server answers over loopback HTTP, and how much memory it takes.
//!
//! `make bench` runs it. Server and load generator are processes of their own (this program again, in another [`Role`])
//! and share the machine's cores. Every figure is the median of [`ROUNDS`] rounds, each with fresh servers. Without
//! `--bench`, as `cargo test --benches` runs it, one short round shows that it works and measures nothing.
//!
//! `docs/benchmarks.md` says what the figures mean, and what bounds them.

#![allow(clippy::disallowed_methods, reason = "what is measured here is real time, which no test pauses")]

mod connection;
mod figures;
mod load;
mod process;
mod serve;

use std::time::Instant;

use quarterdeck_core::component::BoxError;

use figures::Figures;
use load::{Load, Work};
use process::Child;

/// The allocator of the reference cluster.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How many rounds there are.
const ROUNDS: usize = 5;
/// How many pods a server holds when it lists them.
const PODS: usize = 10_000;

/// What a process of this program does.
enum Role {
    /// Starts the others and reports.
    Measure {
        /// How many rounds.
        rounds: usize,
        /// By what the numbers of requests and objects are divided.
        divisor: usize,
    },
    /// Is an API server.
    Serve,
    /// Answers every request with the same bytes: what the machine can do at best.
    Fixed,
    /// Sends requests.
    Load(Load),
}

fn main() -> Result<(), BoxError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match role(&arguments)? {
        Role::Measure { rounds, divisor } => measure(rounds, divisor),
        Role::Serve => serve::serve(),
        Role::Fixed => serve::fixed(),
        Role::Load(load) => load::run(&load),
    }
}

fn role(arguments: &[String]) -> Result<Role, BoxError> {
    Ok(match arguments.first().map(String::as_str) {
        Some("serve") => Role::Serve,
        Some("fixed") => Role::Fixed,
        Some("load") => Role::Load(Load::parse(&arguments[1..])?),
        _ if arguments.iter().any(|argument| argument == "--bench") => {
            Role::Measure { rounds: ROUNDS, divisor: 1 }
        }
        _ => Role::Measure { rounds: 1, divisor: 100 },
    })
}

/// Runs the rounds and prints what came of them.
fn measure(rounds: usize, divisor: usize) -> Result<(), BoxError> {
    let mut figures = Figures::default();
    for _ in 0..rounds {
        fixed_answers(&mut figures, divisor)?;
        config_maps(&mut figures, divisor)?;
        pods(&mut figures, divisor)?;
    }
    println!("in memory, plain HTTP over loopback, {} cores, loader included", process::cores());
    println!("median [least, most] of {rounds} rounds");
    print!("{figures}");
    Ok(())
}

/// What hyper, the loader and the machine can do together.
fn fixed_answers(figures: &mut Figures, divisor: usize) -> Result<(), BoxError> {
    let server = Child::server("fixed")?;
    let work = Work { count: 60_000 / divisor, in_flight: 32 };
    figures.load("fixed answer of 1 KiB", server.load("get", work)?);
    server.stop()
}

fn config_maps(figures: &mut Figures, divisor: usize) -> Result<(), BoxError> {
    let started = Instant::now();
    let server = Child::server("serve")?;
    figures.time("start of the process to ready", started.elapsed());
    connection::create_one(server.address())?;
    figures.time("start of the process to first served create", started.elapsed());
    figures.memory("resident, idle", server.resident()?);
    let created = 20_000 / divisor;
    figures
        .load("create of a 1 KiB ConfigMap", server.load("create", Work { count: created, in_flight: 32 })?);
    let work = Work { count: 60_000 / divisor, in_flight: 32 };
    figures.load("GET of a 1 KiB ConfigMap", server.load("get", work)?);
    figures.load("PUT of a 1 KiB ConfigMap", server.load("put", Work { count: created, in_flight: 32 })?);
    server.stop()
}

fn pods(figures: &mut Figures, divisor: usize) -> Result<(), BoxError> {
    let server = Child::server("serve")?;
    let count = PODS / divisor;
    figures.load("create of a minimal Pod", server.load("create-pod", Work { count, in_flight: 32 })?);
    figures.memory("resident, with 10,000 pods", server.resident()?);
    let one = |count: usize| Work { count: (count / divisor).max(1), in_flight: 1 };
    figures.load("LIST of 10,000 pods", server.load("list", one(40))?);
    figures.load("LIST of the first 500 of 10,000 pods", server.load("list-500", one(200))?);
    figures.load("LIST of 10,000 pods by spec.nodeName, no match", server.load("list-node", one(200))?);
    figures.memory("resident, with 10,000 pods, after the lists", server.resident()?);
    server.stop()
}
