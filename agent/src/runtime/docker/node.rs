//! The pods of a node on its engine.

use std::sync::Arc;
use std::time::Duration;

use bollard::errors::Error;
use futures::future::try_join_all;
use quarterdeck_core::clock::moment_in;
use quarterdeck_core::runtime::{
    ContainerKey, ContainerSpec, ContainerState, PodSandbox, PodState, PodStatus, PodUid, RuntimeError,
    Started,
};
use tokio::sync::watch;
use tokio::time::Instant;

use super::engine::{Engine, Held, absent, message, status as answer};
use super::labels::Tag;
use super::{body, status};
use crate::runtime::hub::Hub;
use crate::runtime::tasks::Turns;

/// How often a container that is to end is looked at, even if nothing is heard of it.
const LOOK: Duration = Duration::from_secs(1);
/// How long a container may take to end that was killed.
const SOON: Duration = Duration::from_secs(30);

/// A node whose engine answered.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) engine: Engine,
    pub(super) pause_image: String,
    pub(super) hub: Hub,
    pub(super) turns: Turns,
    /// Whether events are passed on.
    pub(super) listening: watch::Sender<bool>,
}

impl Node {
    pub(super) async fn pods(&self) -> Result<Vec<PodStatus>, RuntimeError> {
        Ok(status::pods(&self.engine.held(None).await?))
    }

    /// Returns an attempt of a container, if it is held.
    pub(super) async fn find(&self, key: &ContainerKey) -> Result<Option<Held>, RuntimeError> {
        let held = self.engine.held(Some(&key.pod)).await?;
        Ok(held.into_iter().find(|held| held.tag.key().as_ref() == Some(key)))
    }

    pub(super) async fn start_pod(&self, pod: &PodSandbox) -> Result<PodStatus, RuntimeError> {
        let held = self.engine.held(Some(&pod.uid)).await?;
        if !held.is_empty() {
            let status = status::pod(&held);
            if status.state == PodState::Ready {
                return Ok(status);
            }
        }
        // What ran in a lost sandbox is cut off: it ends, and the sandbox goes.
        self.kill_all(&pod.uid).await;
        let sandboxes = held.iter().filter(|held| held.tag.container.is_none());
        try_join_all(sandboxes.map(|sandbox| self.engine.remove(&sandbox.id))).await?;
        let attempt = status::sandbox(&held).map_or(0, |sandbox| sandbox.tag.attempt + 1);

        let id = self.make_sandbox(pod, attempt).await?;
        if let Err(error) = self.engine.start(&id).await {
            self.engine.remove(&id).await?;
            return Err(cannot_start_pod(error));
        }
        let held = self.engine.held(Some(&pod.uid)).await?;
        if held.is_empty() {
            return Err(RuntimeError::unavailable("the sandbox was removed while it was started"));
        }
        Ok(status::pod(&held))
    }

    /// Makes the container of a sandbox, and its image when somebody has removed it.
    async fn make_sandbox(&self, pod: &PodSandbox, attempt: u32) -> Result<String, RuntimeError> {
        let tag = Tag::sandbox(pod, attempt);
        let mut tries = 0;
        loop {
            self.engine.provide_pause(&self.pause_image).await?;
            let body = body::sandbox(pod, &tag, &self.pause_image, &self.engine.node);
            match self.engine.create(&tag, body).await {
                Ok((id, _)) => return Ok(id),
                // It was there a moment ago.
                Err(error) if answer(&error) == Some(404) && tries < 3 => tries += 1,
                Err(error) => return Err(RuntimeError::unavailable(error)),
            }
        }
    }

    pub(super) async fn start_container(
        &self,
        key: &ContainerKey,
        spec: &ContainerSpec,
    ) -> Result<Started, RuntimeError> {
        let held = self.engine.held(Some(&key.pod)).await?;
        let sandbox = status::sandbox(&held).filter(|sandbox| status::is_running(&sandbox.seen));
        let sandbox = sandbox.ok_or_else(|| RuntimeError::PodNotRunning(key.pod.clone()))?;
        let attempts: Vec<_> =
            held.iter().filter(|held| held.tag.key().is_some_and(|other| other.name == key.name)).collect();
        let (id, warnings) = match attempts.iter().find(|held| held.tag.attempt == key.attempt) {
            Some(held) if status::state(&held.seen) != ContainerState::Created => {
                let status = status::container(held).expect("it has the name of a container");
                return Ok(Started { status, warnings: Vec::new() });
            }
            Some(made) => (made.id.clone(), Vec::new()),
            None => {
                if let Some(held) = in_the_way(&attempts, key.attempt) {
                    return Err(RuntimeError::Conflict { container: key.clone(), held });
                }
                self.forget_older(&attempts).await?;
                let user = self.user(spec).await?;
                let tag = sandbox.tag.container(spec);
                let body = body::container(key, spec, user, &sandbox.id, &tag, &self.engine.node)?;
                self.engine.create(&tag, body).await.map_err(|error| cannot_create(key, spec, error))?
            }
        };
        if let Err(error) = self.engine.start(&id).await {
            self.engine.remove(&id).await?;
            return Err(cannot_run(key, error));
        }
        // Asked for now: what was seen before may be older than the start.
        self.engine.forget(Some(&id));
        let held = self.find(key).await?;
        let status = held.as_ref().and_then(status::container);
        let status = status.ok_or_else(|| RuntimeError::ContainerNotFound(key.clone()))?;
        Ok(Started { status, warnings })
    }

