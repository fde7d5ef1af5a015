//! OpenAPI v3: an index, and a document per group and version, made when the first client asks.
//!
//! Types and names, no prose. Documents are kept compressed: clients read them rarely, and they are large.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use flate2::Compression;
use flate2::bufread::{GzDecoder, GzEncoder};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::body::Body;
use crate::negotiate::PATCHES;
use crate::registry::Resources;
use crate::request::Verb;
use crate::resource::{Backing, Resource, Subresource};
use crate::schema;

/// Where the documents are.
const ROOT: &str = "/openapi/v3";

/// The documents of a server.
#[derive(Debug)]
pub(crate) struct OpenApi {
    resources: Arc<Resources>,
    /// By path below the root, such as `apis/apps/v1`.
    documents: BTreeMap<String, Arc<OnceLock<Document>>>,
}

/// A document, compressed, and what tells its versions apart.
#[derive(Debug)]
struct Document {
    gzip: Bytes,
    hash: String,
}

impl OpenApi {
    /// Prepares the documents of these kinds.
    pub(crate) fn new(resources: Arc<Resources>) -> Self {
        let paths = resources.all().iter().map(|resource| (path_of(resource), Arc::default()));
        let documents = paths.collect();
        Self { resources, documents }
    }

    /// Prepares the documents of other kinds, with those that say the same as before.
    pub(crate) fn revised(&self, resources: Arc<Resources>) -> Self {
        let mut revised = Self::new(resources);
        for (path, document) in &mut revised.documents {
            let before = self.documents.get(path).filter(|_| self.is_same(&revised.resources, path));
            if let Some(before) = before {
                *document = before.clone();
            }
        }
        revised
    }

    /// Whether a document is about the very same kinds there.
    fn is_same(&self, other: &Resources, path: &str) -> bool {
        let (mut here, mut there) = (kinds_of(&self.resources, path), kinds_of(other, path));
        loop {
            match (here.next(), there.next()) {
                (None, None) => return true,
                (Some(one), Some(other)) if Arc::ptr_eq(one, other) => {}
                _ => return false,
            }
        }
    }

    /// Answers a path below the root; `None` for any other.
    pub(crate) fn answer(&self, path: &str, headers: &HeaderMap) -> Option<Response<Body>> {
        let below = path.strip_prefix(ROOT)?;
        if below.is_empty() {
            return Some(json_answer(Bytes::from(self.index().to_string())));
        }
        let path = below.strip_prefix('/')?;
        let document = self.document(path)?;
        Some(document.answer(headers))
    }

    fn index(&self) -> Value {
        let mut paths = Map::new();
        for path in self.documents.keys() {
            if let Some(document) = self.document(path) {
                let url = format!("{ROOT}/{path}?hash={}", document.hash);
                paths.insert(path.clone(), json!({"serverRelativeURL": url}));
            }
        }
        json!({"paths": paths})
    }

    fn document(&self, path: &str) -> Option<&Document> {
        let cell = self.documents.get(path)?;
        Some(cell.get_or_init(|| {
            let kinds: Vec<&Resource> = kinds_of(&self.resources, path).map(AsRef::as_ref).collect();
            Document::new(&document(&kinds))
        }))
    }
}

/// The kinds that a document is about.
fn kinds_of<'a>(resources: &'a Resources, path: &'a str) -> impl Iterator<Item = &'a Arc<Resource>> {
    resources.all().iter().filter(move |kind| path_of(kind) == path)
}

impl Document {
    fn new(document: &Value) -> Self {
        let text = document.to_string();
        let hash = Sha256::digest(text.as_bytes())[..16].iter().map(|byte| format!("{byte:02X}")).collect();
        let mut gzip = Vec::new();
        GzEncoder::new(text.as_bytes(), Compression::fast())
            .read_to_end(&mut gzip)
            .expect("compressing memory does not fail");
        Self { gzip: gzip.into(), hash }
    }

