//! What the API answers when it does not answer an object: `Status` of `meta/v1`.
//!
//! One constructor per reason, with upstream's codes and wording (`k8s.io/apimachinery/pkg/api/errors`).

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use quarterdeck_core::component::BoxError;
use quarterdeck_core::storage::StorageError;
use serde_json::{Map, Value, json};

use crate::body::Body;
use crate::resource::{Resource, Subresource};
use crate::validation::{FieldError, aggregate};

/// A `Status` that refuses a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// The HTTP status code.
    pub code: StatusCode,
    /// The machine-readable reason, such as `NotFound`; empty if there is none.
    pub reason: &'static str,
    /// What a person reads.
    pub message: String,
    /// What it is about; absent if empty and `has_details` is unset.
    pub details: Map<String, Value>,
    /// Whether `details` is sent even if it is empty.
    has_details: bool,
    /// After how many seconds the client should try again.
    pub retry_after_seconds: Option<u32>,
    /// The token with which a list that expired can be continued.
    continue_token: Option<String>,
    /// The reason that somebody else gave, which is sent in the place of `reason`.
    foreign_reason: Option<Box<str>>,
}

/// Why no objects of a custom kind are made any more.
const KIND_IS_ENDING: &str = "create not allowed while custom resource definition is terminating";

/// The result of serving a request.
pub type Result<T> = std::result::Result<T, Status>;

