//! Clauses 4 and 5: lists, their pages, and lists of the past.

use bytes::Bytes;

use super::{commit, compact, delete, in_time, keys, list, put, revision, values};
use crate::storage::{Entry, Key, List, Revision, Storage, StorageError, Transaction};

/// Clause 4: a list is in the byte order of its keys.
pub async fn clause_4_list_is_in_byte_order(store: impl Storage) {
    let mut expected =
        ["/b", "/a", "/a/b", "/a-b", "/a.b", "/aa", "/Z", "/ä", "/a/ü", "/a0", "/10", "/9", "/a/"];
    for key in expected {
        put(&store, key, "x").await;
    }

    let page = list(&store, List::prefix("")).await;

    expected.sort_by_key(|key| key.as_bytes());
    assert_eq!(keys(&page), expected, "clause 4: the order is not that of the bytes");
}

/// Clause 4: a list yields the keys under its prefix only.
pub async fn clause_4_list_has_the_prefix_only(store: impl Storage) {
    for key in
        ["/pods", "/pods/", "/pods/a", "/pods/b/c", "/podsx", "/pods0", "/pod", "/q", "/pods/\u{10ffff}"]
    {
        put(&store, key, "x").await;
    }

    let page = list(&store, List::prefix("/pods/")).await;
    let last = list(&store, List::prefix("/pods/\u{10ffff}")).await;
    let none = list(&store, List::prefix("/pods/nothing")).await;

    let expected = ["/pods/", "/pods/a", "/pods/b/c", "/pods/\u{10ffff}"];
    assert_eq!(keys(&page), expected, "clause 4: the list under /pods/");
    assert_eq!(keys(&last), ["/pods/\u{10ffff}"], "clause 4: the list under the last character");
    assert_eq!((keys(&none), none.remaining), (Vec::new(), 0), "clause 4: the list of nothing");
}

/// Clause 4: pages cut with `after` and `limit` make up the list, whatever their size.
pub async fn clause_4_pages_make_up_the_list(store: impl Storage) {
    let at = fill(&store, 23).await;
    put(&store, "/s", "outside").await;
    put(&store, "/q", "outside").await;
    let whole = list(&store, List::prefix("/r/")).await;
    assert_eq!(whole.entries.len(), 23, "clause 4: the list has {} keys", whole.entries.len());
    assert!(whole.revision >= at, "clause 4: the list says which revision it shows");

    for limit in [1, 2, 7, 22, 23, 24, 1000] {
        let pages = pages(&store, List::prefix("/r/").limit(limit)).await;
        assert_eq!(pages, whole.entries, "clause 4: pages of {limit} are not the list");
    }
}

/// Clause 4: a page tells how many entries follow it.
pub async fn clause_4_page_tells_how_many_follow(store: impl Storage) {
    fill(&store, 10).await;
    put(&store, "/s", "outside").await;

    for (limit, shown, remaining) in [(0, 0, 10), (1, 1, 9), (9, 9, 1), (10, 10, 0), (11, 10, 0)] {
        let page = list(&store, List::prefix("/r/").limit(limit)).await;
        assert_eq!(
            (page.entries.len(), page.remaining),
            (shown, remaining),
            "clause 4: entries on a page of {limit}, and behind it"
        );
    }
    let second = list(&store, List::prefix("/r/").after("/r/003").limit(4)).await;
    assert_eq!(second.remaining, 2, "clause 4: entries behind a second page");
    assert_eq!(
        list(&store, List::prefix("/r/")).await.remaining,
        0,
        "clause 4: nothing follows a whole list"
    );
}

/// Clause 4: a page may start behind a key that does not exist, or that is outside of the prefix.
pub async fn clause_4_page_may_start_behind_any_key(store: impl Storage) {
    fill(&store, 3).await;
    let cases: [(&str, &[&str]); 6] = [
        ("/r/0005", &["/r/001", "/r/002"]),
        ("/r/000", &["/r/001", "/r/002"]),
        ("/a", &["/r/000", "/r/001", "/r/002"]),
        ("/r", &["/r/000", "/r/001", "/r/002"]),
        ("/r/002", &[]),
        ("/z", &[]),
    ];

    for (after, expected) in cases {
        let page = list(&store, List::prefix("/r/").after(after)).await;
        assert_eq!(keys(&page), expected, "clause 4: the list behind {after}");
    }
}

/// Clause 5: a list at each earlier revision shows what was there then.
pub async fn clause_5_list_shows_an_earlier_revision(store: impl Storage) {
    let mut then: Vec<(Revision, Vec<Entry>)> = vec![(revision(&store).await, Vec::new())];
    let steps = [
        Transaction::new().put("/r/a", "1"),
        Transaction::new().put("/r/b", "1").put("/r/c", "1"),
        Transaction::new().put("/r/a", "2"),
        Transaction::new().delete("/r/a").put("/r/b", "2"),
        Transaction::new().put("/elsewhere", "1"),
        Transaction::new().put("/r/a", "3"),
        Transaction::new().delete("/r/b").delete("/r/c"),
    ];
    for step in steps {
        let at = commit(&store, step).await;
        then.push((at, list(&store, List::prefix("/r/")).await.entries));
    }

    for (at, entries) in then {
        let page = list(&store, List::prefix("/r/").at(at)).await;
        assert_eq!(page.entries, entries, "clause 5: what was there at {at}");
        assert_eq!(page.revision, at, "clause 5: the page says which revision it shows");
    }
}

