//! The APIServices: one for each version of a group that the server serves itself.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::registry::Registry;
use crate::resource::Backing;
use crate::status::Result;
use crate::user::User;
use crate::write::metadata::seconds;
use crate::write::{DeleteOptions, Target};

/// The group that the APIServices are in, which has none for itself.
pub(super) const GROUP: &str = "apiregistration.k8s.io";
/// Marks what the server makes, and so may remove.
const AUTOMANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";

/// Upstream's order of groups, and of the versions within one.
const PRIORITIES: [(&str, &str, i32, i32); 19] = [
    ("", "v1", 18_000, 1),
    ("admissionregistration.k8s.io", "v1", 16_700, 15),
    ("apiextensions.k8s.io", "v1", 16_700, 15),
    ("apps", "v1", 17_800, 15),
    ("authentication.k8s.io", "v1", 17_700, 15),
    ("authorization.k8s.io", "v1", 17_600, 15),
    ("autoscaling", "v1", 17_500, 15),
    ("autoscaling", "v2", 17_500, 30),
    ("batch", "v1", 17_400, 15),
    ("certificates.k8s.io", "v1", 17_300, 15),
    ("coordination.k8s.io", "v1", 16_500, 15),
    ("discovery.k8s.io", "v1", 16_200, 15),
    ("events.k8s.io", "v1", 17_750, 15),
    ("networking.k8s.io", "v1", 17_200, 15),
    ("node.k8s.io", "v1", 16_300, 15),
    ("policy", "v1", 17_100, 15),
    ("rbac.authorization.k8s.io", "v1", 17_000, 15),
    ("scheduling.k8s.io", "v1", 16_600, 15),
    ("storage.k8s.io", "v1", 16_800, 15),
];
/// The priorities of versions that upstream does not have.
const OTHERS: (i32, i32) = (1_000, 100);

/// Returns the APIServices of everything served.
pub(super) fn wanted(registry: &Registry) -> Vec<Value> {
    let resources = registry.resources();
    let versions: BTreeSet<(&str, &str)> = resources
        .all()
        .iter()
        .filter(|resource| resource.backing == Backing::Store && resource.group != GROUP)
        .map(|resource| (resource.group.as_ref(), resource.version.as_ref()))
        .collect();
    let now = seconds(registry.clock.now());
    versions.into_iter().map(|(group, version)| api_service(group, version, &now)).collect()
}

fn api_service(group: &str, version: &str, now: &Value) -> Value {
    let known = PRIORITIES.iter().find(|known| (known.0, known.1) == (group, version));
    let (of_group, of_version) = known.map_or(OTHERS, |known| (known.2, known.3));
    let mut spec =
        json!({"version": version, "groupPriorityMinimum": of_group, "versionPriority": of_version});
    if !group.is_empty() {
        spec["group"] = group.into();
    }
    json!({
        "metadata": {"name": format!("{version}.{group}"), "labels": {AUTOMANAGED: "onstart"}},
        "spec": spec,
        "status": {"conditions": [{
            "type": "Available", "status": "True", "lastTransitionTime": now, "reason": "Local",
            "message": "Local APIServices are always available",
        }]},
    })
}

/// Removes the APIServices of what was served once, by a server over the same store.
pub(super) async fn remove_others(registry: &Registry, wanted: &[Value]) -> Result<()> {
    let resources = registry.resources();
    let Some(resource) = resources.by_kind(GROUP, "APIService") else { return Ok(()) };
    let world = registry.cache.world();
    let prefix = resource.key_prefix(None);
    let made =
        world.range(&prefix, None).filter(|(_, object)| object.header.label(AUTOMANAGED) == Some("onstart"));
    for (_, object) in made {
        let name = &*object.header.name;
        if wanted.iter().any(|service| service["metadata"]["name"] == name) {
            continue;
        }
        let user = User::admin();
        let target = Target::unasked(resource, None, name, &user);
        registry.delete(&target, &DeleteOptions::default()).await?;
    }
    Ok(())
}
