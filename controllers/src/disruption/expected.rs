//! How many pods of a budget there should be: what the workloads want that they belong to.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::ReplicationController;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::Resource;
use quarterdeck_core::client::{Context, Informer, ObjectKey, Subscription, Watched};

use super::budget::Expected;
use crate::meta;
use crate::pod::Pod;

/// The workloads that budgets know the size of.
#[derive(Clone)]
pub(super) struct Scales {
    controllers: Informer<ReplicationController>,
    deployments: Informer<Deployment>,
    replica_sets: Informer<ReplicaSet>,
    stateful_sets: Informer<StatefulSet>,
}

impl Scales {
    pub(super) fn new(context: &Context) -> Self {
        let informers = &context.informers;
        Self {
            controllers: informers.of(),
            deployments: informers.of(),
            replica_sets: informers.of(),
            stateful_sets: informers.of(),
        }
    }

    pub(super) async fn synced(&self) {
        tokio::join!(
            self.controllers.synced(),
            self.deployments.synced(),
            self.replica_sets.synced(),
            self.stateful_sets.synced()
        );
    }

    /// Calls `changed` with the namespace of each workload that changes.
    pub(super) fn subscribe(&self, changed: impl Fn(&str) + Clone + Send + 'static) -> [Subscription; 4] {
        fn tell<K: Watched + Resource>(
            informer: &Informer<K>,
            changed: impl Fn(&str) + Send + 'static,
        ) -> Subscription {
            informer.subscribe(move |event| changed(meta::namespace(&**event.object())))
        }
        [
            tell(&self.controllers, changed.clone()),
            tell(&self.deployments, changed.clone()),
            tell(&self.replica_sets, changed.clone()),
            tell(&self.stateful_sets, changed),
        ]
    }

    /// Returns how many pods there should be, and how many must be healthy.
    pub(super) fn expected(
        &self,
        budget: &PodDisruptionBudget,
        pods: &[Arc<Pod>],
    ) -> Result<Expected, String> {
        let spec = budget.spec.clone().unwrap_or_default();
        let there = i32::try_from(pods.len()).unwrap_or(i32::MAX);
        match (&spec.max_unavailable, &spec.min_available) {
            (Some(unavailable), _) => {
                let wanted = self.wanted(pods)?;
                let healthy = (wanted - scaled(unavailable, wanted)?).max(0);
                Ok(Expected { pods: wanted, healthy })
            }
            (None, Some(IntOrString::Int(healthy))) => Ok(Expected { pods: there, healthy: *healthy }),
            (None, Some(share)) => {
                let wanted = self.wanted(pods)?;
                Ok(Expected { pods: wanted, healthy: scaled(share, wanted)? })
            }
            (None, None) => Ok(Expected { pods: 0, healthy: 0 }),
        }
    }

    /// Adds up what the workloads of these pods want. Pods that nobody controls count for nothing.
    fn wanted(&self, pods: &[Arc<Pod>]) -> Result<i32, String> {
        let mut sizes: BTreeMap<String, i32> = BTreeMap::new();
        for pod in pods {
            let Some(owner) = meta::controller_of(&pod.metadata) else { continue };
            if sizes.contains_key(&owner.uid) {
                continue;
            }
            let (uid, size) = self
                .size(meta::namespace(&**pod), owner)
                .ok_or_else(|| format!("found no controllers for pod {:?}", meta::name(&**pod)))?;
            sizes.insert(uid, size);
        }
        Ok(sizes.values().sum())
    }

    /// Returns the uid and the wanted size of the workload that an owner stands for: of a replica set its deployment.
    fn size(&self, namespace: &str, owner: &OwnerReference) -> Option<(String, i32)> {
        let group = owner.api_version.rsplit_once('/').map_or("", |(group, _)| group);
        let uid = owner.uid.clone();
        match (group, owner.kind.as_str()) {
            ("", "ReplicationController") => {
                let found = find(&self.controllers, namespace, owner)?;
                Some((uid, found.spec.as_ref()?.replicas.unwrap_or(1)))
            }
            ("apps", "StatefulSet") => {
                let found = find(&self.stateful_sets, namespace, owner)?;
                Some((uid, found.spec.replicas.unwrap_or(1)))
            }
            ("apps", "ReplicaSet") => {
                let found = find(&self.replica_sets, namespace, owner)?;
                let Some(above) = meta::controller_of(&found.metadata) else {
                    return Some((uid, found.spec.replicas.unwrap_or(1)));
                };
                let deployment = find(&self.deployments, namespace, above)?;
                Some((above.uid.clone(), deployment.spec.replicas.unwrap_or(1)))
            }
            _ => None,
        }
    }
}

fn find<K: Watched + Resource>(
    informer: &Informer<K>,
    namespace: &str,
    owner: &OwnerReference,
) -> Option<Arc<K>> {
    let found = informer.store().get(&ObjectKey::new(namespace, &owner.name));
    found.filter(|found| meta::uid(&**found) == owner.uid)
}

/// Returns a number, or a share of `whole`, rounded up.
fn scaled(value: &IntOrString, whole: i32) -> Result<i32, String> {
    match value {
        IntOrString::Int(number) => Ok(*number),
        IntOrString::String(text) => {
            let percent = text.strip_suffix('%').and_then(|number| number.parse::<i64>().ok());
            let percent = percent.ok_or_else(|| format!("invalid value for IntOrString: {text:?}"))?;
            Ok(i32::try_from((i64::from(whole) * percent + 99).div_euclid(100)).unwrap_or(i32::MAX))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_rounded_up() {
        let share = |text: &str, whole| scaled(&IntOrString::String(text.into()), whole);

        assert_eq!((share("50%", 3), share("34%", 3), share("0%", 3)), (Ok(2), Ok(2), Ok(0)));
        assert!(share("half", 3).is_err());
        assert_eq!(scaled(&IntOrString::Int(4), 3), Ok(4));
    }
}
