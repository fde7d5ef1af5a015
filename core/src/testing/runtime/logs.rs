//! The clauses of `Logs`. Not tried on a runtime that keeps none. How much of a log is kept is for each runtime to prove.

use std::time::Duration;

use futures::StreamExt;

use super::{Act, Fixture, soon};
use crate::runtime::{LogOptions, RuntimeError};

const ALL: &str = "one\ntwo\nthree\n";

/// Clause 1 of `Logs`: what was written is readable while the container runs and after it has ended.
pub async fn logs_clause_1_what_was_written_is_readable(fixture: &mut dyn Fixture) {
    if fixture.runtime().logs().is_none() {
        return;
    }
    let pod = fixture.pod("logs").await;

    let runs = fixture.start(&pod, "runs", 0, Act::Say).await;
    fixture.written(&runs, "three").await;
    let ended = fixture.start(&pod, "ended", 0, Act::Exit(0)).await;
    fixture.exit(&ended).await;

    for container in [runs, ended] {
        let log = fixture.log(&container, LogOptions::default()).await.expect("a log");
        assert_eq!(log, ALL, "clause 1 of Logs: the log of {container}");
    }
}

/// Clause 2 of `Logs`: a reader that follows gets what is written later, and ends with the container.
pub async fn logs_clause_2_follow_ends_with_the_container(fixture: &mut dyn Fixture) {
    let runtime = fixture.runtime();
    let Some(logs) = runtime.logs() else { return };
    let pod = fixture.pod("follow").await;
    let container = fixture.start(&pod, "main", 0, Act::Say).await;

    let options = LogOptions { follow: true, ..LogOptions::default() };
    let mut chunks = soon("logs", logs.open(&container, options)).await.expect("a log");
    let mut read = Vec::new();
    while read.len() < ALL.len() {
        let chunk = soon("more of the log", chunks.next()).await;
        read.extend_from_slice(
            &chunk.expect("clause 2 of Logs: it ended while the container runs").expect("a piece"),
        );
    }
    assert_eq!(String::from_utf8_lossy(&read), ALL, "clause 2 of Logs: what was written");
    let waits = tokio::time::timeout(Duration::from_millis(50), chunks.next()).await;
    assert!(!matches!(waits, Ok(None)), "clause 2 of Logs: it ended while the container runs");

    fixture.stop(&container, Duration::from_secs(60)).await;
    let end = async {
        while let Some(chunk) = chunks.next().await {
            assert_eq!(
                chunk.expect("a piece"),
                "",
                "clause 2 of Logs: nothing was written after the third line"
            );
        }
    };
    soon("the end of the log", end).await;

    let again = fixture.log(&container, options).await.expect("a log");
    assert_eq!(again, ALL, "clause 2 of Logs: following what has ended reads all of it");
}

/// Clause 3 of `Logs`: `tail` starts at the last lines.
pub async fn logs_clause_3_tail_counts_lines(fixture: &mut dyn Fixture) {
    if fixture.runtime().logs().is_none() {
        return;
    }
    let pod = fixture.pod("tail").await;
    let container = fixture.start(&pod, "main", 0, Act::Exit(0)).await;
    fixture.exit(&container).await;

    for (tail, expected) in [(0, ""), (1, "three\n"), (2, "two\nthree\n"), (3, ALL), (100, ALL)] {
        let options = LogOptions { tail: Some(tail), ..LogOptions::default() };
        let log = fixture.log(&container, options).await.expect("a log");
        assert_eq!(log, expected, "clause 3 of Logs: the last {tail} lines");
    }
}

/// Clause 4 of `Logs`: times before lines are there, or refused.
pub async fn logs_clause_4_options_are_kept_or_refused(fixture: &mut dyn Fixture) {
    if fixture.runtime().logs().is_none() {
        return;
    }
    let pod = fixture.pod("options").await;
    let container = fixture.start(&pod, "main", 0, Act::Exit(0)).await;
    let exit = fixture.exit(&container).await;

    let with_times = fixture.log(&container, LogOptions { timestamps: true, ..LogOptions::default() }).await;
    let later = exit.finished_at + Duration::from_secs(3600);
    let since = fixture.log(&container, LogOptions { since: Some(later), ..LogOptions::default() }).await;

    if fixture.timestamps() {
        let with_times = with_times.expect("a log with times");
        let lines: Vec<_> =
            with_times.lines().map(|line| line.split_once(' ').expect("a time and a line")).collect();
        assert!(
            lines.iter().all(|(time, _)| time.parse::<jiff::Timestamp>().is_ok()),
            "clause 4 of Logs: a time before each line, not {lines:?}"
        );
        let text: Vec<_> = lines.iter().map(|(_, line)| *line).collect();
        assert_eq!(text, ["one", "two", "three"], "clause 4 of Logs: the line behind each time");
        assert_eq!(
            since.expect("a log"),
            "",
            "clause 4 of Logs: nothing was written in the last hour of the future"
        );
    } else {
        assert!(
            matches!(with_times, Err(RuntimeError::Unsupported { .. })),
            "clause 4 of Logs: {with_times:?}"
        );
        assert!(matches!(since, Err(RuntimeError::Unsupported { .. })), "clause 4 of Logs: {since:?}");
    }
}

/// Clause 5 of `Logs`: a container writes and ends while somebody has its log open and does not read.
pub async fn logs_clause_5_a_reader_that_rests_holds_nothing_up(fixture: &mut dyn Fixture) {
    let runtime = fixture.runtime();
    let Some(logs) = runtime.logs() else { return };
    let pod = fixture.pod("flood").await;
    let container = fixture.start(&pod, "main", 0, Act::Flood).await;

    let options = LogOptions { follow: true, ..LogOptions::default() };
    let mut rests = soon("logs", logs.open(&container, options)).await.expect("a log");
    let exit = tokio::time::timeout(super::SOON / 2, fixture.exit(&container)).await;
    let exit = exit.expect("clause 5 of Logs: the container waits for a reader");
    assert_eq!(exit.exit_code, Some(0), "clause 5 of Logs: the container did what it had to");

    let read = async {
        while let Some(chunk) = rests.next().await {
            chunk.expect("a piece");
        }
    };
    soon("the end of the log", read).await;
}

/// Clause 6 of `Logs`: what is not held has no log.
pub async fn logs_clause_6_what_is_not_held_has_no_log(fixture: &mut dyn Fixture) {
    if fixture.runtime().logs().is_none() {
        return;
    }
    let pod = fixture.pod("unknown").await;
    let container = fixture.spec("nobody", 0, Act::Run).key(&pod);

    let log = fixture.log(&container, LogOptions::default()).await;

    assert!(
        matches!(&log, Err(RuntimeError::ContainerNotFound(unknown)) if *unknown == container),
        "clause 6 of Logs: the log of what is not held gave {log:?}"
    );
}
