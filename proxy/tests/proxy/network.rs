//! A process of its own for a test that needs one, and a network: a node, and a pod behind a pair of interfaces.
//!
//! The test runs again, as a process in a new network namespace, which is gone when that ends: whatever it does to
//! rules and routes, the machine's own stay as they are.

use std::net::Ipv4Addr;
use std::process::{Child, Command, Output, Stdio};

/// Set in the process that has a network of its own.
const INSIDE: &str = "QUARTERDECK_OWN_NETWORK";

/// The node's address, and the pod's.
pub(crate) const NODE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(crate) const POD: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

/// Runs `work` in a network of its own; `test` is the test's full name. Says so if this machine cannot do that.
pub(crate) fn in_own_network<F: Future<Output = ()>>(test: &str, work: impl FnOnce(Pod) -> F) {
    for needed in ["nsenter", "ip", "nft"] {
        let mut version = Command::new(needed);
        if version.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
            return eprintln!("{test} was left out: there is no {needed}");
        }
    }
    in_own_process(test, &[], async || work(Pod::new()).await);
}

/// Runs `work` in a process of its own, with this environment and an empty network.
pub(crate) fn in_own_process(test: &str, environment: &[(&str, &str)], work: impl AsyncFnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        return runtime.block_on(async { work().await });
    }
    // Its whole path, because `environment` may have another search path.
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let unshare = std::env::split_paths(&paths).map(|path| path.join("unshare")).find(|path| path.is_file());
    let unshare = unshare.unwrap_or_else(|| "unshare".into());
    let may = |arguments: &[&str]| {
        let status = Command::new(&unshare).args(arguments).arg("true").stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    let ways = [&["--net"][..], &["--map-root-user", "--net"][..]];
    let Some(way) = ways.into_iter().find(|way| may(way)) else {
        return eprintln!("{test} was left out: no network namespaces can be made here");
    };
    let output = Command::new(&unshare)
        .args(way)
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let said = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
    assert!(output.status.success(), "{}\n{}", said(&output.stdout), said(&output.stderr));
    assert!(said(&output.stdout).contains("1 passed"), "{test} is not the name of this test");
}

/// A pod: a network namespace that lives as long as this.
pub(crate) struct Pod(Child);

impl Pod {
    fn new() -> Self {
        let pod = Command::new("unshare").args(["--net", "cat"]).stdin(Stdio::piped()).spawn().unwrap();
        let pod = Self(pod);
        pod.wait_until_it_is_apart();
        run("ip", "link set lo up");
        run("ip", "link add v0 type veth peer name v1");
        run("ip", &format!("link set v1 netns {}", pod.0.id()));
        run("ip", &format!("addr add {NODE}/24 dev v0"));
        run("ip", "link set v0 up");
        // As on any machine: whatever is not known goes out. Nobody is there.
        run("ip", "route add default via 192.0.2.254");
        pod.run("ip", "link set lo up");
        pod.run("ip", &format!("addr add {POD}/24 dev v1"));
        pod.run("ip", "link set v1 up");
        pod.run("ip", &format!("route add default via {NODE}"));
        pod
    }

    fn wait_until_it_is_apart(&self) {
        let network = |of: &str| std::fs::read_link(format!("/proc/{of}/ns/net")).ok();
        while network(&self.0.id().to_string()) == network("self") {
            std::thread::yield_now();
        }
    }

    fn run(&self, program: &str, arguments: &str) {
        let output = self.command(program).args(arguments.split(' ')).output().unwrap();
        assert_success(program, arguments, &output);
    }

    /// Returns a command that runs in the pod.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--net", "--target", &self.0.id().to_string(), "--", program]);
        command
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a program of the node.
pub(crate) fn run(program: &str, arguments: &str) -> String {
    let output = Command::new(program).args(arguments.split(' ')).output().unwrap();
    assert_success(program, arguments, &output);
    String::from_utf8(output.stdout).unwrap()
}

fn assert_success(program: &str, arguments: &str, output: &Output) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments}: {said}");
}
