//! How fast the API server answers over loopback, how soon its watches tell, and how much memory it takes.
//!
//! `make bench` runs it. Server and load generator are processes of their own (this program again, in another [`Role`])
//! and share the machine's cores. Every figure is the median of [`ROUNDS`] rounds, each with fresh servers. Without
//! `--bench`, as `cargo test --benches` runs it, one short round shows that it works and measures nothing.
//!
//! `cargo bench --package quarterdeck-registry --bench http -- maps idle` runs the parts `maps` and `idle` alone
//! ([`measure::PARTS`]); `--rounds 1` makes it one round. `docs/benchmarks.md` says what the figures mean, and what bounds them.

#![allow(clippy::disallowed_methods, reason = "what is measured here is real time, which no test pauses")]

mod attack;
mod figures;
mod measure;
mod references;
mod security;
#[path = "../shared/mod.rs"]
mod shared;
mod watch;

use std::path::Path;

use quarterdeck_core::component::BoxError;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use access::Access;
use figures::Figures;
use load::Load;
use shared::{access, connection, disk, http2, load, objects, process, rate, serve};
use watch::Watch;

/// The allocator of the reference cluster.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The parts that are only run when they are asked for: they tell whether bounds hold, and little of speed.
const ATTACK: &str = "attack";
/// How many rounds there are.
const ROUNDS: usize = 5;

/// What a process of this program does.
enum Role<'a> {
    /// Starts the others and reports.
    Measure(Plan<'a>),
    /// Is an API server: what clients need goes into a directory, what is stored into another.
    Serve(&'a Path, Option<&'a Path>),
    /// Is an API server that lets in only whom it may, and tells a file of every request.
    Guarded(&'a Path, &'a Path),
    /// Is an API server that does none of that.
    Bare(&'a Path),
    /// Answers every request with the same bytes: what the machine can do at best.
    Fixed(&'a Path),
    /// Sends requests.
    Load(Load),
    /// Watches.
    Watch(Watch),
    /// Floods a server with lists.
    Flood(Access),
    /// Takes all places of a server with watches.
    Crowd(Access),
    /// Uses a processor for nothing.
    Burn,
}

/// What is measured.
struct Plan<'a> {
    /// How many rounds.
    rounds: usize,
    /// By what the numbers of requests and objects are divided.
    divisor: usize,
    /// The parts that were asked for; all if it is empty.
    parts: Vec<&'a str>,
}

fn main() -> Result<(), BoxError> {
    open_many_files()?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match role(&arguments)? {
        Role::Measure(plan) => measure(&plan),
        Role::Serve(directory, store) => serve::serve(directory, store),
        Role::Guarded(directory, log) => security::guarded(directory, log),
        Role::Bare(directory) => security::bare(directory),
        Role::Fixed(directory) => serve::fixed(directory),
        Role::Load(load) => load::run(&load),
        Role::Watch(watch) => watch::run(&watch),
        Role::Flood(access) => attack::flood(&access),
        Role::Crowd(access) => attack::crowd(&access),
        Role::Burn => attack::burn(),
    }
}

/// Lets this process have as many connections as it may.
fn open_many_files() -> Result<(), BoxError> {
    let limit = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?)
}

fn role(arguments: &[String]) -> Result<Role<'_>, BoxError> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Ok(match words[..] {
        ["serve", directory] => Role::Serve(Path::new(directory), None),
        ["serve", directory, store] => Role::Serve(Path::new(directory), Some(Path::new(store))),
        ["guarded", directory, log] => Role::Guarded(Path::new(directory), Path::new(log)),
        ["bare", directory] => Role::Bare(Path::new(directory)),
        ["fixed", directory] => Role::Fixed(Path::new(directory)),
        ["load", ..] => Role::Load(Load::parse(&arguments[1..])?),
        ["flood", how, address, directory] => Role::Flood(Access::parse(how, address, directory)?),
        ["crowd", how, address, directory] => Role::Crowd(Access::parse(how, address, directory)?),
        ["burn", ..] => Role::Burn,
        ["watch", ..] => Role::Watch(Watch::parse(&arguments[1..])?),
        _ => Role::Measure(plan(&words)?),
    })
}

fn plan<'a>(words: &[&'a str]) -> Result<Plan<'a>, BoxError> {
    let is_real = words.contains(&"--bench");
    let mut plan = Plan { rounds: 1, divisor: 100, parts: Vec::new() };
    if is_real {
        (plan.rounds, plan.divisor) = (ROUNDS, 1);
    }
    let mut words = words.iter().filter(|word| **word != "--bench");
    while let Some(word) = words.next() {
        match *word {
            "--rounds" => {
                plan.rounds = words.next().ok_or("--rounds needs a number")?.parse::<usize>()?.max(1)
            }
            option if option.starts_with('-') => {}
            part if measure::PARTS.iter().any(|(name, _)| is_part(name, part)) => plan.parts.push(part),
            other => {
                let parts: Vec<_> = measure::PARTS.iter().map(|(name, _)| *name).collect();
                return Err(format!("there is no part {other:?}; there are {}", parts.join(", ")).into());
            }
        }
    }
    Ok(plan)
}

/// Whether a word asks for a part: by its name, or by what stands before the hyphen in it.
fn is_part(name: &str, word: &str) -> bool {
    name == word || name.split_once('-').is_some_and(|(kind, _)| kind == word)
}

/// Runs the rounds and prints what came of them. Parts that fail do not keep others from being run.
fn measure(plan: &Plan<'_>) -> Result<(), BoxError> {
    let (mut figures, mut failures) = (Figures::default(), Vec::new());
    let before = measure::load_average()?;
    for _ in 0..plan.rounds {
        for (name, part) in measure::PARTS {
            let is_asked_for = match plan.parts[..] {
                [] => !is_part(name, ATTACK),
                ref parts => parts.iter().any(|part| is_part(name, part)),
            };
            if is_asked_for && let Err(error) = part(&mut figures, plan.divisor) {
                failures.push(error.to_string());
            }
        }
    }
    println!(
        "HTTP over loopback, {} cores, loader included; median of {} rounds",
        process::cores(),
        plan.rounds
    );
    println!("plain: HTTP without TLS; x509, token: TLS, with a client certificate or a token");
    println!("load average {before} before, {} after", measure::load_average()?);
    print!("{figures}");
    if failures.is_empty() { Ok(()) } else { Err(failures.join("; ").into()) }
}
