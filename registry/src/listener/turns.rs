//! Connections that write once per turn.
//!
//! HTTP/2 flushes after nearly every frame of data, and the runtime runs a connection right after the first stream that has
//! something for it. With a hundred watches on a connection that is a hundred calls of the operating system, and as many TLS
//! records, for one event. So what a connection writes while its future is polled waits in [`Held`], and goes out together when
//! the poll is over, or when there is much of it. If the connection only wrote, the other tasks that are ready run first: they
//! may be streams that have more. One that has sent much in a turn waits for the next ([`Bulk`]).

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker, ready};

use futures::future::BoxFuture;
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;

use super::bulk::{ALLOWANCE, Bulk};

/// How many bytes wait at most.
const MOST: usize = 64 * 1024;
/// So many bytes at once do not wait: a copy of them costs more than a write.
const MUCH: usize = 16 * 1024;
/// How much room stays with a connection that has nothing to write.
const KEPT: usize = 4 * 1024;

/// Makes a stream that holds back what is written, and what lets it go at the end of each turn.
pub(super) fn held<I>(stream: I) -> (Held<I>, Arc<Mutex<Outgoing<I>>>) {
    let shared = Arc::new(Mutex::new(Outgoing {
        stream,
        waiting: Vec::new(),
        sent: 0,
        is_dirty: false,
        has_read: false,
        written: 0,
        is_over: false,
        writer: None,
        holds: true,
        failed: None,
    }));
    (Held(shared.clone()), shared)
}

/// A stream, and what was written to it and did not go out.
pub(super) struct Outgoing<I> {
    stream: I,
    waiting: Vec<u8>,
    /// How much of what waits went out.
    sent: usize,
    /// Whether anything was written since the stream was last flushed.
    is_dirty: bool,
    /// Whether anything was read in this turn.
    has_read: bool,
    /// How many bytes were written in this turn.
    written: usize,
    /// Whether the turn is over, because more was to be written than one allows.
    is_over: bool,
    /// Who wanted to write more.
    writer: Option<Waker>,
    /// Whether somebody lets things go at the end of a turn. Afterwards, a flush does.
    holds: bool,
    /// Why a write at the end of a turn failed. The connection learns of it when it uses the stream next.
    failed: Option<io::ErrorKind>,
}

impl<I: AsyncWrite + Unpin> Outgoing<I> {
    /// Sends what waits, and flushes the stream.
    fn release(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.waiting.len() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.waiting[self.sent..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.sent += sent,
            }
        }
        self.sent = 0;
        self.waiting.clear();
        if self.waiting.capacity() > KEPT {
            self.waiting = Vec::new();
        }
        if self.is_dirty {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.is_dirty = false;
        }
        Poll::Ready(Ok(()))
    }

    fn check(&self) -> io::Result<()> {
        self.failed.map_or(Ok(()), |kind| Err(kind.into()))
    }

    /// Makes room for so many bytes. Returns whether they are to wait; if not, nothing else does.
    fn prepare(&mut self, cx: &mut Context<'_>, length: usize) -> Poll<io::Result<bool>> {
        self.check()?;
        if self.holds && self.written >= ALLOWANCE {
            // Its next turn wakes the connection; who takes the stream over meanwhile is woken at the end of this one.
            self.is_over = true;
            self.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if !self.waiting.is_empty() && self.waiting.len() + length > MOST {
            ready!(self.release(cx))?;
        }
        self.is_dirty = true;
        Poll::Ready(Ok(!self.waiting.is_empty() || length < MUCH))
    }

    /// Counts what was written in this turn.
    fn wrote(&mut self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(written)) = polled {
            self.written += written;
        }
        polled
    }
}

/// A stream that holds back what is written.
pub(super) struct Held<I>(Arc<Mutex<Outgoing<I>>>);

impl<I> Held<I> {
    fn lock(&self) -> MutexGuard<'_, Outgoing<I>> {
        lock(&self.0)
    }
}

