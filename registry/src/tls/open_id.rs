//! Users by the tokens of an identity provider (OpenID Connect).

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::request::Parts;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use quarterdeck_core::clock::Clock;
use serde_json::{Map, Value};

use crate::layers::authentication::{Authenticator, bearer_token, for_server};
use crate::tokens::credential_id;
use crate::user::{CREDENTIAL_ID, User};

/// Knows users by the ID tokens of one issuer, whose keys are given: nothing is asked of the issuer.
///
/// Tokens are signed with RS256, ES256 or `EdDSA`, have the client's id among their audiences, and name the user in a claim.
pub struct OpenId {
    issuer: String,
    client_id: String,
    keys: Vec<Key>,
    username_claim: String,
    /// Absent for the default: the issuer and `#`, but for e-mail addresses.
    username_prefix: Option<String>,
    groups_claim: Option<String>,
    groups_prefix: String,
    clock: Clock,
}

struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    decoding: DecodingKey,
}

impl std::fmt::Debug for OpenId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenId").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

/// Why an identity provider's tokens cannot be checked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenIdError {
    /// The text is no key set.
    #[error("the key set is no JSON with a list of keys")]
    Syntax(#[source] serde_json::Error),
    /// It holds no key of a kind that is read.
    #[error("the key set holds no key for RS256, ES256 or EdDSA")]
    NoKeys,
    /// The issuer is no address that tokens could name.
    #[error("the issuer {0:?} has to begin with https://")]
    Issuer(String),
}

#[derive(serde::Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

impl OpenId {
    /// Checks tokens of an issuer for a client by a key set (JWKS). The claim `sub` names the user.
    ///
    /// # Errors
    ///
    /// [`OpenIdError`].
    pub fn new(
        issuer: impl Into<String>,
        client_id: impl Into<String>,
        key_set: &str,
        clock: Clock,
    ) -> Result<Self, OpenIdError> {
        let (issuer, client_id) = (issuer.into(), client_id.into());
        if !issuer.starts_with("https://") {
            return Err(OpenIdError::Issuer(issuer));
        }
        let set: KeySet = serde_json::from_str(key_set).map_err(OpenIdError::Syntax)?;
        // Keys of other kinds are for others.
        let keys: Vec<Key> = set.keys.into_iter().filter_map(Key::read).collect();
        if keys.is_empty() {
            return Err(OpenIdError::NoKeys);
        }
        Ok(Self {
            issuer,
            client_id,
            keys,
            username_claim: "sub".into(),
            username_prefix: None,
            groups_claim: None,
            groups_prefix: String::new(),
            clock,
        })
    }

    /// Sets the claim that names the user (default: `sub`).
    #[must_use]
    pub fn username_claim(mut self, claim: impl Into<String>) -> Self {
        self.username_claim = claim.into();
        self
    }

    /// Sets what users' names begin with; `-` for nothing (default: the issuer and `#`, and nothing for e-mail addresses).
    #[must_use]
    pub fn username_prefix(mut self, prefix: impl Into<String>) -> Self {
        let prefix = prefix.into();
        self.username_prefix = Some(if prefix == "-" { String::new() } else { prefix });
        self
    }

    /// Sets the claim that names the user's groups, a text or a list of them (default: none).
    #[must_use]
    pub fn groups_claim(mut self, claim: impl Into<String>) -> Self {
        self.groups_claim = Some(claim.into());
        self
    }

