//! What pods show.

use super::*;

/// A pod with two containers.
fn pod(spec: Value, status: Value) -> Value {
    let mut pod = json!({"spec": {"containers": [{"name": "c"}, {"name": "d"}]}, "status": status});
    for (field, value) in spec.as_object().unwrap() {
        pod["spec"][field] = value.clone();
    }
    pod
}

/// Ready, Status, Restarts.
fn shown(spec: Value, status: Value) -> String {
    let cells = cells("", "Pod", pod(spec, status));
    [1, 2, 3].map(|index| cells[index].as_str().unwrap().to_owned()).join(" ")
}

fn waiting(reason: &str) -> Value {
    json!({"waiting": {"reason": reason}})
}

#[test]
fn a_pod_without_a_node_is_pending_and_has_no_address() {
    let cells = cells("", "Pod", pod(json!({}), json!({"phase": "Pending"})));

    assert_eq!(cells, json!(["a", "0/2", "Pending", "0", "90m", "<none>", "<none>", "<none>", "<none>"]));
}

#[test]
fn a_running_pod_shows_its_ready_containers_restarts_address_and_node() {
    let status = json!({
        "phase": "Running", "podIP": "10.9.8.7", "podIPs": [{"ip": "10.9.8.7"}], "nominatedNodeName": "other",
        "containerStatuses": [
            {"name": "c", "ready": true, "restartCount": 2, "state": {"running": {}},
             "lastState": {"terminated": {"finishedAt": "2024-05-01T11:25:00Z"}}},
            {"name": "d", "ready": false, "restartCount": 1, "state": {"running": {}}},
        ],
    });

    let cells = cells("", "Pod", pod(json!({"nodeName": "n"}), status));

    assert_eq!(
        cells,
        json!(["a", "1/2", "Running", "3 (5m ago)", "90m", "10.9.8.7", "n", "other", "<none>"])
    );
}

#[test]
fn the_first_container_that_waits_or_ended_gives_the_status() {
    for (first, second, expected) in [
        (waiting("CrashLoopBackOff"), json!({"running": {}}), "1/2 CrashLoopBackOff 0"),
        (waiting("ContainerCreating"), waiting("ImagePullBackOff"), "0/2 ContainerCreating 0"),
        (json!({"terminated": {"reason": "OOMKilled", "exitCode": 137}}), json!({}), "0/2 OOMKilled 0"),
        (json!({"terminated": {"signal": 9, "exitCode": 137}}), json!({}), "0/2 Signal:9 0"),
        (json!({"terminated": {"exitCode": 1}}), json!({}), "0/2 ExitCode:1 0"),
        (json!({"terminated": {"reason": "Completed"}}), json!({"running": {}}), "1/2 NotReady 0"),
        (json!({"waiting": {}}), json!({}), "0/2 Pending 0"),
    ] {
        let status = json!({"phase": "Pending", "containerStatuses": [
            {"name": "c", "state": first}, {"name": "d", "ready": true, "state": second},
        ]});

        assert_eq!(shown(json!({}), status), expected);
    }
}

#[test]
fn a_pod_runs_while_it_is_ready_though_a_container_completed() {
    let status = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}], "containerStatuses": [
        {"name": "c", "state": {"terminated": {"reason": "Completed"}}},
        {"name": "d", "ready": true, "state": {"running": {}}},
    ]});

    assert_eq!(shown(json!({}), status), "1/2 Running 0");
}

#[test]
fn init_containers_show_how_many_are_done_or_why_one_fails() {
    let spec = json!({"initContainers": [{"name": "i"}, {"name": "j"}]});
    let done = json!({"name": "i", "restartCount": 1, "state": {"terminated": {"exitCode": 0}}});
    for (statuses, expected) in [
        (json!([{"name": "i", "state": waiting("PodInitializing")}]), "0/2 Init:0/2 0"),
        (json!([done, {"name": "j", "restartCount": 2, "state": {"running": {}}}]), "0/2 Init:1/2 3"),
        (json!([{"name": "i", "state": waiting("CrashLoopBackOff")}]), "0/2 Init:CrashLoopBackOff 0"),
        (json!([{"name": "i", "state": {"terminated": {"exitCode": 2}}}]), "0/2 Init:ExitCode:2 0"),
        (
            json!([{"name": "i", "state": {"terminated": {"exitCode": 2, "signal": 9}}}]),
            "0/2 Init:Signal:9 0",
        ),
        (
            json!([{"name": "i", "state": {"terminated": {"exitCode": 2, "reason": "Error"}}}]),
            "0/2 Init:Error 0",
        ),
    ] {
        let status = json!({"phase": "Pending", "initContainerStatuses": statuses, "containerStatuses": [
            {"name": "c", "state": waiting("PodInitializing")},
        ]});

        assert_eq!(shown(spec.clone(), status), expected);
    }
}

