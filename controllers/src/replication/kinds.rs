//! What replication controllers and replica sets have in common.

use std::collections::BTreeMap;
use std::convert::identity;
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::{
    PodTemplateSpec, ReplicationController, ReplicationControllerCondition, ReplicationControllerStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource;
use quarterdeck_core::client::Watched;
use quarterdeck_core::labels::{Selector, SelectorError};
use serde::Serialize;

/// An object that wants a number of pods.
pub(super) trait Replicated:
    Watched + Serialize + Resource<DynamicType = (), Scope = NamespaceResourceScope>
{
    /// Who reports its events, upstream's name.
    const COMPONENT: &'static str;

    fn replicas(&self) -> usize;
    fn min_ready(&self) -> Duration;
    fn selector(&self) -> Result<Selector, SelectorError>;
    fn template(&self) -> Option<&PodTemplateSpec>;
    fn status(&self) -> Status;
    fn with_status(&self, status: Status) -> Self;
}

/// The status of both kinds.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Status {
    pub(super) replicas: i32,
    pub(super) fully_labeled_replicas: i32,
    pub(super) ready_replicas: i32,
    pub(super) available_replicas: i32,
    pub(super) observed_generation: i64,
    pub(super) conditions: Vec<Condition>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Condition {
    pub(super) kind: String,
    pub(super) status: String,
    pub(super) reason: Option<String>,
    pub(super) message: Option<String>,
    pub(super) since: Option<Time>,
}

fn count(replicas: Option<i32>) -> usize {
    usize::try_from(replicas.unwrap_or(1)).unwrap_or_default()
}

fn seconds(seconds: Option<i32>) -> Duration {
    Duration::from_secs(u64::try_from(seconds.unwrap_or_default()).unwrap_or_default())
}

/// Zero is what absence means, and is not written.
fn nonzero(count: i32) -> Option<i32> {
    (count != 0).then_some(count)
}

macro_rules! statuses {
    ($status:ident, $condition:ident, $read:expr, $write:expr) => {
        fn status(&self) -> Status {
            let status = self.status.clone().unwrap_or_default();
            let conditions = status.conditions.into_iter().flatten().map(|condition| Condition {
                kind: $read(condition.type_),
                status: $read(condition.status),
                reason: condition.reason,
                message: condition.message,
                since: condition.last_transition_time,
            });
            Status {
                replicas: status.replicas,
                fully_labeled_replicas: status.fully_labeled_replicas.unwrap_or_default(),
                ready_replicas: status.ready_replicas.unwrap_or_default(),
                available_replicas: status.available_replicas.unwrap_or_default(),
                observed_generation: status.observed_generation.unwrap_or_default(),
                conditions: conditions.collect(),
            }
        }

        fn with_status(&self, status: Status) -> Self {
            let conditions: Vec<_> = status
                .conditions
                .into_iter()
                .map(|condition| $condition {
                    type_: $write(condition.kind),
                    status: $write(condition.status),
                    reason: condition.reason,
                    message: condition.message,
                    last_transition_time: condition.since,
                })
                .collect();
            let mut written = self.clone();
            let into: &mut $status = written.status.get_or_insert_default();
            into.replicas = status.replicas;
            into.fully_labeled_replicas = nonzero(status.fully_labeled_replicas);
            into.ready_replicas = nonzero(status.ready_replicas);
            into.available_replicas = nonzero(status.available_replicas);
            into.observed_generation = Some(status.observed_generation);
            into.conditions = (!conditions.is_empty()).then_some(conditions);
            written
        }
    };
}

impl Replicated for ReplicaSet {
    const COMPONENT: &'static str = "replicaset-controller";

    fn replicas(&self) -> usize {
        count(self.spec.replicas)
    }

    fn min_ready(&self) -> Duration {
        seconds(self.spec.min_ready_seconds)
    }

    fn selector(&self) -> Result<Selector, SelectorError> {
        Selector::try_from(&self.spec.selector)
    }

    fn template(&self) -> Option<&PodTemplateSpec> {
        self.spec.template.as_ref()
    }

    statuses!(ReplicaSetStatus, ReplicaSetCondition, Option::unwrap_or_default, Some);
}

impl Replicated for ReplicationController {
    const COMPONENT: &'static str = "replication-controller";

    fn replicas(&self) -> usize {
        count(self.spec.as_ref().and_then(|spec| spec.replicas))
    }

    fn min_ready(&self) -> Duration {
        seconds(self.spec.as_ref().and_then(|spec| spec.min_ready_seconds))
    }

    fn selector(&self) -> Result<Selector, SelectorError> {
        let labels: Option<&BTreeMap<_, _>> = self.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        // An empty selector would take every pod of the namespace.
        Ok(labels
            .filter(|labels| !labels.is_empty())
            .map_or_else(Selector::nothing, |labels| Selector::from_map(labels.clone())))
    }

    fn template(&self) -> Option<&PodTemplateSpec> {
        self.spec.as_ref()?.template.as_ref()
    }

    statuses!(ReplicationControllerStatus, ReplicationControllerCondition, identity, identity);
}
