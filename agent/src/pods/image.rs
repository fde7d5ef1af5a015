//! Having a container's image there before it starts, by its pull policy.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::{Container, Pod, Secret};
use kube::api::Api;
use quarterdeck_core::client::EventType::{Normal, Warning};
use quarterdeck_core::runtime::{Credentials, Image, Images, RuntimeError};
use serde_json::Value;

use super::plan::Waiting;
use crate::backoff::Backoff;
use crate::host::{Host, chain};

/// Pulls that failed, by image: how long to wait, when the last one failed, and how.
pub(super) type Pulls = BTreeMap<String, FailedPull>;

/// A pull that failed.
#[derive(Debug)]
pub(super) struct FailedPull {
    backoff: Backoff,
    at: jiff::Timestamp,
    message: String,
}

/// Why an image is not there, and when to look again.
pub(super) struct Missing {
    pub(super) waiting: Waiting,
    pub(super) until: Option<jiff::Timestamp>,
}

impl Missing {
    fn new(reason: &str, message: impl Into<String>) -> Self {
        Self { waiting: Waiting { reason: reason.to_owned(), message: message.into() }, until: None }
    }
}

/// A container of a pod, and how events name it.
#[derive(Clone, Copy)]
pub(super) struct Named<'a> {
    pub(super) pod: &'a Pod,
    pub(super) container: &'a Container,
    pub(super) field: &'a str,
}

/// Returns a container's image, pulled if need be; `None` if the runtime has no such thing as images.
///
/// # Errors
///
/// [`Missing`]; users were told.
pub(super) async fn ensure(host: &Host, of: Named<'_>, pulls: &mut Pulls) -> Result<Option<Image>, Missing> {
    let Some(images) = host.runtime.images() else { return Ok(None) };
    let name = of.container.image.clone().unwrap_or_default();
    let tell = |kind, reason: &str, message: String| {
        host.tell_of_container(of.pod, of.field, (kind, reason), message);
    };
    let present = match images.present(&name).await {
        Ok(present) => present,
        Err(RuntimeError::Unsupported { what }) => {
            tell(Warning, "InspectFailed", format!("Failed to apply image name {name:?}: {what}"));
            tell(Warning, "Failed", "Error: InvalidImageName".to_owned());
            return Err(Missing::new("InvalidImageName", what));
        }
        Err(error) => {
            tell(Warning, "InspectFailed", format!("Failed to inspect image {name:?}: {}", chain(&error)));
            return Err(Missing::new("ImageInspectError", chain(&error)));
        }
    };
    match (policy(of.container, &name), present) {
        ("Never", None) => {
            let message = format!("Container image {name:?} is not present with pull policy of Never");
            tell(Warning, "ErrImageNeverPull", message.clone());
            tell(Warning, "Failed", "Error: ErrImageNeverPull".to_owned());
            Err(Missing::new("ErrImageNeverPull", message))
        }
        ("Never" | "IfNotPresent", Some(image)) => {
            tell(Normal, "Pulled", format!("Container image {name:?} already present on machine"));
            Ok(Some(image))
        }
        _ => pull(host, images, of, pulls).await.map(Some),
    }
}

/// Returns the policy of a container; if none is set, that of its image's tag.
fn policy<'a>(container: &'a Container, image: &str) -> &'a str {
    let default = || {
        let last = image.rsplit('/').next().unwrap_or_default();
        let is_latest = !image.contains('@') && last.split_once(':').is_none_or(|(_, tag)| tag == "latest");
        if is_latest { "Always" } else { "IfNotPresent" }
    };
    container.image_pull_policy.as_deref().unwrap_or_else(default)
}

