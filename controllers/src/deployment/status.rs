//! Counts, conditions, and whether a rollout is done, moves, or is stuck.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use quarterdeck_core::client::Requeue;
use quarterdeck_core::component::BoxError;

use super::revisions::Sets;
use super::{Deployer, numbers};
use crate::meta;

const AVAILABLE: &str = "Available";
const PROGRESSING: &str = "Progressing";
const FAILURE: &str = "ReplicaFailure";

const DONE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";

/// The condition that says how the rollout goes.
pub(super) struct Progress;

impl Progress {
    pub(super) fn of(deployment: &Deployment) -> Option<&DeploymentCondition> {
        find(deployment.status.as_ref()?, PROGRESSING)
    }
}

/// How long a rollout may stand still before it counts as stuck; `None` if for ever.
fn deadline(deployment: &Deployment) -> Option<SignedDuration> {
    let seconds = deployment.spec.progress_deadline_seconds?;
    (seconds != i32::MAX).then(|| SignedDuration::from_secs(seconds.into()))
}

pub(super) fn has_deadline(deployment: &Deployment) -> bool {
    deadline(deployment).is_some()
}

pub(super) fn set_progress(
    deployment: &mut Deployment,
    status: &str,
    reason: &str,
    message: String,
    now: Timestamp,
) {
    let to = deployment.status.get_or_insert_default();
    set(to, condition(PROGRESSING, status, reason, message, now));
}

fn condition(kind: &str, status: &str, reason: &str, message: String, now: Timestamp) -> DeploymentCondition {
    DeploymentCondition {
        type_: Some(kind.into()),
        status: Some(status.into()),
        reason: Some(reason.into()),
        message: Some(message),
        last_update_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    }
}

fn find<'a>(status: &'a DeploymentStatus, kind: &str) -> Option<&'a DeploymentCondition> {
    status.conditions.iter().flatten().find(|condition| condition.type_.as_deref() == Some(kind))
}

/// Puts `condition` last in the list, unless the one that is there says the same.
fn set(status: &mut DeploymentStatus, mut condition: DeploymentCondition) {
    let kind = condition.type_.clone().unwrap_or_default();
    if let Some(known) = find(status, &kind) {
        if known.status == condition.status && known.reason == condition.reason {
            return;
        }
        if known.status == condition.status {
            condition.last_transition_time.clone_from(&known.last_transition_time);
        }
    }
    remove(status, &kind);
    status.conditions.get_or_insert_default().push(condition);
}

fn remove(status: &mut DeploymentStatus, kind: &str) {
    if let Some(conditions) = &mut status.conditions {
        conditions.retain(|condition| condition.type_.as_deref() != Some(kind));
    }
    status.conditions.take_if(|conditions| conditions.is_empty());
}

fn nonzero(count: i32) -> Option<i32> {
    (count != 0).then_some(count)
}

fn counts(deployment: &Deployment, sets: &Sets, now: Timestamp) -> DeploymentStatus {
    let sum = |of: fn(&ReplicaSet) -> i32| sets.all().map(of).sum::<i32>();
    let actual = |set: &ReplicaSet| set.status.as_ref().map_or(0, |status| status.replicas);
    let ready =
        |set: &ReplicaSet| set.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or_default();
    let available = sum(numbers::available);
    let before = deployment.status.clone().unwrap_or_default();
    let mut status = DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: nonzero(sum(actual)),
        updated_replicas: nonzero(sets.new.as_ref().map_or(0, actual)),
        ready_replicas: nonzero(sum(ready)),
        available_replicas: nonzero(available),
        unavailable_replicas: nonzero((sum(numbers::size) - available).max(0)),
        ..before
    };
    let enough = numbers::wanted(deployment) - numbers::max_unavailable(deployment);
    let (holds, reason, message) = if available >= enough {
        ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    } else {
        ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    };
    set(&mut status, condition(AVAILABLE, holds, reason, message.into(), now));
    status
}

/// Whether `status` says that the deployment's pods are all new and available.
fn completes(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let all = Some(numbers::wanted(deployment));
    let is_all = |count: Option<i32>| count.or(Some(0)) == all;
    is_all(status.updated_replicas)
        && is_all(status.replicas)
        && is_all(status.available_replicas)
        && status.observed_generation >= deployment.metadata.generation
}

