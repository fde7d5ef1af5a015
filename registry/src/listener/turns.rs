//! Connections that write once per turn.
//!
//! HTTP/2 flushes after nearly every frame of data, and the runtime runs a connection right after the first stream that has
//! something for it. With a hundred watches on a connection that is a hundred calls of the operating system, and as many TLS
//! records, for one event. So what a connection writes while its future is polled waits in [`Held`], and goes out together when
//! the poll is over, or when there is much of it. If the connection only wrote, the other tasks that are ready run first: they
//! may be streams that have more. One that has sent much in a turn has its next ones elsewhere ([`Bulk`]).

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker, ready};

use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::bulk::{ALLOWANCE, Bulk, give_way};

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
        is_blocked: false,
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
    /// Whether the stream took less in this turn than it was given.
    is_blocked: bool,
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
        match polled {
            Poll::Ready(Ok(written)) => self.written += written,
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.is_blocked = true,
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
    struct Turns<C, I> {
        #[pin]
        connection: C,
        outgoing: Arc<Mutex<Outgoing<I>>>,
        // Whether the tasks that were ready have run since something waits.
        has_yielded: bool,
    }
}

/// How a turn ended.
enum Turn<T> {
    /// The connection is done.
    Done(T),
    /// It has sent what one turn allows, and has more.
    Full,
    /// It has more to send than the stream takes for now.
    Blocked,
    /// It has sent all that there was.
    Sent,
    /// It had nothing to send.
    Idle,
}

/// Runs a connection, whose turns are the runtime's as long as it does not send much.
pub(super) fn run<C, I>(
    connection: C,
    outgoing: Arc<Mutex<Outgoing<I>>>,
    bulk: Bulk,
) -> impl Future<Output = C::Output>
where
    C: Future<Output: Send> + Send + 'static,
    I: AsyncWrite + Unpin + Send + 'static,
{
    let mut turns = Box::pin(Turns { connection, outgoing, has_yielded: false });
    async move {
        loop {
            let done = poll_fn(|cx| match turns.as_mut().turn(cx) {
                Turn::Done(output) => Poll::Ready(Some(output)),
                Turn::Full => Poll::Ready(None),
                Turn::Blocked | Turn::Sent | Turn::Idle => Poll::Pending,
            });
            if let Some(output) = done.await {
                return output;
            }
            let done;
            (turns, done) = bulk.run(send_much(turns)).await;
            if let Some(output) = done {
                return output;
            }
        }
    }
}

/// Runs a connection until it is done, or has little to send: not the rest of what it was sending, but all of something.
async fn send_much<C: Future, I: AsyncWrite + Unpin>(
    mut turns: Pin<Box<Turns<C, I>>>,
) -> (Pin<Box<Turns<C, I>>>, Option<C::Output>) {
    let mut has_more = true;
    loop {
        let ended = poll_fn(|cx| {
            let ended = turns.as_mut().turn(cx);
            match ended {
                Turn::Sent if !has_more => return Poll::Ready(ended),
                Turn::Done(_) | Turn::Full => return Poll::Ready(ended),
                Turn::Blocked => has_more = true,
                Turn::Sent | Turn::Idle => has_more = false,
            }
            Poll::Pending
        });
        match ended.await {
            Turn::Done(output) => return (turns, Some(output)),
            Turn::Full => give_way().await,
            _ => return (turns, None),
        }
        has_more = true;
    }
}