    fn answer(&self, headers: &HeaderMap) -> Response<Body> {
        let etag = format!("\"{}\"", self.hash);
        let given = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
        let mut answer = if given.is_some_and(|given| given.split(',').any(|one| one.trim() == etag)) {
            let mut answer = Response::new(Body::empty());
            *answer.status_mut() = StatusCode::NOT_MODIFIED;
            answer
        } else if accepts_gzip(headers) {
            let mut answer = json_answer(self.gzip.clone());
            answer.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            answer
        } else {
            let mut text = Vec::new();
            GzDecoder::new(&self.gzip[..]).read_to_end(&mut text).expect("what was compressed here is whole");
            json_answer(text.into())
        };
        let etag = HeaderValue::from_str(&etag).expect("a quoted hash is a header's value");
        answer.headers_mut().insert(header::ETAG, etag);
        answer.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        answer
    }
}

fn json_answer(text: Bytes) -> Response<Body> {
    let mut answer = Response::new(Body::full(text));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    accepted.is_some_and(|accepted| accepted.split(',').any(|one| one.trim().starts_with("gzip")))
}

/// The path of a kind's document.
fn path_of(resource: &Resource) -> String {
    if resource.group.is_empty() {
        format!("api/{}", resource.version)
    } else {
        format!("apis/{}/{}", resource.group, resource.version)
    }
}

/// Makes the document of a group's version.
fn document(kinds: &[&Resource]) -> Value {
    let mut paths = Map::new();
    for resource in kinds {
        add_paths(resource, &mut paths);
    }
    let mut roots: Vec<&schema::Structure> = kinds.iter().map(|resource| &*resource.structure).collect();
    let others = [
        ("autoscaling", "v1", "Scale"),
        ("authentication.k8s.io", "v1", "TokenRequest"),
        ("", "v1", "DeleteOptions"),
        ("", "v1", "Status"),
    ];
    roots.extend(others.iter().filter_map(|(group, version, kind)| schema::builtin(group, version, kind)));
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.33.0"},
        "paths": paths,
        "components": {"schemas": schema::schemas(&roots)},
    })
}

fn add_paths(resource: &Resource, paths: &mut Map<String, Value>) {
    let root = format!("/{}", path_of(resource));
    let collection = match resource.is_namespaced() {
        true => format!("{root}/namespaces/{{namespace}}/{}", resource.plural),
        false => format!("{root}/{}", resource.plural),
    };
    let has = |verb: &Verb| resource.verbs.contains(verb);
    let place = if resource.is_namespaced() { vec![path_parameter("namespace")] } else { Vec::new() };
    let mut item = Map::new();
    insert(&mut item, "get", has(&Verb::List), || operation(resource, "list", resource, None, &LIST));
    insert(&mut item, "post", has(&Verb::Create), || {
        operation(resource, "post", resource, Some("*/*"), &WRITE)
    });
    insert(&mut item, "delete", has(&Verb::DeleteCollection), || {
        operation(resource, "deletecollection", resource, None, &LIST)
    });
    add(paths, &collection, item, place.clone());
    if resource.is_namespaced() && has(&Verb::List) {
        let mut item = Map::new();
        item.insert("get".into(), operation(resource, "list", resource, None, &LIST));
        add(paths, &format!("{root}/{}", resource.plural), item, Vec::new());
    }
    if resource.backing != Backing::Store {
        return;
    }
    let named = [place, vec![path_parameter("name")]].concat();
    let path = format!("{collection}/{{name}}");
    add(paths, &path, object_item(resource, resource.verbs), named.clone());
    for subresource in &resource.subresources {
        let item = match subresource {
            Subresource::Log => {
                let mut item = Map::new();
                item.insert("get".into(), operation(resource, "connect", resource, None, &LOG));
                item
            }
            other => object_item(resource, other.verbs()),
        };
        add(paths, &format!("{path}/{}", subresource.name()), item, named.clone());
    }
}

