//! Each part of a schema for itself: what OpenAPI would allow and Kubernetes does not, and Kubernetes' own extensions.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::at::Errors;
use super::super::error::{FieldError, Path, Shown};
use super::{defaults, items, structural, text};
use crate::custom::patterns::Refused;
use crate::custom::rules;
use crate::custom::schema::{Schema, strings};

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];

/// What may stand at the root of the schema of a kind with a status subresource.
const AT_ROOT: [&str; 22] = [
    "description",
    "type",
    "format",
    "title",
    "maximum",
    "exclusiveMaximum",
    "minimum",
    "exclusiveMinimum",
    "maxLength",
    "minLength",
    "pattern",
    "maxItems",
    "minItems",
    "uniqueItems",
    "multipleOf",
    "required",
    "items",
    "properties",
    "externalDocs",
    "example",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
];
/// The same as upstream's message lists it.
const AT_ROOT_SHOWN: &str = "[Description Type Format Title Maximum ExclusiveMaximum Minimum ExclusiveMinimum MaxLength \
                             MinLength Pattern MaxItems MinItems UniqueItems MultipleOf Required Items Properties \
                             ExternalDocs Example XPreserveUnknownFields XValidations]";

/// Returns what is wrong with the schema of a version; `path` is the schema's holder.
pub(super) fn check(schema: &Value, path: &Path, has_status: bool, refused: &Refused, errors: &mut Errors) {
    if !schema.is_object() {
        return;
    }
    let path = path.child("openAPIV3Schema");
    if has_status {
        check_root(schema, &path, errors);
    }
    if schema["nullable"] == true {
        errors.push(FieldError::forbidden(path.child("nullable"), "nullable cannot be true at the root"));
    }
    let mut shape = structural::check(schema, &path, refused);
    if shape.is_empty() {
        defaults::check_defaults(&Schema::new(schema), &path, &mut shape);
    }
    let is_sound = shape.is_empty();
    errors.extend(shape);
    let before = errors.len();
    let context = Context { is_root: true, ..Context::default() };
    part(schema, &context, &path, errors);
    if is_sound && errors.len() == before {
        rules::validate(schema, &path.to_string(), errors);
    }
}

fn check_root(schema: &Value, path: &Path, errors: &mut Errors) {
    let kind = text(schema, "type");
    if !matches!(kind, "" | "object") {
        let detail = "only \"object\" is allowed as the type at the root of the schema if the status subresource is \
                      enabled";
        errors.push(FieldError::invalid(path.child("type"), kind, detail));
    }
    let members = schema.as_object().into_iter().flatten();
    let is_empty = |value: &Value| value.is_null() || *value == false || *value == "";
    if members.into_iter().any(|(name, value)| !is_empty(value) && !AT_ROOT.contains(&name.as_str())) {
        let detail = format!(
            "only {AT_ROOT_SHOWN} fields are allowed at the root of the schema if the status subresource is enabled"
        );
        errors.push(FieldError::invalid(path, Shown::verbatim(schema.to_string()), &detail));
    }
}

/// What the place of a part implies.
#[derive(Debug, Default, Clone)]
struct Context {
    is_root: bool,
    in_metadata: bool,
    /// Why no default may be stated, if none may.
    no_defaults: Option<String>,
}

fn part(schema: &Value, context: &Context, path: &Path, errors: &mut Errors) {
    if !schema.is_object() {
        return;
    }
    standard(schema, context, path, errors);
    if schema["uniqueItems"] == true {
        let detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.push(FieldError::forbidden(path.child("uniqueItems"), detail));
    }
    below(schema, context, path, errors);
    extensions(schema, path, errors);
    list(schema, path, errors);
    list_keys(schema, path, errors);
}

