//! Probes: whether containers have started, are alive and are ready, by asking them over the network.
//!
//! Each container that has probes has a task while it runs. It tells the pod's worker what it found, through the mailbox, when
//! that changes; failures are told to users one by one.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Container, HTTPGetAction, Pod, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use quarterdeck_core::client::EventType::Warning;
use quarterdeck_core::runtime::{PortMapping, Protocol};
use tokio::net::TcpStream;
use tokio::task::{AbortHandle, JoinSet};

use super::container::field;
use super::mailbox::Mailbox;
use super::status::Probed;
use crate::host::Host;

/// What a probe is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Whether it has started.
    Startup,
    /// Whether it is alive.
    Liveness,
    /// Whether it is ready.
    Readiness,
}

impl Purpose {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        }
    }
}

/// What a probe found, after as many answers as it takes to be sure.
#[derive(Debug, Clone)]
pub(super) struct Verdict {
    pub(super) container: String,
    pub(super) attempt: u32,
    pub(super) purpose: Purpose,
    pub(super) is_good: bool,
}

/// The probes of a pod's containers.
#[derive(Debug, Default)]
pub(super) struct Probes {
    tasks: JoinSet<()>,
    running: BTreeMap<String, (u32, AbortHandle)>,
    /// What is known, of containers that have a probe of these.
    pub(super) known: BTreeMap<String, Probed>,
}

/// Where a pod's ports are.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) address: IpAddr,
    pub(super) map: Vec<PortMapping>,
}

impl Target {
    fn port(&self, port: u16) -> SocketAddr {
        let is_it = |mapping: &&PortMapping| mapping.protocol == Protocol::Tcp && mapping.pod.port() == port;
        self.map.iter().find(is_it).map_or(SocketAddr::new(self.address, port), |mapping| mapping.local)
    }
}

/// Returns whether a container has any probe.
pub(super) fn has_any(container: &Container) -> bool {
    container.startup_probe.is_some()
        || container.liveness_probe.is_some()
        || container.readiness_probe.is_some()
}

impl Probes {
    /// Probes this attempt of a container from now on, unless that is so already. `was_ready`: the API says so of it.
    pub(super) fn watch(&mut self, host: &Arc<Host>, mailbox: &Mailbox, of: Subject) {
        let name = of.container.name.clone();
        if self.running.get(&name).is_some_and(|(attempt, _)| *attempt == of.attempt) {
            return;
        }
        self.forget(&name);
        while self.tasks.try_join_next().is_some() {}
        let probed = Probed {
            started: of.was_ready || of.container.startup_probe.is_none(),
            ready: of.was_ready || of.container.readiness_probe.is_none(),
        };
        self.known.insert(name.clone(), probed);
        let attempt = of.attempt;
        let task = self.tasks.spawn(watch(host.clone(), mailbox.clone(), of));
        self.running.insert(name, (attempt, task));
    }

    /// Stops probing a container, which does not run any more.
    pub(super) fn forget(&mut self, name: &str) {
        if let Some((_, task)) = self.running.remove(name) {
            task.abort();
        }
        self.known.remove(name);
    }

    /// Stops all probes.
    pub(super) fn stop(&mut self) {
        self.tasks.abort_all();
        self.running.clear();
    }

    /// Takes over what a probe found. Returns whether the container has to be restarted.
    pub(super) fn learn(&mut self, verdict: &Verdict) -> bool {
        let is_current =
            self.running.get(&verdict.container).is_some_and(|(attempt, _)| *attempt == verdict.attempt);
        let Some(known) = self.known.get_mut(&verdict.container).filter(|_| is_current) else { return false };
        match verdict.purpose {
            Purpose::Startup => known.started = verdict.is_good,
            Purpose::Readiness => known.ready = verdict.is_good,
            Purpose::Liveness => {}
        }
        !verdict.is_good && verdict.purpose != Purpose::Readiness
    }
}

/// The attempt of a container that is probed.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    pub(super) pod: Arc<Pod>,
    pub(super) container: Container,
    pub(super) attempt: u32,
    pub(super) target: Target,
    pub(super) was_ready: bool,
}

async fn watch(host: Arc<Host>, mailbox: Mailbox, of: Subject) {
    let watcher = Watcher { host, mailbox, of };
    if let Some(probe) = watcher.of.container.startup_probe.clone().filter(|_| !watcher.of.was_ready)
        && !watcher.run(&probe, Purpose::Startup).await
    {
        return;
    }
    let liveness = async {
        if let Some(probe) = watcher.of.container.liveness_probe.clone() {
            watcher.run(&probe, Purpose::Liveness).await;
        }
    };
    let readiness = async {
        if let Some(probe) = watcher.of.container.readiness_probe.clone() {
            watcher.run(&probe, Purpose::Readiness).await;
        }
    };
    tokio::join!(liveness, readiness);
}

struct Watcher {
    host: Arc<Host>,
    mailbox: Mailbox,
    of: Subject,
}

