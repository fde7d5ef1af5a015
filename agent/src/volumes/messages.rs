//! The files into which containers write why they end: `terminationMessagePath`.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// How much of a message counts, in bytes: its end (as upstream).
const LONGEST: u64 = 4096;

/// Makes the file of an attempt, empty, for every user to write to. That of the attempt before the last goes.
pub(super) fn make(pod: &Path, container: &str, attempt: u32) -> io::Result<PathBuf> {
    if let Some(old) = attempt.checked_sub(2) {
        // There may have been none.
        let _ = fs::remove_file(file(pod, container, old));
    }
    let path = file(pod, container, attempt);
    if let Some(parent) = path.parent() {
        super::make_directory(parent)?;
    }
    let made = OpenOptions::new().write(true).create(true).truncate(true).mode(0o666).open(&path)?;
    // Whatever the agent's mask takes away.
    made.set_permissions(Permissions::from_mode(0o666))?;
    Ok(path)
}

/// Returns the end of what an attempt wrote into its file; empty if it wrote nothing.
pub(super) fn read(pod: &Path, container: &str, attempt: u32) -> String {
    read_end(&file(pod, container, attempt)).unwrap_or_default()
}

fn read_end(path: &Path) -> io::Result<String> {
    let metadata = fs::symlink_metadata(path)?;
    if !metadata.is_file() {
        return Ok(String::new());
    }
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(metadata.len().saturating_sub(LONGEST)))?;
    let mut text = Vec::new();
    file.take(LONGEST).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn file(pod: &Path, container: &str, attempt: u32) -> PathBuf {
    pod.join("containers").join(container).join(attempt.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_message_counts_and_each_attempt_has_its_own() {
        let pod = tempfile::tempdir().unwrap();

        let first = make(pod.path(), "c", 0).unwrap();
        fs::write(&first, "x".repeat(5000) + "end").unwrap();
        make(pod.path(), "c", 1).unwrap();
        let kept = first.exists();
        make(pod.path(), "c", 2).unwrap();

        assert!(kept && !first.exists());
        assert_eq!(read(pod.path(), "c", 0), "");
        assert_eq!(read(pod.path(), "c", 1), "");
        fs::write(file(pod.path(), "c", 2), "x".repeat(5000) + "end").unwrap();
        let text = read(pod.path(), "c", 2);
        assert_eq!((text.len(), text.ends_with("xend")), (4096, true));
    }
}
