//! Rules for an object's metadata, when it is made and when it changes.

use quarterdeck_core::labels::{quote, validate_label_key, validate_label_value};
use serde_json::Value;

use super::at::{At, Errors, IMMUTABLE};
use super::error::{FieldError, Shown};
use super::go;
use super::names::{self, NameRule};

/// What all annotations of an object may hold, keys and values together.
const MAX_ANNOTATIONS: usize = 256 << 10;

/// Finalizers that need no domain.
const STANDARD_FINALIZERS: [&str; 3] = ["kubernetes", ORPHAN, FOREGROUND];
const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// Checks the metadata of a new object of any kind. A generated name is there already.
pub(super) fn create(object: &At, rule: NameRule, namespaced: bool, errors: &mut Errors) {
    let metadata = object.child("metadata");
    let prefix = metadata.child("generateName");
    if !prefix.is_empty() {
        for problem in rule.check_prefix(prefix.str()) {
            prefix.invalid(errors, &problem);
        }
    }
    let name = metadata.child("name");
    if name.is_empty() {
        name.required(errors, "name or generateName is required");
    }
    for problem in if name.is_empty() { Vec::new() } else { rule.check(name.str()) } {
        name.invalid(errors, &problem);
    }
    let namespace = metadata.child("namespace");
    match (namespaced, namespace.is_empty()) {
        (true, true) => namespace.required(errors, ""),
        (true, false) => namespace.rule(errors, names::dns_label),
        (false, false) => namespace.forbidden(errors, "not allowed on this type"),
        (false, true) => {}
    }
    metadata.child("generation").not_negative(errors);
    shared(&metadata, errors);
    let finalizers = metadata.child("finalizers");
    for finalizer in finalizers.strings() {
        for problem in validate_label_key(finalizer) {
            finalizers.invalid_shown(errors, finalizer, &problem);
        }
    }
    let has = |name| finalizers.strings().any(|finalizer| finalizer == name);
    if has(ORPHAN) && has(FOREGROUND) {
        finalizers.invalid(errors, &format!("finalizer {ORPHAN} and {FOREGROUND} cannot be both set"));
    }
}

/// Checks how the metadata of an object of any kind changes.
///
/// Whether a `resourceVersion` has to be given, and is the current one, is checked where the object is stored.
pub(super) fn update(new: &At, old: &At, errors: &mut Errors) {
    let (new, old) = (new.child("metadata"), old.child("metadata"));
    let is_deleted = old.child("deletionTimestamp").is_set();
    if is_deleted {
        no_new_finalizers(&new.child("finalizers"), &old.child("finalizers"), errors);
    }
    let generation = new.child("generation");
    if generation.is_set() && generation.int() < old.child("generation").int() {
        generation.invalid(errors, "must not be decremented");
    }
    for name in ["name", "namespace"] {
        new.child(name).immutable(errors, &old.child(name));
    }
    let same = |name: &str, errors: &mut Errors| {
        if new.child(name).is_set() {
            new.child(name).immutable(errors, &old.child(name));
        }
    };
    same("uid", errors);
    let deleted = new.child("deletionTimestamp");
    if !is_deleted && deleted.is_set() {
        deleted.invalid_shown(errors, time(deleted.str()), IMMUTABLE);
    }
    same("deletionGracePeriodSeconds", errors);
    shared(&new, errors);
}

/// Checks how the metadata of an object of a built-in kind changes.
pub(super) fn update_built_in(new: &At, old: &At, errors: &mut Errors) {
    update(new, old, errors);
    standard_finalizers(new, errors);
}

/// Checks the metadata of an object of a built-in kind once more as if it were new: what many kinds do when they change.
pub(super) fn whole(object: &At, rule: NameRule, namespaced: bool, errors: &mut Errors) {
    create(object, rule, namespaced, errors);
    standard_finalizers(object, errors);
}

/// Checks what is checked whenever an object is written.
fn shared(metadata: &At, errors: &mut Errors) {
    labels(&metadata.child("labels"), errors);
    annotations(&metadata.child("annotations"), errors);
    owner_references(&metadata.child("ownerReferences"), errors);
}

