//! All groups, versions and kinds in one document: `APIGroupDiscoveryList` of `apidiscovery.k8s.io`.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header};
use serde_json::{Map, Value, json};

use super::{Group, accepted, etag, subresources, verbs};
use crate::body::Body;
use crate::negotiate::MediaRange;
use crate::resource::{Resource, Subresource};

/// The versions in which the document is answered; but for their name they are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    V2,
    V2Beta1,
}

impl Form {
    /// Returns the form that a client prefers to the plain documents.
    pub(super) fn wanted(headers: &HeaderMap) -> Option<Self> {
        let ranges = accepted(headers);
        let first = ranges.iter().find_map(|range| match range.parameter("as") {
            None => Some(None),
            Some(_) => Self::of(range).map(Some),
        });
        first.flatten()
    }

    fn of(range: &MediaRange<'_>) -> Option<Self> {
        let is_json = matches!(range.media_type, "application/json" | "application/*" | "*/*");
        let is_list = range.parameter("as") == Some("APIGroupDiscoveryList");
        if !is_json || !is_list || range.parameter("g") != Some("apidiscovery.k8s.io") {
            return None;
        }
        match range.parameter("v")? {
            "v2" => Some(Self::V2),
            "v2beta1" => Some(Self::V2Beta1),
            _ => None,
        }
    }

    fn api_version(self) -> &'static str {
        match self {
            Self::V2 => "apidiscovery.k8s.io/v2",
            Self::V2Beta1 => "apidiscovery.k8s.io/v2beta1",
        }
    }

    /// Clients tell from the declared type that they got what they asked for.
    fn content_type(self) -> &'static str {
        match self {
            Self::V2 => "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
            Self::V2Beta1 => "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
        }
    }
}

/// The document, ready to be sent.
#[derive(Debug)]
pub(super) struct Aggregated {
    items: Bytes,
    hash: String,
}

impl Aggregated {
    /// Makes the document of the core group, or that of all other groups.
    pub(super) fn new(groups: &[Group<'_>], is_core: bool) -> Self {
        let chosen = groups.iter().filter(|group| group.name.is_empty() == is_core);
        let items = Value::Array(chosen.map(group_entry).collect()).to_string();
        Self { hash: etag::hash(items.as_bytes()), items: items.into() }
    }

    /// Answers with the document, unless the client has it.
    pub(super) fn answer(&self, form: Form, headers: &HeaderMap, pretty: bool) -> Response<Body> {
        let mut answer = if etag::is_known(headers, &self.hash) {
            etag::not_modified()
        } else {
            let mut answer = Response::new(Body::full(self.text(form, pretty)));
            let content_type = HeaderValue::from_static(form.content_type());
            answer.headers_mut().insert(header::CONTENT_TYPE, content_type);
            answer
        };
        answer.headers_mut().insert(header::ETAG, etag::tag(&self.hash));
        answer.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
        answer
    }

    fn text(&self, form: Form, pretty: bool) -> Vec<u8> {
        let mut text = format!(
            "{{\"kind\":\"APIGroupDiscoveryList\",\"apiVersion\":\"{}\",\"metadata\":{{}},\"items\":",
            form.api_version()
        )
        .into_bytes();
        text.extend_from_slice(&self.items);
        text.push(b'}');
        if !pretty {
            return text;
        }
        let value: Value = serde_json::from_slice(&text).expect("the text was written here");
        serde_json::to_vec_pretty(&value).expect("a JSON value can be written")
    }
}

fn group_entry(group: &Group<'_>) -> Value {
    let versions: Vec<Value> = group
        .versions
        .iter()
        .map(|version| {
            let kinds = version.kinds.iter().map(|resource| kind_entry(resource));
            json!({"version": version.name, "resources": kinds.collect::<Vec<_>>(), "freshness": "Current"})
        })
        .collect();
    let mut metadata = Map::new();
    if !group.name.is_empty() {
        metadata.insert("name".into(), group.name.into());
    }
    metadata.insert("creationTimestamp".into(), Value::Null);
    json!({"metadata": metadata, "versions": versions})
}

fn kind_entry(resource: &Resource) -> Value {
    let mut entry = json!({
        "resource": resource.plural,
        "responseKind": kind(&resource.group, &resource.version, &resource.kind),
        "scope": if resource.is_namespaced() { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular,
        "verbs": verbs(resource),
    });
    for (member, names) in [("shortNames", &resource.short_names), ("categories", &resource.categories)] {
        if !names.is_empty() {
            entry[member] = names.iter().map(AsRef::as_ref).collect::<Vec<&str>>().into();
        }
    }
    let below = subresources(resource);
    if !below.is_empty() {
        entry["subresources"] = below.into_iter().map(|one| subresource_entry(resource, one)).collect();
    }
    entry
}

fn subresource_entry(resource: &Resource, subresource: Subresource) -> Value {
    let (group, name, of) =
        subresource.kind().unwrap_or((&resource.group, &resource.version, &resource.kind));
    json!({
        "subresource": subresource.name(), "responseKind": kind(group, name, of),
        "verbs": subresource.verbs().iter().map(|verb| verb.as_str()).collect::<Vec<_>>(),
    })
}

fn kind(group: &str, version: &str, kind: &str) -> Value {
    json!({"group": group, "version": version, "kind": kind})
}
