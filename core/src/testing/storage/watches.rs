//! Clauses 6, 7 and 9: watches, those that fall behind, and deletions.

use futures::future::join_all;

use super::{
    changed_keys, commit, compact, delete, get, in_time, list, next, next_commit, put, put_value, revision,
    watch, watch_error,
};
use crate::storage::{Change, Commits, Entry, Expect, List, Revision, Storage, StorageError, Transaction};

/// Clause 6: a watch yields each commit once, in order, whether it came before or after the watch.
pub async fn clause_6_watch_yields_each_commit_once_in_order(store: impl Storage) {
    let mut expected = Vec::new();
    for value in ["1", "2", "2", "3"] {
        expected.push((put(&store, "/w/a", value).await, value));
    }
    let mut commits = watch(&store, "/w/", Revision(0)).await;
    for value in ["4", "5"] {
        expected.push((put(&store, "/w/b", value).await, value));
    }

    for (at, value) in expected {
        let commit = next_commit(&mut commits).await;
        assert_eq!(commit.revision, at, "clause 6: the next commit");
        assert_eq!(commit.changes.len(), 1, "clause 6: the commit at {at} has one change");
        assert_eq!(
            put_value(&commit.changes[0]).expect("clause 6: a value was put"),
            value,
            "clause 6: the change at {at}"
        );
    }
    let last = put(&store, "/w/a", "last").await;
    assert_eq!(next_commit(&mut commits).await.revision, last, "clause 6: a commit came twice");
}

/// Clause 6: a watch begins after its revision, without it.
pub async fn clause_6_watch_begins_after_its_revision(store: impl Storage) {
    let mut revisions = vec![revision(&store).await];
    for key in ["/w/a", "/w/b", "/other", "/w/a"] {
        revisions.push(put(&store, key, "x").await);
    }
    let under: Vec<Revision> = [1, 2, 4].map(|index| revisions[index]).into();

    for after in &revisions {
        let mut commits = watch(&store, "/w/", *after).await;
        for expected in under.iter().filter(|at| *at > after) {
            let commit = next_commit(&mut commits).await;
            assert_eq!(commit.revision, *expected, "clause 6: a watch after {after}");
        }
        let end = put(&store, "/w/end", "x").await;
        let commit = loop {
            let commit = next_commit(&mut commits).await;
            if changed_keys(&commit) != ["/w/end"] || commit.revision == end {
                break commit;
            }
        };
        assert_eq!(commit.revision, end, "clause 6: a watch after {after} repeats a commit");
    }
}

/// Clause 6: a watch has the changes under its prefix only, and skips commits without one.
pub async fn clause_6_watch_has_its_prefix_only(store: impl Storage) {
    let mut pods = watch(&store, "/pods/", Revision(0)).await;
    let mut all = watch(&store, "", Revision(0)).await;
    put(&store, "/podsx", "1").await;
    put(&store, "/pod", "1").await;
    let mixed = Transaction::new().put("/z", "1").put("/pods/b", "1").put("/a", "1").put("/pods/a", "1");
    let at = commit(&store, mixed).await;
    put(&store, "/nodes/a", "1").await;
    let last = put(&store, "/pods/a", "2").await;

    let commit = next_commit(&mut pods).await;
    assert_eq!(commit.revision, at, "clause 6: the first commit under the prefix");
    assert_eq!(
        changed_keys(&commit),
        ["/pods/b", "/pods/a"],
        "clause 6: its changes, in the order of its writes"
    );
    assert_eq!(next_commit(&mut pods).await.revision, last, "clause 6: the second commit under the prefix");
    let expected: [&[&str]; 5] =
        [&["/podsx"], &["/pod"], &["/z", "/pods/b", "/a", "/pods/a"], &["/nodes/a"], &["/pods/a"]];
    for keys in expected {
        let commit = next_commit(&mut all).await;
        assert_eq!(changed_keys(&commit), keys, "clause 6: the empty prefix has everything");
    }
}

