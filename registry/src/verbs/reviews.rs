//! Reviews: questions about users and their rights, answered and not stored.
//!
//! The kinds are those of `k8s.io/api/authentication/v1` and `k8s.io/api/authorization/v1`, the rules those of
//! `k8s.io/kubernetes/pkg/registry/{authentication,authorization}`.

use std::collections::{BTreeMap, BTreeSet};

use http::{Response, StatusCode};
use serde_json::{Map, Value, json};

use super::options::WriteOptions;
use super::write::place;
use super::{Call, body, respond};
use crate::body::Body;
use crate::layers::authorization::Decision;
use crate::managed;
use crate::negotiate::Form;
use crate::rbac::rule_value;
use crate::request::{RequestInfo, ResourceRequest, Verb};
use crate::status::{Result, Status};
use crate::user::User;
use crate::validation::{FieldError, Shown};
use crate::write::metadata;

/// Answers a POST of a review.
pub(super) async fn review(call: &Call) -> Result<Response<Body>> {
    let form = Form::choose(&call.headers, &call.query, false, &call.resource)?;
    let options = WriteOptions::parse(&call.query, "CreateOptions")?;
    let decoded = body::object(call, options.validation)?;
    let mut review = decoded.object;
    place(&mut review, call.namespace.as_deref())?;
    let owners = call.registry.as_writer(&call.target(true), |writer| {
        managed::recorded(&call.resource.structure, None, &review, writer)
    });
    let status = match &*call.resource.kind {
        "TokenReview" => token(call, &review).await?,
        "SelfSubjectReview" => {
            review["metadata"] = json!({"creationTimestamp": metadata::seconds(call.registry.clock.now())});
            json!({"userInfo": user_info(&call.user)})
        }
        "SelfSubjectRulesReview" => rules(call, &review)?,
        kind => access(call, kind, &review).await?,
    };
    review["status"] = status;
    let metadata = &mut review["metadata"];
    if metadata["creationTimestamp"].is_null() {
        metadata["creationTimestamp"] = Value::Null;
    }
    if let Some(owners) = owners {
        metadata["managedFields"] = owners;
    }
    let mut response = respond::value(call, form, StatusCode::CREATED, &review)?;
    respond::warn(response.headers_mut(), &decoded.warnings);
    Ok(response)
}

/// Says whether somebody may do something.
async fn access(call: &Call, kind: &str, review: &Value) -> Result<Value> {
    let spec = &review["spec"];
    let errors = check(kind, review);
    if !errors.is_empty() {
        return Err(Status::invalid("authorization.k8s.io", "", "", &errors));
    }
    let user = if kind == "SelfSubjectAccessReview" { call.user.clone() } else { user_of(spec) };
    let (request, verb, field_selector) = asked(spec);
    let decision = call.registry.authorization.decide(&user, &request, &verb, &field_selector).await;
    let (allowed, denied, why) = match &decision {
        Decision::Allow(why) => (true, false, why),
        Decision::Deny(why) => (false, true, why),
        Decision::NoOpinion(why) => (false, false, why),
    };
    let mut status = json!({"allowed": allowed});
    if denied {
        status["denied"] = true.into();
    }
    if !why.is_empty() {
        status["reason"] = why.as_ref().into();
    }
    Ok(status)
}

/// What is wrong with a review of access.
fn check(kind: &str, review: &Value) -> Vec<FieldError> {
    let spec = &review["spec"];
    let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let shown = || Shown::verbatim(shown_path(path));
    let mut errors = Vec::new();
    if !resource.is_null() && !path.is_null() {
        let why = "cannot be specified in combination with resourceAttributes";
        errors.push(FieldError::invalid("spec.nonResourceAttributes", shown(), why));
    }
    if resource.is_null() && path.is_null() {
        let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
        errors.push(FieldError::invalid("spec.resourceAttributes", "null", why));
    }
    let has_user =
        !text(spec, "user").is_empty() || spec["groups"].as_array().is_some_and(|all| !all.is_empty());
    if kind != "SelfSubjectAccessReview" && !has_user {
        errors.push(FieldError::invalid("spec.user", "", "at least one of user or group must be specified"));
    }
    let metadata = review["metadata"].as_object().into_iter().flatten();
    let mut given = metadata.filter(|(field, value)| {
        let is_own =
            *field == "managedFields" || (*field == "namespace" && kind == "LocalSubjectAccessReview");
        !is_own && !value.is_null()
    });
    if given.next().is_some() {
        errors.push(FieldError::invalid(
            "metadata",
            Shown::verbatim(shown_metadata(&review["metadata"])),
            "must be empty",
        ));
    }
    if kind == "LocalSubjectAccessReview" {
        let namespace = text(resource, "namespace");
        if !resource.is_null() && namespace != text(&review["metadata"], "namespace") {
            let why = "must match metadata.namespace";
            errors.push(FieldError::invalid("spec.resourceAttributes.namespace", namespace, why));
        }
        if !path.is_null() {
            let why = "disallowed on this kind of request";
            errors.push(FieldError::invalid("spec.nonResourceAttributes", shown(), why));
        }
    }
    errors
}

fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value[field].as_str().unwrap_or_default()
}

