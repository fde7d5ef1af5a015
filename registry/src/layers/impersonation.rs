//! Acting as somebody else: the gate between authentication and authorisation.
//!
//! Who sends `Impersonate-User`, and perhaps `Impersonate-Group`, `Impersonate-Uid` and `Impersonate-Extra-*`, asks to be
//! treated as that user. Each of them is a right of its own (the verb `impersonate`), asked of the authorizers. The headers
//! are those of `k8s.io/api/authentication/v1`, the rules those of `k8s.io/apiserver/pkg/endpoints/filters`.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use http::HeaderMap;
use http::request::Parts;
use percent_encoding::percent_decode_str;

use super::authorization::Authorization;
use super::gate::Gate;
use crate::notes::Notes;
use crate::request::{RequestInfo, ResourceRequest};
use crate::status::{Result, Status};
use crate::user::{ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED, User, service_account};

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";

/// Lets users act as others if they may.
#[derive(Debug)]
pub struct Impersonation(Authorization);

impl Impersonation {
    /// Makes a gate that asks these authorizers.
    #[must_use]
    pub fn new(authorization: Authorization) -> Self {
        Self(authorization)
    }

    /// Checks that `user` may act as somebody who is, or is in, or has, `name`.
    async fn require(&self, user: &User, group: &str, resource: &str, name: &str) -> Result<()> {
        let (namespace, resource, subresource) = match resource.split_once('/') {
            Some(("userextras", key)) => (None, "userextras", Some(key.to_owned())),
            Some((resource, namespace)) => (Some(namespace.to_owned()), resource, None),
            None => (None, resource, None),
        };
        let request = RequestInfo::Resource(ResourceRequest {
            verb: None,
            group: group.into(),
            version: "v1".into(),
            namespace,
            resource: resource.into(),
            name: Some(name.into()),
            subresource,
        });
        self.0.require(user, &request, "impersonate", "").await
    }
}

#[async_trait]
impl Gate for Impersonation {
    async fn check(&self, mut parts: Parts) -> Result<Parts> {
        let Some(mut wanted) = wanted(&parts.headers)? else { return Ok(parts) };
        let user = parts.extensions.get::<User>().ok_or_else(Status::unauthorized)?;
        match service_account(&wanted.name) {
            Some((namespace, name)) => {
                self.require(user, "", &format!("serviceaccounts/{namespace}"), name).await?;
                if wanted.groups.is_empty() {
                    wanted.groups =
                        vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")];
                }
            }
            None => self.require(user, "", "users", &wanted.name).await?,
        }
        for group in parts.headers.get_all(GROUP) {
            self.require(user, "", "groups", group.to_str().unwrap_or_default()).await?;
        }
        for (key, values) in &*wanted.extra {
            for value in values {
                self.require(user, "authentication.k8s.io", &format!("userextras/{key}"), value).await?;
            }
        }
        if !wanted.uid.is_empty() {
            self.require(user, "authentication.k8s.io", "uids", &wanted.uid).await?;
        }
        let everybody = if wanted.name == ANONYMOUS { UNAUTHENTICATED } else { AUTHENTICATED };
        if !wanted.is_in(AUTHENTICATED) && !wanted.is_in(UNAUTHENTICATED) {
            wanted.groups.push(everybody.into());
        }
        tracing::debug!(user = user.name, acts_as = wanted.name, "a user acts as another");
        if let Some(notes) = parts.extensions.get::<Arc<Notes>>() {
            notes.impersonate(&wanted);
        }
        parts.extensions.insert(wanted);
        let ours: Vec<_> = parts.headers.keys().filter(|name| is_ours(name.as_str())).cloned().collect();
        for name in ours {
            parts.headers.remove(name);
        }
        Ok(parts)
    }
}

fn is_ours(header: &str) -> bool {
    matches!(header, USER | GROUP | UID) || header.starts_with(EXTRA)
}

/// Returns whom a request wants to act as, if anybody.
fn wanted(headers: &HeaderMap) -> Result<Option<User>> {
    if !headers.keys().any(|name| is_ours(name.as_str())) {
        return Ok(None);
    }
    let text = |value: &http::HeaderValue| {
        let text = value.to_str().map(str::to_owned);
        text.map_err(|_| Status::bad_request("an impersonation header is not text"))
    };
    let first = |name: &str| headers.get(name).map(text).transpose().map(Option::unwrap_or_default);
    let name = first(USER)?;
    if name.is_empty() {
        // Upstream has no better code for it.
        return Err(Status::internal(
            "requested impersonation of groups, a uid or extra fields without a user",
        ));
    }
    let groups = headers.get_all(GROUP).iter().map(text).collect::<Result<Vec<_>>>()?;
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (header, value) in headers {
        if let Some(key) = header.as_str().strip_prefix(EXTRA) {
            let key = percent_decode_str(key).decode_utf8_lossy().to_lowercase();
            extra.entry(key).or_default().push(text(value)?);
        }
    }
    Ok(Some(User { name, uid: first(UID)?, groups, extra: extra.into() }))
}
