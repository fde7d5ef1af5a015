//! Logs: what a pod's container wrote, from its node's agent.

use std::future::poll_fn;

use futures::StreamExt;
use futures::future::ready;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use quarterdeck_core::component::Stop;
use quarterdeck_core::node::{NodeBody, NodeConnectError};
use serde_json::Value;
use tower::Service;

use super::super::read::{find, world_for};
use super::super::{Call, body, respond};
use crate::body::Body;
use crate::status::{Result, Status};

/// The options that the agent gets as they are.
const OPTIONS: [&str; 7] =
    ["follow", "previous", "tailLines", "sinceSeconds", "sinceTime", "timestamps", "limitBytes"];

/// Answers a GET of a pod's log.
pub(in super::super) async fn log(call: &Call) -> Result<Response<Body>> {
    let world = world_for(call).await?;
    let pod = find(call, &world)?.value();
    let container = container(call, &pod)?;
    let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
    if node.is_empty() {
        // Upstream answers nothing for a pod that has no node yet.
        return Ok(respond::text(StatusCode::OK, "text/plain", Body::empty()));
    }
    let answer = ask(call, node, &container).await?;
    if !answer.status().is_success() {
        return Err(refusal(answer).await);
    }
    let stop = call.stop.clone();
    let pieces = answer.into_body().into_data_stream().take_while(|piece| ready(piece.is_ok()));
    let stream = pieces.filter_map(|piece| ready(piece.ok())).take_until(stopped(stop));
    Ok(respond::text(StatusCode::OK, "text/plain", Body::stream(stream)))
}

async fn stopped(mut stop: Stop) {
    stop.wait().await;
}

/// Returns the container that is meant: the one that is named, or the only one.
fn container(call: &Call, pod: &Value) -> Result<String> {
    let named = |list: &str| -> Vec<String> {
        let containers = pod["spec"][list].as_array().into_iter().flatten();
        containers.filter_map(|container| container["name"].as_str().map(str::to_owned)).collect()
    };
    let (main, init) = (named("containers"), named("initContainers"));
    if let Some(wanted) = call.query.non_empty("container") {
        if main.iter().chain(&init).any(|name| name == wanted) {
            return Ok(wanted.to_owned());
        }
        return Err(Status::bad_request(format!("container {wanted} is not valid for pod {}", call.name)));
    }
    if let [only] = main.as_slice() {
        return Ok(only.clone());
    }
    let annotation = &pod["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"];
    if let Some(default) = annotation.as_str().filter(|name| main.iter().any(|main| main == name)) {
        return Ok(default.to_owned());
    }
    let init = if init.is_empty() {
        String::new()
    } else {
        format!(" or one of the init containers: [{}]", init.join(" "))
    };
    Err(Status::bad_request(format!(
        "a container name must be specified for pod {}, choose one of: [{}]{init}",
        call.name,
        main.join(" ")
    )))
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
