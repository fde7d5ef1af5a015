//! The contract suite on real processes, with and without isolation, and what is particular to processes.

mod isolated;
mod limits;
mod restarts;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::{FutureExt, StreamExt};
use quarterdeck_core::runtime::{
    ContainerKey, ContainerSpec, Exit, LogOptions, Logs, Mount, PodPort, PodSandbox, PodStatus, Protocol,
    Runtime, RuntimeError,
};
use quarterdeck_core::testing::runtime::{Act, Fixture, ImageNames};

use super::places::Places;
use super::{Isolation, ProcessRuntime};

/// Numbers the nodes of this process, so that their networks differ.
static NODES: AtomicU8 = AtomicU8::new(0);

/// A node in a temporary directory that leaves nothing behind.
struct Host {
    directory: tempfile::TempDir,
    isolation: Isolation,
    number: u8,
    runtime: Option<Arc<ProcessRuntime>>,
}

impl Host {
    fn new(isolation: Isolation) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut host =
            Self { directory, isolation, number: NODES.fetch_add(1, Ordering::Relaxed), runtime: None };
        host.open();
        host
    }

    /// Returns a node whose pods are isolated, or says why there can be none.
    fn isolated() -> Option<Self> {
        if let Some(missing) = super::network::PodNetwork::missing() {
            eprintln!("skipped: {missing}");
            return None;
        }
        Some(Self::new(Isolation::Namespaces))
    }

    fn open(&mut self) {
        self.runtime = Some(Arc::new(runtime(self.directory.path(), self.isolation, self.number)));
    }

    fn process(&self) -> &ProcessRuntime {
        self.runtime.as_deref().expect("it is open")
    }

    async fn pod(&self, sandbox: PodSandbox) -> PodStatus {
        self.process().start_pod(&sandbox).await.expect("the pod can be started")
    }

    /// Runs a shell script in a pod of its own until it ends.
    async fn run(&self, name: &str, spec: ContainerSpec) -> (Exit, String) {
        let pod = sandbox(name);
        self.pod(pod.clone()).await;
        self.run_in(&pod, spec).await
    }

    /// Runs a container in a pod until it ends.
    async fn run_in(&self, pod: &PodSandbox, spec: ContainerSpec) -> (Exit, String) {
        let key = spec.key(&pod.uid);
        self.process().start_container(&pod.uid, &spec).await.expect("the container can be started");
        let exit = self.exit(&key).await;
        (exit, self.log(&key, LogOptions::default()).await)
    }

    async fn exit(&self, key: &ContainerKey) -> Exit {
        for _ in 0..1000 {
            let pods = self.process().pods().await.unwrap();
            let pod = pods.into_iter().find(|pod| pod.uid == key.pod).expect("the pod is held");
            if let Some(exit) = pod.container(&key.name, key.attempt).expect("the container is held").exit() {
                return exit.clone();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{key} did not end in ten seconds");
    }

    async fn log(&self, key: &ContainerKey, options: LogOptions) -> String {
        let chunks: Vec<_> = self.process().open(key, options).await.unwrap().collect().await;
        let bytes: Vec<u8> = chunks.into_iter().flat_map(|chunk| chunk.unwrap()).collect();
        String::from_utf8(bytes).unwrap()
    }

    /// Removes everything, and checks that nothing is left on the machine.
    async fn leave(mut self) {
        for pod in self.process().pods().await.unwrap() {
            self.process().remove_pod(&pod.uid).await.unwrap();
        }
        self.process().close().await.unwrap();
        self.tear_down().await;
    }
}

/// Runs a test on a node, and leaves the node whether it passes or not.
async fn with(mut host: Host, test: impl AsyncFnOnce(&mut Host)) {
    let outcome = AssertUnwindSafe(test(&mut host)).catch_unwind().await;
    let left = AssertUnwindSafe(host.leave()).catch_unwind().await;
    if let Err(panic) = outcome.and(left) {
        resume_unwind(panic);
    }
}

fn runtime(directory: &Path, isolation: Isolation, number: u8) -> ProcessRuntime {
    let process = std::process::id();
    let second = 128 + u8::try_from(process % 100).unwrap();
    ProcessRuntime::builder(directory)
        .isolation(isolation)
        .bridge(format!("qdt{process}"))
        .pod_cidr(format!("10.{second}.{number}.0/24").parse().unwrap())
        .build()
}

fn sandbox(name: &str) -> PodSandbox {
    PodSandbox {
        uid: name.into(),
        namespace: "default".into(),
        name: name.into(),
        hostname: name.into(),
        ..PodSandbox::default()
    }
}

fn shell(script: &str) -> ContainerSpec {
    ContainerSpec {
        name: "main".into(),
        image: "host".to_owned(),
        command: ["/bin/sh", "-c", script].map(str::to_owned).into(),
        ..ContainerSpec::default()
    }
}

#[async_trait]
impl Fixture for Host {
    fn runtime(&self) -> Arc<dyn Runtime> {
        self.runtime.clone().expect("it is open")
    }

    async fn restart(&mut self, pause: Duration) {
        self.runtime = None;
        tokio::time::sleep(pause).await;
        self.open();
    }

    fn container(&self, act: Act) -> ContainerSpec {
        match act {
            Act::Run => shell("echo ready; exec sleep 1000"),
            Act::Stubborn => shell("trap '' TERM; echo ready; while :; do sleep 0.1; done"),
            Act::Say => shell("printf 'one\\ntwo\\nthree\\n'; exec sleep 1000"),
            Act::Exit(code) => shell(&format!("printf 'one\\ntwo\\nthree\\n'; exit {code}")),
            Act::ExitLater(code) => shell(&format!("sleep 1; exit {code}")),
            Act::Flood => shell(crate::runtime::FLOOD),
        }
    }

    fn unsupported(&self) -> Option<ContainerSpec> {
        Some(ContainerSpec { tty: true, ..shell("true") })
    }

    fn images(&self) -> ImageNames {
        ImageNames {
            available: Some("host:v2".to_owned()),
            absent: None,
            impossible: Some("nginx".to_owned()),
        }
    }

    fn timestamps(&self) -> bool {
        false
    }

    async fn tear_down(&mut self) {
        self.runtime = None;
        let node = Places::new(self.directory.path().to_owned()).node();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let left = mounts
            .lines()
            .find(|line| line.contains(&node) || line.contains(self.directory.path().to_str().unwrap()));
        assert_eq!(left, None, "a mount is left");
        for place in ["/run/netns".to_owned(), "/sys/fs/cgroup".to_owned()].into_iter().chain(
            ["cpu", "memory", "pids", "unified"].map(|controller| format!("/sys/fs/cgroup/{controller}")),
        ) {
            let entries = std::fs::read_dir(&place).into_iter().flatten().flatten();
            let left: Vec<_> =
                entries.map(|e| e.file_name().into_string().unwrap()).filter(|e| e.contains(&node)).collect();
            assert!(left.is_empty(), "{left:?} is left in {place}");
        }
        let pods = std::fs::read_dir(self.directory.path().join("pods")).unwrap().count();
        assert_eq!(pods, 0, "a pod's directory is left");
    }
}

quarterdeck_core::runtime_suite!(
    #[tokio::test]
    with_isolation,
    async || Host::isolated()
);
quarterdeck_core::runtime_suite!(
    #[tokio::test]
    without_isolation,
    async || Some(Host::new(Isolation::None))
);

#[tokio::test]
async fn a_container_has_the_environment_directory_and_arguments_it_asked_for() {
    with(Host::new(Isolation::None), async |host| {
        let spec = ContainerSpec {
            env: [("GREETING", "hello world"), ("PATH", "/usr/bin:/bin")]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .into(),
            working_dir: Some("/usr".to_owned()),
            args: vec!["zero".to_owned(), "$HOME; false".to_owned()],
            ..shell("echo \"$GREETING|$PATH|$PWD|$1|$HOSTNAME\"; exit 7")
        };

        let (exit, log) = host.run("asks", spec).await;

        assert_eq!(log, "hello world|/usr/bin:/bin|/usr|$HOME; false|asks\n");
        assert_eq!(exit.exit_code, Some(7));
    })
    .await;
}

#[tokio::test]
async fn a_program_that_does_not_exist_cannot_be_run_and_leaves_nothing() {
    with(Host::new(Isolation::None), async |host| {
        host.pod(sandbox("none")).await;
        let spec = ContainerSpec { command: vec!["no-such-program".to_owned()], ..shell("") };

        let failure = host.process().start_container(&"none".into(), &spec).await;

        let Err(RuntimeError::CannotRun { message, .. }) = failure else { panic!("{failure:?}") };
        assert!(message.contains("no-such-program") && message.contains("No such file"), "{message}");
        assert!(host.process().pods().await.unwrap()[0].containers.is_empty());
        let again = host.process().start_container(&"none".into(), &shell("true")).await;
        assert!(again.is_ok(), "the number of a failed attempt can be used again: {again:?}");
    })
    .await;
}

#[tokio::test]
async fn what_a_container_started_ends_with_it() {
    with(Host::new(Isolation::None), async |host| {
        // One child in the session, and one that leaves it.
        let script = "sleep 1000 & echo $!; setsid sleep 1000 & sleep 0.2; echo $!; exit 0";

        let (_, log) = host.run("family", shell(script)).await;

        let pids: Vec<_> = log.lines().collect();
        assert_eq!(pids.len(), 2);
        assert!(!is_running(pids[0]), "a child is left");
        // Without control groups one that left the session is out of reach.
        let cgroups = host.process().node().await.unwrap().cgroups.memory();
        assert!(!cgroups || !is_running(pids[1]), "a child that left the session is left");
    })
    .await;
}

/// Returns whether there is a process that has not ended.
fn is_running(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, fields)| !fields.trim_start().starts_with('Z'))
}