fn lock<I>(outgoing: &Mutex<Outgoing<I>>) -> MutexGuard<'_, Outgoing<I>> {
    outgoing.lock().expect("no stream panics")
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncRead for Held<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut outgoing = self.lock();
        outgoing.check()?;
        if !outgoing.holds && !outgoing.waiting.is_empty() {
            // Who waits for an answer has said all there is to say.
            let _ = outgoing.release(cx)?;
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut outgoing.stream).poll_read(cx, buffer);
        outgoing.has_read |= buffer.filled().len() > before;
        polled
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Held<I> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut outgoing = self.lock();
        if ready!(outgoing.prepare(cx, bytes.len()))? {
            outgoing.waiting.extend_from_slice(bytes);
            return outgoing.wrote(Poll::Ready(Ok(bytes.len())));
        }
        let bytes = &bytes[..bytes.len().min(ALLOWANCE)];
        let polled = Pin::new(&mut outgoing.stream).poll_write(cx, bytes);
        outgoing.wrote(polled)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut outgoing = self.lock();
        let length = slices.iter().map(|slice| slice.len()).sum();
        if ready!(outgoing.prepare(cx, length))? {
            outgoing.waiting.reserve(length);
            slices.iter().for_each(|slice| outgoing.waiting.extend_from_slice(slice));
            return outgoing.wrote(Poll::Ready(Ok(length)));
        }
        let mut length = 0;
        let fits = slices.iter().take_while(|slice| {
            length += slice.len();
            length <= ALLOWANCE
        });
        let polled = match (fits.count(), slices) {
            (0, [first, ..]) => Pin::new(&mut outgoing.stream).poll_write(cx, &first[..ALLOWANCE]),
            (count, _) => Pin::new(&mut outgoing.stream).poll_write_vectored(cx, &slices[..count]),
        };
        outgoing.wrote(polled)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut outgoing = self.lock();
        outgoing.check()?;
        if outgoing.holds { Poll::Ready(Ok(())) } else { outgoing.release(cx) }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut outgoing = self.lock();
        ready!(outgoing.release(cx))?;
        Pin::new(&mut outgoing.stream).poll_shutdown(cx)
    }
}

pin_project! {
    /// A connection's future that lets go, at the end of each poll, what the connection wrote.
    pub(super) struct Turns<C, I> {
        #[pin]
        connection: C,
        outgoing: Arc<Mutex<Outgoing<I>>>,
        bulk: Bulk,
        // The next turn of a connection whose last one was over.
        next: Option<BoxFuture<'static, Option<OwnedSemaphorePermit>>>,
        // Whether the tasks that were ready have run since something waits.
        has_yielded: bool,
    }
}

impl<C, I> Turns<C, I> {
    pub(super) fn new(connection: C, outgoing: Arc<Mutex<Outgoing<I>>>, bulk: Bulk) -> Self {
        Self { connection, outgoing, bulk, next: None, has_yielded: false }
    }
}

