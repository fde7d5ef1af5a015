//! Rules for events, as the core group and as `events.k8s.io` have them.

use super::super::at::{At, Errors};
use super::super::compare::same;
use super::super::names::{self, NameRule};
use super::super::{Validator, metadata};

const ELSEWHERE: &str = "does not match event.namespace";
const MAX_TEXT: usize = 128;
const MAX_NOTE: usize = 1024;

/// Fields that an update through `events.k8s.io` leaves alone, and what errors call them.
const FIXED: [(&str, &str); 14] = [
    ("regarding", "involvedObject"),
    ("reason", "reason"),
    ("note", "message"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
    ("reason", "reason"),
    ("type", "type"),
    ("eventTime", "eventTime"),
    ("action", "action"),
    ("related", "related"),
    ("reportingController", "reportingController"),
    ("reportingInstance", "reportingInstance"),
];

/// Events of the core group. For the sake of old clients little is asked of them.
pub(in super::super) static CORE_EVENT: Validator = Validator {
    name: NameRule::PathSegment,
    namespaced: true,
    built_in: true,
    create: |event, errors| common(event, ["involvedObject", "reportingComponent", "message"], errors),
    update: |new, _, errors| common(new, ["involvedObject", "reportingComponent", "message"], errors),
    status: |_, _, _| {},
};

/// Events of the group `events.k8s.io`.
pub(in super::super) static EVENT: Validator = Validator {
    name: NameRule::Subdomain,
    namespaced: true,
    built_in: true,
    create,
    update: |new, old, errors| {
        common(new, ["regarding", "reportingController", "note"], errors);
        metadata::update_built_in(new, old, errors);
        if !same(new.child("series").value(), old.child("series").value()) {
            series(new, errors);
        }
        for (field, shown) in FIXED {
            if !same(new.child(field).value(), old.child(field).value()) {
                new.moved(new.child(field).value(), shown).invalid(errors, super::super::at::IMMUTABLE);
            }
        }
    },
    status: |_, _, _| {},
};

fn create(event: &At, errors: &mut Errors) {
    common(event, ["regarding", "reportingController", "note"], errors);
    series(event, errors);
    if !event.child("eventTime").is_set() {
        event.child("eventTime").required(errors, "");
    }
    let kind = event.child("type");
    if !matches!(kind.str(), "Normal" | "Warning") {
        kind.invalid_shown(errors, "", &format!("has invalid value: {}", kind.str()));
    }
    for (field, shown) in [
        ("deprecatedFirstTimestamp", "firstTimestamp"),
        ("deprecatedLastTimestamp", "lastTimestamp"),
        ("deprecatedCount", "count"),
        ("deprecatedSource", "source"),
    ] {
        let value = event.child(field);
        if value.int() != Some(0) && value.is_set() && value.value() != &serde_json::json!({}) {
            event.child(shown).invalid_shown(errors, "", "needs to be unset");
        }
    }
}

fn series(event: &At, errors: &mut Errors) {
    let series = event.child("series");
    if !series.is_set() {
        return;
    }
    if series.child("count").int().unwrap_or_default() < 2 {
        series.child("count").invalid_shown(errors, "", "should be at least 2");
    }
    if !series.child("lastObservedTime").is_set() {
        series.child("lastObservedTime").required(errors, "");
    }
}

/// What holds in both groups, which have other names for what an event is about, for who reports it, and for its text.
fn common(event: &At, [about, controller, note]: [&str; 3], errors: &mut Errors) {
    let meta = event.child("metadata");
    let (namespace, about) = (meta.child("namespace").str(), event.child(about).child("namespace").value());
    let place = event.moved(about, "involvedObject.namespace");
    let recent = event.child("eventTime").is_set();
    let fits = match place.str() {
        "" if recent => matches!(namespace, "default" | "kube-system"),
        "" => matches!(namespace, "" | "default"),
        about => recent || about == namespace,
    };
    if !fits {
        place.invalid_shown(errors, place.str(), ELSEWHERE);
    }
    if recent {
        reported(event, controller, note, errors);
    }
    for problem in names::subdomain(namespace) {
        event.child("namespace").invalid_shown(errors, namespace, &problem);
    }
}

fn reported(event: &At, controller: &str, note: &str, errors: &mut Errors) {
    let by = event.moved(event.child(controller).value(), "reportingController");
    by.require(errors);
    by.rule(errors, names::qualified_name);
    let too_long = |limit: usize| format!("can have at most {limit} characters");
    for name in ["reportingInstance", "action", "reason"] {
        let text = event.child(name);
        text.require(errors);
        if text.str().len() > MAX_TEXT {
            text.invalid_shown(errors, "", &too_long(MAX_TEXT));
        }
    }
    if event.child(note).str().len() > MAX_NOTE {
        event.child("message").invalid_shown(errors, "", &too_long(MAX_NOTE));
    }
}
