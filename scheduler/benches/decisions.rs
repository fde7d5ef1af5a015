//! How many decisions a second the default scheduler makes, in one thread, over a snapshot of 5,000 nodes.
//!
//! Run it with `cargo bench -p quarterdeck-scheduler`. Each pod that is bound is placed in the snapshot before the next one is
//! decided about, as the driver does; no API server is involved.

use std::time::Duration;

use quarterdeck_core::random::Random;
use quarterdeck_core::scheduling::{Decision, NodeInfo, PodInfo, Scheduler, Snapshot};
use quarterdeck_scheduler::DefaultScheduler;
use tokio::time::Instant;

const NODES: usize = 5_000;
const PODS: usize = 20_000;

fn main() {
    println!("{NODES} nodes, {PODS} pods each, decisions a second in one thread:");
    run("asking for CPU and memory", |pod, _| pod.with_cpu(250).with_memory(500 << 20));
    run("of controllers of 100 pods", |pod, number| {
        pod.with_cpu(250).with_memory(500 << 20).with_group(format!("controller-{}", number / 100))
    });
    run("of one controller", |pod, _| pod.with_cpu(250).with_group("controller"));
    run("that select a zone", |pod, number| {
        pod.with_cpu(250).with_node_label("zone", format!("zone-{}", number % 10))
    });
    run("that fit nowhere", |pod, _| pod.with_cpu(64_000));
}

fn run(what: &str, shape: impl Fn(PodInfo, usize) -> PodInfo) {
    let mut cluster = cluster();
    let mut scheduler = DefaultScheduler::new(Random::seeded(1));
    let pods: Vec<_> =
        (0..PODS).map(|number| shape(PodInfo::new("default", &format!("pod-{number:05}")), number)).collect();
    let (mut bound, mut longest) = (0, Duration::ZERO);

    let begun = Instant::now();
    for pod in pods {
        let asked = Instant::now();
        let decision = scheduler.schedule(&pod, &cluster);
        longest = longest.max(asked.elapsed());
        if let Decision::Bind(node) = decision
            && let Some(node) = cluster.node(node)
        {
            let node = node.name().clone();
            cluster.place(pod, node);
            bound += 1;
        }
    }
    let taken = begun.elapsed().as_secs_f64();

    #[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 53 bits")]
    let rate = PODS as f64 / taken;
    println!("{what:>28}: {rate:>8.0}/s, longest {longest:?}, {bound} bound");
}

fn cluster() -> Snapshot {
    (0..NODES)
        .map(|number| {
            NodeInfo::new(format!("node-{number:04}"))
                .with_cpu(32_000)
                .with_memory(64 << 30)
                .with_pods(110)
                .with_label("kubernetes.io/hostname", format!("node-{number:04}"))
                .with_label("kubernetes.io/os", "linux")
                .with_label("zone", format!("zone-{}", number % 10))
        })
        .fold(Snapshot::builder(), |cluster, node| cluster.node(node))
        .build()
}