/// Clause 6: a change carries the entry as it is then and the one that it replaced.
pub async fn clause_6_watch_tells_what_was_replaced(store: impl Storage) {
    let created = put(&store, "/w/a", "1").await;
    let updated = put(&store, "/w/a", "2").await;
    put(&store, "/w/a", "3").await;
    let mut commits = watch(&store, "/w/", Revision(0)).await;

    let first = Entry { key: "/w/a".into(), value: "1".into(), created, modified: created };
    let second = Entry { key: "/w/a".into(), value: "2".into(), created, modified: updated };
    let created = Change::Put { entry: first.clone(), previous: None };
    assert_eq!(next_commit(&mut commits).await.changes, [created], "clause 6: what a creation shows");
    let updated = Change::Put { entry: second, previous: Some(first) };
    assert_eq!(next_commit(&mut commits).await.changes, [updated], "clause 6: what an update shows");
}

/// Clause 6: watches that start at any time among concurrent writers have no gap and see the same.
pub async fn clause_6_watches_have_no_gap_among_writers(store: impl Storage) {
    const WRITERS: usize = 4;
    const WRITES: usize = 25;
    let write = async |writer: usize| {
        for index in 0..WRITES {
            commit(&store, Transaction::new().put(format!("/w/{writer}"), index.to_string())).await;
            tokio::task::yield_now().await;
        }
    };
    let follow = async |skipped: usize| {
        for _ in 0..skipped {
            tokio::task::yield_now().await;
        }
        let page = list(&store, List::prefix("/w/")).await;
        let mut commits = watch(&store, "/w/", page.revision).await;
        let mut state = page.entries;
        let mut last = page.revision;
        while state.len() < WRITERS || state.iter().any(|entry| entry.value != (WRITES - 1).to_string()) {
            let commit = next_commit(&mut commits).await;
            assert!(commit.revision > last, "clause 6: {} came after {last}", commit.revision);
            last = commit.revision;
            for change in commit.changes {
                let Change::Put { entry, previous } = change else { panic!("clause 6: nothing was deleted") };
                let known = state.iter().position(|known| known.key == entry.key);
                let replaced = known.map(|index| state.remove(index));
                assert_eq!(previous, replaced, "clause 6: there is a gap before {last}");
                state.push(entry);
            }
        }
    };

    let writers = join_all((0..WRITERS).map(write));
    let followers = join_all([0, 1, 3, 10, 40].map(follow));
    futures::join!(writers, followers);
}

/// Clause 6: a watch that starts before the compacted revision is refused, at once or as its first item.
pub async fn clause_6_compacted_watch_is_refused(store: impl Storage) {
    let first = put(&store, "/w/a", "1").await;
    let second = put(&store, "/w/a", "2").await;
    let third = put(&store, "/w/a", "3").await;
    compact(&store, second).await;

    let error = watch_error(&store, "/w/", first).await;

    assert!(matches!(error, Some(StorageError::Compacted(_))), "clause 6: {error:?} does not say compacted");
    let mut commits = watch(&store, "/w/", second).await;
    assert_eq!(next_commit(&mut commits).await.revision, third, "clause 8: a watch after {second} works");
}

/// Clause 6: a watch that starts at a revision still to come is refused, at once or as its first item.
pub async fn clause_6_watch_of_the_future_is_refused(store: impl Storage) {
    let now = put(&store, "/w/a", "1").await;

    let error = watch_error(&store, "/w/", Revision(now.0 + 1)).await;

    assert!(
        matches!(error, Some(StorageError::Future(at)) if at == now),
        "clause 6: {error:?} does not say that the store is at {now}"
    );
}

/// Clause 7: a watch that nobody reads holds up no writer, and no other watch.
pub async fn clause_7_idle_watch_holds_up_no_writer(store: impl Storage) {
    const WRITES: u64 = 1500;
    let idle: Vec<Commits> = join_all((0..3).map(|_| watch(&store, "/w/", Revision(0)))).await;
    let mut read = watch(&store, "/w/", Revision(0)).await;

    for index in 0..WRITES {
        let at = commit(&store, Transaction::new().put("/w/a", index.to_string())).await;
        assert_eq!(next_commit(&mut read).await.revision, at, "clause 7: a watch that is read goes on");
    }

    drop(idle);
}

