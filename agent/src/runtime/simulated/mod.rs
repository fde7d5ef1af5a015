//! A runtime that runs nothing: its containers follow scripts, in tokio's time.
//!
//! Start at [`SimulatedRuntime`]. It has no task and no thread: what should have happened by now is worked out whenever
//! somebody looks, so a node costs a few hundred bytes and a process can hold thousands. With paused time it is
//! deterministic.

mod builder;
mod logs;
mod script;
mod state;

use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use futures::{Stream, StreamExt};
use quarterdeck_core::clock::Clock;
use quarterdeck_core::runtime::{
    ContainerKey, ContainerSpec, ContainerState, Credentials, Event, EventKind, Events, Image, Images, Logs,
    Machine, MountSupport, PodSandbox, PodState, PodStatus, PodUid, Protocol, Runtime, RuntimeError,
    RuntimeInfo, Started,
};
use tokio::time::{Instant, Sleep};

use super::hub::{Hub, Subscription};
pub use builder::{ImageScript, SimulatedBuilder};
use builder::{ImageScripts, Scripts, found};
use script::Start;
pub use script::{Ending, Script};
use state::{Container, Pod, State};

/// A runtime whose containers follow [`Script`]s. Clones are the same node.
///
/// It can be told what to do to a container at any time ([`exit`](Self::exit), [`crash`](Self::crash), …), and to fail
/// ([`set_available`](Self::set_available)). It carries out every request, except what a script refuses.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use quarterdeck_agent::runtime::simulated::{Script, SimulatedRuntime};
/// use quarterdeck_core::runtime::{ContainerSpec, PodSandbox, Runtime};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), quarterdeck_core::runtime::RuntimeError> {
/// let node = SimulatedRuntime::builder()
///     .script(|_pod, _container| Script::run().exits(Duration::from_secs(30), 1))
///     .build();
/// let pod = PodSandbox { uid: "0b5f".into(), name: "job".into(), ..PodSandbox::default() };
///
/// node.start_pod(&pod).await?;
/// node.start_container(&pod.uid, &ContainerSpec { name: "main".into(), ..ContainerSpec::default() }).await?;
/// tokio::time::sleep(Duration::from_secs(30)).await; // returns at once: time is paused
///
/// let pods = node.pods().await?;
/// assert_eq!(pods[0].newest("main").and_then(|container| container.exit()?.exit_code), Some(1));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SimulatedRuntime(Arc<Shared>);

struct Shared {
    clock: Clock,
    machine: Machine,
    scripts: Scripts,
    images: ImageScripts,
    hub: Hub,
    changed: tokio::sync::Notify,
    state: Mutex<State>,
}

impl fmt::Debug for SimulatedRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedRuntime").field("machine", &self.0.machine).finish_non_exhaustive()
    }
}

impl Default for SimulatedRuntime {
    fn default() -> Self {
        Self::builder().build()
    }
}

