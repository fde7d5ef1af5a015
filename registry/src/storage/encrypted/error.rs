//! What goes wrong with encryption.

use std::io;

/// Why a stored value cannot be decrypted: the source of
/// [`StorageError::Unreadable`](quarterdeck_core::storage::StorageError::Unreadable).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecryptError {
    /// There is no key of the name that the value gives.
    #[error(
        "it was encrypted with the key {0:?}, which the encryption configuration does not have for it: \
         add that key behind the first one"
    )]
    UnknownKey(String),
    /// There is a key of this name, and the value is not of its making, or not for this place.
    #[error(
        "the key {0:?} does not open it: give the key the secret that it had; if it has it, the value was changed or moved, \
         and must come back from a copy of the store"
    )]
    Refused(String),
    /// The value was encrypted in a way that is not supported.
    #[error(
        "it was encrypted by the provider {0:?}, which is not supported: rewrite it with aesgcm where it is"
    )]
    UnknownProvider(String),
    /// The value is encrypted and not all there.
    #[error("it is encrypted and cut off: it must come back from a copy of the store")]
    CutOff,
    /// The value is not encrypted and had to be.
    #[error(
        "it is not encrypted, and the encryption configuration takes encrypted values only: add the provider \
         \"identity: {{}}\" behind the others until all values are rewritten"
    )]
    Plain,
}

/// Why values cannot be encrypted as asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncryptionError {
    /// The file cannot be read.
    #[error("the encryption configuration cannot be read")]
    Io(#[from] io::Error),
    /// The file is too large.
    #[error("the encryption configuration is larger than 1 MiB: is it the right file?")]
    TooLarge,
    /// The text is no YAML, or not of this form. What stands there is not told: it may be a secret.
    #[error("the encryption configuration is not well-formed at line {line}, column {column}")]
    Syntax {
        /// The line.
        line: u64,
        /// The column.
        column: u64,
    },
    /// It is of another kind or version.
    #[error(
        "the encryption configuration has to be of kind EncryptionConfiguration and apiVersion \
         apiserver.config.k8s.io/v1, and is {0} of {1}"
    )]
    Kind(String, String),
    /// It asks for what there is not, or contradicts itself.
    #[error("{0}")]
    Invalid(String),
}