    /// Returns whom a container runs as, if not as its image says.
    async fn user(&self, spec: &ContainerSpec) -> Result<Option<String>, RuntimeError> {
        match (spec.security.run_as_user, spec.security.run_as_group) {
            (None, None) => Ok(None),
            (Some(user), None) => Ok(Some(user.to_string())),
            (Some(user), Some(group)) => Ok(Some(format!("{user}:{group}"))),
            (None, Some(group)) => {
                let image = absent(self.engine.docker.inspect_image(&spec.image).await)?;
                let user = image.and_then(|image| image.config?.user).unwrap_or_default();
                let user = user.split(':').next().filter(|user| !user.is_empty()).unwrap_or("0");
                Ok(Some(format!("{user}:{group}")))
            }
        }
    }

    /// Removes the attempts that ended before the last that did.
    async fn forget_older(&self, attempts: &[&Held]) -> Result<(), RuntimeError> {
        let newest = attempts.iter().map(|held| held.tag.attempt).max();
        let older = attempts.iter().filter(|held| Some(held.tag.attempt) != newest);
        try_join_all(older.map(|held| self.engine.remove(&held.id))).await.map(drop)
    }

    pub(super) async fn stop(&self, key: &ContainerKey, grace: Duration) -> Result<(), RuntimeError> {
        let Some(held) = self.find(key).await?.filter(|held| status::is_running(&held.seen)) else {
            return Ok(());
        };
        let signal = held.seen.config.as_ref().and_then(|config| config.stop_signal.as_deref());
        let deadline = moment_in(grace);
        self.engine.kill(&held.id, signal.unwrap_or("SIGTERM")).await?;
        if !self.ends_by(&held.id, deadline).await? {
            self.engine.kill(&held.id, "SIGKILL").await?;
            if !self.ends_by(&held.id, Instant::now() + SOON).await? {
                return Err(RuntimeError::unavailable(format!(
                    "{key} was killed, and did not end in {SOON:?}"
                )));
            }
        }
        Ok(())
    }

    /// Waits until a container has ended, at most until `deadline`. Returns whether it has.
    async fn ends_by(&self, id: &str, deadline: Instant) -> Result<bool, RuntimeError> {
        let mut pause = Duration::from_millis(5);
        loop {
            match self.engine.inspect(id).await? {
                Some(seen) if status::is_running(&seen) => {}
                _ => return Ok(true),
            }
            let now = Instant::now();
            if now >= deadline {
                return Ok(false);
            }
            tokio::time::sleep_until(deadline.min(now + pause)).await;
            pause = (pause * 2).min(LOOK / 4);
        }
    }

    /// Kills the containers of a pod, as far as that goes.
    pub(super) async fn kill_all(&self, pod: &PodUid) {
        for held in self.engine.held(Some(pod)).await.unwrap_or_default() {
            if held.tag.container.is_some()
                && status::is_running(&held.seen)
                && let Err(error) = self.engine.kill(&held.id, "SIGKILL").await
            {
                tracing::warn!(%pod, %error, "cannot kill a container of a pod that lost its sandbox");
            }
        }
    }

    pub(super) async fn remove_pod(&self, pod: &PodUid) -> Result<(), RuntimeError> {
        let held = self.engine.held(Some(pod)).await?;
        let (sandboxes, containers): (Vec<_>, Vec<_>) =
            held.iter().partition(|held| held.tag.container.is_none());
        for held in [containers, sandboxes] {
            try_join_all(held.into_iter().map(|held| self.engine.remove(&held.id))).await?;
        }
        Ok(())
    }

    /// Waits until events are passed on.
    pub(super) async fn heard(self: &Arc<Self>) -> Result<(), RuntimeError> {
        let mut listening = self.listening.subscribe();
        match tokio::time::timeout(SOON, listening.wait_for(|listening| *listening)).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(RuntimeError::unavailable("the engine tells no events")),
        }
    }
}

/// Returns the attempt because of which another may not start.
fn in_the_way(attempts: &[&Held], attempt: u32) -> Option<u32> {
    let others = attempts.iter().filter(|held| {
        held.tag.attempt > attempt || !matches!(status::state(&held.seen), ContainerState::Exited(_))
    });
    others.map(|held| held.tag.attempt).max()
}

fn cannot_start_pod(error: Error) -> RuntimeError {
    let said = message(&error);
    if said.contains("port is already allocated") || said.contains("address already in use") {
        return RuntimeError::Exhausted { what: said };
    }
    if said.contains("no available IPv4 addresses") {
        return RuntimeError::Exhausted { what: said };
    }
    RuntimeError::unavailable(error)
}

fn cannot_create(key: &ContainerKey, spec: &ContainerSpec, error: Error) -> RuntimeError {
    match answer(&error) {
        Some(404) => RuntimeError::ImageMissing(spec.image.clone()),
        Some(400) => RuntimeError::CannotRun { container: key.clone(), message: message(&error) },
        _ => RuntimeError::unavailable(error),
    }
}

fn cannot_run(key: &ContainerKey, error: Error) -> RuntimeError {
    match answer(&error) {
        Some(_) => RuntimeError::CannotRun { container: key.clone(), message: message(&error) },
        None => RuntimeError::unavailable(error),
    }
}