impl SimulatedRuntime {
    /// Makes a node on which every container runs for ever, that reads dates from `clock`.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self::builder().clock(clock).build()
    }

    /// Starts to describe a node.
    pub fn builder() -> SimulatedBuilder {
        SimulatedBuilder::default()
    }

    /// Returns the uid of a pod that is held.
    #[must_use]
    pub fn find(&self, namespace: &str, name: &str) -> Option<PodUid> {
        let state = self.state();
        let found = state.pods.values().find(|p| p.sandbox.namespace == namespace && p.sandbox.name == name);
        found.map(|pod| pod.sandbox.uid.clone())
    }

    /// Has a running container's program return `code`. Returns whether there was one.
    pub fn exit(&self, pod: &PodUid, container: &str, code: i32) -> bool {
        self.end(pod, container, Ending::Code(code))
    }

    /// Has a running container ended by SIGSEGV. Returns whether there was one.
    pub fn crash(&self, pod: &PodUid, container: &str) -> bool {
        self.end(pod, container, Ending::Signal(11))
    }

    /// Ends a running container in this way. Returns whether there was one.
    pub fn end(&self, pod: &PodUid, container: &str, ending: Ending) -> bool {
        let ended = {
            let mut state = self.state();
            let key = running(&state, pod, container);
            if let Some(key) = &key {
                state.end(key, Instant::now(), ending);
            }
            key.is_some()
        };
        self.settle();
        ended
    }

    /// Has a running container write a line to its log. Returns whether there was one.
    pub fn say(&self, pod: &PodUid, container: &str, line: impl Into<String>) -> bool {
        let said = {
            let mut state = self.state();
            let key = running(&state, pod, container);
            if let Some(container) = key.as_ref().and_then(|key| state.container_mut(key)) {
                container.say(Instant::now(), line.into());
            }
            key.is_some()
        };
        self.0.changed.notify_waiters();
        said
    }

    /// Has a pod lose its sandbox, and with it its containers. Returns whether there was one to lose.
    pub fn lose_pod(&self, pod: &PodUid) -> bool {
        {
            let mut state = self.state();
            let Some(lost) = state.pods.get_mut(pod).filter(|pod| pod.state == PodState::Ready) else {
                return false;
            };
            lost.state = PodState::Lost;
            let ip = lost.ip.take();
            let keys: Vec<_> = lost.containers.keys().cloned().collect();
            if let Some(ip) = ip {
                state.addresses.give_back(ip);
            }
            for (name, attempt) in keys {
                state.end(
                    &ContainerKey { pod: pod.clone(), name, attempt },
                    Instant::now(),
                    Ending::Signal(9),
                );
            }
        }
        self.settle();
        self.0.hub.publish(&Event { pod: pod.clone(), kind: EventKind::PodChanged });
        true
    }

    /// Has every call fail with [`RuntimeError::Unavailable`] and ends all streams of events, or (`true`) works again.
    /// Containers follow their scripts meanwhile.
    pub fn set_available(&self, available: bool) {
        self.state().available = available;
        if !available {
            self.0.hub.interrupt();
        }
    }

    /// Locks the table after doing what is due.
    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.0.state.lock().expect("nothing panics while it holds the lock");
        for event in state.advance(Instant::now()) {
            self.0.hub.publish(&event);
        }
        state
    }

    /// As [`state`](Self::state), for calls that fail while the runtime is unavailable.
    fn available(&self) -> Result<MutexGuard<'_, State>, RuntimeError> {
        let state = self.state();
        if state.available {
            Ok(state)
        } else {
            Err(RuntimeError::unavailable("the simulated runtime was told to fail"))
        }
    }

    /// Returns whether an image is there.
    fn has(&self, state: &State, image: &str) -> bool {
        state.pulled.contains(image) || self.0.images.of(image) == ImageScript::Present
    }

    /// Has everybody who waits for something look again, after the table was changed.
    fn settle(&self) {
        drop(self.state());
        self.0.hub.wake();
        self.0.changed.notify_waiters();
    }

    /// Waits until `look` finds what it looks for, looking again whenever something happened or is due, and at the
    /// time that `next` tells.
    async fn until<T>(
        &self,
        look: impl Fn(&State) -> Option<T>,
        next: impl Fn(&State) -> Option<Instant>,
    ) -> T {
        loop {
            let changed = self.0.changed.notified();
            let next = {
                let state = self.state();
                if let Some(found) = look(&state) {
                    return found;
                }
                state.next().into_iter().chain(next(&state)).min()
            };
            tokio::select! {
                biased;
                () = changed => {}
                () = sleep_until(next) => {}
            }
        }
    }
}

#[async_trait]
impl Runtime for SimulatedRuntime {
    async fn info(&self) -> Result<RuntimeInfo, RuntimeError> {
        drop(self.available()?);
        Ok(RuntimeInfo {
            name: "simulated".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            machine: self.0.machine.clone(),
            mounts: MountSupport::InPlace,
        })
    }

    async fn pods(&self) -> Result<Vec<PodStatus>, RuntimeError> {
        Ok(self.available()?.pods.values().map(Pod::status).collect())
    }

    async fn start_pod(&self, pod: &PodSandbox) -> Result<PodStatus, RuntimeError> {
        let mut state = self.available()?;
        if let Some(held) = state.pods.get(&pod.uid).filter(|held| held.state == PodState::Ready) {
            return Ok(held.status());
        }
        if let Some(port) = taken_port(&state, pod) {
            return Err(RuntimeError::Exhausted { what: port });
        }
        let ip = if pod.host_network {
            None
        } else {
            let what = || RuntimeError::Exhausted { what: "no address is left for pods".to_owned() };
            Some(state.addresses.take().ok_or_else(what)?)
        };
        let containers = state.pods.remove(&pod.uid).map(|lost| lost.containers).unwrap_or_default();
        let made = Pod {
            sandbox: pod.clone(),
            created_at: self.0.clock.now(),
            state: PodState::Ready,
            ip,
            containers,
        };
        let status = made.status();
        state.pods.insert(pod.uid.clone(), made);
        Ok(status)
    }

    async fn start_container(&self, pod: &PodUid, spec: &ContainerSpec) -> Result<Started, RuntimeError> {
        let key = spec.key(pod);
        {
            let mut state = self.available()?;
            let held = state.pods.get(pod).filter(|pod| pod.state == PodState::Ready);
            let held = held.ok_or_else(|| RuntimeError::PodNotRunning(pod.clone()))?;
            if state.container(&key).is_none() {
                if let Some(held) = in_the_way(held, &key) {
                    return Err(RuntimeError::Conflict { container: key, held });
                }
                let script = self.0.scripts.of(&held.sandbox, spec);
                match &script.start {
                    Start::Refused(what) => return Err(RuntimeError::unsupported(what)),
                    Start::Fails(message) => {
                        return Err(RuntimeError::CannotRun { container: key, message: message.clone() });
                    }
                    Start::Runs if !self.has(&state, &spec.image) => {
                        return Err(RuntimeError::ImageMissing(spec.image.clone()));
                    }
                    Start::Runs => state.add(&key, spec, script, (Instant::now(), self.0.clock.now())),
                }
            }
        }
        self.settle();
        let started = |state: &State| {
            let Some(container) = state.container(&key) else {
                return Some(None);
            };
            let waits = matches!(container.state, ContainerState::Created);
            (!waits).then(|| Some(container.status(pod)))
        };
        let status = self.until(started, |_| None).await;
        let status = status.ok_or_else(|| RuntimeError::PodNotRunning(pod.clone()))?;
        Ok(Started { status, warnings: Vec::new() })
    }

