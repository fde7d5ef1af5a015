//! Tokens of service accounts: asked for in a pod's name, and asked for again before they end.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{Pod, ServiceAccount, ServiceAccountTokenProjection};
use kube::api::{Api, PostParams};
use serde_json::json;

use crate::host::{Host, chain};

/// For how many seconds a token is good unless a volume says otherwise.
const LIFETIME: i64 = 3600;
/// The longest time that a token is used.
const LONGEST: SignedDuration = SignedDuration::from_hours(24);

/// The tokens of a pod, by their audience and lifetime.
#[derive(Debug, Default)]
pub(super) struct Tokens(BTreeMap<(String, i64), Token>);

struct Token {
    text: String,
    renew_at: Timestamp,
    expires: Timestamp,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token").field("renew_at", &self.renew_at).finish_non_exhaustive()
    }
}

impl Tokens {
    /// Returns the token that a volume asks for: the one that is known, until most of its time is over.
    ///
    /// # Errors
    ///
    /// Why there is none, for the user.
    pub(super) async fn get(
        &mut self,
        host: &Host,
        pod: &Pod,
        source: &ServiceAccountTokenProjection,
    ) -> Result<String, String> {
        let now = host.context.clock.now();
        let lifetime = source.expiration_seconds.unwrap_or(LIFETIME);
        let key = (source.audience.clone().unwrap_or_default(), lifetime);
        if let Some(token) = self.0.get(&key).filter(|token| token.renew_at > now) {
            return Ok(token.text.clone());
        }
        match request(host, pod, &key.0, lifetime).await {
            Ok((text, expires)) => {
                let life = expires.duration_since(now);
                let renew_at = now + LONGEST.min(life * 4 / 5);
                self.0.insert(key, Token { text: text.clone(), renew_at, expires });
                Ok(text)
            }
            // One that is still good is better than none.
            Err(message) => match self.0.get(&key).filter(|token| token.expires > now) {
                Some(token) => Ok(token.text.clone()),
                None => Err(message),
            },
        }
    }
}

async fn request(
    host: &Host,
    pod: &Pod,
    audience: &str,
    lifetime: i64,
) -> Result<(String, Timestamp), String> {
    let meta = &pod.metadata;
    let account =
        pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref()).unwrap_or("default");
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    let accounts: Api<ServiceAccount> = Api::namespaced(host.context.client.clone(), namespace);
    let audiences: Vec<&str> = [audience].into_iter().filter(|audience| !audience.is_empty()).collect();
    let request = json!({"spec": {
        "audiences": audiences,
        "expirationSeconds": lifetime,
        "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": meta.name, "uid": meta.uid},
    }});
    let request: TokenRequest = serde_json::from_value(request).map_err(|error| error.to_string())?;
    let answer = accounts.create_token_request(account, &PostParams::default(), &request).await;
    let answer = answer.map_err(|error| format!("failed to fetch token: {}", chain(&error)))?;
    // Which of these fields may be missing differs between versions of the types.
    let status = json!(answer.status);
    let text = status["token"].as_str().ok_or("failed to fetch token: the answer has none")?;
    let expires = status["expirationTimestamp"].as_str().and_then(|text| text.parse().ok());
    let expires = expires.ok_or("failed to fetch token: the answer does not say when it ends")?;
    Ok((text.to_owned(), expires))
}
