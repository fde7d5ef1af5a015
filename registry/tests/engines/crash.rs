//! `kill -9` of a process that writes: what it was told is durable must be there afterwards.
//!
//! The process is this test again, started with a directory in its environment. `QUARTERDECK_CRASH_POINTS` says how often it is
//! killed (200 times if it is not set; `make crash` does it 10,000 times).

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures::future::join_all;
use quarterdeck_core::random::Random;
use quarterdeck_core::storage::Storage as _;
use quarterdeck_registry::storage::{EmbeddedOptions, EmbeddedStorage, OpenError, Retention};

use crate::engine::{Counts, WRITERS, count_up};

const DIRECTORY: &str = "QUARTERDECK_CRASH_TEST_DIRECTORY";
const CHILD: &str = "crash::child_writes_until_it_is_killed";
const POINTS: &str = "QUARTERDECK_CRASH_POINTS";

fn open(directory: &Path) -> EmbeddedStorage {
    let retention = Retention { commits: 200, bytes: usize::MAX };
    // Small, so that segments and snapshots are in the making at many kills.
    EmbeddedOptions::default().retention(retention).segment_bytes(32 << 10).open(directory).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_writes_until_it_is_killed() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let store = open(Path::new(&directory));

    let writers = (0..WRITERS).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            let error = count_up(&store, writer, |count| println!("\nacknowledged {writer} {count}")).await;
            panic!("{error:?}");
        })
    });

    // The parent kills it long before; if the parent is gone, it ends by itself.
    let _ = tokio::time::timeout(Duration::from_secs(30), join_all(writers)).await;
}

fn spawn(directory: &Path) -> Killed {
    let child = Command::new(std::env::current_exe().unwrap())
        .args([CHILD, "--exact", "--nocapture"])
        .env(DIRECTORY, directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    Killed(child.unwrap())
}

/// A process that does not outlive its test, whatever comes of that.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Lets the child go on until so many acknowledgements, kills it, and notes all of which it told. With none it is killed
/// while it starts, or while it reads back what the one before left.
fn kill_after(acknowledgements: usize, mut child: Killed, counts: &mut Counts) {
    let mut lines = BufReader::new(child.0.stdout.take().unwrap());
    let mut seen = 0;
    let mut line = String::new();
    if acknowledgements == 0 {
        lines.read_line(&mut line).unwrap();
        child.0.kill().unwrap();
        line.clear();
    }
    while lines.read_line(&mut line).unwrap() > 0 {
        let words: Vec<&str> = line.split(' ').collect();
        // A line without its end was cut off by the kill.
        if let ["acknowledged", writer, count] = words[..]
            && let Some(count) = count.strip_suffix('\n')
        {
            counts.told(writer.parse().unwrap(), count.parse().unwrap());
            seen += 1;
            if seen == acknowledgements {
                child.0.kill().unwrap();
            }
        }
        line.clear();
    }
    assert!(seen >= acknowledgements, "the child ended after {seen} acknowledgements");
}

#[tokio::test]
async fn killed_process_loses_no_acknowledged_write() {
    let points = std::env::var(POINTS).map_or(200, |points| points.parse().unwrap());
    let random = Random::seeded(7);
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("data");
    let mut counts = Counts::new();

    for _ in 0..points {
        counts.kill();
        let acknowledgements = if random.below(8) == 0 { 0 } else { 1 + random.below(120) };
        kill_after(acknowledgements, spawn(&directory), &mut counts);

        // Some are killed while they repair what others left.
        if random.below(4) == 0 {
            continue;
        }
        let store = open(&directory);
        counts.check(&store).await;
        store.close().await;
    }
    counts.print();
}

#[tokio::test]
async fn second_process_is_told_who_holds_the_directory() {
    let directory = tempfile::tempdir().unwrap();
    let mut holder = spawn(directory.path());
    let mut lines = BufReader::new(holder.0.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().starts_with("acknowledged")), "it has the store open");

    let error = EmbeddedStorage::open(directory.path()).unwrap_err();

    let OpenError::Locked { lock, holder: process, .. } = &error else { panic!("{error}") };
    assert_eq!((lock, *process), (&directory.path().join("lock"), Some(holder.0.id())));
    let line = error.to_string();
    assert!(
        line.contains(&holder.0.id().to_string()) && line.contains("stop it, or choose another"),
        "{line}"
    );
    let copy = directory.path().join("copy");
    EmbeddedStorage::backup_of(directory.path(), &copy).expect("a copy can be made all the same");
    drop(holder);
    let store = EmbeddedStorage::open(directory.path()).expect("the lock ended with its process");
    assert!(store.revision().await.unwrap() > Default::default());
}
