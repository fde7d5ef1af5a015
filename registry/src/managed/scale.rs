//! Owners of an object's replicas, as its scale subresource sees them.

use serde_json::Value;

use super::element::Element;
use super::entries::{Entry, Managed};
use super::set::FieldSet;

/// The version of Scales.
const VERSION: &str = "autoscaling/v1";

/// Returns the owners of a Scale: those of its object's replicas, at `path`.
pub(crate) fn of_object(managed: &Value, path: &[&str]) -> Option<Value> {
    let managed = Managed::decode(managed).ok()?;
    let owns = |entry: &Entry| entry.fields.has(&elements(path));
    let mut scale = Managed::default();
    for entry in managed.entries.into_iter().filter(owns) {
        scale.put(Entry { api_version: VERSION.into(), fields: field(&["spec", "replicas"]), ..entry });
    }
    scale.encode()
}

/// Returns the owners of an object after those of its Scale became `scale`.
pub(crate) fn to_object(before: &Value, scale: &Value, path: &[&str], api_version: &str) -> Option<Value> {
    let mut managed = Managed::decode(before).unwrap_or_default();
    let scale = Managed::decode(scale).unwrap_or_default();
    let replicas = elements(path);
    let same = |one: &Entry, other: &Entry| {
        (&one.manager, one.operation, &one.subresource)
            == (&other.manager, other.operation, &other.subresource)
    };
    for entry in &mut managed.entries {
        if !scale.entries.iter().any(|owner| same(owner, entry)) {
            entry.fields.subtract(&field(path));
        }
    }
    for owner in scale.entries.into_iter().filter(|owner| owner.fields.has(&elements(&["spec", "replicas"])))
    {
        let known = managed.entries.iter().any(|entry| same(entry, &owner) && entry.fields.has(&replicas));
        if !known {
            // As upstream: whoever comes to own replicas by their scale has no time.
            managed.put(Entry { api_version: api_version.into(), time: None, fields: field(path), ..owner });
        }
    }
    managed.entries.retain(|entry| !entry.fields.is_empty());
    managed.encode()
}

fn elements(path: &[&str]) -> Vec<Element> {
    path.iter().map(|name| Element::field(name)).collect()
}

fn field(path: &[&str]) -> FieldSet {
    let mut set = FieldSet::default();
    set.insert_path(elements(path).into_iter());
    set
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn owner(manager: &str, operation: &str, subresource: &str, fields: Value) -> Value {
        let mut entry = json!({"manager": manager, "operation": operation, "apiVersion": "apps/v1", "time": "2026-01-01T00:00:00Z",
            "fieldsType": "FieldsV1", "fieldsV1": fields});
        if !subresource.is_empty() {
            entry["subresource"] = subresource.into();
        }
        entry
    }

    #[test]
    fn a_scale_has_the_owners_of_its_objects_replicas() {
        let of_replicas = json!({"f:spec": {"f:replicas": {}, "f:paused": {}}});
        let managed = json!([
            owner("m", "Apply", "", of_replicas),
            owner("n", "Update", "", json!({"f:spec": {"f:paused": {}}})),
        ]);

        let scale = of_object(&managed, &["spec", "replicas"]).unwrap();

        assert_eq!(scale.as_array().unwrap().len(), 1);
        assert_eq!(scale[0]["apiVersion"], VERSION);
        assert_eq!(scale[0]["fieldsV1"], json!({"f:spec": {"f:replicas": {}}}));
        assert_eq!(to_object(&managed, &scale, &["spec", "replicas"], "apps/v1").unwrap(), managed);
    }

    #[test]
    fn who_scales_takes_replicas_from_others_and_nothing_else() {
        let managed =
            json!([owner("m", "Update", "", json!({"f:spec": {"f:replicas": {}, "f:paused": {}}}))]);
        let mut by_scale = owner("s", "Update", "scale", json!({"f:spec": {"f:replicas": {}}}));
        by_scale["apiVersion"] = VERSION.into();

        let after = to_object(&managed, &json!([by_scale]), &["spec", "replicas"], "apps/v1").unwrap();

        let of = |manager: &str| {
            after.as_array().unwrap().iter().find(|entry| entry["manager"] == manager).unwrap().clone()
        };
        assert_eq!(of("m")["fieldsV1"], json!({"f:spec": {"f:paused": {}}}));
        assert_eq!(of("s")["fieldsV1"], json!({"f:spec": {"f:replicas": {}}}));
        assert_eq!((&of("s")["apiVersion"], &of("s")["time"]), (&json!("apps/v1"), &Value::Null));
    }
}