async fn pull(host: &Host, images: &dyn Images, of: Named<'_>, pulls: &mut Pulls) -> Result<Image, Missing> {
    let name = of.container.image.clone().unwrap_or_default();
    let tell = |kind, reason: &str, message: String| {
        host.tell_of_container(of.pod, of.field, (kind, reason), message);
    };
    let clock = &host.context.clock;
    if let Some(failed) = pulls.get(&name)
        && let Some((until, _)) = failed.backoff.until(failed.at).filter(|(until, _)| *until > clock.now())
    {
        let message = format!("Back-off pulling image {name:?}");
        tell(Normal, "BackOff", message.clone());
        tell(Warning, "Failed", "Error: ImagePullBackOff".to_owned());
        let message = format!("{message}: ErrImagePull: {}", failed.message);
        return Err(Missing { until: Some(until), ..Missing::new("ImagePullBackOff", message) });
    }
    tell(Normal, "Pulling", format!("Pulling image {name:?}"));
    let begun = clock.now();
    let credentials = credentials(host, of.pod, &name).await;
    match images.pull(&name, credentials.as_ref()).await {
        Ok(image) => {
            pulls.remove(&name);
            let took = clock.now().duration_since(begun).as_millis();
            let took = if took < 1000 {
                format!("{took}ms")
            } else {
                format!("{}.{:03}s", took / 1000, took % 1000)
            };
            let size = image.size;
            let message = format!(
                "Successfully pulled image {name:?} in {took} ({took} including waiting). Image size: {size} bytes."
            );
            tell(Normal, "Pulled", message);
            Ok(image)
        }
        Err(error) => {
            let message = chain(&error);
            tell(Warning, "Failed", format!("Failed to pull image {name:?}: {message}"));
            tell(Warning, "Failed", "Error: ErrImagePull".to_owned());
            let now = clock.now();
            let failed = FailedPull { backoff: Backoff::default(), at: now, message: message.clone() };
            let failed = pulls.entry(name).or_insert(failed);
            failed.backoff.tried(failed.at, now);
            (failed.at, failed.message) = (now, message.clone());
            Err(Missing::new("ErrImagePull", message))
        }
    }
}

/// Returns what the pod's pull secrets know of the image's registry.
async fn credentials(host: &Host, pod: &Pod, image: &str) -> Option<Credentials> {
    let secrets = pod.spec.as_ref()?.image_pull_secrets.as_deref()?;
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let api: Api<Secret> = Api::namespaced(host.context.client.clone(), namespace);
    for reference in secrets {
        match api.get(&reference.name).await {
            Ok(secret) => {
                if let Some(found) = of_secret(&secret, registry(image)) {
                    return Some(found);
                }
            }
            Err(error) => {
                let message = format!(
                    "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed: {error}",
                    reference.name
                );
                host.tell(pod, Warning, "FailedToRetrieveImagePullSecret", message);
            }
        }
    }
    None
}

/// Returns the host of an image's registry.
fn registry(image: &str) -> &str {
    let first = image.split_once('/').map_or("", |(first, _)| first);
    let is_host = first.contains(['.', ':']) || first == "localhost";
    if is_host { first } else { "docker.io" }
}

fn of_secret(secret: &Secret, registry: &str) -> Option<Credentials> {
    let data = secret.data.as_ref()?;
    let parse = |name: &str| serde_json::from_slice::<Value>(&data.get(name)?.0).ok();
    let auths = match parse(".dockerconfigjson") {
        Some(config) => config["auths"].clone(),
        None => parse(".dockercfg")?,
    };
    auths.as_object()?.iter().find_map(|(server, auth)| {
        let host = server.trim_start_matches("https://").trim_start_matches("http://");
        let host = host.split('/').next().unwrap_or_default();
        let host = if host == "index.docker.io" { "docker.io" } else { host };
        (host == registry).then(|| of_auth(server, auth)).flatten()
    })
}

fn of_auth(server: &str, auth: &Value) -> Option<Credentials> {
    let decoded = auth["auth"].as_str().and_then(|text| STANDARD.decode(text.trim()).ok());
    let pair = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    let pair = pair.as_deref().and_then(|pair| pair.split_once(':'));
    let (username, password) = match pair {
        Some((user, password)) => (user.to_owned(), password.to_owned()),
        None => (auth["username"].as_str()?.to_owned(), auth["password"].as_str()?.to_owned()),
    };
    Some(Credentials { username, password, server: server.to_owned() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_image_without_a_tag_is_pulled_each_time() {
        let container = Container::default();
        let of = |image: &str| policy(&container, image).to_owned();

        assert_eq!(of("localhost:5000/app"), "Always");
        assert_eq!(of("app:latest"), "Always");
        assert_eq!(of("app:v1"), "IfNotPresent");
        assert_eq!(of("app@sha256:00"), "IfNotPresent");
    }

    #[test]
    fn credentials_are_found_by_the_images_registry() {
        let config = json!({"auths": {
            "https://index.docker.io/v1/": {"auth": STANDARD.encode("me:secret")},
            "example.com": {"username": "you", "password": "hidden"},
        }});
        let secret: Secret = serde_json::from_value(json!({
            "data": {".dockerconfigjson": STANDARD.encode(config.to_string())}
        }))
        .unwrap();
        let user = |image: &str| of_secret(&secret, registry(image)).map(|found| found.username);

        assert_eq!(user("library/app").as_deref(), Some("me"));
        assert_eq!(user("example.com/app:v1").as_deref(), Some("you"));
        assert_eq!(user("other.example/app"), None);
    }
}
