//! Writing again what is not encrypted with the first key.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use quarterdeck_core::storage::{Entry, Expect, List, StorageError, Transaction};

use super::{EncryptedStorage, unreadable};

/// How many values are read at a time.
const PAGE: usize = 100;
/// How many commits are under way at a time.
const AT_ONCE: usize = 16;
/// How often a value is tried again that others write meanwhile.
const ATTEMPTS: usize = 8;

impl EncryptedStorage {
    /// Writes again each value that is not as its first provider writes it, and returns how many there were. After that the
    /// other keys are needed for history only, which is gone once the store is compacted and opened anew.
    ///
    /// An update that changes nothing does not get as far as the store, so this is the way to change keys. It goes page by page
    /// beside other readers and writers, also those of other servers, and may be stopped and begun again. Every value that is rewritten
    /// has a new revision.
    ///
    /// # Errors
    ///
    /// [`StorageError::Unreadable`] for the first value that cannot be decrypted; what was rewritten before stays so.
    pub async fn rewrite(&self) -> Result<usize, StorageError> {
        let mut rewritten = 0;
        for prefix in self.codec.encryption.prefixes() {
            let mut after = None;
            loop {
                let list = List { prefix: prefix.to_owned(), after, limit: Some(PAGE), at: None };
                let page = self.inner.list(list).await?;
                after = page.entries.last().map(|entry| entry.key.clone());
                let is_last = page.remaining == 0;
                let writes = stream::iter(page.entries).map(|entry| self.rewrite_entry(entry));
                rewritten += writes
                    .buffer_unordered(AT_ONCE)
                    .try_fold(0, async |sum, is_rewritten| Ok(sum + usize::from(is_rewritten)))
                    .await?;
                if is_last || after.is_none() {
                    break;
                }
            }
        }
        Ok(rewritten)
    }

    /// Writes one value again, if it has to be. Returns whether it did.
    async fn rewrite_entry(&self, mut entry: Entry) -> Result<bool, StorageError> {
        let encryption = &self.codec.encryption;
        for _ in 0..ATTEMPTS {
            let Entry { key, value, modified, .. } = entry;
            if encryption.is_current(&key, &value).map_err(|error| unreadable(&key, error))? {
                return Ok(false);
            }
            let opened = encryption.open(&key, &value).map_err(|error| unreadable(&key, error))?;
            let plain = opened.unwrap_or(value);
            let sealed = encryption.seal(&key, &plain)?.unwrap_or(plain);
            let again = Transaction::new().expect(key.clone(), Expect::Modified(modified)).put(key, sealed);
            match self.inner.commit(again).await {
                Ok(_) => return Ok(true),
                Err(StorageError::Conflict { found: Some(found), .. }) => entry = found,
                Err(StorageError::Conflict { found: None, .. }) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        tracing::warn!(key = %entry.key, "a value was not encrypted anew: others write it all the time");
        Ok(false)
    }
}
