//! Service accounts' tokens: signed claims that end with the objects that they name.
//!
//! What they say is that of `k8s.io/kubernetes/pkg/serviceaccount`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::request::Parts;
use jsonwebtoken::Validation;
use quarterdeck_core::clock::Clock;
use quarterdeck_core::storage::{Key, Storage};
use rcgen::KeyPair;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::authority::{AuthorityError, write_private};
use super::token_keys::{SigningKey, VerifyingKey};
use crate::cache::Cache;
use crate::layers::authentication::{Authenticator, bearer_token};
use crate::object::Object;
use crate::tokens::{IssuerDiscovery, SERVER_AUDIENCE, TokenClaims, TokenIssuer, credential_id};
use crate::user::{CREDENTIAL_ID, User};

/// Who issues the tokens, and for whom, unless told otherwise.
pub const ISSUER: &str = SERVER_AUDIENCE;

/// The key that signs service accounts' tokens, and all those by which they are checked. Cheap to clone.
///
/// Its own public half is always among the latter. To replace a key without ending the tokens that it signed, give the old one to
/// [`trusting`](Self::trusting) until the last of them has ended.
#[derive(Clone)]
pub struct ServiceAccountKey {
    signing: Arc<SigningKey>,
    /// Those of earlier keys, and of other servers.
    others: Vec<Arc<VerifyingKey>>,
}

impl std::fmt::Debug for ServiceAccountKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceAccountKey").finish_non_exhaustive()
    }
}

impl ServiceAccountKey {
    /// Makes a new key, in memory.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Certificate`].
    pub fn new() -> Result<Self, AuthorityError> {
        let key = KeyPair::generate().map_err(AuthorityError::Certificate)?;
        Self::of(&key.serialize_pem(), Path::new("sa.key"))
    }

    /// Takes the key that a directory holds (`sa.key`), or makes one and leaves it there.
    ///
    /// # Errors
    ///
    /// [`AuthorityError`]; what is in the directory is never overwritten.
    pub fn load_or_create(directory: &Path) -> Result<Self, AuthorityError> {
        let path = directory.join("sa.key");
        if !path.exists() {
            let file = |source| AuthorityError::File { path: path.clone(), source };
            fs::create_dir_all(directory).map_err(file)?;
            let key = KeyPair::generate().map_err(AuthorityError::Certificate)?;
            write_private(&path, &key.serialize_pem()).map_err(file)?;
        }
        Self::load(&path)
    }

    /// Takes the first private key of a PEM file: RSA of 2048 bits or more, or on the curve P-256 or P-384.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::File`] and [`AuthorityError::SigningKey`].
    pub fn load(path: &Path) -> Result<Self, AuthorityError> {
        Self::of(&read(path)?, path)
    }

    /// Takes tokens, too, that were signed by the keys of a PEM file: public keys, private ones and certificates.
    ///
    /// # Errors
    ///
    /// [`AuthorityError::File`]; [`AuthorityError::VerifyingKeys`] if one of them is of no kind that tokens are checked by, or
    /// there is none.
    pub fn trusting(mut self, path: &Path) -> Result<Self, AuthorityError> {
        let keys = VerifyingKey::all_from_pem(read(path)?.as_bytes());
        let keys = keys.ok_or_else(|| AuthorityError::VerifyingKeys(path.to_owned()))?;
        for key in keys {
            if self.verifying().all(|known| known.jwk != key.jwk) {
                self.others.push(Arc::new(key));
            }
        }
        Ok(self)
    }

    fn of(pem: &str, path: &Path) -> Result<Self, AuthorityError> {
        let signing = SigningKey::from_pem(pem.as_bytes());
        let signing = signing.ok_or_else(|| AuthorityError::SigningKey(path.to_owned()))?;
        Ok(Self { signing: Arc::new(signing), others: Vec::new() })
    }

    /// The keys by which tokens are checked.
    fn verifying(&self) -> impl Iterator<Item = &VerifyingKey> {
        [&self.signing.public].into_iter().chain(self.others.iter().map(|key| &**key))
    }
}

