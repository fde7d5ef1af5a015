//! Eviction: deleting a pod if its disruption budget has room for it.

use http::{Response, StatusCode};
use quarterdeck_core::labels::Selector;
use serde_json::{Value, json};

use super::super::options::WriteOptions;
use super::super::read::find;
use super::super::{Call, body, delete, respond};
use crate::body::Body;
use crate::cache::World;
use crate::resource::Subresource;
use crate::status::{Result, Status};
use crate::write::metadata::seconds;
use crate::write::{Change, DeleteOptions, Target};

/// How many evictions of one budget may wait for its controller.
const MAX_UNCONFIRMED: usize = 2000;
/// After how many seconds to ask again while the controller has not seen the budget.
const UNSEEN_RETRY: u32 = 10;
const REFUSED: &str = "Cannot evict pod as it would violate the pod's disruption budget.";

/// Answers a POST of an Eviction below a pod.
pub(in super::super) async fn evict(call: &Call) -> Result<Response<Body>> {
    let options = WriteOptions::parse(&call.query, "CreateOptions")?;
    let mut eviction = body::object_of(call, "Eviction", options.validation)?.object;
    if eviction["metadata"]["name"].as_str().unwrap_or_default() != call.name {
        return Err(Status::bad_request("name in URL does not match name in Eviction object"));
    }
    call.registry.admit_below(&call.target(options.dry_run), &mut eviction).await?;
    let (mut deletion, dry) = delete::options_of(&eviction["deleteOptions"], Vec::new())?;
    let dry_run = options.dry_run || dry;
    let world = call.registry.latest().await?;
    let pod = find(call, &world)?.value();
    if !ignores_budgets(&pod) {
        charge_budget(call, &world, &pod, dry_run).await?;
        if !dry_run {
            let marked = mark(call, &pod, &deletion).await?;
            if let Some(version) = &mut deletion.preconditions.resource_version {
                *version = marked["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
            }
        }
    }
    // The budget was asked about this pod, not about a namesake.
    let uid = || pod["metadata"]["uid"].as_str().map(str::to_owned);
    deletion.preconditions.uid = deletion.preconditions.uid.or_else(uid);
    // Webhooks and policies were asked about the eviction, and are not asked about what it comes to.
    let target = Target { subresource: None, notes: None, ..call.target(dry_run) };
    call.registry.delete(&target, &deletion).await?;
    let done =
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    respond::other(call, StatusCode::CREATED, &done)
}

/// Whether a pod counts for no budget: it has not started, is finished, or goes anyway.
fn ignores_budgets(pod: &Value) -> bool {
    let phase = pod["status"]["phase"].as_str().unwrap_or_default();
    matches!(phase, "Succeeded" | "Failed" | "Pending") || !pod["metadata"]["deletionTimestamp"].is_null()
}

/// Takes one disruption from the budget of a pod, if it has one.
async fn charge_budget(call: &Call, world: &World, pod: &Value, dry_run: bool) -> Result<()> {
    let Some(resource) = world.resources().by_kind("policy", "PodDisruptionBudget") else {
        return Ok(());
    };
    let prefix = resource.key_prefix(call.namespace.as_deref());
    let budgets: Vec<&Value> = world
        .range(&prefix, None)
        .map(|(_, budget)| budget.parsed())
        .filter(|budget| covers(budget, pod))
        .collect();
    let budget = match budgets.as_slice() {
        [] => return Ok(()),
        [budget] => *budget,
        _ => {
            return Err(Status::internal(
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
            ));
        }
    };
    if needs_no_charge(budget, pod) {
        return Ok(());
    }
    let target = Target {
        resource,
        subresource: Some(Subresource::Status),
        name: budget["metadata"]["name"].as_str().unwrap_or_default(),
        ..call.target(dry_run)
    };
    let now = seconds(call.registry.clock.now());
    call.registry.update(&target, &Charge { pod: &call.name, now }).await.map(|_| ())
}

fn covers(budget: &Value, pod: &Value) -> bool {
    Selector::from_label_selector(Some(&budget["spec"]["selector"]))
        .is_ok_and(|selector| selector.matches_object(pod))
}

/// Whether a pod that is not ready may go without a charge, as the budget has it.
fn needs_no_charge(budget: &Value, pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    let is_ready = conditions
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
    let number = |field: &str| budget["status"][field].as_i64().unwrap_or_default();
    let has_enough = number("currentHealthy") >= number("desiredHealthy") && number("desiredHealthy") > 0;
    !is_ready && (budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow" || has_enough)
}

/// Takes one disruption from whatever budget is there.
struct Charge<'a> {
    pod: &'a str,
    now: Value,
}

impl Change for Charge<'_> {
    fn apply(&self, present: &Value) -> Result<Value> {
        let name = present["metadata"]["name"].as_str().unwrap_or_default();
        let status = &present["status"];
        let number = |field: &str| status[field].as_i64().unwrap_or_default();
        if number("observedGeneration") < present["metadata"]["generation"].as_i64().unwrap_or_default() {
            let why = format!("The disruption budget {name} is still being processed by the server.");
            return Err(refusal(&why).retry_after(UNSEEN_RETRY));
        }
        let forbidden = |why: &str| {
            let mut status =
                Status::forbidden(format!("poddisruptionbudgets.policy \"{name}\" is forbidden: {why}"));
            for (key, value) in [("name", name), ("group", "policy"), ("kind", "poddisruptionbudgets")] {
                status.details.insert(key.into(), value.into());
            }
            status
        };
        if number("disruptionsAllowed") < 0 {
            return Err(forbidden("pdb disruptions allowed is negative"));
        }
        if status["disruptedPods"].as_object().is_some_and(|pods| pods.len() > MAX_UNCONFIRMED) {
            return Err(forbidden(
                "DisruptedPods map too big - too many evictions not confirmed by PDB controller",
            ));
        }
        if number("disruptionsAllowed") == 0 {
            return Err(refusal(&format!(
                "The disruption budget {name} needs {} healthy pods and has {} currently",
                number("desiredHealthy"),
                number("currentHealthy")
            )));
        }
        let mut charged = present.clone();
        let left = number("disruptionsAllowed") - 1;
        charged["status"]["disruptionsAllowed"] = left.into();
        if !charged["status"]["disruptedPods"].is_object() {
            charged["status"]["disruptedPods"] = json!({});
        }
        charged["status"]["disruptedPods"][self.pod] = self.now.clone();
        if left == 0 {
            exhaust(&mut charged, &self.now);
        }
        Ok(charged)
    }

    fn replacement(&self) -> Option<&Value> {
        None
    }
}