/// Whether the deployment's status, as written last, says that its rollout is done.
pub(super) fn is_complete(deployment: &Deployment) -> bool {
    deployment.status.as_ref().is_some_and(|status| completes(deployment, status))
}

fn moves(before: &DeploymentStatus, after: &DeploymentStatus) -> bool {
    let old = |status: &DeploymentStatus| {
        status.replicas.unwrap_or_default() - status.updated_replicas.unwrap_or_default()
    };
    after.updated_replicas > before.updated_replicas
        || old(after) < old(before)
        || after.ready_replicas > before.ready_replicas
        || after.available_replicas > before.available_replicas
}

/// Returns how long it is until the rollout counts as stuck; `None` if it cannot, or does already.
fn until_stuck(deployment: &Deployment, status: &DeploymentStatus, now: Timestamp) -> Option<SignedDuration> {
    let progress = find(status, PROGRESSING)?;
    if matches!(progress.reason.as_deref(), Some(DONE | TIMED_OUT)) {
        return None;
    }
    let last = progress.last_update_time.as_ref()?.0;
    Some(deadline(deployment)? - now.duration_since(last))
}

/// Updates the conditions of `status`, the counts of which are new.
fn note_rollout(deployment: &Deployment, sets: &Sets, status: &mut DeploymentStatus, now: Timestamp) {
    let before = deployment.status.clone().unwrap_or_default();
    let progress = find(&before, PROGRESSING).cloned();
    let subject = match &sets.new {
        Some(new) => format!("ReplicaSet {:?}", meta::name(new)),
        None => format!("Deployment {:?}", meta::name(deployment)),
    };
    // A change of the number alone is no rollout, and changes nothing that was said about the last one.
    let over = status.replicas == status.updated_replicas
        && progress.as_ref().is_some_and(|progress| progress.reason.as_deref() == Some(DONE));
    if !has_deadline(deployment) {
        remove(status, PROGRESSING);
    } else if !over {
        let stuck = until_stuck(deployment, status, now).is_some_and(|left| left.is_negative());
        if completes(deployment, status) {
            let message = format!("{subject} has successfully progressed.");
            set(status, condition(PROGRESSING, "True", DONE, message, now));
        } else if moves(&before, status) {
            let message = format!("{subject} is progressing.");
            let mut moved = condition(PROGRESSING, "True", "ReplicaSetUpdated", message, now);
            if let Some(progress) = progress.filter(|progress| progress.status.as_deref() == Some("True")) {
                moved.last_transition_time = progress.last_transition_time;
            }
            // What moves is noted each time: the deadline counts from the last movement.
            remove(status, PROGRESSING);
            set(status, moved);
        } else if stuck {
            let message = format!("{subject} has timed out progressing.");
            set(status, condition(PROGRESSING, "False", TIMED_OUT, message, now));
        }
    }
    match failure(sets) {
        Some(failure) => set(status, failure),
        None => remove(status, FAILURE),
    }
}

/// Why pods of the new replica set, or else of an old one, cannot be made.
fn failure(sets: &Sets) -> Option<DeploymentCondition> {
    sets.new.iter().chain(&sets.old).find_map(|set| {
        let conditions = set.status.as_ref()?.conditions.as_ref()?;
        let failure = conditions.iter().find(|condition| condition.type_.as_deref() == Some(FAILURE))?;
        Some(DeploymentCondition {
            type_: failure.type_.clone(),
            status: failure.status.clone(),
            reason: failure.reason.clone(),
            message: failure.message.clone(),
            last_update_time: failure.last_transition_time.clone(),
            last_transition_time: failure.last_transition_time.clone(),
        })
    })
}

impl Deployer {
    /// Notes that the rollout was paused or goes on, for its deadline does not count meanwhile.
    pub(super) async fn note_pause(&self, deployment: &mut Deployment) -> kube::Result<()> {
        if !has_deadline(deployment) {
            return Ok(());
        }
        let reason = Progress::of(deployment).and_then(|progress| progress.reason.clone());
        let noted = reason.as_deref() == Some(PAUSED);
        let paused = numbers::is_paused(deployment);
        if reason.as_deref() == Some(TIMED_OUT) || paused == noted {
            return Ok(());
        }
        let (reason, message) = if paused {
            (PAUSED, "Deployment is paused")
        } else {
            ("DeploymentResumed", "Deployment is resumed")
        };
        set_progress(deployment, "Unknown", reason, message.into(), self.context.clock.now());
        self.write_status(deployment).await
    }

