//! An HTTP/1.1 client that costs as little as one can: requests are bytes made before, of answers only the frame is read.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use quarterdeck_core::component::BoxError;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A connection that is kept alive, with one request under way at a time.
pub(crate) struct Connection {
    stream: TcpStream,
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
    pub(crate) async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; 256 * 1024], filled: 0 })
    }

    /// Sends a request and reads its answer.
    ///
    /// # Errors
    ///
    /// An answer that is no success, with what it says.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> Result<(), BoxError> {
        self.stream.write_all(request).await?;
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
            self.fill().await?;
            let said = String::from_utf8_lossy(&self.buffer[..self.filled]).into_owned();
            return Err(format!("{first}: {said}").into());
        }
        match length {
            Length::Bytes(length) => self.discard(length).await?,
            Length::Chunks => while self.chunk().await? > 0 {},
        }
        Ok(())
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

/// Writes a request.
pub(crate) fn request(method: &str, path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nuser-agent: quarterdeck-bench\r\naccept: application/json\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Makes one config map, and returns when it is made.
pub(crate) fn create_one(address: SocketAddr) -> Result<(), BoxError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let body = r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"first"}}"#;
    let request = request("POST", "/api/v1/namespaces/default/configmaps", body);
    runtime.block_on(async {
        let work = async { Connection::open(address).await?.ask(&request).await };
        tokio::time::timeout(Duration::from_secs(10), work).await?
    })
}
