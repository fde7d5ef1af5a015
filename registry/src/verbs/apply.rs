//! Server-side apply: a PATCH with what its sender wants of an object, and nothing else.

use http::Response;
use quarterdeck_core::labels::quote;
use serde_json::{Map, Value};
use serde_saphyr::options::DuplicateKeyPolicy;

use super::options::{FieldValidation, WriteOptions};
use super::patch::Warnings;
use super::{Call, body, respond};
use crate::body::Body;
use crate::layers::authorization::NoCreation;
use crate::managed::{self, Applied, Failure};
use crate::negotiate::{self, APPLY, Form};
use crate::schema::{self, DecodeError};
use crate::status::{Result, Status};
use crate::write::{Change, Target};

/// Returns whether a patch is an apply.
pub(super) fn is_asked(call: &Call) -> bool {
    negotiate::media_type(&call.headers) == APPLY
}

/// Answers an apply to an object or to its status.
pub(super) async fn apply(call: &Call) -> Result<Response<Body>> {
    let form = Form::choose(&call.headers, &call.query, false, &call.resource)?;
    let options = WriteOptions::of_patch(&call.query, true)?;
    let configuration = Configuration::read(call)?;
    configuration.check_kind(&call.resource.group, &call.resource.version, &call.resource.kind)?;
    call.notes.accept_body();
    let target = call.target(options.dry_run);
    let change = ApplyChange { configuration, call, target: &target, options, warnings: Warnings::default() };
    let written = call.registry.update(&target, &change).await;
    let written = written.map_err(|status| status.of_apply(&call.resource, &call.name))?;
    respond::written(call, form, &written, &change.warnings.into_last())
}

/// What is applied.
pub(super) struct Configuration {
    pub(super) object: Value,
    /// A member that stands twice; the last one counts.
    duplicate: Option<String>,
}

impl Configuration {
    /// Reads what a call carries.
    pub(super) fn read(call: &Call) -> Result<Self> {
        let (object, duplicate) = parse(&call.body).map_err(unread)?;
        Ok(Self { object: only_object(object)?, duplicate })
    }

    /// Says what becomes of members that stand twice. Upstream asks only when all else is well.
    pub(super) fn judge(&self, validation: FieldValidation) -> Result<Vec<String>> {
        validation.judge_yaml(self.duplicate.iter().cloned().collect())
    }

    /// Refuses a configuration of another kind, and one that says who owns what.
    pub(super) fn check_kind(&self, group: &str, version: &str, kind: &str) -> Result<()> {
        let text = |field: &str| self.object[field].as_str().unwrap_or_default();
        let given_version = text("apiVersion");
        let (given_group, given_short) = given_version.rsplit_once('/').unwrap_or(("", given_version));
        if (given_group, given_short, text("kind")) != (group, version, kind) {
            return Err(Status::bad_request(format!(
                "invalid object type: {}",
                qualified(given_group, given_short, text("kind"))
            )));
        }
        if self.object["metadata"]["managedFields"].is_array() {
            return Err(Status::bad_request("metadata.managedFields must be nil"));
        }
        Ok(())
    }

    /// Namespace, name and kind, as upstream's messages have them.
    fn place(&self, kind: &str) -> String {
        let name = |field: &str| self.object["metadata"][field].as_str().unwrap_or_default();
        format!("{}/{}; {kind}", name("namespace"), name("name"))
    }

    /// Says why a configuration is not applied. What does not fit its kind is told with a code that upstream gives it,
    /// though it is the client's fault.
    pub(super) fn refusal(&self, failure: Failure, kind: &str) -> Status {
        match failure {
            Failure::Conflicts(conflicts) => managed::conflict_status(&conflicts),
            Failure::Unreadable(why) => {
                Status::server_error(format!("failed to decode managed fields: {why}"))
            }
            Failure::Unfit(why) => Status::server_error(format!(
                "failed to create typed patch object ({}): {why}",
                self.place(kind)
            )),
        }
    }

    /// Says that what came out is no object of its kind.
    pub(super) fn unconverted(&self, error: &DecodeError, kind: &str) -> Status {
        Status::server_error(format!(
            "failed to convert new typed object ({}) to object: {error}",
            self.place(kind)
        ))
    }
}

