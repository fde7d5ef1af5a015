//! Where a test's programs run: on this machine, or apart from it, where rules, interfaces, mounts and processes can be made
//! without the machine noticing. Ending a place ends all that runs there.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt as _;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::left_out;

/// Makes a network with an address and a default route, a view of the system's devices that fits, and an own place
/// for the handles of network namespaces. Control groups stay those of the machine.
const SET_UP: &str = r#"
set -e
aside=$(mktemp -d)
mount --rbind /sys/fs/cgroup "$aside"
mount -t sysfs sysfs /sys
mount --move "$aside" /sys/fs/cgroup
rmdir "$aside"
mount -t tmpfs tmpfs /run
ip link set lo up
ip link add uplink type veth peer name outside
ip addr add 192.0.2.2/24 dev uplink
ip link set uplink up
ip link set outside up
ip route add default via 192.0.2.1
echo ready
read -r _ || true
"#;

/// The user without any privilege.
pub(crate) const NOBODY: u32 = 65534;

/// Where programs run.
pub(crate) struct Place {
    holder: Option<Holder>,
    user: Option<u32>,
}

/// The first process of a place apart. All others end with it.
struct Holder {
    unshare: Child,
    pid: u32,
}

/// What a program came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// It ended well.
    pub(crate) success: bool,
    /// What it printed.
    pub(crate) stdout: String,
    /// What it complained of.
    pub(crate) stderr: String,
}

impl Place {
    /// This machine as it is.
    pub(crate) fn here() -> Self {
        Self { holder: None, user: None }
    }

    /// A place apart, if this user may make one; says so if not.
    pub(crate) async fn apart(what: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            left_out(what, "it needs root, for network namespaces");
            return None;
        }
        let mut unshare = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "unshare", "--mount", "--net", "--pid", "--fork"])
            .args(["--kill-child", "--mount-proc", "bash", "-c", SET_UP])
            .stdout(Stdio::piped())
            .stdin(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("setpriv and unshare (util-linux) can be started");
        let mut lines = BufReader::new(unshare.stdout.take().expect("it is piped")).lines();
        let line = lines.next_line().await.expect("its output can be read");
        assert_eq!(line.as_deref(), Some("ready"), "a place apart could not be set up");
        let children = format!("/proc/{0}/task/{0}/children", unshare.id().expect("it runs"));
        let children = std::fs::read_to_string(children).expect("the kernel tells children");
        let pid = children.trim().parse().expect("unshare has one child");
        Some(Self { holder: Some(Holder { unshare, pid }), user: None })
    }

    /// The same place for programs without any privilege.
    pub(crate) fn unprivileged(mut self) -> Self {
        self.user = rustix::process::geteuid().is_root().then_some(NOBODY);
        self
    }

    /// A program that will run here. It is ended when its handle is dropped.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut line: Vec<String> = Vec::new();
        if let Some(holder) = &self.holder {
            let pid = holder.pid.to_string();
            line.extend(["nsenter", "--target", &pid, "--mount", "--net", "--pid", "--"].map(str::to_owned));
        }
        if let Some(user) = self.user {
            let user = [format!("--reuid={user}"), format!("--regid={user}")];
            line.extend(["setpriv".to_owned(), "--clear-groups".to_owned()].into_iter().chain(user));
        }
        let mut command = match line.split_first() {
            None => Command::new(program),
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
        };
        command.stdin(Stdio::null()).kill_on_drop(true);
        command.as_std_mut().process_group(0);
        command
    }

    /// Runs a shell script here and returns what it came to.
    pub(crate) async fn sh(&self, script: &str) -> Outcome {
        finish(self.command("sh").args(["-c", script]), Duration::from_secs(30)).await
    }

    /// What the shell script prints. It has to end well.
    pub(crate) async fn ask(&self, script: &str) -> String {
        let outcome = self.sh(script).await;
        assert!(outcome.success, "{script}: {outcome:?}");
        outcome.stdout
    }

    /// Sends a signal to a process of this place, by the number that it has here.
    pub(crate) async fn signal(&self, signal: &str, pid: u32) {
        self.ask(&format!("kill -{signal} {pid}")).await;
    }

    /// Nothing is here that was not here `before`.
    pub(crate) async fn is_clean(&self, before: &[String]) {
        let left: Vec<String> =
            self.traces().await.into_iter().filter(|trace| !before.contains(trace)).collect();
        assert!(left.is_empty(), "this is left behind: {left:#?}");
    }

    /// What could be left behind: processes, interfaces, rules, named network namespaces and mounts.
    pub(crate) async fn traces(&self) -> Vec<String> {
        assert!(self.holder.is_some(), "a shared machine has others' traces");
        let script = r#"
            for stat in /proc/[0-9]*/stat; do
              read -r line < "$stat" 2>/dev/null || continue
              case "$line" in "1 "*|"$$ "*|*") Z "*) ;; *) echo "process $line" | cut -d' ' -f1-5 ;; esac
            done
            ls /sys/class/net | sed 's/^/interface /'
            nft --stateless list ruleset | tr -s '\t\n' ' \n' | sed 's/^/rules /'
            ls /run/netns 2>/dev/null | sed 's/^/network namespace /'
            cut -d' ' -f5 /proc/self/mountinfo | sed 's/^/mount /'
        "#;
        self.ask(script).await.lines().map(str::to_owned).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(holder) = &mut self.holder {
            // `--kill-child` takes the first process along, and the kernel all others.
            let _ = holder.unshare.start_kill();
        }
    }
}

/// Waits for a program to end, within a time.
pub(crate) async fn finish(command: &mut Command, within: Duration) -> Outcome {
    let what = format!("{:?}", command.as_std());
    let output = tokio::time::timeout(within, command.output()).await;
    let output = output.unwrap_or_else(|_| panic!("{what} has not ended within {within:?}"));
    let output = output.unwrap_or_else(|error| panic!("{what}: {error}"));
    Outcome {
        success: output.status.success(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
