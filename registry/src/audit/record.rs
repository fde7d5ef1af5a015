//! What is told of one request, from its arrival to the end of its answer.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header};
use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;
use quarterdeck_core::clock::Clock;
use serde_json::Value;

use super::Audit;
use super::body::{Kind, Tee, Told};
use super::event::{Asked, EventText, Level, Outcome, ResponseStatus, Stage};
use super::layer::Described;
use super::policy::Verdict;
use crate::body::Body;
use crate::layers::RequestBody;
use crate::listener::PeerAddress;
use crate::notes::Notes;
use crate::user::{UNAUTHENTICATED, User};

/// What a request is called in logs. It is in the extensions of every request until the audit log has it.
#[derive(Debug, Clone)]
pub(crate) struct AuditId(pub(crate) HeaderValue);

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
/// How an answer lasts that nobody waited for.
const CLOSED: &str = "Connection closed early";
/// How many bytes of each text that a client chooses are told of a request of nobody, and how many of the addresses that it
/// says it came by: whoever has no right to write should not fill the disk.
const STRANGERS: usize = 1024;
const STRANGERS_ADDRESSES: usize = 16;
/// The code of a request whose client went away (nginx's).
const CLIENT_CLOSED: u16 = 499;

/// One request. The last event is told when it is dropped.
#[derive(Debug)]
pub(super) struct Record {
    audit: Audit,
    clock: Clock,
    notes: Arc<Notes>,
    level: Level,
    stages: Stages,
    omits_managed_fields: bool,
    is_confidential: bool,
    text: EventText,
    /// Whether nobody knows who asks.
    is_strangers: bool,
    is_deletion: bool,
    /// When it arrived, as it is written.
    received: String,
    lasts: bool,
    request: Option<(Tee, Kind)>,
    answer: Option<Answer>,
    is_over: bool,
}

/// Which of the stages are told that come later.
#[derive(Debug, Clone, Copy)]
struct Stages {
    started: bool,
    complete: bool,
    panic: bool,
}

#[derive(Debug)]
struct Answer {
    code: u16,
    /// What it says, if that is told.
    body: Option<(Tee, Kind)>,
}

impl Record {
    /// Begins to tell of a request.
    pub(super) fn begin<B>(
        audit: &Audit,
        clock: &Clock,
        (notes, request): (Arc<Notes>, &Request<B>),
        described: Described,
        verdict: &Verdict<'_>,
    ) -> Self {
        let record = Self::new(audit, clock, (notes, request), described, verdict);
        if verdict.tells(Stage::RequestReceived) {
            record.tell(Stage::RequestReceived, None);
        }
        record
    }