fn read(path: &Path) -> Result<String, AuthorityError> {
    fs::read_to_string(path).map_err(|source| AuthorityError::File { path: path.to_owned(), source })
}

/// What a token says, on the wire (RFC 7519 and `k8s.io/kubernetes/pkg/serviceaccount`).
#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    aud: Vec<String>,
    exp: i64,
    iat: i64,
    nbf: i64,
    iss: String,
    /// Absent in what other issuers sign with the same key.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    jti: String,
    sub: String,
    #[serde(rename = "kubernetes.io")]
    kubernetes: Private,
}

#[derive(Debug, Serialize, Deserialize)]
struct Private {
    namespace: String,
    serviceaccount: Reference,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pod: Option<Reference>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    secret: Option<Reference>,
    /// Of a pod's token where the pod runs; otherwise the token is bound to the node.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    node: Option<Reference>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Reference {
    name: String,
    #[serde(skip_serializing_if = "String::is_empty", default)]
    uid: String,
}

impl TokenIssuer for ServiceAccountKey {
    fn issue(&self, claims: &TokenClaims) -> String {
        let bound = |kind: &str| {
            let bound = claims.bound.as_ref().filter(|(bound, _, _)| bound == kind);
            bound.map(|(_, name, uid)| Reference { name: name.clone(), uid: uid.clone() })
        };
        let of_pod = claims.node.as_ref();
        let of_pod = of_pod.map(|(name, uid)| Reference { name: name.clone(), uid: uid.clone() });
        let issued = claims.issued.as_second();
        let claims = Claims {
            aud: claims.audiences.clone(),
            exp: claims.expires.as_second(),
            iat: issued,
            nbf: issued,
            iss: ISSUER.into(),
            jti: claims.id.clone(),
            sub: subject(&claims.namespace, &claims.name),
            kubernetes: Private {
                namespace: claims.namespace.clone(),
                serviceaccount: Reference { name: claims.name.clone(), uid: claims.uid.clone() },
                pod: bound("Pod"),
                secret: bound("Secret"),
                node: bound("Node").or(of_pod),
            },
        };
        jsonwebtoken::encode(&self.signing.header(), &claims, &self.signing.encoding)
            .expect("claims of texts and numbers can be signed with a key that was checked")
    }

    fn default_audiences(&self) -> Vec<String> {
        vec![ISSUER.into()]
    }

    fn discovery(&self) -> Option<IssuerDiscovery> {
        let algorithms: BTreeSet<_> = self.verifying().map(|key| format!("{:?}", key.algorithm)).collect();
        let configuration = json!({
            "issuer": ISSUER,
            "jwks_uri": format!("{ISSUER}/openid/v1/jwks"),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": algorithms,
        });
        let keys: Vec<_> = self.verifying().map(|key| &key.jwk).collect();
        Some(IssuerDiscovery { configuration, key_set: json!({"keys": keys}) })
    }
}

/// How many tokens are remembered at most.
const REMEMBERED: usize = 1024;

type Digest = [u8; digest::SHA256_OUTPUT_LEN];

/// A token whose signature was found good.
#[derive(Debug)]
struct Token {
    claims: Claims,
    /// Whose it is, while it is good.
    user: User,
}

/// Tokens whose signatures were found good, by their digests. A signature stays good, and to check one takes
/// longer than to answer a GET; everything else about a token is checked each time.
#[derive(Debug, Default)]
struct Remembered {
    tokens: BTreeMap<Digest, Arc<Token>>,
    /// In the order in which they came, which is that in which they go.
    order: VecDeque<Digest>,
}

impl Remembered {
    fn add(&mut self, digest: Digest, token: Arc<Token>) {
        if self.tokens.insert(digest, token).is_none() {
            self.order.push_back(digest);
        }
        if self.order.len() > REMEMBERED {
            self.order.pop_front().and_then(|oldest| self.tokens.remove(&oldest));
        }
    }
}

