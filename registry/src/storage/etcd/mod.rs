//! A store in an etcd cluster, which several servers may share.
//!
//! Start at [`EtcdStorage`]. `members` chooses which member of the cluster is asked, `keyspace` says where keys and revisions
//! are in etcd, `transaction` and `watch` put the contract into etcd's words, `error` tells what its errors mean.

mod error;
mod keyspace;
mod list;
mod members;
mod options;
mod transaction;
mod watch;

use std::fmt;

use async_trait::async_trait;
use etcd_client::GetOptions;
use quarterdeck_core::storage::{
    Commits, Entry, Key, List, Page, Revision, Storage, StorageError, Transaction,
};

pub use error::ConnectError;
use error::{Down, Failure};
use keyspace::{Keyspace, from_etcd, to_etcd};
use members::Members;
pub use options::EtcdOptions;

use crate::cache::ROOT;

/// How large an answer may be. Pages are much smaller, unless a single value is not.
const LARGEST_ANSWER: usize = 64 << 20;

/// A store in an etcd cluster (version 3.4 or later). Clones are the same store.
///
/// All reads are quorum reads, so every server that shares the cluster sees what was acknowledged by any other. Revisions are
/// etcd's, which counts the commits of all its users: they grow here when somebody writes under another prefix, too. An etcd
/// that was never written is at revision 0 here, and at 1 in etcd's own words. Compaction, too, is for all of etcd.
///
/// A commit whose future is dropped, or that ends with [`StorageError::Unavailable`], may have happened, and may still happen
/// shortly after. It is not tried again unless it is sure that it was never sent.
///
/// A watch has a connection of its own, so that a slow reader holds up nothing else; etcd keeps what it has not read yet. It
/// goes on at another member when its own fails, for as long as that takes, without a gap: only what etcd compacted in
/// the meantime ends it.
///
/// # Examples
///
/// ```no_run
/// use quarterdeck_registry::storage::{EtcdOptions, EtcdStorage};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), quarterdeck_registry::storage::ConnectError> {
/// let members = ["http://10.0.0.1:2379", "http://10.0.0.2:2379", "http://10.0.0.3:2379"];
/// let storage = EtcdStorage::connect(EtcdOptions::new(members)).await?;
/// # drop(storage);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct EtcdStorage {
    members: Members,
    keys: Keyspace,
}

impl EtcdStorage {
    /// Connects to a cluster, and waits until one of its members answers a read.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] says what is wrong with the options, or that no member answers.
    pub async fn connect(options: EtcdOptions) -> Result<Self, ConnectError> {
        let keys = Keyspace::new(&options.prefix);
        let storage = Self { members: Members::new(options)?, keys };
        match storage.now().await {
            Ok(_) => Ok(storage),
            Err(Failure::Refused(source)) => Err(ConnectError::Refused(source)),
            Err(Failure::Down(Down { source, .. })) => {
                Err(ConnectError::Unreachable { endpoints: storage.members.endpoints(), source })
            }
            Err(other) => Err(ConnectError::Unreachable {
                endpoints: storage.members.endpoints(),
                source: StorageError::from(other).into(),
            }),
        }
    }

    /// Asks for the present revision.
    async fn now(&self) -> Result<Revision, Failure> {
        // Whoever may use the store may read this key, which does not exist.
        let key = self.keys.place(ROOT);
        self.members
            .read(move |client| {
                let key = key.clone();
                async move {
                    let answer =
                        client.kv_client().get(key, Some(GetOptions::new().with_count_only())).await?;
                    Ok(from_etcd(answer.0.header.unwrap_or_default().revision))
                }
            })
            .await
    }

    /// Returns the store's error for a failed request that named a revision; nothing if the request is good by now. etcd does
    /// not say where it is instead.
    async fn error(&self, failure: Failure, asked: Revision) -> Option<StorageError> {
        let other = match failure {
            Failure::Future => match self.now().await {
                Ok(now) if now >= asked => return None,
                now => now.map(StorageError::Future),
            },
            Failure::Compacted => watch::compacted(self, asked).await.map(StorageError::Compacted),
            other => Err(other),
        };
        Some(other.unwrap_or_else(StorageError::from))
    }
}

impl fmt::Debug for EtcdStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdStorage")
            .field("endpoints", &self.members.endpoints())
            .field("keys", &self.keys)
            .finish()
    }
}

#[async_trait]
impl Storage for EtcdStorage {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, StorageError> {
        let place = self.keys.place(key.as_str());
        let answer = self.members.read(move |client| {
            let place = place.clone();
            async move { client.kv_client().max_decoding_message_size(LARGEST_ANSWER).get(place, None).await }
        });
        let answer = answer.await.map_err(StorageError::from)?;
        Ok(answer.0.kvs.into_iter().next().and_then(|pair| self.keys.entry(pair)))
    }

    async fn list(&self, list: List) -> Result<Page, StorageError> {
        list::list(self, &list).await
    }

    async fn commit(&self, transaction: Transaction) -> Result<Revision, StorageError> {
        transaction::check(&transaction)?;
        if transaction.conditions.is_empty() && transaction.writes.is_empty() {
            return self.revision().await;
        }
        let request = transaction::request(&self.keys, &transaction);
        let answer = self.members.write(move |client| {
            let request = request.clone();
            async move { client.kv_client().max_decoding_message_size(LARGEST_ANSWER).txn(request).await }
        });
        let answer = answer.await.map_err(StorageError::from)?.0;
        match answer.succeeded {
            true => Ok(from_etcd(answer.header.unwrap_or_default().revision)),
            false => Err(transaction::conflict(&self.keys, transaction, answer)),
        }
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Commits, StorageError> {
        watch::watch(self, prefix, after).await
    }

    async fn compact(&self, at: Revision) -> Result<(), StorageError> {
        loop {
            let compacted = self
                .members
                .read(move |client| async move { client.kv_client().compact(to_etcd(at), None).await });
            match compacted.await {
                Ok(_) | Err(Failure::Compacted) => return Ok(()),
                Err(failure) => {
                    if let Some(error) = self.error(failure, at).await {
                        return Err(error);
                    }
                }
            }
        }
    }

    async fn revision(&self) -> Result<Revision, StorageError> {
        self.now().await.map_err(StorageError::from)
    }
}
