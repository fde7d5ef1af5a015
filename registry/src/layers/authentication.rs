//! Who asks: the first gate.
//!
//! An [`Authenticator`] looks at a request and knows the user, does not know this kind of proof, or refuses it. A request
//! that comes with a [`User`] in its extensions was made in this process, by code that may do so.

use std::fmt::Debug;

use async_trait::async_trait;
use http::request::Parts;

use super::gate::Gate;
use crate::cache::Cache;
use crate::status::Status;
use crate::user::{AUTHENTICATED, User};
use crate::websocket;

/// Finds out who makes a request.
#[async_trait]
pub trait Authenticator: Debug + Send + Sync + 'static {
    /// Gets to know what is stored, before the first request.
    fn start(&mut self, cache: &Cache) {
        let _ = cache;
    }

    /// Returns the user; `None` if the request carries no proof that this authenticator reads.
    ///
    /// # Errors
    ///
    /// Why the proof is no good, for the log. The client is told `Unauthorized` and no more.
    async fn authenticate(&self, parts: &Parts) -> Result<Option<User>, String>;
}

const _: Option<&dyn Authenticator> = None; // object safety is API: losing it must not compile

/// The gate that asks authenticators in turn. Nobody passes unknown, but to the paths that tell of health.
#[derive(Debug)]
pub struct Authentication {
    authenticators: Vec<Box<dyn Authenticator>>,
}

impl Authentication {
    /// Makes a gate of authenticators; the first that knows the user decides.
    #[must_use]
    pub fn new(authenticators: Vec<Box<dyn Authenticator>>) -> Self {
        Self { authenticators }
    }

    async fn user(&self, parts: &Parts) -> Option<User> {
        for authenticator in &self.authenticators {
            match authenticator.authenticate(parts).await {
                Ok(None) => {}
                Ok(Some(user)) => return Some(user),
                Err(why) => {
                    tracing::warn!(path = parts.uri.path(), why, "refused a request: its proof is no good");
                    return None;
                }
            }
        }
        None
    }
}

#[async_trait]
impl Gate for Authentication {
    async fn check(&self, mut parts: Parts) -> Result<Parts, Status> {
        if parts.extensions.get::<User>().is_some() {
            return Ok(parts);
        }
        if let Err(why) = websocket::take_token(&mut parts.headers) {
            tracing::warn!(path = parts.uri.path(), why, "a WebSocket's token is passed over");
        }
        if let Some(mut user) = self.user(&parts).await {
            if !user.is_in(AUTHENTICATED) {
                user.groups.push(AUTHENTICATED.into());
            }
            parts.extensions.insert(user);
            return Ok(parts);
        }
        if is_health(parts.uri.path()) {
            return Ok(parts);
        }
        Err(Status::unauthorized())
    }
}

/// Returns whether a path tells of the server's health, which anybody may ask for.
#[must_use]
pub fn is_health(path: &str) -> bool {
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    matches!(first, "healthz" | "livez" | "readyz")
}
