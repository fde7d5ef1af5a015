//! Overload: who is served first, and who waits or is refused, when more is asked than can be done.
//!
//! [`Fairness`] is upstream's priority and fairness (`k8s.io/apiserver/pkg/util/flowcontrol`) with the levels and schemas
//! that every cluster has. A request's schema says which level it belongs to and which flow; levels have seats of their own, so
//! that leases, nodes and leader election go on while somebody floods the server, and within a level flows take turns. What
//! finds no room waits in a queue for a quarter of its time, and is then told to come back later. Requests that last
//! (logs) are not counted; a watch is until it has begun.

mod classification;
mod configuration;
mod figures;
mod lending;
mod level;
mod stored;
mod work;

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use pin_project_lite::pin_project;
use quarterdeck_core::component::Stop;
use tokio::time::Instant;
use tower::{Layer, Service};

use super::RequestBody;
use super::time_limit::{TimeLimit, is_long_running};
use crate::body::Body;
use crate::cache::{Cache, World};
use crate::request::{RequestInfo, ResourceRequest, Verb};
use crate::status::Status;
use crate::user::{ANONYMOUS, UNAUTHENTICATED, User};
use classification::{flow_of, schema_of};
use configuration::{LEVELS, SCHEMAS};
use figures::{Refusals, Refused};
use lending::Part;
use level::{Admitted, Level, Permit};
pub(crate) use stored::bootstrap;

/// How often the seats are shared out anew.
const PERIOD: Duration = Duration::from_secs(10);
/// How much of its time a request may wait for a seat.
const PATIENCE: u32 = 4;

const SCHEMA_UID: HeaderName = HeaderName::from_static("x-kubernetes-pf-flowschema-uid");
const LEVEL_UID: HeaderName = HeaderName::from_static("x-kubernetes-pf-prioritylevel-uid");

/// The layer that limits how many requests are served at a time. Cheap to clone; clones share their seats.
#[derive(Debug, Clone)]
pub struct Fairness(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Of each of [`LEVELS`]; absent if its requests are served at once.
    levels: Vec<Option<Arc<Level>>>,
    /// The level of each of [`SCHEMAS`].
    level_of: Vec<usize>,
    parts: Vec<Part>,
    /// Of each of [`SCHEMAS`].
    refusals: Vec<Refusals>,
    /// Keeps clients from finding flows that share all queues with another.
    seed: u64,
    /// What the objects of each schema and of its level are known by, once they are.
    uids: OnceLock<Vec<Uids>>,
    cache: Cache,
}

/// What an answer says about how its request was classified.
#[derive(Debug, Clone)]
struct Uids {
    schema: HeaderValue,
    level: HeaderValue,
}

impl Fairness {
    /// Makes a layer with so many seats for all levels together. The cache tells how much work a list is, the seed deals
    /// the queues.
    #[must_use]
    pub fn new(seats: usize, cache: Cache, seed: u64) -> Self {
        let limited = LEVELS.iter().filter_map(|level| level.limited.as_ref());
        let parts = lending::parts(seats, limited);
        let mut nominal = parts.iter().map(|part| part.nominal);
        let levels = LEVELS.iter().map(|level| {
            let limited = level.limited.as_ref()?;
            Some(Arc::new(Level::new(nominal.next()?, limited.queuing)))
        });
        let levels = levels.collect();
        let level = |name: &str| LEVELS.iter().position(|level| level.name == name).unwrap_or_default();
        let level_of = SCHEMAS.iter().map(|schema| level(schema.level)).collect();
        let refusals = std::iter::repeat_with(Refusals::default).take(SCHEMAS.len()).collect();
        let uids = OnceLock::new();
        Self(Arc::new(Inner { levels, level_of, parts, refusals, seed, uids, cache }))
    }

    /// Makes a layer that serves every request at once, and counts none.
    #[must_use]
    pub fn off(cache: Cache) -> Self {
        let (levels, level_of, parts) = Default::default();
        let refusals = Vec::new();
        Self(Arc::new(Inner { levels, level_of, parts, refusals, seed: 0, uids: OnceLock::new(), cache }))
    }

