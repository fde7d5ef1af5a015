//! The objects of the levels and schemas: made at the start, and made again as they must be.

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::configuration::{GROUP, LEVELS, SCHEMAS, SchemaSpec};
use crate::registry::Registry;
use crate::status::Result;
use crate::user::User;
use crate::write::install::Ready;
use crate::write::metadata::seconds;
use crate::write::{Change, Target};

/// Says that the server keeps an object's spec.
const AUTO_UPDATE: &str = "apf.kubernetes.io/autoupdate-spec";

/// Makes what is missing of the objects, and gives the others the spec that the server goes by. Kinds that the server does not
/// serve are left out.
pub(crate) async fn bootstrap(registry: &Registry) -> Result<()> {
    let world = registry.cache.world();
    let (missing, present): (Vec<_>, Vec<_>) = wanted(registry).into_iter().partition(|wanted| {
        let key = wanted.resource.key(None, name(&wanted.object));
        world.get(key.as_str()).is_none()
    });
    // Another server of the same cluster may be about the same.
    if !registry.install(&missing).await? {
        for wanted in &missing {
            registry.install(std::slice::from_ref(wanted)).await?;
        }
    }
    for wanted in present {
        let key = wanted.resource.key(None, name(&wanted.object));
        if world.get(key.as_str()).is_some_and(|present| present.value()["spec"] != wanted.object["spec"]) {
            set_spec(registry, &wanted).await?;
        }
    }
    Ok(())
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

fn wanted(registry: &Registry) -> Vec<Ready> {
    let resources = registry.resources();
    let now = seconds(registry.clock.now());
    let object = |kind: &str, name: &str, spec: Value, status: Value| {
        let resource = resources.by_kind(GROUP, kind)?.clone();
        let metadata = json!({"name": name, "annotations": {AUTO_UPDATE: "true"}});
        let object = json!({
            "apiVersion": resource.api_version(), "kind": kind, "metadata": metadata,
            "spec": spec, "status": status,
        });
        Some(Ready { resource, namespace: None, object })
    };
    let levels = LEVELS.iter().map(|level| {
        object("PriorityLevelConfiguration", level.name, level.object(), Value::Object(Map::new()))
    });
    let schemas =
        SCHEMAS.iter().map(|schema| object("FlowSchema", schema.name, schema.object(), status(schema, &now)));
    levels.chain(schemas).flatten().collect()
}

/// Says that a schema's level exists.
fn status(schema: &SchemaSpec, now: &Value) -> Value {
    let message = format!(
        "This FlowSchema references the PriorityLevelConfiguration object named {:?} and it exists",
        schema.level
    );
    json!({"conditions": [{
        "type": "Dangling", "status": "False", "lastTransitionTime": now, "reason": "Found", "message": message,
    }]})
}

async fn set_spec(registry: &Registry, wanted: &Ready) -> Result<()> {
    let user = User::admin();
    let target = Target::unasked(&wanted.resource, None, name(&wanted.object), &user);
    match registry.update(&target, &SetSpec(&wanted.object)).await {
        // Another server of the same cluster was faster.
        Err(status) if matches!(status.code, StatusCode::NOT_FOUND | StatusCode::CONFLICT) => Ok(()),
        other => other.map(|_| ()),
    }
}

/// Sets the spec of an object.
struct SetSpec<'a>(&'a Value);

impl Change for SetSpec<'_> {
    fn apply(&self, present: &Value) -> Result<Value> {
        let mut object = present.clone();
        object["spec"] = self.0["spec"].clone();
        Ok(object)
    }

    fn replacement(&self) -> Option<&Value> {
        None
    }
}