fn texts(value: &Value) -> Vec<String> {
    let all = value.as_array().into_iter().flatten();
    all.filter_map(|text| text.as_str().map(str::to_owned)).collect()
}

/// Keeps the first of those that are the same.
fn unique(texts: Vec<String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    texts.into_iter().filter(|text| seen.insert(text.clone())).collect()
}

/// The user whom a review is about.
fn user_of(spec: &Value) -> User {
    let extra = spec["extra"].as_object().into_iter().flatten();
    let extra: BTreeMap<_, _> = extra.map(|(key, values)| (key.to_lowercase(), texts(values))).collect();
    User {
        name: text(spec, "user").into(),
        uid: text(spec, "uid").into(),
        groups: unique(texts(&spec["groups"])),
        extra: extra.into(),
    }
}

/// What a review asks: the request, its verb and its field selector.
fn asked(spec: &Value) -> (RequestInfo, String, String) {
    let path = &spec["nonResourceAttributes"];
    if !path.is_null() {
        return (RequestInfo::Path(text(path, "path").into()), text(path, "verb").into(), String::new());
    }
    let of = &spec["resourceAttributes"];
    let given = |field: &str| Some(text(of, field)).filter(|text| !text.is_empty()).map(str::to_owned);
    // A path's namespace lies in itself; a review is about the namespace that it names, and about the cluster if it names none.
    let is_namespace = text(of, "group").is_empty() && text(of, "resource") == "namespaces";
    let is_of_cluster = is_namespace && text(of, "namespace").is_empty();
    let request = ResourceRequest {
        verb: is_of_cluster.then_some(Verb::List),
        group: text(of, "group").into(),
        version: text(of, "version").into(),
        namespace: given("namespace"),
        resource: text(of, "resource").into(),
        name: given("name"),
        subresource: given("subresource"),
    };
    (RequestInfo::Resource(request), text(of, "verb").into(), field_selector(&of["fieldSelector"]))
}

/// Writes a review's field selector as a list's.
fn field_selector(selector: &Value) -> String {
    let requirements = selector["requirements"].as_array().into_iter().flatten();
    let terms = requirements.filter_map(|requirement| {
        let values = texts(&requirement["values"]);
        match (text(requirement, "operator"), values.as_slice()) {
            ("In", [value]) => Some(format!("{}={value}", text(requirement, "key"))),
            ("NotIn", [value]) => Some(format!("{}!={value}", text(requirement, "key"))),
            // What is not understood narrows nothing, as upstream.
            _ => None,
        }
    });
    let raw = Some(text(selector, "rawSelector").to_owned()).filter(|raw| !raw.is_empty());
    raw.into_iter().chain(terms).collect::<Vec<_>>().join(",")
}

/// Writes a path's attributes as Go does.
fn shown_path(path: &Value) -> String {
    format!(
        "authorization.NonResourceAttributes{{Path:{:?}, Verb:{:?}}}",
        text(path, "path"),
        text(path, "verb")
    )
}

/// Writes what is given of metadata as Go does, as far as it tells somebody what to leave out.
fn shown_metadata(metadata: &Value) -> String {
    let fields = metadata.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    let fields: Vec<_> = fields.map(|(field, value)| format!("{field}:{value}")).collect();
    format!("v1.ObjectMeta{{{}}}", fields.join(", "))
}

/// Lists what the caller may do.
fn rules(call: &Call, review: &Value) -> Result<Value> {
    let namespace = text(&review["spec"], "namespace");
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    let known = call.registry.authorization.rules(&call.user, namespace);
    let (mut of_resources, mut of_paths) = (Vec::new(), Vec::new());
    for rule in &known.rules {
        if !rule.resources.is_empty() {
            of_resources.push(rule_value(rule));
        }
        if !rule.non_resource_urls.is_empty() {
            of_paths.push(rule_value(rule));
        }
    }
    let mut status = json!({
        "resourceRules": of_resources, "nonResourceRules": of_paths, "incomplete": !known.incomplete.is_empty(),
    });
    if !known.incomplete.is_empty() {
        status["evaluationError"] = known.incomplete.join(", ").into();
    }
    Ok(status)
}

/// Says whose a token is.
async fn token(call: &Call, review: &Value) -> Result<Value> {
    let token = text(&review["spec"], "token");
    if token.is_empty() {
        return Err(Status::bad_request("token is required for TokenReview in authentication"));
    }
    let audiences = texts(&review["spec"]["audiences"]);
    Ok(match call.registry.authentication.token(token, &audiences).await {
        Ok(Some((user, audiences))) => {
            let mut status = json!({"authenticated": true, "user": user_info(&user)});
            if !audiences.is_empty() {
                status["audiences"] = audiences.into();
            }
            status
        }
        Ok(None) => json!({"user": {}}),
        Err(why) => json!({"user": {}, "error": why}),
    })
}

/// Writes a user as the API does.
fn user_info(user: &User) -> Value {
    let mut info = Map::from_iter([("username".to_owned(), Value::from(user.name.clone()))]);
    if !user.uid.is_empty() {
        info.insert("uid".into(), user.uid.clone().into());
    }
    if !user.groups.is_empty() {
        info.insert("groups".into(), user.groups.clone().into());
    }
    if !user.extra.is_empty() {
        info.insert("extra".into(), json!(*user.extra));
    }
    info.into()
}
