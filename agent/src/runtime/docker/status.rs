//! What the engine says of containers, in the words of the contract.

use std::net::IpAddr;

use bollard::models::{ContainerInspectResponse, ContainerStateStatusEnum};
use jiff::Timestamp;
use quarterdeck_core::runtime::{ContainerState, ContainerStatus, Exit, ExitReason, PodState, PodStatus};

use super::engine::Held;

/// Puts containers together to pods. They are ordered by pod, the sandboxes of each first, and by name and attempt.
pub(super) fn pods(held: &[Held]) -> Vec<PodStatus> {
    held.chunk_by(|a, b| a.tag.uid == b.tag.uid).map(pod).collect()
}

/// Puts the containers of one pod together; there is at least one.
pub(super) fn pod(held: &[Held]) -> PodStatus {
    let sandbox = sandbox(held);
    let main = sandbox.unwrap_or(&held[0]);
    let tag = &main.tag;
    let ready = sandbox.is_some_and(|sandbox| is_running(&sandbox.seen));
    let containers: Vec<_> = held.iter().filter_map(container).collect();
    PodStatus {
        uid: tag.uid.clone(),
        namespace: tag.namespace.clone(),
        name: tag.name.clone(),
        labels: sandbox.map(|sandbox| sandbox.tag.labels.clone()).unwrap_or_default(),
        created_at: time(main.seen.created.as_deref()).unwrap_or_default(),
        state: if ready { PodState::Ready } else { PodState::Lost },
        ips: sandbox.filter(|_| ready).map(|sandbox| addresses(&sandbox.seen)).unwrap_or_default(),
        port_map: Vec::new(),
        containers: containers.iter().filter(|container| is_kept(container, &containers)).cloned().collect(),
    }
}

/// Returns the newest sandbox among a pod's containers.
pub(super) fn sandbox(held: &[Held]) -> Option<&Held> {
    held.iter().filter(|held| held.tag.container.is_none()).max_by_key(|held| held.tag.attempt)
}

/// Returns whether an attempt has not ended, or is the last of its container that has.
fn is_kept(container: &ContainerStatus, all: &[ContainerStatus]) -> bool {
    let later = |other: &&ContainerStatus| {
        other.name == container.name && other.attempt > container.attempt && other.exit().is_some()
    };
    container.exit().is_none() || !all.iter().any(|other| later(&other))
}

/// Returns what there is to say of a container, unless it is a sandbox.
pub(super) fn container(held: &Held) -> Option<ContainerStatus> {
    let (name, image) = held.tag.container.as_ref()?;
    Some(ContainerStatus {
        name: name.as_str().into(),
        attempt: held.tag.attempt,
        id: held.id.clone(),
        image: image.clone(),
        image_id: held.seen.image.clone().unwrap_or_default(),
        labels: held.tag.labels.clone(),
        created_at: time(held.seen.created.as_deref()).unwrap_or_default(),
        state: state(&held.seen),
    })
}

pub(super) fn is_running(seen: &ContainerInspectResponse) -> bool {
    matches!(state(seen), ContainerState::Running { .. })
}

/// Returns what a container does.
pub(super) fn state(seen: &ContainerInspectResponse) -> ContainerState {
    let Some(state) = &seen.state else { return ContainerState::Created };
    let started_at = time(state.started_at.as_deref());
    match state.status {
        Some(
            ContainerStateStatusEnum::RUNNING
            | ContainerStateStatusEnum::PAUSED
            | ContainerStateStatusEnum::RESTARTING,
        ) => ContainerState::Running { started_at: started_at.unwrap_or_default() },
        Some(
            ContainerStateStatusEnum::EXITED
            | ContainerStateStatusEnum::DEAD
            | ContainerStateStatusEnum::REMOVING,
        ) => {
            let exit_code = state.exit_code.and_then(|code| i32::try_from(code).ok());
            let out_of_memory = state.oom_killed.unwrap_or_default();
            // The engine notes a start after the fact: a short program may have ended by then.
            let finished_at = time(state.finished_at.as_deref()).max(started_at);
            ContainerState::Exited(Exit {
                exit_code,
                signal: None,
                started_at,
                finished_at: finished_at.unwrap_or_default(),
                reason: if out_of_memory { ExitReason::OomKilled } else { ExitReason::of_code(exit_code) },
                message: state.error.clone().unwrap_or_default(),
            })
        }
        _ => ContainerState::Created,
    }
}

/// Reads a time; the engine writes the year 1 for one that never was.
pub(super) fn time(text: Option<&str>) -> Option<Timestamp> {
    let time: Timestamp = text?.parse().ok()?;
    (time > Timestamp::UNIX_EPOCH).then_some(time)
}

fn addresses(seen: &ContainerInspectResponse) -> Vec<IpAddr> {
    let networks = seen.network_settings.as_ref().and_then(|settings| settings.networks.as_ref());
    let mut addresses: Vec<IpAddr> = networks
        .into_iter()
        .flat_map(|networks| networks.values())
        .flat_map(|network| [&network.ip_address, &network.global_ipv6_address])
        .filter_map(|address| address.as_deref()?.parse().ok())
        .collect();
    addresses.sort();
    addresses
}

#[cfg(test)]
mod tests {
    use bollard::models::ContainerState as State;

    use super::*;

    fn seen(state: State) -> ContainerInspectResponse {
        ContainerInspectResponse { state: Some(state), ..ContainerInspectResponse::default() }
    }

    #[test]
    fn a_container_that_was_killed_for_its_memory_says_so() {
        let seen = seen(State {
            status: Some(ContainerStateStatusEnum::EXITED),
            exit_code: Some(137),
            oom_killed: Some(true),
            started_at: Some("2026-01-01T00:00:00.5Z".to_owned()),
            finished_at: Some("2026-01-01T00:00:01Z".to_owned()),
            ..State::default()
        });

        let ContainerState::Exited(exit) = state(&seen) else { panic!("it has ended") };

        assert_eq!((exit.exit_code, exit.reason), (Some(137), ExitReason::OomKilled));
        assert_eq!(exit.finished_at.to_string(), "2026-01-01T00:00:01Z");
    }

    #[test]
    fn a_time_that_never_was_is_none() {
        assert_eq!(time(Some("0001-01-01T00:00:00Z")), None);
        assert_eq!(time(Some("nonsense")), None);
    }
}