    fn is_off(&self) -> bool {
        self.0.levels.is_empty()
    }

    /// Learns what the stored levels and schemas are called. If they are not stored, answers do not name them.
    pub(crate) fn learn(&self, world: &World) {
        let uid = |path: &str, name: &str| {
            let object = world.get(&format!("/registry/{path}/{name}"))?;
            HeaderValue::from_str(&object.header.uid).ok()
        };
        let uids = SCHEMAS.iter().map(|schema| {
            let level = uid("prioritylevelconfigurations", schema.level)?;
            Some(Uids { schema: uid("flowschemas", schema.name)?, level })
        });
        if let Some(uids) = uids.collect() {
            let _ = self.0.uids.set(uids);
        }
    }

    /// Shares the seats out anew every ten seconds, until the server stops.
    pub(crate) async fn run(self, mut stop: Stop) {
        if self.is_off() {
            return;
        }
        let mut parts = self.0.parts.clone();
        while stop.or(tokio::time::sleep(PERIOD)).await.is_some() {
            self.share_out(&mut parts);
        }
    }

    fn share_out(&self, parts: &mut [Part]) {
        let levels: Vec<_> = self.0.levels.iter().flatten().collect();
        let peaks: Vec<_> = levels.iter().map(|level| level.take_peak()).collect();
        for (level, limit) in levels.iter().zip(lending::share_out(parts, &peaks)) {
            level.set_limit(limit);
        }
    }

    /// Finds a seat for a request, or a place to wait for one.
    fn admit(
        &self,
        user: Option<&User>,
        info: &RequestInfo,
        request: &Request<RequestBody>,
    ) -> (Admission, usize) {
        let anonymous;
        let user = match user {
            Some(user) => user,
            None => {
                let groups = vec![UNAUTHENTICATED.to_owned()];
                anonymous = User { name: ANONYMOUS.into(), groups, ..User::default() };
                &anonymous
            }
        };
        let schema = schema_of(user, info, request.method().as_str());
        let Some(level) = &self.0.levels[self.0.level_of[schema]] else { return (Admission::Free, schema) };
        let flow = flow_of(&SCHEMAS[schema], user, info, self.0.seed);
        let seats = work::seats(&self.0.cache, info, request.uri(), level.widest());
        (Admission::Of(level.admit(flow, seats)), schema)
    }

    fn mark(&self, headers: &mut HeaderMap, schema: usize) {
        if let Some(Uids { schema, level }) = self.0.uids.get().map(|uids| &uids[schema]) {
            headers.insert(SCHEMA_UID, schema.clone());
            headers.insert(LEVEL_UID, level.clone());
        }
    }
}

enum Admission {
    /// Its level limits nothing.
    Free,
    Of(Admitted),
}

/// Tells a client to come back later.
fn too_many() -> Response<Body> {
    Status::too_many_requests().into_response()
}

fn is_watch(info: &RequestInfo) -> bool {
    matches!(info, RequestInfo::Resource(ResourceRequest { verb: Some(Verb::Watch), .. }))
}

impl<S> Layer<S> for Fairness {
    type Service = Fair<S>;

    fn layer(&self, inner: S) -> Fair<S> {
        Fair { fairness: self.clone(), inner }
    }
}

/// A service behind [`Fairness`].
#[derive(Debug, Clone)]
pub struct Fair<S> {
    fairness: Fairness,
    inner: S,
}