/// Checks a map of labels: on an object, in a template, or as the simple form of a selector.
pub(super) fn labels(labels: &At, errors: &mut Errors) {
    for (key, value) in labels.entries() {
        for problem in validate_label_key(key) {
            labels.invalid_shown(errors, key, &problem);
        }
        for problem in validate_label_value(value.str()) {
            labels.invalid_shown(errors, value.str(), &problem);
        }
    }
}

/// Checks a map of annotations.
pub(super) fn annotations(annotations: &At, errors: &mut Errors) {
    let mut size = 0;
    for (key, value) in annotations.entries() {
        // A rule from before annotations were qualified names: upper case is allowed in their domains.
        for problem in validate_label_key(&key.to_lowercase()) {
            annotations.invalid_shown(errors, key, &problem);
        }
        size += key.len() + value.str().len();
    }
    if size > MAX_ANNOTATIONS {
        errors.push(FieldError::too_long(annotations, MAX_ANNOTATIONS));
    }
}

fn owner_references(references: &At, errors: &mut Errors) {
    let mut controller: Option<String> = None;
    for owner in references.items() {
        let version = owner.child("apiVersion").str();
        let known = match version.split('/').collect::<Vec<_>>().as_slice() {
            [version] | [_, version] => !version.is_empty(),
            _ => false,
        };
        for (name, missing, problem) in [
            ("apiVersion", !known, "version must not be empty"),
            ("kind", owner.child("kind").is_empty(), "kind must not be empty"),
            ("name", owner.child("name").is_empty(), "name must not be empty"),
            ("uid", owner.child("uid").is_empty(), "uid must not be empty"),
        ] {
            if missing {
                let field = references.child(name);
                field.invalid_shown(errors, owner.child(name).str(), problem);
            }
        }
        if (version, owner.child("kind").str()) == ("v1", "Event") {
            let shown = owner_reference(owner.value());
            references.invalid_shown(errors, shown, "/v1, Kind=Event is disallowed from being an owner");
        }
        if owner.child("controller").is_true() {
            let name = format!("{}/{}", owner.child("kind").str(), owner.child("name").str());
            match &controller {
                None => controller = Some(name),
                Some(first) => {
                    let all: Vec<_> =
                        references.items().map(|owner| owner_reference(owner.value()).0).collect();
                    let shown = Shown(format!("[]v1.OwnerReference{{{}}}", all.join(", ")));
                    let problem = format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for \
                         {first} and {name}"
                    );
                    references.invalid_shown(errors, shown, &problem);
                }
            }
        }
    }
}

fn owner_reference(owner: &Value) -> Shown {
    go::structure(
        "v1.OwnerReference",
        &[
            ("APIVersion", go::string(&owner["apiVersion"])),
            ("Kind", go::string(&owner["kind"])),
            ("Name", go::string(&owner["name"])),
            ("UID", go::string(&owner["uid"])),
            ("Controller", go::pointer("bool", &owner["controller"])),
            ("BlockOwnerDeletion", go::pointer("bool", &owner["blockOwnerDeletion"])),
        ],
    )
}

/// Checks that finalizers without a domain are those that the API itself knows: a rule for built-in kinds.
pub(super) fn standard_finalizers(object: &At, errors: &mut Errors) {
    let metadata = object.child("metadata");
    for finalizer in metadata.child("finalizers").items() {
        if !finalizer.str().contains('/') && !STANDARD_FINALIZERS.contains(&finalizer.str()) {
            finalizer.invalid(errors, "name is neither a standard finalizer name nor is it fully qualified");
        }
    }
}

fn no_new_finalizers(new: &At, old: &At, errors: &mut Errors) {
    let mut added: Vec<_> = new.strings().filter(|name| !old.strings().any(|old| old == *name)).collect();
    added.sort_unstable();
    added.dedup();
    if !added.is_empty() {
        let added: Vec<_> = added.into_iter().map(quote).collect();
        let problem = format!(
            "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
            added.join(", ")
        );
        new.forbidden(errors, &problem);
    }
}

/// A time as Go prints it: `2001-02-03 04:05:06 +0000 UTC`.
pub(super) fn time(text: &str) -> Shown {
    match text.trim_end_matches('Z').parse::<jiff::civil::DateTime>() {
        Ok(time) => Shown(time.strftime("%Y-%m-%d %H:%M:%S%.f +0000 UTC").to_string()),
        Err(_) => Shown::from(text),
    }
}
