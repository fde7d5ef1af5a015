//! Tokens of service accounts, made on request.

use http::{Response, StatusCode};
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::super::options::WriteOptions;
use super::super::read::find;
use super::super::{Call, body, respond};
use crate::body::Body;
use crate::status::{Result, Status};
use crate::tokens::TokenClaims;
use crate::validation::FieldError;

/// The shortest and the longest life of a token, in seconds.
const LIFETIMES: (i64, i64) = (600, 1 << 32);
/// For how long a token is good for which nobody asked, in seconds.
const DEFAULT_LIFETIME: i64 = 3600;

/// Answers a POST of a TokenRequest below a service account.
pub(in super::super) async fn create_token(call: &Call) -> Result<Response<Body>> {
    let options = WriteOptions::parse(&call.query, "CreateOptions")?;
    let mut request = body::object_of(call, "TokenRequest", options.validation)?.object;
    let world = call.registry.latest().await?;
    let account = find(call, &world)?.value();
    call.registry.admit_below(&call.target(options.dry_run), &mut request).await?;
    let Some(issuer) = &call.registry.tokens else {
        return Err(Status::internal("this API server has no key to sign tokens with"));
    };
    let seconds = lifetime(&request)?;
    let bound = bound_object(call, &request)?;
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
        bound,
        audiences: audiences.clone(),
        issued,
        expires,
    };
    let expires = jiff::Timestamp::from_second(expires.as_second()).map_err(Status::internal)?;
    request["metadata"] = json!({
        "name": claims.name, "namespace": claims.namespace, "creationTimestamp": null,
    });
    request["spec"]["audiences"] = audiences.into();
    request["spec"]["expirationSeconds"] = seconds.into();
    request["status"] = json!({"token": issuer.issue(&claims), "expirationTimestamp": expires.to_string()});
    respond::other(call, StatusCode::CREATED, &request)
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

/// Returns the object that the token is to end with, if it exists with the given uid.
fn bound_object(call: &Call, request: &Value) -> Result<Option<(String, String, String)>> {
    let reference = &request["spec"]["boundObjectRef"];
    if reference.is_null() {
        return Ok(None);
    }
    let text = |field: &str| reference[field].as_str().unwrap_or_default();
    let (kind, name, uid) = (text("kind"), text("name"), text("uid"));
    let plural = match kind {
        "Pod" => "pods",
        "Secret" => "secrets",
        _ => {
            return Err(Status::bad_request(format!(
                "cannot bind token for serviceaccount {:?} to type {} kind {kind}",
                call.name,
                text("apiVersion")
            )));
        }
    };
    let resources = call.registry.resources();
    let resource = resources.get("", "v1", plural).ok_or_else(Status::unknown_path)?;
    let key = resource.key(call.namespace.as_deref(), name);
    let world = call.registry.cache.world();
    let object = world.get(key.as_str()).ok_or_else(|| Status::not_found(resource, name))?;
    let found = &*object.header.uid;
    if !uid.is_empty() && uid != found {
        let why = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have \
             been deleted and then recreated"
        );
        return Err(Status::conflict(resource, name, why));
    }
    Ok(Some((kind.to_owned(), name.to_owned(), found.to_owned())))
}
