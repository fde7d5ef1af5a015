//! Events, as they are written.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::fields::{Fields, name};
use crate::notes::{Annotations, Sent};
use crate::request::{RequestInfo, ResourceRequest};
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

impl Level {
    fn as_str(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Metadata => "Metadata",
            Self::Request => "Request",
            Self::RequestResponse => "RequestResponse",
        }
    }
}

impl Stage {
    fn as_str(self) -> &'static str {
        match self {
            Self::RequestReceived => "RequestReceived",
            Self::ResponseStarted => "ResponseStarted",
            Self::ResponseComplete => "ResponseComplete",
            Self::Panic => "Panic",
        }
    }
}

/// A request, as each of its events (`k8s.io/apiserver/pkg/apis/audit/v1`) tells of it. Its text is made once.
#[derive(Debug)]
pub(super) struct EventText {
    text: Vec<u8>,
    /// Where the stage goes into the text, and where as whom the client acts.
    stage: usize,
    impersonated: usize,
    object: Option<ObjectText>,
}

/// Where it goes into a text how the object calls itself that the client sent: its name, unless the path has one, and its uid, and
/// behind them its resource version.
#[derive(Debug, Clone, Copy)]
struct ObjectText {
    is_named: bool,
    name: usize,
    version: usize,
}

/// How many bytes an event takes that tells of no bodies, about.
const LINE: usize = 1024;
/// How many of them the events of a request have in common, about.
const COMMON: usize = 640;

impl EventText {
    pub(super) fn new(asked: &Asked<'_>) -> Self {
        let mut text = Vec::with_capacity(COMMON);
        text.extend_from_slice(br#"{"kind":"Event","apiVersion":"audit.k8s.io/v1""#);
        let mut fields = Fields(&mut text);
        fields.plain(name!("level"), asked.level.as_str());
        fields.text(name!("auditID"), asked.audit_id);
        let stage = fields.0.len();
        let cut = |text| cut(text, asked.longest);
        fields.text(name!("requestURI"), cut(asked.request_uri));
        fields.text(name!("verb"), cut(asked.verb));
        fields.object(name!("user"), |fields| tell_user(fields, asked.user));
        let impersonated = fields.0.len();
        if !asked.source_ips.is_empty() {
            fields.value(name!("sourceIPs"), asked.source_ips);
        }
        fields.text(name!("userAgent"), cut(asked.user_agent));
        let object = match asked.request {
            RequestInfo::Resource(request) => Some(tell_object(&mut fields, request, asked.longest)),
            RequestInfo::Path(_) => None,
        };
        Self { text, stage, impersonated, object }
    }

    /// Whether the request is about a resource.
    pub(super) fn is_of_resource(&self) -> bool {
        self.object.is_some()
    }

    /// Writes an event.
    pub(super) fn event(&self, outcome: &Outcome<'_>) -> Vec<u8> {
        let mut line = Vec::with_capacity(LINE);
        line.extend_from_slice(&self.text[..self.stage]);
        Fields(&mut line).plain(name!("stage"), outcome.stage.as_str());
        line.extend_from_slice(&self.text[self.stage..self.impersonated]);
        if let Some(user) = outcome.impersonated {
            Fields(&mut line).object(name!("impersonatedUser"), |fields| tell_user(fields, user));
        }
        let mut rest = self.impersonated;
        if let Some(ObjectText { is_named, name, version }) = self.object {
            line.extend_from_slice(&self.text[rest..name]);
            let mut fields = Fields(&mut line);
            if !is_named {
                fields.text(name!("name"), &outcome.sent.name);
            }
            fields.text(name!("uid"), &outcome.sent.uid);
            line.extend_from_slice(&self.text[name..version]);
            Fields(&mut line).text(name!("resourceVersion"), &outcome.sent.resource_version);
            rest = version;
        }
        line.extend_from_slice(&self.text[rest..]);
        outcome.tell(&mut Fields(&mut line));
        line.push(b'}');
        line
    }
}

/// What was asked, by whom, and from where.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    pub(super) level: Level,
    pub(super) audit_id: &'a str,
    pub(super) request_uri: &'a str,
    pub(super) verb: &'a str,
    pub(super) user: &'a User,
    pub(super) source_ips: &'a [IpAddr],
    pub(super) user_agent: &'a str,
    pub(super) request: &'a RequestInfo,
    /// Of how many bytes the texts are told at most.
    pub(super) longest: usize,
}