impl Status {
    /// Makes a status of a code, a reason and a message, without details.
    #[must_use]
    pub fn new(code: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            details: Map::new(),
            has_details: false,
            retry_after_seconds: None,
            continue_token: None,
            foreign_reason: None,
        }
    }

    /// The request makes no sense.
    #[must_use]
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    /// Nobody knows who asks.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized")
    }

    /// The user may not do this; `message` is complete.
    #[must_use]
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "Forbidden", message).with_details()
    }

    /// An object of this kind may not be written, and why.
    #[must_use]
    pub fn forbidden_object(resource: &Resource, name: &str, why: impl std::fmt::Display) -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "Forbidden",
            format!("{} \"{name}\" is forbidden: {why}", resource.qualified_plural()),
        )
        .about(resource, name)
    }

    /// Says of an apply what it would not make, as upstream does: of an object, and not of a method.
    #[must_use]
    pub(crate) fn of_apply(self, resource: &Resource, name: &str) -> Self {
        if self.message == KIND_IS_ENDING {
            Self::forbidden_object(resource, name, KIND_IS_ENDING)
        } else {
            self
        }
    }

    /// There is no such path.
    #[must_use]
    pub fn unknown_path() -> Self {
        Self::new(StatusCode::NOT_FOUND, "NotFound", "the server could not find the requested resource")
            .with_details()
    }

    /// There is no such object.
    #[must_use]
    pub fn not_found(resource: &Resource, name: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "NotFound",
            format!("{} \"{name}\" not found", resource.qualified_plural()),
        )
        .about(resource, name)
    }

    /// The path exists, the method does not.
    #[must_use]
    pub fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )
        .with_details()
    }

    /// The kind, which is a custom one, has no such verb there.
    #[must_use]
    pub fn method_not_supported(resource: &Resource, verb: &str) -> Self {
        let why = format!("{verb} is not supported on resources of kind \"{}\"", resource.qualified_plural());
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", why).about(resource, "")
    }

    /// The kind, which is a custom one, comes to its end with its definition.
    #[must_use]
    pub fn kind_is_ending(resource: &Resource) -> Self {
        let mut status = Self::method_not_supported(resource, "create");
        status.message = KIND_IS_ENDING.into();
        status
    }

    /// Nothing that the client accepts can be answered.
    #[must_use]
    pub fn not_acceptable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_ACCEPTABLE, "NotAcceptable", message)
    }

    /// The body is of a type that the server does not read.
    #[must_use]
    pub fn unsupported_media_type(accepted: &str) -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "UnsupportedMediaType",
            format!(
                "the body of the request was in an unknown format - accepted media types include: {accepted}"
            ),
        )
    }

    /// The patch is of a type that the server does not read: upstream's router says so before any handler could.
    #[must_use]
    pub fn unsupported_patch() -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", "415: Unsupported Media Type")
            .with_details()
    }

    /// The body is larger than the server reads.
    #[must_use]
    pub fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", message)
    }

    /// There is no room for the request now.
    #[must_use]
    pub fn too_many_requests() -> Self {
        let message = "Too many requests, please try again later.";
        Self::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", message).retry_after(1)
    }

    /// The object exists already.
    #[must_use]
    pub fn already_exists(resource: &Resource, name: &str, being_deleted: bool) -> Self {
        let prefix = if being_deleted { "object is being deleted: " } else { "" };
        Self::new(
            StatusCode::CONFLICT,
            "AlreadyExists",
            format!("{prefix}{} \"{name}\" already exists", resource.qualified_plural()),
        )
        .about(resource, name)
    }

    /// Somebody else was faster, or a precondition does not hold.
    #[must_use]
    pub fn conflict(resource: &Resource, name: &str, why: impl std::fmt::Display) -> Self {
        Self::new(
            StatusCode::CONFLICT,
            "Conflict",
            format!("Operation cannot be fulfilled on {} \"{name}\": {why}", resource.qualified_plural()),
        )
        .about(resource, name)
    }

    /// As [`conflict`](Self::conflict), about a path below an object.
    #[must_use]
    pub fn conflict_below(
        resource: &Resource,
        subresource: Subresource,
        name: &str,
        why: impl std::fmt::Display,
    ) -> Self {
        let kind = format!("{}/{}", resource.plural, subresource.name());
        let message = format!("Operation cannot be fulfilled on {kind} \"{name}\": {why}");
        let mut status = Self::new(StatusCode::CONFLICT, "Conflict", message);
        status.describe(name, &resource.group, &kind);
        status
    }

    /// As [`conflict`](Self::conflict), with the kind in the place of its plural, as deletions say it.
    #[must_use]
    pub fn conflict_of_kind(resource: &Resource, name: &str, why: impl std::fmt::Display) -> Self {
        let (group, kind) = (resource.layout().group, resource.kind.as_ref());
        let qualified = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
        let message = format!("Operation cannot be fulfilled on {qualified} \"{name}\": {why}");
        let mut status = Self::new(StatusCode::CONFLICT, "Conflict", message);
        status.describe(name, group, kind);
        status
    }

    /// The object was changed since the client read it.
    #[must_use]
    pub fn modified(resource: &Resource, name: &str) -> Self {
        Self::conflict(
            resource,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// The object breaks rules of its kind; one cause per rule.
    ///
    /// # Panics
    ///
    /// Panics if `errors` is empty: an object without errors is not invalid.
    #[must_use]
    pub fn invalid(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> Self {
        assert!(!errors.is_empty(), "an invalid object has errors");
        let qualified = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
        let (message, causes) = aggregate(&qualified, name, errors);
        let mut status = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message);
        status.describe(name, group, kind);
        status.details.insert("causes".into(), causes.into());
        status
    }

    /// The body cannot be processed for a reason that is no field's.
    #[must_use]
    pub fn unprocessable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message)
    }

    /// The patch does not fit the object. Upstream does not say why.
    #[must_use]
    pub fn patch_does_not_fit() -> Self {
        Self::unprocessable("the server rejected our request due to an error in our request").with_details()
    }

    /// The history that the client asks for is gone.
    #[must_use]
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(StatusCode::GONE, "Expired", message)
    }

    /// The client asks for a revision that the server has not seen.
    #[must_use]
    pub fn too_large_resource_version(asked: u64, current: u64) -> Self {
        let mut status = Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            "Timeout",
            format!("Timeout: Too large resource version: {asked}, current: {current}"),
        );
        status.details.insert(
            "causes".into(),
            json!([{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]),
        );
        status.retry_after(1)
    }

    /// The request took too long.
    #[must_use]
    pub fn timeout() -> Self {
        let why = "Timeout: request did not complete within requested timeout - context deadline exceeded";
        Self::new(StatusCode::GATEWAY_TIMEOUT, "Timeout", why).with_details()
    }

    /// The server failed.
    #[must_use]
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        let cause = cause.to_string();
        let mut status = Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalError",
            format!("Internal error occurred: {cause}"),
        );
        status.details.insert("causes".into(), json!([{ "message": cause }]));
        status
    }

    /// The server failed on what the client sent, as upstream does where it forgot a better answer: no reason.
    #[must_use]
    pub fn server_error(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "", message)
    }

    /// The server cannot answer now.
    #[must_use]
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", message).retry_after(1)
    }

    /// Says of a commit why it failed. One that may have happened gets no time after which to try again: at that, clients
    /// send a request once more by themselves, and only who sent it can find out what came of it.
    #[must_use]
    pub(crate) fn of_commit(error: StorageError) -> Self {
        let mut status = Self::from(error);
        if status.code == StatusCode::SERVICE_UNAVAILABLE {
            status.message = "storage is unavailable: the write may have happened".into();
            status.retry_after_seconds = None;
            status.details.remove("retryAfterSeconds");
        }
        status
    }

    /// Adds the name, group and plural of the object in question.
    #[must_use]
    pub fn about(mut self, resource: &Resource, name: &str) -> Self {
        self.describe(name, &resource.group, &resource.plural);
        self
    }

    /// Adds a cause.
    #[must_use]
    pub fn cause(mut self, cause: Value) -> Self {
        let causes = self.details.entry("causes").or_insert_with(|| json!([]));
        if let Value::Array(causes) = causes {
            causes.push(cause);
        }
        self
    }

    /// Says after how many seconds to try again.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_seconds = Some(seconds);
        self.details.insert("retryAfterSeconds".into(), seconds.into());
        self
    }

    /// Adds the token with which a list can be continued.
    #[must_use]
    pub fn continued(mut self, token: String) -> Self {
        self.continue_token = Some(token);
        self
    }

    /// Gives a reason that is not the server's own.
    pub(crate) fn foreign_reason(mut self, reason: impl Into<Box<str>>) -> Self {
        self.foreign_reason = Some(reason.into());
        self
    }

    fn with_details(mut self) -> Self {
        self.has_details = true;
        self
    }

    fn describe(&mut self, name: &str, group: &str, kind: &str) {
        for (key, value) in [("name", name), ("group", group), ("kind", kind)] {
            if !value.is_empty() {
                self.details.insert(key.into(), value.into());
            }
        }
    }

    /// Returns the `Status` object.
    #[must_use]
    pub fn object(&self) -> Value {
        let mut object = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "code": self.code.as_u16(),
        });
        let reason = self.foreign_reason.as_deref().unwrap_or(self.reason);
        if !reason.is_empty() {
            object["reason"] = reason.into();
        }
        if self.has_details || !self.details.is_empty() {
            object["details"] = Value::Object(self.details.clone());
        }
        if let Some(token) = &self.continue_token {
            object["metadata"]["continue"] = token.as_str().into();
        }
        object
    }

    /// Returns the answer that carries the `Status`, as JSON.
    #[must_use]
    pub fn into_response(self) -> Response<Body> {
        let text = serde_json::to_vec(&self.object()).expect("a JSON value can be written");
        let mut response = Response::new(Body::full(Bytes::from(text)));
        *response.status_mut() = self.code;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// Returns the `Status` that says that a deletion succeeded.
#[must_use]
pub fn deleted(resource: &Resource, name: &str, uid: &str) -> Value {
    let mut details = json!({"name": name, "kind": resource.plural, "uid": uid});
    if !resource.group.is_empty() {
        details["group"] = resource.group.as_ref().into();
    }
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}

impl From<StorageError> for Status {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Compacted(_) => Self::expired(
                "The provided continue parameter is too old to display a consistent list result. You must start \
                 a new list without the continue parameter.",
            ),
            StorageError::Future(current) => Self::too_large_resource_version(current.0, current.0),
            StorageError::Invalid(why) => {
                Self::too_large(format!("Request entity too large: storage refuses it: {why}"))
            }
            // Whoever committed has said so: a full store refuses all that comes.
            StorageError::Full(_) => {
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "InternalError", "storage is full")
            }
            StorageError::Unreadable { .. } => {
                tracing::error!(error = %chain(&error), "something stored cannot be read");
                Self::internal(error)
            }
            other => {
                tracing::error!(error = %chain(&other), "storage failed");
                Self::unavailable("storage is unavailable")
            }
        }
    }
}

/// Joins an error and its sources.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Status {}

impl From<Status> for Response<Body> {
    fn from(status: Status) -> Self {
        status.into_response()
    }
}

/// Boxes an error as the cause of an internal one.
impl From<BoxError> for Status {
    fn from(error: BoxError) -> Self {
        Self::internal(error)
    }
}
