//! What the files hold, byte by byte. All numbers are little-endian.
//!
//! - `log-NNNNNNNNNNNNNNNNNNNN`: a segment of the log. A header, then one frame per sync, then zeros.
//! - `snapshot-NNNNNNNNNNNNNNNNNNNN`: the entries at that revision. A header, then frames to the end of the file.
//! - `….new`: a file that is being made; never read.
//!
//! A header is 64 bytes: 8 of magic, format version (u32), checksum (u32), the store's number (u64, drawn when it was
//! made), segment number or revision (u64), sequence of the first frame or count of entries (u64), checksum of the
//! frame before the first one (u32), zeros. Its checksum covers it with zeros in its own place.
//!
//! A frame is 32 bytes of header, records, and zeros up to a multiple of 8. The header: magic (u32; one of two: all frames
//! before it were synced when it was written, or some may not have been), bytes of records
//! (u32), sequence (u64), header checksum of the frame before (u32), checksum of the records (u32), checksum of the header
//! so far (u32), zeros. Both checksums are CRC-32C and cover the store's number too. So nobody can make a value that
//! passes for a frame, and a frame that was written over half of another does not continue in the rest of it.

use std::ops::Range;
use std::path::PathBuf;

use bytes::Bytes;
use crc32c::{crc32c, crc32c_append};
use quarterdeck_core::storage::{Entry, Key, Revision, Write};

use super::super::history::Logged;
use super::error::OpenError;

/// The version of all this.
pub(super) const VERSION: u32 = 1;
pub(super) const FILE_HEADER: usize = 64;
pub(super) const FRAME_HEADER: usize = 32;
/// What a frame's length is a multiple of.
pub(super) const ALIGNMENT: usize = 8;

/// The magic of a frame before which all was synced: if it is there, so is all before it, or it was damaged.
const SYNCED_MAGIC: [u8; 4] = *b"QdFr";
/// The magic of a frame before which something was not synced yet: a crash may have taken that and left this.
const LOOSE_MAGIC: [u8; 4] = *b"QdFl";
const LOG: &str = "log-";
const SNAPSHOT: &str = "snapshot-";
/// The end of the name of a file that is being made.
pub(super) const NEW: &str = ".new";
/// The name of the file that will be the next segment.
pub(super) const SPARE: &str = "spare.new";

const COMMIT: u8 = 1;
const COMPACT: u8 = 2;
const CLOSED: u8 = 3;
const PUT: u8 = 1;
const DELETE: u8 = 2;

pub(super) fn segment_name(number: u64) -> String {
    format!("{LOG}{number:020}")
}

pub(super) fn snapshot_name(revision: Revision) -> String {
    format!("{SNAPSHOT}{:020}", revision.0)
}

pub(super) fn segment_number(name: &str) -> Option<u64> {
    numbered(name, LOG)
}

pub(super) fn snapshot_revision(name: &str) -> Option<Revision> {
    numbered(name, SNAPSHOT).map(Revision)
}

fn numbered(name: &str, prefix: &str) -> Option<u64> {
    let digits = name.strip_prefix(prefix)?;
    (digits.len() == 20 && digits.bytes().all(|digit| digit.is_ascii_digit())).then(|| digits.parse().ok())?
}

/// Returns whether a file of this name belongs to a store.
pub(super) fn is_ours(name: &str) -> bool {
    let name = name.strip_suffix(NEW).unwrap_or(name);
    name == "spare" || segment_number(name).is_some() || snapshot_revision(name).is_some()
}

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Segment,
    Snapshot,
}

impl Kind {
    fn magic(self) -> [u8; 8] {
        match self {
            Self::Segment => *b"QdeckLog",
            Self::Snapshot => *b"QdeckSnp",
        }
    }
}

/// The start of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) store: u64,
    /// A segment's number, or a snapshot's revision.
    pub(super) number: u64,
    /// The sequence of a segment's first frame, or the number of a snapshot's entries.
    pub(super) first: u64,
    /// The checksum of the frame before the first.
    pub(super) previous: u32,
}

/// What is wrong with a header.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BadHeader {
    Damaged,
    Version(u32),
}

