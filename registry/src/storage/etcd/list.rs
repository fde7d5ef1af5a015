//! Lists: page after page under one revision, so that no answer grows without a bound.

use etcd_client::proto::PbRangeResponse;
use quarterdeck_core::storage::{List, Page, Revision, StorageError};

use super::error::Failure;
use super::keyspace::{Range, from_etcd, to_etcd};
use super::{EtcdStorage, LARGEST_ANSWER};

/// How many entries the first page of a list asks for; what follows depends on their size.
const FIRST: usize = 500;
/// How many entries a page has at most.
const MOST: usize = 10_000;
/// About how many bytes a page has.
const PAGE_BYTES: usize = 4 << 20;
/// How often a list of the present starts over because its revision was compacted while it was read.
const RESTARTS: usize = 3;

/// Lists what is there.
pub(super) async fn list(storage: &EtcdStorage, list: &List) -> Result<Page, StorageError> {
    let mut restarts = 0;
    loop {
        match pages(storage, list).await {
            Err(Failure::Compacted) if list.at.is_none() && restarts < RESTARTS => restarts += 1,
            Err(failure) => {
                if let Some(error) = storage.error(failure, list.at.unwrap_or_default()).await {
                    return Err(error);
                }
            }
            Ok(page) => return Ok(page),
        }
    }
}

async fn pages(storage: &EtcdStorage, list: &List) -> Result<Page, Failure> {
    let mut range = storage.keys.range(&list.prefix, list.after.as_ref());
    let is_behind_all = range.is_empty();
    let limit = if is_behind_all { 0 } else { list.limit.unwrap_or(usize::MAX) };
    if is_behind_all {
        // The revision has to be looked at all the same.
        range = storage.keys.range(&list.prefix, None);
    }
    let mut at = list.at.map(to_etcd);
    let mut page = Page { entries: Vec::new(), revision: Revision(0), remaining: 0 };
    let mut size = FIRST;
    loop {
        let wanted = size.min(limit - page.entries.len());
        let answer = match get(storage, &range, at, wanted).await {
            Err(Failure::AnswerTooLarge) if wanted > 1 => {
                size = wanted.div_ceil(4);
                continue;
            }
            answer => answer?,
        };
        let now = answer.header.unwrap_or_default().revision;
        if list.at.is_some_and(|asked| asked > from_etcd(now)) {
            return Err(Failure::Future);
        }
        let shown = *at.get_or_insert(now);
        page.revision = list.at.unwrap_or(from_etcd(shown));
        let count = usize::try_from(answer.count).unwrap_or(0);
        page.remaining = if is_behind_all { 0 } else { count.saturating_sub(answer.kvs.len()) };
        let Some(last) = answer.kvs.last() else { return Ok(page) };
        range.skip(&last.key);
        size = next_size(&answer);
        page.entries.extend(answer.kvs.into_iter().filter_map(|pair| storage.keys.entry(pair)));
        if page.remaining == 0 || page.entries.len() >= limit {
            return Ok(page);
        }
    }
}

/// Returns how many entries of this kind make up a page.
fn next_size(answer: &PbRangeResponse) -> usize {
    let bytes: usize = answer.kvs.iter().map(|pair| pair.key.len() + pair.value.len()).sum();
    (PAGE_BYTES * answer.kvs.len() / bytes.max(1)).clamp(1, MOST)
}

/// Gets at most `limit` entries of a range.
async fn get(
    storage: &EtcdStorage,
    range: &Range,
    at: Option<i64>,
    limit: usize,
) -> Result<PbRangeResponse, Failure> {
    let (start, mut options) = range.get();
    options = options.with_revision(at.unwrap_or(0));
    options = match limit {
        // No limit is what 0 means to etcd.
        0 => options.with_count_only(),
        _ => options.with_limit(i64::try_from(limit).unwrap_or(i64::MAX)),
    };
    let answer =
        storage.members.read(move |client| {
            let (start, options) = (start.clone(), options.clone());
            async move {
                client.kv_client().max_decoding_message_size(LARGEST_ANSWER).get(start, Some(options)).await
            }
        });
    Ok(answer.await?.0)
}
