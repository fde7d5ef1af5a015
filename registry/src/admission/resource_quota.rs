//! A namespace uses no more than its quotas allow.
//!
//! What a write uses is charged to the quotas in the write's own commit: their new status is a [`Companion`] of the object.
//! So two writes can never both get what is left for one. What is freed is given back by the controller of quotas.

use async_trait::async_trait;
use quarterdeck_core::quantity::Quantity;
use quarterdeck_core::quota::{Amounts, amounts, covers, unspecified, usage, uses};
use serde_json::Value;

use super::{Admission, Attributes, Companion, Operation};
use crate::status::{Result, Status};

/// Upstream's `ResourceQuota`.
#[derive(Debug)]
pub struct ResourceQuota;

#[async_trait]
impl Admission for ResourceQuota {
    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        let group = attributes.resource.group.as_ref();
        let grows = match attributes.operation {
            Operation::Create => true,
            Operation::Update => {
                group.is_empty()
                    && matches!(attributes.resource.plural.as_ref(), "services" | "persistentvolumeclaims")
            }
            Operation::Delete => false,
        };
        grows
            && attributes.subresource.is_none()
            && attributes.resource.plural != "events"
            && has_quota(attributes)
    }

    async fn companions(&self, attributes: &Attributes<'_>, object: &Value) -> Result<Vec<Companion>> {
        let group = attributes.resource.group.as_ref();
        let plural = attributes.resource.plural.as_ref();
        let prefix = prefix(attributes);
        let mut companions = Vec::new();
        for (key, quota) in attributes.world.range(&prefix, None) {
            let Some(resource) = attributes.world.resources().by_kind("", "ResourceQuota") else { continue };
            if let Some(charged) = charge(attributes, group, plural, object, quota.parsed())? {
                companions.push(Companion {
                    resource: resource.clone(),
                    key: key.clone(),
                    revision: quota.revision,
                    value: charged,
                });
            }
        }
        Ok(companions)
    }
}

/// What the keys of the namespace's quotas begin with.
fn prefix(attributes: &Attributes<'_>) -> String {
    format!("/registry/resourcequotas/{}/", attributes.namespace.unwrap_or_default())
}

fn has_quota(attributes: &Attributes<'_>) -> bool {
    attributes.namespace.is_some() && attributes.world.has(&prefix(attributes))
}

/// Returns a quota with what an object uses charged to it; nothing if it uses nothing of it.
fn charge(
    attributes: &Attributes<'_>,
    group: &str,
    plural: &str,
    object: &Value,
    quota: &Value,
) -> Result<Option<Value>> {
    let refuse = |why: String| Status::forbidden_object(attributes.resource, attributes.name, why);
    let name = quota["metadata"]["name"].as_str().unwrap_or_default();
    let hard = amounts(&quota["status"]["hard"]);
    let limited: Vec<&str> =
        hard.keys().map(String::as_str).filter(|name| uses(group, plural, name)).collect();
    if limited.is_empty() || !covers(quota, group, plural, object) {
        return Ok(None);
    }
    if (group, plural) == ("", "pods") {
        let missing = unspecified(object, limited.iter().copied());
        if !missing.is_empty() {
            let missing = missing.iter().map(|(resource, containers)| {
                let containers: Vec<&str> = containers.iter().map(String::as_str).collect();
                format!("{resource} for: {}", containers.join(","))
            });
            let missing: Vec<String> = missing.collect();
            return Err(refuse(format!("failed quota: {name}: must specify {}", missing.join("; "))));
        }
    }
    let used = amounts(&quota["status"]["used"]);
    let uncounted: Vec<&str> = limited.iter().copied().filter(|name| !used.contains_key(*name)).collect();
    if !uncounted.is_empty() {
        return Err(refuse(format!("status unknown for quota: {name}, resources: {}", uncounted.join(","))));
    }
    let asked = asked(attributes, group, plural, object);
    let asked: Amounts = asked.into_iter().filter(|(name, _)| limited.contains(&name.as_str())).collect();
    if asked.is_empty() {
        return Ok(None);
    }
    let total = |resource: &str| used[resource] + asked[resource];
    let exceeded: Vec<&str> =
        asked.keys().map(String::as_str).filter(|resource| total(resource) > hard[*resource]).collect();
    if !exceeded.is_empty() {
        let show = |amounts: &Amounts| {
            let shown: Vec<String> =
                exceeded.iter().map(|name| format!("{name}={}", amounts[*name])).collect();
            shown.join(",")
        };
        return Err(refuse(format!(
            "exceeded quota: {name}, requested: {}, used: {}, limited: {}",
            show(&asked),
            show(&used),
            show(&hard)
        )));
    }
    let mut charged = quota.clone();
    for resource in asked.keys() {
        charged["status"]["used"][resource] = total(resource).to_string().into();
    }
    Ok(Some(charged))
}

