//! What connections are doing: those that rest too long end; those that send much and ask nothing are cut off, and so are those
//! that do not read in time what they asked for. Which give way to others when places run out, `places.rs` says.
//!
//! A connection rests while none of its requests is under way: no answer is awaited, and none is still being sent. TLS handshakes
//! rest too, since nobody knows yet whether a request will come.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::body::Body;
use crate::layers::time_limit::Deadline;

/// How long a connection may rest: upstream's figure.
pub(super) const REST: Duration = Duration::from_secs(90);
/// How often a connection is looked at that may rest for no time at all.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// What a request lets its connection send, besides its body.
const PER_REQUEST: i64 = 64 * 1024;

/// What a connection is doing.
#[derive(Debug)]
pub(super) struct Activity {
    begin: Instant,
    /// How many of its requests are under way.
    under_way: AtomicUsize,
    /// Since when none is, in milliseconds after `begin`.
    rests_since: AtomicU64,
    is_told: AtomicBool,
    told: Notify,
    is_cut_off: AtomicBool,
    cut_off: Notify,
    /// How many bytes its requests have let it send since somebody looked.
    earned: AtomicI64,
    /// Whether what it sends is no HTTP any more.
    is_free: AtomicBool,
    /// Until when answers have to be read that are being written.
    unread: Mutex<Unread>,
    /// Tells that there is one that comes before all others.
    first_unread: Notify,
}

#[derive(Debug, Default)]
struct Unread {
    deadlines: BTreeSet<(Instant, u64)>,
    next: u64,
}

impl Activity {
    /// Begins to rest. Times are told since `begin`.
    pub(super) fn new(begin: Instant) -> Arc<Self> {
        let activity = Self {
            begin,
            under_way: AtomicUsize::new(0),
            rests_since: AtomicU64::new(0),
            is_told: AtomicBool::new(false),
            told: Notify::new(),
            is_cut_off: AtomicBool::new(false),
            cut_off: Notify::new(),
            earned: AtomicI64::new(0),
            is_free: AtomicBool::new(false),
            unread: Mutex::default(),
            first_unread: Notify::new(),
        };
        activity.rest();
        Arc::new(activity)
    }

    /// Says that a request is under way, until what is returned is dropped.
    pub(super) fn request(self: &Arc<Self>) -> UnderWay {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        self.earn(PER_REQUEST);
        UnderWay(self.clone())
    }

    /// Says that the connection is another protocol's from now on, which has limits of its own.
    pub(super) fn leave_http(&self) {
        self.is_free.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_free(&self) -> bool {
        self.is_free.load(Ordering::Relaxed)
    }

    fn earn(&self, bytes: i64) {
        self.earned.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Takes what the connection may send by what it asked.
    pub(super) fn take_earned(&self) -> i64 {
        self.earned.swap(0, Ordering::Relaxed)
    }

    /// Whether none of its requests is under way. Another protocol than HTTP never rests.
    pub(super) fn is_resting(&self) -> bool {
        self.under_way.load(Ordering::Acquire) == 0 && !self.is_free()
    }

    /// Since when it rests, in milliseconds after `begin`.
    pub(super) fn rests_since(&self) -> u64 {
        self.rests_since.load(Ordering::Relaxed)
    }

    fn rest(&self) {
        let since = u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.rests_since.store(since, Ordering::Relaxed);
    }

    /// When the connection will have rested so long if nothing is asked.
    fn rested(&self, limit: Duration) -> Instant {
        if !self.is_resting() {
            return Instant::now() + limit.max(LOOK_AGAIN);
        }
        self.begin + Duration::from_millis(self.rests_since()) + limit
    }

    /// Waits until the connection rests, and has rested so long.
    pub(super) async fn has_rested(&self, limit: Duration) {
        loop {
            let end = self.rested(limit);
            if self.is_resting() && end <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(end).await;
        }
    }

    /// Waits until the connection has rested too long, or has to give way.
    pub(super) async fn is_over(&self) {
        tokio::select! {
            biased;
            () = self.told.notified() => {}
            () = self.has_rested(REST) => {}
        }
    }

    fn unread(&self) -> MutexGuard<'_, Unread> {
        self.unread.lock().expect("nothing panics while it holds the deadlines")
    }

    /// Waits until an answer should have been read, and was not.
    pub(super) async fn is_overdue(&self) {
        loop {
            let first = self.unread().deadlines.first().map(|(deadline, _)| *deadline);
            match first {
                None => self.first_unread.notified().await,
                Some(deadline) if deadline <= Instant::now() => return,
                Some(deadline) => tokio::select! {
                    biased;
                    () = self.first_unread.notified() => {}
                    () = tokio::time::sleep_until(deadline) => {}
                },
            }
        }
    }

    /// Tells the connection to end as soon as nothing is under way.
    pub(super) fn tell(&self) {
        self.is_told.store(true, Ordering::Relaxed);
        self.told.notify_one();
    }

    /// Whether the connection was told to give way.
    pub(super) fn gives_way(&self) -> bool {
        self.is_told.load(Ordering::Relaxed)
    }

    /// Ends the connection whatever is under way.
    pub(super) fn cut_off(&self) {
        self.is_cut_off.store(true, Ordering::Relaxed);
        self.cut_off.notify_one();
    }

    pub(super) fn is_cut_off(&self) -> bool {
        self.is_cut_off.load(Ordering::Relaxed)
    }

    /// Waits until the connection is cut off. One task waits at a time.
    pub(super) async fn has_been_cut_off(&self) {
        self.cut_off.notified().await;
    }
}

/// A request that is under way.
#[derive(Debug)]
pub(super) struct UnderWay(Arc<Activity>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.rest();
        self.0.under_way.fetch_sub(1, Ordering::Release);
    }
}

