//! Connections that send much and ask nothing.
//!
//! HTTP/2 has many frames that cost their receiver work and its peer nothing: pings, settings, priorities, windows, empty data.
//! h2 bounds what they make it remember; how many there are nobody bounds. So what a client sends has to be accounted for: by
//! requests and their bodies, by what it was sent itself, and by an allowance that grows with time. Who is beyond that is cut
//! off, whatever the frames were.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::activity::Activity;

/// How many bytes may come that nothing accounts for, at most. What is read before its request is known counts, and HTTP/2's windows
/// let a client send a MiB of that.
const BURST: i64 = 4 * 1024 * 1024;
/// How many of them are forgiven each second.
const PER_SECOND: i64 = 64 * 1024;
/// Of how many bytes that a client is sent it may acknowledge each with one.
const ACKNOWLEDGED: i64 = 16;

/// A stream that fails when its client sends too much that nothing accounts for.
pub(super) struct Metered<I> {
    stream: I,
    activity: Arc<Activity>,
    /// What may still come, with what was written beyond whole acknowledgements.
    left: i64,
    written: i64,
    refilled: Instant,
}

impl<I> Metered<I> {
    pub(super) fn new(stream: I, activity: Arc<Activity>) -> Self {
        Self { stream, activity, left: BURST, written: 0, refilled: Instant::now() }
    }

    /// Accounts for what was read. Returns whether it may go on.
    fn may_read(&mut self, read: usize) -> bool {
        self.left -= i64::try_from(read).unwrap_or(i64::MAX / 4);
        if self.left >= BURST / 2 || self.activity.is_free() {
            return true;
        }
        let now = Instant::now();
        let seconds = i64::try_from((now - self.refilled).as_secs()).unwrap_or(i64::MAX);
        if seconds > 0 {
            self.refilled = now;
        }
        let forgiven = seconds.min(BURST / PER_SECOND) * PER_SECOND;
        let acknowledged = std::mem::take(&mut self.written) / ACKNOWLEDGED;
        let earned = forgiven.saturating_add(acknowledged).saturating_add(self.activity.take_earned());
        self.left = self.left.saturating_add(earned).min(BURST);
        self.left >= 0
    }

    fn wrote(&mut self, polled: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(written)) = polled {
            self.written = self.written.saturating_add(i64::try_from(*written).unwrap_or(i64::MAX));
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Metered<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let read = buffer.filled().len() - before;
        if read > 0 && !self.may_read(read) {
            return Poll::Ready(Err(io::Error::other("a client sends much and asks nothing")));
        }
        polled
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Metered<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wrote(&polled);
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.wrote(&polled);
        polled
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
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_requests_bodies_answers_and_time_account_for_may_come_and_nothing_else() {
        let activity = Activity::new(Instant::now());
        let metered = || Metered::new((), activity.clone());
        let piece = 16 * 1024;
        let pieces = |metered: &mut Metered<()>| (0..10_000).take_while(|_| metered.may_read(piece)).count();

        assert_eq!(pieces(&mut metered()), 256, "a burst is all");
        let mut waited = metered();
        pieces(&mut waited);
        waited.left = 0;
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(pieces(&mut waited), 40, "ten seconds' worth");
        let mut asking = metered();
        let may_go_on = (0..10_000).all(|_| {
            drop(activity.request());
            asking.may_read(piece)
        });
        assert!(may_go_on, "requests account for their headers");
        let mut reading = metered();
        let may_go_on = (0..10_000).all(|_| {
            reading.wrote(&Poll::Ready(Ok(piece * 16)));
            reading.may_read(piece)
        });
        assert!(may_go_on, "windows follow what is sent");
        activity.leave_http();
        assert_eq!(pieces(&mut metered()), 10_000, "a WebSocket has limits of its own");
    }
}
