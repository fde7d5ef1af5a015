//! The engine's images.

use async_trait::async_trait;
use bollard::auth::DockerCredentials;
use bollard::query_parameters::CreateImageOptions;
use futures::TryStreamExt;
use quarterdeck_core::runtime::{Credentials, Image, Images, RuntimeError};

use super::DockerRuntime;
use super::engine::{message, status};

#[async_trait]
impl Images for DockerRuntime {
    async fn present(&self, image: &str) -> Result<Option<Image>, RuntimeError> {
        let node = self.node().await?;
        match node.engine.docker.inspect_image(image).await {
            Ok(found) => Ok(Some(Image {
                id: found.id.unwrap_or_default(),
                user: found.config.and_then(|config| config.user).filter(|user| !user.is_empty()),
                size: found.size.and_then(|size| u64::try_from(size).ok()).unwrap_or_default(),
            })),
            Err(error) if status(&error) == Some(404) => Ok(None),
            Err(error) if status(&error) == Some(400) || message(&error).contains("invalid reference") => {
                Err(RuntimeError::unsupported(format!("image {image:?}: {}", message(&error))))
            }
            Err(error) => Err(RuntimeError::unavailable(error)),
        }
    }

    async fn pull(&self, image: &str, credentials: Option<&Credentials>) -> Result<Image, RuntimeError> {
        // A malformed name is refused, and an engine that is gone is told from a registry that is.
        self.present(image).await?;
        let node = self.node().await?;
        let options =
            CreateImageOptions { from_image: Some(with_tag(image)), ..CreateImageOptions::default() };
        let credentials = credentials.map(|credentials| DockerCredentials {
            username: Some(credentials.username.clone()),
            password: Some(credentials.password.clone()),
            serveraddress: Some(credentials.server.clone()).filter(|server| !server.is_empty()),
            ..DockerCredentials::default()
        });
        let progress = node.engine.docker.create_image(Some(options), None, credentials);
        let failed = |source| RuntimeError::PullFailed { image: image.to_owned(), source };
        let pulled: Result<(), _> = progress.try_for_each(|_| std::future::ready(Ok(()))).await;
        pulled.map_err(|error| failed(message(&error).into()))?;
        let found = self.present(image).await?;
        found.ok_or_else(|| failed("it was pulled, and is not there".into()))
    }
}

/// Returns the name with the tag that is meant by none: without one the engine fetches all there are.
fn with_tag(image: &str) -> String {
    let name = image.rsplit_once('/').map_or(image, |(_, name)| name);
    if name.contains(':') || name.contains('@') { image.to_owned() } else { format!("{image}:latest") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_a_tag_means_the_latest() {
        assert_eq!(with_tag("registry:5000/web"), "registry:5000/web:latest");
        assert_eq!(with_tag("web:v2"), "web:v2");
        assert_eq!(with_tag("web@sha256:0b5f"), "web@sha256:0b5f");
    }
}
