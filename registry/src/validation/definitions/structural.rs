//! Whether a schema is structural: that its shape can be told without looking into `allOf` and its like.

use serde_json::Value;

use super::super::at::Errors;
use super::super::error::{FieldError, Path};
use super::text;
use crate::custom::patterns::Refused;

/// Where a schema stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

/// Returns what keeps a schema from being structural, sorted as upstream does.
pub(super) fn check(schema: &Value, path: &Path, refused: &Refused) -> Errors {
    let mut errors = Errors::new();
    invariants(schema, Level::Root, path, &mut errors);
    complete(schema, path, &mut errors);
    if !refused.is_empty() {
        patterns(schema, path, refused, &mut errors);
    }
    errors.sort_by_key(ToString::to_string);
    errors
}

fn is_set(schema: &Value, name: &str) -> bool {
    match &schema[name] {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(members) => !members.is_empty() || name == "additionalProperties",
        _ => true,
    }
}

fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema["properties"].as_object().into_iter().flatten()
}

fn invariants(schema: &Value, level: Level, path: &Path, errors: &mut Errors) {
    let kind = text(schema, "type");
    if kind == "array" && !schema["items"].is_object() {
        errors.push(FieldError::required(path.child("items"), "must be specified"));
    }
    if schema["items"].is_object() {
        invariants(&schema["items"], Level::Item, &path.child("items"), errors);
    }
    for (name, property) in properties(schema) {
        invariants(property, Level::Field, &path.child("properties").key(name), errors);
    }
    additional(schema, level, path, errors);
    let is_true = |name: &str| schema[name] == true;
    for other in ["x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"] {
        if is_true("x-kubernetes-int-or-string") && is_true(other) {
            let detail = "must be false if x-kubernetes-int-or-string is true";
            errors.push(FieldError::invalid(path.child(other), true, detail));
        }
    }
    let int_or_string = |schema: &Value| {
        let any = schema["anyOf"].as_array().map(Vec::as_slice).unwrap_or_default();
        matches!(any, [one, other] if *one == serde_json::json!({"type": "integer"}) && *other == serde_json::json!({"type": "string"}))
    };
    value_validation(schema, int_or_string(schema), int_or_string(&schema["allOf"][0]), path, errors);
    check_type(schema, level, path, errors);
    metadata(schema, level, path, errors);
}

fn additional(schema: &Value, level: Level, path: &Path, errors: &mut Errors) {
    let additional = &schema["additionalProperties"];
    if additional.is_null() {
        return;
    }
    if level == Level::Root {
        let detail = "must not be used at the root";
        errors.push(FieldError::forbidden(path.child("additionalProperties"), detail));
    }
    if additional.is_object() {
        invariants(additional, Level::Field, &path.child("additionalProperties"), errors);
    }
}

fn check_type(schema: &Value, level: Level, path: &Path, errors: &mut Errors) {
    let (kind, place) = (text(schema, "type"), path.child("type"));
    let is_true = |name: &str| schema[name] == true;
    let embedded = is_true("x-kubernetes-embedded-resource");
    if embedded && kind != "object" {
        let detail = "must be object if x-kubernetes-embedded-resource is true";
        errors.push(match kind {
            "" => FieldError::required(&place, detail),
            kind => FieldError::invalid(&place, kind, detail),
        });
    } else if kind.is_empty()
        && !is_true("x-kubernetes-int-or-string")
        && !is_true("x-kubernetes-preserve-unknown-fields")
    {
        let detail = match level {
            Level::Root => "must not be empty at the root",
            Level::Item => "must not be empty for specified array items",
            Level::Field => "must not be empty for specified object fields",
        };
        errors.push(FieldError::required(&place, detail));
    }
    if embedded && !schema["additionalProperties"].is_null() {
        let detail = "must not be used if x-kubernetes-embedded-resource is set";
        errors.push(FieldError::forbidden(path.child("additionalProperties"), detail));
    }
    if level == Level::Root && !matches!(kind, "" | "object") {
        errors.push(FieldError::invalid(&place, kind, "must be object at the root"));
    }
}

/// What a schema may say of what every object has.
fn metadata(schema: &Value, level: Level, path: &Path, errors: &mut Errors) {
    let embedded = schema["x-kubernetes-embedded-resource"] == true;
    let is_object = level == Level::Root || embedded;
    for name in ["kind", "apiVersion"] {
        let property = &schema["properties"][name];
        if is_object && property.is_object() && text(property, "type") != "string" {
            let place = path.child("properties").key(name).child("type");
            errors.push(FieldError::invalid(place, text(property, "type"), "must be string"));
        }
    }
    let meta = &schema["properties"]["metadata"];
    let place = path.child("properties").key("metadata");
    if meta.is_object() && is_object && text(meta, "type") != "object" {
        errors.push(FieldError::invalid(place.child("type"), text(meta, "type"), "must be object"));
    }
    if meta.is_object() && level == Level::Root && !restricts_names_only(meta) {
        let detail = "must not specify anything other than name and generateName, but metadata is implicitly specified";
        errors.push(FieldError::forbidden(place, detail));
    }
    if embedded && schema["x-kubernetes-preserve-unknown-fields"] != true && !is_set(schema, "properties") {
        let detail = "must not be empty if x-kubernetes-embedded-resource is true without \
                      x-kubernetes-preserve-unknown-fields";
        errors.push(FieldError::required(path.child("properties"), detail));
    }
}