/// Knows service accounts by their tokens, as long as the account and whatever the token is bound to exist.
#[derive(Debug)]
pub struct ServiceAccountTokens {
    key: ServiceAccountKey,
    clock: Clock,
    stored: Option<Stored>,
    remembered: Mutex<Remembered>,
}

/// Where what tokens are bound to is looked up.
#[derive(Debug)]
struct Stored {
    cache: Cache,
    storage: Arc<dyn Storage>,
}

impl Stored {
    /// Whether there is the object that a token names. The cache may be behind the server that issued the token, so what is not
    /// in it is looked for in the store.
    async fn has(&self, key: Key, uid: &str, now: i64) -> Result<bool, String> {
        let vouches = |object: &Object| *object.header.uid == *uid && !is_over(object, now);
        if self.cache.world().get(key.as_str()).is_some_and(|object| vouches(object)) {
            return Ok(true);
        }
        let stored = self.cache.stored_at(&*self.storage, &key).await;
        let stored =
            stored.map_err(|error| format!("what the token is bound to cannot be looked up: {error}"))?;
        Ok(stored.is_some_and(|object| vouches(&object)))
    }
}

impl ServiceAccountTokens {
    /// Makes an authenticator that checks tokens by this key and those that it trusts.
    #[must_use]
    pub fn new(key: ServiceAccountKey, clock: Clock) -> Self {
        Self { key, clock, stored: None, remembered: Mutex::default() }
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, Remembered> {
        self.remembered.lock().expect("nothing panics while it holds the tokens")
    }

    /// Returns a token that this issuer signed; `None` if it is another issuer's.
    fn signed(&self, token: &str) -> Result<Option<Arc<Token>>, String> {
        let digest = digest::digest(&digest::SHA256, token.as_bytes());
        let digest: Digest = digest.as_ref().try_into().map_err(|_| "a digest of another length")?;
        if let Some(token) = self.remembered().tokens.get(&digest) {
            return Ok(Some(token.clone()));
        }
        if !is_ours(token) {
            return Ok(None);
        }
        let claims = self.verified(token)?;
        let token = Arc::new(Token { user: user(&claims), claims });
        self.remembered().add(digest, token.clone());
        Ok(Some(token))
    }

    fn verified(&self, token: &str) -> Result<Claims, String> {
        let header = jsonwebtoken::decode_header(token).map_err(|error| error.to_string())?;
        let mut why = "it is signed by no key that this server checks tokens by".to_owned();
        for key in self.key.verifying().filter(|key| key.fits(&header)) {
            let mut validation = Validation::new(key.algorithm);
            validation.set_issuer(&[ISSUER]);
            // Audiences are checked for each request, and so are times, against the server's own clock.
            (validation.validate_aud, validation.validate_exp, validation.validate_nbf) =
                (false, false, false);
            match jsonwebtoken::decode::<Claims>(token, &key.decoding, &validation) {
                Ok(decoded) => return consistent(decoded.claims),
                Err(error) => why = error.to_string(),
            }
        }
        Err(why)
    }

    /// Checks that what a token says is so now.
    async fn check(&self, claims: &Claims, stored: &Stored) -> Result<(), String> {
        let now = self.clock.now().as_second();
        if now >= claims.exp || now < claims.nbf {
            return Err("the token is not good at this time".into());
        }
        let Private { namespace, serviceaccount, pod, secret, node } = &claims.kubernetes;
        // Of a pod's token the node is told, and no more: the pod is what the token is bound to.
        let node = node.as_ref().filter(|_| pod.is_none());
        let below = format!("/{namespace}");
        let bound = [
            ("serviceaccounts", &*below, Some(serviceaccount)),
            ("pods", &below, pod.as_ref()),
            ("secrets", &below, secret.as_ref()),
            ("minions", "", node),
        ];
        for (plural, below, object) in bound {
            let Some(Reference { name, uid }) = object else { continue };
            let key = Key::from(format!("/registry/{plural}{below}/{name}"));
            if !stored.has(key, uid, now).await? {
                let plural = if plural == "minions" { "nodes" } else { plural };
                return Err(format!("the token is bound to one of the {plural} that is gone"));
            }
        }
        Ok(())
    }
}

/// Returns how the user is called who is an account.
fn subject(namespace: &str, name: &str) -> String {
    format!("system:serviceaccount:{namespace}:{name}")
}

/// Checks that a token names the same account as its user and as what it is bound to: the user is who is let in, and the account
/// has to exist.
fn consistent(claims: Claims) -> Result<Claims, String> {
    let Private { namespace, serviceaccount, .. } = &claims.kubernetes;
    if claims.sub == subject(namespace, &serviceaccount.name) {
        return Ok(claims);
    }
    Err("the token's subject is not the account that it is bound to".into())
}

/// Returns whose a token is.
fn user(claims: &Claims) -> User {
    let Private { namespace, serviceaccount, pod, node, .. } = &claims.kubernetes;
    let mut user = User {
        name: claims.sub.clone(),
        uid: serviceaccount.uid.clone(),
        groups: vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")],
        ..User::default()
    };
    let mut tell = |key: &str, value: &str| {
        if !value.is_empty() {
            user.extra.insert(key, [value]);
        }
    };
    if let Some(Reference { name, uid }) = pod {
        tell("authentication.kubernetes.io/pod-name", name);
        tell("authentication.kubernetes.io/pod-uid", uid);
    }
    if let Some(Reference { name, uid }) = node {
        tell("authentication.kubernetes.io/node-name", name);
        tell("authentication.kubernetes.io/node-uid", uid);
    }
    if !claims.jti.is_empty() {
        tell(CREDENTIAL_ID, &credential_id(&claims.jti));
    }
    user
}

/// Returns whether a token claims to be of this issuer, whether or not it is.
fn is_ours(token: &str) -> bool {
    let payload = token.split('.').nth(1).unwrap_or_default();
    let bytes = URL_SAFE_NO_PAD.decode(payload).unwrap_or_default();
    let claims: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    claims["iss"] == ISSUER
}

#[async_trait]
impl Authenticator for ServiceAccountTokens {
    fn start(&mut self, cache: &Cache, storage: &Arc<dyn Storage>) {
        self.stored = Some(Stored { cache: cache.clone(), storage: storage.clone() });
    }

