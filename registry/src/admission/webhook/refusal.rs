//! What the client is told of a webhook that refuses a write or fails.

use http::StatusCode;
use serde_json::Value;

use crate::figures::Called;
use crate::status::Status;

/// Why a webhook was of no use.
#[derive(Debug, PartialEq)]
pub(crate) struct Why {
    /// For the client: in upstream's words, and perhaps the webhook's.
    pub(crate) shown: String,
    /// For the log: without the webhook's words, which may be what it was sent.
    pub(crate) logged: String,
    /// How metrics call it.
    pub(super) code: u16,
}

/// What a webhook is counted as that cannot be reached, or answers rubbish.
const UNAVAILABLE: u16 = 503;

impl Why {
    /// Shows what a webhook said, and logs something else.
    pub(crate) fn quoting(shown: impl Into<String>, logged: impl Into<String>) -> Self {
        Self { shown: shown.into(), logged: logged.into(), code: UNAVAILABLE }
    }

    /// Says first what came to nothing.
    pub(crate) fn of(self, what: &str) -> Self {
        let Self { shown, logged, code } = self;
        Self { shown: format!("{what}: {shown}"), logged: format!("{what}: {logged}"), code }
    }

    /// Has it counted under a code.
    pub(super) fn counted_as(self, code: u16) -> Self {
        Self { code, ..self }
    }
}

impl<T: Into<String>> From<T> for Why {
    fn from(why: T) -> Self {
        let shown = why.into();
        Self { logged: shown.clone(), shown, code: UNAVAILABLE }
    }
}

/// Why a webhook has not let a write through.
#[derive(Debug)]
pub(super) enum Failure {
    /// It could not be asked, or answered rubbish: what that means is for its failure policy.
    Calling(Why),
    /// It refuses the write: the client gets this.
    Refused(Status),
    /// The server refuses the write because of it: the client gets this.
    Internal(Status),
}

/// What became of a call, for metrics.
pub(super) fn called<T>(outcome: &Result<T, Failure>, is_lenient: bool) -> Called {
    match outcome {
        Ok(_) => Called::Allowed,
        Err(Failure::Refused(status)) => Called::Denied(status.code.as_u16()),
        Err(Failure::Internal(_)) => Called::Internal,
        Err(Failure::Calling(why)) => Called::Failed { code: why.code, passed_over: is_lenient },
    }
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
