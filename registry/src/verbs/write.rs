//! Creating and replacing objects.

use http::Response;
use serde_json::Value;

use super::options::WriteOptions;
use super::{Call, body, respond};
use crate::body::Body;
use crate::negotiate::Form;
use crate::status::{Result, Status};
use crate::write::Change;

/// Answers a POST to a collection.
pub(super) async fn create(call: &Call) -> Result<Response<Body>> {
    let form = Form::choose(&call.headers, &call.query, false, &call.resource.kind)?;
    let options = WriteOptions::parse(&call.query, "CreateOptions")?;
    let decoded = body::object(call, options.validation)?;
    let mut object = decoded.object;
    place(&mut object, call.namespace.as_deref())?;
    let written = call.registry.create(&call.target(options.dry_run), object).await?;
    respond::written(call, form, &written, &decoded.warnings)
}

/// Puts an object in the namespace of the path.
pub(super) fn place(object: &mut Value, namespace: Option<&str>) -> Result<()> {
    let given = object["metadata"]["namespace"].as_str().unwrap_or_default();
    match namespace {
        Some(namespace) if given.is_empty() => object["metadata"]["namespace"] = namespace.into(),
        Some(namespace) if given == namespace => {}
        None => drop(object["metadata"].as_object_mut().map(|metadata| metadata.remove("namespace"))),
        Some(_) => {
            return Err(Status::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
    }
    Ok(())
}

/// Answers a PUT of an object or of its status.
pub(super) async fn update(call: &Call) -> Result<Response<Body>> {
    let form = Form::choose(&call.headers, &call.query, false, &call.resource.kind)?;
    let options = WriteOptions::parse(&call.query, "UpdateOptions")?;
    let decoded = body::object(call, options.validation)?;
    let target = call.target(options.dry_run);
    let written = call.registry.update(&target, &Replace(decoded.object)).await?;
    respond::written(call, form, &written, &decoded.warnings)
}

/// Puts this object in the place of whatever is there.
pub(super) struct Replace(pub Value);

impl Change for Replace {
    fn apply(&self, _present: &Value) -> Result<Value> {
        Ok(self.0.clone())
    }

    fn replacement(&self) -> Option<&Value> {
        Some(&self.0)
    }
}
