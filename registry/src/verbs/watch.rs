//! Following collections.

mod socket;
mod watcher;

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use http::{Response, StatusCode};
use quarterdeck_core::storage::Revision;

use super::list::Selection;
use super::{Call, respond};
use crate::body::Body;
use crate::cache::World;
use crate::negotiate::Form;
use crate::status::{Result, Status};
use crate::validation::FieldError;

use watcher::Watcher;

/// The shortest life of a watch for which no timeout is asked; the longest is twice that.
const DEFAULT_TIMEOUT_SECONDS: usize = 1800;

/// Where a watch begins.
enum Start {
    /// With everything that is there, as added.
    Everything(Arc<World>),
    /// Behind a revision.
    After(Revision),
}

/// Answers a watch of a collection.
pub(super) async fn watch(call: &Call) -> Result<Response<Body>> {
    let form = Form::choose_for_watch(&call.headers, &call.query)?;
    let timeout = call.query.integer("timeoutSeconds")?.filter(|seconds| *seconds > 0);
    call.query.integer("limit")?;
    let selection = Selection::parse(call)?;
    let initial = check_options(call)?;
    let (start, end_marked) = start(call, initial).await?;
    let timeout = timeout.map_or_else(
        || DEFAULT_TIMEOUT_SECONDS + call.registry.random.below(DEFAULT_TIMEOUT_SECONDS),
        |seconds| usize::try_from(seconds).unwrap_or(usize::MAX),
    );
    let life = Duration::from_secs(timeout.try_into().unwrap_or(u64::MAX >> 16));
    // Boxed, because it moves with each piece of the answer.
    let watcher = Box::new(Watcher::new(call, form, selection, &start, end_marked, life)?);
    let pieces = stream::unfold(watcher, |mut watcher| async move {
        let chunk = watcher.next().await?;
        Some((chunk, watcher))
    });
    if let Some(asked) = &call.socket {
        let pieces = pieces.boxed();
        let serve = move |socket| socket::serve(socket, pieces, form.encoding, life);
        let (answer, socket) = asked.accept(&call.headers, serve)?;
        call.running.sockets.run(socket);
        return Ok(answer);
    }
    Ok(respond::text(StatusCode::OK, form.stream_type(), Body::stream(pieces)))
}

/// Checks the options that only streaming lists have. Returns whether the watch begins with what is there, if it says so.
fn check_options(call: &Call) -> Result<Option<bool>> {
    let field = "resourceVersionMatch";
    let initial = call.query.non_empty("sendInitialEvents");
    let matching = call.query.non_empty(field);
    let mut errors = Vec::new();
    if initial.is_some() && matching != Some(NOT_OLDER) {
        let detail = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
        errors.push(FieldError::forbidden(field, detail));
    }
    if let Some(matching) = matching {
        if initial.is_none() {
            let detail = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
            errors.push(FieldError::forbidden(field, detail));
        }
        if matching != NOT_OLDER {
            errors.push(FieldError::not_supported(field, matching, &[NOT_OLDER]));
        }
        if call.query.non_empty("continue").is_some() {
            let detail = "resourceVersionMatch is forbidden when continue is provided";
            errors.push(FieldError::forbidden(field, detail));
        }
    }
    if errors.is_empty() {
        Ok(initial.map(|_| call.query.flag("sendInitialEvents")))
    } else {
        Err(Status::invalid("meta.k8s.io", "ListOptions", "", &errors))
    }
}

const NOT_OLDER: &str = "NotOlderThan";

/// Finds where a watch begins, and whether the end of what is there is marked.
async fn start(call: &Call, initial: Option<bool>) -> Result<(Start, bool)> {
    let text = call.query.non_empty("resourceVersion");
    let revision = match text {
        None | Some("0") => None,
        Some(text) => Some(super::read::revision(text).map_err(Status::server_error)?),
    };
    let asked = initial == Some(true);
    if let Some(revision) = revision.filter(|_| !asked) {
        return Ok((Start::After(revision), false));
    }
    let world = match (revision, text) {
        (Some(revision), _) => call.registry.not_older_than(revision).await?,
        (None, Some(_)) => call.registry.cache.world(),
        (None, None) => call.registry.latest().await?,
    };
    if initial == Some(false) {
        return Ok((Start::After(world.revision), false));
    }
    Ok((Start::Everything(world), asked && call.query.flag("allowWatchBookmarks")))
}
