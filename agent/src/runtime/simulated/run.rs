//! The contract of `Runtime` on a simulated node.

use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use futures::{Stream, StreamExt};
use quarterdeck_core::runtime::{
    ContainerKey, ContainerSpec, ContainerState, Credentials, Event, Events, Image, Images, Logs,
    MountSupport, PodSandbox, PodState, PodStatus, PodUid, Protocol, Runtime, RuntimeError, RuntimeInfo,
    Started,
};
use tokio::time::{Instant, Sleep};

use super::SimulatedRuntime;
use super::builder::found;
use super::script::{Ending, Start};
use super::state::{Pod, State};
use crate::runtime::hub::Subscription;

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
