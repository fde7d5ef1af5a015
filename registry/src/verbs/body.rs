//! Reading bodies: bounded, and decoded by the kind's tables.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use serde_json::Value;

use super::Call;
use super::options::FieldValidation;
use crate::layers::RequestBody;
use crate::managed;
use crate::negotiate::BodyForm;
use crate::schema::{self, Document, Mark};
use crate::status::{Result, Status};
use crate::validation::FieldError;

/// How many bytes a body may have.
pub const MAX_BODY: usize = 3 * 1024 * 1024;

/// How long a client may take for a body. For most requests the server's time limit is over first.
const PATIENCE: Duration = Duration::from_secs(60);

/// Reads a body.
pub(super) async fn read(body: RequestBody) -> Result<Bytes> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    tokio::time::timeout(PATIENCE, read_all(body)).await.unwrap_or_else(|_| Err(Status::timeout()))
}

async fn read_all(mut body: RequestBody) -> Result<Bytes> {
    let mut first = Bytes::new();
    let mut read = BytesMut::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let frame =
            frame.map_err(|error| Status::bad_request(format!("the body could not be read: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + read.len() + data.len() > MAX_BODY {
            return Err(Status::too_large(format!("Request entity too large: limit is {MAX_BODY}")));
        }
        // Most bodies come in one piece, which need not be copied.
        if first.is_empty() && read.is_empty() {
            first = data;
            continue;
        }
        read.extend_from_slice(&std::mem::take(&mut first));
        read.extend_from_slice(&data);
    }
    Ok(if read.is_empty() { first } else { read.freeze() })
}

/// What bodies of custom kinds may be.
const UNTYPED: &str = "application/json, application/yaml";

/// What a body holds.
#[derive(Debug)]
pub(super) struct Decoded {
    /// The object: known fields of the right types, defaults filled in.
    pub object: Value,
    /// What the client should be warned of.
    pub warnings: Vec<String>,
}

/// Decodes the object of the call's kind that a request carries.
pub(super) fn object(call: &Call, validation: FieldValidation) -> Result<Decoded> {
    let resource = &call.resource;
    let expected = Expected {
        kind: &resource.kind,
        group: &resource.group,
        version: &resource.version,
        structure: &resource.structure,
        custom: resource.custom.is_some(),
    };
    decode(call, &expected, validation)
}

/// Decodes the object that a request to a subresource carries.
pub(super) fn object_of(call: &Call, kind: &str, validation: FieldValidation) -> Result<Decoded> {
    let (group, version) = match kind {
        "Scale" => ("autoscaling", "v1"),
        "TokenRequest" => ("authentication.k8s.io", "v1"),
        "Eviction" => ("policy", "v1"),
        _ => ("", "v1"),
    };
    let structure = schema::builtin(group, version, kind);
    let structure = structure.ok_or_else(|| Status::internal(format!("the tables have no {kind}")))?;
    decode(call, &Expected { kind, group, version, structure, custom: false }, validation)
}

/// What a body has to be.
struct Expected<'a> {
    kind: &'a str,
    group: &'a str,
    version: &'a str,
    structure: &'a schema::Structure,
    /// Whether a definition made the kind.
    custom: bool,
}

impl Expected<'_> {
    fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }
}

fn decode(call: &Call, expected: &Expected<'_>, validation: FieldValidation) -> Result<Decoded> {
    let form = BodyForm::of(&call.headers)?;
    let (mut object, problems) = match form {
        BodyForm::Protobuf if expected.custom => return Err(Status::unsupported_media_type(UNTYPED)),
        BodyForm::Json => json(expected, &call.body)?,
        BodyForm::Yaml => json(expected, &yaml_to_json(&call.body)?)?,
        BodyForm::Protobuf => (protobuf(expected, &call.body)?, Vec::new()),
    };
    let warnings = validation.judge(problems).map_err(|status| refused(expected, &status))?;
    schema::apply_defaults(expected.structure, &mut object);
    Ok(Decoded { object, warnings })
}

/// Turns YAML into JSON.
pub(super) fn yaml_to_json(text: &[u8]) -> Result<Vec<u8>> {
    let refused = |error: &dyn std::fmt::Display| {
        Status::bad_request(format!("error converting YAML to JSON: {error}"))
    };
    let text = std::str::from_utf8(text).map_err(|error| refused(&error))?;
    let value: Value = serde_saphyr::from_str(text).map_err(|error| refused(&error))?;
    serde_json::to_vec(&value).map_err(|error| refused(&error))
}

fn json(expected: &Expected<'_>, text: &[u8]) -> Result<(Value, Vec<String>)> {
    let document = read_document(text, expected)?;
    let is_reset = document.has_empty_list("metadata", "managedFields");
    let decoded = document.decode(expected.structure).map_err(|error| refused(expected, &error))?;
    let mut object = decoded.value;
    if is_reset {
        object["metadata"]["managedFields"] = managed::reset();
    }
    object["kind"] = expected.kind.into();
    object["apiVersion"] = expected.api_version().into();
    Ok((object, decoded.strict_errors))
}

