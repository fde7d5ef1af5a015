//! Paths that Kubernetes has and this server has not: exec, attach, port-forward and proxy.
//!
//! They are advertised nowhere. Whoever asks anyway is told what is wrong with the question, as Kubernetes would, and
//! only then that nobody here can do it.

use http::StatusCode;
use serde_json::Value;

use super::container;
use crate::cache::World;
use crate::registry::Registry;
use crate::request::{Query, ResourceRequest};
use crate::resource::Resource;
use crate::status::{Result, Status};

/// Returns why a path below an object cannot be asked, if Kubernetes has it.
pub(in super::super) async fn refusal(
    registry: &Registry,
    resource: &Resource,
    request: &ResourceRequest,
    query: &Query,
) -> Option<Status> {
    let below = request.subresource.as_deref()?;
    let proxied = below == "proxy" || below.starts_with("proxy/");
    let is_core = resource.group.is_empty() && resource.version == "v1";
    let check: Check = match (resource.plural.as_ref(), below) {
        ("pods", "exec" | "attach") => in_container,
        ("pods", "portforward") => on_node,
        ("pods", _) if proxied => proxied_pod,
        ("services", _) if proxied => proxied_service,
        _ => return None,
    };
    if !is_core {
        return None;
    }
    let world = match registry.latest().await {
        Ok(world) => world,
        Err(status) => return Some(status),
    };
    let asked = Asked { world: &world, resource, request, query };
    Some(check(&asked).err().unwrap_or_else(|| {
        let name = below.split('/').next().unwrap_or(below);
        let message = format!("{} of {} is not served here", name, resource.plural);
        Status::new(StatusCode::NOT_IMPLEMENTED, "NotImplemented", message)
    }))
}

type Check = fn(&Asked<'_>) -> Result<()>;

/// A question, and where its answer would be found.
struct Asked<'a> {
    world: &'a World,
    resource: &'a Resource,
    request: &'a ResourceRequest,
    query: &'a Query,
}

impl Asked<'_> {
    fn object(&self, name: &str) -> Result<Value> {
        let key = self.resource.key(self.request.namespace.as_deref(), name);
        let found = self.world.get(key.as_str());
        found.map(|object| object.value()).ok_or_else(|| Status::not_found(self.resource, name))
    }

    /// The name in the path; a proxy's may have a scheme before it and a port behind it.
    fn name(&self) -> &str {
        let whole = self.request.name.as_deref().unwrap_or_default();
        let parts: Vec<&str> = whole.split(':').collect();
        match parts.as_slice() {
            [_, name, _] | [name, _] => name,
            _ => whole,
        }
    }
}

fn in_container(asked: &Asked<'_>) -> Result<()> {
    let name = asked.request.name.as_deref().unwrap_or_default();
    let pod = asked.object(name)?;
    container::meant(&pod, name, asked.query.non_empty("container"))?;
    has_node(&pod, name)
}

fn on_node(asked: &Asked<'_>) -> Result<()> {
    let name = asked.request.name.as_deref().unwrap_or_default();
    has_node(&asked.object(name)?, name)
}

fn has_node(pod: &Value, name: &str) -> Result<()> {
    if pod["spec"]["nodeName"].as_str().unwrap_or_default().is_empty() {
        return Err(Status::bad_request(format!("pod {name} does not have a host assigned")));
    }
    Ok(())
}

fn proxied_pod(asked: &Asked<'_>) -> Result<()> {
    let pod = asked.object(asked.name())?;
    if pod["status"]["podIP"].as_str().unwrap_or_default().is_empty() {
        return Err(Status::bad_request("address not allowed"));
    }
    Ok(())
}

fn proxied_service(asked: &Asked<'_>) -> Result<()> {
    let name = asked.name();
    asked.object(name)?;
    let namespace = asked.request.namespace.as_deref().unwrap_or_default();
    let endpoints = asked.world.get(&format!("/registry/services/endpoints/{namespace}/{name}"));
    let endpoints = endpoints.map(|object| object.value()).unwrap_or_default();
    let mut subsets = endpoints["subsets"].as_array().into_iter().flatten();
    if subsets.any(|subset| subset["addresses"].as_array().is_some_and(|addresses| !addresses.is_empty())) {
        return Ok(());
    }
    let message = format!("no endpoints available for service {name:?}");
    Err(Status::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", message))
}
