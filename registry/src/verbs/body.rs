//! Reading bodies: bounded, and decoded by the kind's tables.

use std::fmt::Display;
use std::time::Duration;

use bytes::Bytes;
use http_body::Body as _;
use serde_json::Value;
use serde_saphyr::budget::BudgetBreach;

use super::Call;
use super::options::FieldValidation;
use crate::layers::{RequestBody, bodies};
use crate::managed;
use crate::negotiate::{BodyForm, go_type};
use crate::schema::{self, Document, Mark};
use crate::status::{Result, Status};
use crate::validation::FieldError;

/// How long a body may take that nobody has read before.
const PATIENCE: Duration = Duration::from_secs(60);

/// Reads a body. Those of requests have been read already, by [`Bodies`](crate::layers::bodies::Bodies), or could not be.
pub(super) async fn read(body: RequestBody) -> Result<Bytes> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let read = tokio::time::timeout(PATIENCE, bodies::read(body, |_| Ok(())));
    read.await.unwrap_or_else(|_| Err(Status::timeout()))
}

/// How many nodes a YAML body may have: maps, lists, scalars, and keys among these.
const MAX_YAML_NODES: usize = 250_000;

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
        internal_group: resource.layout().group,
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
    let expected = Expected { kind, group, version, internal_group: group, structure, custom: false };
    decode(call, &expected, validation)
}

/// What a body has to be.
struct Expected<'a> {
    kind: &'a str,
    group: &'a str,
    version: &'a str,
    /// The group in whose form upstream holds the object.
    internal_group: &'a str,
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

    /// Whether a body says that it is of a version that is taken: an Eviction may also be of the older one.
    fn takes(&self, api_version: &str) -> bool {
        api_version == self.api_version() || (self.kind == "Eviction" && api_version == "policy/v1beta1")
    }

    fn unrecognized(&self, why: impl Display, body: &[u8]) -> Status {
        Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): {why} ({})",
            self.kind,
            excerpt(body)
        ))
    }
}

fn decode(call: &Call, expected: &Expected<'_>, validation: FieldValidation) -> Result<Decoded> {
    let form = BodyForm::of(&call.headers)?;
    let (mut object, problems) = match form {
        BodyForm::Protobuf if expected.custom => return Err(Status::unsupported_media_type(UNTYPED)),
        BodyForm::Json => json(expected, &call.body, &call.body)?,
        BodyForm::Yaml => {
            let text = yaml_to_json(&call.body);
            let text = text.map_err(|why| expected.unrecognized(format!("yaml: {why}"), &call.body))?;
            json(expected, &text, &call.body)?
        }
        BodyForm::Protobuf => (protobuf(expected, &call.body)?, Vec::new()),
    };
    let warnings = validation.judge(problems).map_err(|status| refused(expected, &status))?;
    schema::apply_defaults(expected.structure, &mut object);
    call.notes.accept_body();
    Ok(Decoded { object, warnings })
}

/// How YAML is read: what aliases repeat counts, too.
pub(super) fn yaml_options() -> serde_saphyr::Options {
    serde_saphyr::options! { budget: serde_saphyr::budget! { max_nodes: MAX_YAML_NODES } }
}

/// Says what is wrong with YAML.
pub(super) fn yaml_problem(error: &serde_saphyr::Error) -> String {
    if holds_too_much(error) {
        return format!("{}: {MAX_YAML_NODES} are allowed in YAML, keys among them", schema::TOO_MANY);
    }
    error.without_snippet().to_string()
}

fn holds_too_much(error: &serde_saphyr::Error) -> bool {
    match error.without_snippet() {
        serde_saphyr::Error::Budget { breach, .. } => matches!(breach, BudgetBreach::Nodes { .. }),
        // What an alias stands for.
        serde_saphyr::Error::AliasError { error, .. } => holds_too_much(error),
        _ => false,
    }
}

