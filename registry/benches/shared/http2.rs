//! HTTP/2 as clients need it that cost as little as one can: frames, and watches, which ask once for each stream and then read.

use std::io;

use bytes::{Buf as _, BufMut as _, BytesMut};
use quarterdeck_core::component::BoxError;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::access::{Access, Dialer, Stream};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The largest window that there is: a watch never waits for a client that reads.
const WINDOW: u32 = (1 << 31) - 1;
/// The window that a connection has at first.
pub(crate) const FIRST_WINDOW: u32 = 65_535;
const HEAD: usize = 9;
/// How much is read at a time.
const READ: usize = 64 * 1024;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
const RESET: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
const GO_AWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;

const ACKNOWLEDGED: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
/// `:status: 200` in HPACK's static table.
const STATUS_OK: u8 = 0x88;

/// Opens connections full of watches.
pub(crate) struct Client {
    dialer: Dialer,
    /// The headers of a request, in HPACK.
    headers: BytesMut,
}

impl Client {
    /// Makes a client that watches `path`.
    pub(crate) fn new(access: &Access, path: &str) -> Result<Self, BoxError> {
        let mut headers = BytesMut::new();
        headers.put_u8(0x82);
        headers.put_u8(if access.is_encrypted() { 0x87 } else { 0x86 });
        // Numbers of names in the static table: :path, :authority, accept, authorization.
        literal(&mut headers, 4, path);
        literal(&mut headers, 1, "127.0.0.1");
        literal(&mut headers, 19, "application/json");
        if let Some(value) = access.authorization()? {
            literal(&mut headers, 23, &value);
        }
        Ok(Self { dialer: access.dialer(b"h2")?, headers })
    }

    /// Connects and asks for so many watches.
    pub(crate) async fn open(&self, watches: usize) -> io::Result<Watches> {
        let mut stream = self.dialer.dial().await?;
        let mut out = BytesMut::new();
        begin(&mut out);
        for watch in 0..watches {
            let number = u32::try_from(2 * watch + 1).map_err(io::Error::other)?;
            head(&mut out, self.headers.len(), HEADERS, END_STREAM | END_HEADERS, number);
            out.put_slice(&self.headers);
        }
        stream.write_all(&out).await?;
        stream.flush().await?;
        Ok(Watches { stream, buffer: BytesMut::with_capacity(READ), read: 0 })
    }
}

/// A connection with watches.
pub(crate) struct Watches {
    stream: Stream,
    /// What was received and not looked at.
    buffer: BytesMut,
    /// How many bytes were read since the connection's window was last opened.
    read: u32,
}

impl Watches {
    /// Reads what there is, waiting for it. Gives `on_data` each piece with the number of its watch on this connection, and
    /// returns how many watches were answered.
    ///
    /// # Errors
    ///
    /// A watch that is refused or ends, or a connection that does.
    pub(crate) async fn read(&mut self, mut on_data: impl FnMut(usize, &[u8])) -> Result<usize, BoxError> {
        self.buffer.reserve(READ);
        if self.stream.read_buf(&mut self.buffer).await? == 0 {
            return Err("the server closed a connection".into());
        }
        let (mut opened, mut out) = (0, BytesMut::new());
        while let Some(frame) = Frame::take(&mut self.buffer) {
            let payload = &frame.payload;
            match frame.kind {
                DATA => {
                    self.read += u32::try_from(payload.len())?;
                    on_data(frame.stream as usize / 2, payload);
                }
                HEADERS if payload.first() == Some(&STATUS_OK) => opened += 1,
                SETTINGS | PING => frame.acknowledge(&mut out),
                HEADERS | RESET | GO_AWAY => return Err(format!("a watch was refused: {payload:?}").into()),
                _ => {}
            }
            if frame.ends_stream() {
                return Err("a watch ended".into());
            }
        }
        if self.read > WINDOW / 2 {
            head(&mut out, 4, WINDOW_UPDATE, 0, 0);
            out.put_u32(std::mem::take(&mut self.read));
        }
        if !out.is_empty() {
            self.stream.write_all(&out).await?;
            self.stream.flush().await?;
        }
        Ok(opened)
    }
}

/// A frame that was received.
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    /// The number of its stream.
    pub(crate) stream: u32,
    pub(crate) payload: BytesMut,
}

impl Frame {
    /// Takes the first frame out of what was received, if all of it is there.
    pub(crate) fn take(buffer: &mut BytesMut) -> Option<Self> {
        let head = buffer.get(..HEAD)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let (kind, flags) = (head[3], head[4]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        if buffer.len() < HEAD + length {
            return None;
        }
        buffer.advance(HEAD);
        Some(Self { kind, flags, stream, payload: buffer.split_to(length) })
    }

    /// Writes the answer to settings or a ping, unless this is one.
    pub(crate) fn acknowledge(&self, out: &mut BytesMut) {
        if self.flags & ACKNOWLEDGED == 0 {
            let answered = if self.kind == PING { &self.payload[..] } else { &[] };
            head(out, answered.len(), self.kind, ACKNOWLEDGED, 0);
            out.put_slice(answered);
        }
    }

    /// Returns whether it is the last of its stream.
    pub(crate) fn ends_stream(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }
}

/// Writes what a connection begins with: windows so large that the server never waits for a client that reads.
pub(crate) fn begin(out: &mut BytesMut) {
    out.put_slice(PREFACE);
    // SETTINGS_INITIAL_WINDOW_SIZE
    head(out, 6, SETTINGS, 0, 0);
    out.put_u16(4);
    out.put_u32(WINDOW);
    head(out, 4, WINDOW_UPDATE, 0, 0);
    out.put_u32(WINDOW - FIRST_WINDOW);
}

/// Writes the head of a frame.
pub(crate) fn head(out: &mut BytesMut, length: usize, kind: u8, flags: u8, stream: u32) {
    out.put_uint(length as u64, 3);
    out.put_u8(kind);
    out.put_u8(flags);
    out.put_u32(stream);
}

/// Writes a header that no table remembers: the number of its name, and the value as it is.
fn literal(out: &mut BytesMut, name: u8, value: &str) {
    integer(out, 4, usize::from(name));
    text(out, value);
}

/// Writes text as HPACK does, without compression.
pub(crate) fn text(out: &mut BytesMut, value: &str) {
    integer(out, 7, value.len());
    out.put_slice(value.as_bytes());
}

/// Writes an integer as HPACK does, after a prefix of zeros that leaves so many bits in its byte.
fn integer(out: &mut BytesMut, bits: u8, value: usize) {
    let most = (1 << bits) - 1;
    if value < most {
        out.put_u8(value as u8);
        return;
    }
    out.put_u8(most as u8);
    let mut rest = value - most;
    while rest >= 128 {
        out.put_u8(128 | (rest % 128) as u8);
        rest /= 128;
    }
    out.put_u8(rest as u8);
}
