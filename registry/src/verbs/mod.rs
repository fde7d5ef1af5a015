//! The verbs: from a request that may pass to an answer.
//!
//! A [`Call`] is a request taken apart. [`serve`] finds the kind and the verb; each verb has a file.

mod apply;
mod body;
mod delete;
pub(crate) mod json_patch;
mod list;
mod merge_patch;
mod options;
mod patch;
mod read;
mod respond;
mod reviews;
pub(crate) mod subresources;
mod watch;
mod write;

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Response};
use quarterdeck_core::component::Stop;

use crate::body::Body;
use crate::compress;
use crate::layers::RequestBody;
use crate::layers::authorization::NoCreation;
use crate::negotiate::{self, accepted, is_pretty, preferred};
use crate::notes::Notes;
use crate::registry::{Registry, Resources};
use crate::request::{Query, ResourceRequest, Verb};
use crate::resource::{Backing, Resource, Subresource};
use crate::status::{Result, Status};
use crate::user::User;
use crate::websocket::{Asked, Sockets};
use crate::write::Target;

pub(crate) use body::yaml_to_json;
pub(crate) use respond::{document as respond_document, no_such_page};

/// A request for a resource, taken apart.
#[derive(Debug)]
struct Call {
    registry: Arc<Registry>,
    resource: Arc<Resource>,
    subresource: Option<Subresource>,
    verb: Verb,
    namespace: Option<String>,
    /// The object's name; empty for collections.
    name: String,
    query: Query,
    headers: HeaderMap,
    user: User,
    /// Who comes to own the fields that a write changes.
    manager: String,
    /// Why an apply may not create, if it may not.
    no_creation: Option<NoCreation>,
    /// What admission has to say beside the answer.
    notes: Arc<Notes>,
    body: Bytes,
    /// What the client wants instead of HTTP, if it asks for a WebSocket.
    socket: Option<Asked>,
    running: Running,
}

/// What lasts longer than a request.
#[derive(Debug, Clone)]
pub(crate) struct Running {
    /// Fires when the server stops: watches end with it.
    pub(crate) stop: Stop,
    /// The WebSockets that are open.
    pub(crate) sockets: Arc<Sockets>,
}

impl Call {
    fn target(&self, dry_run: bool) -> Target<'_> {
        Target {
            resource: &self.resource,
            subresource: self.subresource,
            namespace: self.namespace.as_deref(),
            name: &self.name,
            user: &self.user,
            manager: &self.manager,
            dry_run,
            notes: Some(&self.notes),
        }
    }
}

/// Serves a request for a resource.
pub(crate) async fn serve(
    registry: Arc<Registry>,
    request: ResourceRequest,
    mut parts: Parts,
    body: RequestBody,
    running: Running,
) -> Response<Body> {
    let query = Query::parse(&parts.uri);
    let socket = Asked::of(&mut parts);
    let resource = match find_resource(&registry, &request).await {
        Ok(Some(resource)) if is_served_at(&resource, &request) => resource,
        Ok(Some(_)) => return respond::no_such_page(),
        Ok(None) if is_own_group(&registry, &request.group) => {
            return refuse(&Status::unknown_path(), &parts.headers, &query);
        }
        Ok(None) => return respond::no_such_page(),
        Err(status) => return refuse(&status, &parts.headers, &query),
    };
    let (subresource, verb, body) = match find(&registry, &resource, &request, &query, body).await {
        Ok(found) => found,
        Err(status) => return refuse(&status, &parts.headers, &query),
    };
    if resource.custom.is_some()
        && let Err(status) = negotiate::refuse_protobuf(&mut parts.headers)
    {
        return refuse(&status, &parts.headers, &query);
    }
    let user = parts.extensions.remove::<User>().unwrap_or_default();
    let manager = options::manager(verb, &query, &parts.headers, &user);
    let call = Call {
        registry,
        resource,
        subresource,
        verb,
        namespace: request.namespace,
        name: request.name.unwrap_or_default(),
        query,
        headers: parts.headers,
        user,
        manager,
        no_creation: parts.extensions.remove(),
        notes: parts.extensions.remove().unwrap_or_default(),
        body,
        socket,
        running,
    };
    let mut response = match dispatch(&call).await {
        Ok(response) if matches!(call.verb, Verb::Get | Verb::List) => {
            compress::large(response, &call.headers)
        }
        Ok(response) => response,
        Err(status) => refuse(&status, &call.headers, &call.query),
    };
    respond::warn(response.headers_mut(), &call.notes.warnings());
    if let Some(warning) = call.resource.custom.as_ref().and_then(|custom| custom.deprecation.clone()) {
        respond::warn(response.headers_mut(), &[warning]);
    }
    response
}

fn refuse(status: &Status, headers: &HeaderMap, query: &Query) -> Response<Body> {
    respond::refusal(status, preferred(&accepted(headers)), is_pretty(headers, query))
}

/// Whether a group is one of the server's own. Upstream has a router for each of these, which answers in the API's words; nobody
/// answers for other groups.
pub(crate) fn is_own_group(registry: &Registry, group: &str) -> bool {
    registry.resources().all().iter().any(|resource| resource.group == group && resource.custom.is_none())
}

