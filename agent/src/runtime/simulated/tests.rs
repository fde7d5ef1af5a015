//! The contract suite on the simulated runtime, proof that the suite catches broken ones, and the simulation's own behaviour.

mod broken;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use quarterdeck_core::clock::Clock;
use quarterdeck_core::runtime::{
    ContainerKey, ContainerSpec, EventKind, ExitReason, LogOptions, Logs, PodPort, PodSandbox, PodState,
    PodUid, Protocol, Runtime, RuntimeError,
};
use quarterdeck_core::testing::runtime::{Act, Fixture, ImageNames};

use super::{Ending, ImageScript, Script, SimulatedRuntime};

struct Simulation(SimulatedRuntime);

impl Simulation {
    fn new() -> Self {
        let clock = Clock::following_tokio("2026-01-01T00:00:00Z".parse().unwrap());
        let script = |_: &PodSandbox, container: &ContainerSpec| {
            let says = || Script::run().says("one").says("two").says("three");
            match container.command.iter().map(String::as_str).collect::<Vec<_>>()[..] {
                ["stubborn"] => Script::run().says("ready").ignores_stop(),
                ["say"] => says(),
                ["exit", code] => says().exits(Duration::from_millis(1), code.parse().unwrap()),
                ["later", code] => Script::run().exits(Duration::from_secs(1), code.parse().unwrap()),
                ["flood"] => {
                    let lines = (0..8).fold(Script::run(), |script, _| script.says("x".repeat(65_536)));
                    lines.exits(Duration::from_millis(1), 0)
                }
                ["refused"] => Script::refused("a GPU"),
                _ => Script::run().says("ready"),
            }
        };
        let image = |image: &str| match image {
            "absent" => ImageScript::Missing("no such image".to_owned()),
            "remote" => ImageScript::Pulled(Duration::from_secs(5)),
            _ => ImageScript::Present,
        };
        Self(SimulatedRuntime::builder().clock(clock).script(script).image(image).build())
    }
}

fn acting(act: Act) -> ContainerSpec {
    let command = match act {
        Act::Run => vec!["run".to_owned()],
        Act::Stubborn => vec!["stubborn".to_owned()],
        Act::Say => vec!["say".to_owned()],
        Act::Exit(code) => vec!["exit".to_owned(), code.to_string()],
        Act::ExitLater(code) => vec!["later".to_owned(), code.to_string()],
        Act::Flood => vec!["flood".to_owned()],
    };
    ContainerSpec { image: "any".to_owned(), command, ..ContainerSpec::default() }
}

fn refused() -> ContainerSpec {
    ContainerSpec { name: "main".into(), command: vec!["refused".to_owned()], ..ContainerSpec::default() }
}

fn image_names() -> ImageNames {
    ImageNames { available: Some("remote".to_owned()), absent: Some("absent".to_owned()), impossible: None }
}

#[async_trait]
impl Fixture for Simulation {
    fn runtime(&self) -> Arc<dyn Runtime> {
        Arc::new(self.0.clone())
    }

    async fn restart(&mut self, pause: Duration) {
        tokio::time::sleep(pause).await;
    }

    fn container(&self, act: Act) -> ContainerSpec {
        acting(act)
    }

    fn unsupported(&self) -> Option<ContainerSpec> {
        Some(refused())
    }

    fn images(&self) -> ImageNames {
        image_names()
    }
}

quarterdeck_core::runtime_suite!(
    #[tokio::test(start_paused = true)]
    contract,
    async || Some(Simulation::new())
);

fn pod(uid: &str) -> PodSandbox {
    PodSandbox { uid: uid.into(), namespace: "default".into(), name: uid.into(), ..PodSandbox::default() }
}

async fn start(node: &SimulatedRuntime, pod: &PodSandbox) -> ContainerKey {
    node.start_pod(pod).await.unwrap();
    let spec = ContainerSpec { name: "main".into(), ..ContainerSpec::default() };
    node.start_container(&pod.uid, &spec).await.unwrap();
    spec.key(&pod.uid)
}

async fn exit_of(node: &SimulatedRuntime, key: &ContainerKey) -> Option<quarterdeck_core::runtime::Exit> {
    let pods = node.pods().await.unwrap();
    let pod = pods.iter().find(|pod| pod.uid == key.pod)?;
    pod.container(&key.name, key.attempt)?.exit().cloned()
}

#[tokio::test(start_paused = true)]
async fn a_script_is_followed_to_the_nanosecond() {
    let clock = Clock::following_tokio("2026-01-01T00:00:00Z".parse().unwrap());
    let script = |_: &PodSandbox, _: &ContainerSpec| {
        Script::run().starts_after(Duration::from_secs(2)).ends(Duration::from_secs(30), Ending::OutOfMemory)
    };
    let node = SimulatedRuntime::builder().clock(clock).script(script).build();

    let key = start(&node, &pod("a")).await;
    tokio::time::sleep(Duration::from_secs(3600)).await;

    let exit = exit_of(&node, &key).await.unwrap();
    assert_eq!(exit.started_at.unwrap().to_string(), "2026-01-01T00:00:02Z");
    assert_eq!(exit.finished_at.to_string(), "2026-01-01T00:00:32Z");
    assert_eq!((exit.exit_code, exit.reason), (Some(137), ExitReason::OomKilled));
}

