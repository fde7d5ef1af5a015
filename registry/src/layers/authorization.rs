//! Who may do what: the second gate.
//!
//! An [`Authorizer`] allows, denies, or has no opinion; what nobody allows is denied. The defaults are
//! [`Administrators`](super::administrators::Administrators), [`NodeAuthorizer`](super::node_authorizer::NodeAuthorizer) and
//! [`Rbac`](crate::rbac::Rbac).

use std::borrow::Cow;
use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use http::request::Parts;
use quarterdeck_core::storage::Storage;

use super::authentication::is_health;
use super::gate::Gate;
use crate::cache::{Cache, World};
use crate::negotiate::{APPLY, media_type};
use crate::notes::Notes;
use crate::rbac::Rules;
use crate::request::{Query, RequestInfo, ResourceRequest, Verb};
use crate::selector::FieldSelector;
use crate::status::{Result, Status};
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

impl Attributes<'_> {
    /// Returns the namespace that is asked about; empty for the cluster. A namespace itself lies in itself.
    #[must_use]
    pub fn namespace(&self) -> &str {
        match self.request {
            RequestInfo::Path(_) => "",
            RequestInfo::Resource(request) => request.authorized_namespace().unwrap_or_default(),
        }
    }
}

/// What an authorizer says, and why: for the client, and for reviews of access.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Yes.
    Allow(Arc<str>),
    /// No, whatever others say.
    Deny(Arc<str>),
    /// Somebody else may know.
    NoOpinion(Arc<str>),
}

/// Decides who may do what.
#[async_trait]
pub trait Authorizer: Debug + Send + Sync + 'static {
    /// Gets to know what is stored, before the first request.
    fn start(&self, cache: &Cache) {
        let _ = cache;
    }

    /// Decides on one request.
    async fn authorize(&self, attributes: &Attributes<'_>) -> Decision;

    /// Lists what a user may do in the cluster and in a namespace (in the cluster alone if that is empty). Nobody gives away
    /// more than is listed here.
    fn rules(&self, user: &User, namespace: &str) -> Rules {
        let _ = (user, namespace);
        Rules { rules: Vec::new(), incomplete: vec![format!("{self:?} does not list what it allows")] }
    }
}

const _: Option<&dyn Authorizer> = None; // object safety is API: losing it must not compile

/// Asks authorizers in turn; the first that allows or denies decides, and what nobody allows is denied. Cheap to clone.
///
/// It is the gate before the verbs, and whoever has to know what somebody may do asks it too.
#[derive(Debug, Clone)]
pub struct Authorization(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    authorizers: Vec<Arc<dyn Authorizer>>,
    cache: Cache,
    storage: Arc<dyn Storage>,
}

impl Authorization {
    /// Makes it of authorizers, in order, and starts them.
    #[must_use]
    pub fn new(authorizers: Vec<Arc<dyn Authorizer>>, cache: Cache, storage: Arc<dyn Storage>) -> Self {
        for authorizer in &authorizers {
            authorizer.start(&cache);
        }
        Self(Arc::new(Inner { authorizers, cache, storage }))
    }

    /// Decides by what is stored. What the cache would refuse is decided once more when the cache has all that was committed:
    /// who was given a right may use it at once. Where the cache stands still it is refused: a refusal must not cost a list
    /// of everything.
    pub async fn decide(
        &self,
        user: &User,
        request: &RequestInfo,
        verb: &str,
        field_selector: &str,
    ) -> Decision {
        let world = self.0.cache.world();
        let attributes = Attributes { user, request, verb, field_selector, world: &world };
        let decision = self.ask(&attributes).await;
        if matches!(decision, Decision::Allow(_)) {
            return decision;
        }
        match self.0.cache.caught_up(&*self.0.storage).await {
            Some(latest) if latest.revision > world.revision => {
                self.ask(&Attributes { world: &latest, ..attributes }).await
            }
            // Nothing newer is known.
            _ => decision,
        }
    }

    /// Returns whether a user has a right that no request asks for by itself, such as to `bind` a role or to `approve` for a signer;
    /// the resource is a group and a plural, an empty name stands for none.
    pub(crate) async fn may(
        &self,
        user: &User,
        verb: &str,
        (group, plural): (&str, &str),
        namespace: Option<&str>,
        name: &str,
    ) -> bool {
        let request = RequestInfo::Resource(ResourceRequest {
            verb: None,
            group: group.into(),
            version: "v1".into(),
            namespace: namespace.map(str::to_owned),
            resource: plural.into(),
            name: Some(name.into()).filter(|name: &String| !name.is_empty()),
            subresource: None,
        });
        matches!(self.decide(user, &request, verb, "").await, Decision::Allow(_))
    }

    async fn ask(&self, attributes: &Attributes<'_>) -> Decision {
        let mut reasons: Vec<Arc<str>> = Vec::new();
        for authorizer in &self.0.authorizers {
            match authorizer.authorize(attributes).await {
                Decision::NoOpinion(why) if why.is_empty() => {}
                Decision::NoOpinion(why) => reasons.push(why),
                decided => return decided,
            }
        }
        match reasons.as_slice() {
            [] => Decision::NoOpinion(Arc::default()),
            [one] => Decision::NoOpinion(one.clone()),
            several => Decision::NoOpinion(several.join("\n").into()),
        }
    }

    /// Lets somebody do something, or says why not.
    ///
    /// # Errors
    ///
    /// The Status that the client gets.
    pub async fn require(
        &self,
        user: &User,
        request: &RequestInfo,
        verb: &str,
        field_selector: &str,
    ) -> Result<()> {
        match self.decide(user, request, verb, field_selector).await {
            Decision::Allow(_) => Ok(()),
            Decision::Deny(why) | Decision::NoOpinion(why) => Err(refusal(user, request, verb, &why)),
        }
    }

