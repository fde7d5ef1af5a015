//! The proxy's endpoint: `GET /proxy/ports` shows the table of proxy ports as JSON, `GET /healthz` says whether the proxy is
//! well.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::ports::{Health, ProxyPort, ProxyPorts};

/// How many connections there are at most. Others wait.
const CONNECTIONS: usize = 64;

/// How long a client may take to send a request's head.
const PATIENCE: Duration = Duration::from_secs(10);

/// What `GET /proxy/ports` answers.
#[derive(Debug, Serialize)]
struct Table {
    items: Vec<ProxyPort>,
}

/// Answers until dropped.
pub(crate) async fn serve(listener: TcpListener, ports: ProxyPorts) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let ports = ports.clone();
                connections.spawn(async move {
                    connection(stream, ports).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections to the proxy's endpoint, waiting");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, ports: ProxyPorts) {
    let service = service_fn(move |request: Request<Incoming>| {
        let response = answer(&request, &ports);
        async move { Ok::<_, Infallible>(response) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = served.await {
        tracing::debug!(%error, "connection to the proxy's endpoint broke");
    }
}

fn answer<B>(request: &Request<B>, ports: &ProxyPorts) -> Response<Full<Bytes>> {
    match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/proxy/ports") => {
            match serde_json::to_string(&Table { items: ports.list() }) {
                Ok(table) => response(StatusCode::OK, "application/json", table),
                Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
            }
        }
        (&Method::GET | &Method::HEAD, "/healthz") => match ports.health() {
            Health::Healthy => text(StatusCode::OK, "ok"),
            Health::Starting => text(StatusCode::SERVICE_UNAVAILABLE, "not all services are known yet"),
            Health::Failing(reason) => text(StatusCode::SERVICE_UNAVAILABLE, reason),
        },
        (_, "/proxy/ports" | "/healthz") => text(StatusCode::METHOD_NOT_ALLOWED, "only GET is allowed"),
        _ => text(StatusCode::NOT_FOUND, "there are /proxy/ports and /healthz"),
    }
}

fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    response(status, "text/plain; charset=utf-8", text)
}

fn response(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(method: &str, path: &str, ports: &ProxyPorts) -> u16 {
        let request = Request::builder().method(method).uri(path).body(()).unwrap();
        answer(&request, ports).status().as_u16()
    }

    #[test]
    fn health_follows_the_proxy() {
        let ports = ProxyPorts::new();
        assert_eq!(status("GET", "/healthz", &ports), 503);

        ports.set_health(Health::Healthy);
        assert_eq!(status("GET", "/healthz", &ports), 200);

        ports.set_health(Health::Failing("no room".into()));
        assert_eq!(status("GET", "/healthz", &ports), 503);
    }

    #[test]
    fn what_does_not_exist_is_said_so() {
        let ports = ProxyPorts::new();

        assert_eq!(status("GET", "/", &ports), 404);
        assert_eq!(status("POST", "/proxy/ports", &ports), 405);
    }
}
