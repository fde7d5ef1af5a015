//! Who may do what: the second gate.
//!
//! An [`Authorizer`] allows, denies, or has no opinion; what nobody allows is denied. The default is
//! [`ComponentPolicy`](super::policy::ComponentPolicy).

use std::borrow::Cow;
use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use http::request::Parts;

use super::authentication::is_health;
use super::gate::Gate;
use crate::cache::{Cache, World};
use crate::negotiate::{APPLY, media_type};
use crate::request::{Query, RequestInfo, ResourceRequest, Verb};
use crate::status::Status;
use crate::user::User;

/// What somebody wants to do.
#[derive(Debug, Clone, Copy)]
pub struct Attributes<'a> {
    /// Who asks.
    pub user: &'a User,
    /// What is asked: of a resource, or of another path.
    pub request: &'a RequestInfo,
    /// The verb; for other paths the method in lower case.
    pub verb: &'a str,
    /// The field selector of a list or watch; empty if it has none.
    pub field_selector: &'a str,
    /// All that is stored, as fresh as the server has it.
    pub world: &'a World,
}

/// What an authorizer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Yes.
    Allow,
    /// No, whatever others say; why, for the client.
    Deny(String),
    /// Somebody else may know.
    NoOpinion,
}

/// Decides who may do what.
#[async_trait]
pub trait Authorizer: Debug + Send + Sync + 'static {
    /// Decides on one request.
    async fn authorize(&self, attributes: &Attributes<'_>) -> Decision;
}

const _: Option<&dyn Authorizer> = None; // object safety is API: losing it must not compile

/// The gate that asks authorizers in turn.
#[derive(Debug)]
pub struct Authorization {
    authorizers: Vec<Arc<dyn Authorizer>>,
    cache: Cache,
}

impl Authorization {
    /// Makes a gate of authorizers; the first that has an opinion decides.
    #[must_use]
    pub fn new(authorizers: Vec<Arc<dyn Authorizer>>, cache: Cache) -> Self {
        Self { authorizers, cache }
    }
}

#[async_trait]
impl Gate for Authorization {
    async fn check(&self, mut parts: Parts) -> Result<Parts, Status> {
        let request = RequestInfo::parse(&parts.method, &parts.uri)?;
        if let Some(user) = parts.extensions.get::<User>() {
            let verb = match &request {
                RequestInfo::Resource(ResourceRequest { verb: Some(verb), .. }) => Cow::from(verb.as_str()),
                _ => parts.method.as_str().to_ascii_lowercase().into(),
            };
            let query = Query::parse(&parts.uri);
            let attributes = Attributes {
                user,
                request: &request,
                verb: &verb,
                field_selector: query.get("fieldSelector").unwrap_or_default(),
                world: &self.cache.world(),
            };
            self.decide(&attributes).await?;
            if let Some(refusal) = self.creation_by_apply(&parts, &attributes).await {
                parts.extensions.insert(refusal);
            }
        } else if !is_health(parts.uri.path()) {
            return Err(Status::unauthorized());
        }
        parts.extensions.insert(request);
        Ok(parts)
    }
}

/// Why somebody who may patch may not create: an apply makes what it does not find.
#[derive(Debug, Clone)]
pub(crate) struct NoCreation(pub(crate) Status);

impl Authorization {
    /// Says why an apply may not make what it does not find, if that is so.
    async fn creation_by_apply(&self, parts: &Parts, attributes: &Attributes<'_>) -> Option<NoCreation> {
        let RequestInfo::Resource(request) = attributes.request else { return None };
        if request.verb != Some(Verb::Patch) || media_type(&parts.headers) != APPLY {
            return None;
        }
        let request = RequestInfo::Resource(ResourceRequest { verb: Some(Verb::Create), ..request.clone() });
        let verb = Verb::Create.as_str();
        self.decide(&Attributes { request: &request, verb, ..*attributes }).await.err().map(NoCreation)
    }

    async fn decide(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        let mut why = String::new();
        for authorizer in &self.authorizers {
            match authorizer.authorize(attributes).await {
                Decision::Allow => return Ok(()),
                Decision::Deny(reason) => {
                    why = reason;
                    break;
                }
                Decision::NoOpinion => {}
            }
        }
        Err(refusal(attributes, &why))
    }
}

/// Says who may not do what, in upstream's words.
#[must_use]
pub fn refusal(attributes: &Attributes<'_>, why: &str) -> Status {
    let Attributes { user: User { name: user, .. }, verb, .. } = attributes;
    let why = if why.is_empty() { String::new() } else { format!(": {why}") };
    let request = match attributes.request {
        RequestInfo::Path(path) => {
            return Status::forbidden(format!("forbidden: User {user:?} cannot {verb} path {path:?}{why}"));
        }
        RequestInfo::Resource(request) => request,
    };
    let ResourceRequest { group, resource, .. } = request;
    let full = match &request.subresource {
        Some(subresource) => format!("{resource}/{subresource}"),
        None => resource.clone(),
    };
    let qualified = if group.is_empty() { resource.clone() } else { format!("{resource}.{group}") };
    let place = match &request.namespace {
        Some(namespace) => format!("in the namespace {namespace:?}"),
        None => "at the cluster scope".into(),
    };
    let subject = match &request.name {
        Some(name) => format!("{qualified} {name:?}"),
        None => qualified,
    };
    let mut status = Status::forbidden(format!(
        "{subject} is forbidden: User {user:?} cannot {verb} resource {full:?} in API group {group:?} {place}{why}"
    ));
    for (key, value) in
        [("name", request.name.as_deref().unwrap_or_default()), ("group", group), ("kind", resource)]
    {
        if !value.is_empty() {
            status.details.insert(key.into(), value.into());
        }
    }
    status
}
