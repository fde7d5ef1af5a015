//! Transactions in etcd's words.

use std::collections::BTreeSet;

use etcd_client::proto::{PbTxnOpResponse, PbTxnResponse};
use etcd_client::{Compare, CompareOp, Txn, TxnOp};
use quarterdeck_core::storage::{Condition, Entry, Expect, StorageError, Transaction, Write};

use super::keyspace::{Keyspace, to_etcd};

/// Refuses a transaction that names a key twice: etcd minds it only for values that are put.
pub(super) fn check(transaction: &Transaction) -> Result<(), StorageError> {
    let mut keys = BTreeSet::new();
    match transaction.writes.iter().find(|write| !keys.insert(write.key())) {
        Some(write) => Err(StorageError::Invalid(format!("{} is written twice", write.key()))),
        None => Ok(()),
    }
}

/// Returns what etcd is to check and do; if a condition fails, it reads what all of them look at.
pub(super) fn request(keys: &Keyspace, transaction: &Transaction) -> Txn {
    let compares: Vec<_> = transaction.conditions.iter().map(|condition| compare(keys, condition)).collect();
    let writes = transaction.writes.iter().map(|write| match write {
        Write::Put(key, value) => TxnOp::put(keys.place(key.as_str()), value.as_ref(), None),
        Write::Delete(key) => TxnOp::delete(keys.place(key.as_str()), None),
    });
    let found =
        transaction.conditions.iter().map(|condition| TxnOp::get(keys.place(condition.key.as_str()), None));
    Txn::new().when(compares).and_then(writes.collect::<Vec<_>>()).or_else(found.collect::<Vec<_>>())
}

fn compare(keys: &Keyspace, condition: &Condition) -> Compare {
    let key = keys.place(condition.key.as_str());
    match condition.expect {
        Expect::Absent => Compare::create_revision(key, CompareOp::Equal, 0),
        Expect::Present => Compare::create_revision(key, CompareOp::Greater, 0),
        // To etcd, what is absent was modified at revision 0; nothing was ever written at 1.
        Expect::Modified(revision) => Compare::mod_revision(key, CompareOp::Equal, to_etcd(revision)),
    }
}

/// Returns the first condition that failed, and what it found, as the same transaction read it.
pub(super) fn conflict(keys: &Keyspace, transaction: Transaction, answer: PbTxnResponse) -> StorageError {
    let mut responses = answer.responses.into_iter();
    for condition in transaction.conditions {
        let pair = match responses.next().and_then(|response| response.response) {
            Some(PbTxnOpResponse::ResponseRange(range)) => range.kvs.into_iter().next(),
            _ => break,
        };
        let found = pair.and_then(|pair| keys.entry(pair));
        if !holds(condition.expect, found.as_ref()) {
            return StorageError::Conflict { key: condition.key, expected: condition.expect, found };
        }
    }
    StorageError::Unavailable("etcd refused a transaction all of whose conditions hold".into())
}

fn holds(expect: Expect, found: Option<&Entry>) -> bool {
    match expect {
        Expect::Absent => found.is_none(),
        Expect::Present => found.is_some(),
        Expect::Modified(revision) => found.is_some_and(|entry| entry.modified == revision),
    }
}
