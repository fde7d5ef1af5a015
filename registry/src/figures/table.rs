//! The series of requests, by what is asked.

use std::sync::{Arc, OnceLock};

use http::header::CONTENT_TYPE;
use http::{Method, Request};
use quarterdeck_core::metrics::{Counter, Gauge, Histogram};

use super::{Inner, group_resource, name_of};
use crate::admission::Operation;
use crate::layers::time_limit::is_long_running;
use crate::registry::Resources;
use crate::request::{RequestInfo, ResourceRequest, Verb};
use crate::resource::Resource;

const COMPONENT: &str = "apiserver";
/// How verbs are called in labels; the last is for all others.
const VERBS: [&str; 10] =
    ["GET", "LIST", "WATCH", "POST", "PUT", "PATCH", "APPLY", "DELETE", "DELETECOLLECTION", "other"];
const SCOPES: [&str; 4] = ["", "resource", "namespace", "cluster"];
/// Paths that are counted by name; all others are counted together.
const PATHS: [&str; 10] = [
    "",
    "/api",
    "/apis",
    "/healthz",
    "/livez",
    "/metrics",
    "/openapi/v2",
    "/openapi/v3",
    "/readyz",
    "/version",
];
/// The codes that the server answers with.
const CODES: [u16; 24] = [
    101, 200, 201, 202, 204, 304, 400, 401, 403, 404, 405, 406, 409, 410, 413, 415, 422, 429, 500, 501, 502,
    503, 504, 507,
];

/// What is asked, as far as labels tell.
pub(super) struct Asked<'r> {
    info: Option<&'r RequestInfo>,
    verb: usize,
    scope: usize,
    is_dry_run: bool,
    pub(super) lasts: bool,
}

impl<'r> Asked<'r> {
    pub(super) fn of<B>(info: Option<&'r RequestInfo>, request: &Request<B>) -> Self {
        let (verb, scope) = match info {
            Some(RequestInfo::Resource(asked)) => (verb_of(asked, request), scope_of(asked)),
            _ => (verb_of_path(request.method()), 0),
        };
        let is_dry_run = request.uri().query().is_some_and(|query| query.contains("dryRun="));
        Self { info, verb, scope, is_dry_run, lasts: info.is_some_and(is_long_running) }
    }

    pub(super) fn is_mutating(&self) -> bool {
        // GET, LIST and WATCH come first.
        self.verb > 2
    }
}

fn verb_of<B>(asked: &ResourceRequest, request: &Request<B>) -> usize {
    match asked.verb {
        Some(Verb::Get) => 0,
        Some(Verb::List) => 1,
        Some(Verb::Watch) => 2,
        Some(Verb::Create) => 3,
        Some(Verb::Update) => 4,
        Some(Verb::Patch) => {
            let kind = request.headers().get(CONTENT_TYPE);
            let applies = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/apply-patch"));
            if applies { 6 } else { 5 }
        }
        Some(Verb::Delete) => 7,
        Some(Verb::DeleteCollection) => 8,
        None => VERBS.len() - 1,
    }
}

fn verb_of_path(method: &Method) -> usize {
    match *method {
        Method::GET | Method::HEAD => 0,
        Method::POST => 3,
        Method::PUT => 4,
        Method::PATCH => 5,
        Method::DELETE => 7,
        _ => VERBS.len() - 1,
    }
}

fn scope_of(asked: &ResourceRequest) -> usize {
    match asked {
        _ if asked.name.is_some() || asked.verb == Some(Verb::Create) => 1,
        _ if asked.namespace.is_some() => 2,
        _ => 3,
    }
}

/// The series of all that is served.
#[derive(Default)]
pub(super) struct Table {
    resources: Option<Arc<Resources>>,
    /// In the order of the kinds, and behind them that of the paths.
    rows: Vec<Row>,
}

/// The series of a kind or a path. It takes no room before something is asked of it.
#[derive(Default)]
struct Row {
    slots: OnceLock<Box<[OnceLock<Arc<Series>>]>>,
    commits: [OnceLock<Histogram>; 3],
}

impl Table {
    pub(super) fn new(resources: Arc<Resources>) -> Self {
        let rows = resources.all().len() + PATHS.len();
        Self { rows: std::iter::repeat_with(Row::default).take(rows).collect(), resources: Some(resources) }
    }

    pub(super) fn is_of(&self, resources: &Arc<Resources>) -> bool {
        self.resources.as_ref().is_some_and(|own| Arc::ptr_eq(own, resources))
    }