impl<S> Service<Request<RequestBody>> for Fair<S>
where
    S: Service<Request<RequestBody>, Response = Response<Body>> + Clone,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = FairFuture<S>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<RequestBody>) -> FairFuture<S> {
        let info = match RequestInfo::of(&mut request) {
            Ok(info) => info,
            Err(status) => {
                return FairFuture {
                    state: State::Refused { answer: Some(status.into_response()) },
                    seat: None,
                };
            }
        };
        let is_watch = is_watch(&info);
        if self.fairness.is_off() || (!is_watch && is_long_running(&info)) {
            return FairFuture { state: State::Served { answer: self.inner.call(request) }, seat: None };
        }
        let (admission, schema) = self.fairness.admit(request.extensions().get(), &info, &request);
        let limit = request.extensions().get().copied().unwrap_or_default();
        let mut seat = Seat { fairness: self.fairness.clone(), schema, is_watch, limit, permit: None };
        let state = match admission {
            Admission::Free => State::Served { answer: self.inner.call(request) },
            Admission::Of(Admitted::Seated(permit)) => {
                seat.permit = Some(permit);
                State::Served { answer: self.inner.call(request) }
            }
            Admission::Of(Admitted::Queued(waiting)) => {
                let TimeLimit(limit) = limit;
                // The clone that was polled ready serves the request; the new one takes its place.
                let fresh = self.inner.clone();
                let inner = std::mem::replace(&mut self.inner, fresh);
                let wait = Box::pin(waiting.wait(limit / PATIENCE));
                State::Queued { wait, rest: Some((inner, request)) }
            }
            Admission::Of(Admitted::Refused) => {
                self.fairness.0.refuse(schema, Refused::NoRoom);
                State::Refused { answer: Some(too_many()) }
            }
        };
        FairFuture { state, seat: Some(seat) }
    }
}

/// What a counted request goes by.
struct Seat {
    fairness: Fairness,
    schema: usize,
    is_watch: bool,
    limit: TimeLimit,
    permit: Option<Permit>,
}

impl Seat {
    /// Marks an answer, and keeps the seats of one that is still to be written.
    fn finish(mut self, mut answer: Response<Body>) -> Response<Body> {
        self.fairness.mark(answer.headers_mut(), self.schema);
        match self.permit.take() {
            // A watch has begun; what is there already costs nothing more.
            Some(permit) if !self.is_watch && answer.body().is_long() => {
                let TimeLimit(limit) = self.limit;
                let permit = permit.for_stream(Instant::now() + limit);
                answer.map(|body| body.holding(permit))
            }
            _ => answer,
        }
    }
}

pin_project! {
    /// The answer of a [`Fair`] service, or a refusal.
    pub struct FairFuture<S>
    where
        S: Service<Request<RequestBody>>,
    {
        #[pin]
        state: State<S>,
        seat: Option<Seat>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S>
    where
        S: Service<Request<RequestBody>>,
    {
        Refused { answer: Option<Response<Body>> },
        Queued { wait: BoxFuture<'static, Option<Permit>>, rest: Option<(S, Request<RequestBody>)> },
        Served { #[pin] answer: S::Future },
    }
}

impl<S> Future for FairFuture<S>
where
    S: Service<Request<RequestBody>, Response = Response<Body>>,
{
    type Output = Result<Response<Body>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let answer = loop {
            let next = match this.state.as_mut().project() {
                StateProjection::Refused { answer } => {
                    break answer.take().expect("a future is not polled after it is ready");
                }
                StateProjection::Served { answer } => break ready!(answer.poll(cx))?,
                StateProjection::Queued { wait, rest } => match ready!(wait.as_mut().poll(cx)) {
                    None => {
                        if let Some(seat) = this.seat.as_ref() {
                            seat.fairness.0.refuse(seat.schema, Refused::TimeOut);
                        }
                        State::Refused { answer: Some(too_many()) }
                    }
                    Some(permit) => {
                        if let Some(seat) = this.seat.as_mut() {
                            seat.permit = Some(permit);
                        }
                        let (mut inner, request) =
                            rest.take().expect("a future is not polled after it is ready");
                        State::Served { answer: inner.call(request) }
                    }
                },
            };
            this.state.set(next);
        };
        Poll::Ready(Ok(match this.seat.take() {
            Some(seat) => seat.finish(answer),
            None => answer,
        }))
    }
}