impl<C: Future, I: AsyncWrite + Unpin> Turns<C, I> {
    fn turn(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Turn<C::Output> {
        let this = self.project();
        let polled = this.connection.poll(cx);
        let mut outgoing = lock(this.outgoing);
        // Who takes the stream over from here, as an upgrade does, flushes it.
        outgoing.holds = polled.is_pending();
        let written = std::mem::take(&mut outgoing.written);
        let has_read = std::mem::take(&mut outgoing.has_read);
        let is_over = std::mem::take(&mut outgoing.is_over);
        let mut is_blocked = std::mem::take(&mut outgoing.is_blocked);
        if outgoing.holds && !has_read && !*this.has_yielded && (1..MUCH).contains(&outgoing.waiting.len()) {
            *this.has_yielded = true;
            // Who wakes itself goes to the end of the line.
            cx.waker().wake_by_ref();
        } else {
            *this.has_yielded = false;
            if outgoing.failed.is_none() {
                match outgoing.release(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) => {
                        outgoing.failed = Some(error.kind());
                        cx.waker().wake_by_ref();
                    }
                    Poll::Pending => is_blocked = true,
                }
            }
        }
        let writer = outgoing.writer.take();
        if let Some(writer) = writer.filter(|_| !outgoing.holds) {
            writer.wake();
        }
        match polled {
            Poll::Ready(output) => Turn::Done(output),
            Poll::Pending if is_over => Turn::Full,
            Poll::Pending if is_blocked => Turn::Blocked,
            Poll::Pending if written > 0 => Turn::Sent,
            Poll::Pending => Turn::Idle,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::sync::mpsc;

    use futures::FutureExt as _;
    use futures::future::join_all;
    use futures::poll;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// Remembers each write, until it is told to fail.
    #[derive(Default)]
    struct Socket {
        incoming: Vec<u8>,
        writes: Vec<Vec<u8>>,
        is_broken: bool,
        /// Who is told instead of each write: by which number, and its length.
        note: Option<(usize, mpsc::Sender<(usize, usize)>)>,
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
            match &self.note {
                Some((number, note)) => note.send((*number, bytes.len())).unwrap(),
                None => self.writes.push(bytes.to_vec()),
            }
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
        let mut turns = pin!(alone(connection, outgoing.clone()));

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

        assert!(poll!(pin!(alone(connection, outgoing.clone()))).is_pending());

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
        alone(connection, outgoing.clone()).await;

        assert_eq!(writes(&outgoing), [little, much]);
    }

    /// Runs a connection in this task alone.
    async fn alone<C: Future>(connection: C, outgoing: Arc<Mutex<Outgoing<Socket>>>) -> C::Output {
        let mut turns = pin!(Turns { connection, outgoing, has_yielded: false });
        let ended = poll_fn(|cx| match turns.as_mut().turn(cx) {
            Turn::Done(output) => Poll::Ready(output),
            _ => Poll::Pending,
        });
        ended.await
    }

    /// Writes so much as fast as the stream takes it.
    async fn send(held: &mut Held<Socket>, length: usize) {
        let chunk = vec![1; ALLOWANCE];
        for start in (0..length).step_by(ALLOWANCE) {
            held.write_all(&chunk[..ALLOWANCE.min(length - start)]).await.unwrap();
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_connection_that_has_sent_much_goes_on_beside_the_runtime_and_in_its_context() {
        let (mut held, outgoing) = held(Socket::default());
        let (home, runtime) = (std::thread::current().id(), tokio::runtime::Handle::current().id());
        let mut threads = Vec::new();
        let connection = async move {
            for _ in 0..4 {
                held.write_all(&vec![1; ALLOWANCE]).await.unwrap();
                threads.push(std::thread::current().id());
                assert_eq!(tokio::runtime::Handle::current().id(), runtime);
            }
            held.flush().await.unwrap();
            threads
        };

        let threads = run(connection, outgoing.clone(), Bulk::new()).await;

        assert_eq!(writes(&outgoing).concat().len(), 4 * ALLOWANCE);
        assert_eq!(threads[0], home, "nobody knows yet that it sends much");
        assert!(threads[1..].iter().all(|thread| *thread != home));
    }

    #[tokio::test]
    async fn a_runtime_of_one_thread_does_all_itself() {
        let (mut held, outgoing) = held(Socket::default());
        let connection = async move {
            send(&mut held, 4 * ALLOWANCE).await;
            std::thread::current().id()
        };

        assert_eq!(run(connection, outgoing, Bulk::new()).await, std::thread::current().id());
    }

    #[tokio::test]
    async fn a_connection_that_has_little_to_send_again_goes_back() {
        let (mut held, outgoing) = held(Socket::default());
        let (ask, mut asked) = tokio::sync::mpsc::unbounded_channel();
        let connection = async move {
            while let Some(length) = asked.recv().await {
                send(&mut held, length).await;
            }
        };
        let mut sending = pin!(send_much(Box::pin(Turns { connection, outgoing, has_yielded: false })));

        ask.send(ALLOWANCE + 1).unwrap();
        assert!(poll!(sending.as_mut()).is_pending(), "it has more");
        assert!(poll!(sending.as_mut()).is_pending(), "it has sent the rest");
        assert!(poll!(sending.as_mut()).is_pending(), "it has nothing to send");
        ask.send(1).unwrap();

        assert!(matches!(poll!(sending), Poll::Ready((_, None))));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn connections_that_send_much_take_turns() {
        const TURNS: usize = 32;
        let (bulk, (note, order)) = (Bulk::new(), mpsc::channel());
        // There is one thread.
        let (open, gate) = mpsc::channel::<()>();
        let mut closed = pin!(bulk.run(async move { gate.recv() }));
        assert!(poll!(closed.as_mut()).is_pending());
        let mut connections = pin!(join_all((0..8).map(|number| {
            let (mut held, outgoing) =
                held(Socket { note: Some((number, note.clone())), ..Socket::default() });
            let connection = async move { send(&mut held, TURNS * ALLOWANCE).await };
            run(connection, outgoing, bulk.clone())
        })));
        drop(note);
        assert!(poll!(connections.as_mut()).is_pending());
        let mut sent = [0; 8];
        order.try_iter().for_each(|(number, length)| sent[number] += length);
        assert_eq!(sent, [ALLOWANCE; 8], "all have the first turn in the runtime");

        drop(open);
        connections.await;
        assert!(closed.await.is_err());

        for (number, length) in order {
            sent[number] += length;
            let (least, furthest) = (sent.iter().min().unwrap(), sent.iter().max().unwrap());
            assert!(furthest - least <= 6 * (ALLOWANCE + MOST), "{sent:?}");
        }
        assert_eq!(sent, [TURNS * ALLOWANCE; 8]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_connection_that_nobody_waits_for_ends_wherever_it_is() {
        let (note, order) = mpsc::channel();
        let (mut held, outgoing) = held(Socket { note: Some((0, note)), ..Socket::default() });
        let (alive, gone) = tokio::sync::oneshot::channel::<()>();
        let connection = async move {
            let _alive = alive;
            send(&mut held, usize::MAX / 2).await;
        };
        let bulk = Bulk::new();
        let running = tokio::spawn(run(connection, outgoing, bulk.clone()));
        // The first turn, and one elsewhere.
        (0..2).for_each(|_| assert!(order.recv().is_ok()));

        running.abort();
        assert!(running.await.unwrap_err().is_cancelled());
        tokio::time::timeout(std::time::Duration::from_secs(60), bulk.ended()).await.unwrap();

        assert!(gone.now_or_never().unwrap().is_err());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_connection_that_panics_does_so_where_it_is_waited_for() {
        let (mut held, outgoing) = held(Socket::default());
        let connection = async move {
            send(&mut held, 2 * ALLOWANCE).await;
            panic!("elsewhere");
        };

        let ended = tokio::spawn(run(connection, outgoing, Bulk::new())).await;

        assert_eq!(ended.unwrap_err().into_panic().downcast_ref(), Some(&"elsewhere"));
    }

    #[tokio::test]
    async fn who_takes_a_stream_over_flushes_it() {
        let (mut held, outgoing) = held(Socket::default());
        alone(async { held.write_all(b"switching").await.unwrap() }, outgoing.clone()).await;

        held.write_all(b"protocols").await.unwrap();
        assert_eq!(writes(&outgoing), [b"switching"]);
        held.flush().await.unwrap();

        assert_eq!(writes(&outgoing), [b"switching", b"protocols"]);
    }

    #[tokio::test]
    async fn who_waits_for_an_answer_on_a_stream_taken_over_has_sent_the_question() {
        let (mut held, outgoing) = held(Socket::default());
        alone(async {}, outgoing.clone()).await;
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

        let ended = alone(connection, outgoing).await;

        assert_eq!(ended, io::ErrorKind::BrokenPipe);
    }
}
