//! Containers get the requests and limits that their namespace has for those who say nothing, and nobody leaves its bounds.

use async_trait::async_trait;
use quarterdeck_core::quantity::Quantity;
use quarterdeck_core::quota::{Amounts, amounts, pod_limits, pod_requests};
use serde_json::{Map, Value, json};

use super::{Admission, Attributes, Operation};
use crate::status::{Result, Status};
use crate::validation::precise;

/// Where a pod says what it got.
const ANNOTATION: &str = "kubernetes.io/limit-ranger";
/// The lists of a pod's containers, and what they are called in the annotation.
const CONTAINERS: [(&str, &str); 2] = [("containers", "container"), ("initContainers", "init container")];

/// Upstream's `LimitRanger`.
#[derive(Debug)]
pub struct LimitRanger;

#[async_trait]
impl Admission for LimitRanger {
    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        // The containers of a pod do not change.
        let is_pod = attributes.is_core("pods") && attributes.operation == Operation::Create;
        is_pod || attributes.is_core("persistentvolumeclaims")
    }

    async fn mutate(&self, attributes: &Attributes<'_>, object: &mut Value) -> Result<()> {
        if attributes.is_core("pods") {
            for range in ranges(attributes) {
                fill_in(object, range);
            }
        }
        Ok(())
    }

    async fn validate(&self, attributes: &Attributes<'_>, object: Option<&Value>) -> Result<()> {
        let Some(object) = object else { return Ok(()) };
        let is_pod = attributes.is_core("pods");
        for range in ranges(attributes) {
            let limits = range["spec"]["limits"].as_array().into_iter().flatten();
            let problems: Vec<String> = limits
                .flat_map(
                    |limit| if is_pod { pod_problems(object, limit) } else { claim_problems(object, limit) },
                )
                .collect();
            let why = match problems.as_slice() {
                [] => continue,
                [one] => one.clone(),
                several => format!("[{}]", several.join(", ")),
            };
            return Err(Status::forbidden_object(attributes.resource, attributes.name, why));
        }
        Ok(())
    }
}

/// The ranges of the namespace, by name.
fn ranges<'a>(attributes: &Attributes<'a>) -> impl Iterator<Item = &'a Value> {
    let prefix = format!("/registry/limitranges/{}/", attributes.namespace.unwrap_or_default());
    let ranges: Vec<_> = attributes.world.range(&prefix, None).map(|(_, range)| range.parsed()).collect();
    ranges.into_iter()
}

/// Gives a pod's containers the defaults of a range, and says so.
fn fill_in(pod: &mut Value, range: &Value) {
    let limits = range["spec"]["limits"].as_array().into_iter().flatten();
    let (mut default_requests, mut default_limits) = (Map::new(), Map::new());
    for limit in limits.filter(|limit| limit["type"] == "Container") {
        for (defaults, field) in [(&mut default_requests, "defaultRequest"), (&mut default_limits, "default")]
        {
            for (name, amount) in limit[field].as_object().into_iter().flatten() {
                defaults.insert(name.clone(), amount.clone());
            }
        }
    }
    let mut told = Vec::new();
    for (list, called) in CONTAINERS {
        for container in pod["spec"].get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let name = container["name"].as_str().unwrap_or_default().to_owned();
            for (field, word, defaults) in
                [("requests", "request", &default_requests), ("limits", "limit", &default_limits)]
            {
                let set = fill_amounts(container, field, defaults);
                if !set.is_empty() {
                    told.push(format!("{} {word} for {called} {name}", set.join(", ")));
                }
            }
        }
    }
    if !told.is_empty() {
        if !pod["metadata"]["annotations"].is_object() {
            pod["metadata"]["annotations"] = json!({});
        }
        pod["metadata"]["annotations"][ANNOTATION] =
            format!("LimitRanger plugin set: {}", told.join("; ")).into();
    }
}

/// Inserts the amounts that are not there, and returns their names.
fn fill_amounts(container: &mut Value, field: &str, defaults: &Map<String, Value>) -> Vec<String> {
    let given = &container["resources"][field];
    let missing: Vec<String> =
        defaults.keys().filter(|name| given[name.as_str()].is_null()).cloned().collect();
    for name in &missing {
        container["resources"][field][name] = defaults[name].clone();
    }
    missing
}

fn pod_problems(pod: &Value, limit: &Value) -> Vec<String> {
    match limit["type"].as_str() {
        Some("Container") => {
            let all = CONTAINERS.iter().filter_map(|(list, _)| pod["spec"][list].as_array()).flatten();
            all.flat_map(|container| {
                let resources = &container["resources"];
                Bounds {
                    limit,
                    requests: amounts(&resources["requests"]),
                    limits: amounts(&resources["limits"]),
                }
                .problems()
            })
            .collect()
        }
        Some("Pod") => Bounds { limit, requests: pod_requests(pod), limits: pod_limits(pod) }.problems(),
        _ => Vec::new(),
    }
}

fn claim_problems(claim: &Value, limit: &Value) -> Vec<String> {
    if limit["type"] != "PersistentVolumeClaim" {
        return Vec::new();
    }
    let requests = amounts(&claim["spec"]["resources"]["requests"]);
    let bounds = Bounds { limit, requests, limits: Amounts::new() };
    let least = amounts(&limit["min"]);
    let most = amounts(&limit["max"]);
    let least = least.iter().filter_map(|(name, least)| bounds.too_little_requested(name, *least));
    let most = most.iter().filter_map(|(name, most)| match bounds.requests.get(name) {
        None => Some(bounds.say("maximum", name, *most, ".  No request is specified")),
        Some(asked) if asked > most => {
            Some(bounds.say("maximum", name, *most, &format!(", but request is {asked}")))
        }
        Some(_) => None,
    });
    least.chain(most).collect()
}

