//! The parameters of operations.

use serde_json::{Value, json};

/// A parameter in a query.
#[derive(Debug)]
pub(super) struct Parameter {
    name: &'static str,
    kind: &'static str,
    description: &'static str,
}

const fn text(name: &'static str, description: &'static str) -> Parameter {
    Parameter { name, kind: "string", description }
}

const fn number(name: &'static str, description: &'static str) -> Parameter {
    Parameter { name, kind: "integer", description }
}

const fn flag(name: &'static str, description: &'static str) -> Parameter {
    Parameter { name, kind: "boolean", description }
}

const DRY_RUN: Parameter = text("dryRun", "With the value All, everything is done but nothing is stored.");
const FIELD_MANAGER: Parameter = text("fieldManager", "Who makes the change, at most 128 characters.");
const FIELD_VALIDATION: Parameter = text(
    "fieldValidation",
    "What happens to fields that are unknown or stand twice: Ignore drops them, Warn drops them and says so, Strict refuses the request.",
);

/// Of every operation.
pub(super) const PRETTY: Parameter = text("pretty", "With the value true, the answer is broken into lines.");

/// Of creations and replacements.
pub(super) const WRITE: &[Parameter] = &[DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION];

/// Of patches.
pub(super) const PATCH: &[Parameter] = &[
    DRY_RUN,
    FIELD_MANAGER,
    FIELD_VALIDATION,
    flag("force", "Whether an apply takes fields over that others manage; for apply patches only."),
];

/// Of deletions.
pub(super) const DELETE: &[Parameter] = &[
    DRY_RUN,
    number("gracePeriodSeconds", "How long the object may take to end; zero means at once."),
    flag("orphanDependents", "Whether what the object owns stays; propagationPolicy says it better."),
    text("propagationPolicy", "What becomes of what the object owns: Orphan, Background or Foreground."),
];

/// Of lists and watches.
pub(super) const LIST: &[Parameter] = &[
    flag(
        "allowWatchBookmarks",
        "Whether a watch tells now and then up to which revision it has sent everything.",
    ),
    text("continue", "Where the last page ended, as that page says."),
    text("fieldSelector", "Selects objects by their fields."),
    text("labelSelector", "Selects objects by their labels."),
    number("limit", "How many objects a page holds at most."),
    text("resourceVersion", "As of which revision, as resourceVersionMatch says."),
    text("resourceVersionMatch", "How resourceVersion is meant: Exact or NotOlderThan."),
    flag(
        "sendInitialEvents",
        "Whether a watch begins with all that is there, and then says that it was all.",
    ),
    number("timeoutSeconds", "When a watch ends."),
    flag("watch", "Whether changes are sent as they happen, instead of a list."),
];

/// Of a container's log.
pub(super) const LOG: &[Parameter] = &[
    text("container", "Whose log, if the pod has several containers."),
    flag("follow", "Whether the answer goes on as long as the container writes."),
    number("limitBytes", "How many bytes are answered at most."),
    flag("previous", "Whether the log is that of the container before its last restart."),
    number("sinceSeconds", "How many seconds ago the first line was written at most."),
    text("sinceTime", "When the first line was written at the earliest."),
    number("tailLines", "How many lines from the end are answered at most."),
    flag("timestamps", "Whether each line begins with the time at which it was written."),
];

impl Parameter {
    /// Writes the parameter.
    pub(super) fn value(&self) -> Value {
        json!({
            "name": self.name, "in": "query", "description": self.description,
            "schema": {"type": self.kind, "uniqueItems": true},
        })
    }
}

/// Writes a parameter of the path.
pub(super) fn of_path(name: &str, description: &str) -> Value {
    json!({
        "name": name, "in": "path", "description": description, "required": true,
        "schema": {"type": "string", "uniqueItems": true},
    })
}
