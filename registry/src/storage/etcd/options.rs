//! Where an etcd cluster is, and how to talk to it.

use std::fmt;
use std::time::Duration;

use etcd_client::{Certificate, ConnectOptions, Identity, TlsOptions};
use http::Uri;

use super::error::ConnectError;

/// After so long without a word from a member it is asked whether it is there. etcd cuts off who asks more often than every
/// five seconds.
const ASK_AFTER: Duration = Duration::from_secs(6);
/// A member that says nothing for so long after it was asked is taken to be gone.
const ANSWERS_WITHIN: Duration = Duration::from_secs(4);

/// How to reach an etcd cluster.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use quarterdeck_registry::storage::EtcdOptions;
///
/// let options = EtcdOptions::new(["https://10.0.0.1:2379", "https://10.0.0.2:2379"])
///     .user("quarterdeck", "a secret")
///     .request_timeout(Duration::from_secs(5));
///
/// assert!(!format!("{options:?}").contains("a secret"));
/// ```
#[derive(Clone)]
pub struct EtcdOptions {
    endpoints: Vec<String>,
    authority: Option<Vec<u8>>,
    identity: Option<(Vec<u8>, Vec<u8>)>,
    user: Option<(String, String)>,
    pub(super) prefix: String,
    pub(super) connect_timeout: Duration,
    pub(super) request_timeout: Duration,
}

impl EtcdOptions {
    /// Reaches the cluster through these members, such as `https://10.0.0.1:2379`. The first one that answers is used until
    /// it does not.
    #[must_use]
    pub fn new<E: Into<String>>(endpoints: impl IntoIterator<Item = E>) -> Self {
        Self {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            authority: None,
            identity: None,
            user: None,
            prefix: String::new(),
            connect_timeout: Duration::from_secs(3),
            request_timeout: Duration::from_secs(10),
        }
    }

    /// Trusts members whose certificates these authorities (PEM) signed (default: those that the system trusts).
    #[must_use]
    pub fn certificate_authority(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.authority = Some(pem.into());
        self
    }

    /// Shows members this certificate and proves it with its key, both PEM (default: none).
    #[must_use]
    pub fn client_certificate(mut self, certificate: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.identity = Some((certificate.into(), key.into()));
        self
    }

    /// Logs in as this user of etcd's (default: nobody).
    #[must_use]
    pub fn user(mut self, name: impl Into<String>, password: impl Into<String>) -> Self {
        self.user = Some((name.into(), password.into()));
        self
    }

    /// Puts this before every key in etcd (default: nothing, so that the API server's keys are `/registry/...` there).
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Gives up connecting to a member after so long (default: 3 s).
    #[must_use]
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// Gives up a request after so long, over all members that it is tried on (default: 10 s).
    #[must_use]
    pub fn request_timeout(mut self, limit: Duration) -> Self {
        self.request_timeout = limit;
        self
    }

    /// Returns the members' addresses as full URLs.
    pub(super) fn checked_endpoints(&self) -> Result<Vec<String>, ConnectError> {
        if self.endpoints.is_empty() {
            return Err(ConnectError::NoEndpoints);
        }
        self.endpoints.iter().map(|endpoint| self.checked(endpoint.trim())).collect()
    }

    fn checked(&self, endpoint: &str) -> Result<String, ConnectError> {
        let wrong = |why| ConnectError::Endpoint { endpoint: endpoint.to_owned(), why };
        let scheme = if self.uses_tls() { "https" } else { "http" };
        let url = match endpoint.contains("://") {
            true => endpoint.to_owned(),
            false => format!("{scheme}://{endpoint}"),
        };
        let parsed: Uri = url.parse().map_err(|_| wrong("is no URL"))?;
        match parsed.scheme_str() {
            Some("https") => {}
            Some("http") if self.uses_tls() => {
                return Err(wrong("is not encrypted, but certificates were given for it"));
            }
            Some("http") => {}
            _ => return Err(wrong("begins with neither https:// nor http://")),
        }
        match parsed.authority().map(|authority| (authority.host(), authority.port_u16())) {
            Some((host, Some(_))) if !host.is_empty() => {}
            _ => return Err(wrong("does not name a host and a port")),
        }
        match parsed.path() {
            "" | "/" => Ok(url),
            _ => Err(wrong("has a path")),
        }
    }

    fn uses_tls(&self) -> bool {
        self.authority.is_some() || self.identity.is_some()
    }

    /// Returns the options for one member.
    pub(super) fn client(&self, endpoint: &str) -> ConnectOptions {
        let mut options = ConnectOptions::new()
            .with_keep_alive(ASK_AFTER, ANSWERS_WITHIN)
            .with_keep_alive_while_idle(true)
            .with_connect_timeout(self.connect_timeout)
            .with_require_leader(true);
        if let Some((name, password)) = &self.user {
            options = options.with_user(name, password).with_auto_token_refresh(true);
        }
        if endpoint.starts_with("https://") {
            let mut tls = match &self.authority {
                Some(pem) => TlsOptions::new().ca_certificate(Certificate::from_pem(pem)),
                None => TlsOptions::new().with_native_roots(),
            };
            if let Some((certificate, key)) = &self.identity {
                tls = tls.identity(Identity::from_pem(certificate, key));
            }
            options = options.with_tls(tls);
        }
        options
    }
}

impl fmt::Debug for EtcdOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdOptions")
            .field("endpoints", &self.endpoints)
            .field("user", &self.user.as_ref().map(|(name, _)| name))
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}
