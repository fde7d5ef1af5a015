//! An HTTP/1.1 client that costs as little as one can: requests are bytes made before, of answers only the frame is read.

use std::io;
use std::time::Duration;

use quarterdeck_core::component::BoxError;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::access::{Access, Dialer, Stream};

/// A connection that is kept alive, with one request under way at a time.
pub(crate) struct Connection {
    stream: Stream,
    /// What was received and not looked at.
    buffer: Vec<u8>,
    filled: usize,
}

/// What follows an answer's head.
#[derive(Clone, Copy)]
enum Length {
    Bytes(usize),
    Chunks,
}

impl Connection {
    pub(crate) async fn open(dialer: &Dialer) -> io::Result<Self> {
        Ok(Self { stream: dialer.dial().await?, buffer: vec![0; 256 * 1024], filled: 0 })
    }

    /// Sends a request and reads its answer. Returns how many bytes the answer's body had.
    ///
    /// # Errors
    ///
    /// An answer that is no success, with what it says.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> Result<usize, BoxError> {
        self.stream.write_all(request).await?;
        self.stream.flush().await?;
        let head = loop {
            if let Some(at) = find(&self.buffer[..self.filled], b"\r\n\r\n") {
                break at + 4;
            }
            self.fill().await?;
        };
        let text = std::str::from_utf8(&self.buffer[..head])?;
        let is_good = text.as_bytes().get(9) == Some(&b'2');
        let first = text.lines().next().unwrap_or_default().to_owned();
        let length = length(text)?;
        self.skip(head);
        if !is_good {
            // What it says may have come with its head.
            if self.filled == 0 {
                self.fill().await?;
            }
            let said = String::from_utf8_lossy(&self.buffer[..self.filled]).into_owned();
            return Err(format!("{first}: {said}").into());
        }
        match length {
            Length::Bytes(length) => {
                self.discard(length).await?;
                Ok(length)
            }
            Length::Chunks => {
                let mut total = 0;
                loop {
                    match self.chunk().await? {
                        0 => return Ok(total),
                        size => total += size,
                    }
                }
            }
        }
    }

    /// Reads one chunk away; returns its size.
    async fn chunk(&mut self) -> Result<usize, BoxError> {
        let line = loop {
            if let Some(at) = find(&self.buffer[..self.filled], b"\r\n") {
                break at;
            }
            self.fill().await?;
        };
        let size = usize::from_str_radix(std::str::from_utf8(&self.buffer[..line])?, 16)?;
        self.skip(line + 2);
        self.discard(size + 2).await?;
        Ok(size)
    }

    async fn discard(&mut self, mut length: usize) -> io::Result<()> {
        while length > self.filled {
            length -= self.filled;
            self.filled = 0;
            self.fill().await?;
        }
        self.skip(length);
        Ok(())
    }

    fn skip(&mut self, length: usize) {
        self.buffer.copy_within(length..self.filled, 0);
        self.filled -= length;
    }

    async fn fill(&mut self) -> io::Result<()> {
        let read = self.stream.read(&mut self.buffer[self.filled..]).await?;
        self.filled += read;
        if read == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }
}

fn length(head: &str) -> Result<Length, BoxError> {
    for line in head.lines() {
        let Some((name, value)) = line.split_once(':') else { continue };
        if name.eq_ignore_ascii_case("content-length") {
            return Ok(Length::Bytes(value.trim().parse()?));
        }
        if name.eq_ignore_ascii_case("transfer-encoding") {
            return Ok(Length::Chunks);
        }
    }
    Err("an answer without a length".into())
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

/// What a client's requests have in common.
pub(crate) struct Client {
    dialer: Dialer,
    headers: String,
}

impl Client {
    pub(crate) fn new(access: &Access) -> Result<Self, BoxError> {
        let authorization = access.authorization()?;
        let authorization =
            authorization.map(|value| format!("authorization: {value}\r\n")).unwrap_or_default();
        let headers = format!(
            "host: 127.0.0.1\r\nuser-agent: quarterdeck-bench\r\naccept: application/json\r\n{authorization}"
        );
        Ok(Self { dialer: access.dialer(b"http/1.1")?, headers })
    }

    pub(crate) async fn connect(&self) -> io::Result<Connection> {
        Connection::open(&self.dialer).await
    }

    /// Writes a request.
    pub(crate) fn request(&self, method: &str, path: &str, body: &str) -> Vec<u8> {
        self.request_of(method, path, ("application/json", body))
    }

    /// Writes a request with a body of this media type.
    pub(crate) fn request_of(&self, method: &str, path: &str, (kind, body): (&str, &str)) -> Vec<u8> {
        let (headers, length) = (&self.headers, body.len());
        format!(
            "{method} {path} HTTP/1.1\r\n{headers}content-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .into_bytes()
    }
}

/// Makes one config map, and returns when it is made.
pub(crate) fn create_one(access: &Access) -> Result<(), BoxError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let client = Client::new(access)?;
    let body = r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"first"}}"#;
    let request = client.request("POST", "/api/v1/namespaces/default/configmaps", body);
    runtime.block_on(async {
        let work = async { client.connect().await?.ask(&request).await };
        tokio::time::timeout(Duration::from_secs(10), work).await??;
        Ok(())
    })
}
