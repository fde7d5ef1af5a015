//! Bodies, read before a request takes a seat.
//!
//! A seat that [`Fairness`](super::fairness::Fairness) gives is for work. Who sends a body slowly would hold one for nothing: so
//! bodies are read here, before a seat is asked for, and what is behind finds them whole. A minimum rate would be the other way;
//! it would still let a client hold seats, and would cut off those on slow lines.
//!
//! What waits here is bounded: a body has [`MAX_BODY`] bytes at most, all of them together 256 MiB, and those of one user
//! 64 MiB. The last quarter of all is for small bodies, such as those of leases, alone. Who finds no room is
//! told to come back: to wait with half a body would keep others from theirs.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body::{Body as _, Frame, SizeHint};
use pin_project_lite::pin_project;
use quarterdeck_core::component::BoxError;
use tower::{Layer, Service};

use super::RequestBody;
use crate::body::Body;
use crate::status::Status;
use crate::user::User;

/// How many bytes a body may have.
pub const MAX_BODY: usize = 3 * 1024 * 1024;
/// How many bytes of bodies there may be in all, between the first that is read and the answer.
const TOTAL: usize = 256 * 1024 * 1024;
/// How many of them may be one user's.
const SHARE: usize = TOTAL / 4;
/// How many of them may be of large bodies.
const LARGE: usize = TOTAL / 4 * 3;
/// What a small body has at most.
const SMALL: usize = 64 * 1024;
/// How long a client may take for a body. For most requests the server's time limit is over first.
const PATIENCE: Duration = Duration::from_secs(60);

/// The layer that reads bodies. Clones share what is bounded.
#[derive(Debug, Clone, Default)]
pub struct Bodies(Arc<Mutex<Taken>>);

/// How much of the room is taken, in all and by user.
#[derive(Debug, Default)]
struct Taken {
    all: usize,
    of: BTreeMap<String, usize>,
}

impl Taken {
    /// Takes room for so many more bytes of a body that has some already, if there is any.
    fn take(&mut self, user: &str, has: usize, more: usize) -> bool {
        let most = if has + more > SMALL { LARGE } else { TOTAL };
        let of_user = self.of.get(user).copied().unwrap_or_default();
        let fits = self.all + more <= most && of_user + more <= SHARE;
        if fits {
            self.all += more;
            self.of.insert(user.to_owned(), of_user + more);
        }
        fits
    }

    fn free(&mut self, user: &str, bytes: usize) {
        self.all -= bytes;
        if let Some(of_user) = self.of.get_mut(user) {
            *of_user -= bytes;
            if *of_user == 0 {
                self.of.remove(user);
            }
        }
    }
}

/// The room that a body has. It is free again when this is dropped.
struct Held {
    bodies: Bodies,
    user: String,
    bytes: usize,
}

impl Held {
    /// Takes room for so many more bytes, or refuses the request.
    fn take(&mut self, more: usize) -> Result<(), Status> {
        if !self.bodies.taken().take(&self.user, self.bytes, more) {
            return Err(Status::too_many_requests());
        }
        self.bytes += more;
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.bodies.taken().free(&self.user, self.bytes);
        }
    }
}

impl Bodies {
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().expect("nothing panics while it holds the room")
    }
}

/// Reads a body of a bounded size, which takes room for each piece.
///
/// # Errors
///
/// A Status if it is too large, finds no room, or breaks off.
pub(crate) async fn read(
    mut body: RequestBody,
    mut take: impl FnMut(usize) -> Result<(), Status>,
) -> Result<Bytes, Status> {
    let mut first = Bytes::new();
    let mut read = BytesMut::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let frame = frame.map_err(|error| match error.downcast::<Status>() {
            Ok(status) => *status,
            Err(error) => Status::bad_request(format!("the body could not be read: {error}")),
        })?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + read.len() + data.len() > MAX_BODY {
            return Err(Status::too_large(format!("Request entity too large: limit is {MAX_BODY}")));
        }
        take(data.len())?;
        // Most bodies come in one piece, which need not be copied.
        if first.is_empty() && read.is_empty() {
            first = data;
            continue;
        }
        read.extend_from_slice(&std::mem::take(&mut first));
        read.extend_from_slice(&data);
    }
    Ok(if read.is_empty() { first } else { read.freeze() })
}