/// Clause 7: a watch whose reader fell behind ends with `Compacted`, or shows all that it missed. Then a new list and
/// a watch from there go on.
pub async fn clause_7_watch_that_falls_behind_ends_or_catches_up(store: impl Storage) {
    const WRITES: u64 = 1500;
    let mut behind = watch(&store, "/w/", Revision(0)).await;
    let mut expected = Vec::new();
    for index in 0..WRITES {
        expected.push(commit(&store, Transaction::new().put("/w/a", index.to_string())).await);
    }

    for at in expected {
        match next(&mut behind).await {
            Ok(commit) => assert_eq!(commit.revision, at, "clause 7: a watch that is behind has a gap"),
            Err(StorageError::Compacted(_)) => break,
            Err(error) => panic!("clause 7: {error:?} does not say compacted"),
        }
    }

    let page = list(&store, List::prefix("/w/")).await;
    let mut commits = watch(&store, "/w/", page.revision).await;
    let at = put(&store, "/w/a", "last").await;
    assert_eq!(next_commit(&mut commits).await.revision, at, "clause 7: one can start again");
}

/// Clause 9: a deleted key is absent for reads and for conditions.
pub async fn clause_9_deleted_key_is_absent(store: impl Storage) {
    put(&store, "/a", "1").await;
    put(&store, "/b", "1").await;
    let at = delete(&store, "/a").await;

    assert_eq!(get(&store, "/a").await, None, "clause 9: get finds a deleted key");
    let page = list(&store, List::prefix("").limit(1)).await;
    assert_eq!((super::keys(&page), page.remaining), (vec!["/b"], 0), "clause 9: list finds a deleted key");
    assert_eq!(revision(&store).await, at, "clause 9: deleting is a write");
    let create = Transaction::new().expect("/a", Expect::Absent).put("/a", "2");
    let created = in_time(store.commit(create)).await;
    assert!(created.is_ok(), "clause 9: a condition finds a deleted key: {created:?}");
}

/// Clause 9: a deletion is a change in watches, with what was there.
pub async fn clause_9_deletion_is_a_change(store: impl Storage) {
    let created = put(&store, "/w/a", "1").await;
    let modified = put(&store, "/w/a", "2").await;
    let mut commits = watch(&store, "/w/", modified).await;
    let at = commit(&store, Transaction::new().delete("/w/a").put("/w/b", "1")).await;

    let commit = next_commit(&mut commits).await;

    assert_eq!(commit.revision, at, "clause 9: the deletion's commit");
    let previous = Entry { key: "/w/a".into(), value: "2".into(), created, modified };
    assert_eq!(commit.changes[0], Change::Delete { previous }, "clause 9: what a deletion shows");
    assert_eq!(commit.changes.len(), 2, "clause 9: the rest of the commit");
}

/// Clause 9: a key that is written again after its deletion has a new `created` revision; one that is overwritten has not.
pub async fn clause_9_key_written_again_is_created_anew(store: impl Storage) {
    let first = put(&store, "/a", "1").await;
    put(&store, "/a", "2").await;
    assert_eq!(
        get(&store, "/a").await.expect("clause 9: the key is there").created,
        first,
        "clause 9: overwriting keeps `created`"
    );
    delete(&store, "/a").await;

    let again = put(&store, "/a", "3").await;
    let last = put(&store, "/a", "4").await;

    let entry = get(&store, "/a").await.expect("clause 9: the key was written again");
    assert_eq!((entry.created, entry.modified), (again, last), "clause 9: the key came to be again");
}

/// Clause 9: a transaction that would delete what is not there changes nothing for that key.
pub async fn clause_9_deleting_what_is_absent_changes_nothing(store: impl Storage) {
    let at = put(&store, "/w/a", "1").await;
    let mut commits = watch(&store, "/w/", at).await;

    delete(&store, "/w/none").await;
    let mixed = commit(&store, Transaction::new().delete("/w/none").put("/w/b", "1")).await;

    let commit = next_commit(&mut commits).await;
    assert_eq!(commit.revision, mixed, "clause 9: a deletion of nothing is no change");
    assert_eq!(changed_keys(&commit), ["/w/b"], "clause 9: a deletion of nothing is no change");
}
