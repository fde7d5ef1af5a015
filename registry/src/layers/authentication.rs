//! Who asks: the first gate.
//!
//! An [`Authenticator`] looks at a request and knows the user, does not know this kind of proof, or refuses it. A request
//! that comes with a [`User`] in its extensions was made in this process, by code that may do so.

mod bootstrap_tokens;
mod static_tokens;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::header;
use http::request::Parts;
use quarterdeck_core::storage::Storage;

pub use bootstrap_tokens::BootstrapTokens;
pub use static_tokens::{StaticTokens, TokenFileError};

use super::gate::Gate;
use crate::cache::Cache;
use crate::listener::PeerAddress;
use crate::sparing::{Sparing, cut};
use crate::status::Status;
use crate::tokens::SERVER_AUDIENCE;
use crate::user::{ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED, User};
use crate::websocket::{self, Connection};

/// How long authenticators may take together to say who makes a request: upstream's figure for those that it asks elsewhere.
const PATIENCE: Duration = Duration::from_secs(10);

/// Finds out who makes a request.
#[async_trait]
pub trait Authenticator: Debug + Send + Sync + 'static {
    /// Gets to know what is stored, before the first request. The cache may be a moment behind the store.
    fn start(&mut self, cache: &Cache, storage: &Arc<dyn Storage>) {
        let _ = (cache, storage);
    }

    /// Returns the user; `None` if the request carries no proof that this authenticator reads.
    ///
    /// # Errors
    ///
    /// Why the proof is no good, for the log. The client is told `Unauthorized` and no more.
    async fn authenticate(&self, parts: &Parts) -> Result<Option<User>, String>;

    /// Returns whose a token is, and for which of the audiences it is good; `None` if it is no token that this authenticator
    /// reads. No audience stands for the server itself.
    ///
    /// # Errors
    ///
    /// Why the token is no good.
    async fn authenticate_token(
        &self,
        token: &str,
        audiences: &[String],
    ) -> Result<Option<(User, Vec<String>)>, String> {
        let _ = (token, audiences);
        Ok(None)
    }
}

const _: Option<&dyn Authenticator> = None; // object safety is API: losing it must not compile

/// Returns the token that a request carries (`Authorization: Bearer …`).
#[must_use]
pub fn bearer_token(parts: &Parts) -> Option<&str> {
    let (scheme, token) = parts.headers.get(header::AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
    let token = token.trim_start();
    (scheme.eq_ignore_ascii_case("Bearer") && !token.is_empty()).then_some(token)
}

/// Returns the audiences among those asked for of a token that is for the server itself. No audience stands for the server.
///
/// # Errors
///
/// That the token is for none of them.
pub(crate) fn for_server(audiences: &[String]) -> Result<Vec<String>, String> {
    if audiences.is_empty() || audiences.iter().any(|audience| audience == SERVER_AUDIENCE) {
        return Ok(vec![SERVER_AUDIENCE.to_owned()]);
    }
    Err(format!("the token is for this server, and not for {audiences:?}"))
}

/// Lets in whoever gives no proof, as the user `system:anonymous`. What that user may do is up to authorisation. It has to
/// be the last to be asked: a token that nobody knows is no good, and does not make its bearer anonymous.
#[derive(Debug, Default, Clone, Copy)]
pub struct Anonymous;

#[async_trait]
impl Authenticator for Anonymous {
    async fn authenticate(&self, parts: &Parts) -> Result<Option<User>, String> {
        if bearer_token(parts).is_some() {
            return Err("nobody knows the token".into());
        }
        let groups = vec![UNAUTHENTICATED.to_owned()];
        Ok(Some(User { name: ANONYMOUS.into(), groups, ..User::default() }))
    }
}

/// The gate that asks authenticators in turn. Nobody passes unknown, but to the paths that tell of health. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Authentication {
    authenticators: Arc<[Box<dyn Authenticator>]>,
    /// What is logged of bad proofs, and of authenticators that hang.
    refused: Arc<Sparing>,
    late: Arc<Sparing>,
}

impl Authentication {
    /// Makes a gate of authenticators; the first that knows the user decides.
    #[must_use]
    pub fn new(authenticators: Vec<Box<dyn Authenticator>>) -> Self {
        Self { authenticators: authenticators.into(), refused: Arc::default(), late: Arc::default() }
    }

