//! Reading one object.

use std::sync::Arc;

use http::{Response, StatusCode};
use quarterdeck_core::labels::quote;
use quarterdeck_core::storage::Revision;

use super::{Call, respond};
use crate::body::Body;
use crate::cache::World;
use crate::negotiate::Form;
use crate::numbers;
use crate::object::Object;
use crate::status::{Result, Status};

/// Answers a GET of an object or of its status.
pub(super) async fn get(call: &Call) -> Result<Response<Body>> {
    let form = Form::choose(&call.headers, &call.query, false, &call.resource)?;
    let object = match call.query.non_empty("resourceVersion") {
        None => {
            let key = call.resource.key(call.namespace.as_deref(), &call.name);
            let found = call.registry.cache.latest_at(&*call.registry.storage, &key).await?;
            found.ok_or_else(|| Status::not_found(&call.resource, &call.name))?
        }
        Some(_) => find(call, &*world_for(call).await?)?.clone(),
    };
    let object = call.registry.converted_one(&call.resource, &object).await?;
    respond::object(call, form, StatusCode::OK, &object)
}

/// Returns the object that the call names.
pub(super) fn find<'a>(call: &Call, world: &'a World) -> Result<&'a Arc<Object>> {
    let key = call.resource.key(call.namespace.as_deref(), &call.name);
    world.get(key.as_str()).ok_or_else(|| Status::not_found(&call.resource, &call.name))
}

/// Returns a world as fresh as the call asks for.
pub(super) async fn world_for(call: &Call) -> Result<Arc<World>> {
    match call.query.non_empty("resourceVersion") {
        None => call.registry.latest().await,
        Some("0") => Ok(call.registry.cache.world()),
        Some(text) => {
            // Upstream's cache has no events, and its storage knows what is the client's fault.
            let refused = |why: String| match &*call.resource.kind {
                "Event" if call.resource.custom.is_none() => no_stored_revision(&why),
                _ => Status::server_error(why),
            };
            call.registry.not_older_than(revision(text).map_err(refused)?).await
        }
    }
}

/// Refuses a revision that is none, as upstream's storage does; its cache says it otherwise.
pub(super) fn no_stored_revision(why: &str) -> Status {
    Status::bad_request(format!("invalid resource version: {why}"))
}

/// Reads a query's revision.
///
/// # Errors
///
/// Why it is none.
pub(super) fn revision(text: &str) -> std::result::Result<Revision, String> {
    let number = numbers::parse_uint(text);
    number.map(Revision).map_err(|why| format!("resourceVersion: Invalid value: {}: {why}", quote(text)))
}