    /// Tells of a request that authentication refused.
    pub(super) fn refused<B>(
        audit: &Audit,
        clock: &Clock,
        request: &Request<B>,
        described: Described,
        (verdict, message): (&Verdict<'_>, &str),
    ) {
        let mut record = Self::new(audit, clock, (Arc::default(), request), described, verdict);
        record.is_over = true;
        if record.stages.started {
            let status = ResponseStatus::failure(401, "Unauthorized", message);
            record.tell(Stage::ResponseStarted, Some(&status));
        }
    }

    fn new<B>(
        audit: &Audit,
        clock: &Clock,
        (notes, request): (Arc<Notes>, &Request<B>),
        Described { info, verb, lasts }: Described,
        verdict: &Verdict<'_>,
    ) -> Self {
        let (uri, extensions) = (request.uri(), request.extensions());
        let nobody = User::default();
        let id = extensions.get::<AuditId>().and_then(|AuditId(id)| id.to_str().ok());
        let user = extensions.get().unwrap_or(&nobody);
        let is_strangers = user.name.is_empty() || user.is_in(UNAUTHENTICATED);
        let mut source_ips = source_ips(request.headers(), extensions.get().copied());
        if is_strangers {
            // The last ones are those that proxies of ours may have written.
            source_ips.drain(..source_ips.len().saturating_sub(STRANGERS_ADDRESSES));
        }
        let user_agent = request.headers().get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
        let user_agent = user_agent.unwrap_or_default();
        let asked = uri.path_and_query().map_or_else(|| Cow::from(uri.to_string()), |it| it.as_str().into());
        let text = EventText::new(&Asked {
            level: verdict.level,
            audit_id: id.unwrap_or_default(),
            request_uri: &asked,
            verb: &verb,
            user,
            source_ips: &source_ips,
            user_agent,
            request: &info,
            longest: if is_strangers { STRANGERS } else { usize::MAX },
        });
        Self {
            audit: audit.clone(),
            clock: clock.clone(),
            notes,
            level: verdict.level,
            stages: Stages {
                started: verdict.tells(Stage::ResponseStarted),
                complete: verdict.tells(Stage::ResponseComplete),
                panic: verdict.tells(Stage::Panic),
            },
            omits_managed_fields: verdict.omits_managed_fields,
            is_confidential: verdict.is_confidential,
            text,
            is_strangers,
            is_deletion: verb.starts_with("delete"),
            received: micro_time(clock.now()),
            lasts,
            request: None,
            answer: None,
            is_over: false,
        }
    }

    /// Has the request's body seen go by, if it may be told.
    pub(super) fn see_request(&mut self, request: Request<RequestBody>) -> Request<RequestBody> {
        if self.level < Level::Request || !self.text.is_of_resource() {
            return request;
        }
        let tee = Tee::default();
        self.request = Some((tee.clone(), Kind::of(request.headers())));
        request.map(|body| {
            RequestBody::new(http_body_util::BodyExt::map_frame(body, move |frame| {
                if let Some(piece) = frame.data_ref() {
                    tee.see(piece);
                }
                frame
            }))
        })
    }

    /// Tells of an answer now, or when it has been written.
    pub(super) fn see_answer(mut self, answer: Response<Body>) -> Response<Body> {
        let code = answer.status().as_u16();
        let tells_body = self.level >= Level::RequestResponse && self.text.is_of_resource() && !self.lasts;
        let is_seen = tells_body || self.wants_status(code);
        let body = is_seen.then(|| (Tee::default(), Kind::of(answer.headers())));
        if let Some(((tee, _), bytes)) = body.as_ref().zip(answer.body().bytes()) {
            tee.see(bytes);
        }
        let tee = body.as_ref().filter(|_| tells_body).map(|(tee, _)| tee.clone());
        self.answer = Some(Answer { code, body });
        if self.lasts && self.stages.started {
            self.tell(Stage::ResponseStarted, Some(&ResponseStatus::of(code, None)));
        }
        if answer.body().is_there() {
            drop(self);
            return answer;
        }
        answer.map(|content| {
            let content = match tee {
                Some(tee) => content.inspect(move |piece| tee.see(piece)),
                None => content,
            };
            content.holding(self)
        })
    }

    /// Tells that the server failed on the request.
    pub(super) fn panicked(mut self) {
        self.is_over = true;
        if self.stages.panic {
            let status = ResponseStatus::failure(500, "InternalError", "APIServer panic'd");
            self.tell(Stage::Panic, Some(&status));
        }
    }

    fn complete(&self) {
        let Some(answer) = &self.answer else {
            let status = ResponseStatus::failure(CLIENT_CLOSED, "", CLOSED);
            return self.tell(Stage::ResponseComplete, Some(&status));
        };
        let body = answer.body.as_ref().filter(|_| self.wants_status(answer.code));
        let mut status = match body.map(|(tee, kind)| tee.told(kind, false)) {
            Some(Told::All(value)) => ResponseStatus::of(answer.code, Some(&value)),
            _ => ResponseStatus::of(answer.code, None),
        };
        // Who sends nonsense is shown it, and what it was to change.
        if self.is_confidential && matches!(answer.code, 400 | 422 | 500) {
            status.withhold_why();
        }
        self.tell(Stage::ResponseComplete, Some(&status));
    }

    /// Whether an answer may be a Status: nothing else says more than its code, and it is short.
    fn wants_status(&self, code: u16) -> bool {
        !self.lasts && (code >= 400 || self.is_deletion)
    }

    fn tell(&self, stage: Stage, status: Option<&ResponseStatus>) {
        let told = |tee: &Tee, kind: &Kind| match tee.told(kind, self.omits_managed_fields) {
            Told::All(value) => Some(value),
            Told::Nothing => None,
            Told::TooLong => {
                self.notes.annotate("audit.k8s.io/truncated", "true");
                None
            }
        };
        let is_answered = stage == Stage::ResponseComplete && self.text.is_of_resource() && !self.lasts;
        let request = self.request.as_ref().filter(|_| self.notes.noted().body_is_accepted);
        let request_object = request.and_then(|(tee, kind)| told(tee, kind));
        let response_object: Option<Value> = self
            .answer
            .as_ref()
            .filter(|_| is_answered && self.level >= Level::RequestResponse)
            .and_then(|answer| answer.body.as_ref())
            .and_then(|(tee, kind)| told(tee, kind));
        let later = (stage != Stage::RequestReceived).then(|| micro_time(self.clock.now()));
        let notes = self.notes.noted();
        let outcome = Outcome {
            stage,
            impersonated: notes.impersonated.as_ref(),
            sent: &notes.sent,
            response_status: status,
            request_object: request_object.as_ref(),
            response_object: response_object.as_ref(),
            request_received_timestamp: &self.received,
            stage_timestamp: later.as_ref().unwrap_or(&self.received),
            annotations: &notes.annotations,
        };
        let event = self.text.event(&outcome);
        if self.is_strangers {
            self.audit.sink.record_stranger(event);
        } else {
            self.audit.sink.record(event);
        }
    }
}

/// Writes a time to the microsecond, as upstream does.
fn micro_time(time: Timestamp) -> String {
    const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(6));
    PRINTER.timestamp_to_string(&time)
}

impl Drop for Record {
    fn drop(&mut self) {
        if !self.is_over && self.stages.complete && !std::thread::panicking() {
            self.complete();
        }
    }
}

/// Returns where a request came from, by what proxies say and by its connection. All but the last may be made up.
fn source_ips(headers: &HeaderMap, peer: Option<PeerAddress>) -> Vec<IpAddr> {
    let mut addresses = Vec::with_capacity(1);
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(forwarded) = text(FORWARDED_FOR) {
        addresses.extend(forwarded.split(',').filter_map(|address| address.trim().parse::<IpAddr>().ok()));
    }
    let real = text(REAL_IP).and_then(|address| address.trim().parse().ok());
    addresses.extend(real.filter(|real| !addresses.contains(real)));
    let peer = peer.map(|PeerAddress(peer)| peer.ip().to_canonical());
    addresses.extend(peer.filter(|peer| addresses.last() != Some(peer)));
    addresses
}
