//! Clauses 1 to 8 of `Runtime`: starting, stopping, removing.

use std::time::Duration;

use tokio::time::Instant;

use super::{Act, Fixture, end_of, read_until, soon};
use crate::runtime::{PodState, RuntimeError};

/// Clause 1: starting what was started starts nothing and returns what is there.
pub async fn clause_1_starting_is_idempotent(fixture: &mut dyn Fixture) {
    let (sandbox, runtime) = (fixture.sandbox("twice"), fixture.runtime());

    let pod = soon("start_pod", runtime.start_pod(&sandbox)).await.expect("a pod can be started");
    let again = soon("start_pod", runtime.start_pod(&sandbox)).await.expect("a ready pod can be started");
    assert_eq!(pod, again, "clause 1: a pod that is ready was started again");

    let running = fixture.spec("runs", 0, Act::Run);
    let first = soon("start_container", runtime.start_container(&pod.uid, &running)).await.expect("a start");
    let again =
        soon("start_container", runtime.start_container(&pod.uid, &running)).await.expect("the same start");
    assert!(first.status.is_running(), "clause 1: a container that was started runs, not {:?}", first.status);
    assert_eq!(first.status, again.status, "clause 1: a container that runs was started again");

    let ending = fixture.spec("ends", 0, Act::Exit(0));
    soon("start_container", runtime.start_container(&pod.uid, &ending)).await.expect("a start");
    let exit = fixture.exit(&ending.key(&pod.uid)).await;
    let again =
        soon("start_container", runtime.start_container(&pod.uid, &ending)).await.expect("the same start");
    assert_eq!(again.status.exit(), Some(&exit), "clause 1: an attempt that had ended was started again");
    let status = fixture.status(&pod.uid).await.expect("the pod is held");
    assert_eq!(
        status.containers.len(),
        2,
        "clause 1: two attempts were started, not {:?}",
        status.containers
    );
}

/// Clause 2: every ready pod has an address, of its own, that stays.
pub async fn clause_2_pods_have_addresses(fixture: &mut dyn Fixture) {
    let pods = [fixture.pod("one").await, fixture.pod("two").await];

    let one = fixture.status(&pods[0]).await.expect("a pod that was started is held");
    let two = fixture.status(&pods[1]).await.expect("a pod that was started is held");
    assert_eq!(
        (one.state, two.state),
        (PodState::Ready, PodState::Ready),
        "clause 2: started pods are ready"
    );
    assert!(!one.ips.is_empty() && !two.ips.is_empty(), "clause 2: a ready pod has no address");
    assert!(one.ips.iter().all(|ip| !two.ips.contains(ip)), "clause 2: two pods share {:?}", one.ips);
    assert!(one.ips.iter().all(|ip| !ip.is_loopback()), "clause 2: {:?} is no address for others", one.ips);
    assert_eq!(
        (&*one.name, &one.labels["suite"][..]),
        ("one", "one"),
        "clause 2: a pod is listed as it was started"
    );

    fixture.start(&pods[0], "main", 0, Act::Run).await;
    let later = fixture.status(&pods[0]).await.expect("the pod is held");
    assert_eq!(one.ips, later.ips, "clause 2: the address of a ready pod changed");
}

/// Clause 3: there is no container without a pod.
pub async fn clause_3_containers_need_their_pod(fixture: &mut dyn Fixture) {
    let (sandbox, spec) = (fixture.sandbox("none"), fixture.spec("main", 0, Act::Run));

    let refusal = soon("start_container", fixture.runtime().start_container(&sandbox.uid, &spec)).await;

    assert!(
        matches!(&refusal, Err(RuntimeError::PodNotRunning(pod)) if *pod == sandbox.uid),
        "clause 3: a container in a pod that was not started gave {refusal:?}"
    );
    assert!(fixture.status(&sandbox.uid).await.is_none(), "clause 3: a pod is held that was not started");
}

/// Clause 4: one attempt runs at a time, and earlier ones do not come back.
pub async fn clause_4_one_attempt_at_a_time(fixture: &mut dyn Fixture) {
    let pod = fixture.pod("attempts").await;
    let runtime = fixture.runtime();
    let first = fixture.start(&pod, "main", 1, Act::Run).await;

    let while_it_runs =
        soon("start_container", runtime.start_container(&pod, &fixture.spec("main", 2, Act::Run))).await;
    assert!(
        matches!(while_it_runs, Err(RuntimeError::Conflict { held: 1, .. })),
        "clause 4: starting attempt 2 while 1 runs gave {while_it_runs:?}"
    );
    let status = fixture.status(&pod).await.expect("the pod is held");
    assert_eq!(status.containers.len(), 1, "clause 4: a start that was refused left {:?}", status.containers);
    assert!(
        status.containers[0].is_running(),
        "clause 4: a start that was refused ended {:?}",
        status.containers[0]
    );

    fixture.stop(&first, Duration::ZERO).await;
    fixture.start(&pod, "main", 2, Act::Exit(0)).await;
    let earlier =
        soon("start_container", runtime.start_container(&pod, &fixture.spec("main", 0, Act::Run))).await;
    assert!(
        matches!(earlier, Err(RuntimeError::Conflict { held: 2, .. })),
        "clause 4: starting attempt 0 after 2 gave {earlier:?}"
    );
}

