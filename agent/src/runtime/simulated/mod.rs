//! A runtime that runs nothing: its containers follow scripts, in tokio's time.
//!
//! Start at [`SimulatedRuntime`]. It has no task and no thread: what should have happened by now is worked out whenever
//! somebody looks, so a node costs a few hundred bytes and a process can hold thousands. With paused time it is
//! deterministic.

mod builder;
mod logs;
mod run;
mod script;
mod state;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use quarterdeck_core::clock::Clock;
use quarterdeck_core::runtime::{
    ContainerKey, ContainerState, Event, EventKind, Machine, PodState, PodUid, RuntimeError,
};
use tokio::time::Instant;

use super::hub::Hub;
pub use builder::{ImageScript, SimulatedBuilder};
use builder::{ImageScripts, Scripts};
pub use script::{Ending, Script};
use state::{Container, State};

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

#[cfg(test)]
mod tests;
