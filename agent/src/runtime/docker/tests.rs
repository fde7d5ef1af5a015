//! The contract suite on a real engine, and what is particular to Docker. Skipped, saying so, where no engine answers.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::RemoveImageOptions;
use futures::{FutureExt, StreamExt};
use quarterdeck_core::runtime::{
    Capabilities, Dns, EventKind, Exit, ExitReason, LogOptions, Mount, PodPort, PodState, Protocol,
    Resources, Security,
};
use quarterdeck_core::testing::runtime::{Act, Fixture, ImageNames};

use super::*;

/// Numbers the nodes of this process.
static NODES: AtomicU32 = AtomicU32::new(0);

/// A node on the real engine, with an image of its own, that leaves nothing behind.
struct Real {
    name: String,
    runtime: Option<Arc<DockerRuntime>>,
}

impl Real {
    /// Returns a node, or says why there is none.
    async fn new() -> Option<Self> {
        let name = format!("suite-{}-{}", std::process::id(), NODES.fetch_add(1, Ordering::Relaxed));
        let mut real = Self { name, runtime: None };
        real.open();
        let node = match real.docker().node().await {
            Ok(node) => node,
            Err(error) => {
                eprintln!("skipped: no Docker engine answers: {}", std::error::Error::source(&error)?);
                return None;
            }
        };
        node.engine.import(&real.image(), shell()?, Vec::new()).await.expect("an image can be imported");
        Some(real)
    }

    fn open(&mut self) {
        let builder = DockerRuntime::builder(self.name.clone()).pause_image("quarterdeck/pause-of-tests:1");
        self.runtime = Some(Arc::new(builder.build()));
    }

    fn docker(&self) -> &DockerRuntime {
        self.runtime.as_deref().expect("it is open")
    }

    fn image(&self) -> String {
        format!("quarterdeck/{}:v1", self.name)
    }

    fn sandbox(&self, name: &str) -> PodSandbox {
        PodSandbox {
            uid: format!("{}-{name}", self.name).into(),
            namespace: "default".into(),
            name: name.into(),
            hostname: name.into(),
            ..PodSandbox::default()
        }
    }

    fn script(&self, script: &str) -> ContainerSpec {
        ContainerSpec {
            name: "main".into(),
            image: self.image(),
            command: ["/bin/sh", "-c", script].map(str::to_owned).into(),
            env: [("PATH".to_owned(), "/bin".to_owned())].into(),
            ..ContainerSpec::default()
        }
    }

    /// Runs a container in a pod until it ends. Returns how, its log, and what the engine says of it.
    async fn run_in(
        &self,
        pod: &PodSandbox,
        spec: ContainerSpec,
    ) -> (Exit, String, Arc<ContainerInspectResponse>) {
        let key = spec.key(&pod.uid);
        let started =
            self.docker().start_container(&pod.uid, &spec).await.expect("the container can be started");
        let node = self.docker().node().await.unwrap();
        let exit = self.exit(&key).await;
        let log = self.log(&key, LogOptions { follow: true, ..LogOptions::default() }).await;
        (exit, log, node.engine.inspect(&started.status.id).await.unwrap().unwrap())
    }

