//! WebSockets: which requests ask for one, how one begins, and who owns those that are open.
//!
//! A request asks by `Upgrade: websocket`, over HTTP/1.1; [`Asked::of`] takes what an answer needs out of it. What is
//! refused and which subprotocol is spoken follows `golang.org/x/net/websocket`, which upstream answers watches with. Who
//! serves HTTP around the server hands on hyper's [`OnUpgrade`], as hyper itself does.

mod sockets;
mod token;

use std::future::Future;
use std::sync::Arc;

use futures::future::BoxFuture;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use quarterdeck_core::component::Stop;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

pub(crate) use sockets::Sockets;
pub(crate) use token::take_token;

use crate::body::Body;
use crate::listener::Place;
use crate::status::{Result, Status};

/// A WebSocket on what was an HTTP connection.
pub(crate) type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// The version of the protocol that is spoken.
const VERSION: &str = "13";
/// How long a message of a client may be. Nothing that clients say matters but that they are there.
const MAX_MESSAGE: usize = 16 * 1024;
/// How many bytes are read at a time.
const READ_BUFFER: usize = 4 * 1024;

/// Returns whether a request asks for a WebSocket.
pub(crate) fn is_asked(headers: &HeaderMap) -> bool {
    let upgrade = headers.get(header::UPGRADE).map(HeaderValue::as_bytes).unwrap_or_default();
    let mut connection = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    upgrade.eq_ignore_ascii_case(b"websocket")
        && connection.any(|value| value.to_ascii_lowercase().contains("upgrade"))
}

/// Makes the client's connection end after an answer that is no WebSocket: what it sends next may not be HTTP.
pub(crate) fn end_connection(answer: &mut Response<Body>) {
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
}

/// The connection that a request came on. A WebSocket keeps its place among the listener's connections, and ends with the
/// listener.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    /// The place, which is free again when the last clone is gone.
    pub(crate) place: Arc<Place>,
    /// Fires when the listener stops.
    pub(crate) stop: Stop,
}

/// A request for a WebSocket.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    upgrade: Option<OnUpgrade>,
    connection: Option<Connection>,
}

impl Asked {
    /// Returns what a request's answer needs, if the request asks for a WebSocket.
    pub(crate) fn of(parts: &mut Parts) -> Option<Self> {
        let (upgrade, connection) = (parts.extensions.remove(), parts.extensions.remove());
        is_asked(&parts.headers).then_some(Self { upgrade, connection })
    }

    /// Answers that the WebSocket begins. The future that is returned waits for it and then does `work` with it; it ends early if
    /// the listener stops.
    ///
    /// # Errors
    ///
    /// A Status if the request's headers begin no WebSocket.
    pub(crate) fn accept<W: Future<Output = ()> + Send + 'static>(
        &self,
        headers: &HeaderMap,
        work: impl FnOnce(Socket) -> W + Send + 'static,
    ) -> Result<(Response<Body>, BoxFuture<'static, ()>)> {
        let answer = handshake(headers)?;
        let Some(upgrade) = self.upgrade.clone() else {
            return Err(Status::bad_request("this connection cannot become a WebSocket"));
        };
        let connection = self.connection.clone();
        let begin = async move {
            match upgrade.await {
                Ok(upgraded) => work(socket(upgraded).await).await,
                Err(error) => tracing::debug!(%error, "a WebSocket ended before it began"),
            }
        };
        let held = Box::pin(async move {
            match connection {
                Some(Connection { place, mut stop }) => {
                    tokio::select! {
                        biased;
                        () = place.has_been_cut_off() => {}
                        _ = stop.or(begin) => {}
                    }
                }
                None => begin.await,
            }
        });
        Ok((answer, held))
    }
}

async fn socket(upgraded: Upgraded) -> Socket {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await
}

/// Answers the headers by which a client begins a WebSocket.
fn handshake(headers: &HeaderMap) -> Result<Response<Body>> {
    let text =
        |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or_default();
    let key = text(header::SEC_WEBSOCKET_KEY);
    if key.is_empty() {
        return Err(Status::bad_request("missing Sec-WebSocket-Key"));
    }
    if text(header::SEC_WEBSOCKET_VERSION) != VERSION {
        return Err(Status::bad_request("missing or bad Sec-WebSocket-Version, must be 13"));
    }
    // Any page's origin will do, but there has to be one.
    if !is_origin(text(header::ORIGIN)) {
        return Err(Status::forbidden("missing or bad Origin of a WebSocket"));
    }
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let accept =
        HeaderValue::from_str(&derive_accept_key(key.as_bytes())).expect("base64 is a header's value");
    let given = answer.headers_mut();
    given.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    given.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    given.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    let protocol = text(header::SEC_WEBSOCKET_PROTOCOL).trim();
    if protocol.contains(',') {
        return Err(Status::bad_request("several subprotocols are offered, and none is known"));
    }
    if let Some(protocol) = HeaderValue::from_str(protocol).ok().filter(|protocol| !protocol.is_empty()) {
        given.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    Ok(answer)
}

/// Returns whether this is a URI with a scheme, or a path, as Go has it.
fn is_origin(origin: &str) -> bool {
    let scheme = origin.split_once(':').map(|(scheme, _)| scheme).unwrap_or_default();
    let has_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    origin.starts_with('/') || has_scheme
}
