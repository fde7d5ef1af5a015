//! Events, as they are written.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::notes::Sent;
use crate::request::ResourceRequest;
use crate::user::User;

/// How much is told of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Level {
    /// Nothing.
    None,
    /// Who asked for what, and what became of it.
    Metadata,
    /// Also what was sent.
    Request,
    /// Also what was answered.
    RequestResponse,
}

/// How far a request has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Stage {
    /// It arrived.
    RequestReceived,
    /// An answer that lasts has begun.
    ResponseStarted,
    /// The answer is complete.
    ResponseComplete,
    /// The server failed on it.
    Panic,
}

/// A request, as each of its events (`k8s.io/apiserver/pkg/apis/audit/v1`) tells of it. Its text is made once.
#[derive(Debug)]
pub(super) struct EventText {
    text: Vec<u8>,
    /// Where the stage goes into the text, and where as whom the client acts.
    stage: usize,
    impersonated: usize,
}

/// How many bytes an event takes that tells of no bodies, about.
const LINE: usize = 1024;

impl EventText {
    pub(super) fn new(head: &Head<'_>, asked: &Asked<'_>, source: &Source<'_>) -> Self {
        let mut text = Vec::with_capacity(LINE / 2);
        append(&mut text, head);
        let stage = text.len();
        append(&mut text, asked);
        let impersonated = text.len();
        append(&mut text, source);
        Self { text, stage, impersonated }
    }

    /// Writes an event.
    pub(super) fn event(
        &self,
        stage: Stage,
        impersonated: Option<UserInfo<'_>>,
        outcome: &Outcome<'_>,
    ) -> Vec<u8> {
        let mut line = Vec::with_capacity(LINE);
        line.extend_from_slice(&self.text[..self.stage]);
        append(&mut line, &Reached { stage });
        line.extend_from_slice(&self.text[self.stage..self.impersonated]);
        append(&mut line, &Impersonated { impersonated_user: impersonated });
        line.extend_from_slice(&self.text[self.impersonated..]);
        append(&mut line, outcome);
        line.push(b'}');
        line
    }
}

/// Adds fields to the text of an object that is still open; the first opens it.
fn append(text: &mut Vec<u8>, fields: &impl Serialize) {
    let begin = text.len();
    serde_json::to_writer(&mut *text, fields)
        .expect("fields and keys that are text make JSON, and memory takes it");
    text.pop();
    if text.len() == begin + 1 && begin > 0 {
        text.pop();
    } else if begin > 0 {
        text[begin] = b',';
    }
}

/// What an event is, and of which request.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Head<'a> {
    kind: &'static str,
    api_version: &'static str,
    level: Level,
    #[serde(rename = "auditID")]
    audit_id: &'a str,
}

impl<'a> Head<'a> {
    pub(super) fn new(level: Level, audit_id: &'a str) -> Self {
        Self { kind: "Event", api_version: "audit.k8s.io/v1", level, audit_id }
    }
}

#[derive(Debug, Serialize)]
struct Reached {
    stage: Stage,
}

/// What was asked, and by whom.
#[derive(Debug, Serialize)]
pub(super) struct Asked<'a> {
    #[serde(rename = "requestURI")]
    pub(super) request_uri: &'a str,
    pub(super) verb: &'a str,
    pub(super) user: UserInfo<'a>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Impersonated<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    impersonated_user: Option<UserInfo<'a>>,
}

/// Where a request came from.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Source<'a> {
    #[serde(rename = "sourceIPs", skip_serializing_if = "<[String]>::is_empty")]
    pub(super) source_ips: &'a [String],
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) user_agent: &'a str,
}

/// What became of a request so far, and when.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Outcome<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) object_ref: Option<ObjectReference<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) response_status: Option<&'a ResponseStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) request_object: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) response_object: Option<&'a Value>,
    pub(super) request_received_timestamp: &'a str,
    /// Of an arrival that of the request.
    pub(super) stage_timestamp: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) annotations: &'a BTreeMap<String, String>,
}

/// Who somebody is.
#[derive(Debug, Serialize)]
pub(super) struct UserInfo<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    username: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    uid: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    groups: &'a [String],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    extra: &'a BTreeMap<String, Vec<String>>,
}

impl<'a> UserInfo<'a> {
    pub(super) fn of(user: &'a User) -> Self {
        Self { username: &user.name, uid: &user.uid, groups: &user.groups, extra: &user.extra }
    }
}

/// What a request is about.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ObjectReference<'a> {
    resource: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    namespace: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    uid: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    api_group: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    api_version: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    resource_version: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    subresource: &'a str,
}

impl<'a> ObjectReference<'a> {
    /// Refers to what a request names, in its path or in the object that it sends.
    pub(super) fn of(request: &'a ResourceRequest, sent: &'a Sent) -> Self {
        Self {
            resource: &request.resource,
            namespace: request.authorized_namespace().unwrap_or_default(),
            name: request.name.as_deref().unwrap_or(&sent.name),
            uid: &sent.uid,
            resource_version: &sent.resource_version,
            api_group: &request.group,
            api_version: &request.version,
            subresource: request.subresource.as_deref().unwrap_or_default(),
        }
    }
}

/// What became of a request.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub(super) struct ResponseStatus {
    metadata: Map<String, Value>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) status: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) reason: String,
    #[serde(skip_serializing_if = "Value::is_null")]
    pub(super) details: Value,
    pub(super) code: u16,
}

impl ResponseStatus {
    /// What an answer's code tells, and what it says itself if it is a Status.
    pub(super) fn of(code: u16, answer: Option<&Value>) -> Self {
        let Some(status) = answer.filter(|answer| answer["kind"] == "Status") else {
            return Self { code, ..Self::default() };
        };
        let text = |field: &str| status[field].as_str().unwrap_or_default().to_owned();
        Self {
            status: text("status"),
            message: text("message"),
            reason: text("reason"),
            details: status["details"].clone(),
            code,
            ..Self::default()
        }
    }

    /// What became of a request without an answer.
    pub(super) fn failure(code: u16, reason: &str, message: &str) -> Self {
        let (reason, message) = (reason.to_owned(), message.to_owned());
        Self { status: "Failure".into(), message, reason, code, ..Self::default() }
    }
}
