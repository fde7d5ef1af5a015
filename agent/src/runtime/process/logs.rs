//! Reading what containers wrote to their files.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream};
use quarterdeck_core::runtime::{ContainerKey, LogChunks, LogOptions, Logs, RuntimeError};
use rustix::fs::{FallocateFlags, SeekFrom};

use super::ProcessRuntime;
use super::node::Node;

/// How much is read at a time.
const CHUNK: usize = 64 << 10;
/// A multiple of the blocks of every file system.
const BLOCK: u64 = 64 << 10;
/// How often a follower looks for more.
const LOOK: Duration = Duration::from_millis(100);
/// How often logs are shortened.
const SHORTEN: Duration = Duration::from_secs(10);

#[async_trait]
impl Logs for ProcessRuntime {
    async fn open(&self, container: &ContainerKey, options: LogOptions) -> Result<LogChunks, RuntimeError> {
        if options.timestamps {
            return Err(RuntimeError::unsupported("times of log lines: a process writes its log itself"));
        }
        if options.since.is_some() {
            return Err(RuntimeError::unsupported(
                "a log since a time: a process writes its log itself, without times",
            ));
        }
        let node = self.node().await?;
        if node.state().container(container).is_none() {
            return Err(RuntimeError::ContainerNotFound(container.clone()));
        }
        let path = node.places.log(container);
        let opened = tokio::task::spawn_blocking(move || open(&path, options.tail)).await;
        let file = opened.map_err(RuntimeError::unavailable)?.map_err(RuntimeError::unavailable)?;
        let reader = Reader { node, key: container.clone(), file: Arc::new(file), follow: options.follow };
        let chunks = stream::unfold(Some(reader), |reader| async move {
            match reader?.next().await {
                Ok(Some((chunk, reader))) => Some((Ok(chunk), Some(reader))),
                Ok(None) => None,
                Err(error) => Some((Err(RuntimeError::unavailable(error)), None)),
            }
        });
        Ok(chunks.boxed())
    }
}

struct Reader {
    node: Arc<Node>,
    key: ContainerKey,
    file: Arc<File>,
    follow: bool,
}

impl Reader {
    /// Reads what follows; nothing if that was all.
    async fn next(self) -> io::Result<Option<(Bytes, Self)>> {
        loop {
            // Looked at before reading: what was written before the end is read after it.
            let ended = {
                let state = self.node.state();
                state.container(&self.key).is_none_or(|container| *container.ended.borrow())
            };
            let file = self.file.clone();
            let chunk = tokio::task::spawn_blocking(move || read(&file)).await??;
            if !chunk.is_empty() {
                return Ok(Some((chunk, self)));
            }
            if ended || !self.follow {
                return Ok(None);
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Opens a log at its last `tail` lines, or at the first that is kept.
fn open(path: &Path, tail: Option<u64>) -> io::Result<File> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut first = next_data(&file, 0)?.unwrap_or(length);
    if first > 0 {
        first = line_after(&mut file, first, length)?;
    }
    let start = match tail {
        Some(lines) => last_lines(&mut file, lines, first, length)?,
        None => first,
    };
    file.seek(io::SeekFrom::Start(start))?;
    Ok(file)
}

/// Reads what follows in a file, past what was cut out of it meanwhile.
fn read(mut file: &File) -> io::Result<Bytes> {
    let position = file.stream_position()?;
    if let Some(data) = next_data(file, position)? {
        file.seek(io::SeekFrom::Start(data))?;
    }
    let mut chunk = vec![0; CHUNK];
    let length = file.read(&mut chunk)?;
    chunk.truncate(length);
    Ok(chunk.into())
}

/// Returns where the next byte is that was not cut out, if there is one. Moves the file's position.
fn next_data(file: &File, position: u64) -> io::Result<Option<u64>> {
    match rustix::fs::seek(file, SeekFrom::Data(position)) {
        Ok(data) => Ok(Some(data)),
        Err(rustix::io::Errno::NXIO) => {
            rustix::fs::seek(file, SeekFrom::Start(position))?;
            Ok(None)
        }
        Err(errno) => Err(errno.into()),
    }
}

/// Returns where the first whole line begins behind `position`.
fn line_after(file: &mut File, position: u64, length: u64) -> io::Result<u64> {
    file.seek(io::SeekFrom::Start(position))?;
    let mut chunk = vec![0; CHUNK];
    let mut at = position;
    while at < length {
        let read = file.read(&mut chunk)?;
        if let Some(end) = chunk[..read].iter().position(|byte| *byte == b'\n') {
            return Ok(at + end as u64 + 1);
        }
        if read == 0 {
            break;
        }
        at += read as u64;
    }
    Ok(position)
}

/// Returns where the last `lines` lines begin between `first` and `length`.
fn last_lines(file: &mut File, lines: u64, first: u64, length: u64) -> io::Result<u64> {
    let mut missing = lines;
    let mut end = length;
    if lines == 0 {
        return Ok(length);
    }
    let mut chunk = vec![0; CHUNK];
    while end > first {
        let start = end.saturating_sub(CHUNK as u64).max(first);
        let part = &mut chunk[..usize::try_from(end - start).expect("it is at most a chunk")];
        file.seek(io::SeekFrom::Start(start))?;
        file.read_exact(part)?;
        for (offset, _) in part.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            let after = start + offset as u64 + 1;
            // The end of the last line begins no line.
            if after == length {
                continue;
            }
            missing -= 1;
            if missing == 0 {
                return Ok(after);
            }
        }
        end = start;
    }
    Ok(first)
}

/// Keeps the logs of a node short until it is gone: what is older than the last so many bytes is cut out of the files. The
/// files keep their length, so that neither the programs that write nor those who read notice.
pub(super) async fn keep_short(node: Weak<Node>) {
    loop {
        tokio::time::sleep(SHORTEN).await;
        let Some(node) = node.upgrade() else { return };
        let shortened = tokio::task::spawn_blocking(move || shorten_all(&node)).await;
        if let Err(error) = shortened {
            tracing::error!(%error, "cannot shorten logs");
        }
    }
}

fn shorten_all(node: &Node) {
    let logs: Vec<_> = {
        let state = node.state();
        let keys = state.pods.iter().flat_map(|(uid, pod)| {
            pod.containers
                .keys()
                .map(|(name, attempt)| ContainerKey::new(uid.clone(), name.clone(), *attempt))
        });
        keys.map(|key| node.places.log(&key)).collect()
    };
    for log in logs {
        match shorten(&log, node.settings.max_log) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(log = %log.display(), %error, "cannot shorten a log");
            }
            _ => {}
        }
    }
}

