//! Kubernetes' EncryptionConfiguration, as a file.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::encryption::{Encryption, Provider};
use super::envelope::EncryptionKey;
use super::error::EncryptionError;
use crate::resources;

/// Larger files are none of these.
const LARGEST: u64 = 1 << 20;
/// The bit of a file's mode that lets anybody read it.
const OTHERS_READ: u32 = 0o004;

// None of these is `Debug`: they hold secrets.

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Configuration {
    api_version: String,
    kind: String,
    #[serde(default, rename = "metadata")]
    _metadata: IgnoredAny,
    #[serde(default)]
    resources: Vec<Resources>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resources {
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    providers: Vec<Providers>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Providers {
    aesgcm: Option<Keys>,
    identity: Option<Nothing>,
    aescbc: Option<IgnoredAny>,
    secretbox: Option<IgnoredAny>,
    kms: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    #[serde(default)]
    keys: Vec<NamedSecret>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NamedSecret {
    name: String,
    secret: String,
}

impl Encryption {
    /// Reads a file. Warns if anybody may read it.
    ///
    /// # Errors
    ///
    /// [`EncryptionError`].
    pub fn from_file(path: &Path) -> Result<Self, EncryptionError> {
        let file = File::open(path)?;
        if file.metadata()?.permissions().mode() & OTHERS_READ != 0 {
            tracing::warn!(path = %path.display(), "everybody can read the keys of encryption: take the right from others (chmod 600)");
        }
        let mut text = String::new();
        file.take(LARGEST + 1).read_to_string(&mut text)?;
        if text.len() as u64 > LARGEST {
            return Err(EncryptionError::TooLarge);
        }
        Self::from_yaml(&text)
    }

    /// Reads an EncryptionConfiguration (apiserver.config.k8s.io/v1, YAML or JSON) with the providers `aesgcm` and `identity`.
    ///
    /// # Errors
    ///
    /// [`EncryptionError`].
    ///
    /// # Examples
    ///
    /// ```
    /// use quarterdeck_registry::storage::Encryption;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let encryption = Encryption::from_yaml(
    ///     r#"
    /// apiVersion: apiserver.config.k8s.io/v1
    /// kind: EncryptionConfiguration
    /// resources:
    /// - resources: [secrets, configmaps]
    ///   providers:
    ///   - aesgcm: {keys: [{name: "2026", secret: "cmFuZG9tIGFuZCAzMiBieXRlcyBsb25nLCBpZiByZWE="}]}
    ///   - identity: {}
    /// "#,
    /// )?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_yaml(text: &str) -> Result<Self, EncryptionError> {
        let file: Configuration = serde_saphyr::from_str(text).map_err(|error| {
            let at = error.location();
            EncryptionError::Syntax {
                line: at.map_or(1, |at| at.line()),
                column: at.map_or(1, |at| at.column()),
            }
        })?;
        if file.kind != "EncryptionConfiguration" || file.api_version != "apiserver.config.k8s.io/v1" {
            return Err(EncryptionError::Kind(file.kind, file.api_version));
        }
        if file.resources.is_empty() {
            return Err(invalid("the encryption configuration has no resources: nothing would be encrypted"));
        }
        let mut seen = BTreeSet::new();
        let mut encryption = Self::none();
        for Resources { resources, providers } in file.resources {
            if resources.is_empty() {
                return Err(invalid("an entry of the encryption configuration names no resources"));
            }
            let mut prefixes = Vec::new();
            for name in &resources {
                let prefix = prefix_of(name)?;
                if !seen.insert(prefix.clone()) {
                    return Err(invalid(format!(
                        "the resource {name:?} is named twice: the first entry decides"
                    )));
                }
                prefixes.push(prefix);
            }
            let mut all = Vec::new();
            for one in providers {
                all.extend(one.read()?);
            }
            encryption = encryption.rule(prefixes, all)?;
        }
        Ok(encryption)
    }
}

impl Providers {
    /// Returns what one entry of the list of providers stands for: as many as there are keys.
    fn read(self) -> Result<Vec<Provider>, EncryptionError> {
        let Self { aesgcm, identity, aescbc, secretbox, kms } = self;
        let others =
            [("aescbc", aescbc.is_some()), ("secretbox", secretbox.is_some()), ("kms", kms.is_some())];
        if let Some((name, _)) = others.iter().find(|(_, is_there)| *is_there) {
            return Err(invalid(format!("the provider {name} is not supported: use aesgcm")));
        }
        match (aesgcm, identity) {
            (Some(Keys { keys }), None) if !keys.is_empty() => {
                keys.into_iter().map(|key| key.read().map(Provider::AesGcm)).collect()
            }
            (Some(_), None) => Err(invalid("a provider aesgcm has no keys")),
            (None, Some(Nothing {})) => Ok(vec![Provider::Identity]),
            _ => Err(invalid("each provider has to be one of aesgcm and identity: {}, on its own")),
        }
    }
}

impl NamedSecret {
    fn read(self) -> Result<EncryptionKey, EncryptionError> {
        let Self { name, secret } = self;
        let secret = STANDARD.decode(secret.trim());
        let secret = secret
            .map_err(|_| invalid(format!("the secret of the key {name:?} is not written in base64")))?;
        EncryptionKey::new(name, &secret)
    }
}

/// Returns what keys begin with of the objects of a resource: `secrets`, `deployments.apps`.
fn prefix_of(name: &str) -> Result<String, EncryptionError> {
    if name.contains('*') {
        let why = format!("the resource {name:?} is a pattern, which is not supported: name each resource");
        return Err(invalid(why));
    }
    let (plural, group) = name.split_once('.').unwrap_or((name, ""));
    let kinds = resources::builtin();
    if let Some(kind) = kinds.iter().find(|kind| kind.group == group && kind.plural == plural) {
        return Ok(kind.prefix.to_string());
    }
    let is_of_a_builtin_group = kinds.iter().any(|kind| kind.group == group);
    if is_of_a_builtin_group || plural.is_empty() || name.contains('/') {
        return Err(invalid(format!("there is no resource {name:?}: write secrets, or deployments.apps")));
    }
    // A custom one, which may be defined later.
    Ok(format!("/registry/{group}/{plural}/"))
}

fn invalid(why: impl Into<String>) -> EncryptionError {
    EncryptionError::Invalid(why.into())
}
