//! A client that is exchanged for another while others hold it.
//!
//! A connection belongs to whoever showed a certificate on it, so a new certificate needs new connections. New requests take them
//! at once. Watches on the old ones end as if the server had ended them, between two events, and their readers go on where they
//! were. All else has as long as whoever exchanged the client gives it, and is cut off then.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, RwLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body::{Body as HttpBody, Frame};
use kube::Client;
use kube::client::Body;
use tower::service_fn;

use crate::component::{BoxError, Stop, StopSignal};

/// A client that can be exchanged for another one, with another proof of who asks, while others hold it.
///
/// New requests take the new one at once. Watches end as if the server had ended them, so that their readers go on where they
/// were; all else that is under way ends when what [`switch`](Self::switch) returned is dropped. Connections that became something
/// else (`Upgrade`) are not ended. Clones are exchanged together.
///
/// # Examples
///
/// ```
/// use kube::Client;
/// use kube::client::Body;
/// use quarterdeck_core::client::ClientSwitch;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> kube::Result<()> {
/// let answering = |text: &'static str| {
///     let answer = move |_| async move { Ok::<_, std::convert::Infallible>(http::Response::new(Body::from(text.as_bytes().to_vec()))) };
///     Client::new(tower::service_fn(answer), "default")
/// };
/// let switch = ClientSwitch::new(answering("first"));
/// let client = switch.client();
///
/// drop(switch.switch(answering("second")));
///
/// let request = http::Request::get("/version").body(Vec::new()).unwrap();
/// assert_eq!(client.request_text(request).await?, "second");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ClientSwitch(Arc<RwLock<Current>>);

/// The client that is in use.
struct Current {
    client: Client,
    /// Ends watches.
    switched: (Option<StopSignal>, Stop),
    /// Ends everything.
    ended: (Option<StopSignal>, Stop),
}

/// A client that is not used for new requests. When this is dropped, whatever still goes on through it is cut off.
#[must_use = "what goes on is cut off when this is dropped"]
pub struct Retired(#[expect(dead_code, reason = "it is dropped")] Option<StopSignal>);

impl fmt::Debug for Retired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Retired")
    }
}

impl fmt::Debug for ClientSwitch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientSwitch").finish_non_exhaustive()
    }
}

impl ClientSwitch {
    /// Begins with a client. It and those that follow have to have connections of their own each.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self(Arc::new(RwLock::new(Current::new(client))))
    }

    /// Returns a client that always is the one in use.
    ///
    /// # Panics
    ///
    /// Panics outside of a tokio runtime.
    #[must_use]
    pub fn client(&self) -> Client {
        let namespace = self.read(|current| current.client.default_namespace().to_owned());
        let own = self.clone();
        Client::new(service_fn(move |request| own.clone().send(request)), namespace)
    }

    /// Has all further requests go to this client.
    pub fn switch(&self, client: Client) -> Retired {
        let fresh = Current::new(client);
        let mut current = self.0.write().expect("no holder panics");
        let old = std::mem::replace(&mut *current, fresh);
        Retired(old.ended.0)
    }

    fn read<T>(&self, read: impl FnOnce(&Current) -> T) -> T {
        read(&self.0.read().expect("no holder panics"))
    }

    async fn send(self, request: Request<Body>) -> Result<Response<Ending>, BoxError> {
        let (client, switched, mut ended) = self
            .read(|current| (current.client.clone(), current.switched.1.clone(), current.ended.1.clone()));
        let switched = is_watch(request.uri()).then_some(switched);
        let answer = ended.or(client.send(request)).await.ok_or(CUT_OFF)??;
        Ok(answer.map(|body| Ending::new(body, switched, ended, self)))
    }
}

impl Current {
    fn new(client: Client) -> Self {
        let channel = || {
            let (signal, stop) = Stop::channel();
            (Some(signal), stop)
        };
        Self { client, switched: channel(), ended: channel() }
    }
}

fn is_watch(uri: &Uri) -> bool {
    let mut parameters = uri.query().unwrap_or_default().split('&');
    parameters.any(|parameter| matches!(parameter, "watch" | "watch=1" | "watch=true"))
}

const CUT_OFF: &str = "the client that sent this was replaced";

type Wait = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The body of an answer that ends with its connection.
struct Ending {
    inner: Body,
    /// For a watch: when it is to end.
    switched: Option<Wait>,
    ended: Wait,
    /// What was passed on so far ends with a whole event.
    is_between: bool,
    is_over: bool,
    /// An answer is read to its end although nobody asks anything any more.
    _switch: ClientSwitch,
}

impl Ending {
    fn new(inner: Body, switched: Option<Stop>, ended: Stop, switch: ClientSwitch) -> Self {
        let wait = |mut stop: Stop| -> Wait { Box::pin(async move { stop.wait().await }) };
        let switched = switched.map(wait);
        let ended = wait(ended);
        Self { inner, switched, ended, is_between: true, is_over: false, _switch: switch }
    }

    /// Whether the connection's time is over.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Option<Result<(), BoxError>> {
        if self.is_over {
            return Some(Ok(()));
        }
        if self.is_between
            && let Some(switched) = &mut self.switched
            && switched.as_mut().poll(cx).is_ready()
        {
            return Some(Ok(()));
        }
        self.ended.as_mut().poll(cx).is_ready().then(|| Err(CUT_OFF.into()))
    }
}

impl HttpBody for Ending {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if let Some(end) = this.poll_end(cx) {
            this.is_over = true;
            // What is left of the old answer, and with it its connection.
            this.inner = Body::empty();
            return Poll::Ready(end.err().map(Err));
        }
        let frame = std::task::ready!(Pin::new(&mut this.inner).poll_frame(cx));
        if let Some(Ok(data)) = frame.as_ref().map(|frame| frame.as_ref().map(Frame::data_ref)) {
            this.is_between = data.is_none_or(|data| data.last().is_none_or(|byte| *byte == b'\n'));
        }
        Poll::Ready(frame.map(|frame| frame.map_err(BoxError::from)))
    }

    fn is_end_stream(&self) -> bool {
        self.is_over || self.inner.is_end_stream()
    }
}