/// Whether a kind has a path at all. Objects of custom kinds in namespaces are listed and watched through the path of all
/// namespaces; to everything else upstream knows no such page.
fn is_served_at(resource: &Resource, request: &ResourceRequest) -> bool {
    let across_namespaces = resource.is_namespaced() && request.namespace.is_none();
    resource.custom.is_none() || !across_namespaces || matches!(request.verb, Some(Verb::List | Verb::Watch))
}

/// Finds the kind of a request. A kind may have been defined through another server a moment ago.
async fn find_resource(registry: &Registry, request: &ResourceRequest) -> Result<Option<Arc<Resource>>> {
    let find = |resources: &Resources| {
        let resource = resources.get(&request.group, &request.version, &request.resource);
        // A path with a namespace is none of a kind without.
        let resource = resource.filter(|it| request.namespace.is_none() || it.is_namespaced());
        resource.cloned()
    };
    if let Some(resource) = find(&registry.resources()) {
        return Ok(Some(resource));
    }
    Ok(find(registry.latest().await?.resources()))
}

/// Finds what a request wants with its kind, and reads its body.
async fn find(
    registry: &Registry,
    resource: &Resource,
    request: &ResourceRequest,
    query: &Query,
    body: RequestBody,
) -> Result<(Option<Subresource>, Verb, Bytes)> {
    let subresource = match find_subresource(resource, request) {
        Ok(subresource) => subresource,
        Err(status) => {
            let refusal = subresources::refusal(registry, resource, request, query).await;
            return Err(refusal.unwrap_or(status));
        }
    };
    let verb = allowed_verb(resource, subresource, request)?;
    Ok((subresource, verb, body::read(body).await?))
}

fn find_subresource(resource: &Resource, request: &ResourceRequest) -> Result<Option<Subresource>> {
    // Objects in namespaces have no path without: only their collections have.
    let is_nowhere = resource.is_namespaced() && request.namespace.is_none() && request.name.is_some();
    if request.namespace.is_some() && !resource.is_namespaced()
        || is_nowhere && (request.verb != Some(Verb::Watch) || resource.custom.is_none())
    {
        return Err(Status::unknown_path());
    }
    let Some(name) = &request.subresource else { return Ok(None) };
    let known = resource.subresources.iter().find(|subresource| subresource.name() == name);
    known.copied().map(Some).ok_or_else(|| match resource.custom {
        None => Status::unknown_path(),
        Some(_) => Status::not_found(resource, request.name.as_deref().unwrap_or_default()),
    })
}

/// Returns the verb if the path has it.
fn allowed_verb(
    resource: &Resource,
    subresource: Option<Subresource>,
    request: &ResourceRequest,
) -> Result<Verb> {
    let allowed = |verb: &Verb| match subresource {
        None => resource.verbs.contains(verb) && has_place(resource, *verb, request),
        Some(subresource) => subresource.verbs().contains(verb),
    };
    let verb = request.verb.filter(allowed).ok_or_else(|| not_allowed(resource, subresource, request))?;
    let is_ending = resource.custom.as_ref().is_some_and(|custom| custom.is_ending);
    if is_ending && verb == Verb::Create {
        return Err(Status::kind_is_ending(resource));
    }
    Ok(verb)
}

/// Refuses a verb that a path has not. Custom kinds have no router, but handlers that see the mistake themselves.
fn not_allowed(resource: &Resource, subresource: Option<Subresource>, request: &ResourceRequest) -> Status {
    match request.verb {
        _ if resource.custom.is_none() => Status::method_not_allowed(),
        Some(Verb::Update | Verb::Patch) if subresource.is_none() => {
            Status::bad_request("name must be provided")
        }
        verb => Status::method_not_supported(resource, verb.map_or("", Verb::as_str)),
    }
}

/// Whether a verb fits the form of the path: objects in namespaces are made and deleted in their namespace.
fn has_place(resource: &Resource, verb: Verb, request: &ResourceRequest) -> bool {
    let in_place = !resource.is_namespaced() || request.namespace.is_some();
    match verb {
        Verb::List | Verb::Watch => true,
        Verb::Create => in_place && request.name.is_none(),
        Verb::DeleteCollection => in_place,
        Verb::Get | Verb::Update | Verb::Patch | Verb::Delete => in_place && request.name.is_some(),
    }
}

async fn dispatch(call: &Call) -> Result<Response<Body>> {
    match call.resource.backing {
        Backing::Store => {}
        Backing::Binding => return subresources::create_binding(call).await,
        Backing::Review => return reviews::review(call).await,
    }
    if let Some(subresource) = call.subresource {
        match subresource {
            Subresource::Status | Subresource::Finalize | Subresource::Approval => {}
            Subresource::Scale => return subresources::scale(call).await,
            Subresource::Binding => return subresources::create_binding(call).await,
            Subresource::Eviction => return subresources::evict(call).await,
            Subresource::Log => return subresources::log(call).await,
            Subresource::Token => return subresources::create_token(call).await,
        }
    }
    match call.verb {
        Verb::Get => read::get(call).await,
        Verb::List => list::list(call).await,
        Verb::Watch => watch::watch(call).await,
        Verb::Create => write::create(call).await,
        Verb::Update => write::update(call).await,
        Verb::Patch => patch::patch(call).await,
        Verb::Delete => delete::delete(call).await,
        Verb::DeleteCollection => delete::delete_collection(call).await,
    }
}
