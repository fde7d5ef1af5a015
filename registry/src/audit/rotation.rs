//! A plain file that the audit log is written to, and how it gives way to a new one.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use quarterdeck_core::clock::{Clock, later};
use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};
use rustix::io::Errno;
use tokio::time::Instant;

use super::file::Target;

/// What an old file's name says of when it was the new one's turn, as upstream's.
const TIME: &str = "%Y-%m-%dT%H-%M-%S%.3f";
/// How many bytes that are.
const LENGTH: usize = "2006-01-02T15-04-05.000".len();
/// How long to wait before another try when a file could not give way.
const RETRY: Duration = Duration::from_secs(60);

/// When the file of an audit log gives way to a new one, and which of the old ones are kept.
///
/// An old file is beside the new one and has the time in its name: `audit-2006-01-02T15-04-05.000.log` for `audit.log`, in UTC.
/// The new one has the old one's mode and, if this process may give files away, its owner. Only plain files give way: a pipe or
/// a terminal is written on and on.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use quarterdeck_registry::audit::Rotation;
///
/// const DAY: Duration = Duration::from_secs(24 * 3600);
/// // Up to ten old files of 100 MiB, and none that is older than 30 days.
/// let rotation = Rotation::at(100 << 20).max_backups(10).max_age(30 * DAY);
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Rotation {
    max_size: u64,
    max_backups: Option<usize>,
    max_age: Option<Duration>,
    clock: Clock,
}

impl Rotation {
    /// Has a file give way before it is longer than so many bytes. Lines are never divided: what is written together, up to 64 KiB
    /// or a line that is longer, goes into one file.
    pub fn at(bytes: u64) -> Self {
        Self { max_size: bytes, max_backups: None, max_age: None, clock: Clock::system() }
    }

    /// Keeps so many old files, the newest (default: all).
    pub fn max_backups(mut self, files: usize) -> Self {
        self.max_backups = Some(files);
        self
    }

    /// Keeps no old file whose name says that it gave way longer ago (default: keeps them forever). That is looked at when the log is
    /// opened, and whenever a file gives way.
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = Some(age);
        self
    }

    /// Sets the clock by which old files are called (default: the system's).
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }
}

/// What events are written to.
#[derive(Debug)]
pub(super) struct LogFile {
    file: File,
    path: PathBuf,
    is_plain: bool,
    rotation: Option<Rotation>,
    /// When another try makes sense, after one that failed.
    retry: Option<Instant>,
}

impl LogFile {
    /// Opens a file, made for its owner alone if it is missing.
    pub(super) fn open(path: &Path, rotation: Option<Rotation>) -> io::Result<Self> {
        let file = open(path)?;
        let is_plain = file.metadata()?.is_file();
        // Where a link leads is where there is room for it, and is still there when this process is somewhere else.
        let path = if is_plain { fs::canonicalize(path)? } else { path.to_owned() };
        let log = Self { file, path, is_plain, rotation, retry: None };
        log.clean();
        Ok(log)
    }

    /// Puts a new file in the place of the present one.
    fn give_way(&mut self, present: &Metadata) -> io::Result<()> {
        // Somebody else may have moved it, and put another one there.
        let is_there = fs::symlink_metadata(&self.path)
            .is_ok_and(|found| (found.dev(), found.ino()) == (present.dev(), present.ino()));
        let backup = if is_there { Some(self.set_aside()?) } else { None };
        let next = successor(&self.path).inspect_err(|_| {
            if let Some(backup) = &backup {
                self.put_back(backup);
            }
        })?;
        self.file = match next {
            Successor::Made(file) => {
                inherit(&file, present);
                file
            }
            Successor::Found(file) => file,
        };
        self.clean();
        Ok(())
    }

