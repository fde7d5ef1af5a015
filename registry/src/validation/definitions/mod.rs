//! CustomResourceDefinitions: whether what they define can be served.
//!
//! Upstream looks at a form of its own in which what all versions share stands once, at the top. So its errors about schema,
//! subresources, columns and selectable fields name places such as `spec.validation`, which no client ever wrote.
//!
//! [`schema`] is about single parts of a schema, [`structural`] about its shape as a whole, [`defaults`] about its defaults.

mod defaults;
mod parts;
mod schema;
mod structural;
#[cfg(test)]
mod tests;

use serde_json::Value;

use super::at::{At, Errors, IMMUTABLE};
use super::error::{FieldError, Path, Shown};
use super::{Validator, names, policy};
use crate::custom::definition::{has_condition, wrong_bundle};
use crate::custom::patterns::{self, Refused};
use parts::{check_columns, check_selectable, check_subresources};

pub(super) static DEFINITION: Validator =
    Validator { name: super::NameRule::Subdomain, namespaced: false, built_in: true, create, update, status };

fn create(definition: &At, errors: &mut Errors) {
    let spec = definition.value()["spec"].clone();
    let wanted = format!("{}.{}", text(&spec["names"], "plural"), text(&spec, "group"));
    let name = definition.value()["metadata"]["name"].as_str().unwrap_or_default();
    if name != wanted {
        let detail = "must be spec.names.plural+\".\"+spec.group";
        errors.push(FieldError::invalid("metadata.name", name, detail));
    }
    check_spec(&spec, errors);
    check_status(definition.value(), errors);
    check_stored_versions(definition.value(), errors);
    check_approval(definition.value(), None, errors);
    if spec["preserveUnknownFields"] == true {
        errors.push(FieldError::invalid("spec.preserveUnknownFields", true, PRESERVING));
    }
}

const PRESERVING: &str =
    "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";

fn update(new: &At, old: &At, errors: &mut Errors) {
    let (spec, old_spec) = (&new.value()["spec"], &old.value()["spec"]);
    check_spec(spec, errors);
    let mut immutable = |fields: &[&str]| {
        let at = |spec: &Value| fields.iter().fold(spec.clone(), |value, field| value[*field].clone());
        if at(spec) != at(old_spec) {
            let path = format!("spec.{}", fields.join("."));
            errors.push(FieldError::invalid(path, &at(spec), IMMUTABLE));
        }
    };
    if has_condition(old.value(), "Established") {
        immutable(&["scope"]);
        immutable(&["names", "kind"]);
    }
    immutable(&["group"]);
    immutable(&["names", "plural"]);
    check_bundle(new.value(), old.value(), errors);
    check_status(new.value(), errors);
    check_stored_versions(new.value(), errors);
    check_approval(new.value(), Some(old.value()), errors);
    if spec["preserveUnknownFields"] == true && old_spec["preserveUnknownFields"] != true {
        errors.push(FieldError::invalid("spec.preserveUnknownFields", true, PRESERVING));
    }
}

fn status(new: &At, _old: &At, errors: &mut Errors) {
    check_status(new.value(), errors);
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_default()
}

fn items(value: &Value) -> impl Iterator<Item = (usize, &Value)> {
    value.as_array().into_iter().flatten().enumerate()
}

/// What stands in every version alike stands at the top in upstream's form.
fn shared<'v>(spec: &'v Value, field: &str) -> Option<&'v Value> {
    let versions = spec["versions"].as_array()?;
    let first = &versions.first()?[field];
    versions.iter().all(|version| version[field] == *first).then_some(first)
}

