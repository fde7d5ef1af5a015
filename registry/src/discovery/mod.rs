//! What the server serves, as clients ask for it: versions, groups, kinds.
//!
//! [`plain`] makes the documents that every client knows, one per group and version. [`aggregated`] makes the two that
//! newer clients ask for instead: everything below `/api` and everything below `/apis`. Which one is wanted is in the
//! `Accept` header.

mod aggregated;
mod plain;

use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use serde_json::Value;

use crate::body::Body;
use crate::etag;
use crate::negotiate::{accepted, is_pretty, plain_form};
use crate::request::{Query, Verb};
use crate::resource::{Resource, Subresource};
use crate::status::Result;
use crate::verbs::respond_document;

use aggregated::Aggregated;

/// The discovery documents of a set of kinds, made when the first client asks.
#[derive(Debug)]
pub(crate) struct Discovery {
    resources: Vec<Arc<Resource>>,
    plain: OnceLock<BTreeMap<String, Bytes>>,
    /// Of `/api` and of `/apis`.
    aggregated: [OnceLock<Aggregated>; 2],
}

impl Discovery {
    /// Prepares the documents of these kinds.
    pub(crate) fn new(resources: &[Arc<Resource>]) -> Self {
        Self { resources: resources.to_vec(), plain: OnceLock::new(), aggregated: Default::default() }
    }

    /// Answers a path if it is one of discovery.
    pub(crate) fn answer(&self, path: &str, headers: &HeaderMap, query: &Query) -> Option<Response<Body>> {
        let plain = self.plain().get(path)?;
        let at = ["/api", "/apis"].iter().position(|root| *root == path);
        if let Some((at, form)) = at.and_then(|at| Some((at, aggregated::Form::wanted(headers)?))) {
            let document =
                self.aggregated[at].get_or_init(|| Aggregated::new(&groups(&self.resources), path == "/api"));
            return Some(document.answer(form, headers, is_pretty(headers, query)));
        }
        let mut answer = plain_answer(plain, headers, query).unwrap_or_else(|status| status.into_response());
        if at.is_some() {
            answer.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
        }
        Some(answer)
    }

    /// Returns the paths of the documents.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.plain().keys().map(String::as_str)
    }

    fn plain(&self) -> &BTreeMap<String, Bytes> {
        self.plain.get_or_init(|| plain::documents(&groups(&self.resources)))
    }
}

fn plain_answer(text: &Bytes, headers: &HeaderMap, query: &Query) -> Result<Response<Body>> {
    let form = plain_form(headers, query)?;
    if form.is_plain() {
        let mut answer = Response::new(Body::full(text.clone()));
        answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(form.content_type()));
        return Ok(answer);
    }
    let document: Value = serde_json::from_slice(text).expect("the text was written here");
    respond_document(StatusCode::OK, form, &document)
}

/// A group and what it has.
struct Group<'r> {
    /// Empty for the core group.
    name: &'r str,
    /// The preferred one first.
    versions: Vec<Version<'r>>,
}

/// A version of a group.
struct Version<'r> {
    name: &'r str,
    /// By plural.
    kinds: Vec<&'r Resource>,
}

/// Returns the groups in the order in which clients should prefer them.
fn groups(resources: &[Arc<Resource>]) -> Vec<Group<'_>> {
    let mut found: BTreeMap<&str, BTreeMap<&str, Vec<&Resource>>> = BTreeMap::new();
    for resource in resources {
        let versions = found.entry(&resource.group).or_default();
        versions.entry(&resource.version).or_default().push(resource);
    }
    let mut groups: Vec<Group<'_>> =
        found.into_iter().map(|(name, versions)| group(name, versions)).collect();
    groups.sort_by_key(|group| Reverse(priority(group.name)));
    groups
}

fn group<'r>(name: &'r str, versions: BTreeMap<&'r str, Vec<&'r Resource>>) -> Group<'r> {
    let mut versions: Vec<Version<'r>> = versions
        .into_iter()
        .map(|(name, mut kinds)| {
            kinds.sort_by(|one, other| one.plural.cmp(&other.plural));
            Version { name, kinds }
        })
        .collect();
    versions.sort_by(|one, other| by_stability(other.name, one.name));
    Group { name, versions }
}

