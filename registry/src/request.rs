//! What a request asks: its path and query, taken apart once.
//!
//! [`RequestInfo`] is what authorisation and dispatch look at. It follows `k8s.io/apiserver/pkg/endpoints/request`.

use std::borrow::Cow;
use std::sync::Arc;

use http::request::Parts;
use http::{Extensions, Method, Request, Uri};
use percent_encoding::percent_decode_str;

use crate::numbers;
use crate::status::{Result, Status};

/// What is asked of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Read one object.
    Get,
    /// Read a collection.
    List,
    /// Follow a collection.
    Watch,
    /// Make an object.
    Create,
    /// Replace an object.
    Update,
    /// Change an object.
    Patch,
    /// Delete an object.
    Delete,
    /// Delete a collection.
    DeleteCollection,
}

impl Verb {
    /// Returns the verb as authorisation and discovery write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
        }
    }
}

/// What a request asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestInfo {
    /// Something of a resource.
    Resource(ResourceRequest),
    /// A path that is no resource's, without a slash at its end.
    Path(String),
}

/// What a request asks of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceRequest {
    /// What to do; absent for a method that no verb is for.
    pub verb: Option<Verb>,
    /// The group; empty for the core group.
    pub group: String,
    /// The version.
    pub version: String,
    /// The namespace, if the path names one.
    pub namespace: Option<String>,
    /// The plural of the kind.
    pub resource: String,
    /// The object's name, if the path names one.
    pub name: Option<String>,
    /// The path below the object, if any; its further segments with slashes.
    pub subresource: Option<String>,
}

impl ResourceRequest {
    /// Returns the namespace that authorisation asks about: that of the path, and for a namespace itself its own.
    #[must_use]
    pub fn authorized_namespace(&self) -> Option<&str> {
        // A list may be narrowed down to a name, and stays one of the cluster.
        let is_list = matches!(self.verb, Some(Verb::List | Verb::Watch | Verb::DeleteCollection));
        let is_namespace = self.group.is_empty() && self.resource == "namespaces" && !is_list;
        self.namespace.as_deref().or_else(|| self.name.as_deref().filter(|_| is_namespace))
    }

    /// Returns the name of the subresource: a proxied path stands behind it, while a key of what a user is said to have
    /// (`userextras`) may hold a slash itself.
    #[must_use]
    pub fn subresource_name(&self) -> Option<&str> {
        let whole = self.subresource.as_deref()?;
        if self.resource == "userextras" { Some(whole) } else { whole.split('/').next() }
    }
}

impl RequestInfo {
    /// Returns what a request asks. It is taken apart once; then it is in the request's extensions.
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse).
    pub fn of<B>(request: &mut Request<B>) -> Result<Arc<Self>> {
        if let Some(known) = request.extensions().get::<Arc<Self>>() {
            return Ok(known.clone());
        }
        let info = Self::parse(request.method(), request.uri())?;
        Ok(Self::keep(request.extensions_mut(), info))
    }

    /// Does what [`of`](Self::of) does, for a request without its body.
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse).
    pub fn of_parts(parts: &mut Parts) -> Result<Arc<Self>> {
        if let Some(known) = parts.extensions.get::<Arc<Self>>() {
            return Ok(known.clone());
        }
        let info = Self::parse(&parts.method, &parts.uri)?;
        Ok(Self::keep(&mut parts.extensions, info))
    }

    fn keep(extensions: &mut Extensions, info: Self) -> Arc<Self> {
        let info = Arc::new(info);
        extensions.insert(info.clone());
        info
    }

    /// Takes a request's method and address apart.
    ///
    /// # Errors
    ///
    /// A Status if the path is not UTF-8 once decoded.
    pub fn parse(method: &Method, uri: &Uri) -> Result<Self> {
        let is_encoded = uri.path().contains('%');
        let mut segments = Vec::with_capacity(8);
        for segment in uri.path().split('/').filter(|segment| !segment.is_empty()) {
            let decoded = if is_encoded {
                percent_decode_str(segment).decode_utf8()
            } else {
                Ok(Cow::Borrowed(segment))
            };
            segments.push(decoded.map_err(|_| Status::bad_request("the path is not UTF-8"))?);
        }
        let (group, version, rest) = match segments.as_slice() {
            [api, version, rest @ ..] if api == "api" => (String::new(), version.to_string(), rest),
            [apis, group, version, rest @ ..] if apis == "apis" => {
                (group.to_string(), version.to_string(), rest)
            }
            _ => return Ok(Self::Path(join(&segments))),
        };
        let (legacy_watch, rest) = match rest {
            [watch, rest @ ..] if watch == "watch" && !rest.is_empty() => (true, rest),
            rest => (false, rest),
        };
        let (namespace, rest) = match rest {
            [namespaces, namespace, of_resource @ ..]
                if namespaces == "namespaces"
                    && !of_resource.is_empty()
                    && !is_namespace_subresource(of_resource) =>
            {
                (Some(namespace.to_string()), of_resource)
            }
            rest => (None, rest),
        };
        let Some((resource, rest)) = rest.split_first() else {
            return Ok(Self::Path(join(&segments)));
        };
        let name = rest.first().map(ToString::to_string);
        let subresource = (rest.len() > 1).then(|| rest[1..].join("/"));
        if legacy_watch && subresource.is_some() {
            // The old path of watches ends at the object.
            return Ok(Self::Path(join(&segments)));
        }
        // Who names an object reads it, whatever the query says.
        let watches = legacy_watch || (name.is_none() && is_watch(uri));
        let verb = verb(method, name.is_some(), watches, subresource.is_some());
        // The old path of watches has nothing else.
        let verb = verb.filter(|verb| !legacy_watch || *verb == Verb::Watch);
        Ok(Self::Resource(ResourceRequest {
            verb,
            group,
            version,
            namespace,
            resource: resource.to_string(),
            name,
            subresource,
        }))
    }
}

