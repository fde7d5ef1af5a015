use serde_json::{Value, json};

use super::super::tests::{created, status_updated, updated, with};
use super::*;

fn workload(version: &str, kind: &str) -> Value {
    json!({
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": "w", "namespace": "n"},
        "spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "template": {
                "metadata": {"labels": {"a": "b"}},
                "spec": {"containers": [{"name": "c", "image": "i"}]},
            },
        },
    })
}

fn all() -> Vec<Value> {
    let controller = with(workload("v1", "ReplicationController"), "/spec/selector", json!({"a": "b"}));
    let mut all = vec![controller];
    all.extend(
        ["ReplicaSet", "Deployment", "DaemonSet", "StatefulSet"].map(|kind| workload("apps/v1", kind)),
    );
    all
}

#[test]
fn a_small_workload_of_each_kind_is_valid() {
    for object in all() {
        assert_eq!(created(object.clone()), Vec::<String>::new(), "{object}");
    }
}

#[test]
fn the_selector_of_each_kind_matches_its_template_whose_pods_last() {
    for object in all() {
        let object = with(object, "/spec/template/metadata/labels", json!({"x": "y"}));
        let object = with(object, "/spec/template/spec/restartPolicy", "Never".into());
        assert_eq!(
            created(object.clone()),
            [
                "spec.template.metadata.labels: Invalid value: map[string]string{\"x\":\"y\"}: `selector` does not match template `labels`",
                "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
            ],
            "{object}"
        );
    }
}

#[test]
fn selectors_do_not_change() {
    for object in all().into_iter().skip(1) {
        let errors = updated(
            object.clone(),
            &[
                ("/spec/selector/matchLabels", json!({"c": "d"})),
                ("/spec/template/metadata/labels", json!({"c": "d"})),
            ],
        );
        assert_eq!(errors.len(), 1, "{object}: {errors:?}");
        assert!(
            errors[0].contains("field is immutable") || errors[0].contains("are forbidden"),
            "{errors:?}"
        );
    }
}