fn unread(why: String) -> Status {
    Status::bad_request(format!("error decoding YAML: {why}"))
}

/// Refuses what is no object. Nothing is an object without members; what it lacks is said next.
fn only_object(value: Value) -> Result<Value> {
    let found = match &value {
        Value::Null => return Ok(Value::Object(Map::new())),
        Value::Object(_) => return Ok(value),
        Value::Array(_) => "array",
        Value::String(_) => "string",
        Value::Number(_) => "number",
        Value::Bool(_) => "bool",
    };
    Err(unread(format!(
        "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {found} into Go value of type \
         map[string]interface {{}}"
    )))
}

/// Parses YAML or JSON. Returns besides what is wrong with it if it is read strictly.
fn parse(bytes: &[u8]) -> std::result::Result<(Value, Option<String>), String> {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    // JSON is YAML, and YAML's parser knows lines; but not all of JSON's escapes.
    let strict = serde_saphyr::from_str_with_options::<serde::de::IgnoredAny>(text, body::yaml_options());
    let duplicate = match strict {
        Ok(_) => None,
        Err(error) => match error.without_snippet() {
            serde_saphyr::Error::DuplicateMappingKey { key, location } => Some(format!(
                "error converting YAML to JSON: yaml: unmarshal errors:\n  line {}: key {} already set in map",
                location.line(),
                quote(key.as_deref().unwrap_or_default())
            )),
            _ => None,
        },
    };
    if let Ok(value) = schema::parse_json(bytes) {
        return Ok((value, duplicate));
    }
    let mut lenient = body::yaml_options();
    lenient.duplicate_keys = DuplicateKeyPolicy::LastWins;
    let value: Value =
        serde_saphyr::from_str_with_options(text, lenient).map_err(|error| body::yaml_problem(&error))?;
    Ok((value, duplicate))
}

/// Group, version and kind as upstream writes them.
pub(super) fn qualified(group: &str, version: &str, kind: &str) -> String {
    format!("{group}/{version}, Kind={kind}")
}

/// A configuration that is applied to whatever is there.
struct ApplyChange<'a> {
    configuration: Configuration,
    call: &'a Call,
    target: &'a Target<'a>,
    options: WriteOptions,
    warnings: Warnings,
}

impl ApplyChange<'_> {
    fn apply_to(&self, live: &Value) -> Result<Value> {
        let (resource, configuration) = (&self.call.resource, &self.configuration.object);
        let applied = self.call.registry.as_writer(self.target, |writer| {
            managed::apply(&resource.structure, live, configuration, writer, self.options.force)
        });
        let kind = qualified(&resource.group, &resource.version, &resource.kind);
        let Applied { object, managed } =
            applied.map_err(|failure| self.configuration.refusal(failure, &kind))?;
        let mut object = schema::decode_value(&resource.structure, object)
            .map_err(|error| self.configuration.unconverted(&error, &kind))?
            .value;
        schema::apply_defaults(&resource.structure, &mut object);
        self.warnings.replace(self.configuration.judge(self.options.validation)?);
        managed::refresh_last_applied(&mut object, configuration, self.target.manager);
        match managed {
            Some(managed) => object["metadata"]["managedFields"] = managed,
            None => {
                if let Some(metadata) = object["metadata"].as_object_mut() {
                    metadata.remove("managedFields");
                }
            }
        }
        Ok(object)
    }
}

impl Change for ApplyChange<'_> {
    fn apply(&self, present: &Value) -> Result<Value> {
        self.apply_to(present)
    }

    fn replacement(&self) -> Option<&Value> {
        None
    }

    fn creation(&self) -> Option<Result<Value>> {
        if let Some(NoCreation(refusal)) = &self.call.no_creation {
            return Some(Err(refusal.clone()));
        }
        let resource = &self.call.resource;
        let mut empty = schema::empty(&resource.structure);
        empty["kind"] = resource.kind.as_ref().into();
        empty["apiVersion"] = resource.api_version().into();
        Some(self.apply_to(&empty))
    }

    fn decides_owners(&self) -> bool {
        true
    }
}
