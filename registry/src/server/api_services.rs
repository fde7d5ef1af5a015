//! The APIServices: one for each version of a group that the server serves itself.
//!
//! Those of the kinds that the server was built with are made at its start. Those of custom kinds come and go with the
//! definitions: [`OfDefinitions`] follows them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use quarterdeck_core::component::Stop;
use serde_json::{Value, json};

use super::bootstrap::ensure;
use crate::registry::Registry;
use crate::resource::{Backing, Resource};
use crate::status::Result;
use crate::user::User;
use crate::write::metadata::seconds;
use crate::write::{DeleteOptions, Target};

/// The group that the APIServices are in, which has none for itself.
pub(super) const GROUP: &str = "apiregistration.k8s.io";
/// Marks what the server makes, and so may remove.
const AUTOMANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";
/// The mark of what is looked after at the start of a server only.
const ON_START: &str = "onstart";
/// The mark of what is always looked after.
const ALWAYS: &str = "true";
/// How long a write that failed waits to be tried again.
const PAUSE: Duration = Duration::from_secs(1);

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
/// The priorities of versions that upstream does not have, and of custom kinds.
const OTHERS: (i32, i32) = (1_000, 100);

/// Returns the APIServices of all kinds that the server was built with.
pub(super) fn wanted(registry: &Registry) -> Vec<Value> {
    let now = seconds(registry.clock.now());
    let versions = versions(registry.resources().all(), false);
    versions.iter().map(|(group, version)| api_service(group, version, ON_START, &now)).collect()
}

/// Returns groups and versions of kinds that lie in the store: of custom ones, or of all others.
fn versions(resources: &[Arc<Resource>], custom: bool) -> BTreeSet<(String, String)> {
    let stored = resources.iter().filter(|it| it.backing == Backing::Store && it.group != GROUP);
    let chosen = stored.filter(|it| it.is_kept_up() == custom);
    chosen.map(|it| (it.group.to_string(), it.version.to_string())).collect()
}

fn name(group: &str, version: &str) -> String {
    format!("{version}.{group}")
}

fn api_service(group: &str, version: &str, managed: &str, now: &Value) -> Value {
    let known = PRIORITIES.iter().find(|known| (known.0, known.1) == (group, version));
    let (of_group, of_version) = known.map_or(OTHERS, |known| (known.2, known.3));
    let mut spec =
        json!({"version": version, "groupPriorityMinimum": of_group, "versionPriority": of_version});
    if !group.is_empty() {
        spec["group"] = group.into();
    }
    json!({
        "metadata": {"name": name(group, version), "labels": {AUTOMANAGED: managed}},
        "spec": spec,
        "status": {"conditions": [{
            "type": "Available", "status": "True", "lastTransitionTime": now, "reason": "Local",
            "message": "Local APIServices are always available",
        }]},
    })
}

/// Removes the APIServices of what was served once, by a server over the same store.
pub(super) async fn remove_others(registry: &Registry, wanted: &[Value]) -> Result<()> {
    let is_wanted = |name: &str| wanted.iter().any(|service| service["metadata"]["name"] == name);
    remove(registry, ON_START, is_wanted).await
}

/// Removes the APIServices with a mark that are not wanted.
async fn remove(
    registry: &Registry,
    managed: &str,
    is_wanted: impl Fn(&str) -> bool + Send + Sync,
) -> Result<()> {
    let resources = registry.resources();
    let Some(resource) = resources.by_kind(GROUP, "APIService") else { return Ok(()) };
    let world = registry.cache.world();
    let prefix = resource.key_prefix(None);
    let made =
        world.range(&prefix, None).filter(|(_, object)| object.header.label(AUTOMANAGED) == Some(managed));
    for (_, object) in made.filter(|(_, object)| !is_wanted(&object.header.name)) {
        let user = User::admin();
        let target = Target::unasked(resource, None, &object.header.name, &user);
        match registry.delete(&target, &DeleteOptions::default()).await {
            // Another server of the same cluster was faster.
            Err(status) if status.code == StatusCode::NOT_FOUND => {}
            other => drop(other?),
        }
    }
    Ok(())
}

/// Keeps the APIServices of custom kinds: each version of a group that is served has one, and no other has. Versions with
/// kinds that the server was built with have theirs already.
#[derive(Debug)]
pub(super) struct OfDefinitions(pub(super) Arc<Registry>);

impl OfDefinitions {
    /// Follows the definitions until the server stops.
    pub(super) async fn run(self, mut stop: Stop) {
        let mut defined = self.0.cache.defined();
        loop {
            let _seen = *defined.borrow_and_update();
            let settled = self.settle().await;
            let wait = async {
                match settled {
                    Ok(()) => drop(defined.changed().await),
                    Err(status) => {
                        tracing::warn!(%status, "the APIServices of custom kinds are not what is served, trying again");
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            };
            if stop.or(wait).await.is_none() {
                return;
            }
        }
    }

    async fn settle(&self) -> Result<()> {
        let registry = &self.0;
        let resources = registry.resources();
        let built_in = versions(resources.all(), false);
        let wanted: BTreeSet<_> = versions(resources.all(), true).difference(&built_in).cloned().collect();
        let names: BTreeSet<String> = wanted.iter().map(|(group, version)| name(group, version)).collect();
        remove(registry, ALWAYS, |name| names.contains(name)).await?;
        let now = seconds(registry.clock.now());
        for (group, version) in &wanted {
            ensure(registry, GROUP, "APIService", None, api_service(group, version, ALWAYS, &now)).await?;
        }
        Ok(())
    }
}
