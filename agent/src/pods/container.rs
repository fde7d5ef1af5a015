//! Starting a container: its image, environment and mounts, then the program.

use k8s_openapi::api::core::v1::{Container, Pod};
use quarterdeck_core::client::EventType::{self, Normal, Warning};
use quarterdeck_core::runtime::{ContainerSpec, Image, RuntimeError};

use super::image::{self, Named};
use super::plan::init_containers;
use super::sandbox;
use super::worker::Worker;
use crate::env;
use crate::host::chain;

/// For how long an image that could not be pulled is shown as such before the wait for the next pull is.
const SHOWN: jiff::SignedDuration = jiff::SignedDuration::from_secs(2);

/// Returns the reason under which a start that failed is counted, as users are told.
fn code(error: &RuntimeError) -> &'static str {
    match error {
        RuntimeError::CannotRun { .. } => "RunContainerError",
        RuntimeError::Unsupported { .. } => "CreateContainerConfigError",
        _ => "CreateContainerError",
    }
}

impl Worker {
    /// Starts an attempt of a container. On failure it waits, and users are told why.
    pub(super) async fn start_container(&mut self, container: &Container, attempt: u32) {
        let pod = self.pod.clone();
        let field = field(&pod, &container.name);
        let name = container.name.as_str();
        if !self.volumes.are_made(&pod) && !self.make_volumes().await {
            return self.hold_container(name, "ContainerCreating", String::new(), None);
        }
        let of = Named { pod: &pod, container, field: &field };
        let image = match image::ensure(&self.host, of, &mut self.pulls).await {
            Ok(image) => image,
            Err(missing) => {
                let now = self.host.context.clock.now();
                let pulls_again = missing.waiting.reason == "ErrImagePull";
                let until = missing.until.or(pulls_again.then(|| now + SHOWN));
                return self.hold_container(name, &missing.waiting.reason, missing.waiting.message, until);
            }
        };
        let host = self.host.clone();
        let tell = |kind: EventType, reason: &str, message: String| {
            host.tell_of_container(&pod, &field, (kind, reason), message);
        };
        let spec = match self.describe(&pod, container, attempt, image.as_ref()).await {
            Ok(spec) => spec,
            Err(what) => {
                tell(Warning, "Failed", format!("Error: {what}"));
                return self.hold_container(name, "CreateContainerConfigError", what, None);
            }
        };
        self.note_attempt(name);
        let is_init = init_containers(&pod).iter().any(|init| init.name == name);
        match host.runtime.start_container(&self.uid, &spec).await {
            Ok(started) => {
                tell(Normal, "Created", format!("Created container: {name}"));
                tell(Normal, "Started", format!("Started container {name}"));
                for warning in started.warnings {
                    tell(Warning, "RuntimeWarning", warning);
                }
                host.figures.started_container(is_init, None);
                self.view.put(started.status);
                self.holds.containers.remove(name);
            }
            Err(error) => {
                host.figures.started_container(is_init, Some(code(&error)));
                self.failed_start(container, attempt, error, tell).await;
            }
        }
    }

    /// Lengthens the wait before the next attempt, if this one follows an end.
    fn note_attempt(&mut self, name: &str) {
        let ended = self.view.newest(name).and_then(|newest| newest.exit()).map(|exit| exit.finished_at);
        if let Some(ended) = ended {
            let now = self.host.context.clock.now();
            self.holds.crashes.entry(name.to_owned()).or_default().tried(ended, now);
        }
    }

    async fn failed_start(
        &mut self,
        container: &Container,
        attempt: u32,
        error: RuntimeError,
        tell: impl Fn(EventType, &str, String),
    ) {
        let name = container.name.as_str();
        match error {
            RuntimeError::CannotRun { message, .. } => {
                tell(Warning, "Failed", format!("Error: failed to start container {name:?}: {message}"));
                let image = container.image.as_deref().unwrap_or_default();
                self.view.failed(name, attempt, image, message, self.host.context.clock.now());
            }
            RuntimeError::Unsupported { what } => {
                tell(Warning, "Unsupported", what.clone());
                self.hold_container(name, "CreateContainerConfigError", what, None);
            }
            // The view is behind: what is there is looked at before the next step.
            RuntimeError::PodNotRunning(_) | RuntimeError::Conflict { .. } => {
                self.mailbox.put(|news| news.refresh = true);
                let message = chain(&error);
                self.hold_container(
                    name,
                    "CreateContainerError",
                    message,
                    Some(self.host.context.clock.now() + SHOWN),
                );
            }
            error => {
                let message = chain(&error);
                tell(Warning, "Failed", format!("Error: {message}"));
                self.hold_container(name, "CreateContainerError", message, None);
            }
        }
    }

    /// Works out everything that an attempt needs.
    async fn describe(
        &mut self,
        pod: &Pod,
        container: &Container,
        attempt: u32,
        image: Option<&Image>,
    ) -> Result<ContainerSpec, String> {
        let info = self.host.info();
        let machine = info.as_ref().map(|info| &info.machine);
        let env = env::environment(&self.host, &self.known(pod, machine), container).await?;
        let lookup = |name: &str| env.get(name).cloned();
        let expand = |list: &Option<Vec<String>>| {
            list.iter().flatten().map(|text| env::expand(text, lookup)).collect::<Result<Vec<_>, _>>()
        };
        let mut mounts = self.volumes.mounts(container, &env)?;
        mounts.extend(self.volumes.message_mount(container, attempt)?);
        Ok(ContainerSpec {
            name: container.name.as_str().into(),
            attempt,
            image: container.image.clone().unwrap_or_default(),
            command: expand(&container.command)?,
            args: expand(&container.args)?,
            working_dir: container.working_dir.clone().filter(|dir| !dir.is_empty()),
            mounts,
            resources: sandbox::resources(container)?,
            security: sandbox::security(pod, container, image)?,
            tty: container.tty == Some(true),
            stdin: container.stdin == Some(true),
            labels: [("io.kubernetes.container.name".to_owned(), container.name.clone())].into(),
            env,
        })
    }
}

/// Names a container as events do.
pub(super) fn field(pod: &Pod, name: &str) -> String {
    let is_init = init_containers(pod).iter().any(|init| init.name == name);
    format!("spec.{}{{{name}}}", if is_init { "initContainers" } else { "containers" })
}
