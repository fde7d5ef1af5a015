//! Creating and replacing objects.

use std::collections::BTreeSet;

use http::Response;
use serde_json::Value;

use super::options::WriteOptions;
use super::{Call, body, respond};
use crate::body::Body;
use crate::layers::authorization::NoCreation;
use crate::negotiate::Form;
use crate::status::{Result, Status};
use crate::write::Change;

/// Answers a POST to a collection.
pub(super) async fn create(call: &Call) -> Result<Response<Body>> {
    let form = Form::choose(&call.headers, &call.query, false, &call.resource)?;
    let options = WriteOptions::parse(&call.query, "CreateOptions")?;
    let decoded = body::object(call, options.validation)?;
    let (mut object, mut warnings) = (decoded.object, decoded.warnings);
    place(&mut object, call.namespace.as_deref())?;
    call.notes.see_object(&object);
    warnings.extend(drop_repeated_owners(&mut object));
    let written = call.registry.create(&call.target(options.dry_run), object).await?;
    respond::written(call, form, &written, &warnings)
}

/// Puts an object in the namespace of the path.
pub(super) fn place(object: &mut Value, namespace: Option<&str>) -> Result<()> {
    let given = object["metadata"]["namespace"].as_str().unwrap_or_default();
    match namespace {
        Some(namespace) if given.is_empty() => object["metadata"]["namespace"] = namespace.into(),
        Some(namespace) if given == namespace => {}
        None => drop(object["metadata"].as_object_mut().map(|metadata| metadata.remove("namespace"))),
        Some(_) => {
            return Err(Status::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
    }
    Ok(())
}

/// Answers a PUT of an object or of its status.
pub(super) async fn update(call: &Call) -> Result<Response<Body>> {
    let form = Form::choose(&call.headers, &call.query, false, &call.resource)?;
    let options = WriteOptions::parse(&call.query, "UpdateOptions")?;
    let decoded = body::object(call, options.validation)?;
    let (mut object, mut warnings) = (decoded.object, decoded.warnings);
    call.notes.see_object(&object);
    warnings.extend(drop_repeated_owners(&mut object));
    let target = call.target(options.dry_run);
    let written =
        call.registry.update(&target, &Replace { object, no_creation: call.no_creation.clone() }).await?;
    respond::written(call, form, &written, &warnings)
}

/// Drops owners that are there already. Returns of what the client is to be warned.
fn drop_repeated_owners(object: &mut Value) -> Option<String> {
    let repeated = repeated_owners(object)?;
    Some(format!("{OWNERS} contains duplicate entries; {REPEATED_OWNERS}{repeated}"))
}

/// As for a whole object, of one that a patch was applied to.
pub(super) fn drop_repeated_owners_of_patched(object: &mut Value) -> Option<String> {
    let repeated = repeated_owners(object)?;
    Some(format!(
        "{OWNERS} contains duplicate entries after mutating admission happens; {REPEATED_OWNERS}{repeated}"
    ))
}

const OWNERS: &str = ".metadata.ownerReferences";
const REPEATED_OWNERS: &str = "API server dedups owner references in 1.20+, and may reject such requests as early as \
                               1.24; please fix your requests; duplicate UID(s) observed: ";

/// Drops what stands twice among an object's owners. Returns its uids.
fn repeated_owners(object: &mut Value) -> Option<String> {
    let owners = object.get_mut("metadata")?.get_mut("ownerReferences")?.as_array_mut()?;
    let mut kept: Vec<Value> = Vec::with_capacity(owners.len());
    let mut repeated = Vec::new();
    let mut seen = BTreeSet::new();
    for owner in std::mem::take(owners) {
        let uid = owner["uid"].as_str().unwrap_or_default().to_owned();
        if !seen.insert(uid.clone()) && kept.contains(&owner) {
            repeated.push(uid);
        } else {
            kept.push(owner);
        }
    }
    *owners = kept;
    (!repeated.is_empty()).then(|| repeated.join(", "))
}

/// Puts this object in the place of whatever is there.
pub(super) struct Replace {
    pub object: Value,
    /// Why it may not be put where nothing is, if it may not.
    pub no_creation: Option<NoCreation>,
}

impl Change for Replace {
    fn apply(&self, _present: &Value) -> Result<Value> {
        Ok(self.object.clone())
    }

    fn replacement(&self) -> Option<&Value> {
        Some(&self.object)
    }

    fn may_create(&self) -> Result<()> {
        self.no_creation.as_ref().map_or(Ok(()), |NoCreation(refusal)| Err(refusal.clone()))
    }
}
