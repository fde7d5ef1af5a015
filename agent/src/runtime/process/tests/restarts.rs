//! What happens to pods when the agent is killed and started again.

use std::process::{Command, Stdio};

use quarterdeck_core::runtime::{ExitReason, PodState};

use super::*;

/// Set for the process that [`an_agent_to_be_killed`] is to be.
const STATE: &str = "QUARTERDECK_TEST_STATE";

/// The agent that another test kills: starts a pod with two containers and waits. Does nothing unless told to.
#[tokio::test]
async fn an_agent_to_be_killed() {
    let Ok(state) = std::env::var(STATE) else { return };
    let isolation = if super::super::network::PodNetwork::missing().is_none() {
        Isolation::Namespaces
    } else {
        Isolation::None
    };
    let number: u8 = std::env::var("QUARTERDECK_TEST_NUMBER").unwrap().parse().unwrap();
    let bridge = std::env::var("QUARTERDECK_TEST_BRIDGE").unwrap();
    let runtime = ProcessRuntime::builder(&state)
        .isolation(isolation)
        .bridge(bridge)
        .pod_cidr(format!("10.127.{number}.0/24").parse().unwrap())
        .build();
    runtime.start_pod(&sandbox("survivor")).await.unwrap();
    for (name, script) in [("stays", "exec sleep 1000"), ("goes", "sleep 1000; exit 3")] {
        let spec = ContainerSpec { name: name.into(), ..shell(script) };
        runtime.start_container(&"survivor".into(), &spec).await.unwrap();
    }
    std::fs::write(Path::new(&state).join("ready"), "").unwrap();
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn an_agent_that_was_killed_finds_its_containers_running_and_does_not_invent_exit_codes() {
    with(Host::new(Isolation::Auto), async |host| {
        let bridge = format!("qdk{}", std::process::id());
        let mut agent = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "runtime::process::tests::restarts::an_agent_to_be_killed"])
            .env(STATE, host.directory.path())
            .env("QUARTERDECK_TEST_NUMBER", host.number.to_string())
            .env("QUARTERDECK_TEST_BRIDGE", &bridge)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        for _ in 0..1000 {
            if host.directory.path().join("ready").exists() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }

        agent.kill().unwrap();
        agent.wait().unwrap();
        host.runtime = Some(Arc::new(
            ProcessRuntime::builder(host.directory.path())
                .bridge(bridge)
                .pod_cidr(format!("10.127.{}.0/24", host.number).parse().unwrap())
                .build(),
        ));

        let pods = host.process().pods().await.unwrap();
        assert_eq!((pods.len(), pods[0].state), (1, PodState::Ready));
        assert!(
            pods[0].containers.iter().all(|container| container.is_running()),
            "{:?}",
            pods[0].containers
        );
        let goes = ContainerKey::new("survivor", "goes", 0);
        host.process().stop_container(&goes, Duration::from_secs(10)).await.unwrap();
        let exit = host.exit(&goes).await;
        assert_eq!((exit.exit_code, exit.signal, exit.reason), (None, None, ExitReason::Unknown));
        assert!(!exit.message.is_empty());
        let stays = ContainerKey::new("survivor", "stays", 0);
        let running = host
            .process()
            .node()
            .await
            .unwrap()
            .state()
            .container(&stays)
            .is_some_and(|c| c.process.is_some());
        assert!(running, "the other container was left alone");
    })
    .await;
}

#[tokio::test]
async fn what_an_agent_left_half_is_cleared_away() {
    let Some(host) = Host::isolated() else { return };
    with(host, async |host| {
        let node = host.process().node().await.unwrap();
        let (network, cgroups) = (node.network.clone().unwrap(), node.cgroups.clone());
        drop(node);
        network.add("orphan", "10.127.255.9".parse().unwrap()).unwrap();
        cgroups.make("orphan_main_0", &Default::default()).unwrap();
        std::fs::create_dir_all(host.directory.path().join("pods/half/containers/main/0")).unwrap();

        host.restart(Duration::from_millis(10)).await;
        let pods = host.process().pods().await.unwrap();

        assert!(pods.is_empty(), "{pods:?}");
        assert!(network.pods().is_empty() && cgroups.names().is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_pod_whose_network_is_gone_is_lost_and_can_be_started_again() {
    let Some(host) = Host::isolated() else { return };
    with(host, async |host| {
        let pod = sandbox("cut");
        host.pod(pod.clone()).await;
        host.process().start_container(&pod.uid, &shell("exec sleep 1000")).await.unwrap();
        host.process().node().await.unwrap().network.as_ref().unwrap().remove("cut").unwrap();

        host.restart(Duration::from_millis(10)).await;

        let exit = host.exit(&ContainerKey::new("cut", "main", 0)).await;
        assert_eq!(exit.signal, Some(9));
        let status = host.process().pods().await.unwrap().remove(0);
        assert_eq!((status.state, status.ips), (PodState::Lost, Vec::new()));
        let again = host.pod(pod.clone()).await;
        assert_eq!((again.state, again.ips.len(), again.containers.len()), (PodState::Ready, 1, 1));
        let next = ContainerSpec { attempt: 1, ..shell("exit 5") };
        assert_eq!(host.run_in(&pod, next).await.0.exit_code, Some(5));
    })
    .await;
}

#[tokio::test]
async fn two_agents_do_not_share_a_directory() {
    with(Host::new(Isolation::None), async |host| {
        host.process().pods().await.unwrap();
        let other = runtime(host.directory.path(), Isolation::None, host.number);

        let refusal = other.pods().await;

        let message = format!("{:?}", refusal.unwrap_err());
        assert!(message.contains("another agent"), "{message}");
    })
    .await;
}