impl BadHeader {
    pub(super) fn at(self, file: PathBuf) -> OpenError {
        match self {
            Self::Damaged => OpenError::Corrupt { file, offset: 0, why: "its header is damaged".to_owned() },
            Self::Version(found) => OpenError::FormatVersion { file, found, supported: VERSION },
        }
    }
}

impl Header {
    pub(super) fn encode(&self) -> [u8; FILE_HEADER] {
        let mut bytes = [0; FILE_HEADER];
        bytes[0..8].copy_from_slice(&self.kind.magic());
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.store.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.number.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.first.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.previous.to_le_bytes());
        let checksum = crc32c(&bytes);
        bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    pub(super) fn decode(kind: Kind, mut bytes: [u8; FILE_HEADER]) -> Result<Self, BadHeader> {
        let version = u32_at(&bytes, 8);
        let checksum = u32_at(&bytes, 12);
        bytes[12..16].fill(0);
        if bytes[0..8] != kind.magic() || checksum != crc32c(&bytes) {
            return Err(BadHeader::Damaged);
        }
        if version != VERSION {
            return Err(BadHeader::Version(version));
        }
        Ok(Self {
            kind,
            store: u64_at(&bytes, 16),
            number: u64_at(&bytes, 24),
            first: u64_at(&bytes, 32),
            previous: u32_at(&bytes, 40),
        })
    }
}

/// Where a sequence of frames goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) store: u64,
    /// The sequence of the next frame.
    pub(super) sequence: u64,
    /// The checksum of the last one.
    pub(super) previous: u32,
}

/// Whether all frames before one are synced when it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    Synced,
    Loose,
}

