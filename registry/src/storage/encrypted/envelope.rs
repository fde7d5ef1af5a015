//! What an encrypted value looks like, and the keys that make it.
//!
//! ```text
//! k8s:enc:aesgcm:v1: NAME : nonce (12 bytes) ciphertext tag (16 bytes)
//! ```
//!
//! That is Kubernetes' own format. The path of the object, such as `/registry/secrets/default/a`, is authenticated along
//! with the value: at another path it cannot be opened.

use std::fmt;

use aws_lc_rs::aead::{
    AES_128_GCM, AES_192_GCM, AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey,
};
use aws_lc_rs::error::Unspecified;
use bytes::Bytes;

use super::error::{DecryptError, EncryptionError};

/// What all encrypted values begin with, whoever encrypted them.
const ENVELOPE: &[u8] = b"k8s:enc:";
/// What goes on with provider and version for those of [`EncryptionKey`].
const AES_GCM: &str = "k8s:enc:aesgcm:v1:";
/// How many bytes a tag has.
const TAG: usize = 16;
/// How much of a name is shown that is found in a value.
const SHOWN: usize = 64;

/// Whether a value is an encrypted one.
pub(super) fn is_envelope(value: &[u8]) -> bool {
    value.starts_with(ENVELOPE)
}

/// A key, and the name under which values refer to it.
pub struct EncryptionKey {
    name: String,
    key: LessSafeKey,
}

impl EncryptionKey {
    /// Makes a key of a secret of 32 bytes (AES-256), or of 16 or 24, which Kubernetes takes too.
    ///
    /// # Errors
    ///
    /// [`EncryptionError::Invalid`] if the name is empty or has a colon, or the secret is of another length.
    pub fn new(name: impl Into<String>, secret: &[u8]) -> Result<Self, EncryptionError> {
        let name = name.into();
        if name.is_empty() || name.contains(':') {
            let why =
                format!("a key's name must not be empty and must not contain \":\", and one is {name:?}");
            return Err(EncryptionError::Invalid(why));
        }
        let algorithm = match secret.len() {
            16 => &AES_128_GCM,
            24 => &AES_192_GCM,
            32 => &AES_256_GCM,
            other => {
                let why = format!(
                    "the secret of the key {name:?} has {other} bytes: it must have 32 (or 16 or 24), before base64"
                );
                return Err(EncryptionError::Invalid(why));
            }
        };
        let key = UnboundKey::new(algorithm, secret).map_err(|_| {
            EncryptionError::Invalid(format!("the secret of the key {name:?} cannot be used: make another"))
        })?;
        Ok(Self { name, key: LessSafeKey::new(key) })
    }

    /// Returns the name under which values refer to the key.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Encrypts the value of a path.
    pub(super) fn seal(&self, path: &str, value: &[u8]) -> Result<Bytes, Unspecified> {
        let mut nonce = [0; NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce)?;
        let header = AES_GCM.len() + self.name.len() + 1 + NONCE_LEN;
        let mut out = Vec::with_capacity(header + value.len() + TAG);
        out.extend_from_slice(AES_GCM.as_bytes());
        out.extend_from_slice(self.name.as_bytes());
        out.push(b':');
        out.extend_from_slice(&nonce);
        out.extend_from_slice(value);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self.key.seal_in_place_separate_tag(nonce, Aad::from(path), &mut out[header..])?;
        out.extend_from_slice(tag.as_ref());
        Ok(out.into())
    }

    /// Returns what an envelope says that this key made for a path.
    pub(super) fn open(&self, path: &str, envelope: &Envelope<'_>) -> Result<Bytes, Unspecified> {
        let mut out = envelope.sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(envelope.nonce);
        let length = self.key.open_in_place(nonce, Aad::from(path), &mut out)?.len();
        out.truncate(length);
        Ok(out.into())
    }
}

impl fmt::Debug for EncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncryptionKey").field("name", &self.name).finish_non_exhaustive()
    }
}

/// An encrypted value, taken apart.
pub(super) struct Envelope<'a> {
    /// The name of the key.
    pub(super) key: &'a str,
    nonce: [u8; NONCE_LEN],
    /// Ciphertext and tag.
    sealed: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// Takes an encrypted value apart; absent if the value is a plain one.
    pub(super) fn parse(value: &'a [u8]) -> Result<Option<Self>, DecryptError> {
        let Some(provider) = value.strip_prefix(ENVELOPE) else { return Ok(None) };
        let Some(rest) = value.strip_prefix(AES_GCM.as_bytes()) else {
            let of = provider.split(|byte| *byte == b':').next().unwrap_or_default();
            let shown = String::from_utf8_lossy(&of[..of.len().min(SHOWN)]).into_owned();
            return Err(DecryptError::UnknownProvider(shown));
        };
        let colon = rest.iter().position(|byte| *byte == b':').ok_or(DecryptError::CutOff)?;
        let key = std::str::from_utf8(&rest[..colon]).map_err(|_| DecryptError::CutOff)?;
        let (nonce, sealed) = rest[colon + 1..].split_first_chunk().ok_or(DecryptError::CutOff)?;
        if sealed.len() < TAG {
            return Err(DecryptError::CutOff);
        }
        Ok(Some(Self { key, nonce: *nonce, sealed }))
    }

    /// Returns the name of the key, as much of it as is to be shown.
    pub(super) fn shown_key(&self) -> String {
        self.key.chars().take(SHOWN).collect()
    }
}
