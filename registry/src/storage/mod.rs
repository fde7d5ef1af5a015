//! The default stores.
//!
//! Start at [`MemoryStorage`], which is gone when it is dropped, or at `EmbeddedStorage` (feature `embedded`), which
//! lives in a directory. Both stores keep the same versioned map (`versions`,
//! persistent: a snapshot or a fork of it costs nothing) and serve watches from its history (`published`), so they
//! differ in durability only. `EtcdStorage` (feature `etcd`) keeps everything in an etcd cluster, which several servers may
//! share. `EncryptedStorage` (feature `encryption`) lies over any store and encrypts what it is told to.
//! The contract that they keep is [`quarterdeck_core::storage::Storage`].

#[cfg(feature = "embedded")]
mod embedded;
#[cfg(feature = "encryption")]
mod encrypted;
mod entries;
#[cfg(feature = "etcd")]
mod etcd;
mod history;
mod memory;
mod published;
mod versions;

#[cfg(feature = "embedded")]
pub use embedded::{
    Copied, EmbeddedOptions, EmbeddedStorage, OpenError, ParseSyncPolicyError, Repair, SyncPolicy,
};
#[cfg(feature = "encryption")]
pub use encrypted::{DecryptError, EncryptedStorage, Encryption, EncryptionError, EncryptionKey, Provider};
#[cfg(feature = "etcd")]
pub use etcd::{ConnectError, EtcdOptions, EtcdStorage};
pub use history::Retention;
pub use memory::MemoryStorage;

#[cfg(test)]
mod tests;
