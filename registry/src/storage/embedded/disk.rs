//! The seam between the store and the operating system: files of one directory.
//!
//! Tests put a disk here that loses, reorders and tears everything that was not synced.

use std::fmt::Debug;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::retry_on_intr;

use super::error::OpenError;
use super::format;

/// The name of the file whose lock says that the directory is in use.
pub(super) const LOCK: &str = "lock";

/// A file system's own directory, at the top of a volume that was mounted for the store.
pub(super) const LOST_AND_FOUND: &str = "lost+found";

/// A directory of files. What was not synced may be lost or torn: names by [`Disk::sync`], bytes by
/// [`DiskFile::sync`].
pub(super) trait Disk: Debug + Send + Sync {
    /// Returns the names of all files.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Makes a file that must not exist.
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;
    /// Renames a file in one step, over what has the name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes creations, renames and removals durable.
    fn sync(&self) -> io::Result<()>;
    /// Returns what to call the file in messages.
    fn path(&self, name: &str) -> PathBuf;
}

/// An open file.
pub(super) trait DiskFile: Debug + Send {
    fn length(&self) -> io::Result<u64>;
    /// Fills the buffer from `offset` on. All of it must be there.
    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Takes room up to `length`, filled with zeros, so that writes there need no more of it.
    fn allocate(&mut self, length: u64) -> io::Result<()>;
    fn truncate(&mut self, length: u64) -> io::Result<()>;
    /// Makes bytes and length durable.
    fn sync(&mut self) -> io::Result<()>;
}

/// Returns whether the error says that there is no room left.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

/// A directory of the host, locked while this lives.
#[derive(Debug)]
pub(super) struct OsDisk {
    directory: PathBuf,
    _lock: File,
}

impl OsDisk {
    /// Makes the directory if it is missing, and locks it.
    pub(super) fn open(directory: &Path) -> Result<Self, OpenError> {
        let at = |source: io::Error| OpenError::io(directory, source);
        match fs::metadata(directory) {
            Ok(metadata) if !metadata.is_dir() => {
                let found = "it is a file".to_owned();
                return Err(OpenError::NotADataDirectory { directory: directory.to_owned(), found });
            }
            Ok(_) => refuse_foreign(directory)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => make(directory).map_err(at)?,
            Err(error) => return Err(at(error)),
        }
        let path = directory.join(LOCK);
        let lock = options().create(true).open(&path).map_err(|error| OpenError::io(&path, error))?;
        match lock.try_lock() {
            Ok(()) => {
                tell_holder(&lock);
                Ok(Self { directory: directory.to_owned(), _lock: lock })
            }
            Err(TryLockError::WouldBlock) => {
                let holder = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
                Err(OpenError::Locked { directory: directory.to_owned(), lock: path, holder })
            }
            Err(TryLockError::Error(error)) => Err(OpenError::io(&path, error)),
        }
    }
}

/// Writes this process' number into the file that it locked, for the error of the next. It is the lock that counts: a full
/// disk keeps nobody from it.
fn tell_holder(lock: &File) {
    let text = format!("{}\n", std::process::id());
    let told = lock.set_len(0).and_then(|()| lock.write_all_at(text.as_bytes(), 0));
    if let Err(error) = told {
        tracing::debug!(%error, "cannot say in the lock who holds it");
    }
}

/// Makes the directory and those above it that are missing, for its owner only, because it will hold secrets.
fn make(directory: &Path) -> io::Result<()> {
    let is_missing = |place: &&Path| !place.as_os_str().is_empty() && !place.exists();
    let missing: Vec<&Path> = directory.ancestors().take_while(is_missing).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    for made in missing {
        // The name of a directory is in the one above, which has none in a path that starts here.
        let above = made.parent().filter(|above| !above.as_os_str().is_empty());
        File::open(above.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}

/// Refuses a directory that holds something, but nothing of a store.
fn refuse_foreign(directory: &Path) -> Result<(), OpenError> {
    let at = |source| OpenError::io(directory, source);
    let mut foreign = None;
    for entry in fs::read_dir(directory).map_err(at)? {
        let name = entry.map_err(at)?.file_name().to_string_lossy().into_owned();
        if name == LOCK || format::is_ours(&name) {
            return Ok(());
        }
        if name != LOST_AND_FOUND {
            foreign = Some(name);
        }
    }
    match foreign {
        None => Ok(()),
        Some(name) => {
            let found = format!("it holds {name}");
            Err(OpenError::NotADataDirectory { directory: directory.to_owned(), found })
        }
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

impl Disk for OsDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let names = fs::read_dir(&self.directory)?;
        names.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let file = options().create_new(true).open(self.directory.join(name))?;
        Ok(Box::new(OsFile(file)))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(OsFile(options().open(self.directory.join(name))?)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.directory.join(from), self.directory.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.directory.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.directory)?.sync_all()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

#[derive(Debug)]
struct OsFile(File);

impl DiskFile for OsFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn allocate(&mut self, length: u64) -> io::Result<()> {
        let present = self.length()?;
        if length <= present {
            return Ok(());
        }
        let take = || fallocate(&self.0, FallocateFlags::empty(), present, length - present);
        match retry_on_intr(take) {
            // Without allocation a full disk shows at the sync, where it is fatal instead of waited out.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => self.0.set_len(length),
            result => Ok(result?),
        }
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }
}
