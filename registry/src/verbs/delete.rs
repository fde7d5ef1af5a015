//! Deleting objects and collections.

use http::{Response, StatusCode};
use serde_json::Value;

use super::options::check_dry_run;
use super::{Call, body, list, respond};
use crate::body::Body;
use crate::negotiate::{BodyForm, Form};
use crate::schema;
use crate::status::{Result, Status, deleted};
use crate::validation::FieldError;
use crate::write::{DeleteOptions, Deleted, Preconditions, Propagation, Target};

/// Answers a DELETE of an object.
pub(super) async fn delete(call: &Call) -> Result<Response<Body>> {
    let form = Form::choose(&call.headers, &call.query, false, &call.resource)?;
    let given = given(call)?;
    let (options, dry_run) = options_of(&given, call.query.all("dryRun").collect())?;
    let target = call.target(dry_run);
    let answer = |code, object: &Value| respond::value(call, form, code, object);
    let mut response = match call.registry.delete(&target, &options).await? {
        Deleted::Gone { uid } => {
            respond::other(call, StatusCode::OK, &deleted(&call.resource, &call.name, &uid))?
        }
        Deleted::Last(object) => answer(StatusCode::OK, &object)?,
        // That more is to come is told to those only who ask in the old way: others have never heard of it.
        Deleted::Marked(object) if given["orphanDependents"] == false => {
            answer(StatusCode::ACCEPTED, &object)?
        }
        Deleted::Marked(object) => answer(StatusCode::OK, &object)?,
    };
    if options.propagation.is_none() {
        respond::warn(response.headers_mut(), &call.resource.strategy.warnings_on_delete());
    }
    Ok(response)
}

/// Answers a DELETE of a collection, or of a page of it, with the list of what was there before.
pub(super) async fn delete_collection(call: &Call) -> Result<Response<Body>> {
    let form = Form::choose(&call.headers, &call.query, true, &call.resource)?;
    let wanted = list::Wanted::parse(call)?;
    let (options, dry_run) = options_of(&given(call)?, call.query.all("dryRun").collect())?;
    let page = wanted.find(call).await?;
    for object in &page.objects {
        let target = Target { name: &object.header.name, ..call.target(dry_run) };
        match call.registry.delete(&target, &options).await {
            Ok(_) => {}
            // Somebody else was faster.
            Err(status) if status.code == StatusCode::NOT_FOUND => {}
            Err(status) => return Err(status),
        }
    }
    list::answer(call, form, page)
}

/// Reads the options of a deletion, from the body if there is one, else from the query.
fn given(call: &Call) -> Result<Value> {
    if call.body.is_empty() { from_query(call) } else { from_body(call) }
}

/// Interprets DeleteOptions; `dry_run` counts where they say nothing of it themselves.
pub(super) fn options_of(given: &Value, dry_run: Vec<&str>) -> Result<(DeleteOptions, bool)> {
    let mut errors = Vec::new();
    let propagation = propagation(given, &mut errors);
    let dry_run: Vec<&str> = match given["dryRun"].as_array() {
        Some(values) => values.iter().filter_map(Value::as_str).collect(),
        None => dry_run,
    };
    errors.extend(check_dry_run(&dry_run));
    if !errors.is_empty() {
        return Err(Status::invalid("meta.k8s.io", "DeleteOptions", "", &errors));
    }
    let precondition = |field: &str| given["preconditions"][field].as_str().map(str::to_owned);
    let options = DeleteOptions {
        grace_period_seconds: given["gracePeriodSeconds"].as_i64(),
        propagation,
        preconditions: Preconditions {
            uid: precondition("uid"),
            resource_version: precondition("resourceVersion"),
        },
    };
    Ok((options, !dry_run.is_empty()))
}

fn propagation(given: &Value, errors: &mut Vec<FieldError>) -> Option<Propagation> {
    let policy = given["propagationPolicy"].as_str();
    let orphan = given["orphanDependents"].as_bool();
    if let (Some(policy), Some(_)) = (policy, orphan) {
        errors.push(FieldError::invalid(
            "propagationPolicy",
            policy,
            "orphanDependents and deletionPropagation cannot be both set",
        ));
    }
    match (policy, orphan) {
        (None, None) => None,
        (None, Some(true)) | (Some("Orphan"), _) => Some(Propagation::Orphan),
        (None, Some(false)) | (Some("Background"), _) => Some(Propagation::Background),
        (Some("Foreground"), _) => Some(Propagation::Foreground),
        (Some(other), _) => {
            let supported = ["Foreground", "Background", "Orphan", "nil"];
            errors.push(FieldError::not_supported("propagationPolicy", other, &supported));
            None
        }
    }
}

fn from_query(call: &Call) -> Result<Value> {
    let mut given = serde_json::json!({});
    if let Some(seconds) = call.query.integer("gracePeriodSeconds")? {
        given["gracePeriodSeconds"] = seconds.into();
    }
    if let Some(policy) = call.query.get("propagationPolicy") {
        given["propagationPolicy"] = policy.into();
    }
    if call.query.get("orphanDependents").is_some() {
        given["orphanDependents"] = call.query.flag("orphanDependents").into();
    }
    for precondition in ["uid", "resourceVersion"] {
        if let Some(value) = call.query.non_empty(precondition) {
            given["preconditions"][precondition] = value.into();
        }
    }
    Ok(given)
}

/// Reads DeleteOptions of any group: clients send them as `v1`, `meta.k8s.io/v1` or of the object's group.
fn from_body(call: &Call) -> Result<Value> {
    let structure = schema::builtin("", "v1", "DeleteOptions").expect("the tables have DeleteOptions");
    let form = BodyForm::of(&call.headers)?;
    let given = match form {
        BodyForm::Protobuf => {
            let decoded = schema::decode_protobuf(structure, &call.body);
            decoded.map_err(|error| Status::bad_request(error.to_string()))?.value
        }
        BodyForm::Yaml => {
            let text = body::yaml_to_json(&call.body);
            let unread = |why| Status::bad_request(format!("error converting YAML to JSON: {why}"));
            decode(structure, &text.map_err(unread)?)?
        }
        BodyForm::Json => decode(structure, &call.body)?,
    };
    let kind = given["kind"].as_str().unwrap_or("DeleteOptions");
    if kind != "DeleteOptions" {
        let version = given["apiVersion"].as_str().unwrap_or_default();
        return Err(Status::bad_request(format!(
            "no kind {kind:?} is registered for version {version:?} in scheme \
             \"k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27\""
        )));
    }
    call.notes.accept_body();
    Ok(given)
}

fn decode(structure: &schema::Structure, text: &[u8]) -> Result<Value> {
    let unreadable =
        |why: String| Status::bad_request(format!("couldn't get version/kind; json parse error: {why}"));
    if text.iter().all(u8::is_ascii_whitespace) {
        return Err(unreadable("unexpected end of JSON input".into()));
    }
    schema::decode_json(structure, text)
        .map(|decoded| decoded.value)
        .map_err(|error| unreadable(error.to_string()))
}
