//! Pods. Their STATUS is no field: it is told from the phase and from what each container does.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Columns;
use super::cell::{self, int, is_true, items, or, string};
use super::definition::{age, name, text, wide};
use super::duration::{human_duration, seconds_between};

pub(super) fn columns() -> Columns {
    let definitions = [
        name(),
        text("Ready", "How many of the pod's containers are ready for traffic"),
        text("Status", "What the pod does, or why it does not run"),
        text("Restarts", "How often its containers restarted, and when last"),
        age(),
        wide("IP", "The pod's first address"),
        wide("Node", "The node that the pod is bound to"),
        wide("Nominated Node", "The node where room is made for the pod by preemption"),
        wide("Readiness Gates", "How many of the further conditions for readiness are met"),
    ];
    Columns::new(definitions, cells).with_conditions(conditions)
}

fn cells(pod: &Value, now: Timestamp) -> Vec<Value> {
    let summary = Summary::of(pod);
    let restarts = match summary.last_restart {
        Some(time) if summary.restarts != 0 => {
            format!("{} ({} ago)", summary.restarts, human_duration(seconds_between(time, now)))
        }
        _ => summary.restarts.to_string(),
    };
    vec![
        cell::name(pod),
        format!("{}/{}", summary.ready, summary.total).into(),
        summary.status.into(),
        restarts.into(),
        cell::age(pod, now),
        address(pod),
        or(&pod["spec"]["nodeName"], "<none>"),
        or(&pod["status"]["nominatedNodeName"], "<none>"),
        readiness_gates(pod),
    ]
}

fn address(pod: &Value) -> Value {
    let first = &pod["status"]["podIPs"][0]["ip"];
    or(if first.is_null() { &pod["status"]["podIP"] } else { first }, "<none>")
}

fn readiness_gates(pod: &Value) -> Value {
    let gates = items(&pod["spec"]["readinessGates"]);
    if gates.is_empty() {
        return "<none>".into();
    }
    let conditions = &pod["status"]["conditions"];
    let met =
        gates.iter().filter(|gate| cell::has_condition(conditions, string(&gate["conditionType"]))).count();
    format!("{met}/{}", gates.len()).into()
}

fn conditions(pod: &Value) -> Vec<Value> {
    let (reason, message) = match string(&pod["status"]["phase"]) {
        "Succeeded" => ("Succeeded", "The pod has completed successfully."),
        "Failed" => ("Failed", "The pod failed."),
        _ => return Vec::new(),
    };
    vec![json!({"type": "Completed", "status": "True", "reason": reason, "message": message})]
}

/// What the containers of a pod amount to.
struct Summary {
    status: String,
    ready: usize,
    total: usize,
    restarts: i64,
    last_restart: Option<Timestamp>,
}

impl Summary {
    fn of(pod: &Value) -> Self {
        let init_containers = items(&pod["spec"]["initContainers"]);
        let sidecars = init_containers.iter().filter(|container| is_sidecar(container)).count();
        let mut summary = Self {
            status: phase(pod),
            ready: 0,
            total: items(&pod["spec"]["containers"]).len() + sidecars,
            restarts: 0,
            last_restart: None,
        };
        let initialized = cell::has_condition(&pod["status"]["conditions"], "Initialized");
        if !summary.add_init_containers(pod, init_containers) || initialized {
            summary.add_containers(pod);
        }
        let phase = string(&pod["status"]["phase"]);
        if cell::is_deleted(pod) {
            if pod["status"]["reason"] == "NodeLost" {
                summary.status = "Unknown".to_owned();
            } else if !matches!(phase, "Succeeded" | "Failed") {
                summary.status = "Terminating".to_owned();
            }
        }
        summary
    }

    /// Counts init containers up to the first that is not done, and returns whether there is one. Once all are done
    /// only the restarts of sidecars are left: they run on.
    fn add_init_containers(&mut self, pod: &Value, specs: &[Value]) -> bool {
        let mut of_sidecars = (0, None);
        for (index, status) in items(&pod["status"]["initContainerStatuses"]).iter().enumerate() {
            let sidecar = specs.iter().any(|spec| spec["name"] == status["name"] && is_sidecar(spec));
            self.add_restarts(status);
            if sidecar {
                of_sidecars =
                    (of_sidecars.0 + int(&status["restartCount"]), of_sidecars.1.max(last_restart(status)));
            }
            let terminated = &status["state"]["terminated"];
            if !terminated.is_null() && int(&terminated["exitCode"]) == 0 {
                continue;
            }
            if sidecar && is_true(&status["started"]) {
                self.ready += usize::from(is_true(&status["ready"]));
                continue;
            }
            let waiting = string(&status["state"]["waiting"]["reason"]);
            self.status = if !terminated.is_null() {
                format!("Init:{}", end(terminated))
            } else if !matches!(waiting, "" | "PodInitializing") {
                format!("Init:{waiting}")
            } else {
                format!("Init:{index}/{}", specs.len())
            };
            // A pod that says it is initialized is counted by its containers, sidecars included.
            if cell::has_condition(&pod["status"]["conditions"], "Initialized") {
                (self.restarts, self.last_restart) = of_sidecars;
            }
            return true;
        }
        (self.restarts, self.last_restart) = of_sidecars;
        false
    }

    fn add_containers(&mut self, pod: &Value) {
        let mut runs = false;
        for status in items(&pod["status"]["containerStatuses"]).iter().rev() {
            self.add_restarts(status);
            let terminated = &status["state"]["terminated"];
            let waiting = string(&status["state"]["waiting"]["reason"]);
            if !waiting.is_empty() {
                self.status = waiting.to_owned();
            } else if !terminated.is_null() {
                self.status = end(terminated);
            } else if is_true(&status["ready"]) && !status["state"]["running"].is_null() {
                runs = true;
                self.ready += 1;
            }
        }
        if runs && self.status == "Completed" {
            let ready = cell::has_condition(&pod["status"]["conditions"], "Ready");
            self.status = if ready { "Running" } else { "NotReady" }.to_owned();
        }
    }

    fn add_restarts(&mut self, status: &Value) {
        self.restarts += int(&status["restartCount"]);
        self.last_restart = self.last_restart.max(last_restart(status));
    }
}

fn last_restart(status: &Value) -> Option<Timestamp> {
    status["lastState"]["terminated"]["finishedAt"].as_str()?.parse().ok()
}

fn is_sidecar(container: &Value) -> bool {
    container["restartPolicy"] == "Always"
}

/// What the pod says of itself, before its containers are looked at.
fn phase(pod: &Value) -> String {
    let status = &pod["status"];
    let gated = items(&status["conditions"])
        .iter()
        .any(|condition| condition["type"] == "PodScheduled" && condition["reason"] == "SchedulingGated");
    if gated {
        return "SchedulingGated".to_owned();
    }
    let reason = string(&status["reason"]);
    if reason.is_empty() { string(&status["phase"]).to_owned() } else { reason.to_owned() }
}

/// How a container ended.
fn end(terminated: &Value) -> String {
    let reason = string(&terminated["reason"]);
    if !reason.is_empty() {
        return reason.to_owned();
    }
    match int(&terminated["signal"]) {
        0 => format!("ExitCode:{}", int(&terminated["exitCode"])),
        signal => format!("Signal:{signal}"),
    }
}