/// Says in a budget's conditions that nothing is left of it.
fn exhaust(budget: &mut Value, now: &Value) {
    let generation = budget["metadata"]["generation"].clone();
    let conditions = budget["status"]["conditions"].as_array_mut().into_iter().flatten();
    for condition in conditions.filter(|condition| condition["type"] == "DisruptionAllowed") {
        if condition["status"] != "False" {
            condition["status"] = "False".into();
            condition["lastTransitionTime"] = now.clone();
        }
        condition["reason"] = "InsufficientPods".into();
        condition["observedGeneration"] = generation.clone();
    }
}

fn refusal(why: &str) -> Status {
    Status::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", REFUSED)
        .cause(json!({"reason": "DisruptionBudget", "message": why}))
}

/// Notes on the pod why it goes. Returns the pod as it is then.
async fn mark(call: &Call, pod: &Value, deletion: &DeleteOptions) -> Result<Value> {
    let target = Target { subresource: Some(Subresource::Status), notes: None, ..call.target(false) };
    let reason = Mark {
        uid: &pod["metadata"]["uid"],
        deletion,
        target: &target,
        now: seconds(call.registry.clock.now()),
    };
    Ok(call.registry.update(&target, &reason).await?.value)
}

struct Mark<'a> {
    uid: &'a Value,
    deletion: &'a DeleteOptions,
    target: &'a Target<'a>,
    now: Value,
}

impl Change for Mark<'_> {
    fn apply(&self, present: &Value) -> Result<Value> {
        crate::write::check_preconditions(present, self.target, &self.deletion.preconditions)?;
        if present["metadata"]["uid"] != *self.uid {
            return Err(Status::not_found(self.target.resource, self.target.name));
        }
        let mut pod = present.clone();
        let mut conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.retain(|condition| condition["type"] != "DisruptionTarget");
        conditions.push(json!({
            "type": "DisruptionTarget", "status": "True", "lastProbeTime": null, "lastTransitionTime": self.now,
            "reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting",
        }));
        pod["status"]["conditions"] = conditions.into();
        Ok(pod)
    }

    fn replacement(&self) -> Option<&Value> {
        None
    }
}
