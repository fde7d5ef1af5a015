//! Which kinds the API server has, in the order in which it names them.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIGroup, APIResource, APIResourceList};
use kube::Client;
use kube::api::ApiResource;

/// A kind that the API server has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) resource: ApiResource,
    pub(crate) namespaced: bool,
    verbs: BTreeSet<String>,
}

impl Kind {
    pub(crate) fn new<V: Into<String>>(
        resource: ApiResource,
        namespaced: bool,
        verbs: impl IntoIterator<Item = V>,
    ) -> Self {
        Self { resource, namespaced, verbs: verbs.into_iter().map(Into::into).collect() }
    }

    pub(crate) fn has(&self, verb: &str) -> bool {
        self.verbs.contains(verb)
    }
}

/// What was found, and which groups did not answer.
#[derive(Debug, Default)]
pub(crate) struct Discovered {
    pub(crate) kinds: Vec<Kind>,
    pub(crate) failures: Vec<String>,
}

/// Asks for all kinds, each once, in the version that its group prefers.
///
/// # Errors
///
/// If not even the list of groups can be had; a group that does not answer is among the failures.
pub(crate) async fn discover(client: &Client) -> kube::Result<Discovered> {
    let mut discovered = Discovered::default();
    for version in client.list_core_api_versions().await?.versions {
        let list = client.list_core_api_resources(&version).await;
        discovered.add("", &version, list);
    }
    for group in client.list_api_groups().await?.groups {
        for version in versions(&group) {
            let list = client.list_api_group_resources(&format!("{}/{version}", group.name)).await;
            discovered.add(&group.name, &version, list);
        }
    }
    Ok(discovered)
}

/// The group's versions, the preferred one first.
fn versions(group: &APIGroup) -> Vec<String> {
    let preferred = group.preferred_version.iter();
    let mut versions: Vec<String> = Vec::new();
    for version in preferred.chain(&group.versions) {
        if !versions.contains(&version.version) {
            versions.push(version.version.clone());
        }
    }
    versions
}

impl Discovered {
    fn add(&mut self, group: &str, version: &str, list: kube::Result<APIResourceList>) {
        match list {
            Ok(list) => {
                for resource in list.resources {
                    self.add_one(group, version, resource);
                }
            }
            Err(error) => self.failures.push(format!("{group}/{version}: {error}")),
        }
    }

    fn add_one(&mut self, group: &str, version: &str, resource: APIResource) {
        let known = |kind: &Kind| kind.resource.group == group && kind.resource.plural == resource.name;
        if resource.name.contains('/') || self.kinds.iter().any(known) {
            return;
        }
        let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        let named = ApiResource {
            group: group.into(),
            version: version.into(),
            api_version,
            kind: resource.kind,
            plural: resource.name,
        };
        self.kinds.push(Kind::new(named, resource.namespaced, resource.verbs));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    #[test]
    fn a_kind_of_several_versions_is_found_once_in_the_preferred_one() {
        let group: APIGroup = from_value(json!({
            "name": "g",
            "versions": [{"groupVersion": "g/v1", "version": "v1"}, {"groupVersion": "g/v2", "version": "v2"}],
            "preferredVersion": {"groupVersion": "g/v2", "version": "v2"},
        }))
        .unwrap();
        let list = || {
            let resource = |name: &str| json!({"name": name, "singularName": "", "namespaced": true, "kind": "K", "verbs": ["list"]});
            from_value(json!({"groupVersion": "", "resources": [resource("ks"), resource("ks/status")]}))
                .unwrap()
        };
        let mut discovered = Discovered::default();

        for version in versions(&group) {
            discovered.add("g", &version, Ok(list()));
        }

        assert_eq!(discovered.kinds.len(), 1);
        assert_eq!(discovered.kinds[0].resource.api_version, "g/v2");
    }
}