impl Chain {
    /// Makes the bytes a frame: they begin with room for the header. Returns the chain behind it.
    pub(super) fn seal(self, frame: &mut Vec<u8>, before: Before) -> Self {
        let records =
            u32::try_from(frame.len() - FRAME_HEADER).expect("what is in flight is far below 4 GiB");
        frame[..FRAME_HEADER].fill(0);
        frame[0..4].copy_from_slice(match before {
            Before::Synced => &SYNCED_MAGIC,
            Before::Loose => &LOOSE_MAGIC,
        });
        frame[4..8].copy_from_slice(&records.to_le_bytes());
        frame[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        frame[16..20].copy_from_slice(&self.previous.to_le_bytes());
        let checksum = self.checksum(&frame[FRAME_HEADER..]);
        frame[20..24].copy_from_slice(&checksum.to_le_bytes());
        let checksum = self.checksum(&frame[0..24]);
        frame[24..28].copy_from_slice(&checksum.to_le_bytes());
        frame.resize(frame.len().next_multiple_of(ALIGNMENT), 0);
        self.behind(frame)
    }

    /// Returns how many bytes of records the frame has that begins with these bytes, if it is the next one.
    pub(super) fn expects(self, header: &[u8]) -> Option<usize> {
        let records = self.records(header)?;
        (u64_at(header, 8) == self.sequence && u32_at(header, 16) == self.previous).then_some(records)
    }

    /// Returns the chain behind the frame that was expected, if its records are whole.
    pub(super) fn follow(self, frame: &[u8]) -> Option<Self> {
        (u32_at(frame, 20) == self.checksum(&frame[FRAME_HEADER..])).then(|| self.behind(frame))
    }

    /// Returns whether `bytes` begin with a whole frame that comes later than the next one, and was written when that was
    /// synced.
    pub(super) fn is_later(self, bytes: &[u8]) -> bool {
        let Some(records) = self.records(bytes) else { return false };
        let frame = bytes.get(..FRAME_HEADER + records);
        bytes[0..4] == SYNCED_MAGIC
            && u64_at(bytes, 8) > self.sequence
            && frame.is_some_and(|frame| self.follow(frame).is_some())
    }

    /// Returns how many bytes of records follow, if these bytes begin with the header of a frame.
    fn records(self, bytes: &[u8]) -> Option<usize> {
        let header = bytes.get(..FRAME_HEADER)?;
        if header[0..4] != SYNCED_MAGIC && header[0..4] != LOOSE_MAGIC {
            return None;
        }
        (u32_at(header, 24) == self.checksum(&header[0..24])).then(|| u32_at(header, 4) as usize)
    }

    fn checksum(self, bytes: &[u8]) -> u32 {
        crc32c_append(crc32c(&self.store.to_le_bytes()), bytes)
    }

    fn behind(self, frame: &[u8]) -> Self {
        Self { sequence: self.sequence + 1, previous: u32_at(frame, 24), ..self }
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// A record of the log.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Record {
    Commit(Revision, Vec<Write>),
    Compact(Revision),
    /// The store was closed in good order here.
    Closed,
}

/// Appends a commit: tag, revision, number of writes; for each a tag, the key and, for a put, the value, each behind its
/// length (u32).
pub(super) fn write_commit(to: &mut Vec<u8>, logged: &Logged) {
    to.push(COMMIT);
    to.extend(logged.revision.0.to_le_bytes());
    to.extend(length(logged.changes.len()));
    for change in &logged.changes {
        to.push(if change.present.is_some() { PUT } else { DELETE });
        write_bytes(to, change.key().as_str().as_bytes());
        if let Some(entry) = &change.present {
            write_bytes(to, &entry.value);
        }
    }
}

/// Appends a compaction: tag, revision.
pub(super) fn write_compact(to: &mut Vec<u8>, at: Revision) {
    to.push(COMPACT);
    to.extend(at.0.to_le_bytes());
}

/// Appends the mark of a store that was closed in good order: a tag.
pub(super) fn write_closed(to: &mut Vec<u8>) {
    to.push(CLOSED);
}

/// Appends an entry of a snapshot: created and modified revision, key and value, each behind its length (u32).
pub(super) fn write_entry(to: &mut Vec<u8>, entry: &Entry) {
    to.extend(entry.created.0.to_le_bytes());
    to.extend(entry.modified.0.to_le_bytes());
    write_bytes(to, entry.key.as_str().as_bytes());
    write_bytes(to, &entry.value);
}

fn write_bytes(to: &mut Vec<u8>, bytes: &[u8]) {
    to.extend(length(bytes.len()));
    to.extend_from_slice(bytes);
}

fn length(count: usize) -> [u8; 4] {
    u32::try_from(count).expect("a transaction is far below 4 GiB").to_le_bytes()
}

/// Reads the records of a frame, one after the other.
#[derive(Debug)]
pub(super) struct Records<'a>(pub(super) &'a [u8]);

/// Why records cannot be read although their checksum is right.
pub(super) const UNREADABLE: &str = "a record has no meaning";

impl<'a> Records<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the next record of a log; `None` if it has no meaning.
    pub(super) fn record(&mut self) -> Option<Record> {
        match self.byte()? {
            COMMIT => {
                let revision = Revision(self.u64()?);
                let count = self.u32()?;
                let writes = (0..count).map(|_| self.write()).collect::<Option<_>>()?;
                Some(Record::Commit(revision, writes))
            }
            COMPACT => Some(Record::Compact(Revision(self.u64()?))),
            CLOSED => Some(Record::Closed),
            _ => None,
        }
    }

    /// Returns the next entry of a snapshot; `None` if it has no meaning.
    pub(super) fn entry(&mut self) -> Option<Entry> {
        let (created, modified) = (Revision(self.u64()?), Revision(self.u64()?));
        Some(Entry { key: self.key()?, value: self.value()?, created, modified })
    }

    fn write(&mut self) -> Option<Write> {
        match self.byte()? {
            PUT => Some(Write::Put(self.key()?, self.value()?)),
            DELETE => Some(Write::Delete(self.key()?)),
            _ => None,
        }
    }

    fn key(&mut self) -> Option<Key> {
        std::str::from_utf8(self.bytes()?).ok().map(Key::from)
    }

    /// Copies the value, so that it does not keep the bytes around it in memory.
    fn value(&mut self) -> Option<Bytes> {
        self.bytes().map(Bytes::copy_from_slice)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()? as usize;
        self.take(0..length)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(0..1).map(|bytes| bytes[0])
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(0..4).map(|bytes| u32_at(bytes, 0))
    }

    fn u64(&mut self) -> Option<u64> {
        self.take(0..8).map(|bytes| u64_at(bytes, 0))
    }

    fn take(&mut self, range: Range<usize>) -> Option<&'a [u8]> {
        let taken = self.0.get(range.clone())?;
        self.0 = &self.0[range.end..];
        Some(taken)
    }
}
