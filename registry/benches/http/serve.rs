//! The servers that are measured.

use std::convert::Infallible;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use quarterdeck_core::component::{BoxError, Component, Stop};
use quarterdeck_registry::ApiServer;
use quarterdeck_registry::listener::Listener;
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::task::JoinSet;

/// No server lives longer than this.
const LIFE: Duration = Duration::from_secs(100);
const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Runs an API server over memory until standard input ends.
pub(crate) fn serve() -> Result<(), BoxError> {
    run(async {
        let server = ApiServer::in_memory().await?;
        let listener = Listener::insecure(server, ANY_PORT).await?;
        announce(listener.local_address()?)?;
        let (_signal, stop) = Stop::channel();
        Box::new(listener).run(stop).await
    })
}

/// Answers every request with the same KiB, through the same HTTP stack as the API server's, until standard input ends.
pub(crate) fn fixed() -> Result<(), BoxError> {
    run(async {
        let socket = TcpListener::bind(ANY_PORT).await?;
        announce(socket.local_addr()?)?;
        let answer = Bytes::from(vec![b'x'; 1024]);
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = socket.accept().await?;
            stream.set_nodelay(true)?;
            let answer = answer.clone();
            connections.spawn(async move {
                let service = service_fn(move |_: Request<Incoming>| {
                    let answer = answer.clone();
                    async move { Ok::<_, Infallible>(Response::new(Full::new(answer))) }
                });
                let builder = auto::Builder::new(TokioExecutor::new());
                // A client that hangs up is no failure of the server.
                let _ = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
            });
        }
    })
}

fn announce(address: SocketAddr) -> Result<(), BoxError> {
    let mut output = std::io::stdout();
    writeln!(output, "{address}")?;
    output.flush()?;
    Ok(())
}

/// Runs a server on all cores until standard input ends, which it does when the process that measures is gone.
fn run(server: impl Future<Output = Result<(), BoxError>>) -> Result<(), BoxError> {
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let (gone, is_gone) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut input = std::io::stdin();
        let _ = input.read(&mut [0]);
        let _ = gone.send(());
    });
    let ended = runtime.block_on(async {
        tokio::select! {
            biased;
            _ = is_gone => Ok(()),
            ended = server => ended,
            () = tokio::time::sleep(LIFE) => Err("nobody ended the server in time".into()),
        }
    });
    runtime.shutdown_background();
    ended
}
