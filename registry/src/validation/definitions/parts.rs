//! What versions have besides their schema: subresources, columns, selectable fields.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::at::Errors;
use super::super::error::{FieldError, Path};
use super::{items, text};
use crate::custom::schema::Schema;
use crate::table::JsonPath;

const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: [&str; 8] =
    ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
/// By how many fields a version is selected at most.
const MOST_SELECTABLE: usize = 8;

pub(super) fn check_subresources(subresources: &Value, path: &Path, errors: &mut Errors) {
    let scale = &subresources["scale"];
    if !scale.is_object() {
        return;
    }
    let spec: &[&str] = &[".spec."];
    let paths = [
        ("specReplicasPath", spec, "should be a json path under .spec"),
        ("statusReplicasPath", &[".status."], "should be a json path under .status"),
        ("labelSelectorPath", &[".spec.", ".status."], "should be a json path under either .spec or .status"),
    ];
    for (name, places, detail) in paths {
        let (path, given) = (path.child(&format!("scale.{name}")), text(scale, name));
        match given {
            "" if name == "labelSelectorPath" => {}
            "" => errors.push(FieldError::required(path, "")),
            given if !given.starts_with('.') => {
                errors.push(FieldError::invalid(path, given, "must be a simple json path starting with ."));
            }
            given if !places.iter().any(|place| given.starts_with(place)) => {
                errors.push(FieldError::invalid(path, given, detail));
            }
            _ => {}
        }
    }
}

pub(super) fn check_columns(columns: &Value, path: &Path, errors: &mut Errors) {
    for (index, column) in items(columns) {
        let path = path.index(index);
        if text(column, "name").is_empty() {
            errors.push(FieldError::required(path.child("name"), ""));
        }
        let types = format!("must be one of {}", COLUMN_TYPES.join(","));
        match text(column, "type") {
            "" => errors.push(FieldError::required(path.child("type"), &types)),
            kind if COLUMN_TYPES.contains(&kind) => {}
            kind => errors.push(FieldError::invalid(path.child("type"), kind, &types)),
        }
        let format = text(column, "format");
        if !format.is_empty() && !COLUMN_FORMATS.contains(&format) {
            let detail = format!("must be one of {}", COLUMN_FORMATS.join(","));
            errors.push(FieldError::invalid(path.child("format"), format, &detail));
        }
        let place = path.child("JSONPath");
        match text(column, "jsonPath") {
            "" => errors.push(FieldError::required(place, "")),
            given if !given.starts_with('.') => {
                errors.push(FieldError::invalid(place, given, "must be a simple json path starting with ."));
            }
            given => {
                if let Err(error) = JsonPath::parse(given) {
                    errors.push(FieldError::invalid(place, given, &error.to_string()));
                }
            }
        }
    }
}

pub(super) fn check_selectable(fields: &Value, validation: &Value, path: &Path, errors: &mut Errors) {
    if items(fields).next().is_none() {
        return;
    }
    let schema = Schema::new(&validation["openAPIV3Schema"]);
    let mut seen = BTreeSet::new();
    for (index, field) in items(fields) {
        let (path, given) = (path.index(index).child("jsonPath"), text(field, "jsonPath"));
        if given.is_empty() {
            errors.push(FieldError::required(path, ""));
            continue;
        }
        let Some(found) = given.strip_prefix('.').and_then(|names| schema.at(names.split('.'))) else {
            let detail = "is an invalid path: does not refer to a valid field";
            errors.push(FieldError::invalid(path, given, detail));
            continue;
        };
        if given.starts_with(".metadata") {
            let detail = "must not point to fields in metadata";
            errors.push(FieldError::invalid(&path, given, detail));
        }
        if !matches!(found.kind.as_str(), "string" | "boolean" | "integer") {
            let detail = "must point to a field of type string, boolean or integer. Enum string fields and strings with \
                          formats are allowed.";
            errors.push(FieldError::invalid(&path, given, detail));
        }
        if !seen.insert(given) {
            errors.push(FieldError::duplicate(&path, given));
        }
    }
    if seen.len() > MOST_SELECTABLE {
        errors.push(FieldError::too_many(path, seen.len(), MOST_SELECTABLE));
    }
}
