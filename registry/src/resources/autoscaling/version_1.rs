//! Version 1 of autoscalers: one metric is a field, and what else later versions say stands in annotations.

use serde_json::{Map, Value, json};

use crate::schema;
use crate::stored::Conversion;

/// Where metrics other than the share of the processors stand.
const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
/// Where the present values of such metrics stand.
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

/// What the tables call the parts of version 2.
const SPEC: &str = "io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerSpec";
const STATUS: &str = "io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerStatus";

/// Turns autoscalers of version 2 into those of version 1, and back.
#[derive(Debug)]
pub(super) struct Version1;

impl Conversion for Version1 {
    fn to_served(&self, object: &mut Value) {
        let mut notes = Vec::new();
        if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
            let (processors, others) = split(take_list(spec, "metrics"), "target");
            if let Some(target) = processors {
                spec.insert("targetCPUUtilizationPercentage".into(), target);
            }
            notes.push((
                METRICS,
                others.iter().map(|metric| old_metric(metric, "target")).collect::<Vec<_>>().into(),
            ));
            notes.push((
                BEHAVIOR,
                spec.remove("behavior").map(|rules| renamed(rules, upper)).unwrap_or_default(),
            ));
        }
        if let Some(status) = object.get_mut("status").and_then(Value::as_object_mut) {
            let (processors, others) = split(take_list(status, "currentMetrics"), "current");
            if let Some(current) = processors {
                status.insert("currentCPUUtilizationPercentage".into(), current);
            }
            status.entry("currentReplicas").or_insert(0.into());
            let others: Vec<Value> = others.iter().map(|metric| old_metric(metric, "current")).collect();
            notes.push((CURRENT_METRICS, others.into()));
            notes.push((CONDITIONS, take_list(status, "conditions").into()));
        }
        for (key, value) in notes {
            let is_empty = value.is_null() || value.as_array().is_some_and(Vec::is_empty);
            if !is_empty {
                annotate(object, key, &value);
            }
        }
    }

    fn to_stored(&self, object: &mut Value) {
        let metrics = metrics_of(take_note(object, METRICS), "target");
        let behavior = fitting(SPEC, "behavior", renamed(take_note(object, BEHAVIOR), lower));
        let current = metrics_of(take_note(object, CURRENT_METRICS), "current");
        let conditions = fitting(STATUS, "conditions", take_note(object, CONDITIONS));
        if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
            let processors =
                spec.remove("targetCPUUtilizationPercentage").filter(|percent| !percent.is_null());
            let all = join(processors, metrics, "target");
            if !all.is_empty() {
                spec.insert("metrics".into(), all.into());
            }
            if behavior.is_object() {
                spec.insert("behavior".into(), behavior);
            }
        }
        if let Some(status) = object.get_mut("status").and_then(Value::as_object_mut) {
            let processors =
                status.remove("currentCPUUtilizationPercentage").filter(|percent| !percent.is_null());
            let all = join(processors, current, "current");
            // Version 2 always says that it has none.
            status.insert("currentMetrics".into(), if all.is_empty() { Value::Null } else { all.into() });
            if status.get("currentReplicas").is_some_and(|replicas| *replicas == 0) {
                status.remove("currentReplicas");
            }
            if conditions.is_array() {
                status.insert("conditions".into(), conditions);
            }
        }
    }
}

fn list(value: Value) -> Vec<Value> {
    match value {
        Value::Array(items) => items,
        _ => Vec::new(),
    }
}

fn take_list(fields: &mut Map<String, Value>, name: &str) -> Vec<Value> {
    list(fields.remove(name).unwrap_or_default())
}

/// Parts the share of the processors, of which version 1 has a field, from all other metrics.
fn split(metrics: Vec<Value>, side: &str) -> (Option<Value>, Vec<Value>) {
    let mut processors = None;
    let mut others = Vec::new();
    for metric in metrics {
        let share = &metric["resource"][side]["averageUtilization"];
        let is_it = metric["type"] == "Resource" && metric["resource"]["name"] == "cpu" && !share.is_null();
        if is_it && processors.is_none() {
            processors = Some(share.clone());
        } else {
            others.push(metric);
        }
    }
    (processors, others)
}

