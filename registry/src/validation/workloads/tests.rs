use serde_json::{Value, json};

use super::super::tests::{created, updated, with};
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
    let job = workload("batch/v1", "Job");
    with(job, "/spec/template/spec/restartPolicy", "Never".into())
}

#[test]
fn a_job_ends_and_stays_as_it_is() {
    assert_eq!(created(job()), Vec::<String>::new());
    assert_eq!(
        created(workload("batch/v1", "Job")),
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
