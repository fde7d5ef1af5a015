//! CPU and memory limits. Skipped where this process may not make control groups.

use quarterdeck_core::runtime::{ExitReason, Resources};

use super::*;

async fn limited() -> Option<Host> {
    let host = Host::new(Isolation::None);
    let node = host.process().node().await.unwrap();
    if node.cgroups.cpu() && node.cgroups.memory() {
        return Some(host);
    }
    drop(node);
    eprintln!("skipped: no control groups can be made here");
    host.leave().await;
    None
}

#[tokio::test]
async fn a_container_that_needs_too_much_memory_is_killed_and_says_so() {
    let Some(host) = limited().await else { return };
    with(host, async |host| {
        let resources = Resources { memory_limit: Some(32 << 20), ..Resources::default() };
        let script = "exec python3 -c 'x = bytearray(200 << 20); print(len(x))'";
        let env = std::env::vars().filter(|(name, _)| name == "PATH").collect();

        let (exit, log) = host.run("greedy", ContainerSpec { resources, env, ..shell(script) }).await;

        assert_eq!(
            (exit.exit_code, exit.signal, exit.reason),
            (Some(137), Some(9), ExitReason::OomKilled),
            "{log}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_container_gets_no_more_cpu_than_its_limit() {
    let Some(host) = limited().await else { return };
    with(host, async |host| {
    let resources = Resources { cpu_limit: Some(100), ..Resources::default() };
    // A tenth of a CPU for a second is about a tenth of a second.
    let script = "end=$(($(date +%s%N) + 1000000000)); while [ $(date +%s%N) -lt $end ]; do :; done; times | head -2 | tail -1";

    let (_, log) = host.run("busy", ContainerSpec { resources, ..shell(script) }).await;

    let seconds: f64 = log
        .split_whitespace()
        .map(|time| {
            let (minutes, seconds) = time.trim_end_matches('s').split_once('m').unwrap();
            minutes.parse::<f64>().unwrap() * 60.0 + seconds.parse::<f64>().unwrap()
        })
        .sum();
    assert!(seconds < 0.5, "{log}");
    }).await;
}