    async fn exit(&self, key: &ContainerKey) -> Exit {
        for _ in 0..600 {
            let pods = self.docker().pods().await.unwrap();
            let pod = pods.into_iter().find(|pod| pod.uid == key.pod).expect("the pod is held");
            if let Some(exit) = pod.container(&key.name, key.attempt).expect("the container is held").exit() {
                return exit.clone();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{key} did not end in half a minute");
    }

    async fn log(&self, key: &ContainerKey, options: LogOptions) -> String {
        let chunks: Vec<_> = self.docker().open(key, options).await.unwrap().collect().await;
        String::from_utf8(chunks.into_iter().flat_map(|chunk| chunk.unwrap()).collect()).unwrap()
    }

    async fn leave(mut self) {
        for pod in self.docker().pods().await.unwrap() {
            self.docker().remove_pod(&pod.uid).await.unwrap();
        }
        self.tear_down().await;
    }
}

/// Runs a test on a node, and leaves the node whether it passes or not.
async fn with(test: impl AsyncFnOnce(&mut Real)) {
    let Some(mut real) = Real::new().await else { return };
    let outcome = AssertUnwindSafe(test(&mut real)).catch_unwind().await;
    let left = AssertUnwindSafe(real.leave()).catch_unwind().await;
    if let Err(panic) = outcome.and(left) {
        resume_unwind(panic);
    }
}

/// Returns a file system with this machine's shell, `sleep` and what they need. `None` if they cannot be found.
fn shell() -> Option<Vec<u8>> {
    let mut paths =
        vec!["/bin/sh".to_owned(), "/bin/sleep".to_owned(), "/bin/cat".to_owned(), "/bin/id".to_owned()];
    let output = std::process::Command::new("ldd").args(&paths).output().ok()?;
    for word in
        String::from_utf8_lossy(&output.stdout).split_whitespace().filter(|word| word.starts_with('/'))
    {
        let word = word.trim_end_matches(':').to_owned();
        if !paths.contains(&word) {
            paths.push(word);
        }
    }
    let files: Option<Vec<_>> = paths.iter().map(|path| std::fs::read(path).ok()).collect();
    if files.is_none() {
        eprintln!("skipped: this machine has no shell that an image could be made of");
    }
    let files = files?;
    let files: Vec<_> = paths.iter().zip(&files).map(|(path, file)| (&path[1..], file.as_slice())).collect();
    Some(pause::tar(&files))
}

#[async_trait]
impl Fixture for Real {
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
            Act::Run => self.script("trap 'exit 143' TERM; echo ready; while :; do sleep 0.1; done"),
            Act::Stubborn => self.script("trap '' TERM; echo ready; while :; do sleep 0.1; done"),
            Act::Say => {
                self.script("trap 'exit 0' TERM; printf 'one\\ntwo\\nthree\\n'; while :; do sleep 0.1; done")
            }
            Act::Exit(code) => self.script(&format!("printf 'one\\ntwo\\nthree\\n'; exit {code}")),
            Act::ExitLater(code) => self.script(&format!("sleep 1; exit {code}")),
            Act::Flood => self.script(crate::runtime::FLOOD),
        }
    }

    fn prefix(&self) -> String {
        self.name.clone()
    }

    fn unsupported(&self) -> Option<ContainerSpec> {
        let resources = Resources { memory_limit: Some(1 << 20), ..Resources::default() };
        Some(ContainerSpec { resources, ..self.script("true") })
    }

    fn images(&self) -> ImageNames {
        ImageNames {
            available: None,
            absent: Some("quarterdeck/absent:v1".to_owned()),
            impossible: Some("No/Such Name".to_owned()),
        }
    }

    async fn tear_down(&mut self) {
        let node = self.docker().node().await.unwrap();
        let left = node.engine.held(None).await.unwrap();
        assert!(left.is_empty(), "containers are left: {left:?}");
        let options = RemoveImageOptions { force: true, ..RemoveImageOptions::default() };
        node.engine
            .docker
            .remove_image(&self.image(), Some(options.clone()), None)
            .await
            .expect("the image goes");
        // Refused while other tests use it; the last one removes it.
        let _ = node
            .engine
            .docker
            .remove_image("quarterdeck/pause-of-tests:1", None::<RemoveImageOptions>, None)
            .await;
        drop(node);
        self.docker().close().await.unwrap();
    }
}

quarterdeck_core::runtime_suite!(
    #[tokio::test]
    contract,
    Real::new
);

#[tokio::test]
async fn an_engine_that_is_not_there_is_unavailable_and_says_where_it_was_looked_for() {
    let runtime = DockerRuntime::builder("nowhere").endpoint("unix:///no/such/docker.sock").build();

    let Err(RuntimeError::Unavailable(source)) = runtime.info().await else { panic!("there is no engine") };

    assert!(source.to_string().contains("/no/such/docker.sock"), "{source}");
}

