//! Listeners: the server on a socket.
//!
//! A [`Listener`] is a [`Component`]: it accepts connections, speaks HTTP/1.1 and HTTP/2 on them, and hands
//! each request to the server. Over TLS the client's certificate goes along.

mod activity;
mod bulk;
mod meter;
mod places;
mod prompt;
mod turns;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulConnection;
use quarterdeck_core::component::{BoxError, Component, Stop};
use quarterdeck_core::origin::{REFUSAL, is_local};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tower::ServiceExt as _;

use crate::server::ApiServer;
use crate::sparing::Sparing;
use crate::status::Status;
use crate::user::User;
use crate::websocket::Connection;
use activity::{Activity, Answered, Asked};
use bulk::Bulk;
use meter::Metered;
pub(crate) use places::Place;
use places::Places;
use prompt::Prompt;

/// How long a client may take for its headers, and for the handshake of TLS.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long connections may take to end when the listener stops.
const GRACE: Duration = Duration::from_secs(2);
/// How long a connection that gives way to another may take to end.
const HASTE: Duration = Duration::from_secs(1);
/// How many connections are served at a time; then others give way.
const CONNECTIONS: usize = 16_384;
/// How many requests one HTTP/2 connection may have under way.
const STREAMS: u32 = 250;
/// How many streams a client may reset before they are accepted, and how many may be reset for its mistakes; then its HTTP/2
/// connection ends.
const RESETS: usize = 20;
/// How many bytes of headers a request may have.
const HEADERS: u32 = 32 * 1024;
/// How many bytes of a connection of HTTP/1.1 are read or written at a time at most, headers among them.
const BUFFER: usize = 64 * 1024;
/// How often a quiet HTTP/2 client is asked whether it is there, and how long it may take to answer: the question waits behind
/// what it is being sent.
const PING: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(60));
/// How long to wait after a connection could not be accepted, for instance for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A socket that a server answers on.
#[derive(Debug)]
pub struct Listener {
    name: String,
    server: ApiServer,
    socket: TcpListener,
    security: Security,
    connections: usize,
}

/// Where a request came from. Listeners put it in the extensions of every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerAddress(pub SocketAddr);

#[derive(Clone)]
enum Security {
    /// Nobody is asked: everyone is this user.
    Trusted(User),
    /// Clients show certificates or tokens.
    #[cfg(feature = "tls")]
    Tls(crate::tls::ServerTls),
}

impl std::fmt::Debug for Security {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Trusted(user) => write!(f, "Trusted({})", user.name),
            #[cfg(feature = "tls")]
            Self::Tls(_) => f.write_str("Tls"),
        }
    }
}

/// Why a listener cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// The address is taken, not this machine's, or not allowed.
    #[error("cannot listen on {address}: choose another address or port, or stop what uses it")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What happened.
        source: io::Error,
    },
    /// A listener that asks nobody who they are is for this machine alone.
    #[error(
        "{0} is reachable from other machines: a listener without authentication takes a loopback address only"
    )]
    NotLoopback(SocketAddr),
}

/// A socket that is bound and not served yet. A program that binds first fails before it has started anything; who connects
/// meanwhile waits.
#[derive(Debug)]
pub struct Socket {
    asked: SocketAddr,
    socket: TcpListener,
}

impl Socket {
    /// Binds a socket.
    ///
    /// # Errors
    ///
    /// [`ListenError::Bind`].
    pub async fn bind(address: SocketAddr) -> Result<Self, ListenError> {
        let socket = TcpListener::bind(address).await;
        let socket = socket.map_err(|source| ListenError::Bind { address, source })?;
        Ok(Self { asked: address, socket })
    }

    /// Returns the address that the socket has, with the port that it was given if it asked for any.
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap_or(self.asked)
    }
}

impl Listener {
    /// Listens without TLS and without authentication: whoever connects is an administrator. Loopback only.
    ///
    /// # Errors
    ///
    /// [`ListenError`].
    pub async fn insecure(server: ApiServer, address: SocketAddr) -> Result<Self, ListenError> {
        check_loopback(address)?;
        Self::insecure_on(server, Socket::bind(address).await?)
    }