fn check_spec(spec: &Value, errors: &mut Errors) {
    let path = Path::root("spec");
    check_group(text(spec, "group"), errors);
    match text(spec, "scope") {
        "" => errors.push(FieldError::required("spec.scope", "")),
        "Cluster" | "Namespaced" => {}
        other => errors.push(FieldError::not_supported("spec.scope", other, &["Cluster", "Namespaced"])),
    }
    let versions = path.child("versions");
    for (index, version) in items(&spec["versions"]) {
        if version["schema"]["openAPIV3Schema"].is_null() {
            let place = versions.index(index).child("schema").child("openAPIV3Schema");
            errors.push(FieldError::required(place, "schemas are required"));
        }
    }
    let refused = match patterns::check(spec) {
        Ok(refused) => refused,
        // What could take too long is not looked at any further.
        Err(detail) => return errors.push(FieldError::forbidden(versions, &detail)),
    };
    check_versions(spec, &refused, errors);
    check_required_names(&spec["names"], errors);
    check_names(&spec["names"], &path.child("names"), errors);
    let has_status =
        items(&spec["versions"]).any(|(_, version)| version["subresources"]["status"].is_object());
    if let Some(validation) = shared(spec, "schema") {
        let schema = &validation["openAPIV3Schema"];
        schema::check(schema, &path.child("validation"), has_status, &refused, errors);
    }
    if let Some(subresources) = shared(spec, "subresources") {
        check_subresources(subresources, &path.child("subresources"), errors);
    }
    if let Some(columns) = shared(spec, "additionalPrinterColumns") {
        check_columns(columns, &path.child("additionalPrinterColumns"), errors);
    }
    if let (Some(fields), Some(validation)) = (shared(spec, "selectableFields"), shared(spec, "schema")) {
        check_selectable(fields, validation, &path.child("selectableFields"), errors);
    }
    check_conversion(&spec["conversion"], errors);
}

fn check_group(group: &str, errors: &mut Errors) {
    let problems = names::subdomain(group);
    if group.is_empty() {
        errors.push(FieldError::required("spec.group", ""));
    } else if !problems.is_empty() {
        errors.push(FieldError::invalid("spec.group", group, &problems.join(",")));
    } else if !group.contains('.') {
        errors.push(FieldError::invalid("spec.group", group, "should be a domain with at least one dot"));
    }
}

fn check_versions(spec: &Value, refused: &Refused, errors: &mut Errors) {
    let path = Path::root("spec").child("versions");
    let mut seen = std::collections::BTreeSet::new();
    let (mut unique, mut stored) = (true, 0);
    let is_shared = |field: &str| shared(spec, field).is_some();
    for (index, version) in items(&spec["versions"]) {
        let (name, path) = (text(version, "name"), path.index(index));
        unique &= seen.insert(name);
        stored += usize::from(version["storage"] == true);
        let problems = names::dns1035_label(name);
        if !problems.is_empty() {
            errors.push(FieldError::invalid(path.child("name"), name, &problems.join(",")));
        }
        check_deprecation(version, &path, errors);
        if !is_shared("schema") {
            let has_status = version["subresources"]["status"].is_object();
            let schema = &version["schema"]["openAPIV3Schema"];
            schema::check(schema, &path.child("schema"), has_status, refused, errors);
        }
        if !is_shared("subresources") {
            check_subresources(&version["subresources"], &path.child("subresources"), errors);
        }
        if !is_shared("additionalPrinterColumns") {
            let columns = &version["additionalPrinterColumns"];
            check_columns(columns, &path.child("additionalPrinterColumns"), errors);
        }
        if !is_shared("selectableFields") || !is_shared("schema") {
            let fields = &version["selectableFields"];
            check_selectable(fields, &version["schema"], &path.child("selectableFields"), errors);
        }
    }
    let shown = || match spec["versions"].is_null() {
        true => Shown::verbatim("null"),
        false => Shown::verbatim(spec["versions"].to_string()),
    };
    if !unique {
        errors.push(FieldError::invalid(&path, shown(), "must contain unique version names"));
    }
    if stored != 1 {
        let detail = "must have exactly one version marked as storage version";
        errors.push(FieldError::invalid(&path, shown(), detail));
    }
    let first = text(&spec["versions"][0], "name");
    let problems = names::dns1035_label(first);
    if !first.is_empty() && !problems.is_empty() {
        errors.push(FieldError::invalid("spec.version", first, &problems.join(",")));
    }
}

