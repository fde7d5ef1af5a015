//! The group `autoscaling`: autoscalers of every version, and Scale, the subresource of many kinds.

use serde_json::{Value, json};

use super::Columns;
use super::cell::{self, integer, items, quantity, string};
use super::definition::{age, integer as number, name, text};

/// How many metrics a cell shows before it counts the others.
const SHOWN_METRICS: usize = 2;

pub(super) fn columns(kind: &str) -> Option<Columns> {
    match kind {
        "HorizontalPodAutoscaler" => Some(horizontal_pod_autoscaler()),
        "Scale" => Some(scale()),
        _ => None,
    }
}

fn scale() -> Columns {
    let definitions = [
        text("Name", "The object's name, unique within its kind and namespace"),
        number("Desired", "How many pods there should be"),
        number("Available", "How many pods there are"),
        age(),
    ];
    Columns::new(definitions, |scale, now| {
        vec![
            cell::name(scale),
            integer(&scale["spec"]["replicas"]),
            integer(&scale["status"]["replicas"]),
            cell::age(scale, now),
        ]
    })
}

fn horizontal_pod_autoscaler() -> Columns {
    let definitions = [
        name(),
        text("Reference", "What is scaled"),
        text("Targets", "The metrics: what they are now, and should be"),
        text("MinPods", "How many pods there are at least"),
        text("MaxPods", "How many pods there are at most"),
        text("Replicas", "How many pods there are"),
        age(),
    ];
    Columns::new(definitions, |autoscaler, now| {
        let spec = &autoscaler["spec"];
        let target = &spec["scaleTargetRef"];
        vec![
            cell::name(autoscaler),
            format!("{}/{}", string(&target["kind"]), string(&target["name"])).into(),
            targets(autoscaler).into(),
            spec["minReplicas"].as_i64().map_or("<unset>".into(), |least| least.to_string().into()),
            integer(&spec["maxReplicas"]),
            integer(&autoscaler["status"]["currentReplicas"]),
            cell::age(autoscaler, now),
        ]
    })
}

fn targets(autoscaler: &Value) -> String {
    let (spec, status) = (&autoscaler["spec"], &autoscaler["status"]);
    let mut list: Vec<String> = Vec::new();
    for (index, metric) in items(&spec["metrics"]).iter().enumerate() {
        list.push(target(metric, &status["currentMetrics"][index]));
    }
    if let Some(percent) = spec["targetCPUUtilizationPercentage"].as_i64() {
        let metric = json!({"name": "cpu", "target": {"averageUtilization": percent}});
        let current = &status["currentCPUUtilizationPercentage"];
        list.push(resource(&metric, &json!({"current": {"averageUtilization": current}})));
    }
    let more = list.len().saturating_sub(SHOWN_METRICS);
    let shown = list[..list.len() - more].join(", ");
    match (list.is_empty(), more) {
        (true, _) => "<none>".to_owned(),
        (_, 0) => shown,
        _ => format!("{shown} + {more} more..."),
    }
}

/// What a metric is now and should be. `current` is the metric at the same place of the status, if there is one.
fn target(metric: &Value, current: &Value) -> String {
    let of = |field: &str| (metric[field].clone(), current[field].clone());
    match string(&metric["type"]) {
        "Resource" => {
            let (metric, current) = of("resource");
            resource(&metric, &current)
        }
        "ContainerResource" => {
            let (metric, current) = of("containerResource");
            resource(&metric, &current)
        }
        "Pods" => {
            let (metric, current) = of("pods");
            format!("{}/{}", known(&current, "averageValue"), quantity(&metric["target"]["averageValue"]))
        }
        kind @ ("Object" | "External") => {
            let (metric, current) = of(if kind == "Object" { "object" } else { "external" });
            let target = &metric["target"];
            if target["averageValue"].is_null() {
                format!("{}/{}", known(&current, "value"), quantity(&target["value"]))
            } else {
                format!("{}/{} (avg)", known(&current, "averageValue"), quantity(&target["averageValue"]))
            }
        }
        _ => "<unknown type>".to_owned(),
    }
}

fn resource(metric: &Value, current: &Value) -> String {
    let (name, target) = (string(&metric["name"]), &metric["target"]);
    if !target["averageValue"].is_null() {
        return format!("{name}: {}/{}", known(current, "averageValue"), quantity(&target["averageValue"]));
    }
    let percent =
        |value: &Value, missing: &str| value.as_i64().map_or(missing.to_owned(), |value| format!("{value}%"));
    format!(
        "{name}: {}/{}",
        percent(&current["current"]["averageUtilization"], "<unknown>"),
        percent(&target["averageUtilization"], "<auto>")
    )
}

fn known(metric: &Value, field: &str) -> String {
    match &metric["current"][field] {
        Value::Null => "<unknown>".to_owned(),
        value => quantity(value),
    }
}
