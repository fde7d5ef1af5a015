mod fake;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use quarterdeck_core::component::StopSignal;
use quarterdeck_core::random::Random;
use quarterdeck_core::scheduling::{Decision, PodInfo, Scheduler, Snapshot};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::*;
use crate::filters;
use fake::{FakeApi, Trouble};

/// A driver that runs until this is dropped or stopped.
struct Running {
    signal: StopSignal,
    task: JoinSet<Result<(), BoxError>>,
}

impl Running {
    async fn stop(mut self) {
        self.signal.stop();
        self.task.join_next().await.unwrap().unwrap().unwrap();
    }
}

fn run(driver: SchedulerDriver) -> Running {
    let (signal, stop) = Stop::channel();
    let mut task = JoinSet::new();
    task.spawn(Box::new(driver).run(stop));
    Running { signal, task }
}

fn start(api: &FakeApi) -> Running {
    run(SchedulerDriver::new(&api.context()))
}

/// Lets everything happen that happens at once.
async fn settle() {
    sleep(Duration::from_millis(20)).await;
}

type Calls = Arc<Mutex<Vec<(Instant, String)>>>;

/// A scheduler that writes down when it is asked about which pod, and then does as the default does.
#[derive(Debug)]
struct Asked {
    calls: Calls,
    scheduler: DefaultScheduler,
}

impl Asked {
    fn new() -> (Self, Calls) {
        let calls = Calls::default();
        (Self { calls: Arc::clone(&calls), scheduler: DefaultScheduler::new(Random::seeded(1)) }, calls)
    }
}

impl Scheduler for Asked {
    fn schedule(&mut self, pod: &PodInfo, cluster: &Snapshot) -> Decision {
        self.calls.lock().unwrap().push((Instant::now(), pod.name().into()));
        self.scheduler.schedule(pod, cluster)
    }

