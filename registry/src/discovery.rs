//! What the server serves, as clients ask for it: versions, groups, kinds.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::registry::Resources;
use crate::resource::{Backing, Resource, Subresource};

/// The discovery documents, made once.
#[derive(Debug)]
pub(crate) struct Discovery(BTreeMap<String, Value>);

impl Discovery {
    /// Makes the documents of these kinds.
    pub(crate) fn new(resources: &Resources) -> Self {
        let mut versions: BTreeMap<(&str, &str), Vec<&Resource>> = BTreeMap::new();
        for resource in resources.all() {
            versions.entry((&resource.group, &resource.version)).or_default().push(resource);
        }
        let mut documents = BTreeMap::new();
        let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for ((group, version), kinds) in &versions {
            let path = match *group {
                "" => format!("/api/{version}"),
                group => format!("/apis/{group}/{version}"),
            };
            documents.insert(path, resource_list(&group_version(group, version), kinds));
            if !group.is_empty() {
                groups.entry(group).or_default().push(version);
            }
        }
        if versions.keys().any(|(group, _)| group.is_empty()) {
            documents.insert("/api".into(), core_versions());
        }
        let groups: Vec<(String, Value)> =
            groups.iter().map(|(name, versions)| ((*name).to_owned(), api_group(name, versions))).collect();
        let list: Vec<&Value> = groups.iter().map(|(_, group)| group).collect();
        documents.insert("/apis".into(), json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": list}));
        for (name, mut group) in groups {
            group["kind"] = "APIGroup".into();
            group["apiVersion"] = "v1".into();
            documents.insert(format!("/apis/{name}"), group);
        }
        Self(documents)
    }

    /// Returns the document at a path.
    pub(crate) fn find(&self, path: &str) -> Option<&Value> {
        self.0.get(path)
    }

    /// Returns the paths of all documents and of what else answers.
    pub(crate) fn paths(&self) -> Vec<&str> {
        let others = ["/healthz", "/livez", "/openapi/v3", "/readyz", "/version"];
        let mut paths: Vec<&str> = self.0.keys().map(String::as_str).chain(others).collect();
        paths.sort_unstable();
        paths
    }
}

fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

fn core_versions() -> Value {
    json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})
}

fn api_group(name: &str, versions: &[&str]) -> Value {
    // The highest version is preferred: `v2` before `v1`.
    let mut versions: Vec<&str> = versions.to_vec();
    versions.sort_unstable_by(|one, other| other.cmp(one));
    let versions: Vec<Value> = versions
        .iter()
        .map(|version| json!({"groupVersion": group_version(name, version), "version": version}))
        .collect();
    json!({"name": name, "preferredVersion": versions[0], "versions": versions})
}

fn resource_list(group_version: &str, kinds: &[&Resource]) -> Value {
    let mut resources: Vec<Value> = kinds.iter().flat_map(|resource| entries(resource)).collect();
    resources.sort_by(|one, other| one["name"].as_str().cmp(&other["name"].as_str()));
    json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources,
    })
}

/// The entries of a kind: itself and the paths below it.
fn entries(resource: &Resource) -> Vec<Value> {
    let verbs: Vec<&str> = resource.verbs.iter().map(|verb| verb.as_str()).collect();
    let mut entry = json!({
        "name": resource.plural, "singularName": resource.singular, "namespaced": resource.is_namespaced(),
        "kind": resource.kind, "verbs": verbs,
    });
    if !resource.short_names.is_empty() {
        entry["shortNames"] = resource.short_names.iter().map(AsRef::as_ref).collect::<Vec<&str>>().into();
    }
    if !resource.categories.is_empty() {
        entry["categories"] = resource.categories.iter().map(AsRef::as_ref).collect::<Vec<&str>>().into();
    }
    if resource.backing == Backing::Store {
        entry["storageVersionHash"] = storage_version_hash(resource).into();
    }
    let below = resource.subresources.iter().map(|subresource| below(resource, *subresource));
    std::iter::once(entry).chain(below).collect()
}

fn below(resource: &Resource, subresource: Subresource) -> Value {
    let verbs: Vec<&str> = subresource.verbs().iter().map(|verb| verb.as_str()).collect();
    let mut entry = json!({
        "name": format!("{}/{}", resource.plural, subresource.name()), "singularName": "",
        "namespaced": resource.is_namespaced(), "kind": resource.kind, "verbs": verbs,
    });
    let (group, version, kind) = match subresource {
        Subresource::Scale => ("autoscaling", "v1", "Scale"),
        Subresource::Token => ("authentication.k8s.io", "v1", "TokenRequest"),
        Subresource::Eviction => ("policy", "v1", "Eviction"),
        Subresource::Binding => ("", "", "Binding"),
        _ => return entry,
    };
    entry["kind"] = kind.into();
    if !group.is_empty() {
        entry["group"] = group.into();
        entry["version"] = version.into();
    }
    entry
}

/// Returns what tells clients that objects are stored in another version now: upstream's first eight bytes of a hash.
fn storage_version_hash(resource: &Resource) -> String {
    let stored = resource.layout();
    let text = format!("{}/{}/{}", stored.group, stored.version, stored.kind);
    STANDARD.encode(&Sha256::digest(text.as_bytes())[..8])
}