/// A body that was read, or why it was not: who finds that the request may pass tells the client.
struct Whole(Option<Result<Bytes, Status>>);

impl http_body::Body for Whole {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(self.0.take().map(|read| read.map(Frame::data).map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Some(Ok(bytes)) => SizeHint::with_exact(bytes.len() as u64),
            _ => SizeHint::default(),
        }
    }
}

impl<S> Layer<S> for Bodies {
    type Service = ReadFirst<S>;

    fn layer(&self, inner: S) -> ReadFirst<S> {
        ReadFirst { bodies: self.clone(), inner }
    }
}

/// A service behind [`Bodies`].
#[derive(Debug, Clone)]
pub struct ReadFirst<S> {
    bodies: Bodies,
    inner: S,
}

impl<S> Service<Request<RequestBody>> for ReadFirst<S>
where
    S: Service<Request<RequestBody>, Response = Response<Body>> + Clone,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = ReadFirstFuture<S>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<RequestBody>) -> ReadFirstFuture<S> {
        if request.body().is_end_stream() {
            return ReadFirstFuture { state: State::Serve { answer: self.inner.call(request) }, held: None };
        }
        let (parts, body) = request.into_parts();
        let user = parts.extensions.get::<User>().map(|user| user.name.clone()).unwrap_or_default();
        let mut held = Held { bodies: self.bodies.clone(), user, bytes: 0 };
        // The clone that was polled ready serves the request; the new one takes its place.
        let fresh = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, fresh);
        let reading = Box::pin(async move {
            let read = tokio::time::timeout(PATIENCE, read(body, |bytes| held.take(bytes))).await;
            let read = read.unwrap_or_else(|_| Err(Status::timeout()));
            (Request::from_parts(parts, RequestBody::new(Whole(Some(read)))), held)
        });
        ReadFirstFuture { state: State::Read { reading, inner: Some(inner) }, held: None }
    }
}

pin_project! {
    /// The answer of a [`ReadFirst`] service.
    pub struct ReadFirstFuture<S>
    where
        S: Service<Request<RequestBody>>,
    {
        #[pin]
        state: State<S>,
        // The room of the body, until it is answered.
        held: Option<Held>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S>
    where
        S: Service<Request<RequestBody>>,
    {
        Read { reading: BoxFuture<'static, (Request<RequestBody>, Held)>, inner: Option<S> },
        Serve { #[pin] answer: S::Future },
    }
}

impl<S> Future for ReadFirstFuture<S>
where
    S: Service<Request<RequestBody>, Response = Response<Body>>,
{
    type Output = Result<Response<Body>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let serve = match this.state.as_mut().project() {
                StateProjection::Serve { answer } => {
                    let answer = ready!(answer.poll(cx));
                    drop(this.held.take());
                    return Poll::Ready(answer);
                }
                StateProjection::Read { reading, inner } => {
                    let (request, held) = ready!(reading.as_mut().poll(cx));
                    *this.held = Some(held);
                    let mut inner = inner.take().expect("a future is not polled after it is ready");
                    State::Serve { answer: inner.call(request) }
                }
            };
            this.state.set(serve);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_bodies_leave_room_for_small_ones_and_one_user_for_others() {
        let mut taken = Taken::default();
        for user in ["a", "b", "c"] {
            assert!(taken.take(user, SMALL, SHARE), "{user}");
            assert!(!taken.take(user, 0, 1), "{user} has its share");
        }
        assert_eq!(taken.all, LARGE);

        assert!(!taken.take("d", 0, SMALL + 1), "the rest is for small bodies");
        assert!(!taken.take("d", SMALL, 1), "also at the end of a large one");
        assert!(taken.take("d", 0, SMALL));
    }

    #[test]
    fn room_is_free_again_when_a_request_is_over() {
        let bodies = Bodies::default();
        let held = |user: &str| Held { bodies: bodies.clone(), user: user.into(), bytes: 0 };
        let (mut first, mut second) = (held("a"), held("a"));
        first.take(SHARE - 1).unwrap();
        second.take(1).unwrap();
        assert_eq!(second.take(1).unwrap_err().code, http::StatusCode::TOO_MANY_REQUESTS);

        drop(first);

        second.take(1).unwrap();
        drop(second);
        let taken = bodies.taken();
        assert_eq!((taken.all, taken.of.len()), (0, 0));
    }
}
