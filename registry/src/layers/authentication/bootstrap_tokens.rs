//! Bootstrap tokens: secrets by which new nodes are let in.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::request::Parts;
use jiff::Timestamp;
use quarterdeck_core::clock::Clock;
use quarterdeck_core::storage::{Key, Storage};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::{Authenticator, bearer_token, for_server};
use crate::cache::Cache;
use crate::user::User;

const KIND: &str = "bootstrap.kubernetes.io/token";
const GROUP: &str = "system:bootstrappers";
/// What every further group begins with.
const GROUPS: &str = "system:bootstrappers:";
const MAX_GROUP: usize = 256;

/// How often a second the store is asked about tokens that the cache knows nothing good of: anybody can make some up.
const LOOKUPS: u32 = 10;

/// Knows who comes with a bootstrap token, `<id>.<secret>`, as long as the secret `bootstrap-token-<id>` in the namespace
/// `kube-system` says so. The rules are those of `k8s.io/kubernetes/plugin/pkg/auth/authenticator/token/bootstrap`.
///
/// The store has the last word, so that a token is good as soon as it is made, and not a moment longer than it is there, whichever
/// server of a store it is shown to. About those that the cache does not know to be good the store is asked ten times a second at
/// most; the cache decides about the others.
#[derive(Debug)]
pub struct BootstrapTokens {
    clock: Clock,
    stored: Option<(Cache, Arc<dyn Storage>)>,
    lookups: Lookups,
}

/// How often the store was asked in the present second.
#[derive(Debug, Default)]
struct Lookups(Mutex<Option<(Instant, u32)>>);

impl Lookups {
    /// Returns whether it may be asked once more.
    fn take(&self) -> bool {
        let mut second = self.0.lock().expect("nothing panics while it holds the count");
        let (began, count) = match *second {
            Some((began, count)) if began.elapsed() < Duration::from_secs(1) => (began, count),
            _ => (Instant::now(), 0),
        };
        *second = Some((began, count.saturating_add(1)));
        count < LOOKUPS
    }
}

impl BootstrapTokens {
    /// Makes an authenticator that goes by this clock.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { clock, stored: None, lookups: Lookups::default() }
    }

    /// Returns the user of a token, if it is one that is good now.
    async fn user(&self, token: &str) -> Result<Option<User>, String> {
        let Some((id, secret)) = parse(token) else { return Ok(None) };
        let Some((cache, storage)) = &self.stored else { return Ok(None) };
        let key = Key::from(format!("/registry/secrets/kube-system/bootstrap-token-{id}"));
        let cached = cache.world().get(key.as_str()).map(|object| object.value());
        let cached = cached.map_or(Ok(None), |object| self.user_of(&object, id, secret));
        if !matches!(cached, Ok(Some(_))) && !self.lookups.take() {
            return cached;
        }
        let stored = cache.stored_at(&**storage, &key).await;
        let stored =
            stored.map_err(|error| format!("bootstrap token {id:?} cannot be looked up: {error}"))?;
        stored.map_or(Ok(None), |object| self.user_of(&object.value(), id, secret))
    }

    /// Returns whose a token is by its secret, if it is good now.
    fn user_of(&self, object: &Value, id: &str, secret: &str) -> Result<Option<User>, String> {
        let text = |field: &str| field_of(&object["data"], field);
        if object["type"] != KIND || object["metadata"]["deletionTimestamp"].is_string() {
            return Ok(None);
        }
        // By digest, so that how long it takes says nothing about the secret.
        if text("token-id") != id || Sha256::digest(text("token-secret")) != Sha256::digest(secret) {
            return Err(format!("the secret of bootstrap token {id:?} is another"));
        }
        let expiration = text("expiration");
        if !expiration.is_empty() && expiration.parse::<Timestamp>().is_ok_and(|end| end > self.clock.now()) {
            // It has time left.
        } else if !expiration.is_empty() {
            return Err(format!("bootstrap token {id:?} has expired, or says no time at which it does"));
        }
        if text("usage-bootstrap-authentication") != "true" {
            return Err(format!("bootstrap token {id:?} is not for authentication"));
        }
        let mut groups = vec![GROUP.to_owned()];
        for group in text("auth-extra-groups").split(',').map(str::trim).filter(|group| !group.is_empty()) {
            if !is_group(group) {
                return Err(format!("bootstrap token {id:?} names the group {group:?}, which it may not"));
            }
            groups.push(group.to_owned());
        }
        Ok(Some(User { name: format!("system:bootstrap:{id}"), groups, ..User::default() }))
    }
}

fn field_of(data: &Value, field: &str) -> String {
    let decoded = STANDARD.decode(data[field].as_str().unwrap_or_default()).unwrap_or_default();
    String::from_utf8(decoded).unwrap_or_default()
}

/// Takes a token apart, if it has the form of a bootstrap token.
fn parse(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    (id.len() == 6 && secret.len() == 16 && is_plain(id) && is_plain(secret)).then_some((id, secret))
}

/// Whether a token may put somebody in a group.
fn is_group(group: &str) -> bool {
    let is_one = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    group.strip_prefix(GROUPS).is_some_and(|rest| {
        rest.len() <= MAX_GROUP
            && rest.bytes().all(|byte| is_one(byte) || matches!(byte, b':' | b'-'))
            && rest.bytes().last().is_some_and(is_one)
    })
}

#[async_trait]
impl Authenticator for BootstrapTokens {
    fn start(&mut self, cache: &Cache, storage: &Arc<dyn Storage>) {
        self.stored = Some((cache.clone(), storage.clone()));
    }

    async fn authenticate(&self, parts: &Parts) -> Result<Option<User>, String> {
        match bearer_token(parts) {
            Some(token) => self.user(token).await,
            None => Ok(None),
        }
    }

    async fn authenticate_token(
        &self,
        token: &str,
        audiences: &[String],
    ) -> Result<Option<(User, Vec<String>)>, String> {
        let Some(user) = self.user(token).await? else { return Ok(None) };
        Ok(Some((user, for_server(audiences)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_an_id_and_a_secret() {
        assert_eq!(parse("abcdef.0123456789abcdef"), Some(("abcdef", "0123456789abcdef")));
        for wrong in ["abcdef", "abcde.0123456789abcdef", "abcdef.0123456789abcde", "Abcdef.0123456789abcdef"]
        {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn groups_are_those_of_bootstrappers() {
        assert!(is_group("system:bootstrappers:a:b-c1"));
        for wrong in
            ["system:masters", "system:bootstrappers:", "system:bootstrappers:a-", "system:bootstrappers:A"]
        {
            assert!(!is_group(wrong), "{wrong}");
        }
    }
}
