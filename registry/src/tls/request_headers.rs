//! Users by the word of a proxy that has authenticated them.

use std::collections::BTreeMap;

use async_trait::async_trait;
use http::request::Parts;
use http::{HeaderMap, HeaderName};
use percent_encoding::percent_decode_str;
use quarterdeck_core::clock::Clock;

use super::AuthorityError;
use super::certificates::{Authorities, PeerCertificate};
use crate::layers::authentication::Authenticator;
use crate::user::User;

/// Knows users by headers (`X-Remote-User`, `X-Remote-Group`, `X-Remote-Extra-`…) of a proxy that shows a certificate of an
/// authority of its own. From anybody else the headers mean nothing.
///
/// The authority should be none of those of [`ClientCertificates`](super::ClientCertificates): otherwise every user could name any
/// other in headers. Say with [`beside`](Self::beside) which those are, and a certificate of theirs is a proxy's only by its name.
/// The listener should name it to clients too ([`Authority::server_config_for`](super::Authority::server_config_for)).
#[derive(Debug)]
pub struct RequestHeaders {
    authorities: Authorities,
    users: Option<Authorities>,
    names: Vec<String>,
    user: Vec<HeaderName>,
    groups: Vec<HeaderName>,
    extra: Vec<String>,
}

impl RequestHeaders {
    /// Believes proxies with certificates of these authorities (PEM).
    ///
    /// # Errors
    ///
    /// [`AuthorityError::Tls`] if the text holds no certificates.
    pub fn new(authorities: &str, clock: Clock) -> Result<Self, AuthorityError> {
        Ok(Self::of(Authorities::new(authorities, clock)?))
    }

    /// Believes proxies with certificates of these authorities, which can be replaced later. The listener has to trust them then
    /// too: see [`ServerTls`](super::ServerTls).
    #[must_use]
    pub fn of(authorities: Authorities) -> Self {
        Self {
            authorities,
            users: None,
            names: Vec::new(),
            user: vec![HeaderName::from_static("x-remote-user")],
            groups: vec![HeaderName::from_static("x-remote-group")],
            extra: vec!["x-remote-extra-".into()],
        }
    }

    /// Believes proxies whose certificates have one of these common names only (default: any).
    #[must_use]
    pub fn allowed_names(mut self, names: impl IntoIterator<Item = String>) -> Self {
        self.names = names.into_iter().collect();
        self
    }

    /// Takes nobody for a proxy who has a certificate of a user's, which one of these authorities has signed: unless it has one of
    /// the [`allowed_names`](Self::allowed_names), its headers mean nothing. It is looked at for each request, so the authorities
    /// can be replaced (default: there are no such authorities).
    #[must_use]
    pub fn beside(mut self, users: Authorities) -> Self {
        self.users = Some(users);
        self
    }

    /// Sets the headers that name the user; the first that is there counts (default: `X-Remote-User`).
    #[must_use]
    pub fn user_headers(mut self, headers: impl IntoIterator<Item = HeaderName>) -> Self {
        self.user = headers.into_iter().collect();
        self
    }

    /// Sets the headers that name the user's groups (default: `X-Remote-Group`).
    #[must_use]
    pub fn group_headers(mut self, headers: impl IntoIterator<Item = HeaderName>) -> Self {
        self.groups = headers.into_iter().collect();
        self
    }

    /// Sets what headers begin with that tell more of the user (default: `X-Remote-Extra-`).
    #[must_use]
    pub fn extra_prefixes(mut self, prefixes: impl IntoIterator<Item = String>) -> Self {
        self.extra = prefixes.into_iter().map(|prefix| prefix.to_ascii_lowercase()).collect();
        self
    }

    /// Returns whom the headers name.
    fn named(&self, headers: &HeaderMap) -> Option<User> {
        let text = |value: &http::HeaderValue| value.to_str().ok().map(str::trim).map(str::to_owned);
        let mut names = self.user.iter().filter_map(|header| headers.get(header).and_then(text));
        let name = names.find(|name| !name.is_empty())?;
        let groups = self.groups.iter().flat_map(|header| headers.get_all(header)).filter_map(text);
        let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (header, value) in headers {
            let key = self.extra.iter().find_map(|prefix| header.as_str().strip_prefix(prefix.as_str()));
            if let Some((key, value)) = key.zip(text(value)) {
                let key = percent_decode_str(key).decode_utf8_lossy().to_lowercase();
                extra.entry(key).or_default().push(value);
            }
        }
        Some(User { name, groups: groups.collect(), extra: extra.into(), ..User::default() })
    }
}

#[async_trait]
impl Authenticator for RequestHeaders {
    async fn authenticate(&self, parts: &Parts) -> Result<Option<User>, String> {
        let Some(user) = self.named(&parts.headers) else { return Ok(None) };
        let Some(certificate) = parts.extensions.get::<PeerCertificate>() else { return Ok(None) };
        // Whoever shows another's certificate is no proxy, and may well be a user.
        if self.authorities.check(certificate).is_err() {
            return Ok(None);
        }
        let is_users = || self.users.as_ref().is_some_and(|users| users.check(certificate).is_ok());
        if self.names.is_empty() && is_users() {
            return Ok(None);
        }
        let name = certificate.common_name()?;
        if !self.names.is_empty() && !self.names.contains(&name) {
            return Err(format!("a proxy called {name:?} is not among those that are believed"));
        }
        Ok(Some(user))
    }
}