    /// Does what [`insecure`](Self::insecure) does, on a socket that is bound.
    ///
    /// # Errors
    ///
    /// [`ListenError::NotLoopback`].
    pub fn insecure_on(server: ApiServer, socket: Socket) -> Result<Self, ListenError> {
        check_loopback(socket.local_address())?;
        Ok(Self::on("insecure listener", server, socket, Security::Trusted(User::admin())))
    }

    /// Listens with TLS. The settings can be replaced later: [`ServerTls`](crate::tls::ServerTls).
    ///
    /// # Errors
    ///
    /// [`ListenError::Bind`].
    #[cfg(feature = "tls")]
    pub async fn tls(
        server: ApiServer,
        address: SocketAddr,
        config: impl Into<crate::tls::ServerTls>,
    ) -> Result<Self, ListenError> {
        Ok(Self::tls_on(server, Socket::bind(address).await?, config))
    }

    /// Does what [`tls`](Self::tls) does, on a socket that is bound.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls_on(server: ApiServer, socket: Socket, config: impl Into<crate::tls::ServerTls>) -> Self {
        Self::on("listener", server, socket, Security::Tls(config.into()))
    }

    fn on(name: &str, server: ApiServer, Socket { asked, socket }: Socket, security: Security) -> Self {
        let name = format!("{name} on {asked}");
        Self { name, server, socket, security, connections: CONNECTIONS }
    }

    /// Sets how many connections are served at a time (default: 16,384). For more, those that have rested longest end; if none
    /// has, one is cut off of the user who has most. If nobody has two, more wait.
    #[must_use]
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    /// Returns the address that the listener has, with the port that it was given if it asked for any.
    ///
    /// # Errors
    ///
    /// Whatever the operating system says.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

fn check_loopback(address: SocketAddr) -> Result<(), ListenError> {
    if address.ip().is_loopback() { Ok(()) } else { Err(ListenError::NotLoopback(address)) }
}

#[async_trait]
impl Component for Listener {
    fn name(&self) -> String {
        self.name.clone()
    }

    async fn run(self: Box<Self>, mut stop: Stop) -> Result<(), BoxError> {
        let (places, mut connections, bulk) = (Places::new(self.connections), JoinSet::new(), Bulk::new());
        let refused = Arc::<Sparing>::default();
        loop {
            let accepted = tokio::select! {
                biased;
                () = stop.wait() => break,
                Some(_) = connections.join_next(), if !connections.is_empty() => continue,
                accepted = self.socket.accept() => accepted,
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    // As a rule there are no file descriptors left.
                    places.give_way();
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Some(place) = stop.or(places.take()).await else { break };
            let connection = Connection { place: place?, stop: stop.clone() };
            let is_trusting = matches!(self.security, Security::Trusted(_));
            let marks =
                Marks { connection, address: PeerAddress(address), is_trusting, refused: refused.clone() };
            connections.spawn(serve(stream, self.server.clone(), self.security.clone(), marks, bulk.clone()));
        }
        drop(self);
        // Connections that have nothing under way end now; the others as soon as they are done, or after the grace period.
        let ended = async { while connections.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(GRACE, ended).await;
        connections.shutdown().await;
        bulk.ended().await;
        Ok(())
    }
}

/// What all requests of a connection carry in their extensions, besides who the client is.
#[derive(Clone)]
struct Marks {
    connection: Connection,
    address: PeerAddress,
    /// Whether whoever reaches the listener is trusted: a web page is not.
    is_trusting: bool,
    /// What is logged of refused certificates.
    refused: Arc<Sparing>,
}

async fn serve(stream: TcpStream, server: ApiServer, security: Security, marks: Marks, bulk: Bulk) {
    // Answers are written whole: waiting for more to send only delays them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection ended before it was served");
        return;
    }
    match security {
        Security::Trusted(user) => speak(stream, server, (user, marks), bulk).await,
        #[cfg(feature = "tls")]
        Security::Tls(tls) => {
            let acceptor = tokio_rustls::TlsAcceptor::from(tls.current());
            let mut stop = marks.connection.stop.clone();
            let activity = &marks.connection.place.activity;
            let accepted = tokio::select! {
                biased;
                () = stop.wait() => return,
                () = activity.is_over() => return,
                () = activity.has_been_cut_off() => return,
                accepted = tokio::time::timeout(PATIENCE, acceptor.accept(stream)) => accepted,
            };
            match accepted {
                Ok(Ok(stream)) => match peer_certificate(stream.get_ref().1) {
                    Some(certificate) => speak(stream, server, (certificate, marks), bulk).await,
                    None => speak(stream, server, ((), marks), bulk).await,
                },
                Ok(Err(error)) if is_about_certificate(&error) => marks.refused.say(|left_out| {
                    tracing::warn!(
                        %error,
                        address = %marks.address.0,
                        left_out,
                        "a client's certificate ends the handshake: it needs one that can be read, with the key to it"
                    );
                }),
                Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
                Err(_) => tracing::debug!("a TLS handshake took too long"),
            }
        }
    }
}

/// Whether a handshake failed because of the certificate that the client showed.
#[cfg(feature = "tls")]
fn is_about_certificate(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::InvalidCertificate(_)))
}