fn shorten(log: &Path, keep: u64) -> io::Result<()> {
    let file = std::fs::OpenOptions::new().write(true).open(log)?;
    let length = file.metadata()?.len();
    let first = next_data(&file, 0)?.unwrap_or(length);
    // Part of a block cannot be cut out, only filled with zeros.
    let cut = length.saturating_sub(keep) / BLOCK * BLOCK;
    if length - first <= keep + keep / 4 || cut == 0 {
        return Ok(());
    }
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    Ok(rustix::fs::fallocate(&file, flags, 0, cut)?)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn log(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    fn read_all(path: &Path, tail: Option<u64>) -> String {
        let mut file = open(path, tail).unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn the_last_lines_count_one_without_its_end() {
        let log = log("one\ntwo\nthree");

        assert_eq!(read_all(log.path(), Some(1)), "three");
        assert_eq!(read_all(log.path(), Some(2)), "two\nthree");
        assert_eq!(read_all(log.path(), Some(9)), "one\ntwo\nthree");
        assert_eq!(read_all(log.path(), Some(0)), "");
    }

    #[test]
    fn the_last_lines_are_found_across_chunks() {
        let text: String = (0..50_000).map(|line| format!("line {line}\n")).collect();
        let log = log(&text);

        let last = read_all(log.path(), Some(20_000));

        assert!(last.starts_with("line 30000\n") && last.ends_with("line 49999\n"));
    }

    #[test]
    fn a_shortened_log_begins_with_a_whole_line_and_stays_readable() {
        let text: String = (0..100_000).map(|line| format!("line {line:06}\n")).collect();
        let log = log(&text);

        shorten(log.path(), 100_000).unwrap();

        let left = read_all(log.path(), None);
        assert!(left.len() <= 170_000 && left.len() >= 90_000, "{}", left.len());
        assert!(left.starts_with("line ") && left.ends_with("line 099999\n"), "{:?}", &left[..12]);
        assert_eq!(read_all(log.path(), Some(1)), "line 099999\n");
    }

    #[test]
    fn a_follower_skips_what_is_cut_out_meanwhile() {
        let text: String = (0..100_000).map(|line| format!("line {line:06}\n")).collect();
        let log = log(&text);
        let file = open(log.path(), None).unwrap();
        let first = read(&file).unwrap();

        shorten(log.path(), 100_000).unwrap();
        let second = read(&file).unwrap();

        assert!(first.starts_with(b"line 000000\n"));
        assert!(!second.contains(&0), "zeros are not what was written");
    }
}