#[test]
fn once_init_containers_are_done_the_containers_give_the_status() {
    let spec = json!({"initContainers": [{"name": "i"}]});
    let status = json!({
        "phase": "Pending",
        "initContainerStatuses": [{"name": "i", "restartCount": 4, "state": {"terminated": {"exitCode": 0}}}],
        "containerStatuses": [{"name": "c", "state": waiting("PodInitializing")}],
    });

    assert_eq!(shown(spec, status), "0/2 PodInitializing 0");
}

#[test]
fn a_sidecar_counts_among_the_containers_and_their_restarts() {
    let spec = json!({"initContainers": [{"name": "i", "restartPolicy": "Always"}, {"name": "j"}]});
    let sidecar = json!({"name": "i", "started": true, "ready": true, "restartCount": 1, "state": {"running": {}},
        "lastState": {"terminated": {"finishedAt": "2024-05-01T11:29:55Z"}}});
    let running = json!({"phase": "Running", "initContainerStatuses": [
            sidecar, {"name": "j", "restartCount": 3, "state": {"terminated": {"exitCode": 0}}},
        ], "containerStatuses": [{"name": "c", "ready": true, "state": {"running": {}}}]});
    let starting =
        json!({"phase": "Pending", "initContainerStatuses": [sidecar, {"name": "j", "state": {}}]});

    assert_eq!(shown(spec.clone(), running), "2/3 Running 1 (5s ago)");
    assert_eq!(shown(spec, starting), "1/3 Init:1/2 1 (5s ago)");
}

#[test]
fn a_pod_that_is_being_deleted_terminates_unless_it_has_ended_or_its_node_is_lost() {
    for (status, expected) in [
        (json!({"phase": "Running"}), "Terminating"),
        (json!({"phase": "Succeeded"}), "Succeeded"),
        (json!({"phase": "Running", "reason": "NodeLost"}), "Unknown"),
    ] {
        let mut pod = pod(json!({}), status);
        pod["metadata"] = json!({"deletionTimestamp": CREATED});

        assert_eq!(cells("", "Pod", pod)[2], expected);
    }
}

#[test]
fn a_reason_or_a_gate_replaces_the_phase() {
    let gated =
        json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "reason": "SchedulingGated"}]});

    assert_eq!(shown(json!({}), json!({"phase": "Failed", "reason": "Evicted"})), "0/2 Evicted 0");
    assert_eq!(shown(json!({}), gated), "0/2 SchedulingGated 0");
}

#[test]
fn readiness_gates_show_how_many_are_met() {
    let spec = json!({"readinessGates": [{"conditionType": "ex.com/a"}, {"conditionType": "ex.com/b"}]});
    let status = json!({"conditions": [{"type": "ex.com/a", "status": "True"}]});

    assert_eq!(cells("", "Pod", pod(spec, status))[8], "1/2");
}

#[test]
fn the_row_of_a_pod_that_ended_has_the_condition_completed() {
    let conditions = |phase| {
        let pod = created(pod(json!({}), json!({"phase": phase})));
        object_table(&columns("", "Pod"), &pod, &options(IncludeObject::None))["rows"][0]
            .get("conditions")
            .cloned()
    };
    let completed = |reason, message| json!([{"type": "Completed", "status": "True", "reason": reason, "message": message}]);

    assert_eq!(conditions("Running"), None);
    assert_eq!(conditions("Succeeded"), Some(completed("Succeeded", "The pod has completed successfully.")));
    assert_eq!(conditions("Failed"), Some(completed("Failed", "The pod failed.")));
}