    /// Returns whose a token is, and for which of the audiences it is good. As for requests, one to whom it is no good does not
    /// keep others from being asked.
    ///
    /// # Errors
    ///
    /// Why the token is no good, if nobody knows whose it is.
    pub async fn token(
        &self,
        token: &str,
        audiences: &[String],
    ) -> Result<Option<(User, Vec<String>)>, String> {
        let mut refusals = Vec::new();
        for authenticator in &*self.authenticators {
            let asked = authenticator.authenticate_token(token, audiences);
            let asked = tokio::time::timeout(PATIENCE, asked).await;
            let known =
                asked.unwrap_or_else(|_| Err("an authenticator did not say whose it is in time".into()));
            match known {
                Ok(None) => {}
                Ok(Some((mut user, audiences))) => {
                    join_everybody(&mut user);
                    return Ok(Some((user, audiences)));
                }
                Err(why) => refusals.push(why),
            }
        }
        match refusals.as_slice() {
            [] => Ok(None),
            [why] => Err(why.clone()),
            several => Err(format!("[{}]", several.join(", "))),
        }
    }

    /// Asks in turn, for a bounded time in all. Who cannot be known by then is nobody.
    async fn known(&self, parts: &Parts) -> Option<User> {
        let asked = tokio::time::timeout(PATIENCE, self.user(parts)).await;
        asked.unwrap_or_else(|_| {
            self.late.say(|left_out| {
                let path = cut(parts.uri.path());
                tracing::warn!(
                    path,
                    left_out,
                    "nobody said within {PATIENCE:?} who asks: an authenticator hangs"
                );
            });
            None
        })
    }

    /// Asks in turn. A proof that is no good does not count, but who showed one is not anonymous.
    async fn user(&self, parts: &Parts) -> Option<User> {
        let mut is_refused = false;
        for authenticator in &*self.authenticators {
            match authenticator.authenticate(parts).await {
                Ok(None) => {}
                Ok(Some(user)) if is_refused && user.is_in(UNAUTHENTICATED) => {}
                Ok(Some(user)) => return Some(user),
                Err(why) => {
                    self.refused.say(|left_out| {
                        let (path, why) = (cut(parts.uri.path()), cut(&why));
                        let address = parts.extensions.get().map(|PeerAddress(address)| address.to_string());
                        tracing::warn!(
                            address,
                            path,
                            why,
                            left_out,
                            "a proof of who asks is no good: its owner needs another token or certificate"
                        );
                    });
                    is_refused = true;
                }
            }
        }
        None
    }

    /// Puts the user into a request's extensions.
    pub(crate) async fn know(&self, parts: &mut Parts) -> Result<(), Status> {
        if let Some(user) = parts.extensions.get::<User>() {
            tell_connection(parts, Some(user));
            return Ok(());
        }
        if let Err(why) = websocket::take_token(&mut parts.headers) {
            self.refused.say(|left_out| {
                tracing::warn!(
                    path = cut(parts.uri.path()),
                    why,
                    left_out,
                    "a WebSocket's token is passed over"
                );
            });
        }
        let known = self.known(parts).await;
        tell_connection(parts, known.as_ref());
        if let Some(mut user) = known {
            join_everybody(&mut user);
            parts.extensions.insert(user);
            return Ok(());
        }
        if is_health(parts.uri.path()) {
            return Ok(());
        }
        Err(Status::unauthorized())
    }
}

#[async_trait]
impl Gate for Authentication {
    async fn check(&self, mut parts: Parts) -> Result<Parts, Status> {
        self.know(&mut parts).await?;
        Ok(parts)
    }
}

/// Tells a request's connection whose it is.
fn tell_connection(parts: &Parts, user: Option<&User>) {
    if let Some(connection) = parts.extensions.get::<Connection>() {
        connection.place.belongs_to(user.map(|user| user.name.as_str()));
    }
}

/// Puts a known user in the group of all known users.
fn join_everybody(user: &mut User) {
    if !user.is_in(AUTHENTICATED) && !user.is_in(UNAUTHENTICATED) {
        user.groups.push(AUTHENTICATED.into());
    }
}

/// Returns whether a path tells of the server's health, which anybody may ask for; single checks below it are not for anybody.
#[must_use]
pub fn is_health(path: &str) -> bool {
    matches!(path.trim_matches('/'), "healthz" | "livez" | "readyz")
}
