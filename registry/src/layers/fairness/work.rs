//! How many seats a request takes: one, but for a list, which takes more the more it reads.

use http::Uri;

use crate::cache::Cache;
use crate::request::{Query, RequestInfo, Verb};

/// How many objects are read per seat (upstream's figure).
const OBJECTS_PER_SEAT: usize = 100;
/// How many seats a list takes at most (upstream's figure).
const MOST: usize = 10;

/// Returns how many seats a request takes.
pub(super) fn seats(cache: &Cache, info: &RequestInfo, uri: &Uri, widest: usize) -> usize {
    let RequestInfo::Resource(request) = info else { return 1 };
    let most = widest.min(MOST);
    if most <= 1 || request.subresource.is_some() || request.name.is_some() {
        return 1;
    }
    if !matches!(request.verb, Some(Verb::List | Verb::Watch)) {
        return 1;
    }
    let query = Query::parse(uri);
    if request.verb == Some(Verb::Watch) && !query.flag("sendInitialEvents") {
        return 1;
    }
    let world = cache.world();
    let Some(resource) = world.resources().get(&request.group, &request.version, &request.resource) else {
        return 1;
    };
    let selects = ["labelSelector", "fieldSelector"].iter().any(|name| query.non_empty(name).is_some());
    let limit = query.get("limit").and_then(|limit| limit.parse::<usize>().ok()).filter(|limit| *limit > 0);
    // Who selects has everything read, whatever little it gets.
    let limit = limit.filter(|_| !selects).unwrap_or(usize::MAX).min(most * OBJECTS_PER_SEAT);
    let read = world.range(&resource.key_prefix(request.namespace.as_deref()), None).take(limit).count();
    read.div_ceil(OBJECTS_PER_SEAT).clamp(1, most)
}
