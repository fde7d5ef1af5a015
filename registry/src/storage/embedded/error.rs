//! Why a directory cannot be opened as a store.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::disk::is_full;

/// Why [`EmbeddedStorage`](super::EmbeddedStorage) could not be opened, copied or restored. Nothing that was there was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has the directory open.
    #[error(
        "{} is in use by {}, which holds {}: stop it, or choose another directory",
        directory.display(), Holder(*holder), lock.display()
    )]
    Locked {
        /// The directory.
        directory: PathBuf,
        /// The file that the other process has locked.
        lock: PathBuf,
        /// The number of that process, if it told it.
        holder: Option<u32>,
    },
    /// The process may not read or write there.
    #[error("no permission for {}: change its owner, or choose another directory", path.display())]
    Permission {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The path is a file, or a directory that holds something else.
    #[error("{} is not a data directory ({found}): choose an empty or a new one", directory.display())]
    NotADataDirectory {
        /// The path.
        directory: PathBuf,
        /// What is there instead.
        found: String,
    },
    /// Something is where a copy should be made.
    #[error("{} is not empty: choose an empty or a new directory, nothing is overwritten", directory.display())]
    NotEmpty {
        /// The directory.
        directory: PathBuf,
    },
    /// There is no store where one should be read.
    #[error("there is no store in {}: name the directory that holds one", directory.display())]
    NoStore {
        /// The directory.
        directory: PathBuf,
    },
    /// The data was written in a format that this version does not know.
    #[error("{} has format version {found}, this program reads {supported}: use the version that wrote it", file.display())]
    FormatVersion {
        /// The file.
        file: PathBuf,
        /// Its version.
        found: u32,
        /// The version that is supported.
        supported: u32,
    },
    /// Data that was acknowledged is damaged or missing.
    #[error(
        "{} is corrupt at byte {offset} ({why}): restore the directory from a backup, or move it away to start empty",
        file.display()
    )]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// Where in the file.
        offset: u64,
        /// What is wrong there.
        why: String,
    },
    /// There is no room to start on.
    #[error("no room left for {}: make some, or choose another directory", path.display())]
    Full {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Another error of the operating system.
    #[error("cannot use {}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// A process, as an error names it.
struct Holder(Option<u32>);

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(process) => write!(f, "process {process}"),
            None => f.write_str("another process"),
        }
    }
}

impl OpenError {
    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::Permission { path, source }
            }
            _ if is_full(&source) => Self::Full { path, source },
            _ => Self::Io { path, source },
        }
    }
}
