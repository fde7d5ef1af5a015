//! The sockets of a cluster. They are bound before anything else is done: what fails then has touched nothing.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use quarterdeck_core::loopback::LoopbackServer;
use quarterdeck_registry::listener::Socket;

use crate::cli::{ProxyOptions, ServerOptions};
use crate::error::{Failure, Result};

/// The API server's sockets.
pub(crate) struct Sockets {
    /// The one with TLS.
    pub(crate) secure: Socket,
    /// The one without.
    pub(crate) insecure: Option<Socket>,
    /// The one of the view of the store.
    pub(crate) view: Option<LoopbackServer<()>>,
}

impl Sockets {
    /// Binds the sockets that the options ask for.
    pub(crate) async fn bind(options: &ServerOptions) -> Result<Self> {
        let failed = |error| Failure::because("the API server has no socket", &error);
        if let Some(address) = options.insecure_listen.filter(|address| !address.ip().is_loopback()) {
            return Err(Failure::new(format!(
                "--insecure-listen {address} is reachable from other machines: choose a loopback address such as 127.0.0.1:8080"
            )));
        }
        if let Some(address) =
            options.advertise_address.filter(|address| address.is_loopback() || address.is_unspecified())
        {
            return Err(Failure::new(format!(
                "--advertise-address {address} cannot be reached by nodes and pods: choose an address of this machine, or leave it out"
            )));
        }
        let secure = Socket::bind(options.listen).await.map_err(failed)?;
        let insecure = match options.insecure_listen {
            Some(address) => Some(Socket::bind(address).await.map_err(failed)?),
            None => None,
        };
        let view =
            options.etcd_v2_listen.map(|address| LoopbackServer::bind("view of the store", (), address));
        let view = view.transpose();
        let view = view.map_err(|error| Failure::because("the view of the store has no socket", &error))?;
        Ok(Self { secure, insecure, view })
    }

    /// Returns the port with TLS.
    pub(crate) fn port(&self) -> u16 {
        self.secure.local_address().port()
    }

    /// Returns where this machine's programs reach the server.
    pub(crate) fn url(&self) -> String {
        let address = self.secure.local_address();
        let host = if address.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { address.ip() };
        format!("https://{}", SocketAddr::new(host, address.port()))
    }
}

/// Binds where the proxy shows its ports: as asked for, or where services' own addresses do not work.
pub(crate) fn proxy_endpoint(options: &ProxyOptions) -> Result<Option<TcpListener>> {
    let is_root = rustix::process::geteuid().is_root();
    let otherwise = (!is_root).then_some(SocketAddr::from((Ipv4Addr::LOCALHOST, 10249)));
    let Some(address) = options.proxy_endpoint.or(otherwise) else { return Ok(None) };
    let bound = TcpListener::bind(address);
    bound.map(Some).map_err(|error| {
        Failure::new(format!(
            "the proxy has no socket: cannot listen on {address}: choose another with --proxy-endpoint, or stop what uses it: {error}"
        ))
    })
}