fn protobuf(expected: &Expected<'_>, bytes: &[u8]) -> Result<Value> {
    let unrecognized = |error: &dyn std::fmt::Display| {
        Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): {error}",
            expected.kind
        ))
    };
    let decoded = schema::decode_protobuf(expected.structure, bytes);
    let mut object = decoded.map_err(|error| unrecognized(&error))?.value;
    let text = |field: &str| object[field].as_str().unwrap_or_default().to_owned();
    TypeMeta { kind: text("kind"), api_version: text("apiVersion") }.check(expected)?;
    object["kind"] = expected.kind.into();
    object["apiVersion"] = expected.api_version().into();
    Ok(object)
}

/// Returns whether an object that is not decoded yet asks that nobody own its fields.
pub(super) fn resets_owners(object: &Value) -> bool {
    object["metadata"]["managedFields"].as_array().is_some_and(Vec::is_empty)
}

/// Refuses a body that does not fit its kind's tables.
fn refused(expected: &Expected<'_>, error: &dyn std::fmt::Display) -> Status {
    Status::bad_request(format!(
        "{} in version {:?} cannot be handled as a {}: {error}",
        expected.kind, expected.version, expected.kind
    ))
}

/// Parses a body and checks that it is what it has to be.
fn read_document<'a>(text: &'a [u8], expected: &Expected<'_>) -> Result<Document<'a>> {
    let unrecognized = |why: String| {
        Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): {why} ({})",
            expected.kind,
            excerpt(text)
        ))
    };
    let unparsed = |why: String| unrecognized(format!("couldn't get version/kind; json parse error: {why}"));
    let document = Document::parse(text).map_err(unparsed)?;
    let found = match (document.mark("kind"), document.mark("apiVersion")) {
        (Mark::Text(kind), Mark::Text(api_version)) => {
            TypeMeta { kind: kind.to_owned(), api_version: api_version.to_owned() }
        }
        // The kind's tables refuse it in better words.
        _ => TypeMeta::default(),
    };
    if found.api_version.matches('/').count() > 1 {
        return Err(unrecognized(format!("unexpected GroupVersion string: {}", found.api_version)));
    }
    if expected.custom {
        found.check_custom(expected, document.name(), text)?;
    } else {
        found.check(expected)?;
    }
    Ok(document)
}

/// How much of a body is shown to its sender, in bytes.
const SHOWN_BODY: usize = 1024;

/// What a body says that it is.
#[derive(Default)]
struct TypeMeta {
    kind: String,
    api_version: String,
}

impl TypeMeta {
    /// Checks what the body of a custom kind says that it is: no kind is guessed.
    fn check_custom(&self, expected: &Expected<'_>, name: &str, text: &[u8]) -> Result<()> {
        if self.kind.is_empty() {
            return Err(Status::bad_request(format!(
                "{} in version {:?} cannot be handled as a {}: Object 'Kind' is missing in '{}'",
                expected.kind,
                expected.version,
                expected.kind,
                String::from_utf8_lossy(&text[..text.len().min(SHOWN_BODY)])
            )));
        }
        if self.api_version.is_empty() {
            return Err(Status::internal(
                "Object 'apiVersion' is missing in 'object has no apiVersion field'",
            ));
        }
        let api_version = expected.api_version();
        if self.api_version != api_version {
            return Err(Status::bad_request(format!(
                "the API version in the data ({}) does not match the expected API version ({api_version})",
                self.api_version
            )));
        }
        if self.kind != expected.kind {
            let error = FieldError::invalid("kind", &self.kind, &format!("must be {}", expected.kind));
            return Err(Status::invalid(expected.group, &self.kind, name, &[error]));
        }
        Ok(())
    }

    fn check(&self, expected: &Expected<'_>) -> Result<()> {
        let kind = if self.kind.is_empty() { expected.kind } else { &self.kind };
        let api_version = expected.api_version();
        let version = if self.api_version.is_empty() { &api_version } else { &self.api_version };
        if kind == expected.kind && *version == api_version {
            return Ok(());
        }
        let short = version.rsplit_once('/').map_or(version.as_str(), |(_, short)| short);
        let why = no_conversion(version, kind, expected.kind);
        Err(Status::bad_request(format!(
            "{kind} in version {short:?} cannot be handled as a {}: {why}",
            expected.kind
        )))
    }
}

/// Says why an object of one kind is not taken for another.
pub(super) fn no_conversion(version: &str, kind: &str, wanted: &str) -> String {
    let (group, short) = version.rsplit_once('/').unwrap_or(("", version));
    if schema::builtin(group, short, kind).is_some() {
        format!("converting ({short}.{kind}) to (core.{wanted}): unknown conversion")
    } else {
        format!(
            "no kind {kind:?} is registered for version {version:?} in scheme \
             \"k8s.io/kubernetes/pkg/api/legacyscheme/scheme.go:30\""
        )
    }
}

/// Shows the beginning of a body in a message.
fn excerpt(text: &[u8]) -> String {
    const SHOWN: usize = 30;
    if text.is_empty() {
        return "<empty>".into();
    }
    let shown = String::from_utf8_lossy(text);
    let head: String = shown.chars().take(SHOWN).collect();
    if head.len() < shown.len() { format!("{head} ...") } else { head }
}
