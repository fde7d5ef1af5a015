//! What answers are made of: bytes, or a stream of them.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _};
use http_body::{Frame, SizeHint};

/// From how many bytes on a client may take its time with a body that is there.
const LONG: u64 = 64 * 1024;

/// The body of an answer. Never fails: a stream that has to end early just ends.
pub struct Body(Kind);

enum Kind {
    /// With what is kept until the body is dropped.
    Full(Option<Bytes>, Option<Box<dyn Send>>),
    /// With about how many bytes will come, as far as anybody knows.
    Stream(BoxStream<'static, Bytes>, u64),
}

impl Body {
    /// Makes a body of these bytes.
    #[must_use]
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self(Kind::Full((!bytes.is_empty()).then_some(bytes), None))
    }

    /// Makes an empty body.
    #[must_use]
    pub fn empty() -> Self {
        Self(Kind::Full(None, None))
    }

    /// Makes a body of all that the stream yields, one frame per item.
    pub fn stream(stream: impl Stream<Item = Bytes> + Send + 'static) -> Self {
        Self::pieces(stream, 0)
    }

    /// Makes a body of all that the stream yields, which is about so many bytes.
    pub(crate) fn pieces(stream: impl Stream<Item = Bytes> + Send + 'static, about: u64) -> Self {
        Self(Kind::Stream(Box::pin(stream), about))
    }

    /// Returns about how many bytes the body has; 0 if nobody knows.
    pub(crate) fn about(&self) -> u64 {
        match &self.0 {
            Kind::Full(bytes, _) => bytes.as_ref().map_or(0, |bytes| bytes.len() as u64),
            Kind::Stream(_, about) => *about,
        }
    }

    /// Whether all of the body is there already.
    pub(crate) fn is_there(&self) -> bool {
        matches!(self.0, Kind::Full(..))
    }

    /// Whether it takes a client more than a moment to read the body.
    pub(crate) fn is_long(&self) -> bool {
        !self.is_there() || self.about() > LONG
    }

    /// Returns the bytes of a body that is there.
    pub(crate) fn bytes(&self) -> Option<&Bytes> {
        match &self.0 {
            Kind::Full(bytes, _) => bytes.as_ref(),
            Kind::Stream(..) => None,
        }
    }

    /// Has every piece looked at before it is sent.
    pub(crate) fn inspect(self, look: impl FnMut(&Bytes) + Send + 'static) -> Self {
        let about = self.about();
        Self::pieces(self.into_pieces().inspect(look), about)
    }

    /// Keeps something until the body is read to its end, or dropped.
    pub(crate) fn holding(self, held: impl Send + 'static) -> Self {
        let about = self.about();
        if let Kind::Full(bytes, before) = self.0 {
            return Self(Kind::Full(bytes, Some(Box::new((before, held)))));
        }
        let mut held = Some(held);
        let end = futures::stream::poll_fn(move |_| {
            drop(held.take());
            Poll::Ready(None)
        });
        Self::pieces(self.into_pieces().chain(end), about)
    }

    /// Returns the body's bytes in the pieces in which they would be sent.
    pub(crate) fn into_pieces(self) -> BoxStream<'static, Bytes> {
        match self.0 {
            Kind::Full(bytes, None) => Box::pin(futures::stream::iter(bytes)),
            Kind::Full(bytes, held) => Self::stream(futures::stream::iter(bytes)).holding(held).into_pieces(),
            Kind::Stream(stream, _) => stream,
        }
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Kind::Full(bytes, _) => write!(f, "Body({} bytes)", bytes.as_ref().map_or(0, Bytes::len)),
            Kind::Stream(..) => f.write_str("Body(stream)"),
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.0 {
            Kind::Full(bytes, _) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::Stream(stream, _) => {
                stream.as_mut().poll_next(cx).map(|item| item.map(|bytes| Ok(Frame::data(bytes))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.0, Kind::Full(None, _))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Full(bytes, _) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Kind::Stream(..) => SizeHint::default(),
        }
    }
}
