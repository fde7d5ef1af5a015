//! A pod's priority is the value of its priority class.

use async_trait::async_trait;
use serde_json::Value;

use super::{Admission, Attributes, Operation};
use crate::cache::World;
use crate::status::{Result, Status};

/// Upstream's `Priority`.
#[derive(Debug)]
pub struct Priority;

#[async_trait]
impl Admission for Priority {
    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.is_core("pods") || attributes.resource.kind == "PriorityClass"
    }

    async fn mutate(&self, attributes: &Attributes<'_>, object: &mut Value) -> Result<()> {
        if attributes.operation == Operation::Create && attributes.is_core("pods") {
            return admit_pod(attributes, object);
        }
        if let Some(old) = attributes.old.filter(|_| attributes.is_core("pods")) {
            // What was decided at the creation stays, also when a client does not send it back.
            for field in ["priority", "preemptionPolicy"] {
                if object["spec"][field].is_null() && !old["spec"][field].is_null() {
                    object["spec"][field] = old["spec"][field].clone();
                }
            }
        }
        Ok(())
    }

    async fn validate(&self, attributes: &Attributes<'_>, object: Option<&Value>) -> Result<()> {
        let is_class = attributes.resource.kind == "PriorityClass" && attributes.subresource.is_none();
        let Some(object) = object.filter(|object| is_class && object["globalDefault"] == true) else {
            return Ok(());
        };
        let other = classes(attributes.world).find(|class| {
            class["globalDefault"] == true && class["metadata"]["name"] != object["metadata"]["name"]
        });
        match other {
            Some(other) => Err(Status::forbidden_object(
                attributes.resource,
                attributes.name,
                format!(
                    "PriorityClass {} is already marked as default. Only one default can exist",
                    other["metadata"]["name"].as_str().unwrap_or_default()
                ),
            )),
            None => Ok(()),
        }
    }
}

fn classes(world: &World) -> impl Iterator<Item = &Value> {
    world.range("/registry/priorityclasses/", None).map(|(_, class)| class.parsed())
}

fn admit_pod(attributes: &Attributes<'_>, pod: &mut Value) -> Result<()> {
    let name = pod["spec"]["priorityClassName"].as_str().unwrap_or_default().to_owned();
    let class = if name.is_empty() {
        classes(attributes.world)
            .filter(|class| class["globalDefault"] == true)
            .min_by_key(|class| class["value"].as_i64())
    } else {
        let class = attributes.world.get(&format!("/registry/priorityclasses/{name}"));
        Some(class.map(|class| class.parsed()).ok_or_else(|| {
            Status::forbidden_object(
                attributes.resource,
                attributes.name,
                format!("no PriorityClass with name {name} was found"),
            )
        })?)
    };
    let class = class.unwrap_or(&Value::Null);
    let (value, policy) = (class["value"].as_i64().unwrap_or(0), class["preemptionPolicy"].as_str());
    let policy = policy.unwrap_or("PreemptLowerPriority");
    let given = &pod["spec"]["priority"];
    if !given.is_null() && given.as_i64() != Some(value) {
        let why = format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller \
             computed {value} from the given PriorityClass name"
        );
        return Err(Status::forbidden_object(attributes.resource, attributes.name, why));
    }
    let spec = &mut pod["spec"];
    spec["priority"] = value.into();
    if spec["preemptionPolicy"].is_null() {
        spec["preemptionPolicy"] = policy.into();
    }
    if name.is_empty() && !class["metadata"]["name"].is_null() {
        spec["priorityClassName"] = class["metadata"]["name"].clone();
    }
    Ok(())
}