/// The certificate that a client showed, if it showed one.
#[cfg(feature = "tls")]
fn peer_certificate(tls: &rustls::ServerConnection) -> Option<crate::tls::PeerCertificate> {
    let (own, intermediates) = tls.peer_certificates()?.split_first()?;
    let intermediates = intermediates.iter().map(|der| der.clone().into_owned()).collect();
    Some(crate::tls::PeerCertificate::with_intermediates(own.clone().into_owned(), intermediates))
}

/// Speaks HTTP on a connection. Every request carries the marks in its extensions.
async fn speak<I, M>(stream: I, server: ApiServer, (mark, marks): (M, Marks), bulk: Bulk)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    M: Clone + Send + Sync + 'static,
{
    let (place, stop) = (marks.connection.place.clone(), marks.connection.stop.clone());
    let activity = &place.activity;
    let own = activity.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let under_way = own.request();
        let mut request = request.map(|body| Asked::new(body, own.clone()));
        request.extensions_mut().insert(mark.clone());
        request.extensions_mut().insert(marks.connection.clone());
        request.extensions_mut().insert(marks.address);
        let (server, activity) = (server.clone(), own.clone());
        let is_of_page = marks.is_trusting && !is_local(request.uri(), request.headers());
        async move {
            if is_of_page {
                return Ok(Status::forbidden(REFUSAL)
                    .into_response()
                    .map(|body| Answered::new(body, under_way, None)));
            }
            let answer = server.oneshot(request).await?;
            if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
                activity.leave_http();
            }
            let deadline = answer.extensions().get().copied();
            Ok::<_, Infallible>(answer.map(|body| Answered::new(body, under_way, deadline)))
        }
    });
    let builder = http();
    let (stream, outgoing) = turns::held(Prompt::new(Metered::new(stream, activity.clone()), PATIENCE));
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
    let served = async move {
        let activity = &place.activity;
        tokio::select! {
            biased;
            () = activity.has_been_cut_off() => Ok(()),
            ended = until_over(connection, activity, stop) => ended,
        }
    };
    if let Err(error) = turns::run(served, outgoing, bulk).await {
        tracing::debug!(%error, "a connection ended");
    }
}

/// How HTTP is spoken.
fn http() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(PATIENCE).max_buf_size(BUFFER);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEADERS)
        .keep_alive_interval(PING.0)
        .keep_alive_timeout(PING.1)
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(RESETS);
    builder
}

/// Runs a connection until it ends, is over, or has to stop. What is under way then may be finished; a client that takes its time
/// to go when there is nothing more is left behind, and so is one that does not read what it asked for.
async fn until_over<C: GracefulConnection>(
    connection: C,
    activity: &Activity,
    mut stop: Stop,
) -> Result<(), C::Error> {
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        biased;
        ended = connection.as_mut() => return ended,
        () = activity.is_overdue() => {}
        () = activity.is_over() => {}
        () = stop.wait() => {}
    }
    connection.as_mut().graceful_shutdown();
    let patience = if activity.gives_way() { HASTE } else { PATIENCE };
    let begin = tokio::time::Instant::now();
    let left_behind = async {
        tokio::time::sleep_until(begin + patience).await;
        tokio::select! {
            biased;
            () = activity.is_overdue() => {}
            () = activity.has_rested(Duration::ZERO) => {}
        }
    };
    tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = left_behind => Ok(()),
    }
}