#[tokio::test(start_paused = true)]
async fn containers_can_be_ended_from_outside() {
    let node = SimulatedRuntime::default();
    let (a, b) = (start(&node, &pod("a")).await, start(&node, &pod("b")).await);

    assert!(node.crash(&a.pod, "main"));
    assert!(node.exit(&node.find("default", "b").unwrap(), "main", 4));
    assert!(!node.exit(&b.pod, "main", 5), "it has ended");

    assert_eq!(exit_of(&node, &a).await.unwrap().signal, Some(11));
    assert_eq!(exit_of(&node, &b).await.unwrap().exit_code, Some(4));
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_lost_its_sandbox_can_be_started_again() {
    let node = SimulatedRuntime::default();
    let sandbox = pod("a");
    let key = start(&node, &sandbox).await;
    let mut events = node.events().await.unwrap();

    assert!(node.lose_pod(&sandbox.uid));

    assert!(matches!(events.next().await.unwrap().unwrap().kind, EventKind::Exited { .. }));
    assert_eq!(events.next().await.unwrap().unwrap().kind, EventKind::PodChanged);
    assert_eq!(node.pods().await.unwrap()[0].state, PodState::Lost);
    let spec = ContainerSpec { name: "main".into(), attempt: 1, ..ContainerSpec::default() };
    assert!(matches!(node.start_container(&key.pod, &spec).await, Err(RuntimeError::PodNotRunning(_))));
    assert_eq!(node.start_pod(&sandbox).await.unwrap().state, PodState::Ready);
    assert!(node.start_container(&key.pod, &spec).await.unwrap().status.is_running());
}

#[tokio::test(start_paused = true)]
async fn a_host_port_is_given_once() {
    let node = SimulatedRuntime::default();
    let with_port = |uid: &str, host_ip: Option<&str>| PodSandbox {
        ports: vec![PodPort {
            container_port: 80,
            host_port: Some(8080),
            host_ip: host_ip.map(|ip| ip.parse().unwrap()),
            protocol: Protocol::Tcp,
        }],
        ..pod(uid)
    };
    node.start_pod(&with_port("a", Some("127.0.0.1"))).await.unwrap();

    let refusal = node.start_pod(&with_port("b", None)).await;

    assert!(matches!(refusal, Err(RuntimeError::Exhausted { .. })), "{refusal:?}");
    assert!(node.start_pod(&with_port("c", Some("127.0.0.2"))).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_not_available_fails_every_call_and_its_events() {
    let node = SimulatedRuntime::default();
    let mut events = node.events().await.unwrap();
    let key = start(&node, &pod("a")).await;

    node.set_available(false);
    let failed = node.pods().await;
    node.crash(&key.pod, "main");
    node.set_available(true);

    assert!(matches!(failed, Err(RuntimeError::Unavailable(_))));
    assert!(matches!(events.next().await, Some(Ok(_))), "what happened before is still told");
    assert!(matches!(events.next().await, Some(Err(RuntimeError::Missed))));
    assert!(exit_of(&node, &key).await.is_some(), "containers go on while the runtime does not answer");
}

#[tokio::test(start_paused = true)]
async fn a_log_is_followed_as_its_lines_fall_due() {
    let script = |_: &PodSandbox, _: &ContainerSpec| {
        Script::run()
            .says("now")
            .says_after(Duration::from_secs(60), "later")
            .exits(Duration::from_secs(90), 0)
    };
    let node = SimulatedRuntime::builder().script(script).build();
    let key = start(&node, &pod("a")).await;
    let begin = tokio::time::Instant::now();

    let mut log = node.open(&key, LogOptions { follow: true, ..LogOptions::default() }).await.unwrap();
    let mut read = Vec::new();
    read.push((log.next().await.unwrap().unwrap(), begin.elapsed().as_secs()));
    node.say(&key.pod, "main", "between");
    while let Some(chunk) = log.next().await {
        read.push((chunk.unwrap(), begin.elapsed().as_secs()));
    }

    let read: Vec<_> = read.iter().map(|(chunk, at)| (std::str::from_utf8(chunk).unwrap(), *at)).collect();
    assert_eq!(read, [("now\n", 0), ("between\n", 0), ("later\n", 60), ("", 90)]);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_nodes_with_ten_pods_each_live_in_one_thread() {
    let nodes: Vec<_> = (0..1000).map(|_| SimulatedRuntime::default()).collect();

    for node in &nodes {
        for number in 0..10 {
            start(node, &pod(&number.to_string())).await;
        }
    }
    tokio::time::sleep(Duration::from_secs(600)).await;

    for node in &nodes {
        assert_eq!(node.pods().await.unwrap().len(), 10);
    }
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 0, "a node has no tasks");
}
