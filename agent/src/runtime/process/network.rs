//! Networks of pods: a network namespace each, joined by a bridge.
//!
//! Everything is done by `ip` of iproute2, which every distribution has. All nodes of a machine may share a bridge: pods see the
//! whole cluster's network on it, so that pods of two nodes reach each other without being routed, and the host is where
//! everything else goes, services' addresses among it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use ipnet::Ipv4Net;
use rustix::fs::FlockOperation;

/// Where `ip netns` keeps its handles.
const HANDLES: &str = "/run/netns";

/// How a node's pods are connected.
#[derive(Debug, Clone)]
pub(super) struct PodNetwork {
    pub(super) bridge: String,
    /// The network of all pods of all nodes on the bridge.
    pub(super) cluster: Ipv4Net,
    /// The host's address on the bridge, for this node's pods.
    pub(super) gateway: Ipv4Addr,
    /// What the names of this node's namespaces begin with.
    pub(super) prefix: String,
}

impl PodNetwork {
    /// Returns why pods cannot have networks here, if they cannot.
    pub(super) fn missing() -> Option<String> {
        if !rustix::process::geteuid().is_root() {
            return Some("only root can make network namespaces".to_owned());
        }
        match run(Command::new("ip").arg("-V")) {
            Ok(_) => None,
            Err(error) => Some(format!("the program ip (package iproute2) cannot be run: {error}")),
        }
    }

    /// Makes the bridge, unless it is there, and sees to it that pods on it can talk.
    pub(super) fn set_up(&self) -> io::Result<()> {
        let _lock = Self::lock()?;
        if !Path::new("/sys/class/net").join(&self.bridge).exists() {
            ip(&[format!("link add {} type bridge", self.bridge)], None)?;
        }
        let bridge = &self.bridge;
        ip(
            &[
                format!("link set {bridge} up"),
                format!("addr replace {}/32 dev {bridge}", self.gateway),
                format!("route replace {} dev {bridge}", self.cluster.trunc()),
            ],
            None,
        )?;
        self.let_through()
    }

    /// Takes the host's address off the bridge, and the bridge away if nobody else uses it.
    pub(super) fn tear_down(&self) -> io::Result<()> {
        let _lock = Self::lock()?;
        let bridge = Path::new("/sys/class/net").join(&self.bridge);
        if !bridge.exists() {
            return Ok(());
        }
        let _ = ip(&[format!("addr del {}/32 dev {}", self.gateway, self.bridge)], None);
        let ports = fs::read_dir(bridge.join("brif"))?.count();
        let addresses = run(Command::new("ip").args(["-4", "-o", "addr", "show", "dev", &self.bridge]))?;
        if ports == 0 && addresses.stdout.is_empty() {
            ip(&[format!("link del {}", self.bridge)], None)?;
            self.forget_rule();
        }
        // `ip netns` mounts the directory of its handles over itself, and leaves that.
        if fs::read_dir(HANDLES).is_ok_and(|mut handles| handles.next().is_none()) {
            let _ = rustix::mount::unmount(HANDLES, rustix::mount::UnmountFlags::NOFOLLOW);
            let _ = fs::remove_dir(HANDLES);
        }
        Ok(())
    }

    /// Makes a pod's network namespace with this address.
    pub(super) fn add(&self, pod: &str, address: Ipv4Addr) -> io::Result<()> {
        let (namespace, veth) = (self.namespace(pod), veth(&self.prefix, pod));
        self.set_up()?;
        ip(
            &[
                format!("netns add {namespace}"),
                format!(
                    "link add {veth} type veth peer name eth0 address {} netns {namespace}",
                    hardware(address)
                ),
                format!("link set {veth} master {} up", self.bridge),
            ],
            None,
        )?;
        ip(
            &[
                "link set lo up".to_owned(),
                format!("addr add {address}/{} dev eth0", self.cluster.prefix_len()),
                "link set eth0 up".to_owned(),
                format!("route add default via {} dev eth0 onlink", self.gateway),
            ],
            Some(&namespace),
        )
    }

    /// Removes a pod's network, if there is one.
    pub(super) fn remove(&self, pod: &str) -> io::Result<()> {
        let veth = veth(&self.prefix, pod);
        if Path::new("/sys/class/net").join(&veth).exists() {
            ip(&[format!("link del {veth}")], None)?;
        }
        let namespace = self.namespace(pod);
        if Path::new(HANDLES).join(&namespace).exists() {
            ip(&[format!("netns del {namespace}")], None)?;
        }
        Ok(())
    }