fn restricts_names_only(meta: &Value) -> bool {
    let members = meta.as_object().into_iter().flatten();
    members.into_iter().all(|(name, value)| match name.as_str() {
        "type" | "default" => true,
        "properties" => {
            let mut names = value.as_object().into_iter().flatten();
            names.all(|(name, _)| matches!(name.as_str(), "name" | "generateName"))
        }
        name => !is_set(meta, name),
    })
}

fn value_validation(schema: &Value, skip_any: bool, skip_first: bool, path: &Path, errors: &mut Errors) {
    for junctor in ["anyOf", "allOf", "oneOf"] {
        if junctor == "anyOf" && skip_any {
            continue;
        }
        for (index, nested) in super::items(&schema[junctor]) {
            let skip = junctor == "allOf" && skip_first && index == 0;
            nested_validation(nested, skip, &path.child(junctor).index(index), errors);
        }
    }
    if schema["not"].is_object() {
        nested_validation(&schema["not"], false, &path.child("not"), errors);
    }
}

/// Reports the patterns that are none, wherever they stand.
fn patterns(schema: &Value, path: &Path, refused: &Refused, errors: &mut Errors) {
    if !schema.is_object() {
        return;
    }
    let pattern = text(schema, "pattern");
    if let Some(error) = refused.get(pattern) {
        let detail = format!("must be a valid regular expression, but isn't: {error}");
        errors.push(FieldError::invalid(path.child("pattern"), pattern, &detail));
    }
    for name in ["items", "additionalProperties", "not"] {
        patterns(&schema[name], &path.child(name), refused, errors);
    }
    for junctor in ["allOf", "anyOf", "oneOf"] {
        for (index, part) in super::items(&schema[junctor]) {
            patterns(part, &path.child(junctor).index(index), refused, errors);
        }
    }
    for (name, property) in properties(schema) {
        patterns(property, &path.child("properties").key(name), refused, errors);
    }
}

/// What a schema below a junctor may not say.
const NESTED: [(&str, &str); 13] = [
    ("type", "must be empty to be structural"),
    ("additionalProperties", "must be undefined to be structural"),
    ("default", "must be undefined to be structural"),
    ("title", "must be empty to be structural"),
    ("description", "must be empty to be structural"),
    ("nullable", "must be false to be structural"),
    ("x-kubernetes-preserve-unknown-fields", "must be false to be structural"),
    ("x-kubernetes-embedded-resource", "must be false to be structural"),
    ("x-kubernetes-int-or-string", "must be false to be structural"),
    ("x-kubernetes-list-map-keys", "must be empty to be structural"),
    ("x-kubernetes-list-type", "must be undefined to be structural"),
    ("x-kubernetes-map-type", "must be undefined to be structural"),
    ("x-kubernetes-validations", "must be empty to be structural"),
];

fn nested_validation(schema: &Value, skip_any: bool, path: &Path, errors: &mut Errors) {
    value_validation(schema, skip_any, false, path, errors);
    if schema["items"].is_object() {
        nested_validation(&schema["items"], false, &path.child("items"), errors);
    }
    for (name, property) in properties(schema) {
        nested_validation(property, false, &path.child("properties").key(name), errors);
    }
    for (name, detail) in NESTED {
        let states_default = name == "default" && !schema[name].is_null();
        if states_default || is_set(schema, name) {
            errors.push(FieldError::forbidden(path.child(name), detail));
        }
    }
    if !schema["properties"]["metadata"].is_null() {
        let place = path.child("properties").key("metadata");
        errors.push(FieldError::forbidden(place, "must not be specified in a nested context"));
    }
}

/// Checks that a schema and all parts of it are complete.
fn complete(schema: &Value, path: &Path, errors: &mut Errors) {
    completeness(schema, schema, path, path, errors);
    for part in ["items", "additionalProperties"] {
        if schema[part].is_object() {
            complete(&schema[part], &path.child(part), errors);
        }
    }
    for (name, property) in properties(schema) {
        complete(property, &path.child("properties").key(name), errors);
    }
}

/// Whatever is looked at below a junctor has to be there outside of it.
fn completeness(validation: &Value, spine: &Value, at: &Path, seen: &Path, errors: &mut Errors) {
    for junctor in ["allOf", "anyOf", "oneOf"] {
        for (index, nested) in super::items(&validation[junctor]) {
            nested_completeness(nested, spine, at, &seen.child(junctor).index(index), errors);
        }
    }
    if validation["not"].is_object() {
        nested_completeness(&validation["not"], spine, at, &seen.child("not"), errors);
    }
}

fn nested_completeness(nested: &Value, spine: &Value, at: &Path, seen: &Path, errors: &mut Errors) {
    if spine.is_null() {
        errors.push(FieldError::required(at, &format!("because it is defined in {seen}")));
        return;
    }
    completeness(nested, spine, at, seen, errors);
    if nested["items"].is_object() {
        nested_completeness(
            &nested["items"],
            &spine["items"],
            &at.child("items"),
            &seen.child("items"),
            errors,
        );
    }
    for (name, property) in properties(nested) {
        let (at, seen) = (at.child("properties").key(name), seen.child("properties").key(name));
        nested_completeness(property, &spine["properties"][name], &at, &seen, errors);
    }
}
