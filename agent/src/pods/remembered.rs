//! What the API remembers of containers that the runtime does not hold any more.
//!
//! After a machine was started again, or somebody removed a container behind the agent's back, the pod's status is all that
//! is left: how often a container was started, and whether it had ended.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus as ApiStatus, Pod};
use quarterdeck_core::runtime::{ContainerState, ContainerStatus, Exit, ExitReason};

/// Returns the last attempts that a pod's status tells of.
pub(super) fn attempts(pod: &Pod, now: Timestamp) -> Vec<ContainerStatus> {
    let Some(status) = &pod.status else { return Vec::new() };
    let lists = [&status.init_container_statuses, &status.container_statuses];
    lists.into_iter().flatten().flatten().filter_map(|known| attempt(known, now)).collect()
}

fn attempt(known: &ApiStatus, now: Timestamp) -> Option<ContainerStatus> {
    let state = known.state.as_ref();
    let last = known.last_state.as_ref().and_then(|last| last.terminated.as_ref());
    let ended = state.and_then(|state| state.terminated.as_ref()).or(last);
    let running = state.and_then(|state| state.running.as_ref());
    let exit = match (running, ended) {
        (Some(running), _) => unseen(running.started_at.as_ref().map(|at| at.0), now),
        (None, Some(ended)) => exit(ended, now),
        (None, None) => return None,
    };
    Some(ContainerStatus {
        name: Arc::from(known.name.as_str()),
        attempt: u32::try_from(known.restart_count).unwrap_or_default(),
        id: known
            .container_id
            .as_deref()
            .and_then(|id| id.split_once("://"))
            .map_or("", |(_, id)| id)
            .to_owned(),
        image: known.image.clone(),
        image_id: known.image_id.clone(),
        labels: BTreeMap::new(),
        created_at: exit.started_at.unwrap_or(Timestamp::UNIX_EPOCH),
        state: ContainerState::Exited(exit),
    })
}

fn unseen(started_at: Option<Timestamp>, now: Timestamp) -> Exit {
    Exit {
        exit_code: None,
        signal: None,
        started_at,
        finished_at: now,
        reason: ExitReason::Unknown,
        message: "The container is gone, and nobody saw it end".to_owned(),
    }
}

fn exit(ended: &ContainerStateTerminated, now: Timestamp) -> Exit {
    let reason = match ended.reason.as_deref() {
        Some("Completed") => ExitReason::Completed,
        Some("OOMKilled") => ExitReason::OomKilled,
        Some("ContainerCannotRun") => ExitReason::CannotRun,
        Some("ContainerStatusUnknown") => ExitReason::Unknown,
        _ => ExitReason::Error,
    };
    Exit {
        exit_code: (reason != ExitReason::Unknown).then_some(ended.exit_code),
        signal: ended.signal,
        started_at: ended.started_at.as_ref().map(|at| at.0),
        finished_at: ended.finished_at.as_ref().map_or(now, |at| at.0),
        reason,
        message: ended.message.clone().unwrap_or_default(),
    }
}