fn join(processors: Option<Value>, others: Vec<Value>, side: &str) -> Vec<Value> {
    let first = processors.map(|percent| {
        let mut amount = json!({"averageUtilization": percent});
        if side == "target" {
            amount["type"] = "Utilization".into();
        }
        json!({"type": "Resource", "resource": {"name": "cpu", side: amount}})
    });
    first.into_iter().chain(others).collect()
}

/// Reads an annotation with metrics. One of which a part has the wrong type says nothing at all, as if it were no JSON.
fn metrics_of(note: Value, side: &str) -> Vec<Value> {
    let metrics: Vec<Value> = list(note).iter().map(|metric| new_metric(metric, side)).collect();
    let (structure, field) = if side == "target" { (SPEC, "metrics") } else { (STATUS, "currentMetrics") };
    list(fitting(structure, field, metrics.into()))
}

/// Reads what an annotation says as a field of version 2; null if it does not fit.
fn fitting(structure: &str, field: &str, value: Value) -> Value {
    if value.is_null() {
        return value;
    }
    let structure = schema::by_name(structure).expect("the tables have version 2 of autoscalers");
    let decoded = schema::decode_value(structure, json!({field: value}));
    decoded.map(|mut decoded| decoded.value[field].take()).unwrap_or_default()
}

/// Returns an autoscaler of version 1 as upstream checks it: the share of the processors is the last of the metrics there.
pub(crate) fn as_checked(object: &Value) -> Value {
    let mut checked = object.clone();
    Version1.to_stored(&mut checked);
    let has_share = !object["spec"]["targetCPUUtilizationPercentage"].is_null();
    if let Some(metrics) = checked["spec"]["metrics"].as_array_mut().filter(|_| has_share) {
        metrics.rotate_left(1);
    }
    checked
}

/// The names that version 1 gives the amounts of a metric of a type, as (new, old), for what is wanted or for what is.
fn amounts(kind: &str, side: &str) -> &'static [(&'static str, &'static str)] {
    match (kind, side) {
        ("Resource" | "ContainerResource", "target") => {
            &[("averageUtilization", "targetAverageUtilization"), ("averageValue", "targetAverageValue")]
        }
        ("Resource" | "ContainerResource", _) => {
            &[("averageUtilization", "currentAverageUtilization"), ("averageValue", "currentAverageValue")]
        }
        ("Pods", "target") => &[("averageValue", "targetAverageValue")],
        ("Pods", _) => &[("averageValue", "currentAverageValue")],
        ("Object", "target") => &[("value", "targetValue"), ("averageValue", "averageValue")],
        ("Object", _) => &[("value", "currentValue"), ("averageValue", "averageValue")],
        (_, "target") => &[("value", "targetValue"), ("averageValue", "targetAverageValue")],
        (_, _) => &[("value", "currentValue"), ("averageValue", "currentAverageValue")],
    }
}

/// The name of the field that describes a metric of a type.
fn source(kind: &str) -> String {
    lower(kind)
}

/// What version 1 calls the selector of a metric of a type.
fn selector(kind: &str) -> &'static str {
    if kind == "External" { "metricSelector" } else { "selector" }
}

/// Writes a metric as version 1 does.
fn old_metric(metric: &Value, side: &str) -> Value {
    let kind = metric["type"].as_str().unwrap_or_default();
    let new = &metric[source(kind)];
    let mut old = Map::new();
    let mut keep = |name: &str, value: &Value| {
        if !value.is_null() {
            old.insert(name.into(), value.clone());
        }
    };
    keep("name", &new["name"]);
    keep("container", &new["container"]);
    keep("target", &new["describedObject"]);
    keep("metricName", &new["metric"]["name"]);
    keep(selector(kind), &new["metric"]["selector"]);
    for (now, then) in amounts(kind, side) {
        keep(then, &new[side][now]);
    }
    json!({"type": kind, source(kind): old})
}

/// Reads a metric as version 1 writes it.
fn new_metric(metric: &Value, side: &str) -> Value {
    let kind = metric["type"].as_str().unwrap_or_default();
    let old = &metric[source(kind)];
    let mut new = json!({});
    for name in ["name", "container"] {
        if !old[name].is_null() {
            new[name] = old[name].clone();
        }
    }
    if !old["target"].is_null() {
        new["describedObject"] = old["target"].clone();
    }
    if !old["metricName"].is_null() {
        new["metric"] = json!({"name": old["metricName"]});
        if !old[selector(kind)].is_null() {
            new["metric"]["selector"] = old[selector(kind)].clone();
        }
    }
    new[side] = json!({});
    for (now, then) in amounts(kind, side) {
        if !old[then].is_null() {
            new[side][now] = old[then].clone();
        }
    }
    if side == "target" {
        let target = &new[side];
        let is_set = |name: &str| !target[name].is_null();
        let kind = match kind {
            "Resource" | "ContainerResource" if is_set("averageUtilization") => "Utilization",
            "Object" if !is_set("averageValue") => "Value",
            "External" if is_set("value") => "Value",
            _ => "AverageValue",
        };
        new[side]["type"] = kind.into();
    }
    json!({"type": kind, source(kind): new})
}

