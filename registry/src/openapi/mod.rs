//! OpenAPI: what every kind's fields are, and what can be asked of it.
//!
//! Version 3 is an index and a document per group and version; version 2 is one document, as JSON and as protobuf, for older
//! clients. All are made when the first client asks. [`paths`] writes the operations and
//! [`schemas`](crate::schema::schemas) the fields, in the words of version 3; [`v2`] puts these into the words of version 2, and
//! [`gnostic`] writes that as protobuf.

#[cfg(feature = "descriptions")]
mod descriptions;
mod document;
mod gnostic;
mod operation;
mod parameters;
mod paths;
mod v2;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, json};

use crate::body::Body;
use crate::documents::same;
use crate::negotiate::accepted;
use crate::request::Query;
use crate::resource::Resource;
use crate::status::Status;

use document::Document;

/// Where the documents of version 3 are.
const ROOT: &str = "/openapi/v3";
/// Where the document of version 2 is.
const V2: &str = "/openapi/v2";
/// How clients ask for the protobuf of version 2: the first name is how it is answered, because the others are no media
/// types by the letter.
const V2_PROTOBUF: [&str; 3] = [
    "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v2.v1+protobuf",
];

/// The documents about a set of kinds.
#[derive(Debug)]
pub(crate) struct OpenApi {
    /// By path below the root, such as `apis/apps/v1`.
    groups: BTreeMap<String, Arc<Group>>,
    index: OnceLock<Document>,
    /// As JSON and as protobuf.
    v2: [OnceLock<Document>; 2],
}

/// A version of a group, and its document.
#[derive(Debug)]
struct Group {
    kinds: Vec<Arc<Resource>>,
    document: OnceLock<Document>,
}

impl OpenApi {
    /// Prepares the documents of these kinds. What `last` has about groups that have not changed is kept.
    pub(crate) fn new(resources: &[Arc<Resource>], last: Option<&Self>) -> Self {
        let mut groups: BTreeMap<String, Vec<Arc<Resource>>> = BTreeMap::new();
        for resource in resources {
            groups.entry(paths::root(resource)).or_default().push(resource.clone());
        }
        let keep = |path: String, kinds: Vec<Arc<Resource>>| {
            let known = last.and_then(|last| last.groups.get(&path));
            let group = match known.filter(|known| same(&known.kinds, &kinds)) {
                Some(known) => known.clone(),
                None => Arc::new(Group { kinds, document: OnceLock::new() }),
            };
            (path, group)
        };
        let groups = groups.into_iter().map(|(path, kinds)| keep(path, kinds)).collect();
        Self { groups, index: OnceLock::new(), v2: Default::default() }
    }

    /// Returns whether the document that a path answers with is made, or there is none.
    pub(crate) fn is_made(&self, path: &str, headers: &HeaderMap) -> bool {
        match self.wanted(path, headers) {
            Some(Wanted::Group(group)) => group.document.get().is_some(),
            Some(Wanted::Index) => self.index.get().is_some(),
            Some(Wanted::V2Json) => self.v2[0].get().is_some(),
            Some(Wanted::V2Protobuf) => self.v2[1].get().is_some(),
            None => true,
        }
    }

    /// Makes the document that a path answers with. Takes long.
    pub(crate) fn make(&self, path: &str, headers: &HeaderMap) {
        match self.wanted(path, headers) {
            Some(Wanted::Group(group)) => group.document(),
            Some(Wanted::Index) => self.index(),
            Some(Wanted::V2Json) => self.v2_json(),
            Some(Wanted::V2Protobuf) => self.v2_protobuf(),
            None => return,
        };
    }

