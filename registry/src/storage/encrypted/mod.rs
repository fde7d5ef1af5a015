//! Encryption at rest: a store over another one, which gets to see some values encrypted only.
//!
//! Start at [`EncryptedStorage`], and at [`Encryption`] for what is encrypted and with which keys. Values look as Kubernetes'
//! API server writes them with the provider `aesgcm`: `envelope` has the format.

mod configuration;
mod encryption;
mod envelope;
mod error;
mod recent;
mod rewrite;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::{StreamExt as _, stream};
use quarterdeck_core::metrics::Metrics;
use quarterdeck_core::storage::{
    Change, Commit, Commits, Entry, Key, List, Page, Revision, Storage, StorageError, Transaction, Write,
};

pub use encryption::{Encryption, Provider};
pub use envelope::EncryptionKey;
pub use error::{DecryptError, EncryptionError};

use recent::Recent;

/// A store that encrypts values on their way into another one, and decrypts them on their way back. Clones are the same store.
///
/// Keys, revisions and conditions are those of the store below, and so is the size of history. A value that cannot be
/// decrypted is [`StorageError::Unreadable`] with a [`DecryptError`] as its source, in whatever reads it; a watch ends with that. This
/// goes for encrypted values under all keys, so a plane whose configuration was lost says so instead of missing objects.
///
/// Of what was written last, up to 256 values of 32 KiB are kept until a watch has seen them, so that it need not decrypt
/// them.
///
/// # Examples
///
/// ```
/// use quarterdeck_core::storage::{Storage, Transaction};
/// use quarterdeck_registry::MemoryStorage;
/// use quarterdeck_registry::storage::{EncryptedStorage, Encryption, EncryptionKey, Provider};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let memory = MemoryStorage::new();
/// let key = EncryptionKey::new("2026", &[7; 32])?; // out of a file, and random
/// let storage = EncryptedStorage::new(memory.clone(), Encryption::of_secrets([Provider::AesGcm(key)])?);
///
/// storage.commit(Transaction::new().put("/registry/secrets/default/a", "hidden")).await?;
///
/// let at_rest = memory.get(&"/registry/secrets/default/a".into()).await?.unwrap().value;
/// assert!(at_rest.starts_with(b"k8s:enc:aesgcm:v1:2026:"));
/// assert_eq!(storage.get(&"/registry/secrets/default/a".into()).await?.unwrap().value, "hidden");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct EncryptedStorage {
    inner: Arc<dyn Storage>,
    codec: Arc<Codec>,
}

/// What turns values into what is stored, and back.
struct Codec {
    encryption: Encryption,
    recent: Recent,
}

impl EncryptedStorage {
    /// Makes a store over another one.
    #[must_use]
    pub fn new(inner: impl Storage, encryption: Encryption) -> Self {
        Self::shared(Arc::new(inner), encryption)
    }

    /// Makes a store over another one that others hold too.
    #[must_use]
    pub fn shared(inner: Arc<dyn Storage>, encryption: Encryption) -> Self {
        Self { inner, codec: Arc::new(Codec { encryption, recent: Recent::default() }) }
    }
}

impl fmt::Debug for EncryptedStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { inner, codec } = self;
        f.debug_struct("EncryptedStorage")
            .field("inner", inner)
            .field("encryption", &codec.encryption)
            .finish_non_exhaustive()
    }
}

impl Codec {
    /// Replaces the value of an entry by what it says.
    fn open(&self, entry: &mut Entry) -> Result<(), StorageError> {
        let plain = self.encryption.open(&entry.key, &entry.value);
        if let Some(plain) = plain.map_err(|error| unreadable(&entry.key, error))? {
            entry.value = plain;
        }
        Ok(())
    }

    /// Does so for an entry that a watch shows for the first time.
    fn open_written(&self, entry: &mut Entry) -> Result<(), StorageError> {
        if envelope::is_envelope(&entry.value)
            && let Some(plain) = self.recent.take(&entry.key, &entry.value)
        {
            entry.value = plain;
            return Ok(());
        }
        self.open(entry)
    }

    fn open_commit(&self, mut commit: Commit) -> Result<Commit, StorageError> {
        for change in &mut commit.changes {
            match change {
                Change::Put { entry, previous } => {
                    self.open_written(entry)?;
                    previous.as_mut().map_or(Ok(()), |previous| self.open(previous))?;
                }
                Change::Delete { previous } => self.open(previous)?,
            }
        }
        Ok(commit)
    }

    /// Opens what an error carries.
    fn open_error(&self, mut error: StorageError) -> StorageError {
        if let StorageError::Conflict { found: Some(found), .. } = &mut error
            && let Err(unreadable) = self.open(found)
        {
            return unreadable;
        }
        error
    }
}

fn unreadable(key: &Key, error: DecryptError) -> StorageError {
    StorageError::Unreadable { key: key.clone(), source: error.into() }
}

#[async_trait]
impl Storage for EncryptedStorage {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, StorageError> {
        let Some(mut entry) = self.inner.get(key).await? else { return Ok(None) };
        self.codec.open(&mut entry)?;
        Ok(Some(entry))
    }

    async fn list(&self, list: List) -> Result<Page, StorageError> {
        let mut page = self.inner.list(list).await?;
        page.entries.iter_mut().try_for_each(|entry| self.codec.open(entry))?;
        Ok(page)
    }

    async fn commit(&self, mut transaction: Transaction) -> Result<Revision, StorageError> {
        // Holds nothing, and takes no memory, if there is nothing to encrypt.
        let mut written = Vec::new();
        for write in &mut transaction.writes {
            let Write::Put(key, value) = write else { continue };
            if envelope::is_envelope(value) {
                return Err(StorageError::Invalid(format!("the value of {key} looks like an encrypted one")));
            }
            if let Some(sealed) = self.codec.encryption.seal(key, value)? {
                let plain = std::mem::replace(value, sealed.clone());
                written.push(self.codec.recent.add(key, sealed, plain));
            }
        }
        let committed = self.inner.commit(transaction).await;
        committed.map_err(|error| {
            written.into_iter().flatten().for_each(|number| self.codec.recent.forget(number));
            self.codec.open_error(error)
        })
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Commits, StorageError> {
        let commits = self.inner.watch(prefix, after).await?;
        // Ends after its first error.
        let opened = stream::try_unfold((commits, self.codec.clone()), |(mut commits, codec)| async move {
            let Some(commit) = commits.next().await else { return Ok(None) };
            let commit = codec.open_commit(commit?)?;
            Ok(Some((commit, (commits, codec))))
        });
        Ok(opened.boxed())
    }

    async fn compact(&self, at: Revision) -> Result<(), StorageError> {
        self.inner.compact(at).await
    }

    async fn revision(&self) -> Result<Revision, StorageError> {
        self.inner.revision().await
    }

    fn check(&self) -> Result<(), StorageError> {
        self.inner.check()
    }

    fn tell(&self, metrics: &Metrics) {
        self.inner.tell(metrics);
    }
}

#[cfg(test)]
mod tests;