    /// Gives the present file a name that no other has. Returns it.
    fn set_aside(&self) -> io::Result<PathBuf> {
        let mut time =
            self.rotation.as_ref().map_or_else(Clock::system, |rotation| rotation.clock.clone()).now();
        loop {
            let backup = self.named(time);
            match rename_apart(&self.path, &backup) {
                Ok(()) => return Ok(backup),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    time = later(time, SignedDuration::from_millis(1));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Lets what is written on be found where it was. A link or a pipe that somebody put there has to go; a file of theirs stays.
    fn put_back(&self, backup: &Path) {
        let is_theirs = fs::symlink_metadata(&self.path).is_ok_and(|found| found.is_file());
        if !is_theirs {
            let _ = fs::rename(backup, &self.path);
        }
    }

    fn named(&self, time: Timestamp) -> PathBuf {
        let mut name = self.path.file_stem().unwrap_or_default().to_owned();
        name.push(format!("-{}", time.strftime(TIME)));
        if let Some(extension) = self.path.extension() {
            name.push(".");
            name.push(extension);
        }
        self.path.with_file_name(name)
    }

    /// Returns when the file of this name gave way, if it is one of this log's.
    fn time_of(&self, path: &Path) -> Option<Timestamp> {
        let stem = self.path.file_stem()?.as_bytes();
        let time = path.file_name()?.as_bytes().strip_prefix(stem)?.strip_prefix(b"-")?;
        let time = DateTime::strptime(TIME, time.get(..LENGTH)?).ok()?.to_zoned(TimeZone::UTC).ok()?;
        // Nothing that is called otherwise in any way: it is going to be deleted.
        (self.named(time.timestamp()).file_name() == path.file_name()).then(|| time.timestamp())
    }

    /// Deletes the old files that are not kept.
    fn clean(&self) {
        let Some(rotation) = &self.rotation else { return };
        if rotation.max_backups.is_none() && rotation.max_age.is_none() {
            return;
        }
        if let Err(error) = self.delete(rotation) {
            let path = self.path.display();
            tracing::warn!(%error, %path, "old files of the audit log are not deleted: they take room on the disk");
        }
    }

    fn delete(&self, rotation: &Rotation) -> io::Result<()> {
        let kept = rotation.max_backups.unwrap_or(usize::MAX);
        let age = rotation.max_age.map(|age| SignedDuration::try_from(age).unwrap_or(SignedDuration::MAX));
        let now = rotation.clock.now();
        let mut files = Vec::new();
        for entry in fs::read_dir(self.path.parent().unwrap_or(Path::new("/")))? {
            let path = entry?.path();
            files.extend(self.time_of(&path).map(|time| (time, path)));
        }
        files.sort();
        let is_old = |time: Timestamp| age.is_some_and(|age| now.duration_since(time) > age);
        let ends =
            files.iter().rev().enumerate().filter(|(newer, (time, _))| *newer >= kept || is_old(*time));
        // One that cannot be deleted keeps no other.
        let mut deleted = Ok(());
        for (_, (_, path)) in ends {
            deleted = deleted.and(fs::remove_file(path));
        }
        deleted
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Target for LogFile {
    fn prepare(&mut self, bytes: usize) -> io::Result<bool> {
        if !self.is_plain {
            return Ok(false);
        }
        let present = self.file.metadata()?;
        // Nobody would ever read what is written to a file that was deleted.
        if present.nlink() == 0 {
            self.give_way(&present)?;
            return Ok(true);
        }
        let Some(Rotation { max_size, .. }) = self.rotation else { return Ok(false) };
        let is_full = present.len() > 0 && present.len().saturating_add(bytes as u64) > max_size;
        if !is_full || self.retry.is_some_and(|at| Instant::now() < at) {
            return Ok(false);
        }
        match self.give_way(&present) {
            Ok(()) => {
                self.retry = None;
                Ok(true)
            }
            // It is longer than it should be, and complete.
            Err(error) => {
                let path = self.path.display();
                tracing::error!(%error, %path, "the audit log grows beyond its size: nothing can be renamed or made in its directory");
                self.retry = Some(Instant::now() + RETRY);
                Ok(false)
            }
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// What is written to after a file gave way.
enum Successor {
    Made(File),
    /// Somebody else's.
    Found(File),
}

/// Makes the next file, or goes on with a plain one that somebody put there meanwhile. Whoever may write into the directory could
/// have put a link there: nothing follows it.
fn successor(path: &Path) -> io::Result<Successor> {
    let made = OpenOptions::new().append(true).create_new(true).mode(0o600).open(path);
    match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => return made.map(Successor::Made),
    }
    // A pipe that nobody reads must not hold the writer up.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let mut file = OpenOptions::new().read(true).append(true).custom_flags(flags).open(path)?;
    let found = file.metadata()?;
    if !found.is_file() || found.nlink() > 1 {
        return Err(io::Error::other("something else has been put in its place"));
    }
    if let Some(last) = found.len().checked_sub(1) {
        let mut byte = [0];
        file.read_exact_at(&mut byte, last)?;
        if byte != [b'\n'] {
            file.write_all(b"\n")?;
        }
    }
    Ok(Successor::Found(file))
}

/// Renames a file, unless there is one of the new name.
fn rename_apart(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Not every file system can.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            if fs::symlink_metadata(to).is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            fs::rename(from, to)
        }
        renamed => Ok(renamed?),
    }
}

/// Gives a new file to whoever had the old one. If that cannot be, nobody but this process's user may read it.
fn inherit(file: &File, old: &Metadata) {
    if fchown(file, Some(old.uid()), Some(old.gid())).is_ok() {
        let _ = file.set_permissions(Permissions::from_mode(old.mode() & 0o777));
    }
}

#[cfg(test)]
mod tests;
