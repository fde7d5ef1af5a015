//! `kill -9` of a process that writes: what it was told is durable must be there afterwards.
//!
//! The process is this test again, started with a directory in its environment.

#![cfg(feature = "embedded")]
#![allow(clippy::unwrap_used, reason = "these are helpers of tests")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures::future::join_all;
use quarterdeck_core::random::Random;
use quarterdeck_core::storage::{Expect, Key, List, Storage, Transaction};
use quarterdeck_registry::storage::{EmbeddedOptions, EmbeddedStorage, Retention};

const DIRECTORY: &str = "QUARTERDECK_CRASH_TEST_DIRECTORY";
const CHILD: &str = "child_writes_until_it_is_killed";
const KILLS: usize = 20;
const WRITERS: usize = 16;

fn open(directory: &Path) -> EmbeddedStorage {
    let retention = Retention { commits: 200, bytes: usize::MAX };
    // Small, so that segments and snapshots are in the making at many kills.
    EmbeddedOptions::default().retention(retention).segment_bytes(32 << 10).open(directory).unwrap()
}

/// Counts up in a key of its own, with a second key beside it, and says so after each commit.
async fn write(store: EmbeddedStorage, writer: usize) {
    let (counter, copy) = (Key::from(format!("/counter/{writer}")), Key::from(format!("/copy/{writer}")));
    let present = store.get(&counter).await.unwrap();
    let mut expect = present.as_ref().map_or(Expect::Absent, |entry| Expect::Modified(entry.modified));
    let mut count = present.map_or(0, |entry| number(&entry.value));
    loop {
        count += 1;
        let value = format!("{count} {}", "x".repeat(count % 300));
        let transaction = Transaction::new()
            .expect(counter.clone(), expect)
            .put(counter.clone(), value.clone())
            .put(copy.clone(), value);
        expect = Expect::Modified(store.commit(transaction).await.unwrap());
        println!("\nacknowledged {writer} {count}");
    }
}

fn number(value: &[u8]) -> usize {
    let text = std::str::from_utf8(value).unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_writes_until_it_is_killed() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let store = open(Path::new(&directory));

    let writers = join_all((0..WRITERS).map(|writer| tokio::spawn(write(store.clone(), writer))));

    // The parent kills it long before; if the parent is gone, it ends by itself.
    let _ = tokio::time::timeout(Duration::from_secs(30), writers).await;
}

fn spawn(directory: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([CHILD, "--exact", "--nocapture"])
        .env(DIRECTORY, directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Lets the child go on until so many acknowledgements, kills it, and notes all of which it told.
fn kill_after(acknowledgements: usize, mut child: Child, counts: &mut BTreeMap<usize, usize>) {
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut seen = 0;
    let mut line = String::new();
    while lines.read_line(&mut line).unwrap() > 0 {
        let words: Vec<&str> = line.split(' ').collect();
        // A line without its end was cut off by the kill.
        if let ["acknowledged", writer, count] = words[..]
            && let Some(count) = count.strip_suffix('\n')
        {
            counts.insert(writer.parse().unwrap(), count.parse().unwrap());
            seen += 1;
            if seen == acknowledgements {
                child.kill().unwrap();
            }
        }
        line.clear();
    }
    child.wait().unwrap();
    assert!(seen >= acknowledgements, "the child ended after {seen} acknowledgements");
}

#[tokio::test]
async fn killed_process_loses_no_acknowledged_write() {
    let random = Random::seeded(7);
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("data");
    let mut counts: BTreeMap<usize, usize> = (0..WRITERS).map(|writer| (writer, 0)).collect();

    for kill in 0..KILLS {
        kill_after(1 + random.below(400), spawn(&directory), &mut counts);

        let store = open(&directory);
        for (writer, count) in &mut counts {
            let entry = store.get(&Key::from(format!("/counter/{writer}"))).await.unwrap();
            let found = entry.map_or(0, |entry| number(&entry.value));
            assert!(found >= *count, "kill {kill}: writer {writer} was told of {count}, {found} is there");
            assert!(found <= *count + 1, "kill {kill}: writer {writer} had one write in flight, not {found}");
            *count = found;
        }
        let counters = store.list(List::prefix("/counter/")).await.unwrap().entries;
        let copies = store.list(List::prefix("/copy/")).await.unwrap().entries;
        assert_eq!(counters.len(), copies.len(), "kill {kill}: half a write");
        for (counter, copy) in counters.iter().zip(&copies) {
            assert_eq!(
                (&counter.value, counter.modified),
                (&copy.value, copy.modified),
                "kill {kill}: half a write"
            );
        }
        store.close().await;
    }
}