#[tokio::test]
async fn volumes_without_isolation_are_found_by_the_environment_and_the_user_is_told() {
    with(Host::new(Isolation::None), async |host| {
        let volume = host.directory.path().join("volume");
        std::fs::create_dir(&volume).unwrap();
        std::fs::write(volume.join("key"), "value").unwrap();
        let spec = ContainerSpec {
            mounts: vec![Mount {
                host_path: volume,
                container_path: "/etc/config/deep".into(),
                read_only: true,
            }],
            ..shell("cat \"$QUARTERDECK_VOLUMES/etc/config/deep/key\"")
        };
        host.pod(sandbox("linked")).await;

        let started = host.process().start_container(&"linked".into(), &spec).await.unwrap();

        assert!(
            started.warnings.iter().any(|warning| warning.contains("QUARTERDECK_VOLUMES")),
            "{:?}",
            started.warnings
        );
        let key = spec.key(&"linked".into());
        host.exit(&key).await;
        assert_eq!(host.log(&key, LogOptions::default()).await, "value");
    })
    .await;
}

#[tokio::test]
async fn ports_without_isolation_are_mapped_to_loopback_and_told_to_the_program() {
    with(Host::new(Isolation::None), async |host| {
        let port = |container_port, host_port| PodPort {
            container_port,
            host_port,
            host_ip: Some("127.0.0.1".parse().unwrap()),
            protocol: Protocol::Tcp,
        };
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let pod = PodSandbox { ports: vec![port(8080, Some(free)), port(9090, None)], ..sandbox("ports") };

        let status = host.pod(pod.clone()).await;
        let (_, log) = host.run_in(&pod, shell("echo $PORT $PORT_8080 $PORT_9090")).await;

        let local: BTreeMap<_, _> =
            status.port_map.iter().map(|port| (port.pod.port(), port.local)).collect();
        assert!(
            status
                .port_map
                .iter()
                .all(|port| port.pod.ip() == status.ips[0] && port.local.ip().is_loopback())
        );
        assert_eq!(log, format!("{0} {0} {1}\n", local[&8080].port(), local[&9090].port()));
        let listener =
            tokio::net::TcpListener::bind(local[&8080]).await.expect("the port is the pod's alone");
        let client =
            tokio::net::TcpStream::connect(("127.0.0.1", free)).await.expect("the host port is open");
        let (_, led) = listener.accept().await.expect("the host port leads to the pod");
        assert!(led.ip().is_loopback());
        drop(client);
        let taken = host.process().start_pod(&PodSandbox { uid: "other".into(), ..pod }).await;
        assert!(matches!(taken, Err(RuntimeError::Exhausted { .. })), "{taken:?}");
        assert_eq!(
            host.process().pods().await.unwrap().len(),
            1,
            "a pod that could not be started is not held"
        );
    })
    .await;
}

#[tokio::test]
async fn names_that_would_leave_the_directory_are_refused() {
    with(Host::new(Isolation::None), async |host| {
        for uid in ["..", "a/b", "", ".hidden"] {
            let refusal = host.process().start_pod(&PodSandbox { uid: uid.into(), ..sandbox("x") }).await;
            assert!(matches!(refusal, Err(RuntimeError::Unsupported { .. })), "{uid:?} gave {refusal:?}");
        }
    })
    .await;
}

fn entries(path: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<_> = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries
}
