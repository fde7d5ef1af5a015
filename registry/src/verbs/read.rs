//! Reading one object.

use std::sync::Arc;

use http::{Response, StatusCode};
use quarterdeck_core::storage::Revision;

use super::{Call, respond};
use crate::body::Body;
use crate::cache::World;
use crate::negotiate::Form;
use crate::object::Object;
use crate::status::{Result, Status};

/// Answers a GET of an object or of its status.
pub(super) async fn get(call: &Call) -> Result<Response<Body>> {
    let form = Form::choose(&call.headers, &call.query, false, &call.resource.kind)?;
    let world = world_for(call).await?;
    let object = find(call, &world)?;
    respond::object(call, form, StatusCode::OK, object)
}

/// Returns the object that the call names.
pub(super) fn find<'a>(call: &Call, world: &'a World) -> Result<&'a Arc<Object>> {
    let key = call.resource.key(call.namespace.as_deref(), &call.name);
    world.get(key.as_str()).ok_or_else(|| Status::not_found(&call.resource, &call.name))
}

/// Returns a world as fresh as the call asks for.
pub(super) async fn world_for(call: &Call) -> Result<Arc<World>> {
    let cache = &call.registry.cache;
    match call.query.non_empty("resourceVersion") {
        None => call.registry.latest().await,
        Some("0") => Ok(cache.world()),
        Some(text) => {
            let revision = text.parse().map_err(|_| {
                Status::server_error(format!(
                    "resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax"
                ))
            })?;
            cache.not_older_than(Revision(revision)).await
        }
    }
}