/// The parts of a part.
fn below(schema: &Value, context: &Context, path: &Path, errors: &mut Errors) {
    let inner = Context { is_root: false, ..context.clone() };
    let additional = &schema["additionalProperties"];
    let has_properties = schema["properties"].as_object().is_some_and(|members| !members.is_empty());
    if !additional.is_null() {
        let place = path.child("additionalProperties");
        if has_properties && *additional != true {
            let detail = "additionalProperties and properties are mutual exclusive";
            errors.push(FieldError::forbidden(&place, detail));
        }
        let mut inner = inner.clone();
        if inner.in_metadata {
            inner.no_defaults = Some("inside additionalProperties applying to object metadata".into());
        }
        part(additional, &inner, &place, errors);
    }
    let is_object = context.is_root || schema["x-kubernetes-embedded-resource"] == true;
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let mut inner = inner.clone();
        if is_object && matches!(name.as_str(), "metadata" | "kind" | "apiVersion") {
            inner.in_metadata = true;
            if context.is_root {
                inner.no_defaults = Some(format!("in top-level {name}"));
            }
        }
        part(property, &inner, &path.child("properties").key(name), errors);
    }
    part(&schema["not"], &inner, &path.child("not"), errors);
    for junctor in ["allOf", "oneOf", "anyOf"] {
        for (index, nested) in items(&schema[junctor]) {
            part(nested, &inner, &path.child(junctor).index(index), errors);
        }
    }
    part(&schema["items"], &inner, &path.child("items"), errors);
}

/// What OpenAPI has and Kubernetes does not take.
fn standard(schema: &Value, context: &Context, path: &Path, errors: &mut Errors) {
    let kind = text(schema, "type");
    if !kind.is_empty() && !TYPES.contains(&kind) {
        errors.push(FieldError::not_supported(path.child("type"), kind, &TYPES));
    }
    if let Some(reason) = &context.no_defaults
        && !schema["default"].is_null()
    {
        errors.push(FieldError::forbidden(path.child("default"), &format!("must not be set {reason}")));
    }
    let is_given = |name: &str| match &schema[name] {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Object(members) => !members.is_empty() || name == "additionalItems",
        _ => true,
    };
    for name in ["id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"] {
        if is_given(name) {
            errors.push(FieldError::forbidden(path.child(name), &format!("{name} is not supported")));
        }
    }
    if kind == "null" {
        let detail = "type cannot be set to null, use nullable as an alternative";
        errors.push(FieldError::forbidden(path.child("type"), detail));
    }
    if schema["items"].is_array() {
        errors.push(FieldError::forbidden(
            path.child("items"),
            "items must be a schema object and not an array",
        ));
    }
    if context.in_metadata && schema["x-kubernetes-embedded-resource"] == true {
        let place = path.child("x-kubernetes-embedded-resource");
        errors.push(FieldError::forbidden(place, "must not be used inside of resource meta"));
    }
}

/// Kubernetes' extensions but for those of lists of maps.
fn extensions(schema: &Value, path: &Path, errors: &mut Errors) {
    let kind = text(schema, "type");
    if schema["x-kubernetes-preserve-unknown-fields"] == false {
        let place = path.child("x-kubernetes-preserve-unknown-fields");
        errors.push(FieldError::invalid(place, false, "must be true or undefined"));
    }
    let mut needs_type = |extension: &str, wanted: &str| {
        if !schema[extension].is_null() && kind != wanted {
            let detail = format!("must be {wanted} if {extension} is specified");
            errors.push(match kind {
                "" => FieldError::required(path.child("type"), &detail),
                kind => FieldError::invalid(path.child("type"), kind, &detail),
            });
        }
    };
    needs_type("x-kubernetes-map-type", "object");
    needs_type("x-kubernetes-list-type", "array");
    let mut one_of = |extension: &str, known: &[&str]| {
        if let Some(given) = schema[extension].as_str()
            && !known.contains(&given)
        {
            errors.push(FieldError::not_supported(path.child(extension), given, known));
        }
    };
    one_of("x-kubernetes-map-type", &["atomic", "granular"]);
    if kind == "array" && text(schema, "x-kubernetes-list-type") == "set" {
        set_items(&schema["items"], &path.child("items"), errors);
    }
    let known = ["atomic", "set", "map"];
    if let Some(given) = schema["x-kubernetes-list-type"].as_str()
        && !known.contains(&given)
    {
        errors.push(FieldError::not_supported(path.child("x-kubernetes-list-type"), given, &known));
    }
}

