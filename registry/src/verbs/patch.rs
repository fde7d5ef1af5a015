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
use crate::schema::{self, StrategicMergeError, StrictJson};
use crate::status::{Result, Status};
use crate::validation::{FieldError, go};
use crate::write::Change;

const JSON: &str = "application/json-patch+json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";

/// How many operations a JSON patch may have.
const MAX_OPERATIONS: usize = 10_000;

/// A patch, before it meets an object.
#[derive(Debug)]
pub(super) struct Patch {
    change: Changes,
    /// What strict field validation has against the patch itself.
    strict_errors: Vec<String>,
}

#[derive(Debug)]
enum Changes {
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
        warnings: Warnings::default(),
    };
    let written = call.registry.update(&call.target(options.dry_run), &change).await?;
    respond::written(call, form, &written, &change.warnings.into_last())
}

impl Patch {
    /// Refuses a patch of a type that the kind does not take.
    pub(super) fn check_type(call: &Call) -> Result<()> {
        match negotiate::media_type(&call.headers) {
            JSON | MERGE => Ok(()),
            _ if call.resource.custom.is_some() => {
                let accepted: Vec<&str> = negotiate::patches(&call.resource).collect();
                Err(Status::unsupported_media_type(&accepted.join(", ")))
            }
            STRATEGIC => Ok(()),
            _ => Err(Status::unsupported_patch()),
        }
    }

    /// Reads the patch that a call carries.
    pub(super) fn parse(call: &Call) -> Result<Self> {
        let patch = Self::read(call)?;
        call.notes.accept_body();
        Ok(patch)
    }

    fn read(call: &Call) -> Result<Self> {
        match negotiate::media_type(&call.headers) {
            JSON => json(&call.body),
            MERGE => match members(&call.body).map_err(unreadable)? {
                StrictJson { value: Value::Object(patch), strict_errors } => {
                    Ok(Self { change: Changes::Merge(patch), strict_errors })
                }
                _ => Err(Status::bad_request("Invalid JSON Patch")),
            },
            _ => {
                let StrictJson { value, strict_errors } = members(&call.body).map_err(Status::bad_request)?;
                Ok(Self { change: Changes::Strategic(value), strict_errors })
            }
        }
    }

    /// Applies the patch to an object of a kind, and reads what comes out by the kind's tables.
    ///
    /// # Errors
    ///
    /// A Status if the patch does not fit the object, or what comes out does not fit the tables; for unknown fields and
    /// those that stand twice, as `validation` says.
    pub(super) fn apply(
        &self,
        present: &Value,
        structure: &schema::Structure,
        validation: FieldValidation,
    ) -> Result<Patched> {
        let patched = self.merged(present, structure)?;
        let resets_owners = body::resets_owners(&patched);
        let refused = |why: &str| self.refusal(present, structure, why);
        let decoded =
            schema::decode_value(structure, patched).map_err(|error| refused(&error.to_string()))?;
        let problems = self.strict_errors.iter().cloned().chain(decoded.strict_errors).collect();
        let warnings = validation.judge(problems).map_err(|status| refused(&status.message))?;
        Ok(Patched { object: decoded.value, resets_owners, warnings })
    }

    fn merged(&self, present: &Value, structure: &schema::Structure) -> Result<Value> {
        match &self.change {
            Changes::Json(patch) => json_patch::apply(present, patch),
            Changes::Merge(patch) => {
                let mut object = present.clone();
                if let Some(members) = object.as_object_mut() {
                    merge_patch::merge(members, patch);
                }
                Ok(object)
            }
            Changes::Strategic(patch) => {
                schema::strategic_merge(present.clone(), patch.clone(), structure).map_err(strategic_failure)
            }
        }
    }

    /// Says what is wrong with a patch that fits its object. It is shown as upstream has it at that point.
    fn refusal(&self, present: &Value, structure: &schema::Structure, why: &str) -> Status {
        let shown = match &self.change {
            Changes::Strategic(patch) => go::plain(patch),
            Changes::Json(_) | Changes::Merge(_) => match self.merged(present, structure) {
                Ok(patched) => patched.to_string(),
                Err(status) => return status,
            },
        };
        Status::invalid("", "", "", &[FieldError::invalid("patch", &shown, why)])
    }
}

/// What a patch makes of an object.
pub(super) struct Patched {
    /// The object: known fields of the right types.
    pub(super) object: Value,
    /// Whether the patch asks that nobody own the object's fields.
    pub(super) resets_owners: bool,
    /// What the client should be warned of.
    pub(super) warnings: Vec<String>,
}

/// What a client should be warned of, after the last attempt.
#[derive(Debug, Default)]
pub(super) struct Warnings(std::sync::Mutex<Vec<String>>);

impl Warnings {
    /// Forgets what earlier attempts found.
    pub(super) fn replace(&self, warnings: Vec<String>) {
        *self.0.lock().expect("nothing panics while it holds the warnings") = warnings;
    }

    /// Returns what the last attempt found.
    pub(super) fn into_last(self) -> Vec<String> {
        self.0.into_inner().expect("nothing panics while it holds the warnings")
    }
}

fn unreadable(why: String) -> Status {
    Status::bad_request(format!("error decoding patch: {why}"))
}

/// Reads a patch that is an object. Null is none, which is for who asks to judge.
fn members(text: &[u8]) -> std::result::Result<StrictJson, String> {
    let patch = StrictJson::parse(text)?;
    match json_type(&patch.value) {
        "object" | "null" => Ok(patch),
        found => {
            Err(format!("json: cannot unmarshal {found} into Go value of type map[string]interface {{}}"))
        }
    }
}

fn json(text: &[u8]) -> Result<Patch> {
    let StrictJson { value, strict_errors } = StrictJson::parse_operations(text).map_err(unreadable)?;
    let strict_errors = strict_errors.into_iter().map(|error| format!("json patch {error}")).collect();
    let operations = match value {
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
    Ok(Patch { change: Changes::Json(operations), strict_errors })
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
    warnings: Warnings,
}

impl Change for PatchChange<'_> {
    fn apply(&self, present: &Value) -> Result<Value> {
        let patch = self.patch.as_ref().map_err(Clone::clone)?;
        let Patched { mut object, resets_owners, mut warnings } =
            patch.apply(present, &self.resource.structure, self.validation)?;
        keep_kind(&mut object, self.resource, matches!(patch.change, Changes::Strategic(_)))?;
        schema::apply_defaults(&self.resource.structure, &mut object);
        if resets_owners {
            object["metadata"]["managedFields"] = managed::reset();
        }
        warnings.extend(drop_repeated_owners_of_patched(&mut object));
        self.warnings.replace(warnings);
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
        let why = body::no_conversion(text("apiVersion"), text("kind"), &negotiate::internal_type(resource));
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
