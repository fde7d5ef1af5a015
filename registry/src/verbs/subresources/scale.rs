//! Scale: an object with replicas, as `autoscaling/v1` sees it.

use std::collections::BTreeMap;

use http::{Response, StatusCode};
use quarterdeck_core::labels::{Selector, quote};
use serde_json::{Value, json};

use super::super::apply::{self, Configuration};
use super::super::options::{FieldValidation, WriteOptions};
use super::super::patch::{Patch, Warnings};
use super::super::read::{find, world_for};
use super::super::{Call, body, respond};
use crate::body::Body;
use crate::custom::ScalePaths;
use crate::managed::{self, Part, Writer, scale as owners};
use crate::request::Verb;
use crate::resource::Resource;
use crate::schema;
use crate::status::{Result, Status};
use crate::validation::FieldError;
use crate::write::Change;
use crate::write::metadata::check_identity;

/// Answers a request for a Scale.
pub(in super::super) async fn scale(call: &Call) -> Result<Response<Body>> {
    let kind = match call.verb {
        Verb::Get => {
            let world = world_for(call).await?;
            let object = find(call, &world).map_err(|status| not_found(call, status))?;
            let object = call.registry.converted_one(&call.resource, object).await?;
            let object = call.resource.value_of(&object);
            if let Some(paths) = scale_paths(&call.resource).filter(|paths| paths.replicas(&object).is_none())
            {
                let field = quote(paths.replicas_field());
                return Err(Status::internal(format!("the spec replicas field {field} does not exist")));
            }
            return respond::other(call, StatusCode::OK, &scale_of(&call.resource, &object));
        }
        Verb::Patch if apply::is_asked(call) => Kind::Apply,
        Verb::Patch => Kind::Patch,
        _ => Kind::Update,
    };
    let (options, desired, warnings) = match kind {
        Kind::Apply => {
            let options = WriteOptions::of_patch(&call.query, true)?;
            let configuration = Configuration::read(call)?;
            configuration.check_kind("autoscaling", "v1", "Scale")?;
            call.notes.accept_body();
            (options, Desired::Applied(configuration, options), Vec::new())
        }
        Kind::Patch => {
            Patch::check_type(call)?;
            let options = WriteOptions::of_patch(&call.query, false)?;
            (options, Desired::Patched(Patch::parse(call), options.validation), Vec::new())
        }
        Kind::Update => {
            let options = WriteOptions::parse(&call.query, "UpdateOptions")?;
            let decoded = body::object_of(call, "Scale", options.validation)?;
            check_identity(&mut decoded.object.clone(), &call.target(options.dry_run))?;
            (options, Desired::Given(decoded.object), decoded.warnings)
        }
    };
    // The write is one of the object itself: its replicas are in its spec. Admission sees the Scale.
    let target = call.target(options.dry_run);
    let change = Rescale { desired, call, warnings: Warnings::default() };
    change.warnings.replace(warnings);
    let written = call.registry.update(&target, &change).await?;
    let mut response = respond::other(call, StatusCode::OK, &scale_of(&call.resource, &written.value))?;
    respond::warn(response.headers_mut(), &change.warnings.into_last());
    Ok(response)
}

/// How a Scale is written.
enum Kind {
    Apply,
    Patch,
    Update,
}

/// Says that what has the Scale was not found. For some kinds, upstream's readers say of it that it has one.
fn not_found(call: &Call, mut status: Status) -> Status {
    let resource = &call.resource;
    let group = match &*resource.plural {
        "deployments" | "replicasets" => "apps",
        "replicationcontrollers" => "autoscaling",
        _ => return status,
    };
    if status.code == StatusCode::NOT_FOUND && resource.custom.is_none() {
        let plural = format!("{}/scale", resource.plural);
        status.message = format!("{plural}.{group} {:?} not found", call.name);
        status.details.insert("group".into(), group.into());
        status.details.insert("kind".into(), plural.into());
    }
    status
}

/// Where a custom kind keeps what its Scale shows.
fn scale_paths(resource: &Resource) -> Option<&ScalePaths> {
    resource.custom.as_ref().and_then(|custom| custom.scale.as_ref())
}

/// Shows an object as a Scale.
pub(crate) fn scale_of(resource: &Resource, object: &Value) -> Value {
    let metadata = &object["metadata"];
    let mut scale = json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {}, "spec": {}, "status": {"replicas": object["status"]["replicas"].as_i64().unwrap_or(0)},
    });
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if !metadata[field].is_null() {
            scale["metadata"][field] = metadata[field].clone();
        }
    }
    let (replicas, selector) = match scale_paths(resource) {
        None => {
            let replicas = object["spec"]["replicas"].as_i64().unwrap_or(0);
            (replicas, selector(resource, &object["spec"]["selector"]))
        }
        Some(paths) => {
            scale["status"]["replicas"] = paths.status_replicas(object).into();
            (paths.replicas(object).unwrap_or(0), paths.selector(object).to_owned())
        }
    };
    if replicas != 0 {
        scale["spec"]["replicas"] = replicas.into();
    }
    if !selector.is_empty() {
        scale["status"]["selector"] = selector.into();
    }
    scale
}

/// Sets how many replicas an object wants.
pub(crate) fn set_replicas(resource: &Resource, object: &mut Value, replicas: i64) {
    match scale_paths(resource) {
        None => object["spec"]["replicas"] = replicas.into(),
        Some(paths) => paths.set_replicas(object, replicas),
    }
}