/// The elements of a set are compared as a whole.
fn set_items(element: &Value, path: &Path, errors: &mut Errors) {
    let detail = "must be atomic as item of a list with x-kubernetes-list-type=set";
    let list = text(element, "x-kubernetes-list-type");
    match text(element, "type") {
        "array" if !matches!(list, "" | "atomic") => {
            errors.push(FieldError::invalid(path.child("x-kubernetes-list-type"), list, detail));
        }
        "object" if text(element, "x-kubernetes-map-type") != "atomic" => {
            let given = &element["x-kubernetes-map-type"];
            errors.push(FieldError::invalid(path.child("x-kubernetes-map-type"), given, detail));
        }
        _ => {}
    }
}

/// Lists whose elements have keys.
fn list(schema: &Value, path: &Path, errors: &mut Errors) {
    let keys = strings(&schema["x-kubernetes-list-map-keys"]);
    let kind = schema["x-kubernetes-list-type"].as_str();
    if !keys.is_empty() && kind != Some("map") {
        let (place, detail) =
            (path.child("x-kubernetes-list-type"), "must be map if x-kubernetes-list-map-keys is non-empty");
        errors.push(match kind {
            None => FieldError::required(place, detail),
            Some(kind) => FieldError::invalid(place, kind, detail),
        });
    }
    if kind != Some("map") {
        return;
    }
    let place = path.child("x-kubernetes-list-map-keys");
    if keys.is_empty() {
        let detail = "must not be empty if x-kubernetes-list-type is map";
        errors.push(FieldError::required(&place, detail));
    }
    let element = &schema["items"];
    if element.is_null() {
        let detail = "must have a schema if x-kubernetes-list-type is map";
        errors.push(FieldError::required(path.child("items"), detail));
    }
    if element.is_object() && text(element, "type") != "object" {
        let detail = "must be object if parent array's x-kubernetes-list-type is map";
        errors.push(FieldError::invalid(path.child("items").child("type"), text(element, "type"), detail));
    }
    if text(element, "type") != "object" {
        return;
    }
    let (mut seen, shown) = (BTreeSet::new(), &schema["x-kubernetes-list-map-keys"]);
    for key in &keys {
        let property = &element["properties"][key];
        if property.is_null() {
            errors.push(FieldError::invalid(&place, shown, "entries must all be names of item properties"));
        } else if matches!(text(property, "type"), "array" | "object") {
            let at = path.child("items").child("properties").key(key).child("type");
            let detail = "must be a scalar type if parent array's x-kubernetes-list-type is map";
            errors.push(FieldError::invalid(at, text(element, "type"), detail));
        }
        if !seen.insert(key) {
            errors.push(FieldError::invalid(&place, shown, "must not contain duplicate entries"));
        }
    }
}

/// Keys have to be there, and elements that have keys, too.
fn list_keys(schema: &Value, path: &Path, errors: &mut Errors) {
    let kind = text(schema, "x-kubernetes-list-type");
    let (element, path) = (&schema["items"], path.child("items"));
    if !element.is_object() || !matches!(kind, "set" | "map") {
        return;
    }
    if element["nullable"] == true {
        let detail = format!("cannot be nullable when x-kubernetes-list-type is {kind}");
        errors.push(FieldError::forbidden(path.child("nullable"), &detail));
    }
    if kind == "set" {
        return;
    }
    let required = strings(&element["required"]);
    for key in strings(&schema["x-kubernetes-list-map-keys"]) {
        let (property, path) = (&element["properties"][&key], path.child("properties").key(&key));
        if property.is_null() {
            continue;
        }
        if !required.contains(&key) && property["default"].is_null() {
            let detail = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required \
                          property";
            errors.push(FieldError::required(path.child("default"), detail));
        }
        if property["nullable"] == true {
            let detail = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
            errors.push(FieldError::forbidden(path.child("nullable"), detail));
        }
    }
}
