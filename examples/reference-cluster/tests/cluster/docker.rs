//! The walk with Docker containers, where an engine answers.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::kubectl::Kubectl;
use crate::place::{NOBODY, Place};
use crate::running::{BINARY, Running};
use crate::{data, eventually, left_out, refusals, steps, turn};

/// The containers of one node. What a test leaves of them when it fails is taken away.
struct Containers {
    /// What they all have on them.
    filter: String,
}

impl Containers {
    /// Of the node `node-1` that keeps its data below `data`; `None`, said aloud, if no engine answers.
    fn of(data: &Path, what: &str) -> Option<Self> {
        let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.ci/images");
        let answers = Command::new("docker").arg("info").output().is_ok_and(|output| output.status.success());
        let images = answers && Command::new(images).status().is_ok_and(|status| status.success());
        if !images {
            left_out(what, "no Docker engine answers");
            return None;
        }
        Some(Self { filter: format!("label=io.quarterdeck.node=node-1 of {}", data.display()) })
    }

    /// The identifiers of the containers, of pods and of their sandboxes.
    fn all(&self) -> BTreeSet<String> {
        let list = ["ps", "--all", "--quiet", "--no-trunc", "--filter", &self.filter];
        let list = Command::new("docker").args(list).output().expect("docker can be started");
        String::from_utf8_lossy(&list.stdout).lines().map(str::to_owned).collect()
    }
}

impl Drop for Containers {
    fn drop(&mut self) {
        let left = self.all();
        if !left.is_empty() {
            let _ = Command::new("docker").args(["rm", "--force", "--volumes"]).args(left).output();
        }
    }
}

/// The identifier that Docker knows a container by.
fn id(container: &str) -> &str {
    container.strip_prefix("docker://").unwrap_or_else(|| panic!("{container:?} is no container of Docker's"))
}

#[tokio::test]
async fn a_newcomer_walks_through_a_cluster_of_containers() {
    let _turn = turn();
    let (place, data) = (Place::here(), data());
    let Some(containers) = Containers::of(&data.path().join("nodes"), "the walk with Docker") else { return };
    let (directory, listen) = (data.path().to_str().expect("it is text"), refusals::free_address());
    // The proxy would write rules for this machine.
    let arguments =
        ["up", "--runtime", "docker", "--data", directory, "--listen", &listen, "--disable", "proxy"];
    let up = Running::ready(&place, &arguments).await;

    let root = Kubectl::new(&place, &data.path().join("kubeconfig"));
    steps::walk(&root, "docker", "quarterdeck/demo", false).await;

    let pods = steps::create(&root, &steps::manifest("docker")).await;
    let shown = place.ask("docker ps --no-trunc --quiet").await;
    assert!(pods.iter().all(|pod| shown.contains(id(&pod.container))), "{shown} shows {pods:#?}");
    // Three pods, each with a sandbox.
    assert_eq!(containers.all().len(), 6);
    let victim = &pods[0];
    place.ask(&format!("docker kill {}", id(&victim.container))).await;
    eventually("a killed container is started anew", Duration::from_secs(40), async || {
        let now = root.pods("app=web", 3).await;
        let now = now.into_iter().find(|pod| pod.name == victim.name).ok_or("the pod is gone")?;
        if now.restarts == 1 && now.container != victim.container { Ok(()) } else { Err(format!("{now:?}")) }
    })
    .await;
    up.stop(&place).await;
    assert_eq!(containers.all(), BTreeSet::new(), "Ctrl-C leaves no container");
}

#[tokio::test]
async fn a_killed_agent_finds_its_containers_again_and_restarts_none() {
    let _turn = turn();
    let (place, data) = (Place::here(), data());
    let (what, state) = ("an agent of Docker containers, killed", data.path().join("agent"));
    let Some(ours) = Containers::of(&state, what) else { return };
    let (directory, listen) = (data.path().to_str().expect("it is text"), refusals::free_address());
    let _apiserver = Running::ready(&place, &["apiserver", "--data", directory, "--listen", &listen]).await;
    let kubeconfigs = data.path().join("kubeconfigs");
    let kubeconfig = |part: &str| kubeconfigs.join(part).to_str().expect("it is text").to_owned();
    let _scheduler = Running::start(&place, &["scheduler", "--kubeconfig", &kubeconfig("scheduler")]).await;
    let _controllers =
        Running::start(&place, &["controllers", "--kubeconfig", &kubeconfig("controllers")]).await;
    let (state, identity) = (state.to_str().expect("it is text"), kubeconfig("agent"));
    let agent = ["agent", "--runtime", "docker", "--kubeconfig", &identity, "--data", state];
    let killed = Running::start(&place, &agent).await;

    let kubectl = Kubectl::new(&place, &data.path().join("kubeconfig"));
    let pods = steps::create(&kubectl, &steps::manifest("docker")).await;
    let containers = ours.all();
    assert_eq!(containers.len(), 6);
    killed.kill(&place).await;
    assert_eq!(ours.all(), containers, "containers go on without their agent");
    let again = Running::start(&place, &agent).await;
    steps::scale(&kubectl, 4).await;
    let after = kubectl.pods("app=web", 4).await;
    for pod in &pods {
        let now = after.iter().find(|now| now.name == pod.name);
        assert!(
            now.is_some_and(|now| now.restarts == 0 && now.container == pod.container),
            "{pod:?} is now {now:?}"
        );
    }
    assert!(containers.is_subset(&ours.all()), "no container was made anew");

    through_the_proxy(&kubectl, &kubeconfigs.join("proxy"), 4).await;
    again.stop(&place).await;
}

/// Requests to the service reach containers, by way of a proxy that may write no rules.
async fn through_the_proxy(kubectl: &Kubectl<'_>, kubeconfig: &Path, replicas: usize) {
    let place = Place::here().unprivileged();
    if !place.sh(&format!("test -x {BINARY}")).await.success {
        return left_out("a proxy to containers", "nobody may not run the binary");
    }
    let directory = data();
    let own = directory.path().join("kubeconfig");
    std::fs::copy(kubeconfig, &own).expect("a kubeconfig can be copied");
    if rustix::process::geteuid().is_root() {
        for path in [directory.path(), &own] {
            std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).expect("root may give files away");
        }
    }
    let endpoint = refusals::free_address();
    let own = own.to_str().expect("it is text");
    let proxy = Running::start(&place, &["proxy", "--kubeconfig", own, "--proxy-endpoint", &endpoint]).await;
    let address = steps::proxy_port(kubectl, &endpoint).await;
    steps::reach(kubectl, &format!("http://{address}/"), replicas).await;
    proxy.stop(&place).await;
}
