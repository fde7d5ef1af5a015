//! The documents that every client knows: versions, groups, and a list of kinds per group and version.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Group, group_version, subresources, verbs};
use crate::resource::{Backing, Resource, Subresource};

/// Makes the documents, by path.
pub(super) fn documents(groups: &[Group<'_>]) -> BTreeMap<String, Bytes> {
    let mut documents = BTreeMap::new();
    let mut add = |path: String, document: Value| documents.insert(path, Bytes::from(document.to_string()));
    let mut list = Vec::new();
    for group in groups {
        let root = if group.name.is_empty() { "/api".to_owned() } else { format!("/apis/{}", group.name) };
        for version in &group.versions {
            let path = format!("{root}/{}", version.name);
            add(path, resource_list(&group_version(group.name, version.name), &version.kinds));
        }
        if group.name.is_empty() {
            add(root, core_versions(group));
            continue;
        }
        let mut document = api_group(group);
        list.push(document.clone());
        document["kind"] = "APIGroup".into();
        document["apiVersion"] = "v1".into();
        add(root, document);
    }
    add("/apis".into(), json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": list}));
    documents
}

fn core_versions(group: &Group<'_>) -> Value {
    let versions: Vec<&str> = group.versions.iter().map(|version| version.name).collect();
    json!({"kind": "APIVersions", "versions": versions, "serverAddressByClientCIDRs": []})
}

fn api_group(group: &Group<'_>) -> Value {
    let versions: Vec<Value> = group
        .versions
        .iter()
        .map(|version| {
            json!({"groupVersion": group_version(group.name, version.name), "version": version.name})
        })
        .collect();
    json!({"name": group.name, "preferredVersion": versions[0], "versions": versions})
}

fn resource_list(group_version: &str, kinds: &[&Resource]) -> Value {
    let resources: Vec<Value> = kinds.iter().flat_map(|resource| entries(resource)).collect();
    json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources,
    })
}

/// The entries of a kind: itself and the paths below it.
fn entries(resource: &Resource) -> Vec<Value> {
    let mut entry = json!({
        "name": resource.plural, "singularName": resource.singular, "namespaced": resource.is_namespaced(),
        "kind": resource.kind, "verbs": verbs(resource),
    });
    for (member, names) in [("shortNames", &resource.short_names), ("categories", &resource.categories)] {
        if !names.is_empty() {
            entry[member] = names.iter().map(AsRef::as_ref).collect::<Vec<&str>>().into();
        }
    }
    if resource.backing == Backing::Store {
        entry["storageVersionHash"] = storage_version_hash(resource).into();
    }
    let below = subresources(resource).into_iter().map(|subresource| below(resource, subresource));
    std::iter::once(entry).chain(below).collect()
}

fn below(resource: &Resource, subresource: Subresource) -> Value {
    let verbs: Vec<&str> = subresource.verbs().iter().map(|verb| verb.as_str()).collect();
    let mut entry = json!({
        "name": format!("{}/{}", resource.plural, subresource.name()), "singularName": "",
        "namespaced": resource.is_namespaced(), "kind": resource.kind, "verbs": verbs,
    });
    if let Some((group, version, kind)) = subresource.kind() {
        entry["kind"] = kind.into();
        // Upstream leaves out what the list says already.
        if group_version(group, version) != resource.api_version() {
            entry["group"] = group.into();
            entry["version"] = version.into();
        }
    }
    entry
}

/// Returns what tells clients that objects are stored in another version now: upstream's first eight bytes of a hash.
fn storage_version_hash(resource: &Resource) -> String {
    let stored = resource.layout();
    let text = format!("{}/{}/{}", stored.group, resource.storage_version(), stored.kind);
    STANDARD.encode(&Sha256::digest(text.as_bytes())[..8])
}
