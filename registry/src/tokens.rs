//! Tokens of service accounts, as the server sees them: somebody makes them.

use std::fmt::Debug;

use jiff::Timestamp;
use serde_json::Value;

/// The audience of tokens that are for the server itself.
pub const SERVER_AUDIENCE: &str = "https://kubernetes.default.svc";

/// Returns how a token's id is told: in the [`extra`](crate::User::extra) of whoever shows the token, and in the audit log.
pub(crate) fn credential_id(id: &str) -> String {
    format!("JTI={id}")
}

/// Makes tokens for service accounts.
pub trait TokenIssuer: Debug + Send + Sync + 'static {
    /// Returns the token that says `claims`.
    fn issue(&self, claims: &TokenClaims) -> String;

    /// Returns the audiences of tokens for which none are asked.
    fn default_audiences(&self) -> Vec<String>;

    /// Returns what others need to check the tokens: the discovery document of OpenID Connect, and the key set
    /// (JWKS). By default nobody else can.
    fn discovery(&self) -> Option<IssuerDiscovery> {
        None
    }
}

const _: Option<&dyn TokenIssuer> = None; // object safety is API: losing it must not compile

/// What others need to check tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerDiscovery {
    /// What `/.well-known/openid-configuration` answers.
    pub configuration: Value,
    /// What `/openid/v1/jwks` answers.
    pub key_set: Value,
}

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenClaims {
    /// The service account's namespace.
    pub namespace: String,
    /// The service account's name.
    pub name: String,
    /// The service account's uid.
    pub uid: String,
    /// What the token is called, which no other is (`jti`).
    pub id: String,
    /// The object that the token ends with: kind (`Pod`, `Secret` or `Node`), name and uid.
    pub bound: Option<(String, String, String)>,
    /// The node of the pod that the token is bound to: name and uid. The uid is empty if there is no such node.
    pub node: Option<(String, String)>,
    /// Who the token is for.
    pub audiences: Vec<String>,
    /// When it was made.
    pub issued: Timestamp,
    /// When it ends.
    pub expires: Timestamp,
}