/// Renames all fields of a value: the annotation with the behavior has them in capitals.
fn renamed(value: Value, name: fn(&str) -> String) -> Value {
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .map(|(key, value)| (name(&key), renamed(value, name)))
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(items) => items.into_iter().map(|item| renamed(item, name)).collect::<Vec<_>>().into(),
        other => other,
    }
}

fn upper(name: &str) -> String {
    let mut characters = name.chars();
    characters.next().map(|first| first.to_uppercase().chain(characters).collect()).unwrap_or_default()
}

fn lower(name: &str) -> String {
    let mut characters = name.chars();
    characters.next().map(|first| first.to_lowercase().chain(characters).collect()).unwrap_or_default()
}

fn annotate(object: &mut Value, key: &str, value: &Value) {
    if !object["metadata"]["annotations"].is_object() {
        object["metadata"]["annotations"] = json!({});
    }
    object["metadata"]["annotations"][key] = value.to_string().into();
}

/// Takes what an annotation says; null if there is none, or it cannot be read.
fn take_note(object: &mut Value, key: &str) -> Value {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else {
        return Value::Null;
    };
    let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) else {
        return Value::Null;
    };
    let note = annotations.remove(key);
    if annotations.is_empty() {
        metadata.remove("annotations");
    }
    let text = note.as_ref().and_then(Value::as_str).unwrap_or_default();
    schema::parse_json(text.as_bytes()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An autoscaler as it is read from a body: with all that its tables add.
    fn stored() -> Value {
        let structure = schema::builtin("autoscaling", "v2", "HorizontalPodAutoscaler").unwrap();
        schema::decode_value(structure, written()).unwrap().value
    }

    fn written() -> Value {
        json!({
            "metadata": {"name": "a"},
            "spec": {
                "scaleTargetRef": {"kind": "Deployment", "name": "a"}, "maxReplicas": 3,
                "metrics": [
                    {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}},
                    {"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}},
                    {"type": "Pods", "pods": {"metric": {"name": "m"}, "target": {"type": "AverageValue", "averageValue": "5"}}},
                    {"type": "Object", "object": {
                        "describedObject": {"kind": "Service", "name": "s"}, "metric": {"name": "m", "selector": {}},
                        "target": {"type": "Value", "value": "5"},
                    }},
                    {"type": "External", "external": {
                        "metric": {"name": "q", "selector": {"matchLabels": {"a": "b"}}},
                        "target": {"type": "AverageValue", "averageValue": "5"},
                    }},
                ],
                "behavior": {"scaleUp": {"stabilizationWindowSeconds": 0, "policies": [{"type": "Pods", "value": 4}]}},
            },
            "status": {
                "currentReplicas": 2, "desiredReplicas": 3,
                "currentMetrics": [{"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 50}}}],
                "conditions": [{"type": "AbleToScale", "status": "True"}],
            },
        })
    }

    #[test]
    fn an_autoscaler_comes_back_from_version_1_as_it_was() {
        let mut object = stored();

        Version1.to_served(&mut object);
        let served = object.clone();
        Version1.to_stored(&mut object);

        assert_eq!(object, stored());
        assert_eq!(served["spec"]["targetCPUUtilizationPercentage"], 60);
        assert_eq!(served["status"]["currentCPUUtilizationPercentage"], 50);
        assert_eq!(served["spec"].get("metrics"), None);
    }

    #[test]
    fn an_annotation_that_cannot_be_read_says_nothing() {
        let mut object = json!({"metadata": {"annotations": {METRICS: "{"}}, "spec": {"maxReplicas": 1}});

        Version1.to_stored(&mut object);

        assert_eq!(object, json!({"metadata": {}, "spec": {"maxReplicas": 1}, }));
    }
}
