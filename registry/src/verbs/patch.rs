//! Changing objects by patches.

use http::Response;
use serde_json::{Map, Value};

use super::json_patch::{self, Operation, json_type};
use super::options::{FieldValidation, WriteOptions};
use super::write::drop_repeated_owners_of_patched;
use super::{Call, apply, body, merge_patch, respond};
use crate::body::Body;
use crate::managed;
use crate::negotiate::{self, Form};
use crate::resource::Resource;
use crate::schema::{self, StrategicMergeError};
use crate::status::{Result, Status};
use crate::validation::FieldError;
use crate::write::Change;

const JSON: &str = "application/json-patch+json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";

/// How many operations a JSON patch may have.
const MAX_OPERATIONS: usize = 10_000;

/// A patch, before it meets an object.
#[derive(Debug)]
pub(super) enum Patch {
    /// RFC 6902.
    Json(Vec<Operation>),
    /// RFC 7396.
    Merge(Map<String, Value>),
    /// A merge that knows lists' keys and has directives.
    Strategic(Value),
}

/// Answers a PATCH of an object or of its status.
pub(super) async fn patch(call: &Call) -> Result<Response<Body>> {
    if apply::is_asked(call) {
        return apply::apply(call).await;
    }
    Patch::check_type(call)?;
    let form = Form::choose(&call.headers, &call.query, false, &call.resource)?;
    let options = WriteOptions::of_patch(&call.query, false)?;
    // As upstream: what the patch is, is looked at when there is an object.
    let patch = Patch::parse(call);
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
    /// Refuses a patch of a type that the kind does not take.
    pub(super) fn check_type(call: &Call) -> Result<()> {
        match negotiate::media_type(&call.headers) {
            JSON | MERGE => Ok(()),
            STRATEGIC if call.resource.custom.is_some() => {
                let accepted: Vec<&str> = negotiate::patches(&call.resource).collect();
                Err(Status::unsupported_media_type(&accepted.join(", ")))
            }
            STRATEGIC => Ok(()),
            _ => Err(Status::unsupported_patch()),
        }
    }

    /// Reads the patch that a call carries.
    pub(super) fn parse(call: &Call) -> Result<Self> {
        match negotiate::media_type(&call.headers) {
            JSON => json(&call.body),
            MERGE => match members(&call.body).map_err(unreadable)? {
                Value::Object(patch) => Ok(Self::Merge(patch)),
                _ => Err(Status::bad_request("Invalid JSON Patch")),
            },
            _ => members(&call.body).map(Self::Strategic).map_err(Status::bad_request),
        }
    }

    /// Applies the patch to an object of a kind.
    pub(super) fn apply(&self, present: &Value, structure: &schema::Structure) -> Result<Value> {
        match self {
            Self::Json(patch) => json_patch::apply(present, patch),
            Self::Merge(patch) => {
                let mut object = present.clone();
                if let Some(members) = object.as_object_mut() {
                    merge_patch::merge(members, patch);
                }
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

/// Reads a patch that is an object. Null is none, which is for who asks to judge.
fn members(text: &[u8]) -> std::result::Result<Value, String> {
    let patch = schema::parse_json(text)?;
    match json_type(&patch) {
        "object" | "null" => Ok(patch),
        found => {
            Err(format!("json: cannot unmarshal {found} into Go value of type map[string]interface {{}}"))
        }
    }
}

fn json(text: &[u8]) -> Result<Patch> {
    let operations = match schema::parse_json(text).map_err(unreadable)? {
        Value::Array(operations) => operations,
        Value::Null => Vec::new(),
        other => {
            let found = json_type(&other);
            return Err(unreadable(format!(
                "json: cannot unmarshal {found} into Go value of type []handlers.jsonPatchOp"
            )));
        }
    };
    let count = operations.len();
    let operations: std::result::Result<Vec<_>, String> =
        operations.into_iter().map(Operation::read).collect();
    let operations = operations.map_err(unreadable)?;
    if count > MAX_OPERATIONS {
        return Err(Status::too_large(format!(
            "Request entity too large: The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {count}"
        )));
    }
    Ok(Patch::Json(operations))
}

fn strategic_failure(error: StrategicMergeError) -> Status {
    match error {
        StrategicMergeError::BadRequest(why) => Status::bad_request(why),
        // Upstream does not say why.
        StrategicMergeError::Unprocessable(_) => Status::patch_does_not_fit(),
        other => Status::server_error(other.to_string()),
    }
}

/// A patch that is applied to whatever is there.
struct PatchChange<'a> {
    patch: Result<Patch>,
    resource: &'a Resource,
    validation: FieldValidation,
    /// What the client should be warned of, after the last attempt.
    warnings: std::sync::Mutex<Vec<String>>,
}

impl Change for PatchChange<'_> {
    fn apply(&self, present: &Value) -> Result<Value> {
        let patch = self.patch.as_ref().map_err(Clone::clone)?;
        let mut patched = patch.apply(present, &self.resource.structure)?;
        keep_kind(&mut patched, self.resource, matches!(patch, Patch::Strategic(_)))?;
        let (mut object, problems) = conform(patched, self.resource)?;
        if let Ok(mut warnings) = self.warnings.lock() {
            *warnings = self.validation.judge(problems)?;
            warnings.extend(drop_repeated_owners_of_patched(&mut object));
        }
        Ok(object)
    }

    fn replacement(&self) -> Option<&Value> {
        None
    }
}

/// Checks that a patched object is still of its kind. A strategic merge knows the kind without being told.
fn keep_kind(patched: &mut Value, resource: &Resource, is_known: bool) -> Result<()> {
    if !patched.is_object() {
        // The kind's tables refuse it in better words.
        return Ok(());
    }
    let api_version = resource.api_version();
    let expected = [("kind", resource.kind.as_ref()), ("apiVersion", api_version.as_str())];
    let differs = |patched: &Value, (field, expected): (&str, &str)| {
        patched[field].as_str().is_some_and(|given| !given.is_empty() && given != expected)
    };
    if !is_known && expected.into_iter().any(|one| differs(patched, one)) {
        let text = |field: &str| patched[field].as_str().unwrap_or_default();
        let why = body::no_conversion(text("apiVersion"), text("kind"), &resource.kind);
        let error = FieldError::invalid("patch", &patched.to_string(), &why);
        return Err(Status::invalid("", "", "", &[error]));
    }
    for (field, expected) in expected {
        if is_known || patched[field].is_null() || patched[field] == "" {
            patched[field] = expected.into();
        }
    }
    Ok(())
}

/// Checks a patched object against its kind's tables, and fills in defaults.
fn conform(patched: Value, resource: &Resource) -> Result<(Value, Vec<String>)> {
    let is_reset = body::resets_owners(&patched);
    let decoded = schema::decode_value(&resource.structure, patched)
        .map_err(|error| Status::unprocessable(format!("{} is invalid: patch: {error}", resource.kind)))?;
    let mut object = decoded.value;
    schema::apply_defaults(&resource.structure, &mut object);
    if is_reset {
        object["metadata"]["managedFields"] = managed::reset();
    }
    Ok((object, decoded.strict_errors))
}