/// Clause 5: what it cannot do it refuses, and holds nothing of it.
pub async fn clause_5_what_it_cannot_do_it_refuses(fixture: &mut dyn Fixture) {
    let Some(spec) = fixture.unsupported() else { return };
    let pod = fixture.pod("refused").await;

    let refusal = soon("start_container", fixture.runtime().start_container(&pod, &spec)).await;

    assert!(
        matches!(&refusal, Err(RuntimeError::Unsupported { what }) if !what.is_empty()),
        "clause 5: what is not supported gave {refusal:?}"
    );
    let status = fixture.status(&pod).await.expect("the pod is held");
    assert_eq!(status.containers, [], "clause 5: something is held of what was refused");
}

/// Clause 6: an end is told with its code, the same in events and in pods.
pub async fn clause_6_ends_are_told_as_they_were(fixture: &mut dyn Fixture) {
    let pod = fixture.pod("ends").await;
    let mut events = soon("events", fixture.runtime().events()).await.expect("events");

    for (name, code) in [("fails", 3), ("completes", 0)] {
        let container = fixture.start(&pod, name, 0, Act::Exit(code)).await;
        let read = read_until(&mut events, |event| end_of(event, &container).is_some()).await;
        let told = read.iter().find_map(|event| end_of(event, &container)).expect("it was just read");
        let held = fixture.exit(&container).await;

        assert_eq!(held.exit_code, Some(code), "clause 6: the program returned {code}");
        assert_eq!(*told, held, "clause 6: the event and pods differ");
        assert!(
            held.started_at.is_some_and(|start| start <= held.finished_at),
            "clause 6: it ended before it began"
        );
    }

    let killed = fixture.start(&pod, "killed", 0, Act::Stubborn).await;
    fixture.stop(&killed, Duration::ZERO).await;
    let exit = fixture.exit(&killed).await;
    assert_eq!(exit.exit_code, Some(137), "clause 6: SIGKILL is 137, not {exit:?}");
}

/// Clause 7: a stop returns when the container has ended: by itself, or by force after the grace period.
pub async fn clause_7_a_stop_stops(fixture: &mut dyn Fixture) {
    let pod = fixture.pod("stops").await;
    let hour = Duration::from_secs(3600);
    let stopped = |status: Option<crate::runtime::PodStatus>, name: &str| {
        status.and_then(|pod| Some(pod.container(name, 0)?.exit().is_some())).unwrap_or_default()
    };

    let willing = fixture.start(&pod, "willing", 0, Act::Run).await;
    fixture.stop(&willing, hour).await;
    assert!(stopped(fixture.status(&pod).await, "willing"), "clause 7: it runs after it was stopped");
    fixture.stop(&willing, hour).await;
    fixture.stop(&fixture.spec("nobody", 7, Act::Run).key(&pod), hour).await;

    let stubborn = fixture.start(&pod, "stubborn", 0, Act::Stubborn).await;
    let (asked, grace) = (Instant::now(), Duration::from_secs(1));
    fixture.stop(&stubborn, grace).await;
    assert!(
        asked.elapsed() >= grace,
        "clause 7: it was ended by force after {:?} of {grace:?}",
        asked.elapsed()
    );
    assert!(stopped(fixture.status(&pod).await, "stubborn"), "clause 7: it runs after its grace period");

    let hurried = fixture.start(&pod, "hurried", 0, Act::Stubborn).await;
    let (patient, impatient) = (fixture.stop(&hurried, hour), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        fixture.stop(&hurried, Duration::ZERO).await;
    });
    let ((), ()) = futures::join!(patient, impatient);
    assert!(stopped(fixture.status(&pod).await, "hurried"), "clause 7: the shorter grace period did not win");
}

/// Clause 8: nothing is left of a pod that was removed.
pub async fn clause_8_removal_is_whole(fixture: &mut dyn Fixture) {
    let pod = fixture.pod("removed").await;
    let runtime = fixture.runtime();
    fixture.start(&pod, "runs", 0, Act::Stubborn).await;
    let ended = fixture.start(&pod, "ended", 0, Act::Exit(0)).await;
    fixture.exit(&ended).await;

    soon("remove_pod", runtime.remove_pod(&pod)).await.expect("a pod can be removed");
    assert!(fixture.status(&pod).await.is_none(), "clause 8: a pod is listed that was removed");
    soon("remove_pod", runtime.remove_pod(&pod)).await.expect("removing what is gone succeeds");
    if let Some(logs) = runtime.logs() {
        let log = soon("logs", logs.open(&ended, crate::runtime::LogOptions::default())).await.err();
        assert!(
            matches!(log, Some(RuntimeError::ContainerNotFound(_))),
            "clause 8: the log of a container that was removed gave {log:?}"
        );
    }

    fixture.pod("removed").await;
    let again = fixture.status(&pod).await.expect("the pod was started again");
    assert_eq!(again.containers, [], "clause 8: a new pod has containers of the one before");
    let container = fixture.start(&pod, "ended", 0, Act::Exit(5)).await;
    assert_eq!(
        fixture.exit(&container).await.exit_code,
        Some(5),
        "clause 8: the new pod's attempt was not run"
    );
}