    /// Writes counts and availability.
    pub(super) async fn write_counts(&self, deployment: &mut Deployment, sets: &Sets) -> kube::Result<()> {
        let status = counts(deployment, sets, self.context.clock.now());
        self.write_if_new(deployment, status).await.map(drop)
    }

    /// Writes counts, availability and how the rollout goes; returns when to look again.
    pub(super) async fn write_rollout(
        &self,
        deployment: &mut Deployment,
        sets: &Sets,
    ) -> Result<Requeue, BoxError> {
        let now = self.context.clock.now();
        let mut status = counts(deployment, sets, now);
        note_rollout(deployment, sets, &mut status, now);
        if completes(deployment, &status) {
            self.write_if_new(deployment, status).await?;
            return Ok(Requeue::No);
        }
        let left = until_stuck(deployment, &status, now);
        self.write_if_new(deployment, status).await?;
        Ok(left.map_or(Requeue::No, |left| {
            // A little later, so that the deadline is over by then.
            let left = Duration::try_from(left).unwrap_or_default();
            Requeue::After(left + Duration::from_secs(1))
        }))
    }

    async fn write_if_new(
        &self,
        deployment: &mut Deployment,
        status: DeploymentStatus,
    ) -> kube::Result<bool> {
        if deployment.status.as_ref() == Some(&status) {
            return Ok(false);
        }
        deployment.status = Some(status);
        self.write_status(deployment).await?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    fn now() -> Timestamp {
        "2026-01-01T00:10:00Z".parse().unwrap()
    }

    fn deployment(replicas: i32, status: Value) -> Deployment {
        from_value(json!({
            "metadata": {"name": "d", "generation": 1},
            "spec": {"replicas": replicas, "progressDeadlineSeconds": 600, "selector": {}},
            "status": status,
        }))
        .unwrap()
    }

    fn sets(replicas: i32, available: i32) -> Sets {
        let new = from_value(json!({
            "metadata": {"name": "d-1"},
            "spec": {"replicas": replicas, "selector": {}},
            "status": {"replicas": replicas, "readyReplicas": available, "availableReplicas": available},
        }));
        Sets { new: Some(new.unwrap()), old: Vec::new() }
    }

    fn progress(deployment: &Deployment, sets: &Sets) -> DeploymentCondition {
        let mut status = counts(deployment, sets, now());
        note_rollout(deployment, sets, &mut status, now());
        find(&status, PROGRESSING).unwrap().clone()
    }

    fn since(time: &str, reason: &str) -> Value {
        json!([{"type": "Progressing", "status": "True", "reason": reason, "lastUpdateTime": time,
            "lastTransitionTime": time}])
    }

    #[test]
    fn a_rollout_whose_pods_are_all_available_is_done() {
        let deployment =
            deployment(2, json!({"conditions": since("2026-01-01T00:00:00Z", "ReplicaSetUpdated")}));

        let progress = progress(&deployment, &sets(2, 2));

        assert_eq!(progress.reason.as_deref(), Some(DONE));
        assert_eq!(progress.message.as_deref(), Some("ReplicaSet \"d-1\" has successfully progressed."));
        assert_eq!(progress.last_transition_time.unwrap().0.to_string(), "2026-01-01T00:00:00Z");
    }

    #[test]
    fn a_rollout_that_stands_still_is_stuck_after_its_deadline() {
        let at = |time: &str| {
            let status =
                json!({"replicas": 2, "updatedReplicas": 2, "conditions": since(time, "ReplicaSetUpdated")});
            progress(&deployment(2, status), &sets(2, 0)).reason.unwrap()
        };

        assert_eq!(at("2026-01-01T00:00:01Z"), "ReplicaSetUpdated");
        assert_eq!(at("2025-12-31T23:59:59Z"), TIMED_OUT);
    }

    #[test]
    fn a_change_of_the_number_alone_leaves_the_last_rollout_done() {
        let status =
            json!({"replicas": 2, "updatedReplicas": 2, "conditions": since("2025-01-01T00:00:00Z", DONE)});

        assert_eq!(progress(&deployment(5, status), &sets(5, 2)).reason.as_deref(), Some(DONE));
    }
}
