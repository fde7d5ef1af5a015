//! Clauses 1, 2 and 3: revisions, transactions, and reads that see them.

use futures::future::join_all;

use super::{commit, delete, get, in_time, keys, list, next_commit, put, revision, values, watch};
use crate::storage::{Entry, Expect, Key, List, Revision, Storage, StorageError, Transaction};

/// Clause 1: a later commit gets a greater revision, whatever its keys.
pub async fn clause_1_revisions_grow(store: impl Storage) {
    let mut last = revision(&store).await;

    for (key, value) in [("/a", "1"), ("/b", "1"), ("/a", "2"), ("/a", "2"), ("/other", "1")] {
        let next = put(&store, key, value).await;
        assert!(next > last, "clause 1: {next} came after {last}");
        last = next;
    }

    let deleted = delete(&store, "/a").await;
    assert!(deleted > last, "clause 1: the deletion has {deleted}, after {last}");
    assert_eq!(revision(&store).await, deleted, "clause 1: the store is at its last commit");
}

/// Clause 1: all writes of a commit carry its revision.
pub async fn clause_1_writes_of_a_commit_share_its_revision(store: impl Storage) {
    put(&store, "/old", "1").await;

    let at = commit(&store, Transaction::new().put("/old", "2").put("/new", "1").put("/far/away", "1")).await;

    for key in ["/old", "/new", "/far/away"] {
        let entry = get(&store, key).await.expect("clause 3: get finds what was written");
        assert_eq!(entry.modified, at, "clause 1: {key} carries the commit's revision");
    }
}

/// Clause 1: a store that was never written is at revision 0.
pub async fn clause_1_fresh_store_is_at_revision_0(store: impl Storage) {
    assert_eq!(revision(&store).await, Revision(0), "clause 1: 0 is before the first commit");
    assert_eq!(list(&store, List::prefix("")).await.revision, Revision(0), "clause 1: so says a list");
}

/// Clause 2: a transaction of which a condition fails changes nothing, wherever the condition stands.
pub async fn clause_2_failed_condition_changes_nothing(store: impl Storage) {
    let before = put(&store, "/kept", "1").await;
    let failing = [
        Transaction::new().expect("/kept", Expect::Absent).expect("/kept", Expect::Present),
        Transaction::new().expect("/kept", Expect::Present).expect("/kept", Expect::Absent),
        Transaction::new().expect("/nowhere", Expect::Present),
    ];

    for transaction in failing {
        let transaction = transaction.put("/new", "x").put("/kept", "2").delete("/kept2");
        let error = in_time(store.commit(transaction)).await.err();
        assert!(matches!(error, Some(StorageError::Conflict { .. })), "clause 2: {error:?} is no conflict");
    }

    let page = list(&store, List::prefix("")).await;
    assert_eq!(keys(&page), ["/kept"], "clause 2: a failed transaction wrote a key");
    assert_eq!(page.entries[0].value, "1", "clause 2: a failed transaction wrote a value");
    assert_eq!(revision(&store).await, before, "clause 2: a failed transaction moved the revision");
}

/// Clause 2: each [`Expect`] holds when it should, and only then.
pub async fn clause_2_conditions_say_what_they_mean(store: impl Storage) {
    let old = put(&store, "/there", "1").await;
    let now = put(&store, "/there", "2").await;
    let cases = [
        ("/there", Expect::Absent, false),
        ("/there", Expect::Present, true),
        ("/there", Expect::Modified(now), true),
        ("/there", Expect::Modified(old), false),
        ("/there", Expect::Modified(Revision(now.0 + 1)), false),
        ("/absent", Expect::Absent, true),
        ("/absent", Expect::Present, false),
        ("/absent", Expect::Modified(now), false),
        ("/absent", Expect::Modified(Revision(0)), false),
    ];

    for (key, expect, holds) in cases {
        let transaction = Transaction::new().expect(key, expect).put("/written", "x");
        let result = in_time(store.commit(transaction)).await;
        assert_eq!(result.is_ok(), holds, "clause 2: expecting {expect} at {key} gives {result:?}");
    }
}

/// Clause 2: a conflict names a condition that failed and what was found there.
pub async fn clause_2_conflict_names_the_condition_and_what_was_found(store: impl Storage) {
    let at = put(&store, "/b", "found").await;
    let conditions =
        Transaction::new().expect("/a", Expect::Absent).expect("/b", Expect::Modified(Revision(0)));

    let error = in_time(store.commit(conditions.put("/a", "x"))).await.expect_err("a condition fails");

    let StorageError::Conflict { key, expected, found } = error else {
        panic!("clause 2: {error:?} is no conflict")
    };
    assert_eq!(key, Key::from("/b"), "clause 2: the conflict names the failed condition's key");
    assert_eq!(expected, Expect::Modified(Revision(0)), "clause 2: the conflict names what was expected");
    let entry = Entry { key: "/b".into(), value: "found".into(), created: at, modified: at };
    assert_eq!(found, Some(entry), "clause 2: the conflict shows what was found");
}

/// Clause 2: a transaction that writes nothing answers with the present revision and is no commit.
pub async fn clause_2_conditions_alone_write_nothing(store: impl Storage) {
    let at = put(&store, "/a", "1").await;

    let result = in_time(store.commit(Transaction::new().expect("/a", Expect::Present))).await;

    assert_eq!(result.expect("the condition holds"), at, "clause 2: nothing was written");
    assert_eq!(revision(&store).await, at, "clause 2: nothing was written");
}

