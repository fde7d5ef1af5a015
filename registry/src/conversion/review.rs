//! `ConversionReview`: what a webhook is sent, and what it may answer, in upstream's words.

use bytes::Bytes;
use quarterdeck_core::labels::{quote, validate_label_key, validate_label_value};
use serde_json::{Map, Value, json};

use crate::admission::Why;

const GROUP: &str = "apiextensions.k8s.io";
const KIND: &str = "ConversionReview";

/// Writes what a webhook is sent. Returns besides the version of the review: the first that it and the server know.
///
/// # Errors
///
/// That there is none.
pub(super) fn request(
    configuration: &Value,
    uid: &str,
    objects: &[Value],
    desired: &str,
) -> Result<(&'static str, Bytes), String> {
    let offered = configuration["conversionReviewVersions"].as_array().into_iter().flatten();
    let version = offered.into_iter().find_map(|version| match version.as_str() {
        Some("v1") => Some("v1"),
        Some("v1beta1") => Some("v1beta1"),
        _ => None,
    });
    let version = version.ok_or("failed: no supported conversion review versions")?;
    let review = json!({
        "kind": KIND, "apiVersion": format!("{GROUP}/{version}"),
        "request": {"uid": uid, "desiredAPIVersion": desired, "objects": objects},
    });
    Ok((version, Bytes::from(review.to_string())))
}

/// Returns the objects of an answer.
///
/// # Errors
///
/// What is wrong with the answer, or what the webhook says is wrong.
pub(super) fn converted(answer: &Value, version: &str, uid: &str) -> Result<Vec<Value>, Why> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let expected = format!("{GROUP}/{version}");
    if answer["kind"] != KIND || answer["apiVersion"] != expected.as_str() {
        let expected = format!("expected webhook response of {expected}, Kind={KIND}, got");
        let (version, kind) = (text(&answer["apiVersion"]), text(&answer["kind"]));
        return Err(Why::quoting(
            format!("{expected} {version}, Kind={kind}"),
            format!("{expected} another"),
        ));
    }
    let response = &answer["response"];
    if !response.is_object() {
        return Err("no response provided".into());
    }
    if version == "v1" && response["uid"] != uid {
        let expected = format!("expected response.uid={}, got", quote(uid));
        let shown = format!("{expected} {}", quote(&text(&response["uid"])));
        return Err(Why::quoting(shown, format!("{expected} another")));
    }
    let result = &response["result"];
    if result["status"] != "Success" {
        let message = text(&result["message"]);
        let status = text(&result["status"]);
        let logged = "its result was no success";
        return Err(match message.is_empty() {
            false => Why::quoting(message, logged),
            true => Why::quoting(format!("response.result.status was '{status}', not 'Success'"), logged),
        });
    }
    Ok(response["convertedObjects"].as_array().cloned().unwrap_or_default())
}

/// Checks that what came back is what was sent, in the version that was asked for. A conversion may change labels and
/// annotations; of all else in metadata, what was sent counts.
///
/// # Errors
///
/// What is wrong with the objects.
pub(super) fn checked(sent: &[Value], converted: Vec<Value>, desired: &str) -> Result<Vec<Value>, String> {
    if converted.len() != sent.len() {
        return Err(format!("returned {} objects, expected {}", converted.len(), sent.len()));
    }
    let one = |(index, (sent, mut converted)): (usize, (&Value, Value))| {
        let object = |why: String| format!("returned invalid converted object at index {index}: {why}");
        same(sent, &converted, desired).map_err(object)?;
        let metadata = |why: String| format!("returned invalid metadata in object at index {index}: {why}");
        let restored = metadata_of(&sent["metadata"], &converted["metadata"]).map_err(metadata)?;
        converted["metadata"] = restored;
        Ok(converted)
    };
    sent.iter().zip(converted).enumerate().map(one).collect()
}

fn same(sent: &Value, converted: &Value, desired: &str) -> Result<(), String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    if !converted.is_object() {
        return Err("it is no object".into());
    }
    let received = text(&converted["apiVersion"]);
    if received != desired {
        return Err(format!("invalid groupVersion (expected {desired}, received {received})"));
    }
    let (expected, received) = (text(&sent["kind"]), text(&converted["kind"]));
    if received != expected {
        return Err(format!("invalid kind (expected {expected}, received {received})"));
    }
    if converted.get("metadata").is_none() {
        return Ok(());
    }
    for (name, field) in [("name", "name"), ("namespace", "namespace"), ("UID", "uid")] {
        let (expected, received) = (text(&sent["metadata"][field]), text(&converted["metadata"][field]));
        if received != expected {
            return Err(format!("must have the same {name}: {expected} != {received}"));
        }
    }
    Ok(())
}

fn metadata_of(sent: &Value, converted: &Value) -> Result<Value, String> {
    if converted.is_null() {
        return Err("missing metadata in converted object".into());
    }
    let sort = |value: &Value| match value {
        Value::Array(_) => "[]interface {}",
        Value::Bool(_) => "bool",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Null => "<nil>",
        Value::Object(_) => "map[string]interface {}",
    };
    let converted = converted
        .as_object()
        .ok_or_else(|| format!("invalid metadata of type {} in converted object", sort(converted)))?;
    let mut metadata = sent.as_object().cloned().unwrap_or_default();
    for field in ["labels", "annotations"] {
        let given = match converted.get(field) {
            None | Some(Value::Null) => {
                metadata.remove(field);
                continue;
            }
            Some(given) => given,
        };
        let members = given.as_object();
        let members = members
            .ok_or_else(|| format!("invalid metadata.{field} of type {} in converted object", sort(given)))?;
        for (key, value) in members {
            if !value.is_string() {
                let sort = sort(value);
                return Err(format!(
                    "metadata.{field}[{key}] must be a string, but is {sort} in converted object"
                ));
            }
        }
        if metadata.get(field) != Some(given) {
            valid(field, members)?;
        }
        metadata.insert(field.into(), given.clone());
    }
    Ok(Value::Object(metadata))
}

/// Checks labels and annotations as those that a client writes.
fn valid(field: &str, members: &Map<String, Value>) -> Result<(), String> {
    for (key, value) in members {
        let text = value.as_str().unwrap_or_default();
        let lowered = key.to_lowercase();
        let problems = validate_label_key(if field == "labels" { key } else { &lowered });
        let values = if field == "labels" { validate_label_value(text) } else { Vec::new() };
        if let Some(problem) = problems.into_iter().chain(values).next() {
            return Err(format!("metadata.{field}: Invalid value: {}: {problem}", quote(key)));
        }
    }
    Ok(())
}
