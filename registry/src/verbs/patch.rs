//! Changing objects by patches.

use http::Response;
use serde_json::Value;

use super::options::{FieldValidation, WriteOptions};
use super::{Call, apply, body, respond};
use crate::body::Body;
use crate::managed;
use crate::negotiate::{self, Form};
use crate::resource::Resource;
use crate::schema::{self, StrategicMergeError, StrictJson};
use crate::status::{Result, Status};
use crate::validation::{FieldError, go};
use crate::write::Change;

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
        warnings: Warnings::default(),
    };
    let written = call.registry.update(&call.target(options.dry_run), &change).await?;
    respond::written(call, form, &written, &change.warnings.into_last())
}

impl Patch {
    /// Reads the patch that a call carries.
    pub(super) fn parse(call: &Call) -> Result<Self> {
        let merge = |change: fn(Value) -> Changes| {
            let StrictJson { value, strict_errors } = StrictJson::parse(&call.body).map_err(unreadable)?;
            if !value.is_object() {
                return Err(unreadable("the patch is no object".into()));
            }
            Ok(Self { change: change(value), strict_errors })
        };
        match negotiate::media_type(&call.headers) {
            "application/json-patch+json" => json(&call.body),
            "application/merge-patch+json" => merge(Changes::Merge),
            "application/strategic-merge-patch+json" if call.resource.custom.is_some() => {
                let accepted: Vec<&str> = negotiate::patches(&call.resource).collect();
                Err(Status::unsupported_media_type(&accepted.join(", ")))
            }
            "application/strategic-merge-patch+json" => merge(Changes::Strategic),
            _ => Err(Status::unsupported_patch()),
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
            Changes::Json(patch) => super::json_patch::apply(present, patch),
            Changes::Merge(patch) => {
                let mut object = present.clone();
                ::json_patch::merge(&mut object, patch);
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

fn json(text: &[u8]) -> Result<Patch> {
    let StrictJson { value, strict_errors } = StrictJson::parse_operations(text).map_err(unreadable)?;
    let strict_errors = strict_errors.into_iter().map(|error| format!("json patch {error}")).collect();
    let Value::Array(operations) = value else {
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
        .map(|patch| Patch { change: Changes::Json(patch), strict_errors })
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
    warnings: Warnings,
}

impl Change for PatchChange<'_> {
    fn apply(&self, present: &Value) -> Result<Value> {
        let patched = self.patch.apply(present, &self.resource.structure, self.validation)?;
        self.warnings.replace(patched.warnings);
        conform(patched.object, patched.resets_owners, self.resource)
    }

    fn replacement(&self) -> Option<&Value> {
        None
    }
}

/// Checks that a patched object is still of its kind, and fills in defaults.
fn conform(mut object: Value, resets_owners: bool, resource: &Resource) -> Result<Value> {
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
    if resets_owners {
        object["metadata"]["managedFields"] = managed::reset();
    }
    Ok(object)
}
