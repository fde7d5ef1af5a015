//! `AdmissionReview`: what a webhook is sent, and what it may answer.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

use super::refusal::{self, Failure, Why};
use crate::status::Status;
use crate::verbs::json_patch::Operation;

const GROUP: &str = "admission.k8s.io";

/// Returns the version of `AdmissionReview` in which a webhook is asked: the first that it and the server know.
pub(super) fn version(offered: &Value) -> Option<&'static str> {
    let offered = offered.as_array().into_iter().flatten().filter_map(Value::as_str);
    offered.into_iter().find_map(|version| match version {
        "v1" => Some("v1"),
        "v1beta1" => Some("v1beta1"),
        _ => None,
    })
}

/// Writes what a webhook is sent.
pub(super) fn request(version: &str, request: Value) -> Bytes {
    let review = json!({
        "kind": "AdmissionReview", "apiVersion": format!("{GROUP}/{version}"), "request": request,
    });
    Bytes::from(review.to_string())
}

/// What a webhook answered.
#[derive(Debug)]
pub(super) struct Answer {
    response: Value,
    patch: Vec<Operation>,
}

impl Answer {
    /// Reads an answer.
    pub(super) fn read(review: &Value, version: &str, uid: &str, mutating: bool) -> Result<Self, Failure> {
        let response = &review["response"];
        let invalid = |why: Why| Failure::Calling(why.of("received invalid webhook response"));
        if !response.is_object() {
            return Err(invalid("webhook response was absent".into()));
        }
        check_types(response).map_err(|why| Failure::Calling(Why::from(why).of("failed to call webhook")))?;
        if version == "v1" {
            check(review, response, uid, mutating).map_err(invalid)?;
        }
        let patch = match response["patch"].as_str().filter(|patch| mutating && !patch.is_empty()) {
            Some(patch) => operations(patch, &response["patchType"])?,
            None => Vec::new(),
        };
        Ok(Self { response: response.clone(), patch })
    }

    pub(super) fn audit_annotations(&self) -> impl Iterator<Item = (&str, &str)> {
        let annotations = self.response["auditAnnotations"].as_object().into_iter().flatten();
        let annotations = annotations.filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)));
        // As upstream, what is no key of an annotation is left out.
        annotations.filter(|(key, _)| {
            !key.contains('/') && quarterdeck_core::labels::validate_label_key(key).is_empty()
        })
    }

    pub(super) fn warnings(&self) -> impl Iterator<Item = &str> {
        self.response["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str)
    }

    /// Returns the Status that the client gets, if the webhook refuses the write.
    pub(super) fn refusal(&self, name: &str) -> Option<Status> {
        (self.response["allowed"] != true).then(|| refusal::denied(name, &self.response["status"]))
    }

    /// Returns what is to be changed.
    pub(super) fn into_patch(self) -> Vec<Operation> {
        self.patch
    }
}

/// Checks that what the answer holds has the types that it must have.
fn check_types(response: &Value) -> Result<(), String> {
    type Check = fn(&Value) -> bool;
    let texts: Check = |value| value.as_array().is_some_and(|items| items.iter().all(Value::is_string));
    let map: Check = |value| value.as_object().is_some_and(|members| members.values().all(Value::is_string));
    let fields: [(&str, Check); 7] = [
        ("uid", Value::is_string),
        ("allowed", Value::is_boolean),
        ("status", Value::is_object),
        ("patch", Value::is_string),
        ("patchType", Value::is_string),
        ("auditAnnotations", map),
        ("warnings", texts),
    ];
    let is_wrong = |(name, fits): &&(&str, Check)| !response[*name].is_null() && !fits(&response[*name]);
    match fields.iter().find(is_wrong) {
        None => Ok(()),
        Some((name, _)) => {
            let found = crate::verbs::json_patch::json_type(&response[*name]);
            Err(format!(
                "json: cannot unmarshal {found} into Go struct field AdmissionResponse.response.{name}"
            ))
        }
    }
}

/// Checks what `v1` demands of an answer.
fn check(review: &Value, response: &Value, uid: &str, mutating: bool) -> Result<(), Why> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let given = text(&response["uid"]);
    if given != uid {
        let expected = format!("expected response.uid=\"{uid}\", got");
        return Err(Why::quoting(format!("{expected} \"{given}\""), format!("{expected} another")));
    }
    let (version, kind) = (text(&review["apiVersion"]), text(&review["kind"]));
    if (version.as_str(), kind.as_str()) != ("admission.k8s.io/v1", "AdmissionReview") {
        let version = if version.contains('/') { version } else { format!("/{version}") };
        let expected = "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got";
        let shown = format!("{expected} {version}, Kind={kind}");
        return Err(Why::quoting(shown, format!("{expected} another")));
    }
    let has_patch = response["patch"].as_str().is_some_and(|patch| !patch.is_empty());
    let sort = &response["patchType"];
    let problem = match (mutating, has_patch, sort.is_null()) {
        (false, true, _) => "validating webhook may not return response.patch",
        (false, false, false) => "validating webhook may not return response.patchType",
        (true, true, true) => "webhook returned response.patch but not response.patchType",
        (true, false, false) => "webhook returned response.patchType but not response.patch",
        (true, true, false) if *sort == "" => "webhook returned invalid response.patchType of \"\"",
        _ => return Ok(()),
    };
    Err(problem.into())
}

fn operations(patch: &str, sort: &Value) -> Result<Vec<Operation>, Failure> {
    let undecodable = |why: &str| {
        let at = "received undecodable patch in webhook response";
        Failure::Calling(Why::quoting(format!("{at}: {why}"), at))
    };
    let bytes = STANDARD.decode(patch).map_err(|error| undecodable(&error.to_string()))?;
    let list: Vec<Value> = serde_json::from_slice(&bytes).map_err(|error| undecodable(&error.to_string()))?;
    let sort = sort.as_str().unwrap_or("JSONPatch");
    if sort != "JSONPatch" && !list.is_empty() {
        let shown = format!("unsupported patch type \"{sort}\"");
        return Err(Failure::Calling(Why::quoting(shown, "unsupported patch type")));
    }
    let list: Result<_, String> = list.into_iter().map(Operation::read).collect();
    list.map_err(|why| undecodable(&why))
}