#[tokio::test]
async fn a_container_gets_what_it_asked_for() {
    with(async |real| {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("key"), "value").unwrap();
        let pod = PodSandbox {
            dns: Some(Dns { servers: vec!["192.0.2.53".parse().unwrap()], ..Dns::default() }),
            host_aliases: vec![("192.0.2.9".parse().unwrap(), "elsewhere".to_owned())],
            ..real.sandbox("asks")
        };
        real.docker().start_pod(&pod).await.unwrap();
        let mut spec = ContainerSpec {
            args: vec!["zero".to_owned(), "first".to_owned()],
            working_dir: Some("/bin".to_owned()),
            mounts: vec![Mount {
                host_path: place.path().to_owned(),
                container_path: "/etc/config".into(),
                read_only: true,
            }],
            resources: Resources {
                cpu_request: Some(250),
                cpu_limit: Some(500),
                memory_limit: Some(50_000_000),
            },
            security: Security {
                run_as_user: Some(1234),
                run_as_group: Some(5678),
                supplemental_groups: vec![99],
                read_only_root: true,
                no_new_privileges: true,
                capabilities: Capabilities { add: Vec::new(), drop: vec!["ALL".to_owned()] },
                ..Security::default()
            },
            ..real.script(
                "echo \"$GREETING|$PWD|$1\"; id -u; id -g; id -G; cat /etc/config/key /etc/hostname; \
                 (echo > /etc/config/new) 2>/dev/null || echo read-only; (echo > /new) 2>/dev/null || echo sealed; \
                 while read line; do case $line in *192.0.2.*) echo \"$line\";; esac; done < /etc/resolv.conf; \
                 while read line; do case $line in *elsewhere) echo \"$line\";; esac; done < /etc/hosts; exit 7",
            )
        };
        spec.env.insert("GREETING".to_owned(), "hello world".to_owned());

        let (exit, log, seen) = real.run_in(&pod, spec).await;

        let expected = "hello world|/bin|first\n1234\n5678\n5678 99\nvalueasks\nread-only\nsealed\n\
                        nameserver 192.0.2.53\n192.0.2.9\telsewhere\n";
        assert_eq!(log, expected);
        assert_eq!((exit.exit_code, exit.reason), (Some(7), ExitReason::Error));
        let host = seen.host_config.as_ref().unwrap();
        assert_eq!((host.cpu_shares, host.cpu_quota, host.memory), (Some(256), Some(50_000), Some(50_000_000)));
        assert_eq!(seen.name.as_deref(), Some(&*format!("/k8s_main_asks_default_{}_0", pod.uid)));
    })
    .await;
}

#[tokio::test]
async fn a_program_that_does_not_exist_cannot_be_run_and_leaves_nothing() {
    with(async |real| {
        let pod = real.sandbox("none");
        real.docker().start_pod(&pod).await.unwrap();
        let spec = ContainerSpec { command: vec!["/no-such-program".to_owned()], ..real.script("") };
        let missing =
            Mount { host_path: "/no/such/path".into(), container_path: "/data".into(), read_only: false };
        let unmounted = ContainerSpec { mounts: vec![missing], ..real.script("true") };

        for (spec, expected) in [(spec, "/no-such-program"), (unmounted, "/no/such/path")] {
            let failure = real.docker().start_container(&pod.uid, &spec).await;

            let Err(RuntimeError::CannotRun { message, .. }) = failure else { panic!("{failure:?}") };
            assert!(message.contains(expected), "{message}");
            assert!(real.docker().pods().await.unwrap()[0].containers.is_empty());
        }
    })
    .await;
}

#[tokio::test]
async fn a_container_that_needs_too_much_memory_is_killed_and_says_so() {
    with(async |real| {
        let pod = real.sandbox("greedy");
        real.docker().start_pod(&pod).await.unwrap();
        let resources = Resources { memory_limit: Some(8 << 20), ..Resources::default() };
        let spec = ContainerSpec { resources, ..real.script("x=xxxxxxxx; while :; do x=$x$x; done") };

        let (exit, _, _) = real.run_in(&pod, spec).await;

        assert_eq!((exit.exit_code, exit.reason), (Some(137), ExitReason::OomKilled), "{exit:?}");
    })
    .await;
}