/// Turns YAML into JSON.
///
/// # Errors
///
/// What is wrong with the text.
pub(crate) fn yaml_to_json(text: &[u8]) -> std::result::Result<Vec<u8>, String> {
    let text = std::str::from_utf8(text).map_err(|error| error.to_string())?;
    let value: Value =
        serde_saphyr::from_str_with_options(text, yaml_options()).map_err(|error| yaml_problem(&error))?;
    serde_json::to_vec(&value).map_err(|error| error.to_string())
}

/// Reads JSON. `body` is what the client sent.
fn json(expected: &Expected<'_>, text: &[u8], body: &[u8]) -> Result<(Value, Vec<String>)> {
    let document = read_document(text, body, expected)?;
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
    let unrecognized = |error: &dyn Display| {
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
fn refused(expected: &Expected<'_>, error: &dyn Display) -> Status {
    Status::bad_request(format!(
        "{} in version {:?} cannot be handled as a {}: {error}",
        expected.kind, expected.version, expected.kind
    ))
}

/// Parses a body and checks that it is what it has to be.
fn read_document<'a>(text: &'a [u8], body: &[u8], expected: &Expected<'_>) -> Result<Document<'a>> {
    let unrecognized = |why: String| expected.unrecognized(why, body);
    let unparsed = |why: String| unrecognized(format!("couldn't get version/kind; json parse error: {why}"));
    let document = Document::parse(text).map_err(unparsed)?;
    if let Some(why) = document.mistyped() {
        return Err(unparsed(why));
    }
    let found = match (document.mark("kind"), document.mark("apiVersion")) {
        (Mark::Text(kind), Mark::Text(api_version)) => {
            TypeMeta { kind: kind.to_owned(), api_version: api_version.to_owned() }
        }
        // Who says it twice is told by the kind's tables.
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
            return Err(Status::bad_request(other_version(&self.api_version, &api_version)));
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
        if kind == expected.kind && expected.takes(version) {
            return Ok(());
        }
        let (group, short) = version.rsplit_once('/').unwrap_or(("", version));
        let is_known = schema::builtin(group, short, kind).is_some();
        if kind == expected.kind && is_known && internal_group(group, kind) == expected.internal_group {
            return Err(Status::bad_request(other_version(version, &api_version)));
        }
        let why = no_conversion(version, kind, &go_type(expected.internal_group, expected.kind));
        Err(Status::bad_request(format!(
            "{kind} in version {short:?} cannot be handled as a {}: {why}",
            expected.kind
        )))
    }
}

fn other_version(found: &str, expected: &str) -> String {
    format!("the API version in the data ({found}) does not match the expected API version ({expected})")
}

/// The group in whose form upstream holds objects of a group's kind: all events are those of the core group.
fn internal_group<'g>(group: &'g str, kind: &str) -> &'g str {
    if group == "events.k8s.io" && kind == "Event" { "" } else { group }
}

/// Says why an object of one kind is not taken for another, which upstream holds in the Go type `wanted`.
pub(super) fn no_conversion(version: &str, kind: &str, wanted: &str) -> String {
    let (group, short) = version.rsplit_once('/').unwrap_or(("", version));
    if schema::builtin(group, short, kind).is_some() {
        format!("converting ({short}.{kind}) to ({wanted}): unknown conversion")
    } else {
        format!(
            "no kind {kind:?} is registered for version {version:?} in scheme \
             \"k8s.io/kubernetes/pkg/api/legacyscheme/scheme.go:30\""
        )
    }
}

/// Shows the beginning of a body in a message: in hexadecimal unless it may be a JSON object.
fn excerpt(body: &[u8]) -> String {
    const SHOWN: usize = 30;
    let head = &body[..body.len().min(SHOWN)];
    let mut shown = match body.first() {
        None => return "<empty>".into(),
        // As Go, which replaces each byte that is not UTF-8 by itself.
        Some(b'{') => head.utf8_chunks().fold(String::new(), |shown, chunk| {
            shown + chunk.valid() + &"\u{fffd}".repeat(chunk.invalid().len())
        }),
        Some(_) => head.iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    if head.len() < body.len() {
        shown.push_str(" ...");
    }
    shown
}