/// What somebody asks for, and the bounds of it.
struct Bounds<'a> {
    limit: &'a Value,
    requests: Amounts,
    limits: Amounts,
}

impl Bounds<'_> {
    fn problems(&self) -> Vec<String> {
        let bound = |field: &str| amounts(&self.limit[field]).into_iter().collect::<Vec<_>>();
        let least = bound("min").into_iter().filter_map(|(name, least)| self.too_little(&name, least));
        let most = bound("max").into_iter().filter_map(|(name, most)| self.too_much(&name, most));
        let ratios = bound("maxLimitRequestRatio").into_iter();
        let ratios = ratios.filter_map(|(name, ratio)| self.too_far_apart(&name, ratio));
        least.chain(most).chain(ratios).collect()
    }

    fn kind(&self) -> &str {
        self.limit["type"].as_str().unwrap_or_default()
    }

    fn say(&self, bound: &str, name: &str, amount: Quantity, what: &str) -> String {
        format!("{bound} {name} usage per {} is {amount}{what}", self.kind())
    }

    fn too_little_requested(&self, name: &str, least: Quantity) -> Option<String> {
        match self.requests.get(name) {
            None => Some(self.say("minimum", name, least, ".  No request is specified")),
            Some(asked) if *asked < least => {
                Some(self.say("minimum", name, least, &format!(", but request is {asked}")))
            }
            Some(_) => None,
        }
    }

    fn too_little(&self, name: &str, least: Quantity) -> Option<String> {
        self.too_little_requested(name, least).or_else(|| {
            let limit = self.limits.get(name).filter(|limit| **limit < least)?;
            Some(self.say("minimum", name, least, &format!(", but limit is {limit}")))
        })
    }

    fn too_much(&self, name: &str, most: Quantity) -> Option<String> {
        let Some(limit) = self.limits.get(name) else {
            return Some(self.say("maximum", name, most, ".  No limit is specified"));
        };
        if *limit > most {
            return Some(self.say("maximum", name, most, &format!(", but limit is {limit}")));
        }
        let asked = self.requests.get(name).filter(|asked| **asked > most)?;
        Some(self.say("maximum", name, most, &format!(", but request is {asked}")))
    }

    fn too_far_apart(&self, name: &str, ratio: Quantity) -> Option<String> {
        let problem = |what: String| {
            format!("{name} max limit to request ratio per {} is {ratio}, but {what}", self.kind())
        };
        let given = |amounts: &Amounts| amounts.get(name).filter(|amount| !amount.is_zero()).copied();
        let Some(request) = given(&self.requests) else {
            return Some(problem("no request is specified or request is 0".into()));
        };
        let Some(limit) = given(&self.limits) else {
            return Some(problem("no limit is specified or limit is 0".into()));
        };
        let provided = precise(limit) / precise(request);
        (provided > precise(ratio)).then(|| problem(format!("provided ratio is {provided:.6}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(resources: Value) -> Value {
        json!({"spec": {"containers": [{"name": "a", "resources": resources}]}})
    }

    #[test]
    fn containers_get_what_they_do_not_say() {
        let range = json!({"spec": {"limits": [
            {"type": "Container", "default": {"cpu": "500m", "memory": "1Gi"}, "defaultRequest": {"cpu": "100m"}},
            {"type": "Pod", "default": {"cpu": "9"}},
        ]}});
        let mut pod = pod(json!({"limits": {"cpu": "300m"}}));

        fill_in(&mut pod, &range);

        let resources = &pod["spec"]["containers"][0]["resources"];
        assert_eq!(resources["limits"], json!({"cpu": "300m", "memory": "1Gi"}));
        assert_eq!(resources["requests"], json!({"cpu": "100m"}));
        assert_eq!(
            pod["metadata"]["annotations"][ANNOTATION],
            "LimitRanger plugin set: cpu request for container a; memory limit for container a"
        );
    }

    #[test]
    fn each_bound_is_checked_and_named() {
        let limit = json!({"type": "Container", "min": {"cpu": "100m"}, "max": {"cpu": "1", "memory": "1Gi"},
            "maxLimitRequestRatio": {"cpu": "4"}});
        let of = |resources: Value| pod_problems(&pod(resources), &limit);

        assert_eq!(
            of(json!({})),
            [
                "minimum cpu usage per Container is 100m.  No request is specified",
                "maximum cpu usage per Container is 1.  No limit is specified",
                "maximum memory usage per Container is 1Gi.  No limit is specified",
                "cpu max limit to request ratio per Container is 4, but no request is specified or request is 0",
            ]
        );
        assert_eq!(
            of(json!({"limits": {"cpu": "2", "memory": "1Gi"}, "requests": {"cpu": "100m"}})),
            [
                "maximum cpu usage per Container is 1, but limit is 2",
                "cpu max limit to request ratio per Container is 4, but provided ratio is 20.000000",
            ]
        );
        assert!(
            of(json!({"limits": {"cpu": "400m", "memory": "1Gi"}, "requests": {"cpu": "100m"}})).is_empty()
        );
    }

    #[test]
    fn claims_have_bounds_of_their_own() {
        let limit =
            json!({"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "2Gi"}});
        let of = |storage: &str| {
            claim_problems(&json!({"spec": {"resources": {"requests": {"storage": storage}}}}), &limit)
        };

        assert_eq!(
            of("500Mi"),
            ["minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 500Mi"]
        );
        assert_eq!(of("3Gi"), ["maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi"]);
        assert!(of("2Gi").is_empty());
    }
}