fn check_deprecation(version: &Value, path: &Path, errors: &mut Errors) {
    let Some(warning) = version["deprecationWarning"].as_str() else { return };
    let mut refuse = |detail: &str| {
        errors.push(FieldError::invalid(path.child("deprecationWarning"), warning, detail));
    };
    if version["deprecated"] != true {
        return refuse("can only be set for deprecated versions");
    }
    if warning.len() > 256 {
        refuse("must be <= 256 characters long");
    }
    if warning.is_empty() {
        refuse("must not be an empty string");
    }
    if let Some((index, _)) = warning.char_indices().find(|(_, char)| char.is_control()) {
        refuse(&format!(
            "must only contain printable UTF-8 characters; non-printable character found at index {index}"
        ));
    }
}

fn check_required_names(names: &Value, errors: &mut Errors) {
    for name in ["plural", "singular", "kind", "listKind"] {
        if text(names, name).is_empty() {
            errors.push(FieldError::required(format!("spec.names.{name}"), ""));
        }
    }
}

fn check_names(given: &Value, path: &Path, errors: &mut Errors) {
    let mut label = |path: Path, text: &str| {
        let problems = names::dns1035_label(text);
        if !problems.is_empty() {
            errors.push(FieldError::invalid(path, text, &problems.join(",")));
        }
    };
    for name in ["plural", "singular"] {
        if !text(given, name).is_empty() {
            label(path.child(name), text(given, name));
        }
    }
    for name in ["kind", "listKind"] {
        let kind = text(given, name);
        let problems = names::dns1035_label(&kind.to_lowercase());
        if !kind.is_empty() && !problems.is_empty() {
            let detail = format!("may have mixed case, but should otherwise match: {}", problems.join(","));
            errors.push(FieldError::invalid(path.child(name), kind, &detail));
        }
    }
    let mut label = |path: Path, value: &Value| {
        let text = value.as_str().unwrap_or_default();
        let problems = names::dns1035_label(text);
        if !problems.is_empty() {
            errors.push(FieldError::invalid(path, text, &problems.join(",")));
        }
    };
    for (index, name) in items(&given["shortNames"]) {
        label(path.child("shortNames").index(index), name);
    }
    let same_kinds = !text(given, "kind").is_empty() && given["kind"] == given["listKind"];
    for (index, name) in items(&given["categories"]) {
        label(path.child("categories").index(index), name);
    }
    if same_kinds {
        let detail = "kind and listKind may not be the same";
        errors.push(FieldError::invalid(path.child("listKind"), text(given, "listKind"), detail));
    }
}

fn check_status(definition: &Value, errors: &mut Errors) {
    let path = Path::root("status").child("acceptedNames");
    check_names(&definition["status"]["acceptedNames"], &path, errors);
}

/// What is stored in some version needs that version.
fn check_stored_versions(definition: &Value, errors: &mut Errors) {
    let path = Path::root("status").child("storedVersions");
    let stored = &definition["status"]["storedVersions"];
    if items(stored).next().is_none() {
        let shown = super::go::strings("[]string", stored);
        errors.push(FieldError::invalid(&path, shown, "must have at least one stored version"));
        return;
    }
    let versions = &definition["spec"]["versions"];
    for (_, version) in items(versions) {
        let is_listed = items(stored).any(|(_, name)| *name == version["name"]);
        if version["storage"] == true && !is_listed {
            let detail = format!("must have the storage version {}", text(version, "name"));
            errors.push(FieldError::invalid(&path, super::go::strings("[]string", stored), &detail));
        }
    }
    for (index, name) in items(stored) {
        if !items(versions).any(|(_, version)| version["name"] == *name) {
            let name = name.as_str().unwrap_or_default();
            let detail = format!(
                "missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions \
                 until a storage migration ensures no data remains persisted in {name} and removes {name} from \
                 status.storedVersions"
            );
            errors.push(FieldError::invalid(path.index(index), name, &detail));
        }
    }
}

/// The annotation that says who approved an API of the community.
const APPROVAL: &str = "api-approved.kubernetes.io";

/// Returns whether a group is the community's own.
pub(crate) fn is_protected(group: &str) -> bool {
    ["k8s.io", "kubernetes.io"].iter().any(|domain| {
        group.strip_suffix(domain).is_some_and(|before| before.is_empty() || before.ends_with('.'))
    })
}

