//! [redb](https://docs.rs/redb): a copy-on-write B-tree in one file. Its default is `Durability::Immediate`, one sync for each transaction.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ::redb::backends::FileBackend;
use ::redb::{Database, Durability, ReadableTable as _, StorageBackend, TableDefinition};
use quarterdeck_core::component::BoxError;
use quarterdeck_core::storage::{Expect, Revision};

use super::{Conditional, Peer};

/// Created and modified revision, and the value.
const ENTRIES: TableDefinition<'_, &str, (u64, u64, &[u8])> = TableDefinition::new("entries");

pub(crate) struct Redb(Database);

impl Redb {
    /// Makes a store, and returns it with the number of its syncs.
    pub(crate) fn create(path: &Path) -> Result<(Self, Arc<AtomicU64>), BoxError> {
        let file = std::fs::File::options().read(true).write(true).create_new(true).open(path)?;
        let syncs = Arc::new(AtomicU64::new(0));
        let backend = Counted { file: FileBackend::new(file)?, syncs: Arc::clone(&syncs) };
        Ok((Self(Database::builder().create_with_backend(backend)?), syncs))
    }
}

impl Peer for Redb {
    fn commit(&mut self, writes: &[Conditional], first: Revision) -> Result<(), BoxError> {
        let mut transaction = self.0.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        let mut entries = transaction.open_table(ENTRIES)?;
        for (write, revision) in writes.iter().zip(first.0..) {
            let key = write.key.as_str();
            let found = entries.get(key)?.map(|entry| {
                let (created, modified, _) = entry.value();
                (created, modified)
            });
            let created = match (write.expect, found) {
                (Expect::Absent, None) => revision,
                (Expect::Modified(expected), Some((created, modified))) if expected.0 == modified => created,
                (expect, found) => return Err(format!("{key} is {found:?} and not {expect:?}").into()),
            };
            entries.insert(key, (created, revision, &write.value[..]))?;
        }
        drop(entries);
        Ok(transaction.commit()?)
    }
}

/// A file whose syncs are counted.
#[derive(Debug)]
struct Counted {
    file: FileBackend,
    syncs: Arc<AtomicU64>,
}

impl StorageBackend for Counted {
    fn len(&self) -> Result<u64, io::Error> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.file.write(offset, data)
    }
}