    /// Does what [`require`](Self::require) does, and notes the decision for the audit log.
    async fn require_noted(
        &self,
        user: &User,
        request: &RequestInfo,
        (verb, field_selector): (&str, &str),
        notes: Option<&Notes>,
    ) -> Result<()> {
        let decision = self.decide(user, request, verb, field_selector).await;
        let (word, why) = match &decision {
            Decision::Allow(why) => ("allow", why),
            Decision::Deny(why) | Decision::NoOpinion(why) => ("forbid", why),
        };
        if let Some(notes) = notes {
            notes.annotate("authorization.k8s.io/decision", word);
            notes.annotate("authorization.k8s.io/reason", &**why);
        }
        if word == "allow" { Ok(()) } else { Err(refusal(user, request, verb, why)) }
    }

    /// Lists what a user may do, as far as the authorizers can list it.
    #[must_use]
    pub fn rules(&self, user: &User, namespace: &str) -> Rules {
        let mut all = Rules::default();
        for authorizer in &self.0.authorizers {
            let Rules { rules, incomplete } = authorizer.rules(user, namespace);
            all.rules.extend(rules);
            all.incomplete.extend(incomplete);
        }
        all
    }
}

#[async_trait]
impl Gate for Authorization {
    async fn check(&self, mut parts: Parts) -> Result<Parts> {
        let request = RequestInfo::of_parts(&mut parts)?;
        if let Some(user) = parts.extensions.get::<User>() {
            let query = Query::parse(&parts.uri);
            let field_selector = query.get("fieldSelector").unwrap_or_default();
            let asked = asked(&request, field_selector);
            let verb = match &*asked {
                RequestInfo::Resource(ResourceRequest { verb: Some(verb), .. }) => Cow::from(verb.as_str()),
                _ => parts.method.as_str().to_ascii_lowercase().into(),
            };
            let notes = parts.extensions.get::<Arc<Notes>>().map(|notes| &**notes);
            self.require_noted(user, &asked, (&verb, field_selector), notes).await?;
            if let Some(refusal) = self.creation_besides(&parts, user, &asked).await {
                parts.extensions.insert(refusal);
            }
        } else if !is_health(parts.uri.path()) {
            return Err(Status::unauthorized());
        }
        Ok(parts)
    }
}

/// What a request asks of authorisation: who selects one name in a collection asks for the object of that name.
fn asked<'a>(request: &'a RequestInfo, field_selector: &str) -> Cow<'a, RequestInfo> {
    if let RequestInfo::Resource(of @ ResourceRequest { name: None, verb: Some(verb), .. }) = request
        && matches!(verb, Verb::List | Verb::Watch | Verb::DeleteCollection)
        && let Some(name) = selected_name(field_selector)
    {
        return Cow::Owned(RequestInfo::Resource(ResourceRequest { name: Some(name), ..of.clone() }));
    }
    Cow::Borrowed(request)
}

/// Returns the one name that a field selector selects.
fn selected_name(field_selector: &str) -> Option<String> {
    if field_selector.is_empty() {
        return None;
    }
    // What stands behind a comma need not be a term: commas in values are escaped.
    let selector = FieldSelector::parse(field_selector).ok()?;
    let name = selector.exact_value("metadata.name")?;
    let is_name = !name.is_empty() && !name.contains(['/', '%']) && !matches!(name, "." | "..");
    is_name.then(|| name.to_owned())
}

/// Why somebody who may write may not create: an apply, and for some kinds a replacement, makes what it does not find.
#[derive(Debug, Clone)]
pub(crate) struct NoCreation(pub(crate) Status);

impl Authorization {
    /// Says why an apply or a replacement may not make what it does not find, if that is so.
    async fn creation_besides(
        &self,
        parts: &Parts,
        user: &User,
        request: &RequestInfo,
    ) -> Option<NoCreation> {
        let RequestInfo::Resource(request) = request else { return None };
        let makes = match request.verb {
            Some(Verb::Patch) => media_type(&parts.headers) == APPLY,
            Some(Verb::Update) => self.creates_on_update(request),
            _ => false,
        };
        if !makes {
            return None;
        }
        let request = RequestInfo::Resource(ResourceRequest { verb: Some(Verb::Create), ..request.clone() });
        self.require(user, &request, Verb::Create.as_str(), "").await.err().map(NoCreation)
    }
}

impl Authorization {
    /// Whether an update makes objects of a kind that it does not find.
    fn creates_on_update(&self, request: &ResourceRequest) -> bool {
        let world = self.0.cache.world();
        let resource = world.resources().get(&request.group, &request.version, &request.resource);
        resource.is_some_and(|resource| resource.strategy.creates_on_update())
    }
}

/// Says who may not do what, in upstream's words.
#[must_use]
pub fn refusal(User { name: user, .. }: &User, request: &RequestInfo, verb: &str, why: &str) -> Status {
    let why = if why.is_empty() { String::new() } else { format!(": {why}") };
    let request = match request {
        RequestInfo::Path(path) => {
            return Status::forbidden(format!("forbidden: User {user:?} cannot {verb} path {path:?}{why}"));
        }
        RequestInfo::Resource(request) => request,
    };
    let ResourceRequest { group, resource, .. } = request;
    let full = match request.subresource_name() {
        Some(subresource) => format!("{resource}/{subresource}"),
        None => resource.clone(),
    };
    let qualified = if group.is_empty() { resource.clone() } else { format!("{resource}.{group}") };
    let place = match request.authorized_namespace() {
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