/// Clause 5: pages of a list at one revision fit together while the store changes.
pub async fn clause_5_pages_of_an_earlier_revision_make_up_its_list(store: impl Storage) {
    let at = fill(&store, 12).await;
    let expected = list(&store, List::prefix("/r/")).await.entries;
    let first = list(&store, List::prefix("/r/").at(at).limit(5)).await;
    delete(&store, "/r/001").await;
    delete(&store, "/r/007").await;
    put(&store, "/r/0065", "new").await;
    put(&store, "/r/008", "changed").await;
    put(&store, "/r/999", "new").await;

    let rest = list(&store, List::prefix("/r/").after("/r/004").at(at).limit(100)).await;

    assert_eq!(first.remaining, 7, "clause 5: the first page tells how many follow at its revision");
    assert_eq!([first.entries, rest.entries].concat(), expected, "clause 5: the pages are one snapshot");
}

/// Clause 5: a list before the compacted revision is refused.
pub async fn clause_5_compacted_list_is_refused(store: impl Storage) {
    let first = put(&store, "/a", "1").await;
    let second = put(&store, "/a", "2").await;
    compact(&store, second).await;

    let error = in_time(store.list(List::prefix("").at(first))).await.err();

    assert!(
        matches!(error, Some(StorageError::Compacted(at)) if at >= second),
        "clause 5: {error:?} does not say compacted at {second}"
    );
}

/// Clause 5: a list at a revision that is still to come is refused, with the revision of the store.
pub async fn clause_5_list_of_the_future_is_refused(store: impl Storage) {
    let now = put(&store, "/a", "1").await;

    let error = in_time(store.list(List::prefix("").at(Revision(now.0 + 1)))).await.err();

    assert!(
        matches!(error, Some(StorageError::Future(at)) if at == now),
        "clause 5: {error:?} does not say that the store is at {now}"
    );
}

/// Clause 8: what was current at the compacted revision and later stays, in reads of now and of then.
pub async fn clause_8_compaction_keeps_values(store: impl Storage) {
    put(&store, "/never-again", "1").await;
    put(&store, "/changed", "1").await;
    put(&store, "/deleted", "1").await;
    delete(&store, "/deleted").await;
    let at = put(&store, "/changed", "2").await;
    put(&store, "/changed", "3").await;
    let before = list(&store, List::prefix("")).await.entries;

    compact(&store, at).await;
    compact(&store, revision(&store).await).await;

    let after = list(&store, List::prefix("")).await;
    assert_eq!(after.entries, before, "clause 8: compaction changed what is there");
    assert_eq!(keys(&after), ["/changed", "/never-again"], "clause 8: compaction lost a value");
}

/// Clause 8: a list at the compacted revision still works.
pub async fn clause_8_compacted_revision_itself_stays_readable(store: impl Storage) {
    put(&store, "/a", "1").await;
    let at = put(&store, "/a", "2").await;
    put(&store, "/a", "3").await;
    let last = delete(&store, "/a").await;

    compact(&store, at).await;

    let then = list(&store, List::prefix("").at(at)).await;
    assert_eq!(values(&then), [("/a", Bytes::from("2"))], "clause 8: what was current at {at} is there");
    let later = list(&store, List::prefix("").at(Revision(at.0 + 1))).await;
    assert_eq!(values(&later), [("/a", Bytes::from("3"))], "clause 8: what was current later is there");
    assert!(list(&store, List::prefix("").at(last)).await.entries.is_empty(), "clause 8: /a was deleted");
}

/// Clause 8: a compaction to an earlier revision than the last does nothing.
pub async fn clause_8_earlier_compaction_does_nothing(store: impl Storage) {
    let first = put(&store, "/a", "1").await;
    let second = put(&store, "/a", "2").await;
    put(&store, "/a", "3").await;
    compact(&store, second).await;

    compact(&store, first).await;

    let page = list(&store, List::prefix("").at(second)).await;
    assert_eq!(values(&page), [("/a", Bytes::from("2"))], "clause 8: the last compaction stands");
    let error = in_time(store.list(List::prefix("").at(first))).await.err();
    assert!(matches!(error, Some(StorageError::Compacted(_))), "clause 8: {error:?} does not say compacted");
}

/// Clause 8: a compaction to a revision that is still to come is refused and does nothing.
pub async fn clause_8_compaction_in_the_future_is_refused(store: impl Storage) {
    let first = put(&store, "/a", "1").await;
    let now = put(&store, "/a", "2").await;

    let error = in_time(store.compact(Revision(now.0 + 1))).await.err();

    assert!(
        matches!(error, Some(StorageError::Future(at)) if at == now),
        "clause 8: {error:?} does not say that the store is at {now}"
    );
    assert_eq!(list(&store, List::prefix("").at(first)).await.entries.len(), 1, "clause 8: it compacted");
}

async fn fill(store: &impl Storage, count: usize) -> Revision {
    // The order of writing is not the order of keys.
    let mut last = Revision(0);
    for index in (0..count).rev() {
        last = commit(store, Transaction::new().put(format!("/r/{index:03}"), index.to_string())).await;
    }
    last
}

/// Returns what all pages of the list hold.
async fn pages(store: &impl Storage, mut next: List) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    loop {
        let page = list(store, next.clone()).await;
        assert!(page.entries.len() <= next.limit.unwrap_or(usize::MAX), "clause 4: a page exceeds its limit");
        let end: Option<Key> = page.entries.last().map(|entry| entry.key.clone());
        entries.extend(page.entries);
        match end {
            Some(end) if page.remaining > 0 => next = next.after(end),
            _ => return entries,
        }
    }
}