/// Returns whether what follows `/namespaces/x/` is a subresource of namespace x rather than a kind in it.
fn is_namespace_subresource(rest: &[Cow<'_, str>]) -> bool {
    matches!(rest, [segment] if matches!(segment.as_ref(), "status" | "finalize"))
}

fn join(segments: &[Cow<'_, str>]) -> String {
    format!("/{}", segments.join("/"))
}

fn is_watch(uri: &Uri) -> bool {
    Query::parse(uri).get("watch").is_some_and(is_true)
}

fn verb(method: &Method, named: bool, watches: bool, below: bool) -> Option<Verb> {
    Some(match *method {
        Method::GET if watches && !below => Verb::Watch,
        Method::GET if named => Verb::Get,
        Method::GET => Verb::List,
        Method::POST => Verb::Create,
        Method::PUT => Verb::Update,
        Method::PATCH => Verb::Patch,
        Method::DELETE if named => Verb::Delete,
        Method::DELETE => Verb::DeleteCollection,
        _ => return None,
    })
}

/// Returns whether a parameter's text means true, as upstream reads booleans in queries.
#[must_use]
pub fn is_true(text: &str) -> bool {
    !matches!(text.to_ascii_lowercase().as_str(), "false" | "0")
}

/// A query's parameters, decoded, in order.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Takes an address' query apart. What is not UTF-8 once decoded reads as replacement characters.
    #[must_use]
    pub fn parse(uri: &Uri) -> Self {
        let decode =
            |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
        let pairs = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decode(name), decode(value))
                })
                .collect(),
        )
    }

    /// Returns the first value of a parameter.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Returns all values of a parameter.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Returns a parameter's value unless it is absent or empty.
    #[must_use]
    pub fn non_empty(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// Returns a boolean parameter; absent is false, and so are `0` and `false`.
    #[must_use]
    pub fn flag(&self, name: &str) -> bool {
        self.get(name).is_some_and(is_true)
    }

    /// Returns a whole number.
    ///
    /// # Errors
    ///
    /// A Status in Go's words if it is none.
    pub fn integer(&self, name: &str) -> Result<Option<i64>> {
        let Some(text) = self.get(name) else { return Ok(None) };
        numbers::parse_int(text).map(Some).map_err(Status::bad_request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(method: Method, path: &str) -> RequestInfo {
        RequestInfo::parse(&method, &path.parse().unwrap()).unwrap()
    }

    fn resource(method: Method, path: &str) -> ResourceRequest {
        match parse(method, path) {
            RequestInfo::Resource(request) => request,
            other @ RequestInfo::Path(_) => panic!("{path} is no resource's: {other:?}"),
        }
    }

    #[test]
    fn a_namespaced_objects_path_names_all_parts() {
        let request = resource(Method::PATCH, "/apis/apps/v1/namespaces/ns/deployments/web/status");

        assert_eq!(request.verb, Some(Verb::Patch));
        assert_eq!((request.group.as_str(), request.version.as_str()), ("apps", "v1"));
        assert_eq!(request.namespace.as_deref(), Some("ns"));
        assert_eq!(request.resource, "deployments");
        assert_eq!(request.name.as_deref(), Some("web"));
        assert_eq!(request.subresource.as_deref(), Some("status"));
    }

    #[test]
    fn a_namespace_is_an_object_and_has_subresources() {
        let one = resource(Method::GET, "/api/v1/namespaces/ns");
        let finalize = resource(Method::PUT, "/api/v1/namespaces/ns/finalize");
        let pods = resource(Method::GET, "/api/v1/namespaces/ns/pods");

        assert_eq!(
            (one.resource.as_str(), one.name.as_deref(), one.namespace),
            ("namespaces", Some("ns"), None)
        );
        assert_eq!(finalize.subresource.as_deref(), Some("finalize"));
        assert_eq!((pods.resource.as_str(), pods.namespace.as_deref()), ("pods", Some("ns")));
    }

    #[test]
    fn watches_are_recognised_in_both_forms() {
        assert_eq!(resource(Method::GET, "/api/v1/pods?watch=true").verb, Some(Verb::Watch));
        assert_eq!(resource(Method::GET, "/api/v1/pods?watch=0").verb, Some(Verb::List));
        assert_eq!(resource(Method::GET, "/api/v1/namespaces/ns/pods/web?watch=true").verb, Some(Verb::Get));
        assert_eq!(resource(Method::GET, "/api/v1/watch/pods").verb, Some(Verb::Watch));
        let one = resource(Method::GET, "/api/v1/watch/namespaces/ns/pods/web");
        assert_eq!((one.verb, one.name.as_deref()), (Some(Verb::Watch), Some("web")));
    }

    #[test]
    fn other_paths_are_kept_without_their_last_slash() {
        assert_eq!(parse(Method::GET, "/healthz/"), RequestInfo::Path("/healthz".into()));
        assert_eq!(parse(Method::GET, "/api/v1/"), RequestInfo::Path("/api/v1".into()));
        assert_eq!(parse(Method::GET, "/"), RequestInfo::Path("/".into()));
    }
}
