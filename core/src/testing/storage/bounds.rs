//! Clause 11: what every store takes, and what happens beyond.

use bytes::Bytes;

use super::{commit, get, in_time, keys, list, put, revision};
use crate::storage::{Expect, Key, List, Page, Storage, StorageError, Transaction};

/// Larger than what any store in memory of a test should be asked to take, if it takes it.
const LARGE: usize = 17 << 20;

/// Clause 11: a transaction of the size that every store takes is taken, with as many conditions and writes.
pub async fn clause_11_transaction_within_the_bounds_is_taken(store: impl Storage) {
    let names: Vec<Key> =
        (0..Transaction::FEWEST).map(|index| Key::from(format!("/large/{index:03}"))).collect();
    let value = Transaction::SMALLEST_BOUND / Transaction::FEWEST - "/large/000".len();

    for expect in [Expect::Absent, Expect::Present] {
        let mut transaction = Transaction::new();
        for name in &names {
            transaction = transaction.expect(name.clone(), expect).put(name.clone(), vec![b'x'; value]);
        }
        let result = in_time(store.commit(transaction)).await;
        assert!(result.is_ok(), "clause 11: a transaction within the bounds gives {result:?}");
    }
    let mut delete = Transaction::new();
    for name in &names {
        delete = delete.delete(name.clone());
    }
    let one = Transaction::new().put("/one", vec![b'y'; Transaction::SMALLEST_BOUND - "/one".len()]);
    for transaction in [delete, one] {
        let result = in_time(store.commit(transaction)).await;
        assert!(result.is_ok(), "clause 11: a transaction within the bounds gives {result:?}");
    }

    let page = list(&store, List::prefix("")).await;
    assert_eq!(keys(&page), ["/one"], "clause 11: what is there in the end");
    assert_eq!(page.entries[0].value.len(), Transaction::SMALLEST_BOUND - 4, "clause 11: a value was cut");
}

/// Clause 11: a transaction beyond the bound of the store is invalid and writes nothing, or is taken whole.
pub async fn clause_11_larger_transaction_is_taken_whole_or_is_invalid(store: impl Storage) {
    let before = put(&store, "/small", "1").await;
    let value = Bytes::from(vec![b'x'; LARGE]);
    let large = Transaction::new().put("/small", "2").put("/large", value.clone());

    match in_time(store.commit(large)).await {
        Ok(at) => {
            let entry = get(&store, "/large").await;
            let whole = entry.is_some_and(|entry| entry.value == value && entry.modified == at);
            assert!(whole, "clause 11: the store said that it took a large transaction, and did not");
        }
        Err(StorageError::Invalid(_)) => {
            assert_eq!(get(&store, "/large").await, None, "clause 11: what is invalid wrote a key");
            let small = get(&store, "/small").await.expect("clause 3: what was written is there");
            assert_eq!(
                (small.value, small.modified),
                ("1".into(), before),
                "clause 11: what is invalid wrote"
            );
            assert_eq!(revision(&store).await, before, "clause 11: what is invalid moved the revision");
        }
        Err(error) => panic!("clause 11: {error:?} does not say that the transaction is invalid"),
    }
    commit(&store, Transaction::new().put("/small", "3")).await;
}

/// Clause 11: of history that nobody compacted, what was forgotten is said to be, and only the oldest was.
pub async fn clause_11_forgotten_history_is_the_oldest_and_said_to_be_so(store: impl Storage) {
    const WRITES: usize = 1500;
    let mut written = Vec::new();
    for index in 0..WRITES {
        let value = index.to_string();
        written.push((commit(&store, Transaction::new().put("/h/a", value.clone())).await, value));
    }

    let mut readable = false;
    for (at, value) in written {
        match in_time(store.list(List::prefix("/h/").at(at))).await {
            Ok(Page { entries, .. }) => {
                readable = true;
                let found: Vec<&Bytes> = entries.iter().map(|entry| &entry.value).collect();
                assert_eq!(found, [&Bytes::from(value)], "clause 11: the list at {at} is not of then");
            }
            Err(StorageError::Compacted(to)) => {
                assert!(!readable, "clause 11: {at} is forgotten and an earlier revision is not");
                assert!(to > at, "clause 11: {at} is said to be compacted up to {to}");
            }
            Err(error) => panic!("clause 11: {error:?} does not say that {at} is compacted"),
        }
    }
    assert!(readable, "clause 11: the present revision cannot be listed");
}