/// Whether an API of the community is approved, and why (not).
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Approval {
    Approved,
    Bypassed,
    Missing,
    Invalid,
}

/// Reads the approval of a definition in a protected group, with what to say about it.
pub(crate) fn approval(definition: &Value) -> (Approval, String) {
    const SEE: &str = "see https://github.com/kubernetes/enhancements/pull/1111";
    let annotation = text(&definition["metadata"]["annotations"], APPROVAL);
    let uri = annotation.parse::<http::Uri>();
    let is_url =
        uri.is_ok_and(|uri| uri.host().is_some_and(|host| !host.is_empty()) && uri.scheme().is_some());
    match annotation {
        "" => {
            (Approval::Missing, format!("protected groups must have approval annotation {APPROVAL:?}, {SEE}"))
        }
        text if text.starts_with("unapproved") => (Approval::Bypassed, format!("not approved: {text:?}")),
        text if is_url => (Approval::Approved, format!("approved in {text}")),
        _ => (
            Approval::Invalid,
            format!(
                "protected groups must have approval annotation {APPROVAL:?} with either a URL or a reason starting with \
                 \"unapproved\", {SEE}"
            ),
        ),
    }
}

fn check_approval(new: &Value, old: Option<&Value>, errors: &mut Errors) {
    if !is_protected(text(&new["spec"], "group")) {
        return;
    }
    let (state, reason) = approval(new);
    if old.is_some_and(|old| approval(old).0 == state) {
        return;
    }
    let path = format!("metadata.annotations[{APPROVAL}]");
    match state {
        Approval::Approved | Approval::Bypassed => {}
        Approval::Missing => errors.push(FieldError::required(path, &reason)),
        Approval::Invalid => {
            let given = text(&new["metadata"]["annotations"], APPROVAL);
            errors.push(FieldError::invalid(path, given, &reason));
        }
    }
}

/// Checks that the authorities of a conversion webhook stay some. What is not served yet may have any: it is not served until they
/// are right.
fn check_bundle(new: &Value, old: &Value, errors: &mut Errors) {
    if !has_condition(old, "Established") || wrong_bundle(old).is_some() {
        return;
    }
    if let Some((bytes, why)) = wrong_bundle(new) {
        let bytes: Vec<String> = bytes.iter().map(|byte| format!("{byte:#x}")).collect();
        let shown = Shown::verbatim(format!("[]byte{{{}}}", bytes.join(", ")));
        errors.push(FieldError::invalid("spec.conversion.webhookClientConfig.caBundle", shown, &why));
    }
}

fn check_conversion(conversion: &Value, errors: &mut Errors) {
    let path = Path::root("spec").child("conversion");
    match text(conversion, "strategy") {
        "" => errors.push(FieldError::required(path.child("strategy"), "")),
        "None" => {
            if !conversion["webhook"].is_null() {
                let detail = "should not be set when strategy is not set to Webhook";
                errors.push(FieldError::forbidden(path.child("webhookClientConfig"), detail));
                if items(&conversion["webhook"]["conversionReviewVersions"]).next().is_some() {
                    errors.push(FieldError::forbidden(path.child("conversionReviewVersions"), detail));
                }
            }
        }
        "Webhook" => {
            const CLIENT: &str = "spec.conversion.webhookClientConfig";
            let webhook = &conversion["webhook"];
            match webhook["clientConfig"].is_object() {
                true => policy::client(&At::named(&webhook["clientConfig"], CLIENT), errors),
                false => {
                    errors.push(FieldError::required(CLIENT, "required when strategy is set to Webhook"))
                }
            }
            let versions =
                At::named(&webhook["conversionReviewVersions"], "spec.conversion.conversionReviewVersions");
            match versions.is_empty() {
                true => versions.required(errors, ""),
                false => policy::known_versions(&versions, errors),
            }
        }
        other => {
            errors.push(FieldError::not_supported(path.child("strategy"), other, &["None", "Webhook"]));
        }
    }
}