/// Returns what an object uses that was not used before.
fn asked(attributes: &Attributes<'_>, group: &str, plural: &str, object: &Value) -> Amounts {
    let of = |object: &Value| usage(group, plural, object, attributes.now);
    let mut asked = of(object);
    if attributes.operation == Operation::Update
        && let Some(old) = attributes.old
    {
        for (name, before) in of(old) {
            if let Some(amount) = asked.get_mut(&name) {
                *amount -= before;
            }
        }
    }
    asked.retain(|_, amount| *amount > Quantity::ZERO);
    asked
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cache::World;
    use crate::resource::{Resource, Scope};
    use crate::user::User;

    fn quota(hard: Value, used: Value) -> Value {
        json!({"metadata": {"name": "q"}, "spec": {"hard": hard}, "status": {"hard": hard, "used": used}})
    }

    fn charge_pod(quota: &Value, resources: Value) -> Result<Option<Value>> {
        let pods = Resource::builtin("", "v1", "Pod", "pods", Scope::Namespaced);
        let (user, world) = (User::admin(), World::default());
        let attributes = Attributes {
            resource: &pods,
            subresource: None,
            operation: Operation::Create,
            namespace: Some("ns"),
            name: "p",
            old: None,
            user: &user,
            dry_run: false,
            notes: None,
            world: &world,
            now: jiff::Timestamp::UNIX_EPOCH,
        };
        let pod = json!({"spec": {"containers": [{"name": "c", "resources": resources}]}});
        charge(&attributes, "", "pods", &pod, quota)
    }

    #[test]
    fn a_quota_is_charged_for_what_it_limits() {
        let quota = quota(json!({"pods": "2", "secrets": "1"}), json!({"pods": "1", "secrets": "0"}));

        let charged = charge_pod(&quota, json!({})).unwrap().unwrap();

        assert_eq!(charged["status"]["used"], json!({"pods": "2", "secrets": "0"}));
    }

    #[test]
    fn what_exceeds_a_quota_is_refused_with_all_numbers() {
        let quota =
            quota(json!({"pods": "2", "requests.cpu": "1"}), json!({"pods": "1", "requests.cpu": "600m"}));

        let refusal = charge_pod(&quota, json!({"requests": {"cpu": "500m"}})).unwrap_err();

        assert_eq!(
            refusal.message,
            "pods \"p\" is forbidden: exceeded quota: q, requested: requests.cpu=500m, used: requests.cpu=600m, \
             limited: requests.cpu=1"
        );
    }

    #[test]
    fn a_container_must_say_what_a_quota_of_processors_counts() {
        let quota = quota(json!({"requests.cpu": "1"}), json!({"requests.cpu": "0"}));

        let refusal = charge_pod(&quota, json!({})).unwrap_err();

        assert!(
            refusal.message.ends_with("failed quota: q: must specify requests.cpu for: c"),
            "{refusal:?}"
        );
    }

    #[test]
    fn a_quota_that_nobody_counted_yet_lets_nothing_through_that_it_limits() {
        let refusal = charge_pod(&quota(json!({"pods": "2"}), json!({})), json!({})).unwrap_err();

        assert!(refusal.message.ends_with("status unknown for quota: q, resources: pods"), "{refusal:?}");
        assert_eq!(charge_pod(&quota(json!({}), json!({})), json!({})).unwrap(), None);
    }
}