#[test]
fn a_rolling_update_moves_something_and_at_most_all() {
    let rolling = |surge: Value, unavailable: Value| {
        let strategy = json!({"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}});
        created(with(workload("apps/v1", "Deployment"), "/spec/strategy", strategy))
    };
    assert_eq!(rolling(1.into(), "100%".into()), Vec::<String>::new());
    assert_eq!(
        rolling(0.into(), "0%".into()),
        [
            "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: intstr.IntOrString{Type:1, IntVal:0, StrVal:\"0%\"}: may not be 0 when `maxSurge` is 0"
        ]
    );
    assert_eq!(rolling("x".into(), "101%".into()).len(), 2);
}

#[test]
fn most_of_a_stateful_set_does_not_change() {
    let set = with(workload("apps/v1", "StatefulSet"), "/spec/serviceName", "s".into());
    assert_eq!(updated(set.clone(), &[("/spec/replicas", 5.into())]), Vec::<String>::new());
    let errors = updated(set, &[("/spec/serviceName", "t".into())]);
    assert!(errors[0].starts_with("spec: Forbidden: updates to statefulset spec"), "{errors:?}");
}

fn job() -> Value {
    with(manual_job(), "/spec/template/spec/restartPolicy", "Never".into())
}

/// A job whose selector is its own, which says nothing of restarts.
fn manual_job() -> Value {
    with(workload("batch/v1", "Job"), "/spec/manualSelector", true.into())
}

#[test]
fn a_job_ends_and_stays_as_it_is() {
    assert_eq!(created(job()), Vec::<String>::new());
    assert_eq!(
        created(manual_job()),
        ["spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\""]
    );
    assert_eq!(
        updated(job(), &[("/spec/parallelism", 3.into())]),
        ["spec.completions: Invalid value: \"null\": field is immutable"]
    );
    let errors = updated(job(), &[("/spec/template/spec/containers/0/image", "j".into())]);
    assert!(errors[0].starts_with("spec.template: Invalid value: "), "{errors:?}");
    let suspended = with(job(), "/spec/suspend", true.into());
    assert_eq!(
        updated(suspended, &[("/spec/template/spec/nodeSelector", json!({"a": "b"}))]),
        Vec::<String>::new()
    );
}

#[test]
fn a_cron_job_has_a_schedule_that_can_be_read() {
    let cron = |schedule: &str| {
        let job = json!({"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}});
        let cron = with(workload("batch/v1", "CronJob"), "/spec", json!({"jobTemplate": {"spec": job}}));
        created(with(cron, "/spec/schedule", schedule.into()))
    };
    for schedule in
        ["* * * * *", "*/5 0-6 1,15 jan-mar mon", "@daily", "0 0 1 1 *", "@every 1h", "5/10 * ? * SUN"]
    {
        assert_eq!(cron(schedule), Vec::<String>::new(), "{schedule}");
    }
    for (schedule, problem) in [
        ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
        ("60 * * * *", "end of range (60) above maximum (59): 60"),
        ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("x * * * *", "failed to parse int from x: strconv.Atoi: parsing \"x\": invalid syntax"),
        ("@never", "unrecognized descriptor: @never"),
    ] {
        assert_eq!(cron(schedule), [format!("spec.schedule: Invalid value: \"{schedule}\": {problem}")]);
    }
}

#[test]
fn an_autoscaler_has_bounds_and_a_target() {
    let scaler = json!({
        "apiVersion": "autoscaling/v1",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "w", "namespace": "n"},
        "spec": {"minReplicas": 3, "maxReplicas": 2, "targetCPUUtilizationPercentage": 0, "scaleTargetRef": {"kind": "Deployment", "name": ""}},
    });
    assert_eq!(
        created(scaler),
        [
            "spec.maxReplicas: Invalid value: 2: must be greater than or equal to `minReplicas`",
            "spec.scaleTargetRef.name: Required value",
            "spec.metrics[0].resource.target.averageUtilization: Invalid value: 0: must be greater than 0",
        ]
    );
}

#[test]
fn counts_in_a_status_fit_to_each_other() {
    let status = json!({"replicas": 1, "readyReplicas": 2, "availableReplicas": 3});
    let mut errors = Vec::new();

    counts(&At::root(&status), &["readyReplicas", "availableReplicas"], &mut errors);
    available(&At::root(&status), "readyReplicas", &mut errors);

    let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        errors,
        [
            "readyReplicas: Invalid value: 2: cannot be greater than status.replicas",
            "availableReplicas: Invalid value: 3: cannot be greater than status.replicas",
            "availableReplicas: Invalid value: 3: cannot be greater than readyReplicas",
        ]
    );
}

#[test]
fn a_stateful_set_says_nothing_of_what_its_pods_are_to_run() {
    let mounts = json!([{"name": "made-by-a-claim", "mountPath": "/d"}]);
    let set =
        with(workload("apps/v1", "StatefulSet"), "/spec/template/spec/containers/0/volumeMounts", mounts);
    assert_eq!(created(set.clone()), Vec::<String>::new());

    let set = with(set, "/spec/template/metadata/labels", json!({"a": "b", "c d": ""}));
    let set = with(
        set,
        "/spec/updateStrategy",
        json!({"rollingUpdate": {"partition": -1}, "type": "RollingUpdate"}),
    );
    let set = with(set, "/spec/persistentVolumeClaimRetentionPolicy", json!({"whenDeleted": "Keep"}));
    let errors = created(set);
    assert_eq!(
        errors[..2],
        [
            "spec.updateStrategy.rollingUpdate.partition: Invalid value: -1: must be greater than or equal to 0",
            "spec.persistentVolumeClaimRetentionPolicy.whenDeleted: Unsupported value: \"Keep\": supported values: \"Retain\", \"Delete\"",
        ]
    );
    assert!(errors[2].starts_with("spec.template.labels: Invalid value: \"c d\": name part"), "{errors:#?}");
    assert_eq!(errors.len(), 3, "{errors:#?}");
}

#[test]
fn a_selector_that_cannot_be_read_is_compared_with_nothing() {
    let selector = json!({"matchExpressions": [{"key": "a", "operator": "In"}]});
    let shown = "v1.LabelSelector{MatchLabels:map[string]string(nil), MatchExpressions:[]v1.LabelSelectorRequirement{\
                 v1.LabelSelectorRequirement{Key:\"a\", Operator:\"In\", Values:[]string(nil)}}}";
    let values = "spec.selector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'";

    for kind in ["ReplicaSet", "Deployment"] {
        let object = with(workload("apps/v1", kind), "/spec/selector", selector.clone());
        let second = format!("spec.selector: Invalid value: {shown}: invalid label selector");
        assert_eq!(created(object), [values, second.as_str()], "{kind}");
    }
    let set = with(workload("apps/v1", "DaemonSet"), "/spec/selector", selector);
    assert_eq!(created(set), [values]);
}

#[test]
fn what_a_job_does_about_failures_is_complete() {
    let job = with(workload("batch/v1", "Job"), "/spec/manualSelector", true.into());
    let job = with(job, "/spec/template/spec/restartPolicy", "Never".into());
    assert_eq!(created(job.clone()), Vec::<String>::new());
    let rules = json!([
        {"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [2, 0, 2], "containerName": "x"}},
        {"action": "Retry", "onPodConditions": [{"type": "a b", "status": "Perhaps"}]},
        {"action": "Ignore"},
    ]);
    let errors = created(with(job.clone(), "/spec/podFailurePolicy", json!({"rules": rules})));

    assert_eq!(errors.len(), 9, "{errors:#?}");
    assert_eq!(
        errors[..6],
        [
            "spec.podFailurePolicy.rules[0].action: Invalid value: \"FailIndex\": requires the backoffLimitPerIndex to be set",
            "spec.podFailurePolicy.rules[0].onExitCodes.containerName: Invalid value: \"x\": must be one of the container or initContainer names in the pod template",
            "spec.podFailurePolicy.rules[0].onExitCodes.values[1]: Invalid value: 0: must not be 0 for the In operator",
            "spec.podFailurePolicy.rules[0].onExitCodes.values[2]: Duplicate value: 2",
            "spec.podFailurePolicy.rules[0].onExitCodes.values: Invalid value: []int32{2, 0, 2}: must be ordered",
            "spec.podFailurePolicy.rules[1].action: Unsupported value: \"Retry\": supported values: \"Count\", \"FailIndex\", \"FailJob\", \"Ignore\"",
        ]
    );
    assert_eq!(
        errors[8],
        "spec.podFailurePolicy.rules[2]: Invalid value: specifying one of OnExitCodes and OnPodConditions is required"
    );
    let success = json!({"rules": [{}, {"succeededIndexes": "0,3-1", "succeededCount": 9}]});
    let job = with(with(job, "/spec/successPolicy", success), "/spec/completions", 4.into());
    assert_eq!(
        created(with(job, "/spec/completionMode", "Indexed".into())),
        [
            "spec.successPolicy.rules[0]: Required value: at least one of succeededCount or succeededIndexes must be specified",
            "spec.successPolicy.rules[1].succeededIndexes: Invalid value: \"0,3-1\": error parsing succeededIndexes: non-increasing order, previous: 3, current: 1",
            "spec.successPolicy.rules[1].succeededCount: Invalid value: 9: must be less than or equal to 4 (the number of specified completions)",
            "spec.successPolicy.rules[1].succeededCount: Invalid value: 9: must be less than or equal to 0 (the number of indexes in the specified succeededIndexes field)",
        ]
    );
}

#[test]
fn a_job_chooses_its_pods_itself_unless_it_says_otherwise() {
    let mut job = with(workload("batch/v1", "Job"), "/spec/template/spec/restartPolicy", "Never".into());
    job["metadata"]["uid"] = "u".into();
    job["spec"]["template"]["metadata"]["labels"] = json!({"a": "b", "controller-uid": "x", "job-name": "w"});
    let errors = created(job);

    assert_eq!(
        errors[..3],
        [
            "spec.template.metadata.labels[controller-uid]: Invalid value: map[string]string{\"a\":\"b\", \"controller-uid\":\"x\", \"job-name\":\"w\"}: must be 'u'",
            "spec.template.metadata.labels[batch.kubernetes.io/controller-uid]: Required value: must be 'u'",
            "spec.template.metadata.labels[batch.kubernetes.io/job-name]: Required value: must be 'w'",
        ]
    );
    assert!(errors[3].ends_with("`selector` not auto-generated"), "{errors:#?}");
}

#[test]
fn a_cron_job_has_a_zone_by_its_field_and_a_short_name() {
    let job = |name: &str, spec: Value| {
        let mut spec = spec;
        spec["jobTemplate"] = json!({"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}});
        created(
            json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": name, "namespace": "n"}, "spec": spec}),
        )
    };
    assert_eq!(
        job(&"c".repeat(53), json!({"schedule": "TZ=UTC * * * * *", "timeZone": "-x"})),
        [
            "spec.schedule: Invalid value: \"TZ=UTC * * * * *\": cannot use TZ or CRON_TZ in schedule, use timeZone field instead".to_owned(),
            "spec.timeZone: Invalid value: \"-x\": unknown time zone -x".to_owned(),
            format!("metadata.name: Invalid value: \"{}\": must be no more than 52 characters", "c".repeat(53)),
        ]
    );
    assert_eq!(
        job("c", json!({"schedule": "@daily", "timeZone": "Local"})),
        [
            "spec.timeZone: Invalid value: \"Local\": timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
        ]
    );
}

#[test]
fn a_status_never_counts_fewer_collisions() {
    let deployment = with(workload("apps/v1", "Deployment"), "/status", json!({"collisionCount": 2}));
    assert_eq!(
        status_updated(deployment, &[("/status/collisionCount", Value::Null)]),
        ["status.collisionCount: Invalid value: 0: cannot be decremented"]
    );
    let set = with(workload("apps/v1", "StatefulSet"), "/status", json!({"replicas": 1}));
    assert_eq!(
        status_updated(set, &[("/status/availableReplicas", 1.into())]),
        ["status.availableReplicas: Invalid value: 1: cannot be greater than status.readyReplicas"]
    );
}
