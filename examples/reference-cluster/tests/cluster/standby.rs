//! Two schedulers and two sets of controllers: one of each works, and the other takes over when it is killed.

use std::time::Duration;

use crate::kubectl::Kubectl;
use crate::place::Place;
use crate::refusals::{free_address, refuses};
use crate::running::Running;
use crate::{data, eventually, turn};

/// How long a standby may take.
const TAKE_OVER: Duration = Duration::from_secs(15);

/// A process that may lead.
struct Candidate {
    running: Running,
    metrics: String,
    lease: &'static str,
}

impl Candidate {
    async fn start(place: &Place, part: &str, kubeconfig: &str, lease: &'static str) -> Self {
        let metrics = free_address();
        let arguments = [part, "--kubeconfig", kubeconfig, "--metrics-bind-address", &metrics];
        Self { running: Running::start(place, &arguments).await, metrics, lease }
    }

    async fn leads(&self, place: &Place) -> bool {
        let page = place.sh(&format!("curl -sS http://{}/metrics", self.metrics)).await.stdout;
        page.contains(&format!("leader_election_master_status{{name=\"{}\"}} 1\n", self.lease))
    }
}

/// Returns which of two leads, once one does; never may both.
async fn leader(place: &Place, pair: &[Candidate; 2]) -> usize {
    eventually(pair[0].lease, TAKE_OVER, async || {
        match (pair[0].leads(place).await, pair[1].leads(place).await) {
            (true, false) => Ok(0),
            (false, true) => Ok(1),
            (false, false) => Err("nobody leads".to_owned()),
            (true, true) => panic!("both lead"),
        }
    })
    .await
}

#[tokio::test]
async fn a_standby_takes_over_from_a_leader_that_was_killed() {
    let _turn = turn();
    let (place, data) = (Place::here(), data());
    let directory = data.path().to_str().expect("it is text");
    let listen = free_address();
    let server = [
        "apiserver",
        "--storage",
        "memory",
        "--data",
        directory,
        "--listen",
        &listen,
        "--advertise-address",
        "192.0.2.1",
    ];
    let server = Running::ready(&place, &server).await;
    let kubectl = Kubectl::new(&place, &data.path().join("kubeconfig"));
    let kubeconfig = |name: &str| format!("{directory}/kubeconfigs/{name}");
    let state = format!("{directory}/agent");
    let agent = ["agent", "--kubeconfig", &kubeconfig("agent"), "--runtime", "simulated", "--data", &state];
    let agent = Running::start(&place, &agent).await;
    let mut pairs = Vec::new();
    for (part, lease) in [("scheduler", "kube-scheduler"), ("controllers", "kube-controller-manager")] {
        let file = kubeconfig(part);
        let candidate = async || Candidate::start(&place, part, &file, lease).await;
        pairs.push([candidate().await, candidate().await]);
    }
    let mut standbys = Vec::new();
    for pair in pairs {
        let leads = leader(&place, &pair).await;
        let held = kubectl.json(&format!("lease {} -n kube-system", pair[0].lease)).await;
        let [first, second] = pair;
        let (leader, standby) = if leads == 0 { (first, second) } else { (second, first) };
        let well = place.ask(&format!("curl -sS http://{}/readyz", standby.metrics)).await;
        assert_eq!(well, "ok", "who stands by is well");
        standbys.push((leader, standby, held["spec"]["holderIdentity"].clone()));
    }
    kubectl.run("create deployment web --image=host --replicas=1").await;
    kubectl.pods("app=web", 1).await;

    let mut successors = Vec::new();
    for (leader, standby, held) in standbys {
        leader.running.kill(&place).await;
        eventually(standby.lease, TAKE_OVER, async || {
            standby.leads(&place).await.then_some(()).ok_or_else(|| "it stands by".to_owned())
        })
        .await;
        let now = kubectl.json(&format!("lease {} -n kube-system", standby.lease)).await;
        assert_ne!(now["spec"]["holderIdentity"], held);
        kubectl.run("scale deployment web --replicas=3").await;
        kubectl.pods("app=web", 3).await;
        kubectl.run("scale deployment web --replicas=1").await;
        kubectl.pods("app=web", 1).await;
        standby.running.stop(&place).await;
        let left = kubectl.json(&format!("lease {} -n kube-system", standby.lease)).await;
        assert_eq!(left["spec"]["holderIdentity"], "", "who ends well lets the next begin at once");
        if standby.lease == "kube-scheduler" {
            let again = Candidate::start(&place, "scheduler", &kubeconfig("scheduler"), standby.lease).await;
            eventually("a new scheduler", Duration::from_secs(5), async || {
                again.leads(&place).await.then_some(()).ok_or_else(|| "it stands by".to_owned())
            })
            .await;
            successors.push(again);
        }
    }
    for successor in successors {
        successor.running.stop(&place).await;
    }
    agent.stop(&place).await;
    server.stop(&place).await;
}

#[tokio::test]
async fn times_of_an_election_that_do_not_fit_are_refused() {
    let _turn = turn();
    let (place, data) = (Place::here(), data());
    let directory = data.path().to_str().expect("it is text");
    let listen = free_address();
    let server = ["apiserver", "--storage", "memory", "--data", directory, "--listen", &listen];
    let server = Running::ready(&place, &server).await;
    let kubeconfig = format!("{directory}/kubeconfigs/scheduler");
    let arguments = ["scheduler", "--kubeconfig", &kubeconfig, "--leader-elect-renew-deadline", "1m"];

    refuses(&place, &[], &arguments, &["--leader-elect-lease-duration (10s)", "longer", "(60s)"]).await;

    server.stop(&place).await;
}
