//! Listeners: the server on a socket.
//!
//! A [`Listener`] is a [`Component`]: it accepts connections, speaks HTTP/1.1 and HTTP/2 on them, and hands
//! each request to the server. Over TLS the client's certificate goes along.

mod prompt;
mod turns;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use quarterdeck_core::component::{BoxError, Component, Stop};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tower::ServiceExt as _;

use crate::server::ApiServer;
use crate::user::User;
use crate::websocket::Connection;
use prompt::Prompt;
use turns::Turns;

/// How long a client may take for its headers, and for the handshake of TLS.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long connections may take to end when the listener stops.
const GRACE: Duration = Duration::from_secs(2);
/// How many connections are served at a time; more wait.
const CONNECTIONS: usize = 16_384;
/// How many requests one HTTP/2 connection may have under way.
const STREAMS: u32 = 250;
/// How many streams a client may reset before they are accepted, and how many may be reset for its mistakes; then its HTTP/2
/// connection ends.
const RESETS: usize = 20;
/// How many bytes of headers a request may have.
const HEADERS: u32 = 32 * 1024;
/// How often a quiet HTTP/2 client is asked whether it is there, and how long it may take to answer.
const PING: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(15));
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
    Tls(tokio_rustls::TlsAcceptor),
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

    /// Listens with TLS.
    ///
    /// # Errors
    ///
    /// [`ListenError::Bind`].
    #[cfg(feature = "tls")]
    pub async fn tls(
        server: ApiServer,
        address: SocketAddr,
        config: Arc<rustls::ServerConfig>,
    ) -> Result<Self, ListenError> {
        Ok(Self::tls_on(server, Socket::bind(address).await?, config))
    }

    /// Does what [`tls`](Self::tls) does, on a socket that is bound.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls_on(server: ApiServer, socket: Socket, config: Arc<rustls::ServerConfig>) -> Self {
        Self::on("listener", server, socket, Security::Tls(config.into()))
    }

    fn on(name: &str, server: ApiServer, Socket { asked, socket }: Socket, security: Security) -> Self {
        let name = format!("{name} on {asked}");
        Self { name, server, socket, security, connections: CONNECTIONS }
    }

    /// Sets how many connections are served at a time (default: 16,384). More wait until one ends.
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
        let graceful = GracefulShutdown::new();
        let places = Arc::new(Semaphore::new(self.connections));
        let mut connections = JoinSet::new();
        loop {
            let place = tokio::select! {
                biased;
                () = stop.wait() => break,
                place = places.clone().acquire_owned() => place?,
            };
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
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let watcher = graceful.watcher();
            let connection = Connection { place: Arc::new(place), stop: stop.clone() };
            let marks = Marks { connection, address: PeerAddress(address) };
            connections.spawn(serve(stream, self.server.clone(), self.security.clone(), marks, watcher));
        }
        drop(self);
        // Connections that have nothing under way end now; the others as soon as they are done, or after the grace period.
        let _ = tokio::time::timeout(GRACE, graceful.shutdown()).await;
        connections.shutdown().await;
        Ok(())
    }
}

/// What all requests of a connection carry in their extensions, besides who the client is.
#[derive(Clone)]
struct Marks {
    connection: Connection,
    address: PeerAddress,
}

async fn serve(
    stream: TcpStream,
    server: ApiServer,
    security: Security,
    marks: Marks,
    watcher: hyper_util::server::graceful::Watcher,
) {
    // Answers are written whole: waiting for more to send only delays them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection ended before it was served");
        return;
    }
    match security {
        Security::Trusted(user) => speak(stream, server, (user, marks), watcher).await,
        #[cfg(feature = "tls")]
        Security::Tls(acceptor) => match tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => {
                let certificates = stream.get_ref().1.peer_certificates();
                let certificate = certificates.and_then(|chain| chain.first().cloned());
                match certificate.map(|der| crate::tls::PeerCertificate::new(der.into_owned())) {
                    Some(certificate) => speak(stream, server, (certificate, marks), watcher).await,
                    None => speak(stream, server, ((), marks), watcher).await,
                }
            }
            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        },
    }
}

/// Speaks HTTP on a connection. Every request carries the marks in its extensions.
async fn speak<I, M>(
    stream: I,
    server: ApiServer,
    (mark, marks): (M, Marks),
    watcher: hyper_util::server::graceful::Watcher,
) where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    M: Clone + Send + Sync + 'static,
{
    let service = server.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(mark.clone());
        request.extensions_mut().insert(marks.connection.clone());
        request.extensions_mut().insert(marks.address);
        request
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEADERS)
        .keep_alive_interval(PING.0)
        .keep_alive_timeout(PING.1)
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(RESETS);
    let (stream, outgoing) = turns::held(Prompt::new(stream, PATIENCE));
    let connection =
        builder.serve_connection_with_upgrades(TokioIo::new(stream), TowerToHyperService::new(service));
    let connection = watcher.watch(connection.into_owned());
    if let Err(error) = Turns::new(connection, outgoing).await {
        tracing::debug!(%error, "a connection ended");
    }
}
