//! Reading the frames of a file, and telling a torn end from damage.

use std::io;

use super::disk::DiskFile;
use super::format::{ALIGNMENT, Chain, FILE_HEADER, FRAME_HEADER};

/// A file is read in pieces of at least this many bytes.
const WINDOW: usize = 1 << 20;

/// Reads frames in order.
pub(super) struct Frames<'a> {
    file: &'a dyn DiskFile,
    length: u64,
    offset: u64,
    chain: Chain,
    window: Vec<u8>,
    window_start: u64,
}

/// What is at the place where the next frame should be.
pub(super) enum Next {
    /// A frame; its records are to be had from [`Frames::records`] until the next call.
    Frame(usize),
    /// The end of the file, or nothing but zeros up to it.
    End,
    /// Something that is not the next frame, and is not zeros.
    Damage,
}

impl<'a> Frames<'a> {
    /// Reads the frames behind the header of a file.
    pub(super) fn new(file: &'a dyn DiskFile, chain: Chain) -> io::Result<Self> {
        let length = file.length()?;
        Ok(Self { file, length, offset: FILE_HEADER as u64, chain, window: Vec::new(), window_start: 0 })
    }

    /// Returns where the next frame should be.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns how the next frame should begin.
    pub(super) fn chain(&self) -> Chain {
        self.chain
    }

    pub(super) fn next(&mut self) -> io::Result<Next> {
        let chain = self.chain;
        let Some(records) = chain.expects(self.fill(FRAME_HEADER)?) else { return self.end() };
        let frame = self.fill(FRAME_HEADER + records)?;
        if frame.len() < FRAME_HEADER + records {
            return Ok(Next::Damage);
        }
        let Some(chain) = chain.follow(frame) else { return Ok(Next::Damage) };
        self.chain = chain;
        self.offset += (FRAME_HEADER + records).next_multiple_of(ALIGNMENT) as u64;
        Ok(Next::Frame(records))
    }

    /// Returns the records of the frame that was just read.
    pub(super) fn records(&self, length: usize) -> &[u8] {
        let padded = (FRAME_HEADER + length).next_multiple_of(ALIGNMENT) as u64;
        let start = usize::try_from(self.offset - padded - self.window_start).expect("it is in the window");
        &self.window[start + FRAME_HEADER..start + FRAME_HEADER + length]
    }

    /// Returns the bytes from the offset on: `length` of them, or all up to the end of the file.
    fn fill(&mut self, length: usize) -> io::Result<&[u8]> {
        let left = usize::try_from(self.length.saturating_sub(self.offset)).unwrap_or(usize::MAX);
        let length = length.min(left);
        if length == 0 {
            // The file may even end before the offset: the last frame's padding is not part of what was promised.
            return Ok(&[]);
        }
        let held = self.window_start + self.window.len() as u64;
        if self.offset < self.window_start || self.offset + length as u64 > held {
            self.window.resize(length.max(WINDOW).min(left), 0);
            self.file.read(self.offset, &mut self.window)?;
            self.window_start = self.offset;
        }
        let start = usize::try_from(self.offset - self.window_start).expect("it is in the window");
        Ok(&self.window[start..start + length])
    }

    fn end(&self) -> io::Result<Next> {
        let mut piece = vec![0; WINDOW];
        let mut at = self.offset;
        while at < self.length {
            let length = WINDOW.min(usize::try_from(self.length - at).unwrap_or(WINDOW));
            self.file.read(at, &mut piece[..length])?;
            if piece[..length].iter().any(|byte| *byte != 0) {
                return Ok(Next::Damage);
            }
            at += length as u64;
        }
        Ok(Next::End)
    }

    /// Returns where a whole frame follows that comes later than the next one, and that was written when all before it was
    /// synced. So if there is one, the damaged one before it was synced, and acknowledged; if there is none, the damage is
    /// what a crash left of writes that were not.
    pub(super) fn later_frame(&self) -> io::Result<Option<u64>> {
        let length = usize::try_from(self.length.saturating_sub(self.offset)).unwrap_or(usize::MAX);
        let mut rest = vec![0; length];
        self.file.read(self.offset, &mut rest)?;
        let later = (0..length).step_by(ALIGNMENT).find(|at| self.chain.is_later(&rest[*at..]));
        Ok(later.map(|at| self.offset + at as u64))
    }
}
