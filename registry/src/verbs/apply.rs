//! Server-side apply: a PATCH with what its sender wants of an object, and nothing else.

use http::Response;
use quarterdeck_core::labels::quote;
use serde_json::{Map, Value};
use serde_saphyr::options::DuplicateKeyPolicy;

use super::options::WriteOptions;
use super::{Call, respond};
use crate::body::Body;
use crate::layers::authorization::NoCreation;
use crate::managed::{self, Applied, Failure};
use crate::negotiate::{self, APPLY, Form};
use crate::resource::Resource;
use crate::schema;
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
    let (configuration, warnings) = read(call, &options)?;
    check_kind(&configuration, &call.resource.group, &call.resource.version, &call.resource.kind)?;
    let target = call.target(options.dry_run);
    let change = ApplyChange { configuration, call, target: &target, force: options.force };
    let written = call.registry.update(&target, &change).await?;
    respond::written(call, form, &written, &warnings)
}

/// Reads what is applied. Members that stand twice are judged as the client asks; the last one counts.
pub(super) fn read(call: &Call, options: &WriteOptions) -> Result<(Value, Vec<String>)> {
    let unread = |why: String| Status::bad_request(format!("error decoding YAML: {why}"));
    let (mut configuration, duplicate) = parse(&call.body).map_err(unread)?;
    let found = match &configuration {
        Value::Object(_) | Value::Null => None,
        Value::Array(_) => Some("array"),
        Value::String(_) => Some("string"),
        Value::Number(_) => Some("number"),
        Value::Bool(_) => Some("bool"),
    };
    if let Some(found) = found {
        return Err(unread(format!(
            "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {found} into Go value of type \
             map[string]interface {{}}"
        )));
    }
    if configuration.is_null() {
        // Nothing is an object without members; what it lacks is said next.
        configuration = Value::Object(Map::new());
    }
    let warnings = options.validation.judge_yaml(duplicate.into_iter().collect())?;
    Ok((configuration, warnings))
}

/// Parses YAML or JSON. Returns besides what is wrong with it if it is read strictly.
fn parse(bytes: &[u8]) -> std::result::Result<(Value, Option<String>), String> {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    // JSON is YAML, and YAML's parser knows lines; but not all of JSON's escapes.
    let duplicate = match serde_saphyr::from_str::<serde::de::IgnoredAny>(text) {
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
    let lenient = serde_saphyr::options! { duplicate_keys: DuplicateKeyPolicy::LastWins };
    let value: Value = serde_saphyr::from_str_with_options(text, lenient)
        .map_err(|error| error.without_snippet().to_string())?;
    Ok((value, duplicate))
}

/// Refuses a configuration of another kind, and one that says who owns what.
pub(super) fn check_kind(configuration: &Value, group: &str, version: &str, kind: &str) -> Result<()> {
    let text = |field: &str| configuration[field].as_str().unwrap_or_default();
    let given_version = text("apiVersion");
    let (given_group, given_short) = given_version.rsplit_once('/').unwrap_or(("", given_version));
    if (given_group, given_short, text("kind")) != (group, version, kind) {
        return Err(Status::bad_request(format!(
            "invalid object type: {}",
            qualified(given_group, given_short, text("kind"))
        )));
    }
    if configuration["metadata"]["managedFields"].is_array() {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    Ok(())
}

/// Group, version and kind as upstream writes them.
pub(super) fn qualified(group: &str, version: &str, kind: &str) -> String {
    format!("{group}/{version}, Kind={kind}")
}

/// A configuration that is applied to whatever is there.
struct ApplyChange<'a> {
    configuration: Value,
    call: &'a Call,
    target: &'a Target<'a>,
    force: bool,
}

impl ApplyChange<'_> {
    fn apply_to(&self, live: &Value) -> Result<Value> {
        let resource = &self.call.resource;
        let applied = self.call.registry.as_writer(self.target, |writer| {
            managed::apply(&resource.structure, live, &self.configuration, writer, self.force)
        });
        let Applied { object, managed } =
            applied.map_err(|failure| refusal(failure, &self.configuration, &names(resource)))?;
        let mut object = conform(object, resource, &self.configuration)?;
        managed::refresh_last_applied(&mut object, &self.configuration, self.target.manager);
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

fn names(resource: &Resource) -> String {
    qualified(&resource.group, &resource.version, &resource.kind)
}

/// Says why a configuration is not applied. What does not fit its kind is told with a code that upstream gives it, though
/// it is the client's fault.
pub(super) fn refusal(failure: Failure, configuration: &Value, kind: &str) -> Status {
    let name = |field: &str| configuration["metadata"][field].as_str().unwrap_or_default();
    match failure {
        Failure::Conflicts(conflicts) => managed::conflict_status(&conflicts),
        Failure::Unreadable(why) => Status::server_error(format!("failed to decode managed fields: {why}")),
        Failure::Unfit(why) => Status::server_error(format!(
            "failed to create typed patch object ({}/{}; {kind}): {why}",
            name("namespace"),
            name("name")
        )),
    }
}

/// Reads what came out as an object of its kind.
fn conform(object: Value, resource: &Resource, configuration: &Value) -> Result<Value> {
    let decoded = schema::decode_value(&resource.structure, object).map_err(|error| {
        let name = |field: &str| configuration["metadata"][field].as_str().unwrap_or_default();
        Status::server_error(format!(
            "failed to convert new typed object ({}/{}; {}) to object: {error}",
            name("namespace"),
            name("name"),
            names(resource)
        ))
    })?;
    let mut object = decoded.value;
    schema::apply_defaults(&resource.structure, &mut object);
    Ok(object)
}
