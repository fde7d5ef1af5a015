//! Logs: what a pod's container wrote, from its node's agent.

use std::future::poll_fn;

use futures::StreamExt;
use futures::future::ready;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use jiff::Timestamp;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use quarterdeck_core::component::Stop;
use quarterdeck_core::node::{NodeBody, NodeConnectError};
use tower::Service;

use super::super::read::{find, world_for};
use super::super::{Call, body, respond};
use super::container;
use crate::body::Body;
use crate::status::{Result, Status};
use crate::validation::FieldError;

/// The options that the agent gets as they are.
const OPTIONS: [&str; 7] =
    ["follow", "previous", "tailLines", "sinceSeconds", "sinceTime", "timestamps", "limitBytes"];

/// Answers a GET of a pod's log.
pub(in super::super) async fn log(call: &Call) -> Result<Response<Body>> {
    check(call)?;
    let world = world_for(call).await?;
    let pod = find(call, &world)?.value();
    let container = container::meant(&pod, &call.name, call.query.non_empty("container"))?;
    let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
    if node.is_empty() {
        // A pod that has no node yet has written nothing.
        let mut nothing = Response::new(Body::empty());
        *nothing.status_mut() = StatusCode::NO_CONTENT;
        return Ok(nothing);
    }
    let answer = ask(call, node, &container).await?;
    if !answer.status().is_success() {
        return Err(refusal(answer).await);
    }
    let stop = call.running.stop.clone();
    let pieces = answer.into_body().into_data_stream().take_while(|piece| ready(piece.is_ok()));
    let stream = pieces.filter_map(|piece| ready(piece.ok())).take_until(stopped(stop));
    Ok(respond::text(StatusCode::OK, "text/plain", Body::stream(stream)))
}

async fn stopped(mut stop: Stop) {
    stop.wait().await;
}

/// Checks the options, before anything is looked up.
fn check(call: &Call) -> Result<()> {
    let query = &call.query;
    let mut errors = Vec::new();
    let tail = query.integer("tailLines")?;
    if let Some(lines) = tail.filter(|lines| *lines < 0) {
        errors.push(FieldError::invalid("tailLines", lines, "must be greater than or equal to 0"));
    }
    let positive = |name: &str| -> Result<Option<FieldError>> {
        let value = query.integer(name)?.filter(|value| *value < 1);
        Ok(value.map(|value| FieldError::invalid(name, value, "must be greater than 0")))
    };
    errors.extend(positive("limitBytes")?);
    let since = positive("sinceSeconds")?;
    match (query.non_empty("sinceTime"), query.non_empty("sinceSeconds")) {
        (Some(_), Some(_)) => errors
            .push(FieldError::forbidden("", "at most one of `sinceTime` or `sinceSeconds` may be specified")),
        (Some(time), None) => {
            let read: std::result::Result<Timestamp, _> = time.parse();
            read.map_err(|_| {
                Status::bad_request(format!("sinceTime: {time:?} is no time as RFC 3339 writes it"))
            })?;
        }
        _ => errors.extend(since),
    }
    if query.non_empty("stream").is_some() {
        errors.push(FieldError::forbidden("stream", "may not be specified"));
    }
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid("", "PodLogOptions", &call.name, &errors)) }
}

async fn ask(call: &Call, node: &str, container: &str) -> Result<Response<NodeBody>> {
    let Some(connector) = &call.registry.connector else {
        return Err(Status::internal(format!("this API server has no way to node {node:?}")));
    };
    let mut service = connector.connect(node).await.map_err(|error| match error {
        NodeConnectError::Unreachable { source, .. } => unreachable(node, source.to_string()),
        other => unreachable(node, other.to_string()),
    })?;
    let namespace = call.namespace.as_deref().unwrap_or_default();
    let mut path = format!("/containerLogs/{namespace}/{}/{container}?", call.name);
    for option in OPTIONS {
        if let Some(value) = call.query.non_empty(option) {
            path.push_str(&format!("{option}={}&", utf8_percent_encode(value, NON_ALPHANUMERIC)));
        }
    }
    path.pop();
    let request = Request::get(path).body(NodeBody::default());
    let request = request.map_err(|error| unreachable(node, error.to_string()))?;
    let ready = poll_fn(|cx| service.poll_ready(cx)).await;
    ready.map_err(|error| unreachable(node, error.to_string()))?;
    service.call(request).await.map_err(|error| unreachable(node, error.to_string()))
}

fn unreachable(node: &str, why: String) -> Status {
    Status::internal(format!("the agent of node {node:?} cannot be reached: {why}"))
}

/// Passes on what the agent says.
async fn refusal(answer: Response<NodeBody>) -> Status {
    let code = answer.status();
    let said = body::read(answer.into_body()).await.unwrap_or_default();
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    match code {
        StatusCode::NOT_FOUND => Status::new(code, "NotFound", said),
        code if code.is_client_error() => Status::bad_request(said),
        _ => Status::internal(said),
    }
}