/// Clause 2: a transaction that names a key twice in its writes is invalid, and does not happen by half.
pub async fn clause_2_key_written_twice_is_invalid(store: impl Storage) {
    let twice = [
        Transaction::new().put("/a", "1").put("/a", "2"),
        Transaction::new().put("/a", "1").put("/b", "1").delete("/a"),
        Transaction::new().delete("/a").put("/b", "1").put("/c", "1").delete("/a"),
    ];

    for transaction in twice {
        let error = in_time(store.commit(transaction)).await.err();
        assert!(matches!(error, Some(StorageError::Invalid(_))), "clause 2: {error:?} does not say invalid");
    }

    assert!(list(&store, List::prefix("")).await.entries.is_empty(), "clause 2: half a write");
}

/// Clause 2: readers see a transaction whole, or not yet.
pub async fn clause_2_transaction_is_seen_whole(store: impl Storage) {
    const ROUNDS: usize = 60;
    let mut commits = watch(&store, "/pair/", Revision(0)).await;
    let write = async {
        for round in 0..ROUNDS {
            let value = round.to_string();
            let pair = Transaction::new().put("/pair/a", value.clone()).put("/pair/b", value);
            commit(&store, pair).await;
            tokio::task::yield_now().await;
        }
    };
    let read = async {
        for _ in 0..ROUNDS * 2 {
            let page = list(&store, List::prefix("/pair/")).await;
            if !page.entries.is_empty() {
                assert_eq!(page.entries.len(), 2, "clause 2: a list shows half a transaction");
                let (a, b) = (&page.entries[0], &page.entries[1]);
                assert_eq!(a.value, b.value, "clause 2: a list shows half a transaction");
                assert_eq!(a.modified, b.modified, "clause 2: a list shows half a transaction");
            }
            tokio::task::yield_now().await;
        }
    };
    let follow = async {
        for _ in 0..ROUNDS {
            let commit = next_commit(&mut commits).await;
            assert_eq!(commit.changes.len(), 2, "clause 2: a watch shows half a transaction");
        }
    };

    futures::join!(write, read, follow);
}

/// Clauses 2 and 3: no update of a counter that several writers increment with a condition is lost.
pub async fn clause_2_contended_counter_loses_no_update(store: impl Storage) {
    const WRITERS: usize = 4;
    const INCREMENTS: usize = 25;
    put(&store, "/counter", "0").await;
    let increment = async || {
        for _ in 0..INCREMENTS {
            loop {
                let entry = get(&store, "/counter").await.expect("clause 3: the counter exists");
                tokio::task::yield_now().await;
                let count: usize = std::str::from_utf8(&entry.value)
                    .ok()
                    .and_then(|text| text.parse().ok())
                    .expect("the counter is a number");
                let write = Transaction::new()
                    .expect("/counter", Expect::Modified(entry.modified))
                    .put("/counter", (count + 1).to_string());
                match in_time(store.commit(write)).await {
                    Ok(_) => break,
                    Err(StorageError::Conflict { .. }) => {}
                    Err(error) => panic!("clause 2: {error:?} instead of a conflict"),
                }
            }
        }
    };

    join_all((0..WRITERS).map(|_| increment())).await;

    let entry = get(&store, "/counter").await.expect("clause 3: the counter exists");
    assert_eq!(entry.value, (WRITERS * INCREMENTS).to_string(), "clause 2: an update was lost");
}

/// Clause 3: `get`, `revision` and `list` see a commit as soon as it was acknowledged.
pub async fn clause_3_reads_see_what_was_acknowledged(store: impl Storage) {
    for round in 0..50 {
        let value = round.to_string();
        let at = commit(&store, Transaction::new().put("/key", value.clone())).await;

        let entry = get(&store, "/key").await.expect("clause 3: get finds what was written");
        assert_eq!((entry.value, entry.modified), (value.clone().into(), at), "clause 3: get is behind");
        let page = list(&store, List::prefix("/key")).await;
        assert_eq!(values(&page), [("/key", value.into())], "clause 3: list is behind");
        assert!(page.revision >= at, "clause 3: list says {}, after {at}", page.revision);
        let now = revision(&store).await;
        assert!(now >= at, "clause 3: revision says {now}, after {at}");
    }

    delete(&store, "/key").await;
    assert_eq!(get(&store, "/key").await, None, "clause 3: get is behind a deletion");
    assert!(list(&store, List::prefix("")).await.entries.is_empty(), "clause 3: list is behind a deletion");
}

/// Clause 3: a list shows the same entries as `get`.
pub async fn clause_3_list_shows_what_get_shows(store: impl Storage) {
    for key in ["/a", "/b", "/c"] {
        put(&store, key, "1").await;
    }
    put(&store, "/b", "2").await;
    delete(&store, "/c").await;

    let page = list(&store, List::prefix("/")).await;

    assert_eq!(keys(&page), ["/a", "/b"], "clause 3: the list shows what is there");
    for entry in page.entries {
        assert_eq!(get(&store, entry.key.as_str()).await, Some(entry), "clause 3: list and get differ");
    }
}
