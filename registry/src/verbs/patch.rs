//! Changing objects by patches.

use http::Response;
use serde_json::Value;

use super::options::{FieldValidation, WriteOptions};
use super::{Call, apply, body, respond};
use crate::body::Body;
use crate::managed;
use crate::negotiate::{self, Form};
use crate::resource::Resource;
use crate::schema::{self, StrategicMergeError};
use crate::status::{Result, Status};
use crate::write::Change;

/// How many operations a JSON patch may have.
const MAX_OPERATIONS: usize = 10_000;

/// A patch, before it meets an object.
#[derive(Debug)]
pub(super) enum Patch {
    /// RFC 6902.
    Json(::json_patch::Patch),
    /// RFC 7396.
    Merge(Value),
    /// A merge that knows lists' keys and has directives.
    Strategic(Value),
}

/// Answers a PATCH of an object or of its status.
pub(super) async fn patch(call: &Call) -> Result<Response<Body>> {
    if apply::is_asked(call) {
        return apply::apply(call).await;
    }
    let patch = Patch::parse(call)?;
    let form = Form::choose(&call.headers, &call.query, false, &call.resource.kind)?;
    let options = WriteOptions::of_patch(&call.query, false)?;
    let change = PatchChange {
        patch,
        resource: &call.resource,
        validation: options.validation,
        warnings: Default::default(),
    };
    let written = call.registry.update(&call.target(options.dry_run), &change).await?;
    let warnings = change.warnings.into_inner().unwrap_or_default();
    respond::written(call, form, &written, &warnings)
}

impl Patch {
    /// Reads the patch that a call carries.
    pub(super) fn parse(call: &Call) -> Result<Self> {
        let merge = || {
            let patch = schema::parse_json(&call.body).map_err(unreadable)?;
            if patch.is_object() { Ok(patch) } else { Err(unreadable("the patch is no object".into())) }
        };
        match negotiate::media_type(&call.headers) {
            "application/json-patch+json" => json(&call.body),
            "application/merge-patch+json" => merge().map(Self::Merge),
            "application/strategic-merge-patch+json" if call.resource.custom.is_some() => {
                let accepted: Vec<&str> = negotiate::patches(&call.resource).collect();
                Err(Status::unsupported_media_type(&accepted.join(", ")))
            }
            "application/strategic-merge-patch+json" => merge().map(Self::Strategic),
            _ => Err(Status::unsupported_patch()),
        }
    }

    /// Applies the patch to an object of a kind.
    pub(super) fn apply(&self, present: &Value, structure: &schema::Structure) -> Result<Value> {
        match self {
            Self::Json(patch) => super::json_patch::apply(present, patch),
            Self::Merge(patch) => {
                let mut object = present.clone();
                ::json_patch::merge(&mut object, patch);
                Ok(object)
            }
            Self::Strategic(patch) => {
                schema::strategic_merge(present.clone(), patch.clone(), structure).map_err(strategic_failure)
            }
        }
    }
}

fn unreadable(why: String) -> Status {
    Status::bad_request(format!("error decoding patch: {why}"))
}

fn json(text: &[u8]) -> Result<Patch> {
    let Value::Array(operations) = schema::parse_json(text).map_err(unreadable)? else {
        return Err(unreadable("json: cannot unmarshal object into Go value of type jsonpatch.Patch".into()));
    };
    if operations.len() > MAX_OPERATIONS {
        return Err(Status::too_large(format!(
            "Request entity too large: The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}",
            operations.len()
        )));
    }
    let patch = serde_json::from_value(operations.into());
    patch
        .map(Patch::Json)
        .map_err(|error| Status::unprocessable(format!("the patch has an operation that is none: {error}")))
}

fn strategic_failure(error: StrategicMergeError) -> Status {
    match error {
        StrategicMergeError::BadRequest(why) => Status::bad_request(why),
        StrategicMergeError::Unprocessable(why) => Status::unprocessable(why),
        other => Status::server_error(other.to_string()),
    }
}

/// A patch that is applied to whatever is there.
struct PatchChange<'a> {
    patch: Patch,
    resource: &'a Resource,
    validation: FieldValidation,
    /// What the client should be warned of, after the last attempt.
    warnings: std::sync::Mutex<Vec<String>>,
}

impl Change for PatchChange<'_> {
    fn apply(&self, present: &Value) -> Result<Value> {
        let patched = self.patch.apply(present, &self.resource.structure)?;
        let (object, problems) = conform(patched, self.resource)?;
        if let Ok(mut warnings) = self.warnings.lock() {
            *warnings = self.validation.judge(problems)?;
        }
        Ok(object)
    }

    fn replacement(&self) -> Option<&Value> {
        None
    }
}

/// Checks a patched object against its kind's tables, and fills in defaults.
fn conform(patched: Value, resource: &Resource) -> Result<(Value, Vec<String>)> {
    let is_reset = body::resets_owners(&patched);
    let decoded = schema::decode_value(&resource.structure, patched)
        .map_err(|error| Status::unprocessable(format!("{} is invalid: patch: {error}", resource.kind)))?;
    let mut object = decoded.value;
    for (field, expected) in [("kind", resource.kind.to_string()), ("apiVersion", resource.api_version())] {
        match object[field].as_str() {
            None | Some("") => object[field] = expected.into(),
            Some(given) if given == expected => {}
            Some(given) => {
                return Err(Status::bad_request(format!(
                    "the {field} of the object ({given}) does not match the one on the URL ({expected})"
                )));
            }
        }
    }
    schema::apply_defaults(&resource.structure, &mut object);
    if is_reset {
        object["metadata"]["managedFields"] = managed::reset();
    }
    Ok((object, decoded.strict_errors))
}
