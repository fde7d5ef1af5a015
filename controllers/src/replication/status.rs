//! What is written into the status.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::Api;

use super::kinds::{Condition, Replicated, Status};
use super::scaling::ScaleError;
use crate::meta::{self, posting};
use crate::pod::Pod;

const FAILURE: &str = "ReplicaFailure";

/// Counts `pods`, the active ones, and notes whether the number of pods could be changed.
pub(super) fn compute<K: Replicated>(
    owner: &K,
    pods: &[Arc<Pod>],
    failure: Option<&ScaleError>,
    now: Timestamp,
) -> Status {
    let count = |counts: &dyn Fn(&Pod) -> bool| {
        i32::try_from(pods.iter().filter(|pod| counts(pod)).count()).unwrap_or(i32::MAX)
    };
    let wanted = owner.template().and_then(|template| template.metadata.as_ref()?.labels.clone());
    let wanted = wanted.unwrap_or_default();
    let labelled = |pod: &Pod| {
        wanted.iter().all(|(key, value)| meta::labels(pod).get(key).is_some_and(|has| has == value))
    };
    let mut conditions = owner.status().conditions;
    match failure {
        None => conditions.retain(|condition| condition.kind != FAILURE),
        Some(failure) if !conditions.iter().any(|condition| condition.kind == FAILURE) => {
            let reason = if pods.len() < owner.replicas() { "FailedCreate" } else { "FailedDelete" };
            conditions.push(Condition {
                kind: FAILURE.into(),
                status: "True".into(),
                reason: Some(reason.into()),
                message: Some(failure.to_string()),
                since: Some(Time(now)),
            });
        }
        Some(_) => {}
    }
    Status {
        replicas: count(&|_| true),
        fully_labeled_replicas: count(&labelled),
        ready_replicas: count(&Pod::is_ready),
        available_replicas: count(&|pod| pod.is_available(owner.min_ready(), now)),
        observed_generation: owner.meta().generation.unwrap_or_default(),
        conditions,
    }
}

/// Writes `status` if it says something new.
pub(super) async fn write<K: Replicated>(
    client: &kube::Client,
    owner: &K,
    status: Status,
) -> kube::Result<()> {
    if status == owner.status() {
        return Ok(());
    }
    let owners: Api<K> = Api::namespaced(client.clone(), meta::namespace(owner));
    owners.replace_status(meta::name(owner), &posting(), &owner.with_status(status)).await?;
    Ok(())
}
