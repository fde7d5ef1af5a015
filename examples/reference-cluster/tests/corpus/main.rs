//! What clients see: kubectl by transcripts of terminal sessions, each against a cluster of its own, and the Python client
//! (`python.rs`). Every release of kubectl that is there plays one session (`releases.rs`).
//!
//! A transcript (`transcripts/*.txt`) is what a person would see: lines of `$ ` are commands for a shell, those of `> ` go
//! on with the command above, all others are what was printed; `[exit N]` ends the output of what failed. A line of `# `
//! is a comment. Whatever differs from run to run is masked (`masks.rs`). `BLESS=1 cargo test -p reference-cluster --test
//! corpus` writes the transcripts anew: read the difference before you commit it.
//!
//! kubectl's own words differ from release to release, so outputs are compared for the release that they were written
//! with ([`RELEASE`]); with any other one, only whether a command succeeds.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod cluster;
mod masks;
mod python;
mod releases;
mod transcript;

use std::path::{Path, PathBuf};

use cluster::Lab;
use transcript::Transcript;

/// The release of kubectl that wrote the transcripts.
const RELEASE: &str = "1.33";

/// The oldest minor release of kubectl that has every command of the transcripts (`kubectl events`, `patch --subresource`).
const OLDEST: u32 = 27;

/// How many clusters run at once.
const AT_ONCE: usize = 3;

/// Tests that keep the machine busy take turns: what they wait for has to come in time.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_prints_what_the_transcripts_say() {
    let _turn = TURN.lock().await;
    let (program, compares) = kubectl();
    if let Some(minor) = minor(&program).filter(|minor| *minor < OLDEST) {
        eprintln!(
            "LEFT OUT: the transcripts: kubectl 1.{minor} lacks commands of theirs; it plays releases.txt"
        );
        return;
    }
    if !compares {
        eprintln!(
            "LEFT OUT: what kubectl prints: there is no kubectl.{RELEASE}; only successes are compared"
        );
    }
    let mut waiting = transcripts().into_iter();
    let mut running = tokio::task::JoinSet::new();
    let (mut wrong, mut commands) = (Vec::new(), 0);
    loop {
        while running.len() < AT_ONCE
            && let Some(path) = waiting.next()
        {
            running.spawn(replay(path, program.clone(), compares));
        }
        let Some(done) = running.join_next().await else { break };
        let (count, differences) = done.unwrap();
        commands += count;
        wrong.extend(differences);
    }

    assert!(wrong.is_empty(), "{} of {commands} commands differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(commands >= 200, "there are only {commands} commands");
}

/// Replays one transcript. Returns how many commands it has, and what differs, also when it is tried once more: on a busy
/// machine a command may see a state that was on its way.
async fn replay(path: PathBuf, program: PathBuf, compares: bool) -> (usize, Vec<String>) {
    let text = std::fs::read_to_string(&path).unwrap();
    let written = Transcript::parse(&text);
    let mut seen = record(&written, &program).await;
    let count = seen.commands().count();
    if std::env::var_os("BLESS").is_some() && compares {
        std::fs::write(&path, seen.to_string()).unwrap();
        return (count, Vec::new());
    }
    let name = path.file_stem().unwrap().to_string_lossy().into_owned();
    let differences = written.clone().differences(&seen, &name, compares);
    if differences.is_empty() {
        return (count, differences);
    }
    let again = record(&written, &program).await;
    (count, written.differences(&again, &name, compares))
}

/// Runs the commands of a transcript on a cluster of their own, and returns the transcript of that.
async fn record(written: &Transcript, program: &Path) -> Transcript {
    let lab = Lab::start(program).await;
    let mut seen = written.clone();
    for command in seen.commands() {
        let outcome = lab.run(&command.text).await;
        command.output = masks::mask(&outcome.printed, &lab);
        command.exit = outcome.exit;
    }
    lab.stop().await;
    seen
}

/// The transcripts, in the order of their names.
fn transcripts() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/transcripts");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let chosen = std::env::var("TRANSCRIPT").unwrap_or_default();
    let mut paths: Vec<_> = files.filter(|path| path.to_string_lossy().contains(&chosen)).collect();
    paths.sort();
    paths
}

/// The minor release of a kubectl.
fn minor(program: &Path) -> Option<u32> {
    let output =
        std::process::Command::new(program).args(["version", "--client", "--output=json"]).output().ok()?;
    let version: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
    // Google's builds write `33+`.
    version["clientVersion"]["minor"].as_str()?.trim_end_matches('+').parse().ok()
}

/// The kubectl of the right release, or else the one on the path, and whether it is of the right release.
fn kubectl() -> (PathBuf, bool) {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let program = std::env::split_paths(&path).map(|place| place.join("kubectl")).find(|file| file.exists());
    let program = program.expect("make tools installs kubectl");
    let real = program.canonicalize().unwrap();
    let exact = real.with_file_name(format!("kubectl.{RELEASE}"));
    if exact.exists() { (exact, true) } else { (program, false) }
}