/// What became of a request so far, and when.
#[derive(Debug)]
pub(super) struct Outcome<'a> {
    pub(super) stage: Stage,
    /// As whom the client acts, if as somebody else.
    pub(super) impersonated: Option<&'a User>,
    /// How an object calls itself that the request sends.
    pub(super) sent: &'a Sent,
    pub(super) response_status: Option<&'a ResponseStatus>,
    pub(super) request_object: Option<&'a Value>,
    pub(super) response_object: Option<&'a Value>,
    pub(super) request_received_timestamp: &'a str,
    /// Of an arrival that of the request.
    pub(super) stage_timestamp: &'a str,
    pub(super) annotations: &'a Annotations,
}

impl Outcome<'_> {
    fn tell(&self, fields: &mut Fields<'_>) {
        if let Some(status) = self.response_status {
            fields.object(name!("responseStatus"), |fields| status.tell(fields));
        }
        if let Some(object) = self.request_object {
            fields.value(name!("requestObject"), object);
        }
        if let Some(object) = self.response_object {
            fields.value(name!("responseObject"), object);
        }
        fields.plain(name!("requestReceivedTimestamp"), self.request_received_timestamp);
        fields.plain(name!("stageTimestamp"), self.stage_timestamp);
        if !self.annotations.is_empty() {
            let annotations = self.annotations.iter();
            fields.object(name!("annotations"), |fields| {
                annotations.for_each(|(key, value)| fields.entry(key, value))
            });
        }
    }
}

/// Tells who somebody is.
fn tell_user(fields: &mut Fields<'_>, user: &User) {
    fields.text(name!("username"), &user.name);
    fields.text(name!("uid"), &user.uid);
    fields.texts(name!("groups"), &user.groups);
    if !user.extra.is_empty() {
        fields.object(name!("extra"), |fields| {
            for (key, values) in &*user.extra {
                fields.named_texts(key, values);
            }
        });
    }
}

fn cut(text: &str, longest: usize) -> &str {
    &text[..text.floor_char_boundary(longest)]
}

/// Tells what a request names in its path.
fn tell_object(fields: &mut Fields<'_>, request: &ResourceRequest, longest: usize) -> ObjectText {
    let cut = |text| cut(text, longest);
    let (mut name, mut version) = (0, 0);
    fields.object(name!("objectRef"), |fields| {
        fields.text(name!("resource"), cut(&request.resource));
        fields.text(name!("namespace"), cut(request.authorized_namespace().unwrap_or_default()));
        fields.text(name!("name"), cut(request.name.as_deref().unwrap_or_default()));
        name = fields.0.len();
        fields.text(name!("apiGroup"), cut(&request.group));
        fields.text(name!("apiVersion"), cut(&request.version));
        version = fields.0.len();
        fields.text(name!("subresource"), cut(request.subresource.as_deref().unwrap_or_default()));
    });
    ObjectText { is_named: request.name.is_some(), name, version }
}

/// What became of a request.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct ResponseStatus {
    pub(super) status: String,
    pub(super) message: String,
    pub(super) reason: String,
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
        }
    }

    fn tell(&self, fields: &mut Fields<'_>) {
        fields.object(name!("metadata"), |_| ());
        fields.text(name!("status"), &self.status);
        fields.text(name!("message"), &self.message);
        fields.text(name!("reason"), &self.reason);
        if !self.details.is_null() {
            fields.value(name!("details"), &self.details);
        }
        fields.value(name!("code"), &self.code);
    }

    /// Leaves out what was wrong.
    pub(super) fn withhold_why(&mut self) {
        self.message = String::new();
        self.details = Value::Null;
    }

    /// What became of a request without an answer.
    pub(super) fn failure(code: u16, reason: &str, message: &str) -> Self {
        let (reason, message) = (reason.to_owned(), message.to_owned());
        Self { status: "Failure".into(), message, reason, code, ..Self::default() }
    }
}
