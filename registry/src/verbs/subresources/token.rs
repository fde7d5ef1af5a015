//! Tokens of service accounts, made on request.

use std::sync::Arc;

use http::{Response, StatusCode};
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::super::apply;
use super::super::options::WriteOptions;
use super::super::read::find;
use super::super::write::place;
use super::super::{Call, body, respond};
use crate::body::Body;
use crate::object::Object;
use crate::status::{Result, Status};
use crate::tokens::{TokenClaims, credential_id};
use crate::validation::FieldError;
use crate::write::metadata;

/// The shortest and the longest life of a token, in seconds.
const LIFETIMES: (i64, i64) = (600, 1 << 32);
/// For how long a token is good for which nobody asked, in seconds.
const DEFAULT_LIFETIME: i64 = 3600;

/// Where the audit log tells what a token is called that was made.
const ISSUED: &str = "authentication.kubernetes.io/issued-credential-id";

/// Answers a POST of a TokenRequest below a service account.
pub(in super::super) async fn create_token(call: &Call) -> Result<Response<Body>> {
    let options = WriteOptions::parse(&call.query, "CreateOptions")?;
    let mut request = body::object_of(call, "TokenRequest", options.validation)?.object;
    place(&mut request, call.namespace.as_deref())?;
    check_name(call, &request)?;
    let world = call.registry.latest().await?;
    let account = find(call, &world)?.value();
    lifetime(&request)?;
    call.registry.admit_below(&call.target(options.dry_run), &mut request).await?;
    let seconds = lifetime(&request)?;
    let bound = bound_object(call, &request)?;
    let pod = bound.as_ref().filter(|(kind, _)| *kind == "Pod");
    let node = pod.and_then(|(_, pod)| node_of(call, pod));
    let Some(issuer) = &call.registry.tokens else {
        return Err(Status::internal("this API server has no key to sign tokens with"));
    };
    let mut audiences: Vec<String> = request["spec"]["audiences"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|audience| audience.as_str().map(str::to_owned))
        .collect();
    if audiences.is_empty() {
        audiences = issuer.default_audiences();
    }
    let issued = call.registry.clock.now();
    let expires = issued + SignedDuration::from_secs(seconds);
    let text = |field: &str| account["metadata"][field].as_str().unwrap_or_default().to_owned();
    let claims = TokenClaims {
        namespace: text("namespace"),
        name: text("name"),
        uid: text("uid"),
        id: call.registry.random.uuid(),
        bound: bound.map(|(kind, object)| {
            let header = &object.header;
            (kind.to_owned(), header.name.to_string(), header.uid.to_string())
        }),
        node,
        audiences: audiences.clone(),
        issued,
        expires,
    };
    let expires = jiff::Timestamp::from_second(expires.as_second()).map_err(Status::internal)?;
    // What else the client told of it stays.
    request["metadata"]["name"] = claims.name.as_str().into();
    request["metadata"]["namespace"] = claims.namespace.as_str().into();
    request["metadata"]["creationTimestamp"] = metadata::seconds(issued);
    request["spec"]["audiences"] = audiences.into();
    request["spec"]["expirationSeconds"] = seconds.into();
    request["status"] = json!({"token": issuer.issue(&claims), "expirationTimestamp": expires.to_string()});
    call.notes.annotate(ISSUED, credential_id(&claims.id));
    respond::other(call, StatusCode::CREATED, &request)
}

/// Checks that a request that says whose token it wants wants one of the account in its path.
fn check_name(call: &Call, request: &Value) -> Result<()> {
    let given = request["metadata"]["name"].as_str().unwrap_or_default();
    if given.is_empty() || given == call.name {
        return Ok(());
    }
    let why = "must match the service account name if specified";
    let error = FieldError::invalid("metadata.name", given, why);
    Err(Status::invalid("authentication.k8s.io", "TokenRequest", &call.name, &[error]))
}

fn lifetime(request: &Value) -> Result<i64> {
    let seconds = request["spec"]["expirationSeconds"].as_i64().unwrap_or(DEFAULT_LIFETIME);
    let why = if seconds < LIFETIMES.0 {
        "may not specify a duration less than 10 minutes"
    } else if seconds > LIFETIMES.1 {
        "may not specify a duration larger than 2^32 seconds"
    } else {
        return Ok(seconds);
    };
    let error = FieldError::invalid("spec.expirationSeconds", seconds, why);
    Err(Status::invalid("authentication.k8s.io", "TokenRequest", "", &[error]))
}

/// Returns the object that the token is to end with, and its kind, if it exists with the given uid.
fn bound_object<'r>(call: &Call, request: &'r Value) -> Result<Option<(&'r str, Arc<Object>)>> {
    let reference = &request["spec"]["boundObjectRef"];
    if reference.is_null() {
        return Ok(None);
    }
    let text = |field: &str| reference[field].as_str().unwrap_or_default();
    let (kind, name, uid) = (text("kind"), text("name"), text("uid"));
    let (group, version) = text("apiVersion").rsplit_once('/').unwrap_or(("", text("apiVersion")));
    let plural = match (group, kind) {
        ("", "Pod") => "pods",
        ("", "Secret") => "secrets",
        ("", "Node") => "nodes",
        _ => {
            let found = apply::qualified(group, version, kind);
            return Err(Status::bad_request(format!("cannot bind token to object of type {found}")));
        }
    };
    let resources = call.registry.resources();
    let resource = resources.get("", "v1", plural).ok_or_else(Status::unknown_path)?;
    let key = resource.key(call.namespace.as_deref(), name);
    let world = call.registry.cache.world();
    let object = world.get(key.as_str()).ok_or_else(|| Status::not_found(resource, name))?;
    if plural == "pods" && object.value()["spec"]["serviceAccountName"].as_str() != Some(call.name.as_str()) {
        return Err(Status::bad_request(format!(
            "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
            call.name
        )));
    }
    let found = &*object.header.uid;
    if !uid.is_empty() && uid != found {
        let why = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have \
             been deleted and then recreated"
        );
        return Err(Status::conflict_of_kind(resource, name, why));
    }
    Ok(Some((kind, object.clone())))
}

/// Returns name and uid of the node on which a pod is; the uid is empty if there is no such node.
fn node_of(call: &Call, pod: &Object) -> Option<(String, String)> {
    let name = pod.value()["spec"]["nodeName"].as_str().filter(|name| !name.is_empty())?.to_owned();
    let world = call.registry.cache.world();
    let node = world.get(&format!("/registry/minions/{name}"));
    let uid = node.map(|node| node.header.uid.to_string()).unwrap_or_default();
    Some((name, uid))
}