    async fn authenticate(&self, parts: &Parts) -> Result<Option<User>, String> {
        let Some(token) = bearer_token(parts) else { return Ok(None) };
        Ok(self.authenticate_token(token, &[]).await?.map(|(user, _)| user))
    }

    async fn authenticate_token(
        &self,
        token: &str,
        audiences: &[String],
    ) -> Result<Option<(User, Vec<String>)>, String> {
        let Some(stored) = &self.stored else { return Ok(None) };
        let Some(token) = self.signed(token)? else { return Ok(None) };
        let claims = &token.claims;
        let own = [ISSUER.to_owned()];
        let audiences = if audiences.is_empty() { &own } else { audiences };
        let good: Vec<_> =
            audiences.iter().filter(|audience| claims.aud.contains(audience)).cloned().collect();
        if good.is_empty() {
            return Err(format!("the token is for {:?}, and not for {audiences:?}", claims.aud));
        }
        self.check(claims, stored).await?;
        Ok(Some((token.user.clone(), good)))
    }
}

/// For how many seconds tokens go on that are bound to what is being deleted: as long as upstream lets them.
const AFTER_DELETION: i64 = 60;

/// Whether an object has been going away for too long to vouch for anybody.
fn is_over(object: &Object, now: i64) -> bool {
    const MARK: &[u8] = b"\"deletionTimestamp\"";
    // Most objects stay, and need not be parsed to know it.
    if !object.mentions(MARK) {
        return false;
    }
    let due = object.value()["metadata"]["deletionTimestamp"].as_str().map(str::parse::<jiff::Timestamp>);
    due.is_some_and(|due| due.map_or(true, |due| now > due.as_second().saturating_add(AFTER_DELETION)))
}
