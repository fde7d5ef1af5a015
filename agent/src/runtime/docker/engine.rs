//! Talking to the engine.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error;
use bollard::models::{ContainerInspectResponse, ContainerSummary, SystemInfo};
use bollard::query_parameters::{
    CreateContainerOptions, CreateImageOptions, InspectContainerOptions, KillContainerOptions,
    ListContainersOptions, PruneImagesOptions, RemoveContainerOptions,
};
use futures::{StreamExt, TryStreamExt, stream};
use quarterdeck_core::runtime::{PodUid, RuntimeError};

use super::labels::{NODE, Tag, UID};
use super::pause;

/// The label of images of sandboxes.
const PAUSE: &str = "io.quarterdeck.pause";
/// How many containers are looked at at a time.
const AT_ONCE: usize = 8;

/// The engine, and what is known of its containers.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) docker: Docker,
    pub(super) node: String,
    providing: tokio::sync::Mutex<()>,
    /// What was last seen of containers, by id, with the state that it was seen in. What changes without changing its state
    /// is dropped by [`Engine::forget`].
    seen: Mutex<BTreeMap<String, (String, Arc<ContainerInspectResponse>)>>,
}

/// A container of this node.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) id: String,
    pub(super) tag: Tag,
    pub(super) seen: Arc<ContainerInspectResponse>,
}

impl Engine {
    /// Connects to the engine at this address, for this node.
    pub(super) async fn connect(endpoint: &str, node: String) -> Result<Self, RuntimeError> {
        let unreachable = |error: Error| {
            let source = format!("cannot reach a Docker engine at {endpoint}: {error}");
            RuntimeError::unavailable(source)
        };
        let docker = Docker::connect_with_host(endpoint).map_err(unreachable)?;
        let docker = docker.negotiate_version().await.map_err(unreachable)?;
        Ok(Self { docker, node, providing: Default::default(), seen: Mutex::default() })
    }

    pub(super) async fn info(&self) -> Result<SystemInfo, RuntimeError> {
        self.docker.info().await.map_err(RuntimeError::unavailable)
    }

    /// Returns the containers of this node, or of one pod of it, that are there.
    pub(super) async fn held(&self, pod: Option<&PodUid>) -> Result<Vec<Held>, RuntimeError> {
        let mut labels = vec![format!("{NODE}={}", self.node)];
        labels.extend(pod.map(|uid| format!("{UID}={uid}")));
        let options = ListContainersOptions {
            all: true,
            filters: Some([("label".to_owned(), labels)].into()),
            ..ListContainersOptions::default()
        };
        let listed = self.docker.list_containers(Some(options)).await.map_err(RuntimeError::unavailable)?;
        if pod.is_none() {
            let ids: Vec<_> = listed.iter().filter_map(|container| container.id.as_deref()).collect();
            self.cache().retain(|id, _| ids.contains(&id.as_str()));
        }
        let held = stream::iter(listed).map(|listed| self.look(listed)).buffered(AT_ONCE);
        let mut held: Vec<Held> = held.try_filter_map(|held| async { Ok(held) }).try_collect().await?;
        let name = |held: &Held| held.tag.container.as_ref().map(|(name, _)| name.clone());
        held.sort_by_cached_key(|held| (held.tag.uid.clone(), name(held), held.tag.attempt));
        Ok(held)
    }

    /// Looks at a container that was listed; `None` if it is gone, or not ours.
    async fn look(&self, listed: ContainerSummary) -> Result<Option<Held>, RuntimeError> {
        let (Some(id), Some(labels)) = (listed.id, listed.labels) else { return Ok(None) };
        let Some(tag) = Tag::read(&labels) else { return Ok(None) };
        let state = listed.state.map(|state| state.to_string()).unwrap_or_default();
        let known = self.cache().get(&id).filter(|(known, _)| *known == state).map(|(_, seen)| seen.clone());
        if let Some(seen) = known {
            return Ok(Some(Held { id, tag, seen }));
        }
        let Some(seen) = self.inspect(&id).await? else { return Ok(None) };
        Ok(Some(Held { id, tag, seen }))
    }

    /// Returns what there is to know of a container, if it is there.
    pub(super) async fn inspect(
        &self,
        id: &str,
    ) -> Result<Option<Arc<ContainerInspectResponse>>, RuntimeError> {
        let inspected = absent(self.docker.inspect_container(id, None::<InspectContainerOptions>).await)?;
        let Some(inspected) = inspected.map(Arc::new) else { return Ok(None) };
        let state =
            inspected.state.as_ref().and_then(|state| Some(state.status?.to_string())).unwrap_or_default();
        if let Some(id) = &inspected.id {
            self.cache().insert(id.clone(), (state, inspected.clone()));
        }
        Ok(Some(inspected))
    }

    /// Forgets what is known of a container, because something happened to it, or of all.
    pub(super) fn forget(&self, id: Option<&str>) {
        match id {
            Some(id) => drop(self.cache().remove(id)),
            None => self.cache().clear(),
        }
    }