impl<C: Future, I: AsyncWrite + Unpin> Future for Turns<C, I> {
    type Output = C::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
        let this = self.project();
        let turn = match this.next {
            Some(next) => ready!(next.as_mut().poll(cx)),
            None => None,
        };
        *this.next = None;
        let polled = this.connection.poll(cx);
        let mut outgoing = lock(this.outgoing);
        // Who takes the stream over from here, as an upgrade does, flushes it.
        outgoing.holds = polled.is_pending();
        outgoing.written = 0;
        let has_read = std::mem::take(&mut outgoing.has_read);
        let is_over = std::mem::take(&mut outgoing.is_over);
        if outgoing.holds && !has_read && !*this.has_yielded && (1..MUCH).contains(&outgoing.waiting.len()) {
            *this.has_yielded = true;
            // Who wakes itself goes to the end of the line.
            cx.waker().wake_by_ref();
        } else {
            *this.has_yielded = false;
            if outgoing.failed.is_none()
                && let Poll::Ready(Err(error)) = outgoing.release(cx)
            {
                outgoing.failed = Some(error.kind());
                cx.waker().wake_by_ref();
            }
        }
        drop(turn);
        let writer = outgoing.writer.take();
        if let Some(writer) = writer.filter(|_| !outgoing.holds) {
            writer.wake();
        }
        if outgoing.holds && is_over {
            *this.next = Some(this.bulk.turn());
            cx.waker().wake_by_ref();
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;

    use futures::poll;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// Remembers each write, until it is told to fail.
    #[derive(Default)]
    struct Socket {
        incoming: Vec<u8>,
        writes: Vec<Vec<u8>>,
        is_broken: bool,
    }

    impl AsyncRead for Socket {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            if self.incoming.is_empty() {
                return Poll::Pending;
            }
            buffer.put_slice(&std::mem::take(&mut self.incoming));
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Socket {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            if self.is_broken {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            self.writes.push(bytes.to_vec());
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn writes(outgoing: &Mutex<Outgoing<Socket>>) -> Vec<Vec<u8>> {
        lock(outgoing).stream.writes.clone()
    }

    #[tokio::test]
    async fn what_is_written_and_flushed_in_one_turn_goes_out_in_one_write() {
        let (mut held, outgoing) = held(Socket::default());
        let connection = async {
            for frame in [b"one", b"two", b"six"] {
                held.write_all(frame).await.unwrap();
                held.flush().await.unwrap();
            }
            std::future::pending::<()>().await;
        };
        let mut turns = pin!(Turns::new(connection, outgoing.clone(), Bulk::new()));

        assert!(poll!(turns.as_mut()).is_pending());
        assert!(writes(&outgoing).is_empty(), "others that are ready run first");
        assert!(poll!(turns.as_mut()).is_pending());

        assert_eq!(writes(&outgoing), [b"onetwosix"]);
    }

    #[tokio::test]
    async fn what_answers_something_that_was_read_in_the_same_turn_goes_out_at_once() {
        let (mut held, outgoing) = held(Socket { incoming: b"?".into(), ..Socket::default() });
        let connection = async {
            held.read_u8().await.unwrap();
            held.write_all(b"!").await.unwrap();
            std::future::pending::<()>().await;
        };

        assert!(poll!(pin!(Turns::new(connection, outgoing.clone(), Bulk::new()))).is_pending());

        assert_eq!(writes(&outgoing), [b"!"]);
    }

    #[tokio::test]
    async fn much_is_not_held_back_and_comes_behind_what_was_written_before() {
        let (mut held, outgoing) = held(Socket::default());
        let (little, much) = (vec![1; MUCH - 1], vec![2; MOST]);

        let connection = async {
            held.write_all(&little).await.unwrap();
            held.write_all(&much).await.unwrap();
        };
        Turns::new(connection, outgoing.clone(), Bulk::new()).await;

        assert_eq!(writes(&outgoing), [little, much]);
    }

    /// Writes so much as fast as the stream takes it.
    async fn send(mut held: Held<Socket>, length: usize) {
        held.write_all(&vec![1; length]).await.unwrap();
    }

    #[tokio::test]
    async fn a_connection_that_has_sent_much_lets_all_others_that_are_ready_run() {
        let (held, outgoing) = held(Socket::default());
        let bulk = Bulk::new();
        let sender = tokio::spawn(Turns::new(send(held, 4 * ALLOWANCE), outgoing.clone(), bulk));
        let sent = || writes(&outgoing).concat().len();

        let mut turns = 0;
        while !sender.is_finished() {
            let before = sent();
            tokio::task::yield_now().await;
            assert!(sent() - before <= ALLOWANCE + MOST, "{} at once", sent() - before);
            turns += 1;
        }

        assert_eq!(sent(), 4 * ALLOWANCE);
        assert!(turns >= 4);
    }

    #[tokio::test]
    async fn connections_that_send_much_take_turns() {
        let bulk = Bulk::new();
        let connections: Vec<_> = (0..8)
            .map(|_| {
                let (held, outgoing) = held(Socket::default());
                let sender = Turns::new(send(held, 4 * ALLOWANCE), outgoing.clone(), bulk.clone());
                (tokio::spawn(sender), outgoing)
            })
            .collect();
        let sent =
            || connections.iter().map(|(_, outgoing)| writes(outgoing).concat().len()).collect::<Vec<_>>();

        let mut most = 0;
        while !connections.iter().all(|(sender, _)| sender.is_finished()) {
            let before: usize = sent().iter().sum();
            tokio::task::yield_now().await;
            let all = sent();
            // All have the first turn at once: nobody knows yet who sends much.
            if all.iter().all(|sent| *sent > ALLOWANCE) {
                most = most.max(all.iter().sum::<usize>() - before);
            }
            let (least, furthest) = (all.iter().min().unwrap(), all.iter().max().unwrap());
            assert!(furthest - least <= 2 * (ALLOWANCE + MOST), "{all:?}");
        }

        assert!(most <= 2 * (ALLOWANCE + MOST), "{most} bytes went out before others ran");
    }

    #[tokio::test]
    async fn who_takes_a_stream_over_flushes_it() {
        let (mut held, outgoing) = held(Socket::default());
        Turns::new(async { held.write_all(b"switching").await.unwrap() }, outgoing.clone(), Bulk::new())
            .await;

        held.write_all(b"protocols").await.unwrap();
        assert_eq!(writes(&outgoing), [b"switching"]);
        held.flush().await.unwrap();

        assert_eq!(writes(&outgoing), [b"switching", b"protocols"]);
    }

    #[tokio::test]
    async fn who_waits_for_an_answer_on_a_stream_taken_over_has_sent_the_question() {
        let (mut held, outgoing) = held(Socket::default());
        Turns::new(async {}, outgoing.clone(), Bulk::new()).await;
        held.write_all(b"question").await.unwrap();

        let answered = poll!(pin!(held.read_u8()));

        assert!(answered.is_pending());
        assert_eq!(writes(&outgoing), [b"question"]);
    }

    #[tokio::test]
    async fn a_connection_learns_that_its_last_turn_could_not_be_written() {
        let (mut held, outgoing) = held(Socket { is_broken: true, ..Socket::default() });
        let mut is_first = true;
        let connection = poll_fn(|cx| {
            if std::mem::take(&mut is_first) {
                assert!(Pin::new(&mut held).poll_write(cx, b"event").is_ready());
            }
            match Pin::new(&mut held).poll_flush(cx) {
                Poll::Ready(Err(error)) => Poll::Ready(error.kind()),
                _ => Poll::Pending,
            }
        });

        let ended = Turns::new(connection, outgoing, Bulk::new()).await;

        assert_eq!(ended, io::ErrorKind::BrokenPipe);
    }
}
