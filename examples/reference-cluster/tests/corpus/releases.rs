//! One session, played with every release of kubectl that is there: `releases.txt`. Unlike in the transcripts of the one
//! release that the corpus is written with, what is printed here is the same whatever the release, or it says why not.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tokio::task::JoinSet;

use crate::cluster::Lab;
use crate::masks;
use crate::transcript::Transcript;

/// What a line of the session says of releases.
#[derive(Debug, Clone, PartialEq, Default)]
struct Notes {
    /// Older releases cannot do it.
    since: u32,
    /// These print something else.
    unlike: Vec<RangeInclusive<u32>>,
}

impl Notes {
    fn of(comments: &[&str]) -> Self {
        let mut notes = Self::default();
        for comment in comments {
            let Some((words, _reason)) = comment.trim_start_matches("# ").split_once(": ") else { continue };
            let number = |text: &str| text.parse::<u32>().unwrap_or_else(|_| panic!("{text:?} in {comment}"));
            match words.split_once(' ') {
                Some(("since", minor)) => notes.since = number(minor),
                Some(("unlike", ranges)) => {
                    notes.unlike.extend(ranges.split(' ').map(|range| match range.split_once('-') {
                        Some((first, last)) => number(first)..=number(last),
                        None => number(range)..=number(range),
                    }));
                }
                _ => {}
            }
        }
        notes
    }

    fn excepts(&self, minor: u32) -> bool {
        self.unlike.iter().any(|range| range.contains(&minor))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_release_of_kubectl_does_the_same() {
    let _turn = crate::TURN.lock().await;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/releases.txt");
    let session = Transcript::parse(&std::fs::read_to_string(&path).unwrap());
    let mut waiting = programs().await.into_iter();
    let mut running = JoinSet::new();
    let mut wrong = Vec::new();
    let mut played = 0;
    loop {
        // More would not be faster: there is a kubectl and a server at work for each.
        while running.len() < 2
            && let Some((minor, program)) = waiting.next()
        {
            let session = session.clone();
            running.spawn(async move { (minor, play(&session, minor, &program).await) });
        }
        let Some(done) = running.join_next().await else { break };
        let (minor, seen) = done.unwrap();
        played += 1;
        if std::env::var_os("BLESS").is_some() && format!("1.{minor}") == crate::RELEASE {
            std::fs::write(&path, seen.to_string()).unwrap();
            continue;
        }
        wrong.extend(differences(&session, &seen, minor));
    }

    assert!(wrong.is_empty(), "{} lines of {played} releases differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(played > 0, "make tools installs kubectl");
    assert!(session.clone().commands().count() >= 30);
}

/// Plays the session with one release, on a cluster of its own. What the release cannot do is left as it is written.
async fn play(session: &Transcript, minor: u32, program: &Path) -> Transcript {
    let lab = Lab::start(program).await;
    let mut seen = session.clone();
    for (comments, command) in seen.annotated() {
        if Notes::of(&comments).since <= minor {
            let outcome = lab.run(&command.text).await;
            command.output = masks::mask(&outcome.printed, &lab);
            command.exit = outcome.exit;
        }
    }
    lab.stop().await;
    seen
}

/// What a release does otherwise than is written.
fn differences(session: &Transcript, seen: &Transcript, minor: u32) -> Vec<String> {
    let (mut written, mut seen) = (session.clone(), seen.clone());
    let mut wrong = Vec::new();
    for ((comments, wanted), (_, got)) in written.annotated().into_iter().zip(seen.annotated()) {
        let line = format!("kubectl 1.{minor}: $ {}", wanted.text);
        match (Notes::of(&comments).excepts(minor), wanted.output == got.output) {
            _ if wanted.exit != got.exit => {
                wrong.push(format!("{line}\nends with {}, not {}: {}", got.exit, wanted.exit, got.output));
            }
            (false, false) => {
                wrong.push(format!("{line}\nprints\n{}instead of\n{}", got.output, wanted.output))
            }
            (true, true) if Notes::of(&comments).since <= minor => {
                wrong.push(format!("{line}\nis said to differ, and does not"));
            }
            _ => {}
        }
    }
    wrong
}

/// The kubectl on the path and its neighbours, each with its minor release.
async fn programs() -> Vec<(u32, PathBuf)> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let program = std::env::split_paths(&path).map(|place| place.join("kubectl")).find(|file| file.exists());
    let program = program.expect("make tools installs kubectl").canonicalize().unwrap();
    let neighbours = (20..60).map(|minor| (minor, program.with_file_name(format!("kubectl.1.{minor}"))));
    let neighbours: Vec<_> = neighbours.filter(|(_, file)| file.exists()).collect();
    [(minor_of(&program).await, program)].into_iter().chain(neighbours).collect()
}

async fn minor_of(program: &Path) -> u32 {
    let mut command = tokio::process::Command::new(program);
    let output = command.args(["version", "--client", "--output=json"]).output().await.unwrap();
    let version: Value = serde_json::from_slice(&output.stdout).unwrap();
    let minor = version["clientVersion"]["minor"].as_str().unwrap();
    minor.trim_end_matches('+').parse().unwrap()
}

#[test]
fn notes_say_since_when_and_who_is_unlike() {
    let notes = Notes::of(&[
        "# About: something else.",
        "# since 24: it has no such flag",
        "# unlike 20-26 28: x: y",
    ]);

    assert_eq!(notes, Notes { since: 24, unlike: vec![20..=26, 28..=28] });
    assert!(notes.excepts(20) && notes.excepts(26) && notes.excepts(28));
    assert!(!notes.excepts(27) && !notes.excepts(19));
}

#[test]
fn a_difference_is_found_unless_it_is_excepted_and_an_exception_must_be_one() {
    let session =
        Transcript::parse("# unlike 27: it has other words\n$ kubectl get a\na\n$ kubectl get b\nb\n");
    let with = |first: &str, second: &str, exit: i32| {
        let mut seen = session.clone();
        for ((_, command), output) in seen.annotated().into_iter().zip([first, second]) {
            command.output = output.to_owned();
            command.exit = exit;
        }
        seen
    };

    assert_eq!(differences(&session, &with("a\n", "b\n", 0), 28).len(), 0);
    assert_eq!(differences(&session, &with("x\n", "b\n", 0), 28).len(), 1);
    assert_eq!(differences(&session, &with("x\n", "b\n", 0), 27).len(), 0);
    assert_eq!(
        differences(&session, &with("a\n", "x\n", 0), 27).len(),
        2,
        "a false exception and a difference"
    );
    assert_eq!(differences(&session, &with("a\n", "b\n", 1), 27).len(), 2, "success is never excepted");
}
