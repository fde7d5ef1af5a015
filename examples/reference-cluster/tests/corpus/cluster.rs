//! A cluster with two simulated nodes, and a directory from which kubectl reaches it.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use quarterdeck::prelude::{Clock, Cluster, ControlPlane, MemoryStorage, Random, SimulatedRuntime};
use quarterdeck_controllers::Options;
use quarterdeck_core::component::{Component, Stop, StopSignal};
use quarterdeck_registry::listener::Listener;
use quarterdeck_registry::tls::{ServiceAccountKey, ServiceAccountTokens};
use tempfile::TempDir;
use tokio::task::JoinSet;

/// How long a command may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A cluster to try kubectl on.
pub(crate) struct Lab {
    /// Where the API server answers: address and port.
    pub(crate) address: String,
    cluster: Cluster,
    directory: TempDir,
    signal: StopSignal,
    listener: JoinSet<()>,
}

/// What a command came to.
pub(crate) struct Outcome {
    /// What it printed and complained of.
    pub(crate) printed: String,
    /// What it ended with.
    pub(crate) exit: i32,
}

impl Lab {
    /// Starts a cluster for this kubectl.
    pub(crate) async fn start(program: &Path) -> Self {
        let key = ServiceAccountKey::new().unwrap();
        let tokens = ServiceAccountTokens::new(key.clone(), Clock::system());
        let cluster = ControlPlane::builder(MemoryStorage::new())
            .random(Random::seeded(1))
            .api_server(|server| server.authenticator(tokens).token_issuer(key))
            .controller_options(Options::default().root_ca("a certificate"))
            .node("node-1", SimulatedRuntime::new(Clock::system()))
            .node("node-2", SimulatedRuntime::new(Clock::system()))
            .build()
            .unwrap()
            .start()
            .await
            .unwrap();
        cluster.ready().await.unwrap();
        let listener = Listener::insecure(cluster.server().clone(), (Ipv4Addr::LOCALHOST, 0).into()).await;
        let listener = listener.unwrap();
        let address = listener.local_address().unwrap().to_string();
        let (signal, stop) = Stop::channel();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { Box::new(listener).run(stop).await.unwrap() });
        let directory = tempfile::tempdir().unwrap();
        let kubeconfig = format!(
            "{{apiVersion: v1, kind: Config, current-context: lab, \
             clusters: [{{name: lab, cluster: {{server: 'http://{address}'}}}}], users: [{{name: lab, user: {{}}}}], \
             contexts: [{{name: lab, context: {{cluster: lab, user: lab, namespace: default}}}}]}}"
        );
        std::fs::write(directory.path().join("config"), kubeconfig).unwrap();
        std::os::unix::fs::symlink(program, directory.path().join("kubectl")).unwrap();
        Self { address, cluster, directory, signal, listener: tasks }
    }

    /// Returns the directory that commands run in.
    pub(crate) fn directory(&self) -> String {
        self.directory.path().display().to_string()
    }

    /// Runs a command in a shell.
    pub(crate) async fn run(&self, text: &str) -> Outcome {
        let here = self.directory();
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = tokio::process::Command::new("bash");
        command.args(["-o", "pipefail", "-c", &format!("exec 2>&1\n{text}")]).current_dir(&here);
        command
            .env("PATH", format!("{here}:{path}"))
            .env("HOME", &here)
            .env("KUBECONFIG", format!("{here}/config"));
        command.env("KUBE_EDITOR", "true").env("TERM", "dumb").env("LC_ALL", "C").env("TZ", "UTC");
        command.stdin(Stdio::null()).kill_on_drop(true);
        match tokio::time::timeout(PATIENCE, command.output()).await {
            Ok(output) => {
                let output = output.unwrap();
                let printed = String::from_utf8_lossy(&output.stdout).into_owned();
                Outcome { printed, exit: output.status.code().unwrap_or(-1) }
            }
            Err(_) => Outcome { printed: format!("it has not ended within {PATIENCE:?}\n"), exit: -1 },
        }
    }

    /// Ends the cluster.
    pub(crate) async fn stop(mut self) {
        self.signal.stop();
        while self.listener.join_next().await.is_some() {}
        self.cluster.stop().await;
    }
}