/// How much upstream prefers its groups to others where kinds have the same name; others follow by name.
fn priority(group: &str) -> u16 {
    const PRIORITIES: [(&str, u16); 22] = [
        ("", 18000),
        ("admissionregistration.k8s.io", 16700),
        ("apiextensions.k8s.io", 16700),
        ("apiregistration.k8s.io", 18000),
        ("apps", 17800),
        ("authentication.k8s.io", 17700),
        ("authorization.k8s.io", 17600),
        ("autoscaling", 17500),
        ("batch", 17400),
        ("certificates.k8s.io", 17300),
        ("coordination.k8s.io", 16500),
        ("discovery.k8s.io", 16200),
        ("events.k8s.io", 17750),
        ("flowcontrol.apiserver.k8s.io", 16100),
        ("internal.apiserver.k8s.io", 16000),
        ("networking.k8s.io", 17200),
        ("node.k8s.io", 16300),
        ("policy", 17100),
        ("rbac.authorization.k8s.io", 17000),
        ("resource.k8s.io", 15900),
        ("scheduling.k8s.io", 16600),
        ("storage.k8s.io", 16800),
    ];
    PRIORITIES.binary_search_by(|(name, _)| (*name).cmp(group)).map_or(1000, |at| PRIORITIES[at].1)
}

/// Compares versions as Kubernetes does: `v2` is above `v1`, that above `v1beta1`, that above `v1alpha1`, and all else is
/// below and by name, the first name highest.
fn by_stability(one: &str, other: &str) -> Ordering {
    match (stability(one), stability(other)) {
        (Some(one), Some(other)) => one.cmp(&other),
        (Some(_), None) => Ordering::Greater,
        (None, Some(_)) => Ordering::Less,
        (None, None) => other.cmp(one),
    }
}

/// Returns how stable a version is, its major and its minor number; `None` if it is not of Kubernetes' form.
fn stability(version: &str) -> Option<(u8, u64, u64)> {
    let rest = version.strip_prefix('v')?;
    let end = rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len());
    let major = number(&rest[..end])?;
    let rest = &rest[end..];
    if rest.is_empty() {
        return Some((2, major, 0));
    }
    let (level, minor) = match (rest.strip_prefix("beta"), rest.strip_prefix("alpha")) {
        (Some(minor), _) => (1, minor),
        (_, Some(minor)) => (0, minor),
        _ => return None,
    };
    Some((level, major, number(minor)?))
}

fn number(digits: &str) -> Option<u64> {
    digits.parse().ok().filter(|_| !digits.starts_with(['0', '+']))
}

/// Returns what can be done with a kind. Of one whose definition is being deleted, only what it takes to be rid of it.
fn verbs(resource: &Resource) -> Vec<&'static str> {
    let is_ending = resource.custom.as_ref().is_some_and(|custom| custom.is_ending);
    let is_shown = |verb: &&Verb| !is_ending || !matches!(verb, Verb::Create | Verb::Update | Verb::Patch);
    resource.verbs.iter().filter(is_shown).map(|verb| verb.as_str()).collect()
}

/// Returns the paths below a kind's objects, in upstream's order: by name, but for custom kinds.
fn subresources(resource: &Resource) -> Vec<Subresource> {
    let mut below = resource.subresources.clone();
    if resource.custom.is_none() {
        below.sort_by_key(|subresource| subresource.name());
    }
    below
}

fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::Scope;

    #[test]
    fn versions_are_preferred_by_stability_and_then_by_number() {
        let mut versions =
            ["v1alpha1", "foo10", "v10", "v1beta2", "v2", "v11alpha2", "foo1", "v1", "v1beta10"];

        versions.sort_by(|one, other| by_stability(other, one));

        assert_eq!(
            versions,
            ["v10", "v2", "v1", "v1beta10", "v1beta2", "v11alpha2", "v1alpha1", "foo1", "foo10"]
        );
    }

    #[test]
    fn groups_come_in_upstreams_order_and_unknown_ones_last_by_name() {
        let kind = |group: &'static str| {
            let mut kind = Resource::builtin("", "v1", "ConfigMap", "configmaps", Scope::Namespaced);
            kind.group = group.into();
            Arc::new(kind)
        };
        let kinds = ["b.example.com", "apps", "a.example.com", "", "batch", "policy"].map(kind);

        let names: Vec<&str> = groups(&kinds).iter().map(|group| group.name).collect();

        assert_eq!(names, ["", "apps", "batch", "policy", "a.example.com", "b.example.com"]);
    }
}
