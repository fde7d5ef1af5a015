//! Clients that say nothing.
//!
//! Which version of HTTP a client speaks is known once it has sent the first bytes, and until then no limit of either
//! version holds. So a connection whose client has not sent as much in time as the shortest request and the preface of
//! HTTP/2 have, ends.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// How long the preface of HTTP/2 is.
const PREFACE: usize = 24;

/// A stream that fails unless its first bytes come in time.
pub(super) struct Prompt<I> {
    stream: I,
    read: usize,
    /// When it fails; absent once enough was read.
    end: Option<Pin<Box<Sleep>>>,
}

impl<I> Prompt<I> {
    /// Gives a stream so much time for its first bytes.
    pub(super) fn new(stream: I, patience: Duration) -> Self {
        Self { stream, read: 0, end: Some(Box::pin(tokio::time::sleep(patience))) }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Prompt<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let Some(end) = &mut self.end else { return polled };
        if polled.is_pending() && end.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        self.read += buffer.filled().len() - before;
        if self.read >= PREFACE {
            self.end = None;
        }
        polled
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Prompt<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::time::{Instant, sleep};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_or_too_little_is_cut_off_in_time() {
        for said in [&b""[..], &b"PRI * HTTP/2.0\r\n"[..]] {
            let (mut client, server) = tokio::io::duplex(64);
            let begin = Instant::now();
            client.write_all(said).await.unwrap();

            let mut read = Vec::new();
            let error = Prompt::new(server, PATIENCE).read_to_end(&mut read).await.unwrap_err();

            assert_eq!((error.kind(), begin.elapsed()), (io::ErrorKind::TimedOut, PATIENCE));
            assert_eq!(read, said);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_began_in_time_may_be_slow_later() {
        let (mut client, server) = tokio::io::duplex(64);
        let mut server = Prompt::new(server, PATIENCE);
        let mut read = [0; 24];
        client.write_all(&[b'x'; 24]).await.unwrap();
        server.read_exact(&mut read).await.unwrap();

        let late = tokio::spawn(async move {
            sleep(PATIENCE * 2).await;
            client.write_all(b"y").await.unwrap();
        });

        assert_eq!(server.read_u8().await.unwrap(), b'y');
        late.await.unwrap();
    }
}