    fn might_fit(&self, pod: &PodInfo, node: &quarterdeck_core::scheduling::Node) -> bool {
        self.scheduler.might_fit(pod, node)
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_comes_is_bound_at_once_and_an_event_says_where() {
    let api = FakeApi::default();
    api.node("node01", "4");
    let driver = start(&api);
    settle().await;

    api.pod("web", "100m");
    settle().await;

    assert_eq!(api.node_of("web"), "node01");
    assert_eq!(api.events(), ["web Scheduled x1: Successfully assigned default/web to node01"]);
    driver.stop().await;
}

#[tokio::test(start_paused = true)]
async fn pods_that_look_alike_are_spread() {
    let api = FakeApi::default();
    api.node("node01", "4");
    api.node("node02", "4");
    let driver = start(&api);

    api.pod("a", "0");
    api.pod("b", "0");
    settle().await;

    let mut nodes = [api.node_of("a"), api.node_of("b")];
    nodes.sort();
    assert_eq!(nodes, ["node01", "node02"]);
    driver.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_fits_nowhere_says_why_and_is_bound_as_soon_as_a_pod_makes_room() {
    let api = FakeApi::default();
    api.node("a", "1");
    api.node("b", "1");
    let driver = start(&api);
    api.pod_with("first", "900m", json!({ "nodeName": "a" }));
    api.pod_with("second", "900m", json!({ "nodeName": "b" }));
    api.pod("third", "500m");
    sleep(Duration::from_secs(10)).await;

    let message = "0/2 nodes are available: 2 Insufficient cpu.";
    assert_eq!(api.node_of("third"), "");
    assert_eq!(api.events(), [format!("third FailedScheduling x4: {message}")]);
    let condition = &api.get("pods", "third")["status"]["conditions"][0];
    assert_eq!(
        *condition,
        json!({ "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message,
                "lastTransitionTime": "2026-01-01T00:00:00Z" })
    );
    assert_eq!(api.statuses(), 1, "the status is patched when it changes, not at each attempt");

    api.remove_pod("first");
    settle().await;

    assert_eq!(api.node_of("third"), "a");
    driver.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_fits_nowhere_is_bound_as_soon_as_a_node_comes_or_opens() {
    let api = FakeApi::default();
    let driver = start(&api);
    api.pod("web", "500m");
    sleep(Duration::from_secs(100)).await;
    assert!(api.events()[0].ends_with("no nodes available to schedule pods"), "{:?}", api.events());

    api.put("nodes", "", "cordoned", json!({ "metadata": {}, "spec": { "unschedulable": true } }));
    settle().await;
    assert_eq!(api.node_of("web"), "");
    api.put("nodes", "", "cordoned", json!({ "metadata": {}, "spec": {} }));
    settle().await;

    assert_eq!(api.node_of("web"), "cordoned");
    driver.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_done_makes_room() {
    let api = FakeApi::default();
    api.node("a", "1");
    let driver = start(&api);
    api.pod_with("job", "1", json!({ "nodeName": "a" }));
    api.pod("web", "1");
    settle().await;

    api.change_pod("job", json!({ "status": { "phase": "Succeeded" } }));
    settle().await;

    assert_eq!(api.node_of("web"), "a");
    driver.stop().await;
}

#[tokio::test(start_paused = true)]
async fn attempts_are_a_second_apart_at_first_and_then_twice_as_long_each_time_up_to_a_minute() {
    let api = FakeApi::default();
    api.node("a", "1");
    let (scheduler, calls) = Asked::new();
    let driver = run(SchedulerDriver::new(&api.context()).scheduler("default-scheduler", scheduler));

    api.pod("huge", "2");
    sleep(Duration::from_secs(200)).await;

    let calls = calls.lock().unwrap().clone();
    let gaps: Vec<_> = calls.windows(2).map(|pair| (pair[1].0 - pair[0].0).as_secs()).collect();
    assert_eq!(gaps, [1, 2, 4, 8, 16, 32, 60, 60]);
    driver.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_change_that_cannot_help_costs_no_attempt() {
    let api = FakeApi::default();
    api.node("a", "1");
    let (scheduler, calls) = Asked::new();
    let driver = run(SchedulerDriver::new(&api.context()).scheduler("default-scheduler", scheduler));
    api.pod("huge", "2");
    settle().await;

    api.node("b", "1500m");
    api.pod_with("other", "10m", json!({ "nodeName": "b" }));
    settle().await;
    api.remove_pod("other");
    settle().await;

    assert_eq!(calls.lock().unwrap().len(), 1);
    driver.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_most_important_pod_goes_first_and_then_the_one_that_came_first() {
    let api = FakeApi::default();
    for (name, priority) in [("z-first", 0), ("a-second", 0), ("low", -1), ("high", 10)] {
        api.pod_with(name, "100m", json!({ "priority": priority }));
        api.change_pod(name, json!({ "metadata": { "creationTimestamp": null } }));
    }
    let (scheduler, calls) = Asked::new();
    let driver = run(SchedulerDriver::new(&api.context()).scheduler("default-scheduler", scheduler));
    settle().await;
    calls.lock().unwrap().clear();

    api.node("a", "1");
    settle().await;

    let order: Vec<_> = calls.lock().unwrap().iter().map(|(_, name)| name.clone()).collect();
    assert_eq!(order, ["high", "a-second", "z-first", "low"], "a list comes in name order");
    driver.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_schedulers_name_chooses_and_pods_of_others_are_left_alone() {
    #[derive(Debug)]
    struct Last;
    impl Scheduler for Last {
        fn schedule(&mut self, pod: &PodInfo, cluster: &Snapshot) -> Decision {
            match filters::feasible(pod, cluster).last() {
                Some(node) => Decision::Bind(node.id()),
                None => Decision::Unschedulable(filters::refusals(pod, cluster)),
            }
        }
    }
    let api = FakeApi::default();
    api.node("a", "8");
    api.node("b", "1");
    let driver = SchedulerDriver::new(&api.context())
        .scheduler("default-scheduler", DefaultScheduler::new(Random::seeded(1)))
        .scheduler("last", Last);
    let driver = run(driver);

    api.pod_with("one", "500m", json!({ "schedulerName": "default-scheduler" }));
    api.pod_with("two", "500m", json!({ "schedulerName": "last" }));
    api.pod_with("three", "100m", json!({ "schedulerName": "unknown" }));
    sleep(Duration::from_secs(5)).await;

    assert_eq!([api.node_of("one"), api.node_of("two"), api.node_of("three")], ["a", "b", ""]);
    assert_eq!(api.events().len(), 2);
    driver.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_gated_pod_waits_for_its_gate_and_a_leaving_one_gets_no_node() {
    let api = FakeApi::default();
    api.node("a", "8");
    let driver = start(&api);
    api.pod_with("gated", "1", json!({ "schedulingGates": [{ "name": "later" }] }));
    api.put(
        "pods",
        "default",
        "leaving",
        json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:00:00Z" }, "spec": {} }),
    );
    settle().await;
    assert_eq!([api.node_of("gated"), api.node_of("leaving")], ["", ""]);

    api.change_pod("gated", json!({ "spec": { "schedulingGates": null } }));
    settle().await;

    assert_eq!(api.node_of("gated"), "a");
    driver.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_bind_that_is_refused_gives_its_room_back_and_is_tried_again() {
    let api = FakeApi::default();
    api.node("a", "1");
    api.trouble(Trouble::Refused(403));
    let driver = start(&api);

    api.pod("web", "1");
    settle().await;
    assert_eq!(api.node_of("web"), "");
    assert_eq!(api.events(), ["web FailedScheduling x1: binding rejected: Refused"]);
    sleep(Duration::from_secs(1)).await;

    assert_eq!(api.node_of("web"), "a");
    driver.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_bind_whose_answer_is_lost_holds_its_room_until_it_is_known() {
    let api = FakeApi::default();
    api.node("a", "1");
    api.trouble(Trouble::AnswerLost);
    let driver = start(&api);

    api.pod("web", "1");
    api.pod("next", "1");
    sleep(Duration::from_secs(3)).await;

    assert_eq!([api.node_of("next"), api.node_of("web")], ["a", ""]);
    assert!(api.events().contains(&"next Scheduled x1: Successfully assigned default/next to a".into()));
    driver.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_bind_that_never_arrived_is_sent_again() {
    let api = FakeApi::default();
    api.node("a", "1");
    api.trouble(Trouble::RequestLost);
    api.trouble(Trouble::Refused(503));
    let driver = start(&api);

    api.pod("web", "1");
    sleep(Duration::from_secs(3)).await;

    assert_eq!(api.node_of("web"), "a");
    assert_eq!(api.events(), ["web Scheduled x1: Successfully assigned default/web to a"]);
    driver.stop().await;
}

#[tokio::test(start_paused = true)]
async fn slow_binds_never_overfill_a_node() {
    let api = FakeApi::default();
    for node in ["a", "b", "c"] {
        api.node(node, "1");
    }
    api.binds_take(Duration::from_millis(300));
    for trouble in [Trouble::Refused(409), Trouble::AnswerLost, Trouble::RequestLost, Trouble::Refused(500)] {
        api.trouble(trouble);
    }
    let driver = start(&api);
    for number in 0..20 {
        api.pod(&format!("pod-{number:02}"), "300m");
        sleep(Duration::from_millis(40)).await;
    }
    sleep(Duration::from_secs(30)).await;

    for node in ["a", "b", "c"] {
        let there = (0..20).filter(|number| api.node_of(&format!("pod-{number:02}")) == node).count();
        assert_eq!(there, 3, "{node} is full, and not overfull");
    }
    driver.stop().await;
}

#[tokio::test(start_paused = true)]
async fn room_is_made_by_removing_lesser_pods_if_the_scheduler_says_so() {
    #[derive(Debug)]
    struct Ruthless;
    impl Scheduler for Ruthless {
        fn schedule(&mut self, pod: &PodInfo, cluster: &Snapshot) -> Decision {
            if let Some(node) = filters::feasible(pod, cluster).first() {
                return Decision::Bind(node.id());
            }
            let victim = cluster.nodes().find_map(|node| {
                let lesser = node.pods().iter().find(|there| there.priority < pod.priority)?;
                Some(Decision::Preempt { node: node.id(), victims: vec![lesser.key.clone()] })
            });
            victim.unwrap_or_else(|| Decision::Unschedulable(filters::refusals(pod, cluster)))
        }
    }
    let api = FakeApi::default();
    api.node("a", "1");
    api.pod_with("lesser", "1", json!({ "nodeName": "a", "priority": 1 }));
    let context = api.context();
    let driver = run(SchedulerDriver::new(&context).scheduler("default-scheduler", Ruthless));
    settle().await;

    api.pod_with("greater", "1", json!({ "priority": 2 }));
    settle().await;

    assert_eq!(api.node_of("greater"), "a");
    assert_eq!(api.get("pods", "lesser"), json!(null));
    assert_eq!(api.get("pods", "greater")["status"]["nominatedNodeName"], "a");
    let uid = api.get("pods", "greater")["metadata"]["uid"].as_str().unwrap().to_owned();
    assert_eq!(
        api.events(),
        [
            "greater FailedScheduling x1: waiting for 1 pod(s) of lower priority to leave a".to_owned(),
            "greater Scheduled x1: Successfully assigned default/greater to a".to_owned(),
            format!("lesser Preempted x1: Preempted by pod {uid} on node a"),
        ]
    );
    let counted = context.metrics.answer(None).text;
    for line in [
        "scheduler_preemption_attempts_total 1",
        "scheduler_preemption_victims_sum 1.0",
        "scheduler_schedule_attempts_total{result=\"scheduled\",profile=\"default-scheduler\"} 1",
        "scheduler_schedule_attempts_total{result=\"unschedulable\",profile=\"default-scheduler\"} 1",
        "scheduler_scheduling_algorithm_duration_seconds_count 2",
        "scheduler_pod_scheduling_attempts_sum 2.0",
        "scheduler_pod_scheduling_sli_duration_seconds_count{attempts=\"2\"} 1",
        "scheduler_pending_pods{queue=\"active\"} 0",
    ] {
        assert!(counted.lines().any(|it| it == line), "{line} is not in\n{counted}");
    }
    driver.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_waits_for_others_is_decided_again_when_they_come() {
    #[derive(Debug)]
    struct Pairs;
    impl Scheduler for Pairs {
        fn schedule(&mut self, pod: &PodInfo, cluster: &Snapshot) -> Decision {
            match cluster.nodes().find(|node| !node.pods().is_empty()) {
                Some(node) if pod.name() != "alone" => Decision::Bind(node.id()),
                _ => Decision::Wait,
            }
        }
    }
    let api = FakeApi::default();
    api.node("a", "1");
    let driver = run(SchedulerDriver::new(&api.context()).scheduler("default-scheduler", Pairs));
    api.pod("web", "0");
    sleep(Duration::from_secs(20)).await;
    assert_eq!(api.node_of("web"), "");
    assert!(api.events().is_empty(), "waiting is nothing to report");

    api.pod_with("partner", "0", json!({ "nodeName": "a" }));
    settle().await;

    assert_eq!(api.node_of("web"), "a");
    driver.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_of_the_same_name_is_another_pod() {
    let api = FakeApi::default();
    api.node("a", "1");
    api.binds_take(Duration::from_secs(1));
    let driver = start(&api);
    api.pod("web", "1");
    settle().await;

    api.remove_pod("web");
    api.pod_with("web", "2", json!({}));
    sleep(Duration::from_secs(3)).await;
    assert_eq!(api.node_of("web"), "");
    api.node("b", "2");
    sleep(Duration::from_secs(2)).await;

    assert_eq!(api.node_of("web"), "b");
    driver.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_stops_finishes_what_it_began() {
    let api = FakeApi::default();
    api.node("a", "1");
    api.binds_take(Duration::from_secs(1));
    let driver = start(&api);
    api.pod("web", "1");
    settle().await;

    driver.stop().await;

    assert_eq!(api.node_of("web"), "a");
    assert_eq!(api.events(), ["web Scheduled x1: Successfully assigned default/web to a"]);
}

#[tokio::test(start_paused = true)]
async fn two_runs_from_one_seed_commit_the_same() {
    async fn history() -> Vec<String> {
        let api = FakeApi::default();
        for node in ["a", "b", "c", "d"] {
            api.node(node, "2");
        }
        let driver = start(&api);
        for number in 0..12 {
            api.pod(&format!("pod-{number}"), "700m");
            sleep(Duration::from_millis(if number % 3 == 0 { 700 } else { 0 })).await;
        }
        api.remove_pod("pod-3");
        sleep(Duration::from_secs(90)).await;
        driver.stop().await;
        api.history()
    }

    let (one, other) = (history().await, history().await);

    assert_eq!(one, other);
    assert!(one.len() > 40, "{}", one.len());
}

#[tokio::test(start_paused = true)]
async fn a_full_pipe_holds_decisions_back_but_loses_none() {
    let api = FakeApi::default();
    api.node("a", "100");
    api.binds_take(Duration::from_millis(100));
    let driver = run(SchedulerDriver::new(&api.context()).concurrent_actions(2));
    for number in 0..10 {
        api.pod(&format!("pod-{number}"), "1");
    }
    let begun = Instant::now();

    sleep(Duration::from_secs(1)).await;

    let times: Vec<_> = api.bound().iter().map(|(at, _)| (*at - begun).as_millis() / 100).collect();
    assert_eq!(times, [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]);
    driver.stop().await;
}
