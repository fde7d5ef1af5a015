//! The contract suite of [`Runtime`] and of its [`Images`](crate::runtime::Images) and [`Logs`](crate::runtime::Logs).
//!
//! Describe the runtime by a [`Fixture`] and run [`runtime_suite!`](crate::runtime_suite). One clause of the contract is
//! one function here and one test there.

mod clauses;
mod images;
mod lifetime;
mod logs;

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};

pub use clauses::{
    clause_1_starting_is_idempotent, clause_2_pods_have_addresses, clause_3_containers_need_their_pod,
    clause_4_one_attempt_at_a_time, clause_5_what_it_cannot_do_it_refuses,
    clause_6_ends_are_told_as_they_were, clause_7_a_stop_stops, clause_8_removal_is_whole,
};
pub use images::{
    images_clause_1_pulled_is_present, images_clause_2_absent_is_none, images_clause_3_impossible_is_refused,
    images_clause_4_a_dropped_pull_can_be_repeated,
};
pub use lifetime::{
    clause_9_the_last_dead_attempt_stays, clause_10_events_have_no_gap, clause_11_pods_outlive_the_value,
    clause_12_a_dropped_future_abandons_the_wait,
};
pub use logs::{
    logs_clause_1_what_was_written_is_readable, logs_clause_2_follow_ends_with_the_container,
    logs_clause_3_tail_counts_lines, logs_clause_4_options_are_kept_or_refused,
    logs_clause_5_a_reader_that_rests_holds_nothing_up, logs_clause_6_what_is_not_held_has_no_log,
};

use crate::runtime::{
    ContainerKey, ContainerSpec, Event, EventKind, Events, Exit, LogOptions, PodSandbox, PodStatus, PodUid,
    Runtime, RuntimeError,
};

/// How long anything may take that should happen soon.
const SOON: Duration = Duration::from_secs(30);

/// What the suite needs to try a runtime: the runtime itself, and containers that do what a clause is about.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// Returns the runtime. It holds no pods at first.
    fn runtime(&self) -> Arc<dyn Runtime>;

    /// Drops the runtime as if its process was killed, waits so long, and makes another over the same place.
    async fn restart(&mut self, pause: Duration);

    /// Returns a container that acts like this. The suite sets its name and attempt.
    fn container(&self, act: Act) -> ContainerSpec;

    /// Returns a text that makes this fixture's pods differ from those of every other fixture at the same place.
    fn prefix(&self) -> String {
        "suite".to_owned()
    }

    /// Returns a container that the runtime must refuse; `None` if it can do everything.
    fn unsupported(&self) -> Option<ContainerSpec> {
        None
    }

    /// Returns names of images for the clauses of [`Images`](crate::runtime::Images).
    fn images(&self) -> ImageNames {
        ImageNames::default()
    }

    /// Returns whether the runtime can put times before log lines.
    fn timestamps(&self) -> bool {
        true
    }

    /// Gives back what the fixture made, after all pods were removed and the runtime closed. May check that nothing is left.
    async fn tear_down(&mut self) {}
}

/// What a container does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Writes the line `ready`, and runs until it is asked to end, and then ends soon.
    Run,
    /// Writes the line `ready`, and runs until it is ended by force.
    Stubborn,
    /// Writes the lines `one`, `two`, `three` and runs.
    Say,
    /// Writes the lines `one`, `two`, `three` and returns this code.
    Exit(i32),
    /// Returns this code after a second.
    ExitLater(i32),
    /// Writes eight lines of 65,536 times `x`, more than pipes and sockets hold, and returns 0.
    Flood,
}

/// Names of images. A clause for which there is none is not tried.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct ImageNames {
    /// One that can be pulled or is there.
    pub available: Option<String>,
    /// One that is not there.
    pub absent: Option<String>,
    /// One that the runtime can never have.
    pub impossible: Option<String>,
}

/// Runs one clause on a fixture and tidies up after it, whether it holds or not.
///
/// # Panics
///
/// Panics if the clause does not hold, or the runtime cannot be tidied up.
pub async fn run<F: Fixture>(
    mut fixture: F,
    clause: impl for<'a> FnOnce(&'a mut dyn Fixture) -> BoxFuture<'a, ()>,
) {
    let outcome = AssertUnwindSafe(clause(&mut fixture)).catch_unwind().await;
    let tidied = AssertUnwindSafe(tidy(&mut fixture)).catch_unwind().await;
    if let Err(panic) = outcome.and(tidied) {
        resume_unwind(panic);
    }
}

async fn tidy(fixture: &mut dyn Fixture) {
    let runtime = fixture.runtime();
    for pod in runtime.pods().await.expect("the pods can be listed") {
        runtime.remove_pod(&pod.uid).await.expect("a pod can be removed");
    }
    runtime.close().await.expect("the runtime can be closed");
    drop(runtime);
    fixture.tear_down().await;
}

