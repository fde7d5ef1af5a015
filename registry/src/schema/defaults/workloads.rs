//! Defaults of the groups apps, batch and autoscaling (Kubernetes: `pkg/apis/{apps,batch,autoscaling}/*/defaults.go`).

use serde_json::{Value, json};

use super::{Object, each, ensure_object, fill, object, object_mut, text};

pub(super) fn deployment_strategy(strategy: &mut Object) {
    fill(strategy, "type", "RollingUpdate");
    if text(strategy, "type") == "RollingUpdate"
        && let Some(rolling) = ensure_object(strategy, "rollingUpdate")
    {
        fill(rolling, "maxUnavailable", "25%");
        fill(rolling, "maxSurge", "25%");
    }
}

pub(super) fn daemon_set_strategy(strategy: &mut Object) {
    fill(strategy, "type", "RollingUpdate");
    if text(strategy, "type") == "RollingUpdate"
        && let Some(rolling) = ensure_object(strategy, "rollingUpdate")
    {
        fill(rolling, "maxUnavailable", 1);
        fill(rolling, "maxSurge", 0);
    }
}

pub(super) fn stateful_set_strategy(strategy: &mut Object) {
    if text(strategy, "type").is_empty() {
        fill(strategy, "type", "RollingUpdate");
        fill(strategy, "rollingUpdate", Object::new());
    }
    if text(strategy, "type") == "RollingUpdate"
        && let Some(rolling) = object_mut(strategy, "rollingUpdate")
    {
        fill(rolling, "partition", 0);
    }
}

/// Claim templates are whole objects and say what they are. (Kubernetes adds this when it converts.)
pub(super) fn stateful_set(spec: &mut Object) {
    for claim in each(spec, "volumeClaimTemplates") {
        fill(claim, "apiVersion", "v1");
        fill(claim, "kind", "PersistentVolumeClaim");
    }
}

pub(super) fn job(job: &mut Object) {
    let Some(spec) = object_mut(job, "spec") else { return };
    if !spec.contains_key("completions") && !spec.contains_key("parallelism") {
        fill(spec, "completions", 1);
    }
    fill(spec, "parallelism", 1);
    // With a limit per index the limit of all is as good as none.
    let limit = if spec.contains_key("backoffLimitPerIndex") { i32::MAX } else { 6 };
    fill(spec, "backoffLimit", limit);
    fill(spec, "completionMode", "NonIndexed");
    fill(spec, "suspend", false);
    fill(spec, "manualSelector", false);
    let replacement = if spec.contains_key("podFailurePolicy") { "Failed" } else { "TerminatingOrFailed" };
    fill(spec, "podReplacementPolicy", replacement);
    let labels = object(spec, "template")
        .and_then(|template| object(object(template, "metadata")?, "labels"))
        .filter(|labels| !labels.is_empty())
        .cloned();
    if let (Some(labels), Some(metadata)) = (labels, object_mut(job, "metadata")) {
        fill(metadata, "labels", labels);
    }
}

pub(super) fn failure_pattern(pattern: &mut Object) {
    if text(pattern, "status").is_empty() {
        pattern.insert("status".into(), "True".into());
    }
}

/// Version 1 knows CPU only; other metrics stand in an annotation.
pub(super) fn autoscaler_v1(autoscaler: &mut Object) {
    let has_metrics = object(autoscaler, "metadata")
        .and_then(|metadata| object(metadata, "annotations"))
        .is_some_and(|annotations| annotations.contains_key("autoscaling.alpha.kubernetes.io/metrics"));
    if let (false, Some(spec)) = (has_metrics, object_mut(autoscaler, "spec")) {
        fill(spec, "targetCPUUtilizationPercentage", 80);
    }
}

pub(super) fn autoscaler_v2(spec: &mut Object) {
    fill(
        spec,
        "metrics",
        json!([{
            "type": "Resource",
            "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}},
        }]),
    );
    let Some(behavior) = object_mut(spec, "behavior") else { return };
    if let Some(up) = ensure_object(behavior, "scaleUp") {
        fill(up, "stabilizationWindowSeconds", 0);
        scaling_rules(up, &[("Pods", 4), ("Percent", 100)]);
    }
    if let Some(down) = ensure_object(behavior, "scaleDown") {
        scaling_rules(down, &[("Percent", 100)]);
    }
}

fn scaling_rules(rules: &mut Object, policies: &[(&str, i64)]) {
    fill(rules, "selectPolicy", "Max");
    let policies: Vec<Value> = policies
        .iter()
        .map(|(kind, value)| json!({"type": kind, "value": value, "periodSeconds": 15}))
        .collect();
    fill(rules, "policies", policies);
}