    fn resources(&self) -> &[Arc<Resource>] {
        self.resources.as_ref().map_or(&[], |resources| resources.all())
    }

    fn position(&self, group: &str, version: &str, plural: &str) -> Option<usize> {
        self.resources.as_ref()?.position(group, version, plural)
    }

    /// Finds the series that a request belongs to.
    pub(super) fn series(&self, inner: &Inner, asked: &Asked<'_>) -> Arc<Series> {
        let found = match asked.info {
            Some(RequestInfo::Resource(request)) => self.of_resource(request),
            _ => None,
        };
        if let Some((row, below, name)) = found {
            let resource = &self.resources()[row];
            let count = resource.subresources.len() + 1;
            let labels = [&*resource.group, &*resource.version, &*resource.plural, name];
            return self.rows[row].series(inner, asked, (below, count), labels);
        }
        let path = match asked.info {
            Some(RequestInfo::Path(path)) => PATHS.iter().position(|known| known == path).unwrap_or_default(),
            _ => 0,
        };
        let row = &self.rows[self.resources().len() + path];
        let unknown = Asked { info: None, scope: 0, ..*asked };
        row.series(inner, &unknown, (0, 1), ["", "", "", PATHS[path]])
    }

    /// Finds a kind's row, and the number and the name of a subresource that it has (0 for none).
    fn of_resource(&self, request: &ResourceRequest) -> Option<(usize, usize, &'static str)> {
        let row = self.position(&request.group, &request.version, &request.resource)?;
        let Some(wanted) = request.subresource.as_deref() else { return Some((row, 0, "")) };
        let all = &self.resources()[row].subresources;
        let below = all.iter().position(|known| known.name() == wanted)?;
        Some((row, below + 1, all[below].name()))
    }

    /// Returns the histogram of commits of a kind, if it is served.
    pub(super) fn commits(
        &self,
        inner: &Inner,
        resource: &Resource,
        operation: Operation,
    ) -> Option<&Histogram> {
        let row = self.position(&resource.group, &resource.version, &resource.plural)?;
        let made = || inner.commits.with(&[name_of(operation), &group_resource(resource)]);
        Some(self.rows[row].commits[operation as usize].get_or_init(made))
    }
}

impl Row {
    fn series(
        &self,
        inner: &Inner,
        asked: &Asked<'_>,
        (below, subresources): (usize, usize),
        labels: [&str; 4],
    ) -> Arc<Series> {
        let size = VERBS.len() * SCOPES.len() * 2 * subresources;
        let slots = self.slots.get_or_init(|| std::iter::repeat_with(OnceLock::new).take(size).collect());
        let slot = ((below * VERBS.len() + asked.verb) * SCOPES.len() + asked.scope) * 2;
        let slot = &slots[slot + usize::from(asked.is_dry_run)];
        slot.get_or_init(|| Arc::new(Series::new(inner, asked, labels))).clone()
    }
}

/// The series that requests of one kind, verb and scope belong to.
pub(super) struct Series {
    labels: [Box<str>; 8],
    codes: [OnceLock<Counter>; CODES.len()],
    pub(super) duration: Histogram,
    /// Of requests that read.
    pub(super) size: Option<Histogram>,
    /// Of requests that last.
    pub(super) lasting: Option<Gauge>,
}

impl Series {
    fn new(inner: &Inner, asked: &Asked<'_>, [group, version, resource, below]: [&str; 4]) -> Self {
        let (verb, scope) = (VERBS[asked.verb], SCOPES[asked.scope]);
        let dry_run = if asked.is_dry_run { "All" } else { "" };
        let all = [verb, dry_run, group, version, resource, below, scope, COMPONENT];
        let most = [verb, group, version, resource, below, scope, COMPONENT];
        Self {
            labels: all.map(Into::into),
            codes: Default::default(),
            duration: inner.durations.with(&all),
            size: (!asked.is_mutating() && !asked.lasts).then(|| inner.sizes.with(&most)),
            lasting: asked.lasts.then(|| inner.lasting.with(&most)),
        }
    }

    /// Counts an answer.
    pub(super) fn count(&self, inner: &Inner, code: u16) {
        let counter = |code: &str| {
            let labels: Vec<&str> = self.labels.iter().map(|label| &**label).chain([code]).collect();
            inner.requests.with(&labels)
        };
        match CODES.iter().position(|known| *known == code) {
            Some(index) => self.codes[index].get_or_init(|| counter(&code.to_string())).inc(),
            // What a node answers is passed on.
            None => counter("other").inc(),
        }
    }
}