    /// Sets what groups' names begin with (default: nothing).
    #[must_use]
    pub fn groups_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.groups_prefix = prefix.into();
        self
    }

    /// Returns the user of a token; `None` if it is another issuer's, or no such token.
    fn user(&self, token: &str) -> Result<Option<User>, String> {
        let payload = token.split('.').nth(1).unwrap_or_default();
        let payload = URL_SAFE_NO_PAD.decode(payload).unwrap_or_default();
        let claims: Value = serde_json::from_slice(&payload).unwrap_or_default();
        if claims["iss"] != self.issuer.as_str() {
            return Ok(None);
        }
        let claims = self.verified(token)?;
        self.check(&claims)?;
        let name = self.name(&claims)?;
        let groups = self.groups(&claims)?;
        let mut user = User { name, groups, ..User::default() };
        if let Some(id) = claims.get("jti").and_then(Value::as_str).filter(|id| !id.is_empty()) {
            user.extra.insert(CREDENTIAL_ID, [credential_id(id)]);
        }
        Ok(Some(user))
    }

    /// Returns what a token says, once its signature is found good.
    fn verified(&self, token: &str) -> Result<Map<String, Value>, String> {
        let header = jsonwebtoken::decode_header(token).map_err(|error| error.to_string())?;
        let fits = |key: &&Key| {
            key.algorithm == header.alg && (header.kid.is_none() || key.id.is_none() || key.id == header.kid)
        };
        let mut why = "no key of the issuer is the token's".to_owned();
        for key in self.keys.iter().filter(fits) {
            let mut validation = Validation::new(key.algorithm);
            // All else is checked against the server's own clock and settings.
            (validation.validate_aud, validation.validate_exp, validation.validate_nbf) =
                (false, false, false);
            validation.required_spec_claims.clear();
            match jsonwebtoken::decode(token, &key.decoding, &validation) {
                Ok(decoded) => return Ok(decoded.claims),
                Err(error) => why = error.to_string(),
            }
        }
        Err(why)
    }

    fn check(&self, claims: &Map<String, Value>) -> Result<(), String> {
        let is_client = |audience: &Value| audience == self.client_id.as_str();
        let is_ours = match claims.get("aud") {
            Some(Value::Array(audiences)) => audiences.iter().any(is_client),
            Some(audience) => is_client(audience),
            None => false,
        };
        if !is_ours {
            return Err("the token is for another client".into());
        }
        let time = |claim: &str| claims.get(claim).and_then(Value::as_f64);
        #[allow(clippy::cast_precision_loss, reason = "seconds are far fewer than 2^52")]
        let now = self.clock.now().as_second() as f64;
        if time("exp").is_none_or(|end| now >= end) || time("nbf").is_some_and(|begin| now < begin) {
            return Err("the token is not good at this time".into());
        }
        Ok(())
    }

    fn name(&self, claims: &Map<String, Value>) -> Result<String, String> {
        let claim = &self.username_claim;
        let name = claims.get(claim).and_then(Value::as_str).filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| format!("the token names nobody in the claim {claim:?}"))?;
        let is_email = claim == "email";
        if is_email && claims.get("email_verified").is_some_and(|verified| verified != true) {
            return Err("the token's e-mail address is not verified".into());
        }
        Ok(match &self.username_prefix {
            Some(prefix) => format!("{prefix}{name}"),
            None if is_email => name.to_owned(),
            None => format!("{}#{name}", self.issuer),
        })
    }

    fn groups(&self, claims: &Map<String, Value>) -> Result<Vec<String>, String> {
        let Some(name) = &self.groups_claim else { return Ok(Vec::new()) };
        let refused = || format!("the claim {name:?} is no list of groups");
        let group = |group: &Value| {
            let group = group.as_str().ok_or_else(refused)?;
            Ok(format!("{}{group}", self.groups_prefix))
        };
        match claims.get(name) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(groups)) => groups.iter().map(group).collect(),
            Some(one) => Ok(vec![group(one)?]),
        }
    }
}

impl Key {
    /// Reads a key, if it is of a kind that is read.
    fn read(key: Value) -> Option<Self> {
        let key: Jwk = serde_json::from_value(key).ok()?;
        let algorithm = match &key.algorithm {
            AlgorithmParameters::RSA(_) => Algorithm::RS256,
            AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => {
                Algorithm::ES256
            }
            AlgorithmParameters::OctetKeyPair(_) => Algorithm::EdDSA,
            _ => return None,
        };
        let decoding = DecodingKey::from_jwk(&key).ok()?;
        Some(Self { id: key.common.key_id, algorithm, decoding })
    }
}

#[async_trait]
impl Authenticator for OpenId {
    async fn authenticate(&self, parts: &Parts) -> Result<Option<User>, String> {
        bearer_token(parts).map_or(Ok(None), |token| self.user(token))
    }

    async fn authenticate_token(
        &self,
        token: &str,
        audiences: &[String],
    ) -> Result<Option<(User, Vec<String>)>, String> {
        let Some(user) = self.user(token)? else { return Ok(None) };
        Ok(Some((user, for_server(audiences)?)))
    }
}