impl Watcher {
    /// Probes until the answer is final: that the container has started, or that it has to be restarted.
    async fn run(&self, probe: &Probe, purpose: Purpose) -> bool {
        let seconds = |value: Option<i32>, default: u64| {
            Duration::from_secs(
                value.and_then(|value| u64::try_from(value).ok()).filter(|v| *v > 0).unwrap_or(default),
            )
        };
        let times = |value: Option<i32>, default: i32| value.filter(|value| *value > 0).unwrap_or(default);
        let (timeout, period) = (seconds(probe.timeout_seconds, 1), seconds(probe.period_seconds, 10));
        let figures = self.host.figures.probe(purpose.as_str(), &self.of.pod, &self.of.container.name);
        tokio::time::sleep(seconds(probe.initial_delay_seconds, 0)).await;
        let mut told = None;
        let (mut last, mut row) = (None, 0);
        loop {
            let answer = match tokio::time::timeout(timeout, self.ask(probe)).await {
                Ok(answer) => answer,
                Err(_) => Err("timeout".to_owned()),
            };
            if let Err(message) = &answer {
                let field = field(&self.of.pod, &self.of.container.name);
                let message = format!("{} probe failed: {message}", purpose.as_str());
                self.host.tell_of_container(&self.of.pod, &field, (Warning, "Unhealthy"), message);
            }
            let is_good = answer.is_ok();
            figures.count(is_good);
            row = if last == Some(is_good) { row + 1 } else { 1 };
            last = Some(is_good);
            let needed =
                if is_good { times(probe.success_threshold, 1) } else { times(probe.failure_threshold, 3) };
            if row >= needed && told != Some(is_good) {
                told = Some(is_good);
                self.tell(purpose, is_good);
                let is_final =
                    if is_good { purpose == Purpose::Startup } else { purpose != Purpose::Readiness };
                if is_final {
                    return is_good;
                }
            }
            tokio::time::sleep(period).await;
        }
    }

    fn tell(&self, purpose: Purpose, is_good: bool) {
        let Subject { container, attempt, .. } = &self.of;
        let verdict = Verdict { container: container.name.clone(), attempt: *attempt, purpose, is_good };
        self.mailbox.put(|news| news.verdicts.push(verdict));
    }

    async fn ask(&self, probe: &Probe) -> Result<(), String> {
        if let Some(action) = &probe.http_get {
            return self.get(action).await;
        }
        if let Some(action) = &probe.tcp_socket {
            let address = self.address(&action.port, action.host.as_deref()).await?;
            let connected = TcpStream::connect(address).await;
            return connected.map(|_| ()).map_err(|error| format!("dial tcp {address}: {error}"));
        }
        Err("this kind of probe is not supported by this agent".to_owned())
    }

    async fn get(&self, action: &HTTPGetAction) -> Result<(), String> {
        let address = self.address(&action.port, action.host.as_deref()).await?;
        let path = action.path.as_deref().filter(|path| !path.is_empty()).unwrap_or("/");
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let failed = |error: &dyn std::fmt::Display| format!("Get \"http://{address}{path}\": {error}");
        let stream = TcpStream::connect(address).await.map_err(|error| failed(&error))?;
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| failed(&error))?;
        let mut request =
            http::Request::get(&path).header("user-agent", "kube-probe/1.33").header("accept", "*/*");
        let given = action.http_headers.as_deref().unwrap_or_default();
        if !given.iter().any(|header| header.name.eq_ignore_ascii_case("host")) {
            request = request.header("host", address.to_string());
        }
        for header in given {
            request = request.header(header.name.as_str(), header.value.as_str());
        }
        let request = request.body(Empty::<bytes::Bytes>::new()).map_err(|error| failed(&error))?;
        // The answer fails when the connection ends before it.
        let driven = async {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a probe's connection ended");
            }
            std::future::pending().await
        };
        let answer = async {
            tokio::select! {
                biased;
                answer = sender.send_request(request) => answer,
                never = driven => never,
            }
        };
        let code = answer.await.map_err(|error| failed(&error))?.status();
        if code.is_success() || code.is_redirection() {
            return Ok(());
        }
        Err(format!("HTTP probe failed with statuscode: {}", code.as_u16()))
    }

    async fn address(&self, port: &IntOrString, host: Option<&str>) -> Result<SocketAddr, String> {
        let number = match port {
            IntOrString::Int(number) => Some(*number),
            IntOrString::String(name) => name.parse().ok().or_else(|| {
                let ports = self.of.container.ports.iter().flatten();
                ports.clone().find(|port| port.name.as_ref() == Some(name)).map(|port| port.container_port)
            }),
        };
        let number = number.and_then(|number| u16::try_from(number).ok());
        let number = number.ok_or_else(|| format!("couldn't find port: {port:?}"))?;
        match host.filter(|host| !host.is_empty()) {
            None => Ok(self.of.target.port(number)),
            Some(host) => {
                let ip = host.parse().map_err(|_| format!("probe host {host:?} is no address"))?;
                Ok(SocketAddr::new(ip, number))
            }
        }
    }
}