/// Writes an object's selector as text.
fn selector(resource: &Resource, selector: &Value) -> String {
    if resource.kind == "ReplicationController" {
        let labels = selector.as_object().into_iter().flatten();
        let labels: BTreeMap<&str, &str> =
            labels.map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default())).collect();
        let terms: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        return terms.join(",");
    }
    Selector::from_label_selector(Some(selector)).map(|selector| selector.to_string()).unwrap_or_default()
}

/// The replicas of a custom object that does not say how many it wants, while a patch is laid over its Scale.
const UNSET: i64 = i32::MIN as i64;

/// Where objects of a kind keep how many replicas they want.
fn replicas_path(resource: &Resource) -> Vec<&str> {
    match scale_paths(resource) {
        None => vec!["spec", "replicas"],
        Some(paths) => paths.replicas_path(),
    }
}

enum Desired {
    Given(Value),
    Patched(Result<Patch>, FieldValidation),
    Applied(Configuration, WriteOptions),
}

struct Rescale<'a> {
    desired: Desired,
    call: &'a Call,
    warnings: Warnings,
}

impl Rescale<'_> {
    /// Calls `then` with who writes the Scale.
    fn as_writer<T>(&self, then: impl FnOnce(&Writer<'_>) -> T) -> T {
        let target = self.call.target(false);
        let part = Part::AllButStatus;
        self.call.registry.as_writer(&target, |writer| {
            then(&Writer { api_version: "autoscaling/v1", part, is_served: &|_| true, ..*writer })
        })
    }

    /// The Scale as it is to be, with its owners.
    fn desired(&self, present: &Value) -> Result<Value> {
        let structure = schema::builtin("autoscaling", "v1", "Scale");
        let structure = structure.ok_or_else(|| Status::internal("the tables have no Scale"))?;
        let mut before = scale_of(&self.call.resource, present);
        if scale_paths(&self.call.resource).is_some_and(|paths| paths.replicas(present).is_none()) {
            before["spec"]["replicas"] = UNSET.into();
        }
        let managed =
            owners::of_object(&present["metadata"]["managedFields"], &replicas_path(&self.call.resource));
        if let Some(managed) = managed {
            before["metadata"]["managedFields"] = managed;
        }
        let mut scale = match &self.desired {
            Desired::Given(scale) => scale.clone(),
            Desired::Patched(patch, validation) => {
                let patch = patch.as_ref().map_err(Clone::clone)?;
                let patched = patch.apply(&before, structure, *validation)?;
                self.warnings.replace(patched.warnings);
                patched.object
            }
            Desired::Applied(configuration, options) => {
                let applied = self.as_writer(|writer| {
                    managed::apply(structure, &before, &configuration.object, writer, options.force)
                });
                let kind = apply::qualified("autoscaling", "v1", "Scale");
                let applied = applied.map_err(|failure| configuration.refusal(failure, &kind))?;
                let decoded = schema::decode_value(structure, applied.object);
                let mut scale = decoded.map_err(|error| configuration.unconverted(&error, &kind))?.value;
                self.warnings.replace(configuration.judge(options.validation)?);
                scale["metadata"]["managedFields"] = applied.managed.unwrap_or_default();
                return Ok(scale);
            }
        };
        let recorded = self.as_writer(|writer| managed::recorded(structure, Some(&before), &scale, writer));
        scale["metadata"]["managedFields"] = recorded.unwrap_or_default();
        Ok(scale)
    }
}

impl Change for Rescale<'_> {
    fn apply(&self, present: &Value) -> Result<Value> {
        let scale = self.desired(present)?;
        check(&scale, self.call)?;
        let mut object = present.clone();
        let replicas = scale["spec"]["replicas"].as_i64().unwrap_or(0);
        if let Some(paths) = scale_paths(&self.call.resource).filter(|_| replicas == UNSET) {
            let field = quote(paths.replicas_field());
            return Err(Status::bad_request(format!("the spec replicas field {field} cannot be empty")));
        }
        set_replicas(&self.call.resource, &mut object, replicas);
        let managed = owners::to_object(
            &present["metadata"]["managedFields"],
            &scale["metadata"]["managedFields"],
            &replicas_path(&self.call.resource),
            &self.call.resource.api_version(),
        );
        if let Some(metadata) = object["metadata"].as_object_mut() {
            match managed {
                Some(managed) => metadata.insert("managedFields".into(), managed),
                None => metadata.remove("managedFields"),
            };
        }
        if !scale["metadata"]["resourceVersion"].is_null() {
            object["metadata"]["resourceVersion"] = scale["metadata"]["resourceVersion"].clone();
        }
        if let Some(uid) = scale["metadata"]["uid"].as_str() {
            object["metadata"]["uid"] = uid.into();
        }
        Ok(object)
    }

    fn replacement(&self) -> Option<&Value> {
        match &self.desired {
            // A PUT whose Scale names a revision holds to it; kinds with scale take no creation by PUT.
            Desired::Given(scale) if !scale["metadata"]["resourceVersion"].is_null() => Some(scale),
            _ => None,
        }
    }

    fn decides_owners(&self) -> bool {
        true
    }
}

fn check(scale: &Value, call: &Call) -> Result<()> {
    check_identity(&mut scale.clone(), &call.target(false))?;
    let replicas = scale["spec"]["replicas"].as_i64().unwrap_or(0);
    // Of a custom kind, the object itself is checked for it.
    if replicas < 0 && call.resource.custom.is_none() {
        let error = FieldError::invalid("spec.replicas", replicas, "must be greater than or equal to 0");
        return Err(Status::invalid("autoscaling", "Scale", &call.name, &[error]));
    }
    Ok(())
}