    fn wanted(&self, path: &str, headers: &HeaderMap) -> Option<Wanted<'_>> {
        if path == V2 {
            return wants_protobuf(headers)
                .map(|protobuf| if protobuf { Wanted::V2Protobuf } else { Wanted::V2Json });
        }
        match path.strip_prefix(ROOT)? {
            "" => Some(Wanted::Index),
            below => self.groups.get(below.strip_prefix('/')?).map(|group| Wanted::Group(group)),
        }
    }

    /// Answers a path if a document is there.
    pub(crate) fn answer(
        &self,
        path: &str,
        headers: &HeaderMap,
        query: &Query,
        now: Timestamp,
    ) -> Option<Response<Body>> {
        if path == V2 {
            return Some(self.answer_v2(headers));
        }
        let below = path.strip_prefix(ROOT)?;
        if below.is_empty() {
            return Some(self.index().answer("application/json", headers));
        }
        let path = below.strip_prefix('/')?;
        let group = self.groups.get(path)?;
        if !accepts_json(headers) {
            return Some(Status::not_acceptable(ONLY_JSON).into_response());
        }
        Some(group.answer(path, headers, query.non_empty("hash"), now))
    }

    fn index(&self) -> &Document {
        let entry = |(path, group): (&String, &Arc<Group>)| {
            (path.clone(), json!({"serverRelativeURL": address(path, &group.document().hash)}))
        };
        self.index.get_or_init(|| {
            let paths: Map<_, _> = self.groups.iter().map(entry).collect();
            Document::new(json!({"paths": paths}).to_string().as_bytes())
        })
    }

    fn answer_v2(&self, headers: &HeaderMap) -> Response<Body> {
        match wants_protobuf(headers) {
            Some(true) => self.v2_protobuf().answer(V2_PROTOBUF[0], headers),
            Some(false) => self.v2_json().answer("application/json", headers),
            None => Status::not_acceptable(format!(
                "only the following media types are accepted: application/json, {}",
                V2_PROTOBUF[0]
            ))
            .into_response(),
        }
    }

    fn v2_json(&self) -> &Document {
        self.v2[0].get_or_init(|| {
            let documents = self.groups.values().map(|group| group.document().bytes());
            Document::new(v2::document(documents).to_string().as_bytes())
        })
    }

    fn v2_protobuf(&self) -> &Document {
        self.v2[1].get_or_init(|| {
            let document = serde_json::from_slice(&self.v2_json().bytes());
            Document::new(&gnostic::encode(&document.expect("the text was written here")))
        })
    }
}

/// A document.
enum Wanted<'a> {
    Group(&'a Group),
    Index,
    V2Json,
    V2Protobuf,
}

/// Returns whether a client wants version 2 as protobuf; nothing if it accepts neither that nor JSON.
fn wants_protobuf(headers: &HeaderMap) -> Option<bool> {
    let ranges = accepted(headers);
    if ranges.is_empty() {
        return Some(false);
    }
    ranges.iter().find_map(|range| match range.media_type {
        "application/json" | "application/*" | "*/*" => Some(false),
        other => V2_PROTOBUF.contains(&other).then_some(true),
    })
}

const ONLY_JSON: &str = "only the following media types are accepted: application/json";

impl Group {
    fn document(&self) -> &Document {
        self.document.get_or_init(|| {
            let kinds: Vec<&Resource> = self.kinds.iter().map(AsRef::as_ref).collect();
            Document::new(paths::document(&kinds).to_string().as_bytes())
        })
    }

    /// Answers with the document. An address that names its hash can be kept for ever, and leads on when the hash is old.
    fn answer(&self, path: &str, headers: &HeaderMap, hash: Option<&str>, now: Timestamp) -> Response<Body> {
        let document = self.document();
        match hash {
            None => document.answer("application/json", headers),
            Some(hash) if hash == document.hash => {
                let mut answer = document.answer("application/json", headers);
                let headers = answer.headers_mut();
                headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
                if let Some(date) = in_a_year(now) {
                    headers.insert(header::EXPIRES, date);
                }
                answer
            }
            Some(_) => {
                let mut answer = Response::new(Body::empty());
                *answer.status_mut() = StatusCode::MOVED_PERMANENTLY;
                let address = HeaderValue::from_str(&address(path, &document.hash));
                answer.headers_mut().insert(header::LOCATION, address.expect("a path is a header's value"));
                answer
            }
        }
    }
}

fn address(path: &str, hash: &str) -> String {
    format!("{ROOT}/{path}?hash={hash}")
}

fn in_a_year(now: Timestamp) -> Option<HeaderValue> {
    let then = now.checked_add(SignedDuration::from_hours(365 * 24)).ok()?;
    HeaderValue::from_str(&then.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()).ok()
}

fn accepts_json(headers: &HeaderMap) -> bool {
    let ranges = accepted(headers);
    let is_json = |media_type| matches!(media_type, "application/json" | "application/*" | "*/*");
    ranges.is_empty() || ranges.iter().any(|range| is_json(range.media_type))
}