    /// Returns whether a pod's network is there.
    pub(super) fn exists(&self, pod: &str) -> bool {
        self.open(pod).is_ok() && Path::new("/sys/class/net").join(veth(&self.prefix, pod)).exists()
    }

    /// Opens a pod's network, to be entered.
    pub(super) fn open(&self, pod: &str) -> io::Result<OwnedFd> {
        Ok(File::open(Path::new(HANDLES).join(self.namespace(pod)))?.into())
    }

    /// Returns the pods that have networks.
    pub(super) fn pods(&self) -> Vec<String> {
        let entries = fs::read_dir(HANDLES).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter_map(|name| name.strip_prefix(&self.prefix).map(str::to_owned)).collect()
    }

    fn namespace(&self, pod: &str) -> String {
        format!("{}{pod}", self.prefix)
    }

    /// Lets packets from pod to pod through the firewall. The kernel may show it packets that only cross the bridge, and
    /// Docker has it drop what it does not know.
    fn let_through(&self) -> io::Result<()> {
        let shown = fs::read_to_string("/proc/sys/net/bridge/bridge-nf-call-iptables").unwrap_or_default();
        if shown.trim() != "1" || self.rule("-C").is_ok() {
            return Ok(());
        }
        match self.rule("-I") {
            // Without the program there are no rules of its kind either, or they are somebody's who knows.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                tracing::warn!("there is no program iptables: a firewall may keep pods from each other");
                Ok(())
            }
            done => done,
        }
    }

    fn forget_rule(&self) {
        if self.rule("-D").is_ok() {
            forget_empty_table();
        }
    }

    fn rule(&self, action: &str) -> io::Result<()> {
        let bridge = &self.bridge;
        let mut command = Command::new("iptables");
        command.args(["-w", "5", action, "FORWARD", "-i", bridge, "-o", bridge]);
        command.args(["-m", "comment", "--comment", "quarterdeck: pod to pod", "-j", "ACCEPT"]);
        run(&mut command).map(drop)
    }

    /// Keeps other nodes of this machine from the bridge meanwhile. The lock is on a directory, so that no file is left.
    fn lock() -> io::Result<File> {
        let file = File::open("/run")?;
        rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
        Ok(file)
    }
}

/// Removes the table that `iptables` makes in nftables where there is none, if nothing is in it but chains that let
/// everything pass.
fn forget_empty_table() {
    const TABLE: [&str; 3] = ["table", "ip", "filter"];
    let Ok(listed) = run(Command::new("nft").args(["--stateless", "list"]).args(TABLE)) else { return };
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    let is_idle = |line: &str| {
        line.is_empty()
            || line == "}"
            || line.starts_with("table ip filter")
            || line.starts_with("chain ")
            || (line.starts_with("type filter hook") && line.ends_with("policy accept;"))
    };
    if text.lines().map(str::trim).all(is_idle) {
        let _ = run(Command::new("nft").arg("delete").args(TABLE));
    }
}

/// Returns the hardware address of a pod: the same for all that ever have its address, so that what neighbours remember of
/// an earlier one stays true.
fn hardware(address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    // The first octet says that it is administered locally.
    format!("02:00:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

/// Returns the name of the host's end of a pod's link: unique, and not longer than the 15 letters that there are.
fn veth(prefix: &str, pod: &str) -> String {
    let hash = super::places::hash(&[prefix.as_bytes(), pod.as_bytes()]);
    format!("qd{:012x}", hash & 0xffff_ffff_ffff)
}

/// Does commands of `ip`, in a network namespace if one is given. Stops at the first that fails.
fn ip(commands: &[String], namespace: Option<&str>) -> io::Result<()> {
    let mut command = Command::new("ip");
    if let Some(namespace) = namespace {
        command.args(["-n", namespace]);
    }
    command.args(["-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let mut input = child.stdin.take().expect("it was asked for");
    let text: String = commands.iter().map(|command| format!("{command}\n")).collect();
    let written = input.write_all(text.as_bytes());
    drop(input);
    let output = child.wait_with_output()?;
    checked(output, &text)?;
    written
}

fn run(command: &mut Command) -> io::Result<Output> {
    let output = command.stdin(Stdio::null()).output()?;
    let name = command.get_program().to_string_lossy().into_owned();
    checked(output, &name)
}

fn checked(output: Output, what: &str) -> io::Result<Output> {
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{}: {}", what.trim().replace('\n', "; "), said.trim())))
}

/// Returns the host's address in the network of a node's pods.
pub(super) fn gateway(pods: Ipv4Net) -> Ipv4Addr {
    Ipv4Addr::from_bits(pods.network().to_bits() + 1)
}

/// Returns the IPv4 address among addresses of pods.
pub(super) fn v4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}