/// Generates one test per clause of [`Runtime`](crate::runtime::Runtime), [`Images`](crate::runtime::Images) and
/// [`Logs`](crate::runtime::Logs).
///
/// Takes the attribute that makes an async function a test, the name of the module to make, and an async closure that
/// returns a fresh [`Fixture`](crate::testing::runtime::Fixture), or `None` if there is no place to run in: then it says so, and
/// the test passes.
///
/// ```text
/// quarterdeck_core::runtime_suite!(#[tokio::test(start_paused = true)] simulated, async || Some(Simulation::new()));
/// ```
#[macro_export]
macro_rules! runtime_suite {
    (#[$test:meta] $name:ident, $make:expr) => {
        mod $name {
            use super::*;
            $crate::runtime_suite!(@each #[$test] $make,
                clause_1_starting_is_idempotent
                clause_2_pods_have_addresses
                clause_3_containers_need_their_pod
                clause_4_one_attempt_at_a_time
                clause_5_what_it_cannot_do_it_refuses
                clause_6_ends_are_told_as_they_were
                clause_7_a_stop_stops
                clause_8_removal_is_whole
                clause_9_the_last_dead_attempt_stays
                clause_10_events_have_no_gap
                clause_11_pods_outlive_the_value
                clause_12_a_dropped_future_abandons_the_wait
                images_clause_1_pulled_is_present
                images_clause_2_absent_is_none
                images_clause_3_impossible_is_refused
                images_clause_4_a_dropped_pull_can_be_repeated
                logs_clause_1_what_was_written_is_readable
                logs_clause_2_follow_ends_with_the_container
                logs_clause_3_tail_counts_lines
                logs_clause_4_options_are_kept_or_refused
                logs_clause_5_a_reader_that_rests_holds_nothing_up
                logs_clause_6_what_is_not_held_has_no_log
            );
        }
    };
    (@each #[$test:meta] $make:expr, $clause:ident $($more:ident)*) => {
        #[$test]
        async fn $clause() {
            if let Some(fixture) = ($make)().await {
                $crate::testing::runtime::run(fixture, |f| Box::pin($crate::testing::runtime::$clause(f))).await;
            }
        }
        $crate::runtime_suite!(@each #[$test] $make, $($more)*);
    };
    (@each #[$test:meta] $make:expr,) => {};
}

/// The tools of the clauses.
impl dyn Fixture + '_ {
    fn sandbox(&self, name: &str) -> PodSandbox {
        let prefix = self.prefix();
        PodSandbox {
            uid: format!("{prefix}-{name}").into(),
            namespace: prefix,
            name: name.to_owned(),
            hostname: name.to_owned(),
            labels: [("suite".to_owned(), name.to_owned())].into(),
            ..PodSandbox::default()
        }
    }

    fn spec(&self, name: &str, attempt: u32, act: Act) -> ContainerSpec {
        ContainerSpec { name: name.into(), attempt, ..self.container(act) }
    }

    /// Starts a pod without containers.
    async fn pod(&self, name: &str) -> PodUid {
        let pod = self.sandbox(name);
        soon("start_pod", self.runtime().start_pod(&pod)).await.expect("a pod can be started");
        pod.uid
    }

    /// Starts a container, and waits until it is ready.
    async fn start(&self, pod: &PodUid, name: &str, attempt: u32, act: Act) -> ContainerKey {
        let spec = self.spec(name, attempt, act);
        soon("start_container", self.runtime().start_container(pod, &spec))
            .await
            .expect("a container can be started");
        if matches!(act, Act::Run | Act::Stubborn) {
            self.written(&spec.key(pod), "ready").await;
        }
        spec.key(pod)
    }

    async fn stop(&self, container: &ContainerKey, grace: Duration) {
        soon("stop_container", self.runtime().stop_container(container, grace))
            .await
            .expect("a container can be stopped");
    }

    /// Returns what the runtime says of a pod.
    async fn status(&self, pod: &PodUid) -> Option<PodStatus> {
        let pods = soon("pods", self.runtime().pods()).await.expect("the pods can be listed");
        pods.into_iter().find(|status| status.uid == *pod)
    }

    /// Waits for the end of a container, as `pods` tells it.
    async fn exit(&self, container: &ContainerKey) -> Exit {
        let ended = async {
            loop {
                let pod = self.status(&container.pod).await.expect("the pod is held");
                let status =
                    pod.container(&container.name, container.attempt).expect("the container is held");
                if let Some(exit) = status.exit() {
                    return exit.clone();
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        soon("a container's end", ended).await
    }

    /// Returns the whole log of a container.
    async fn log(&self, container: &ContainerKey, options: LogOptions) -> Result<String, RuntimeError> {
        let runtime = self.runtime();
        let logs = runtime.logs().expect("the runtime keeps logs");
        let read = async {
            let mut chunks = logs.open(container, options).await?;
            let mut text = Vec::new();
            while let Some(chunk) = chunks.next().await {
                text.extend_from_slice(&chunk?);
            }
            Ok(String::from_utf8(text).expect("the log is text"))
        };
        soon("a log", read).await
    }

    /// Waits until a container has written `line`. Does not wait if the runtime keeps no logs.
    async fn written(&self, container: &ContainerKey, line: &str) {
        if self.runtime().logs().is_none() {
            return;
        }
        let written = async {
            while !self.log(container, LogOptions::default()).await.expect("a log").contains(line) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        soon("a line of the log", written).await;
    }
}

async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(SOON, work).await {
        Ok(output) => output,
        Err(_) => panic!("{what} took more than {SOON:?}"),
    }
}

/// Reads events until one is found that `wanted` is true of, and returns all that were read.
async fn read_until(events: &mut Events, mut wanted: impl FnMut(&Event) -> bool) -> Vec<Event> {
    let mut read = Vec::new();
    let reading = async {
        loop {
            let event = events.next().await.expect("events do not end").expect("no event was missed");
            let last = wanted(&event);
            read.push(event);
            if last {
                return;
            }
        }
    };
    soon("an event", reading).await;
    read
}

/// Returns how a container ended, if this event tells it.
fn end_of<'a>(event: &'a Event, container: &ContainerKey) -> Option<&'a Exit> {
    match &event.kind {
        EventKind::Exited { exit, .. } if event.container().as_ref() == Some(container) => Some(exit),
        _ => None,
    }
}