    fn cache(&self) -> MutexGuard<'_, BTreeMap<String, (String, Arc<ContainerInspectResponse>)>> {
        self.seen.lock().expect("nothing panics while it holds the lock")
    }

    /// Makes a container with this tag and returns its id, and what the engine has to say about it. One that is there by
    /// this name is taken for it: it was made by an earlier call whose answer was lost.
    pub(super) async fn create(
        &self,
        tag: &Tag,
        body: bollard::models::ContainerCreateBody,
    ) -> Result<(String, Vec<String>), Error> {
        let name = tag.docker_name();
        let options =
            CreateContainerOptions { name: Some(name.clone()), ..CreateContainerOptions::default() };
        match self.docker.create_container(Some(options), body).await {
            Ok(made) => Ok((made.id, made.warnings)),
            Err(error) if status(&error) == Some(409) => {
                let there = self.docker.inspect_container(&name, None::<InspectContainerOptions>).await?;
                let labels = there.config.and_then(|config| config.labels).unwrap_or_default();
                match there.id {
                    Some(id)
                        if labels.get(NODE) == Some(&self.node)
                            && Tag::read(&labels).as_ref() == Some(tag) =>
                    {
                        Ok((id, Vec::new()))
                    }
                    _ => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }

    pub(super) async fn start(&self, id: &str) -> Result<(), Error> {
        self.docker.start_container(id, None).await
    }

    /// Sends a signal to a container. One that does not run needs none.
    pub(super) async fn kill(&self, id: &str, signal: &str) -> Result<(), RuntimeError> {
        let options = KillContainerOptions { signal: signal.to_owned() };
        match self.docker.kill_container(id, Some(options)).await {
            Err(error) if matches!(status(&error), Some(404 | 409)) => Ok(()),
            done => done.map_err(RuntimeError::unavailable),
        }
    }

    /// Removes a container, running or not, and waits until it is gone.
    pub(super) async fn remove(&self, id: &str) -> Result<(), RuntimeError> {
        let options = RemoveContainerOptions { force: true, v: true, link: false };
        match self.docker.remove_container(id, Some(options)).await {
            Ok(()) => Ok(()),
            Err(error) if status(&error) == Some(404) => Ok(()),
            // Somebody else removes it already.
            Err(error) if status(&error) == Some(409) => {
                for _ in 0..100 {
                    if self.inspect(id).await?.is_none() {
                        return Ok(());
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(RuntimeError::unavailable(error))
            }
            Err(error) => Err(RuntimeError::unavailable(error)),
        }
    }

    /// Sees to it that the image of sandboxes is there.
    pub(super) async fn provide_pause(&self, image: &str) -> Result<(), RuntimeError> {
        // One at a time: of two imports of one name, one would be left without.
        let _turn = self.providing.lock().await;
        if absent(self.docker.inspect_image(image).await)?.is_some() {
            return Ok(());
        }
        let architecture = self.info().await?.architecture.unwrap_or_default();
        let archive = pause::archive(&architecture).ok_or_else(|| {
            RuntimeError::unsupported(format!(
                "an engine on {architecture}: image {image:?} is not there, and can be made only for x86_64 and aarch64"
            ))
        })?;
        self.import(image, archive, vec![format!("LABEL {PAUSE}=1")]).await.map_err(RuntimeError::unavailable)
    }

    /// Removes images of sandboxes that lost their name to one that another node imported at the same time.
    pub(super) async fn prune_pauses(&self) {
        let filters = [("dangling", "true"), ("label", PAUSE)]
            .map(|(name, value)| (name.to_owned(), vec![value.to_owned()]));
        let options = PruneImagesOptions { filters: Some(filters.into()) };
        if let Err(error) = self.docker.prune_images(Some(options)).await {
            tracing::debug!(%error, "cannot remove images without a name");
        }
    }

    /// Makes an image of a file system, with these changes in a Dockerfile's words.
    pub(super) async fn import(
        &self,
        image: &str,
        archive: Vec<u8>,
        changes: Vec<String>,
    ) -> Result<(), Error> {
        let (repository, tag) = image.rsplit_once(':').unwrap_or((image, "latest"));
        let options = CreateImageOptions {
            from_src: Some("-".to_owned()),
            repo: Some(repository.to_owned()),
            tag: Some(tag.to_owned()),
            changes,
            ..CreateImageOptions::default()
        };
        let body = bollard::body_full(archive.into());
        let progress = self.docker.create_image(Some(options), Some(body), None);
        progress.try_for_each(|_| async { Ok(()) }).await
    }
}

/// Returns the engine's answer code, if an error is an answer.
pub(super) fn status(error: &Error) -> Option<u16> {
    match error {
        Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// Returns what the engine said, for the user.
pub(super) fn message(error: &Error) -> String {
    match error {
        Error::DockerResponseServerError { message, .. } => message.clone(),
        Error::DockerStreamError { error } => error.clone(),
        other => other.to_string(),
    }
}

/// Takes "there is none" for an answer.
pub(super) fn absent<T>(answer: Result<T, Error>) -> Result<Option<T>, RuntimeError> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(error) if status(&error) == Some(404) => Ok(None),
        Err(error) => Err(RuntimeError::unavailable(error)),
    }
}
