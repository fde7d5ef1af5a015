//! The conditions of a pod's status.

use k8s_openapi::api::core::v1::{ContainerStatus, PodCondition, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use quarterdeck_core::runtime::{PORT_MAP_CONDITION, PORT_MAP_SEPARATOR};

use super::plan::{init_containers, is_init_done};
use super::status::{Facts, Phase};

/// Returns the conditions that the agent decides on. Others are left alone.
pub(super) fn conditions(
    facts: &Facts<'_>,
    status: &PodStatus,
    phase: Phase,
    is_initialized: bool,
) -> Vec<PodCondition> {
    let old = facts.pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let containers = containers_ready(status, phase);
    let ready = ready(facts, &containers, old);
    let has_sandbox = facts.view.sandbox.is_some();
    [
        of("PodReadyToStartContainers", has_sandbox, ("", String::new())),
        initialized(facts, phase, is_initialized),
        ready,
        containers,
        of("PodScheduled", true, ("", String::new())),
    ]
    .into_iter()
    .chain(port_map(facts, old))
    .map(|condition| dated(condition, old, facts))
    .collect()
}

/// Tells proxies in other processes where the ports of a pod are whose address is only a name.
fn port_map(facts: &Facts<'_>, old: &[PodCondition]) -> Option<PodCondition> {
    let ports = facts.view.sandbox.as_ref().map(|sandbox| sandbox.ports.as_slice()).unwrap_or_default();
    if ports.is_empty() {
        let is_known = old.iter().any(|known| known.type_ == PORT_MAP_CONDITION);
        return is_known.then(|| of(PORT_MAP_CONDITION, false, ("NoSandbox", String::new())));
    }
    let ports: Vec<_> = ports.iter().map(ToString::to_string).collect();
    Some(of(PORT_MAP_CONDITION, true, ("LoopbackPorts", ports.join(PORT_MAP_SEPARATOR))))
}

fn of(name: &str, holds: bool, (reason, message): (&str, String)) -> PodCondition {
    PodCondition {
        type_: name.to_owned(),
        status: if holds { "True" } else { "False" }.to_owned(),
        reason: Some(reason.to_owned()).filter(|reason| !reason.is_empty()),
        message: Some(message).filter(|message| !message.is_empty()),
        ..PodCondition::default()
    }
}

/// Gives a condition the time since when it is as it is.
fn dated(mut condition: PodCondition, old: &[PodCondition], facts: &Facts<'_>) -> PodCondition {
    let known = old.iter().find(|known| known.type_ == condition.type_);
    let same = known.filter(|known| known.status == condition.status);
    let since = same.and_then(|known| known.last_transition_time.clone());
    condition.last_transition_time = Some(since.unwrap_or(Time(facts.now)));
    condition
}

fn initialized(facts: &Facts<'_>, phase: Phase, is_initialized: bool) -> PodCondition {
    if phase == Phase::Succeeded {
        return of("Initialized", true, ("PodCompleted", String::new()));
    }
    if is_initialized {
        return of("Initialized", true, ("", String::new()));
    }
    let unfinished = init_containers(facts.pod)
        .iter()
        .filter(|init| !is_init_done(facts.pod, facts.view, init))
        .map(|init| init.name.as_str());
    let message = format!("containers with incomplete status: {}", list(unfinished));
    of("Initialized", false, ("ContainersNotInitialized", message))
}

fn containers_ready(status: &PodStatus, phase: Phase) -> PodCondition {
    const NAME: &str = "ContainersReady";
    match phase {
        Phase::Succeeded => return of(NAME, false, ("PodCompleted", String::new())),
        Phase::Failed => return of(NAME, false, ("PodFailed", String::new())),
        Phase::Pending | Phase::Running => {}
    }
    let containers = status.container_statuses.as_deref().unwrap_or_default();
    let unready = |container: &&ContainerStatus| !container.ready;
    let unready: Vec<_> =
        containers.iter().filter(unready).map(|container| container.name.as_str()).collect();
    if unready.is_empty() {
        return of(NAME, true, ("", String::new()));
    }
    let message = format!("containers with unready status: {}", list(unready.into_iter()));
    of(NAME, false, ("ContainersNotReady", message))
}

/// A pod is ready when its containers are, and every gate that it names is open.
fn ready(facts: &Facts<'_>, containers: &PodCondition, old: &[PodCondition]) -> PodCondition {
    let mut ready = PodCondition { type_: "Ready".to_owned(), ..containers.clone() };
    if containers.status != "True" {
        return ready;
    }
    let gates = facts.pod.spec.as_ref().and_then(|spec| spec.readiness_gates.as_deref()).unwrap_or_default();
    let closed = gates.iter().find_map(|gate| {
        let gate = &gate.condition_type;
        match old.iter().find(|known| &known.type_ == gate) {
            Some(known) if known.status == "True" => None,
            Some(_) => Some(format!("the status of pod readiness gate {gate:?} is not \"True\", but False")),
            None => Some(format!("corresponding condition of pod readiness gate {gate:?} does not exist.")),
        }
    });
    if let Some(message) = closed {
        ready = of("Ready", false, ("ReadinessGatesNotReady", message));
    }
    ready
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    format!("[{}]", names.collect::<Vec<_>>().join(" "))
}