/// The body of a request, whose bytes are no overhead.
pub(super) struct Asked {
    body: Incoming,
    activity: Arc<Activity>,
}

impl Asked {
    pub(super) fn new(body: Incoming, activity: Arc<Activity>) -> Self {
        Self { body, activity }
    }
}

impl http_body::Body for Asked {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            // Frames have headers, and TLS and chunks theirs.
            self.activity.earn(i64::try_from(data.len()).unwrap_or(i64::MAX / 4).saturating_mul(2));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// How many bytes of a body are handed on at a time: what is handed on waits where no deadline is looked at.
const PIECE: usize = 64 * 1024;

/// The body of an answer, whose request is under way until it was sent.
pub(super) struct Answered {
    body: Body,
    /// What is left of a frame of the body that was more than a piece.
    rest: Bytes,
    under_way: UnderWay,
    /// Until when it has to be read.
    deadline: Option<(Instant, u64)>,
}

impl Answered {
    pub(super) fn new(body: Body, under_way: UnderWay, deadline: Option<Deadline>) -> Self {
        let deadline = deadline.map(|Deadline(deadline)| {
            let activity = &under_way.0;
            let mut unread = activity.unread();
            let entry = (deadline, unread.next);
            unread.next += 1;
            unread.deadlines.insert(entry);
            if unread.deadlines.first() == Some(&entry) {
                activity.first_unread.notify_one();
            }
            entry
        });
        Self { body, rest: Bytes::new(), under_way, deadline }
    }
}

impl Drop for Answered {
    fn drop(&mut self) {
        if let Some(entry) = self.deadline {
            self.under_way.0.unread().deadlines.remove(&entry);
        }
    }
}

impl http_body::Body for Answered {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.rest.is_empty() {
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                end => return Poll::Ready(end),
            };
            match frame.into_data() {
                Ok(data) => self.rest = data,
                Err(other) => return Poll::Ready(Some(Ok(other))),
            }
        }
        let length = self.rest.len().min(PIECE);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (mut hint, rest) = (self.body.size_hint(), self.rest.len() as u64);
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(hint.lower() + rest);
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_over_when_it_has_rested_long_enough_since_its_last_request() {
        let begin = Instant::now();
        let activity = Activity::new(begin);
        let same = activity.clone();
        let over = tokio::spawn(async move { same.is_over().await });
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_secs(80)).await;
            let request = activity.request();
            tokio::time::sleep(Duration::from_secs(200)).await;
            drop(request);
        }

        over.await.unwrap();

        assert_eq!(begin.elapsed().as_secs(), 3 * 280 + REST.as_secs());
    }
}
