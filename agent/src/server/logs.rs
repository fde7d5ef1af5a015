//! What containers wrote.

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use http::{Response, StatusCode, header};
use http_body_util::{BodyExt, StreamBody};
use k8s_openapi::api::core::v1::{ContainerStatus as ApiStatus, Pod};
use quarterdeck_core::client::NodeBody;
use quarterdeck_core::component::BoxError;
use quarterdeck_core::runtime::{ContainerKey, LogChunks, PodStatus, PodUid, RuntimeError};

use super::query::LogQuery;
use crate::host::{Host, chain};

/// Why there is no log: the code and the text of the answer.
type Refusal = (StatusCode, String);

/// Opens the log of a container: its namespace, its pod and its name.
///
/// # Errors
///
/// The [`Refusal`] that the client gets.
pub(super) async fn logs(
    host: &Host,
    (namespace, name, container): (&str, &str, &str),
    query: &str,
) -> Result<Response<NodeBody>, Refusal> {
    let bad = |message: String| (StatusCode::BAD_REQUEST, message);
    let query = LogQuery::parse(query, host.context.clock.now()).map_err(bad)?;
    let pod = host.pod(namespace, name);
    let pod = pod.ok_or_else(|| (StatusCode::NOT_FOUND, format!("pod \"{namespace}/{name}\" not found")))?;
    check_container(&pod, container)?;
    let logs = host.runtime.logs();
    let logs = logs.ok_or_else(|| (StatusCode::NOT_IMPLEMENTED, "the runtime keeps no logs".to_owned()))?;
    let uid = PodUid::new(pod.metadata.uid.clone().unwrap_or_default());
    let held = host.runtime.pods().await.map_err(|error| failed(&error))?;
    let held = held.into_iter().find(|held| held.uid == uid);
    let key = attempt(&uid, held.as_ref(), container, query.previous);
    let key = key.ok_or_else(|| bad(missing(&pod, container, query.previous)))?;
    let opened = logs.open(&key, query.options).await;
    let chunks = opened.map_err(|error| failed(&error))?;
    let frames = limited(chunks, query.limit)
        .map_ok(http_body::Frame::data)
        .map_err(|error| Box::new(error) as BoxError);
    let body = StreamBody::new(frames).boxed_unsync();
    let answer = Response::builder().header(header::CONTENT_TYPE, "text/plain").body(body);
    Ok(answer.expect("a constant header makes a response"))
}

fn failed(error: &RuntimeError) -> Refusal {
    let code = match error {
        RuntimeError::ContainerNotFound(_) => StatusCode::NOT_FOUND,
        RuntimeError::Unsupported { .. } => StatusCode::BAD_REQUEST,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (code, chain(error))
}

fn check_container(pod: &Pod, container: &str) -> Result<(), Refusal> {
    let spec = pod.spec.as_ref();
    let main = spec.map(|spec| spec.containers.as_slice()).unwrap_or_default();
    let init = spec.and_then(|spec| spec.init_containers.as_deref()).unwrap_or_default();
    if main.iter().chain(init).any(|known| known.name == container) {
        return Ok(());
    }
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    Err((StatusCode::NOT_FOUND, format!("container {container:?} not found in pod {name:?}")))
}

/// Returns the attempt that is meant, if it is held.
fn attempt(uid: &PodUid, held: Option<&PodStatus>, container: &str, previous: bool) -> Option<ContainerKey> {
    let held = held?;
    let newest = held.newest(container)?;
    // While the next attempt waits for its turn, the one before is the newest that there is.
    let attempt = if previous && newest.exit().is_none() {
        let of_container = held.containers.iter().filter(|known| &*known.name == container);
        of_container.map(|known| known.attempt).filter(|attempt| *attempt < newest.attempt).max()?
    } else {
        newest.attempt
    };
    Some(ContainerKey::new(uid.clone(), container, attempt))
}

/// Says why there is no such attempt, in upstream's words.
fn missing(pod: &Pod, container: &str, previous: bool) -> String {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    if previous {
        return format!("previous terminated container {container:?} in pod {name:?} not found");
    }
    let status = pod.status.as_ref();
    let lists = status.map(|status| [&status.container_statuses, &status.init_container_statuses]);
    let mut known = lists.into_iter().flatten().flatten().flatten();
    let waiting = |status: &ApiStatus| status.state.as_ref()?.waiting.as_ref()?.reason.clone();
    let reason = known.find(|known| known.name == container).and_then(waiting);
    let reason = reason.unwrap_or_else(|| "ContainerCreating".to_owned());
    format!("container {container:?} in pod {name:?} is waiting to start: {reason}")
}

/// Ends a log after so many bytes.
fn limited(
    chunks: LogChunks,
    limit: Option<u64>,
) -> impl futures::Stream<Item = Result<Bytes, RuntimeError>> + Send {
    let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    chunks.scan(limit, |left, chunk| {
        let cut = chunk.map(|mut chunk| {
            chunk.truncate(*left);
            *left -= chunk.len();
            chunk
        });
        let is_over = matches!(&cut, Ok(chunk) if chunk.is_empty() && *left == 0);
        std::future::ready((!is_over).then_some(cut))
    })
}
