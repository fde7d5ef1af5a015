//! Certificates in a directory, as kubelet keeps them: `NAME-current.pem` leads to the file in use, `NAME-DATE.pem`, which holds
//! the certificate and then the key. Nobody but the owner reads them.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rcgen::KeyPair;

use super::credential::Credential;
use super::error::JoinError;

/// The certificates of one use.
#[derive(Debug, Clone)]
pub(super) struct Store {
    directory: PathBuf,
    name: &'static str,
}

impl Store {
    /// Keeps the certificates called `name` in a directory.
    pub(super) fn new(directory: PathBuf, name: &'static str) -> Self {
        Self { directory, name }
    }

    /// Returns the directory.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns what is in use; nothing if there is none, or none that can be read.
    ///
    /// # Errors
    ///
    /// [`JoinError::File`].
    pub(super) fn load(&self) -> Result<Option<Credential>, JoinError> {
        let path = self.current();
        let Some(text) = read(&path)? else { return Ok(None) };
        let (certificate, key) = split(&text);
        match Credential::read(certificate, key) {
            Ok(credential) => Ok(Some(credential)),
            Err(reason) => {
                let path = path.display();
                tracing::warn!(%path, reason, "what is kept as a certificate and its key is none, and is passed over");
                Ok(None)
            }
        }
    }

    /// Keeps a certificate, in use from now on, and the one that it replaces; those before it go.
    ///
    /// # Errors
    ///
    /// [`JoinError::File`]; what was in use before stays so.
    pub(super) fn save(&self, credential: &Credential, now: Timestamp) -> Result<(), JoinError> {
        let name = format!("{}-{}.pem", self.name, now.strftime("%Y-%m-%d-%H-%M-%S"));
        let replaced = fs::read_link(self.current()).ok();
        self.write(&name, &format!("{}{}", with_end(credential.certificate()), credential.key()))?;
        let link = self.directory.join(format!("{}-updated.pem", self.name));
        remove(&link)?;
        symlink(&name, &link)
            .and_then(|()| fs::rename(&link, self.current()))
            .and_then(|()| fs::File::open(&self.directory)?.sync_all())
            .map_err(failed(&link))?;
        // That they are gone is tidy, and no more.
        let _ = self.remove_others(&[Some(name.as_ref()), replaced.as_deref()]);
        Ok(())
    }

    /// Returns the key that a certificate was asked for and not got yet, or a new one that is kept as such.
    ///
    /// # Errors
    ///
    /// [`JoinError::File`] and [`JoinError::Request`].
    pub(super) fn pending_key(&self) -> Result<KeyPair, JoinError> {
        let name = self.pending();
        if let Some(key) = read(&self.directory.join(&name))?.and_then(|text| KeyPair::from_pem(&text).ok()) {
            return Ok(key);
        }
        let key = KeyPair::generate().map_err(JoinError::Request)?;
        self.write(&name, &key.serialize_pem())?;
        Ok(key)
    }

    /// Has the next request be for another key.
    ///
    /// # Errors
    ///
    /// [`JoinError::File`].
    pub(super) fn forget_pending_key(&self) -> Result<(), JoinError> {
        remove(&self.directory.join(self.pending()))
    }

    fn current(&self) -> PathBuf {
        self.directory.join(format!("{}-current.pem", self.name))
    }

    fn pending(&self) -> String {
        format!("{}.key.tmp", self.name)
    }

    /// Writes a file, all or nothing.
    fn write(&self, name: &str, text: &str) -> Result<(), JoinError> {
        fs::create_dir_all(&self.directory).map_err(failed(&self.directory))?;
        let (path, fresh) = (self.directory.join(name), self.directory.join(format!(".{name}")));
        // A process that was killed may have left one.
        remove(&fresh)?;
        let write = || {
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&fresh, &path)
        };
        write().map_err(|error| {
            // It may hold a key.
            let _ = fs::remove_file(&fresh);
            failed(&path)(error)
        })
    }

    fn remove_others(&self, kept: &[Option<&Path>]) -> io::Result<()> {
        for entry in fs::read_dir(&self.directory)? {
            let name = entry?.file_name();
            let is_old = name.to_str().is_some_and(|name| self.is_dated(name))
                && !kept.contains(&Some(Path::new(&name)));
            if is_old {
                fs::remove_file(self.directory.join(name))?;
            }
        }
        Ok(())
    }

    /// Whether a file's name is one that [`save`](Self::save) gives.
    fn is_dated(&self, name: &str) -> bool {
        let rest = name.strip_prefix(self.name).and_then(|rest| rest.strip_prefix('-'));
        rest.and_then(|rest| rest.strip_suffix(".pem"))
            .is_some_and(|date| date.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-'))
    }
}

/// Takes certificates and the key apart: the key is what begins with the last line that says so.
fn split(text: &str) -> (&str, &str) {
    let key = text.find("PRIVATE KEY-----").and_then(|at| text[..at].rfind("-----BEGIN "));
    text.split_at(key.unwrap_or(text.len()))
}

fn with_end(text: &str) -> String {
    if text.ends_with('\n') { text.to_owned() } else { format!("{text}\n") }
}

fn failed(path: &Path) -> impl Fn(io::Error) -> JoinError + use<> {
    let path = path.to_owned();
    move |source| JoinError::File { path: path.clone(), source }
}

/// Reads a file, if it is there.
fn read(path: &Path) -> Result<Option<String>, JoinError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(path)(error)),
    }
}

/// Removes a file, if it is there.
fn remove(path: &Path) -> Result<(), JoinError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(path)(error)),
        _ => Ok(()),
    }
}
