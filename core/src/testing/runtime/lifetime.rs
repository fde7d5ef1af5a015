//! Clauses 9 to 12 of `Runtime`: what is kept, what is told, and what survives.

use std::time::Duration;

use futures::poll;

use super::{Act, Fixture, end_of, read_until, soon};
use crate::runtime::{Event, EventKind, LogOptions};

/// Clause 9: the newest ended attempt stays beside the one that runs, and older ones go.
pub async fn clause_9_the_last_dead_attempt_stays(fixture: &mut dyn Fixture) {
    let pod = fixture.pod("dead").await;
    for attempt in 0..2 {
        let container = fixture.start(&pod, "main", attempt, Act::Exit(1)).await;
        fixture.exit(&container).await;
    }

    let last = fixture.start(&pod, "main", 2, Act::Run).await;

    let status = fixture.status(&pod).await.expect("the pod is held");
    let held: Vec<_> = status.containers.iter().map(|container| container.attempt).collect();
    assert_eq!(held, [1, 2], "clause 9: held are the last that ended and the one that runs");
    assert_eq!(
        status.newest("main").map(|c| c.attempt),
        Some(last.attempt),
        "clause 9: the newest is the one that runs"
    );
    if fixture.runtime().logs().is_some() {
        let dead = fixture.spec("main", 1, Act::Run).key(&pod);
        let log = fixture.log(&dead, LogOptions::default()).await.expect("the log of the last attempt");
        assert_eq!(log, "one\ntwo\nthree\n", "clause 9: the log of the last attempt that ended");
    }
}

/// Clause 10: each start and end is told once, in order.
pub async fn clause_10_events_have_no_gap(fixture: &mut dyn Fixture) {
    let pod = fixture.pod("events").await;
    let before = fixture.start(&pod, "before", 0, Act::Run).await;
    let mut events = soon("events", fixture.runtime().events()).await.expect("events");

    let first = fixture.start(&pod, "main", 0, Act::Exit(2)).await;
    fixture.exit(&first).await;
    let second = fixture.start(&pod, "main", 1, Act::Run).await;
    fixture.stop(&second, Duration::from_secs(60)).await;
    fixture.stop(&before, Duration::from_secs(60)).await;

    let mut ends = 0;
    let read = read_until(&mut events, |event| {
        ends += u32::from(matches!(event.kind, EventKind::Exited { .. }));
        ends == 3
    })
    .await;
    let of = |name: &str| -> Vec<_> {
        let told = |event: &Event| match &event.kind {
            EventKind::Started { name, attempt } => Some((name.clone(), *attempt, "starts")),
            EventKind::Exited { name, attempt, .. } => Some((name.clone(), *attempt, "ends")),
            EventKind::PodChanged => None,
        };
        let told = read.iter().filter_map(told).filter(|(container, ..)| &**container == name);
        told.map(|(_, attempt, what)| (attempt, what)).collect()
    };
    assert_eq!(
        of("main"),
        [(0, "starts"), (0, "ends"), (1, "starts"), (1, "ends")],
        "clause 10: what happened to one container"
    );
    assert_eq!(of("before"), [(0, "ends")], "clause 10: what happened after the stream was opened");
}

/// Clause 11: pods go on without the value, and a new one finds them as they are.
pub async fn clause_11_pods_outlive_the_value(fixture: &mut dyn Fixture) {
    let pod = fixture.pod("adopted").await;
    let runs = fixture.start(&pod, "runs", 0, Act::Run).await;
    let ends = fixture.start(&pod, "ends", 0, Act::ExitLater(3)).await;
    let ended = fixture.start(&pod, "ended", 0, Act::Exit(4)).await;
    let exit = fixture.exit(&ended).await;
    let before = fixture.status(&pod).await.expect("the pod is held");

    fixture.restart(Duration::from_millis(1500)).await;

    let after = fixture.status(&pod).await.expect("clause 11: the pod is held after a restart");
    assert_eq!(
        (&before.ips, before.created_at),
        (&after.ips, after.created_at),
        "clause 11: the pod was made again"
    );
    assert_eq!(before.labels, after.labels, "clause 11: the pod's labels");
    assert_eq!(
        before.container("runs", 0),
        after.container("runs", 0),
        "clause 11: a container was not left alone"
    );
    assert_eq!(
        after.container("ended", 0).and_then(|c| c.exit()),
        Some(&exit),
        "clause 11: an end was forgotten"
    );
    let unseen = fixture.exit(&ends).await;
    assert!(
        unseen.exit_code.is_none_or(|code| code == 3),
        "clause 11: a code that nobody saw is lost or right, not {unseen:?}"
    );

    let mut events = soon("events", fixture.runtime().events()).await.expect("events");
    fixture.stop(&runs, Duration::from_secs(60)).await;
    read_until(&mut events, |event| end_of(event, &runs).is_some()).await;
    assert!(
        fixture
            .status(&pod)
            .await
            .is_some_and(|pod| pod.container("runs", 0).is_some_and(|c| c.exit().is_some())),
        "clause 11: an adopted container runs after it was stopped"
    );
}

/// Clause 12: a call whose future was dropped can be made again, and what it had begun can be removed.
pub async fn clause_12_a_dropped_future_abandons_the_wait(fixture: &mut dyn Fixture) {
    let (runtime, sandbox) = (fixture.runtime(), fixture.sandbox("dropped"));
    let spec = fixture.spec("main", 0, Act::Run);

    begin(runtime.start_pod(&sandbox)).await;
    let pod = fixture.pod("dropped").await;
    begin(runtime.start_container(&pod, &spec)).await;
    let started = soon("start_container", runtime.start_container(&pod, &spec)).await;
    assert!(
        started.as_ref().is_ok_and(|started| started.status.is_running()),
        "clause 12: a start that is made again gave {started:?}"
    );
    let status = fixture.status(&pod).await.expect("the pod is held");
    assert_eq!(status.containers.len(), 1, "clause 12: one attempt was started, not {:?}", status.containers);

    fixture.written(&spec.key(&pod), "ready").await;
    begin(runtime.stop_container(&spec.key(&pod), Duration::from_secs(60))).await;
    fixture.stop(&spec.key(&pod), Duration::from_secs(60)).await;
    begin(runtime.start_container(&pod, &fixture.spec("main", 1, Act::Run))).await;
    soon("remove_pod", runtime.remove_pod(&pod)).await.expect("a pod can be removed");
    assert!(fixture.status(&pod).await.is_none(), "clause 12: a pod is listed that was removed");
}

/// Polls a future once, lets others go on for a moment, and drops it.
async fn begin<T>(work: impl Future<Output = T>) {
    let mut work = std::pin::pin!(work);
    if poll!(&mut work).is_pending() {
        tokio::task::yield_now().await;
        let _ = poll!(&mut work);
    }
}
