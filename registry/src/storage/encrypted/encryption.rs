//! Which values are encrypted, and how.

use std::collections::BTreeSet;

use bytes::Bytes;
use quarterdeck_core::storage::{Key, StorageError};

use super::envelope::{EncryptionKey, Envelope, is_envelope};
use super::error::{DecryptError, EncryptionError};

/// What keys of secrets begin with.
const SECRETS: &str = "/registry/secrets/";

/// A way to keep values.
#[derive(Debug)]
#[non_exhaustive]
pub enum Provider {
    /// Encrypted with AES-GCM.
    AesGcm(EncryptionKey),
    /// As they are.
    Identity,
}

/// Which values are encrypted, and how: rules, of which the first that has a key's prefix decides.
///
/// [`Encryption::from_file`] reads them from Kubernetes' EncryptionConfiguration.
#[derive(Debug, Default)]
pub struct Encryption {
    rules: Vec<Rule>,
}

/// How the values under some prefixes are kept.
#[derive(Debug)]
struct Rule {
    prefixes: Vec<String>,
    /// The first one writes, all read. Never empty.
    providers: Vec<Provider>,
}

impl Encryption {
    /// Encrypts nothing. Encrypted values that are found are [`DecryptError::UnknownKey`].
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Encrypts secrets with the first provider; the others read what they wrote.
    ///
    /// # Errors
    ///
    /// [`EncryptionError::Invalid`] if there is no provider, or two keys have one name.
    pub fn of_secrets(providers: impl IntoIterator<Item = Provider>) -> Result<Self, EncryptionError> {
        Self::none().rule([SECRETS], providers)
    }

    /// Adds a rule for the values whose keys begin with one of the prefixes.
    ///
    /// # Errors
    ///
    /// [`EncryptionError::Invalid`] if there is no provider, or two keys have one name.
    pub fn rule<P: Into<String>>(
        mut self,
        prefixes: impl IntoIterator<Item = P>,
        providers: impl IntoIterator<Item = Provider>,
    ) -> Result<Self, EncryptionError> {
        let rule = Rule {
            prefixes: prefixes.into_iter().map(Into::into).collect(),
            providers: providers.into_iter().collect(),
        };
        if rule.providers.is_empty() {
            return Err(EncryptionError::Invalid("there are no providers: name one that encrypts".into()));
        }
        let mut names = BTreeSet::new();
        if let Some(key) = rule.keys().find(|key| !names.insert(key.name())) {
            let why = format!("two keys are named {:?}: give each a name of its own", key.name());
            return Err(EncryptionError::Invalid(why));
        }
        self.rules.push(rule);
        Ok(self)
    }

    /// Returns the prefixes of all rules.
    pub(super) fn prefixes(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().flat_map(|rule| &rule.prefixes).map(String::as_str)
    }

    fn rule_of(&self, key: &Key) -> Option<&Rule> {
        self.rules
            .iter()
            .find(|rule| rule.prefixes.iter().any(|prefix| key.as_str().starts_with(prefix.as_str())))
    }

    /// Encrypts a value for the store; absent if it goes there as it is.
    pub(super) fn seal(&self, key: &Key, value: &[u8]) -> Result<Option<Bytes>, StorageError> {
        match self.rule_of(key).and_then(|rule| rule.providers.first()) {
            None | Some(Provider::Identity) => Ok(None),
            Some(Provider::AesGcm(with)) => {
                let sealed = with.seal(key.as_str(), value);
                sealed
                    .map(Some)
                    .map_err(|_| StorageError::Unavailable("a value could not be encrypted".into()))
            }
        }
    }

    /// Decrypts a stored value; absent if it is what it says.
    pub(super) fn open(&self, key: &Key, value: &[u8]) -> Result<Option<Bytes>, DecryptError> {
        let Some(envelope) = Envelope::parse(value)? else {
            let is_fine = self.rule_of(key).is_none_or(Rule::has_identity);
            return if is_fine { Ok(None) } else { Err(DecryptError::Plain) };
        };
        let with = self.rule_of(key).and_then(|rule| rule.keys().find(|with| with.name() == envelope.key));
        let with = with.ok_or_else(|| DecryptError::UnknownKey(envelope.shown_key()))?;
        let opened = with.open(key.as_str(), &envelope);
        opened.map(Some).map_err(|_| DecryptError::Refused(envelope.shown_key()))
    }

    /// Whether a stored value is as it would be written now.
    pub(super) fn is_current(&self, key: &Key, value: &[u8]) -> Result<bool, DecryptError> {
        Ok(match self.rule_of(key).and_then(|rule| rule.providers.first()) {
            None => true,
            Some(Provider::Identity) => !is_envelope(value),
            Some(Provider::AesGcm(with)) => {
                Envelope::parse(value)?.is_some_and(|envelope| envelope.key == with.name())
            }
        })
    }
}

impl Rule {
    fn keys(&self) -> impl Iterator<Item = &EncryptionKey> {
        self.providers.iter().filter_map(|provider| match provider {
            Provider::AesGcm(key) => Some(key),
            Provider::Identity => None,
        })
    }

    fn has_identity(&self) -> bool {
        self.providers.iter().any(|provider| matches!(provider, Provider::Identity))
    }
}
