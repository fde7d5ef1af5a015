//! A service of HTTP for the programs of this machine alone.

use std::convert::Infallible;
use std::fmt::Debug;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{Either, Full};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tower::{Service, ServiceExt as _};

use crate::component::{BoxError, Component, Stop};
use crate::origin::{REFUSAL, is_local};

/// How many connections there are at most. Others wait.
const CONNECTIONS: usize = 64;
/// How long a client may take for a request's head.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Shows a tower service at a loopback address, over plain HTTP/1.1.
///
/// Nobody is asked who they are, so no other address is taken: for other machines, have the service behind a server
/// with TLS and authentication. Requests of web pages are refused ([`origin`](crate::origin)). It has 64 connections at most;
/// others wait.
///
/// # Examples
///
/// ```
/// use quarterdeck_core::component::{Stop, Supervisor};
/// use quarterdeck_core::diagnostics::Diagnostics;
/// use quarterdeck_core::health::Health;
/// use quarterdeck_core::loopback::LoopbackServer;
/// use quarterdeck_core::metrics::Metrics;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let metrics = Metrics::new();
/// metrics.with_process();
/// let diagnostics = Diagnostics::new(metrics, Health::new());
/// let server = LoopbackServer::bind("diagnostics", diagnostics, "127.0.0.1:0".parse()?)?;
/// println!("http://{}/metrics", server.local_address());
///
/// let (signal, stop) = Stop::channel();
/// let supervisor = Supervisor::new().with(server);
/// signal.stop();
/// supervisor.run(stop).await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct LoopbackServer<S> {
    name: String,
    service: S,
    socket: StdListener,
    address: SocketAddr,
}

/// Why a service cannot be shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Everybody who reaches the address may read, so it is for this machine alone.
    #[error(
        "{0} is reachable from other machines: what is shown without authentication has a loopback address only, such as 127.0.0.1"
    )]
    NotLoopback(SocketAddr),
    /// The address is taken, or not this machine's.
    #[error("cannot listen on {address}: choose another address or port, or stop what uses it")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What happened.
        source: io::Error,
    },
}

impl<S> LoopbackServer<S> {
    /// Opens the socket; who connects waits until the component runs. Port 0 is any that is free. The name is for logs.
    ///
    /// # Errors
    ///
    /// [`BindError`].
    pub fn bind(name: &str, service: S, address: SocketAddr) -> Result<Self, BindError> {
        if !address.ip().is_loopback() {
            return Err(BindError::NotLoopback(address));
        }
        let failed = |source| BindError::Bind { address, source };
        let socket = StdListener::bind(address).map_err(failed)?;
        socket.set_nonblocking(true).map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        Ok(Self { name: format!("{name} on {address}"), service, socket, address })
    }

    /// Shows another service at the same socket, for who binds before there is one.
    #[must_use]
    pub fn serving<T>(self, service: T) -> LoopbackServer<T> {
        let Self { name, socket, address, .. } = self;
        LoopbackServer { name, service, socket, address }
    }

    /// Returns the address that the server has, with the port that it was given if it asked for any.
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        self.address
    }
}

#[async_trait]
impl<S, B> Component for LoopbackServer<S>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>
        + Clone
        + Debug
        + Send
        + Sync
        + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    fn name(&self) -> String {
        self.name.clone()
    }

    async fn run(self: Box<Self>, mut stop: Stop) -> Result<(), BoxError> {
        let socket = TcpListener::from_std(self.socket)?;
        let places = Arc::new(Semaphore::new(CONNECTIONS));
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
                accepted = socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let service = self.service.clone();
                    connections.spawn(async move {
                        serve(stream, service).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        connections.shutdown().await;
        Ok(())
    }
}

async fn serve<S, B>(stream: TcpStream, service: S)
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone,
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<BoxError>,
{
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = is_local(request.uri(), request.headers()).then(|| service.clone().oneshot(request));
        async move {
            Ok::<_, Infallible>(match answer {
                Some(answer) => answer.await?.map(Either::Left),
                None => refusal().map(Either::Right),
            })
        }
    });
    let served = builder.serve_connection(TokioIo::new(stream), service);
    if let Err(error) = served.await {
        tracing::debug!(%error, "a connection ended");
    }
}

fn refusal() -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::from(format!("{REFUSAL}\n")));
    *answer.status_mut() = StatusCode::FORBIDDEN;
    answer
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::diagnostics::Diagnostics;
    use crate::health::Health;
    use crate::metrics::Metrics;

    fn diagnostics() -> Diagnostics {
        Diagnostics::new(Metrics::new(), Health::new())
    }

    #[tokio::test]
    async fn a_loopback_address_is_answered_at_until_the_component_stops() {
        let server = LoopbackServer::bind("diagnostics", diagnostics(), ([127, 0, 0, 1], 0).into()).unwrap();
        let address = server.local_address();
        let (signal, stop) = Stop::channel();
        let task = tokio::spawn(Box::new(server).run(stop));

        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(b"GET /livez?verbose HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            .await
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n")
            .await
            .unwrap();
        let mut refused = String::new();
        stream.read_to_string(&mut refused).await.unwrap();
        // A connection on which nothing is asked holds nothing up.
        let _idle = TcpStream::connect(address).await.unwrap();
        signal.stop();

        task.await.unwrap().unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(refused.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{refused}");
        assert!(answer.ends_with("[+]ping ok\nlivez check passed\n"), "{answer}");
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[test]
    fn an_address_that_others_reach_is_refused() {
        for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:10259"] {
            let refused = LoopbackServer::bind("diagnostics", diagnostics(), address.parse().unwrap());
            assert!(matches!(refused, Err(BindError::NotLoopback(_))), "{address}");
        }
    }

    #[test]
    fn an_address_that_is_taken_is_told_of() {
        let taken = StdListener::bind("127.0.0.1:0").unwrap();

        let refused = LoopbackServer::bind("diagnostics", diagnostics(), taken.local_addr().unwrap());

        assert!(matches!(refused, Err(BindError::Bind { .. })), "{refused:?}");
    }
}
