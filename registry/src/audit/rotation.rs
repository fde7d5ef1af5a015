//! A plain file that the audit log is written to, and how it gives way to a new one.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use quarterdeck_core::clock::{Clock, later};
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
        let is_there = fs::metadata(&self.path)
            .is_ok_and(|found| (found.dev(), found.ino()) == (present.dev(), present.ino()));
        let backup = self.backup();
        if is_there {
            fs::rename(&self.path, &backup)?;
        }
        self.file = open(&self.path).inspect_err(|_| {
            if is_there {
                // What is written on is found where it was.
                let _ = fs::rename(&backup, &self.path);
            }
        })?;
        inherit(&self.file, present);
        self.clean();
        Ok(())
    }

    /// Returns how the present file is to be called, which no other is.
    fn backup(&self) -> PathBuf {
        let mut time =
            self.rotation.as_ref().map_or_else(Clock::system, |rotation| rotation.clock.clone()).now();
        loop {
            let path = self.named(time);
            if fs::symlink_metadata(&path).is_err() {
                return path;
            }
            time = later(time, SignedDuration::from_millis(1));
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

/// Gives a new file to whoever had the old one. If that cannot be, nobody but this process's user may read it.
fn inherit(file: &File, old: &Metadata) {
    if fchown(file, Some(old.uid()), Some(old.gid())).is_ok() {
        let _ = file.set_permissions(Permissions::from_mode(old.mode() & 0o777));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock() -> Clock {
        Clock::following_tokio("2026-01-02T03:04:05.678Z".parse().unwrap())
    }

    /// Writes lines as the writer does. Returns whether they began a file.
    fn write(log: &mut LogFile, lines: &str) -> bool {
        let is_new = log.prepare(lines.len()).unwrap();
        log.write_all(lines.as_bytes()).unwrap();
        is_new
    }

    /// The files of a directory with what they hold, by name.
    fn files(directory: &Path) -> Vec<(String, String)> {
        let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        let read = |path: &PathBuf| fs::read_to_string(path).unwrap();
        let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
        let mut files: Vec<_> = entries.map(|path| (name(&path), read(&path))).collect();
        files.sort();
        files
    }

    fn named<const N: usize>(files: [(&str, &str); N]) -> Vec<(String, String)> {
        files.map(|(name, text)| (name.to_owned(), text.to_owned())).into()
    }

    #[tokio::test(start_paused = true)]
    async fn files_that_give_way_at_the_same_time_are_called_apart() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.log");
        let mut log = LogFile::open(&path, Some(Rotation::at(8).clock(clock()))).unwrap();

        let begun =
            ["one\n", "two\n", "three\n", "four-and-long\n", "5\n"].map(|lines| write(&mut log, lines));

        assert_eq!(begun, [false, false, true, true, true]);
        let wanted = named([
            ("audit-2026-01-02T03-04-05.678.log", "one\ntwo\n"),
            ("audit-2026-01-02T03-04-05.679.log", "three\n"),
            ("audit-2026-01-02T03-04-05.680.log", "four-and-long\n"),
            ("audit.log", "5\n"),
        ]);
        assert_eq!(files(directory.path()), wanted);
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_without_an_ending_and_a_file_that_is_there_are_as_good() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit");
        fs::write(&path, "before\n").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();

        let mut log = LogFile::open(&path, Some(Rotation::at(8).clock(clock()))).unwrap();
        write(&mut log, "one\n");

        let wanted = named([("audit", "one\n"), ("audit-2026-01-02T03-04-05.678", "before\n")]);
        assert_eq!(files(directory.path()), wanted);
        assert_eq!(
            fs::metadata(&path).unwrap().mode() & 0o777,
            0o640,
            "whoever read the old one reads the new one"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn old_files_go_by_number_and_by_age_and_nobody_elses_do() {
        let old = ["12-31T03-04-05.678", "12-31T03-04-05.679", "12-31T03-04-05.680"];
        let others = [
            "audit-2025-12-30.log",
            "audit-2025-12-30T03-04-05.6789.log",
            "audit-2025-12-30T03-04-05.678.log.gz",
            "audit-2025-13-30T03-04-05.678.log",
            "other-2025-12-30T03-04-05.678.log",
            "audit.log",
        ];
        let day = Duration::from_secs(24 * 3600);
        let rotation = || Rotation::at(1).clock(clock());
        for (rotation, kept) in [
            (rotation(), &old[..]),
            (rotation().max_backups(2), &old[1..]),
            (rotation().max_backups(0), &[]),
            (rotation().max_age(2 * day), &old[..]),
            (rotation().max_age(2 * day).max_backups(1), &old[2..]),
            (rotation().max_age(day), &[]),
        ] {
            let directory = tempfile::tempdir().unwrap();
            let make = |name: &str| fs::write(directory.path().join(name), "").unwrap();
            others.iter().for_each(|name| make(name));
            old.iter().for_each(|time| make(&format!("audit-2025-{time}.log")));

            let what = format!("{rotation:?}");
            drop(LogFile::open(&directory.path().join("audit.log"), Some(rotation)).unwrap());

            let mut wanted: Vec<String> = kept.iter().map(|time| format!("audit-2025-{time}.log")).collect();
            wanted.extend(others.map(str::to_owned));
            wanted.sort();
            let found: Vec<_> = files(directory.path()).into_iter().map(|(name, _)| name).collect();
            assert_eq!(found, wanted, "{what}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_cannot_give_way_is_written_on_and_gives_way_later() {
        let directory = tempfile::tempdir().unwrap();
        let [here, away] = ["here", "away"].map(|name| directory.path().join(name));
        fs::create_dir(&here).unwrap();
        let mut log = LogFile::open(&here.join("audit.log"), Some(Rotation::at(8).clock(clock()))).unwrap();
        write(&mut log, "one\n");
        fs::rename(&here, &away).unwrap();

        let mut begun = ["two--\n", "three\n"].map(|lines| write(&mut log, lines)).to_vec();
        assert_eq!(files(&away), named([("audit.log", "one\ntwo--\nthree\n")]), "nothing is lost");
        fs::rename(&away, &here).unwrap();
        begun.push(write(&mut log, "four\n"));
        tokio::time::advance(RETRY).await;
        begun.push(write(&mut log, "five\n"));

        assert_eq!(begun, [false, false, false, true], "it is tried again after a minute");
        let wanted = named([
            ("audit-2026-01-02T03-05-05.678.log", "one\ntwo--\nthree\nfour\n"),
            ("audit.log", "five\n"),
        ]);
        assert_eq!(files(&here), wanted);
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_somebody_else_moved_gives_way_to_the_one_that_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.log");
        let mut log = LogFile::open(&path, Some(Rotation::at(8).clock(clock()))).unwrap();
        write(&mut log, "one\n");
        fs::rename(&path, directory.path().join("audit.log.1")).unwrap();
        fs::write(&path, "other\n").unwrap();

        let begun = ["two\n", "three\n"].map(|lines| write(&mut log, lines));

        assert_eq!(begun, [false, true]);
        let wanted = named([("audit.log", "other\nthree\n"), ("audit.log.1", "one\ntwo\n")]);
        assert_eq!(files(directory.path()), wanted);
    }

    #[tokio::test(start_paused = true)]
    async fn where_a_link_leads_the_old_files_are() {
        let directory = tempfile::tempdir().unwrap();
        let real = directory.path().join("real");
        fs::create_dir(&real).unwrap();
        let link = directory.path().join("link.log");
        fs::write(real.join("audit.log"), "before\n").unwrap();
        std::os::unix::fs::symlink(real.join("audit.log"), &link).unwrap();

        write(&mut LogFile::open(&link, Some(Rotation::at(8).clock(clock()))).unwrap(), "one\n");

        let wanted = named([("audit-2026-01-02T03-04-05.678.log", "before\n"), ("audit.log", "one\n")]);
        assert_eq!(files(&real), wanted);
        assert_eq!(fs::read_to_string(link).unwrap(), "one\n");
    }
}
