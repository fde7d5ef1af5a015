//! The group `apps`.

use quarterdeck_core::labels::Selector;
use serde_json::Value;

use super::Columns;
use super::cell::{self, int, integer, items, string};
use super::definition::{age, containers, images, integer as number, name, selector, text};

pub(super) fn columns(kind: &str) -> Option<Columns> {
    Some(match kind {
        "Deployment" => deployment(),
        "ReplicaSet" => replicas(cell::label_selector),
        "StatefulSet" => stateful_set(),
        "DaemonSet" => daemon_set(),
        "ControllerRevision" => controller_revision(),
        _ => return None,
    })
}

fn deployment() -> Columns {
    let definitions = [
        name(),
        text("Ready", "How many pods are ready, of how many there should be"),
        text("Up-to-date", "How many pods have the present template"),
        text("Available", "How many pods have been ready for long enough"),
        age(),
        containers(),
        images(),
        selector(),
    ];
    Columns::new(definitions, |deployment, now| {
        let (spec, status) = (&deployment["spec"], &deployment["status"]);
        let [names, images] = cell::containers(&spec["template"]["spec"]);
        let selector = Selector::from_label_selector(Some(&spec["selector"]));
        vec![
            cell::name(deployment),
            ready(deployment),
            integer(&status["updatedReplicas"]),
            integer(&status["availableReplicas"]),
            cell::age(deployment, now),
            names,
            images,
            selector.map_or("<invalid>".into(), |selector| selector.to_string().into()),
        ]
    })
}

fn ready(object: &Value) -> Value {
    format!("{}/{}", int(&object["status"]["readyReplicas"]), int(&object["spec"]["replicas"])).into()
}

/// The columns of kinds that keep a number of pods; `selected` shows a selector.
pub(super) fn replicas(selected: fn(&Value) -> Value) -> Columns {
    let definitions = [
        name(),
        number("Desired", "How many pods there should be"),
        number("Current", "How many pods there are"),
        number("Ready", "How many pods are ready"),
        age(),
        containers(),
        images(),
        selector(),
    ];
    Columns::new(definitions, move |object, now| {
        let (spec, status) = (&object["spec"], &object["status"]);
        let [names, images] = cell::containers(&spec["template"]["spec"]);
        vec![
            cell::name(object),
            integer(&spec["replicas"]),
            integer(&status["replicas"]),
            integer(&status["readyReplicas"]),
            cell::age(object, now),
            names,
            images,
            selected(&spec["selector"]),
        ]
    })
}

fn stateful_set() -> Columns {
    let definitions = [
        name(),
        text("Ready", "How many pods are ready, of how many there should be"),
        age(),
        containers(),
        images(),
    ];
    Columns::new(definitions, |set, now| {
        let [names, images] = cell::containers(&set["spec"]["template"]["spec"]);
        vec![cell::name(set), ready(set), cell::age(set, now), names, images]
    })
}

fn daemon_set() -> Columns {
    let definitions = [
        name(),
        number("Desired", "How many nodes should run its pod"),
        number("Current", "How many of these nodes run it"),
        number("Ready", "How many of these pods are ready"),
        number("Up-to-date", "How many of these pods have the present template"),
        number("Available", "How many of these pods have been ready for long enough"),
        text("Node Selector", "Which nodes run its pod, by their labels"),
        age(),
        containers(),
        images(),
        selector(),
    ];
    Columns::new(definitions, |set, now| {
        let (spec, status) = (&set["spec"], &set["status"]);
        let pod = &spec["template"]["spec"];
        let [names, images] = cell::containers(pod);
        vec![
            cell::name(set),
            integer(&status["desiredNumberScheduled"]),
            integer(&status["currentNumberScheduled"]),
            integer(&status["numberReady"]),
            integer(&status["updatedNumberScheduled"]),
            integer(&status["numberAvailable"]),
            cell::labels(&pod["nodeSelector"]),
            cell::age(set, now),
            names,
            images,
            cell::label_selector(&spec["selector"]),
        ]
    })
}

fn controller_revision() -> Columns {
    let definitions = [
        name(),
        text("Controller", "Whose history this is part of"),
        text("Revision", "Its number in the history"),
        age(),
    ];
    Columns::new(definitions, |revision, now| {
        vec![
            cell::name(revision),
            controller(revision).into(),
            integer(&revision["revision"]),
            cell::age(revision, now),
        ]
    })
}

/// The owner that controls an object, as `kind.group/name`.
fn controller(object: &Value) -> String {
    let owners = items(&object["metadata"]["ownerReferences"]);
    let Some(owner) = owners.iter().find(|owner| owner["controller"] == true) else {
        return "<none>".to_owned();
    };
    let kind = string(&owner["kind"]).to_lowercase();
    let name = string(&owner["name"]);
    match string(&owner["apiVersion"]).split_once('/') {
        Some((group, _)) => format!("{kind}.{group}/{name}"),
        None => format!("{kind}/{name}"),
    }
}
