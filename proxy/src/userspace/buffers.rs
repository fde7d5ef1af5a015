use std::ops::{Deref, DerefMut};
use std::sync::Mutex;

/// How much fits into a buffer, in bytes: a lot of a stream, and any datagram.
const SIZE: usize = 64 * 1024;

/// How many buffers are kept for later.
const KEPT: usize = 64;

/// Buffers that no connection needs now. A connection has one only while it has something to copy, so that idle
/// connections take no memory for it.
#[derive(Debug)]
pub(super) struct Buffers(Mutex<Vec<Box<[u8]>>>);

/// A buffer, given back when dropped.
pub(super) struct Buffer<'a> {
    bytes: Box<[u8]>,
    of: &'a Buffers,
}

impl Buffers {
    pub(super) fn new() -> Self {
        Self(Mutex::default())
    }

    pub(super) fn take(&self) -> Buffer<'_> {
        let kept = self.0.lock().expect("no holder panics").pop();
        Buffer { bytes: kept.unwrap_or_else(|| vec![0; SIZE].into()), of: self }
    }
}

impl Deref for Buffer<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for Buffer<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for Buffer<'_> {
    fn drop(&mut self) {
        let mut kept = self.of.0.lock().expect("no holder panics");
        if kept.len() < KEPT {
            kept.push(std::mem::take(&mut self.bytes));
        }
    }
}
