//! kubectl, as it is.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::{Child, Command};

use crate::eventually;
use crate::place::{Outcome, Place, finish};

/// A kubectl with a kubeconfig and a namespace.
pub(crate) struct Kubectl<'a> {
    place: &'a Place,
    program: PathBuf,
    kubeconfig: PathBuf,
    namespace: String,
}

/// How long a command may take.
const PATIENCE: Duration = Duration::from_secs(60);

impl<'a> Kubectl<'a> {
    /// The kubectl that `$KUBECTL` names, or the one on the path.
    pub(crate) fn new(place: &'a Place, kubeconfig: &Path) -> Self {
        let program = std::env::var_os("KUBECTL").unwrap_or_else(|| "kubectl".into());
        Self { place, program: program.into(), kubeconfig: kubeconfig.into(), namespace: "default".into() }
    }

    /// The same with another program.
    pub(crate) fn program(&self, program: &Path) -> Self {
        Self {
            place: self.place,
            program: program.into(),
            kubeconfig: self.kubeconfig.clone(),
            namespace: self.namespace.clone(),
        }
    }

    /// The same in another namespace.
    pub(crate) fn namespace(&self, namespace: &str) -> Self {
        Self { namespace: namespace.into(), ..self.program(&self.program) }
    }

    /// Returns the minor release that it is.
    pub(crate) async fn minor(&self) -> u32 {
        let version = self.run("version --client --output=json").await;
        let version: Value = serde_json::from_str(&version).expect("a version is JSON");
        let minor = version["clientVersion"]["minor"].as_str().expect("it has a minor release");
        // Google's builds write `33+`.
        minor.trim_end_matches('+').parse().expect("it is a number")
    }

    /// The place where it runs.
    pub(crate) fn place(&self) -> &Place {
        self.place
    }

    fn command(&self, line: &str) -> Command {
        let mut command = self.place.command(&self.program);
        command.arg("--kubeconfig").arg(&self.kubeconfig).args(["--namespace", &self.namespace]);
        // Its cache of what the server offers is its own per cluster.
        command.arg("--cache-dir").arg(self.kubeconfig.with_extension("cache"));
        command.args(line.split_whitespace());
        command
    }

    /// Runs a command, split at spaces, and returns what it came to.
    pub(crate) async fn attempt(&self, line: &str) -> Outcome {
        finish(&mut self.command(line), PATIENCE).await
    }

    /// Runs a command that has to end well, and returns what it prints.
    pub(crate) async fn run(&self, line: &str) -> String {
        let outcome = self.attempt(line).await;
        assert!(outcome.success, "kubectl {line}: {}{}", outcome.stdout, outcome.stderr);
        outcome.stdout
    }

    /// Starts a command that goes on, such as a watch.
    pub(crate) fn follow(&self, line: &str) -> Child {
        let mut command = self.command(line);
        command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().expect("kubectl can be started")
    }

    /// What `get … -o json` shows.
    pub(crate) async fn json(&self, line: &str) -> Value {
        let text = self.run(&format!("get {line} -o json")).await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("kubectl get {line}: {error}: {text}"))
    }

    /// The objects that `get … -o json` lists.
    pub(crate) async fn list(&self, line: &str) -> Vec<Value> {
        let mut list = self.json(line).await;
        match list["items"].take() {
            Value::Array(items) => items,
            other => panic!("kubectl get {line} shows no list but {other}"),
        }
    }

    /// Waits until the words are in what a command prints, and returns it.
    pub(crate) async fn until(&self, line: &str, words: &[&str]) -> String {
        eventually(&format!("kubectl {line} shows {words:?}"), PATIENCE, async || {
            let outcome = self.attempt(line).await;
            let all = outcome.success && words.iter().all(|word| outcome.stdout.contains(word));
            if all { Ok(outcome.stdout) } else { Err(format!("{}{}", outcome.stdout, outcome.stderr)) }
        })
        .await
    }

    /// Waits until exactly `number` pods of a selection are there, all of them ready and none on its way out.
    pub(crate) async fn pods(&self, selector: &str, number: usize) -> Vec<Pod> {
        eventually(&format!("{number} pods of {selector} run"), PATIENCE, async || {
            let pods: Vec<Pod> =
                self.list(&format!("pods -l {selector}")).await.iter().map(Pod::read).collect();
            let all = pods.len() == number && pods.iter().all(|pod| pod.ready);
            if all { Ok(pods) } else { Err(format!("{pods:#?}")) }
        })
        .await
    }
}

/// What the walks look at in a pod.
#[derive(Debug, Clone)]
pub(crate) struct Pod {
    /// Its name.
    pub(crate) name: String,
    /// Its address, empty if it has none yet.
    pub(crate) address: String,
    /// It runs, is ready, and nobody deleted it.
    pub(crate) ready: bool,
    /// How often its containers were started anew.
    pub(crate) restarts: u64,
    /// The identifier of its first container.
    pub(crate) container: String,
    /// What is not as it should be, in the API's words.
    pub(crate) _why: String,
}

impl Pod {
    fn read(pod: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let status = &pod["status"];
        let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        let ready =
            conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
        let ready = ready && status["phase"] == "Running" && pod["metadata"]["deletionTimestamp"].is_null();
        let container = &status["containerStatuses"][0];
        Self {
            name: text(&pod["metadata"]["name"]),
            address: text(&status["podIP"]),
            ready,
            restarts: container["restartCount"].as_u64().unwrap_or_default(),
            container: text(&container["containerID"]),
            _why: if ready { String::new() } else { status.to_string() },
        }
    }
}