#[tokio::test]
async fn a_host_port_is_given_once() {
    with(async |real| {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let port = PodPort {
            container_port: 80,
            host_port: Some(free.port()),
            host_ip: Some(free.ip()),
            protocol: Protocol::Tcp,
        };
        let with_port = |name: &str| PodSandbox { ports: vec![port.clone()], ..real.sandbox(name) };
        real.docker().start_pod(&with_port("first")).await.unwrap();

        let refusal = real.docker().start_pod(&with_port("second")).await;

        assert!(matches!(refusal, Err(RuntimeError::Exhausted { .. })), "{refusal:?}");
        assert_eq!(
            real.docker().pods().await.unwrap().len(),
            1,
            "a pod that could not be started is not held"
        );
    })
    .await;
}

#[tokio::test]
async fn a_pod_whose_sandbox_was_killed_is_lost_with_its_containers_and_can_be_started_again() {
    with(async |real| {
        let pod = real.sandbox("lost");
        real.docker().start_pod(&pod).await.unwrap();
        let spec = real.script("while :; do sleep 0.1; done");
        real.docker().start_container(&pod.uid, &spec).await.unwrap();
        let mut events = real.docker().events().await.unwrap();
        let node = real.docker().node().await.unwrap();
        let sandbox = format!("k8s_POD_lost_default_{}_0", pod.uid);

        node.engine.kill(&sandbox, "SIGKILL").await.unwrap();
        let mut told = Vec::new();
        while told.len() < 2 {
            told.push(events.next().await.unwrap().unwrap().kind);
        }

        assert!(told.contains(&EventKind::PodChanged), "{told:?}");
        assert!(told.iter().any(|kind| matches!(kind, EventKind::Exited { .. })), "{told:?}");
        let lost = real.docker().pods().await.unwrap().remove(0);
        assert_eq!((lost.state, lost.ips), (PodState::Lost, Vec::new()));
        let again = real.docker().start_pod(&pod).await.unwrap();
        assert_eq!((again.state, again.ips.len(), again.containers.len()), (PodState::Ready, 1, 1));
        let next = ContainerSpec { attempt: 1, ..real.script("exit 5") };
        assert_eq!(real.run_in(&pod, next).await.0.exit_code, Some(5));
    })
    .await;
}

#[tokio::test]
async fn containers_of_a_pod_share_an_address_and_pods_reach_each_other() {
    with(async |real| {
        let (one, two) = (real.sandbox("one"), real.sandbox("two"));
        let status = real.docker().start_pod(&one).await.unwrap();
        real.docker().start_pod(&two).await.unwrap();
        let address = |name: &str| ContainerSpec {
            name: name.into(),
            ..real.script(
                "while read address name; do case $name in one) echo $address;; esac; done < /etc/hosts",
            )
        };

        let (_, first, _) = real.run_in(&one, address("first")).await;
        let (_, second, _) = real.run_in(&one, address("second")).await;

        assert_eq!(first, format!("{}\n", status.ips[0]));
        assert_eq!(first, second);
        assert!(!Path::new("/sys/class/net/docker0").exists() || status.ips[0].is_ipv4());
    })
    .await;
}

#[tokio::test]
async fn two_nodes_on_one_engine_do_not_see_each_others_pods() {
    with(async |real| {
        real.docker().start_pod(&real.sandbox("mine")).await.unwrap();
        let other = DockerRuntime::new(format!("{}-other", real.name));

        assert!(other.pods().await.unwrap().is_empty());
        assert_eq!(real.docker().pods().await.unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn an_image_that_cannot_be_fetched_says_why() {
    with(async |real| {
        // Nothing listens there.
        let image = "127.0.0.1:9/nothing:v1";

        let failure = real.docker().pull(image, None).await;

        let Err(RuntimeError::PullFailed { source, .. }) = failure else { panic!("{failure:?}") };
        assert!(source.to_string().contains("127.0.0.1:9"), "{source}");
    })
    .await;
}

#[tokio::test]
async fn the_machine_is_the_engines() {
    with(async |real| {
        let info = real.docker().info().await.unwrap();

        assert_eq!((info.name.as_str(), info.machine.operating_system.as_str()), ("docker", "linux"));
        assert!(
            info.machine.cpu >= 1000 && info.machine.memory > 1 << 26 && !info.version.is_empty(),
            "{info:?}"
        );
        assert_eq!(info.mounts, MountSupport::InPlace);
    })
    .await;
}