/// The operations on one object.
fn object_item(resource: &Resource, verbs: &[Verb]) -> Map<String, Value> {
    let mut item = Map::new();
    let has = |verb: Verb| verbs.contains(&verb);
    insert(&mut item, "get", has(Verb::Get), || operation(resource, "get", resource, None, &[]));
    insert(&mut item, "put", has(Verb::Update), || operation(resource, "put", resource, Some("*/*"), &WRITE));
    insert(&mut item, "post", has(Verb::Create), || {
        operation(resource, "post", resource, Some("*/*"), &WRITE)
    });
    insert(&mut item, "delete", has(Verb::Delete), || {
        operation(resource, "delete", resource, Some("delete"), &DELETE)
    });
    insert(&mut item, "patch", has(Verb::Patch), || {
        operation(resource, "patch", resource, Some("patch"), &PATCH)
    });
    item
}

fn insert(item: &mut Map<String, Value>, method: &str, served: bool, make: impl FnOnce() -> Value) {
    if served {
        item.insert(method.into(), make());
    }
}

fn add(paths: &mut Map<String, Value>, path: &str, mut item: Map<String, Value>, parameters: Vec<Value>) {
    if item.is_empty() {
        return;
    }
    let all = [parameters, vec![query_parameter(&("pretty", "string"))]].concat();
    item.insert("parameters".into(), all.into());
    paths.insert(path.into(), Value::Object(item));
}

const WRITE: [(&str, &str); 3] =
    [("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")];
const PATCH: [(&str, &str); 4] =
    [("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string"), ("force", "boolean")];
const DELETE: [(&str, &str); 4] = [
    ("dryRun", "string"),
    ("gracePeriodSeconds", "integer"),
    ("orphanDependents", "boolean"),
    ("propagationPolicy", "string"),
];
const LIST: [(&str, &str); 10] = [
    ("allowWatchBookmarks", "boolean"),
    ("continue", "string"),
    ("fieldSelector", "string"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    ("timeoutSeconds", "integer"),
    ("watch", "boolean"),
];
const LOG: [(&str, &str); 7] = [
    ("container", "string"),
    ("follow", "boolean"),
    ("limitBytes", "integer"),
    ("previous", "boolean"),
    ("sinceSeconds", "integer"),
    ("tailLines", "integer"),
    ("timestamps", "boolean"),
];

fn operation(
    resource: &Resource,
    action: &str,
    kind: &Resource,
    body: Option<&str>,
    parameters: &[(&str, &str)],
) -> Value {
    let reference = |name: &str| json!({"$ref": format!("#/components/schemas/{name}")});
    let answer = reference(&kind.structure.name);
    let mut operation = json!({
        "tags": [tag(resource)],
        "parameters": parameters.iter().map(query_parameter).collect::<Vec<_>>(),
        "responses": {"200": {"description": "OK", "content": {"application/json": {"schema": answer}}}},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": {
            "group": resource.group, "version": resource.version, "kind": resource.kind,
        },
    });
    let content = match body {
        None => return operation,
        Some("patch") => {
            let patch = reference("io.k8s.apimachinery.pkg.apis.meta.v1.Patch");
            let types =
                PATCHES.split(", ").map(|media_type| (media_type.to_owned(), json!({"schema": patch})));
            Value::Object(types.collect())
        }
        Some("delete") => {
            json!({"*/*": {"schema": reference("io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions")}})
        }
        Some(media_type) => json!({media_type: {"schema": reference(&kind.structure.name)}}),
    };
    operation["requestBody"] = json!({"content": content});
    operation
}

/// The name by which upstream groups operations: `core_v1`, `apps_v1`.
fn tag(resource: &Resource) -> String {
    let group = match resource.group.as_ref() {
        "" => "core",
        group => group.split('.').next().unwrap_or(group),
    };
    format!("{group}_{}", resource.version)
}

fn path_parameter(name: &str) -> Value {
    json!({"name": name, "in": "path", "required": true, "schema": {"type": "string", "uniqueItems": true}})
}

fn query_parameter((name, kind): &(&str, &str)) -> Value {
    json!({"name": name, "in": "query", "schema": {"type": kind, "uniqueItems": true}})
}