    async fn stop_container(&self, container: &ContainerKey, grace: Duration) -> Result<(), RuntimeError> {
        self.available()?.stop(container, Instant::now(), grace);
        self.settle();
        let ended = |state: &State| {
            let held = state.container(container);
            held.is_none_or(|held| matches!(held.state, ContainerState::Exited(_))).then_some(())
        };
        self.until(ended, |_| None).await;
        Ok(())
    }

    async fn remove_pod(&self, pod: &PodUid) -> Result<(), RuntimeError> {
        {
            let mut state = self.available()?;
            let keys: Vec<_> =
                state.pods.get(pod).into_iter().flat_map(|pod| pod.containers.keys().cloned()).collect();
            for (name, attempt) in keys {
                state.end(
                    &ContainerKey { pod: pod.clone(), name, attempt },
                    Instant::now(),
                    Ending::Signal(9),
                );
            }
        }
        self.state().remove(pod);
        self.settle();
        Ok(())
    }

    async fn events(&self) -> Result<Events, RuntimeError> {
        drop(self.available()?);
        let events = self.0.hub.subscribe();
        Ok(Box::pin(DueEvents { node: self.clone(), events, sleep: None }))
    }

    fn images(&self) -> Option<&dyn Images> {
        Some(self)
    }

    fn logs(&self) -> Option<&dyn Logs> {
        Some(self)
    }
}

#[async_trait]
impl Images for SimulatedRuntime {
    async fn present(&self, image: &str) -> Result<Option<Image>, RuntimeError> {
        let state = self.available()?;
        Ok(self.has(&state, image).then(|| found(image)))
    }

    async fn pull(&self, image: &str, _: Option<&Credentials>) -> Result<Image, RuntimeError> {
        drop(self.available()?);
        let pulled = self.0.images.pull(image).await?;
        self.available()?.pulled.insert(image.to_owned());
        Ok(pulled)
    }
}

/// A stream of events that does what is due while it is polled.
struct DueEvents {
    node: SimulatedRuntime,
    events: Subscription,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Stream for DueEvents {
    type Item = Result<Event, RuntimeError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let next = self.node.state().next();
            if let Poll::Ready(item) = self.events.poll_next_unpin(cx) {
                return Poll::Ready(item);
            }
            let Some(next) = next else { return Poll::Pending };
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(next)));
            if sleep.deadline() != next {
                sleep.as_mut().reset(next);
            }
            ready!(sleep.as_mut().poll(cx));
        }
    }
}

/// Returns what identifies the content of an image.
fn image_id(image: &str) -> String {
    format!("simulated:{image}")
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Returns the attempt of a container that runs.
fn running(state: &State, pod: &PodUid, name: &str) -> Option<ContainerKey> {
    let containers = &state.pods.get(pod)?.containers;
    let runs = |(key, container): &(&(Arc<str>, u32), &Container)| {
        *key.0 == *name && matches!(container.state, ContainerState::Running { .. })
    };
    let ((name, attempt), _) = containers.iter().find(runs)?;
    Some(ContainerKey { pod: pod.clone(), name: name.clone(), attempt: *attempt })
}

/// Returns the attempt because of which another may not start.
fn in_the_way(pod: &Pod, key: &ContainerKey) -> Option<u32> {
    let others = pod.containers.iter().filter(|((name, _), _)| *name == key.name);
    others
        .filter(|((_, attempt), other)| {
            *attempt > key.attempt || !matches!(other.state, ContainerState::Exited(_))
        })
        .map(|((_, attempt), _)| *attempt)
        .max()
}

/// Returns what a pod's host ports collide with, in words.
fn taken_port(state: &State, pod: &PodSandbox) -> Option<String> {
    let of = |pod: &PodSandbox| -> Vec<_> {
        let ports = pod.ports.iter().filter_map(|port| Some((port.host_port?, port.protocol, port.host_ip)));
        ports.collect()
    };
    let wanted = of(pod);
    let others = state.pods.values().filter(|other| other.state == PodState::Ready);
    let mut taken = others.flat_map(|other| of(&other.sandbox));
    let collides = |taken: &(u16, Protocol, Option<IpAddr>)| {
        wanted.iter().any(|port| {
            (port.0, port.1) == (taken.0, taken.1)
                && (port.2 == taken.2 || port.2.is_none() || taken.2.is_none())
        })
    };
    taken
        .find(collides)
        .map(|(port, protocol, _)| format!("host port {port}/{protocol} is taken by another pod"))
}

#[cfg(test)]
mod tests;
