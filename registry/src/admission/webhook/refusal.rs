//! What the client is told of a webhook that refuses a write or fails.

use http::StatusCode;
use serde_json::Value;

use crate::status::Status;

/// Why a webhook was of no use.
#[derive(Debug, PartialEq)]
pub(crate) struct Why {
    /// For the client: in upstream's words, and perhaps the webhook's.
    pub(crate) shown: String,
    /// For the log: without the webhook's words, which may be what it was sent.
    pub(crate) logged: String,
}

impl Why {
    /// Shows what a webhook said, and logs something else.
    pub(crate) fn quoting(shown: impl Into<String>, logged: impl Into<String>) -> Self {
        Self { shown: shown.into(), logged: logged.into() }
    }

    /// Says first what came to nothing.
    pub(crate) fn of(self, what: &str) -> Self {
        let Self { shown, logged } = self;
        Self { shown: format!("{what}: {shown}"), logged: format!("{what}: {logged}") }
    }
}

impl<T: Into<String>> From<T> for Why {
    fn from(why: T) -> Self {
        let shown = why.into();
        Self { logged: shown.clone(), shown }
    }
}

/// Why a webhook has not let a write through.
#[derive(Debug)]
pub(super) enum Failure {
    /// It could not be asked, or answered rubbish: what that means is for its failure policy.
    Calling(Why),
    /// The client gets this.
    Refused(Status),
}

/// A webhook that has side effects is not asked what would be.
pub(super) fn dry_run(name: &str) -> Status {
    Status::bad_request(format!("admission webhook \"{name}\" does not support dry run"))
}

/// A webhook refuses a write, with a Status of its own if it gave one.
pub(super) fn denied(name: &str, result: &Value) -> Status {
    let text = |field: &str| result[field].as_str().filter(|text| !text.is_empty());
    let code = result["code"].as_u64().and_then(|code| u16::try_from(code).ok());
    let code = code.and_then(|code| StatusCode::from_u16(code).ok()).filter(|code| code.as_u16() >= 400);
    let by = format!("admission webhook \"{name}\" denied the request");
    let message = match (text("message"), text("reason")) {
        (Some(why), _) | (None, Some(why)) => format!("{by}: {why}"),
        (None, None) => format!("{by} without explanation"),
    };
    let mut status = Status::new(code.unwrap_or(StatusCode::BAD_REQUEST), "", message);
    if let Some(reason) = text("reason") {
        status = status.foreign_reason(reason);
    }
    if let Some(details) = result["details"].as_object() {
        status.details = details.clone();
        let seconds = details.get("retryAfterSeconds").and_then(Value::as_u64);
        status.retry_after_seconds =
            seconds.and_then(|seconds| u32::try_from(seconds).ok()).filter(|seconds| *seconds > 0);
    }
    status
}
