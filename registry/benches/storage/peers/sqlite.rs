//! [SQLite](https://sqlite.org) with a write-ahead log and `synchronous = FULL`: one sync for each transaction, and more when the log is
//! copied into the database.

use std::path::Path;

use quarterdeck_core::component::BoxError;
use quarterdeck_core::storage::{Expect, Revision};
use rusqlite::{Connection, params};

use super::{Conditional, Peer};

/// A log as long as a segment of ours (64 MiB) before it is copied, a cache that holds everything, and no other process to lock out.
const SETUP: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA locking_mode = EXCLUSIVE;
    PRAGMA wal_autocheckpoint = 16384;
    PRAGMA cache_size = -262144;
    CREATE TABLE entries (
        key TEXT PRIMARY KEY NOT NULL, created INTEGER NOT NULL, modified INTEGER NOT NULL, value BLOB NOT NULL
    );";
const INSERT: &str = "INSERT INTO entries (key, created, modified, value) VALUES (?1, ?2, ?2, ?3)";
const UPDATE: &str = "UPDATE entries SET modified = ?2, value = ?3 WHERE key = ?1 AND modified = ?4";

pub(crate) struct Sqlite(Connection);

impl Sqlite {
    pub(crate) fn create(path: &Path) -> Result<Self, BoxError> {
        let connection = Connection::open(path)?;
        connection.execute_batch(SETUP)?;
        Ok(Self(connection))
    }
}

impl Peer for Sqlite {
    fn commit(&mut self, writes: &[Conditional], first: Revision) -> Result<(), BoxError> {
        let transaction = self.0.transaction()?;
        for (write, revision) in writes.iter().zip(i64::try_from(first.0)?..) {
            let (key, value) = (write.key.as_str(), &write.value[..]);
            let changed = match write.expect {
                Expect::Absent => {
                    transaction.prepare_cached(INSERT)?.execute(params![key, revision, value])?
                }
                Expect::Modified(Revision(expected)) => transaction
                    .prepare_cached(UPDATE)?
                    .execute(params![key, revision, value, i64::try_from(expected)?])?,
                Expect::Present => return Err("nobody asks for that".into()),
            };
            if changed != 1 {
                return Err(format!("{key} is not {:?}", write.expect).into());
            }
        }
        Ok(transaction.commit()?)
    }
}
