//! How pods live and end.

use std::time::Duration;

use kube::api::{DeleteParams, LogParams};
use quarterdeck_agent::runtime::simulated::{Ending, ImageScript, Script};
use quarterdeck_core::runtime::Runtime;
use serde_json::json;

use crate::SECOND;
use crate::bench::{Bench, condition};

#[tokio::test(start_paused = true)]
async fn a_pod_runs_and_its_status_says_so() {
    let bench = Bench::new(|node| node).await;

    bench.create("web", json!({})).await;
    let status = bench.until_phase("web", "Running").await;

    for name in ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"] {
        assert_eq!(condition(&status, name)["status"], "True", "{name}");
    }
    assert_eq!(status["hostIP"], "192.168.1.7");
    assert_eq!(status["podIP"], status["podIPs"][0]["ip"]);
    assert!(status["podIP"].as_str().unwrap().starts_with("10.244.0."), "{status}");
    assert_eq!(status["startTime"], "2026-01-01T00:00:00Z");
    assert_eq!(status["qosClass"], "BestEffort");
    let main = &status["containerStatuses"][0];
    assert_eq!(main["ready"], true);
    assert_eq!(main["started"], true);
    assert_eq!(main["restartCount"], 0);
    assert!(main["containerID"].as_str().unwrap().starts_with("simulated://"), "{main}");
    assert!(main["state"]["running"]["startedAt"].is_string());
    for reason in ["Pulled", "Created", "Started"] {
        bench.until_event(reason).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_status_that_does_not_change_is_not_written_again() {
    let bench = Bench::new(|node| node).await;
    bench.create("web", json!({})).await;
    bench.until_phase("web", "Running").await;
    tokio::time::sleep(SECOND).await;
    let before = bench.pods().get("web").await.unwrap();

    tokio::time::sleep(600 * SECOND).await;

    let after = bench.pods().get("web").await.unwrap();
    assert_eq!(before.metadata.resource_version, after.metadata.resource_version);
}

#[tokio::test(start_paused = true)]
async fn exit_codes_and_restart_policies_decide_the_phase() {
    let cases = [
        ("Never", 0, "Succeeded", 0),
        ("Never", 3, "Failed", 0),
        ("OnFailure", 0, "Succeeded", 0),
        ("OnFailure", 3, "Running", 1),
        ("Always", 0, "Running", 1),
    ];
    for (policy, code, phase, restarts) in cases {
        let bench = Bench::new(|node| {
            node.script(move |_, container| match container.attempt {
                0 => Script::run().exits(5 * SECOND, code),
                _ => Script::run(),
            })
        })
        .await;
        bench.create("job", json!({"restartPolicy": policy})).await;
        bench.until_phase("job", "Running").await;

        tokio::time::sleep(7 * SECOND).await;

        let status = bench.status("job").await;
        let main = &status["containerStatuses"][0];
        assert_eq!(status["phase"], phase, "{policy} {code}");
        assert_eq!(main["restartCount"], restarts, "{policy} {code}");
        let ended = if restarts == 0 { &main["state"] } else { &main["lastState"] };
        assert_eq!(ended["terminated"]["exitCode"], code, "{policy} {code}");
        assert_eq!(condition(&status, "Ready")["status"] == "True", phase == "Running");
    }
}

#[tokio::test(start_paused = true)]
async fn a_container_that_crashes_waits_longer_each_time() {
    let bench = Bench::new(|node| node.script(|_, _| Script::run().exits(SECOND, 1))).await;
    bench.create("web", json!({})).await;

    let waits = bench
        .until("web", |status| {
            status["containerStatuses"][0]["state"]["waiting"]["reason"] == "CrashLoopBackOff"
        })
        .await;
    let main = &waits["containerStatuses"][0];
    let message = main["state"]["waiting"]["message"].as_str().unwrap();
    assert!(
        message.starts_with("back-off 10s restarting failed container=main pod=web_default("),
        "{message}"
    );
    assert_eq!(main["restartCount"], 1);
    assert_eq!(main["lastState"]["terminated"]["exitCode"], 1);
    assert_eq!(waits["phase"], "Running");

    tokio::time::sleep(100 * SECOND).await;

    // The starts: at 0, at 1 (at once), 12, 33, 74 seconds, and the next at 155.
    assert_eq!(bench.status("web").await["containerStatuses"][0]["restartCount"], 4);
    assert!(
        bench
            .until_event("BackOff")
            .await
            .starts_with("Back-off restarting failed container main in pod web_")
    );
}

#[tokio::test(start_paused = true)]
async fn a_program_that_cannot_be_run_is_an_attempt_that_failed() {
    let bench = Bench::new(|node| node.script(|_, _| Script::cannot_run("no such program"))).await;

    bench.create("web", json!({})).await;
    let status = bench
        .until("web", |status| {
            status["containerStatuses"][0]["state"]["waiting"]["reason"] == "CrashLoopBackOff"
        })
        .await;

    let ended = &status["containerStatuses"][0]["lastState"]["terminated"];
    assert_eq!((&ended["exitCode"], &ended["reason"]), (&json!(128), &json!("ContainerCannotRun")));
    assert_eq!(ended["message"], "no such program");
}

#[tokio::test(start_paused = true)]
async fn a_deleted_pod_gets_its_grace_and_is_gone_then() {
    let bench =
        Bench::new(|node| node.script(|_, _| Script::run().stops_after(7 * SECOND, Ending::Code(0)))).await;
    let uid = bench.create("web", json!({"terminationGracePeriodSeconds": 20})).await;
    bench.until_phase("web", "Running").await;

    bench.delete("web").await;
    let took = bench.until_gone("web").await;

    assert!((7..9).contains(&took.as_secs()), "{took:?}");
    assert!(bench.runtime.pods().await.unwrap().iter().all(|pod| pod.uid != uid), "nothing is held");
    assert_eq!(bench.until_event("Killing").await, "Stopping container main");
}

#[tokio::test(start_paused = true)]
async fn a_container_that_ignores_its_end_is_killed_when_its_grace_is_over_or_cut() {
    let bench = Bench::new(|node| node.script(|_, _| Script::run().ignores_stop())).await;
    for name in ["patient", "hasty"] {
        bench.create(name, json!({"terminationGracePeriodSeconds": 30})).await;
        bench.until_phase(name, "Running").await;
    }

    bench.delete("patient").await;
    let patient = bench.until_gone("patient").await;
    bench.delete("hasty").await;
    tokio::time::sleep(5 * SECOND).await;
    bench
        .pods()
        .delete("hasty", &DeleteParams { grace_period_seconds: Some(1), ..DeleteParams::default() })
        .await
        .unwrap();
    let hasty = bench.until_gone("hasty").await;

    assert!((29..32).contains(&patient.as_secs()), "{patient:?}");
    assert!(hasty.as_secs() < 3, "{hasty:?}");
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_vanished_is_removed() {
    let bench = Bench::new(|node| node).await;
    bench.create("web", json!({})).await;
    bench.until_phase("web", "Running").await;

    bench
        .pods()
        .delete("web", &DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() })
        .await
        .unwrap();
    tokio::time::sleep(3 * SECOND).await;

    assert_eq!(bench.runtime.pods().await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_was_killed_takes_its_pods_over_without_a_restart() {
    let mut bench = Bench::new(|node| {
        node.script(|_, container| match (container.attempt, &*container.name) {
            (0, "main") => Script::run().exits(5 * SECOND, 1),
            _ => Script::run(),
        })
    })
    .await;
    let uid = bench.create("web", json!({})).await;
    bench
        .until("web", |status| {
            status["containerStatuses"][0]["restartCount"] == 1 && status["phase"] == "Running"
        })
        .await;
    let stray = quarterdeck_core::runtime::PodSandbox { uid: "stray".into(), ..Default::default() };
    let before = bench.runtime.pods().await.unwrap();

    bench.kill().await;
    bench.runtime.start_pod(&stray).await.unwrap();
    bench.start(|agent| agent);
    tokio::time::sleep(30 * SECOND).await;

    let after = bench.runtime.pods().await.unwrap();
    assert_eq!(before, after, "nothing was restarted, and what should not be here is gone");
    bench.runtime.exit(&uid, "main", 0);
    tokio::time::sleep(SECOND).await;
    assert_eq!(bench.status("web").await["containerStatuses"][0]["restartCount"], 2);
}

#[tokio::test(start_paused = true)]
async fn a_container_that_ended_while_no_agent_ran_is_started_again() {
    let mut bench = Bench::new(|node| node).await;
    let uid = bench.create("web", json!({})).await;
    bench.until_phase("web", "Running").await;

    bench.stop().await;
    bench.runtime.exit(&uid, "main", 4);
    tokio::time::sleep(SECOND).await;
    bench.start(|agent| agent);

    let status = bench.until("web", |status| status["containerStatuses"][0]["restartCount"] == 1).await;
    assert_eq!(status["containerStatuses"][0]["lastState"]["terminated"]["exitCode"], 4);
}

#[tokio::test(start_paused = true)]
async fn an_agent_ends_its_pods_when_it_stops_if_told_so() {
    let mut bench = Bench::idle(|node| node).await;
    bench.start(|agent| agent.end_pods_on_stop(true));
    bench.create("web", json!({})).await;
    bench.until_phase("web", "Running").await;

    bench.stop().await;

    assert_eq!(bench.runtime.pods().await.unwrap(), []);
    assert_eq!(bench.status("web").await["phase"], "Running", "the pod is still wanted");
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_lost_its_sandbox_gets_another_and_is_initialized_again() {
    let bench = Bench::new(|node| {
        node.script(|_, container| match &*container.name {
            "init" => Script::run().exits(SECOND, 0),
            _ => Script::run(),
        })
    })
    .await;
    let init = json!([{"name": "init", "image": "app:v1"}]);
    let uid = bench.create("web", json!({"initContainers": init})).await;
    bench.until_phase("web", "Running").await;

    bench.runtime.lose_pod(&uid);

    let status = bench
        .until("web", |status| {
            status["containerStatuses"][0]["ready"] == true
                && status["containerStatuses"][0]["restartCount"] == 1
        })
        .await;
    assert_eq!(status["phase"], "Running");
    assert_eq!(status["initContainerStatuses"][0]["restartCount"], 1);
}

#[tokio::test(start_paused = true)]
async fn init_containers_run_in_order_and_sidecars_beside_the_main_ones() {
    let bench = Bench::new(|node| {
        node.script(|_, container| match &*container.name {
            "main" => Script::run().exits(5 * SECOND, 0),
            "first" | "second" => Script::run().exits(2 * SECOND, 0),
            _ => Script::run(),
        })
    })
    .await;
    let image = "app:v1";
    let spec = json!({"restartPolicy": "Never", "initContainers": [
        {"name": "first", "image": image},
        {"name": "side", "image": image, "restartPolicy": "Always"},
        {"name": "second", "image": image},
    ]});
    bench.create("job", spec).await;

    tokio::time::sleep(3 * SECOND).await;
    let during = bench.status("job").await;
    tokio::time::sleep(3 * SECOND).await;
    let running = bench.status("job").await;
    let ended = bench.until_phase("job", "Succeeded").await;

    let state = |status: &serde_json::Value, index: usize| {
        let state = status["initContainerStatuses"][index]["state"].as_object().unwrap().clone();
        state.keys().next().cloned().unwrap_or_default()
    };
    assert_eq!(during["phase"], "Pending");
    assert_eq!(during["containerStatuses"][0]["state"]["waiting"]["reason"], "PodInitializing");
    assert_eq!(condition(&during, "Initialized")["message"], "containers with incomplete status: [second]");
    assert_eq!([0, 1, 2].map(|index| state(&during, index)), ["terminated", "running", "running"]);
    assert_eq!(running["phase"], "Running");
    assert_eq!([0, 1, 2].map(|index| state(&running, index)), ["terminated", "running", "terminated"]);
    assert_eq!(state(&ended, 1), "terminated", "the sidecar ends with the pod");
    assert_eq!(condition(&ended, "Initialized")["reason"], "PodCompleted");
}

#[tokio::test(start_paused = true)]
async fn images_are_pulled_by_policy_and_failures_are_told() {
    let bench = Bench::new(|node| {
        node.image(|name| match name {
            "here:v1" => ImageScript::Present,
            "slow:v1" => ImageScript::Pulled(5 * SECOND),
            _ => ImageScript::Missing("no such repository".to_owned()),
        })
    })
    .await;
    let container = |image: &str, policy: &str| json!({"containers": [{"name": "main", "image": image, "imagePullPolicy": policy}]});
    bench.create("slow", container("slow:v1", "IfNotPresent")).await;
    bench.create("never", container("slow:v2", "Never")).await;
    bench.create("missing", container("missing:v1", "IfNotPresent")).await;
    let waiting = |reason: &'static str| {
        move |status: &serde_json::Value| {
            status["containerStatuses"][0]["state"]["waiting"]["reason"] == reason
        }
    };

    bench.until("missing", waiting("ErrImagePull")).await;
    let backs_off = bench.until("missing", waiting("ImagePullBackOff")).await;
    bench.until("never", waiting("ErrImageNeverPull")).await;
    bench.until_phase("slow", "Running").await;

    let message = &backs_off["containerStatuses"][0]["state"]["waiting"]["message"];
    assert!(
        message.as_str().unwrap().starts_with("Back-off pulling image \"missing:v1\": ErrImagePull:"),
        "{message}"
    );
    let pulled = bench.events("Pulled").await;
    assert!(
        pulled.iter().any(|said| said.starts_with("Successfully pulled image \"slow:v1\" in 5.000s")),
        "{pulled:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_slow_pod_holds_up_nobody_and_can_be_deleted() {
    let bench = Bench::new(|node| {
        node.image(|name| match name {
            "slow:v1" => ImageScript::Pulled(Duration::from_secs(3600)),
            _ => ImageScript::Present,
        })
    })
    .await;
    bench.create("slow", json!({"containers": [{"name": "main", "image": "slow:v1"}]})).await;
    tokio::time::sleep(SECOND).await;

    bench.create("quick", json!({})).await;
    tokio::time::sleep(SECOND).await;
    assert_eq!(bench.status("quick").await["phase"], "Running");

    bench.delete("slow").await;
    assert!(bench.until_gone("slow").await.as_secs() < 2);
}

#[tokio::test(start_paused = true)]
async fn what_the_agent_cannot_do_is_an_event_and_the_pod_does_not_start() {
    let bench = Bench::new(|node| {
        node.script(|_, container| match &*container.name {
            "special" => Script::refused("special containers"),
            _ => Script::run(),
        })
    })
    .await;

    bench.create("odd", json!({"hostPID": true})).await;
    bench.create("special", json!({"containers": [{"name": "special", "image": "app:v1"}]})).await;
    tokio::time::sleep(60 * SECOND).await;

    for name in ["odd", "special"] {
        let status = bench.status(name).await;
        assert_eq!(status["phase"], "Pending", "{name}");
        let reason = &status["containerStatuses"][0]["state"]["waiting"]["reason"];
        assert_eq!(reason, "CreateContainerConfigError", "{name}");
    }
    let told = bench.events("Unsupported").await;
    assert!(told.contains(&"spec.hostPID is not supported by this agent".to_owned()), "{told:?}");
    bench.delete("odd").await;
    bench.until_gone("odd").await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_ran_for_as_long_as_it_may_has_failed() {
    let bench = Bench::new(|node| node).await;

    bench.create("job", json!({"activeDeadlineSeconds": 60})).await;
    bench.until_phase("job", "Running").await;
    tokio::time::sleep(62 * SECOND).await;

    let status = bench.status("job").await;
    assert_eq!((&status["phase"], &status["reason"]), (&json!("Failed"), &json!("DeadlineExceeded")));
    assert!(status["containerStatuses"][0]["state"]["terminated"].is_object());
}

#[tokio::test(start_paused = true)]
async fn logs_are_read_through_the_api() {
    let bench = Bench::new(|node| {
        node.script(|_, container| match container.attempt {
            0 => Script::run().says("one").says_after(SECOND, "two").exits(5 * SECOND, 1),
            _ => Script::run().says("again"),
        })
    })
    .await;
    bench.create("web", json!({})).await;
    bench.until_phase("web", "Running").await;
    tokio::time::sleep(2 * SECOND).await;
    let read = async |params: LogParams| bench.logs("web", &params).await;

    let all = read(LogParams::default()).await.unwrap();
    let tail = read(LogParams { tail_lines: Some(1), ..LogParams::default() }).await.unwrap();
    let limited = read(LogParams { limit_bytes: Some(5), ..LogParams::default() }).await.unwrap();
    let early = read(LogParams { previous: true, ..LogParams::default() }).await.unwrap_err();
    bench.until("web", |status| status["containerStatuses"][0]["restartCount"] == 1).await;
    let previous = read(LogParams { previous: true, ..LogParams::default() }).await.unwrap();

    assert_eq!((all.as_str(), tail.as_str(), limited.as_str()), ("one\ntwo\n", "two\n", "one\nt"));
    assert!(
        early.to_string().contains("previous terminated container \"main\" in pod \"web\" not found"),
        "{early}"
    );
    assert_eq!(previous, "one\ntwo\n");
    assert_eq!(read(LogParams::default()).await.unwrap(), "again\n");
}
