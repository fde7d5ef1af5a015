//! What the client is told of a webhook that refuses a write or fails.

use http::StatusCode;
use serde_json::Value;

use crate::status::Status;

/// Why a webhook has not let a write through.
#[derive(Debug)]
pub(super) enum Failure {
    /// It could not be asked, or answered rubbish: what that means is for its failure policy.
    Calling(String),
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
